from __future__ import annotations

from pathlib import Path

import pytest

from coevo.experiment import load_experiment

FAKES = Path(__file__).parents[1] / "evaluate" / "codesign_fakes.py"

SPACE = """
schema: 1
name: tiny
description: One or two convolutions.
family: {fakes}:Family
widths: [4, 8, 16, 32]
"""

MACHINE = """
schema: 1
name: small
description: A buffer over an array.
technology_nm: 65
clock_mhz: 100
word_bits: 16
pe_array: {rows: 4, columns: 4}
memories:
  - {name: dram, kind: dram, holds: [weights, inputs, outputs], words_per_cycle: 4}
  - {name: buffer, kind: sram, size_kib: 8, holds: [weights, inputs, outputs], words_per_cycle: 8}
dataflow: free
vary:
  pe_array.rows: {any_of: [1, 2, 4, 8, 16]}
  memories.buffer.size_kib: {any_of: [1, 2, 8, 64]}
"""

EXPERIMENT = """
schema: 1
name: tiny
network: {{space: space.yaml}}
accelerators: [machine.yaml]
objectives: [error, latency, energy]
constraints: {{area_mm2: {{max: 0.5}}}}
accuracy: {{name: "{fakes}:AccuracyModel", journal: "{journal}"}}
cost: {{name: "{fakes}:CostModel"}}
optimizer: {{name: "{fakes}:Optimizer"}}
budget: {{designs: 60}}
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with an experiment over the fakes; ``journal`` there lists what was trained."""
    (tmp_path / "space.yaml").write_text(SPACE.format(fakes=FAKES))
    (tmp_path / "machine.yaml").write_text(MACHINE)
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT.format(fakes=FAKES, journal=tmp_path / "journal"))
    return tmp_path


@pytest.fixture
def run(workplace: Path):
    """Runs the experiment with overrides in ``workplace/<out>`` and returns its results."""

    def start(*overrides: str, out: str = "run", jobs: int = 1):
        with load_experiment(workplace / "tiny.yaml", overrides).study(workplace / out, jobs) as study:
            study.run()
            return study.results()

    return start


@pytest.fixture
def trained(workplace: Path):
    """Returns the keys of all trained networks so far, in order."""

    def read() -> list[str]:
        journal = workplace / "journal"
        return journal.read_text().split() if journal.exists() else []

    return read
