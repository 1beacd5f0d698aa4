"""Timeloop's published Eyeriss-like example design, with its mapspace constraints, and what its mapper found on it."""

from __future__ import annotations

import json
import math
from pathlib import Path

from coevo.accelerator.machine import Accelerator, Dataflow, Mac, Memory
from coevo.workload import Layer


def _memory(name, kind, holds, words, per_access, energies, leak=0.0, bandwidth=math.inf, **more):
    read, write = energies
    return Memory(
        name, kind, holds, words * 8.0, 8, per_access, bandwidth, bandwidth, math.inf, False, read, write, leak, 0.0,
        **more,
    )  # fmt: skip


def eyeriss_like() -> Accelerator:
    """8-bit words; 14 x 12 PEs. Energies and leakage (pJ per cycle, so at 1 GHz mW) are the design's own table."""
    return Accelerator(
        name="eyeriss_like",
        technology_nm=45,
        clock_mhz=1000.0,
        bits=(8, 8, 8),
        memories=(
            _memory("dram", "dram", ("weights", "inputs", "outputs"), 8589934592, 8, (512.0, 512.0)),
            _memory(
                "shared_glb", "sram", ("inputs", "outputs"), 131072, 8, (32.3778, 26.1569), 0.00535305, 16,
                fanout_x=14, fanout_y=12,
            ),
            _memory("ifmap_spad", "registers", ("inputs",), 24, 2, (0.39895, 0.349579), 0.000765545, 2, loops=()),
            _memory(
                "weights_spad", "registers", ("weights",), 384, 2, (3.81421, 3.63202), 0.00419872, 2,
                loops=("g", "c", "r"),
            ),
            _memory("psum_spad", "registers", ("outputs",), 16, 1, (0.492707, 0.430916), 0.00082906, 2, loops=("m",)),
        ),
        mac=Mac(energy_pj=1.13555, area_mm2=0.0),
        dataflow=Dataflow("eyeriss_like", x=("q", "m"), y=("s", "c", "m", "g")),
    )  # fmt: skip


def timeloop_layers() -> list[tuple[str, Layer, int, float]]:
    """(network, layer, how often it occurs, best energy x delay of Timeloop's mapper [pJ cycle])."""
    rows = json.loads(Path(__file__).with_name("timeloop_mapper.json").read_text(encoding="utf-8"))["layers"]
    return [
        (
            row["net"],
            Layer(row["name"], "conv", stride=(row["stride"],) * 2, **{dim: row[dim] for dim in "gmcpqrs"}),
            row["count"],
            row["edp_pj_cycles"],
        )
        for row in rows
    ]
