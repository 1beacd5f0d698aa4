from __future__ import annotations

from pathlib import Path

import pytest

MACHINE = """
schema: 1
name: {name}
description: A buffer over an array.
technology_nm: 65
clock_mhz: 100
word_bits: 16
pe_array: {{rows: 4, columns: 4}}
memories:
  - {{name: dram, kind: dram, holds: [weights, inputs, outputs], words_per_cycle: 4}}
  - {{name: buffer, kind: sram, size_kib: 8, holds: [weights, inputs, outputs], words_per_cycle: 8}}
dataflow: free
vary:
  pe_array.rows: {{any_of: [2, 4, 8]}}
  memories.buffer.size_kib: {{any_of: [1, 8, 64]}}
"""


@pytest.fixture
def machine(tmp_path: Path):
    """Writes a machine file and returns its path."""

    def write(name: str = "small") -> str:
        path = tmp_path / f"{name}.yaml"
        path.write_text(MACHINE.format(name=name))
        return str(path)

    return write
