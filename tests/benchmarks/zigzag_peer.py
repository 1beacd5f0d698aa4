"""ZigZag's shipped ``tpu_like`` machine, for ZigZag and as nearly as may be for coevo, and ZigZag's search on it."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from coevo.accelerator.machine import Accelerator, Dataflow, Mac, Memory
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
    from zigzag.mapping.temporal_mapping import TemporalMappingType
    from zigzag.stages.evaluation.cost_model_evaluation import CostModelStage
    from zigzag.stages.main import MainStage
    from zigzag.stages.mapping.spatial_mapping_generation import SpatialMappingGeneratorStage
    from zigzag.stages.mapping.temporal_mapping_generator_stage import TemporalMappingGeneratorStage
    from zigzag.stages.parser.accelerator_parser import AcceleratorParserStage
    from zigzag.stages.parser.workload_parser import WorkloadParserStage
    from zigzag.stages.results.reduce_stages import MinimalEDPStage, SumStage
    from zigzag.stages.workload_iterator import WorkloadStage

    logging.disable(logging.CRITICAL)
    inputs = Path(zigzag.__file__).parent / "inputs"
    stages = [
        WorkloadParserStage, AcceleratorParserStage, SumStage, WorkloadStage, MinimalEDPStage,
        SpatialMappingGeneratorStage, MinimalEDPStage, TemporalMappingGeneratorStage, CostModelStage,
    ]  # fmt: skip
    try:
        found = MainStage(
            stages,
            accelerator=str(inputs / "hardware/tpu_like.yaml"),
            workload=[_workload(layer)],
            mapping=str(inputs / "mapping/tpu_like.yaml"),
            loma_lpf_limit=6,
            loma_show_progress_bar=False,
            nb_mappings_generated=3,
            access_same_data_considered_as_no_access=True,
            temporal_mapping_type=TemporalMappingType.UNEVEN,
        ).run()
    finally:
        logging.disable(logging.NOTSET)
    cost = found[0][0]
    return float(cost.energy_total * cost.latency_total2)


def _workload(layer: Layer) -> dict[str, object]:
    (height, width), (down, across) = layer.stride, layer.dilation
    return {
        "id": 0,
        "name": layer.name,
        "operator_type": "Conv",
        "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
        "dimension_relations": [f"ix={width}*ox+{across}*fx", f"iy={height}*oy+{down}*fy"],
        "loop_dims": ["B", "K", "G", "OX", "OY", "C", "FX", "FY"],
        "loop_sizes": [layer.n, layer.m, layer.g, layer.q, layer.p, layer.c, layer.s, layer.r],
        "operand_precision": {"W": 8, "I": 8, "O": 16, "O_final": 16},
        "operand_source": {"W": 0, "I": 0},
    }
