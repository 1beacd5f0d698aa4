"""ZigZag's shipped ``tpu_like`` machine, for ZigZag and as nearly as may be for coevo, and ZigZag's search on it."""

from __future__ import annotations

import math
from pathlib import Path

from coevo.accelerator.machine import Accelerator, Dataflow, Mac, Memory
from coevo.cost.zigzag import ZigzagSettings, search
from coevo.cost.zigzag_input import workload_data
from coevo.workload import Layer


def tpu_like() -> Accelerator:
    """The machine of ``zigzag/inputs/hardware/tpu_like.yaml`` (3.9.1): 32 x 32 PEs, K over columns, C over rows.

    Costs there are per access of a port's full width. Outputs are 16 bits wide for both, also once they are final.
    What the two count differently: ZigZag leaves out the inputs that a stride skips (ours fetches the box, as Timeloop
    does), adds on-loading, off-loading and the drain of the array to the cycles, and lets operands share a memory's
    loops unevenly.
    """

    def memory(name, kind, holds, bits, port_bits, read, write, word=8, shared=False, **more):
        """``port_bits``: width of the read and of the write port, or of the one port that is shared."""
        alone, both = (math.inf, port_bits / word) if shared else (port_bits / word, math.inf)
        return Memory(
            name, kind, holds, bits, word, port_bits // word, alone, alone, both, False, read, write, 0.0, 0.0, **more
        )

    return Accelerator(
        name="tpu_like",
        technology_nm=28,
        clock_mhz=1000.0,
        bits=(8, 8, 16),
        memories=(
            memory("dram", "dram", ("weights", "inputs", "outputs"), 1e10, 64, 700.0, 750.0, shared=True),
            memory(
                "sram_2MB", "sram", ("inputs", "outputs"), 16777216.0, 2048, 416.16, 378.4, fanout_x=32, fanout_y=32
            ),
            memory("rf_128B", "registers", ("weights",), 1024.0, 8, 0.095, 0.095),
            memory("rf_2B", "registers", ("outputs",), 16.0, 16, 0.021, 0.021, word=16),
        ),
        mac=Mac(energy_pj=0.04, area_mm2=0.0),
        dataflow=Dataflow("tpu_like", x=("m",), y=("c",)),
    )


def zigzag_edp(layer: Layer) -> float:
    """Energy x delay of the mapping that ZigZag finds for a layer by EDP, with its standard settings."""
    import zigzag

    inputs = Path(zigzag.__file__).parent / "inputs"
    cost = search(
        workload_data(layer, tpu_like().bits),
        inputs / "hardware/tpu_like.yaml",
        inputs / "mapping/tpu_like.yaml",
        ZigzagSettings(),
    )
    return float(cost.energy_total * cost.latency_total2)
