"""The analytical model on the 48 FBNet blocks whose Eyeriss latency HW-NAS-Bench gives, beside plain MACs.

    python tests/benchmarks/fbnet_blocks.py             # some 10 seconds

Needs fbnet_block_lut_cifar100.csv.gz in the folder that COEVO_DATA names: rows of stride 1 and equal widths are
latencies of whole blocks (pointwise, depthwise, pointwise). Those figures are of another model, DNN-Chip Predictor
(Zhao et al., ICASSP 2020): row stationary on 12 x 14 PEs at 250 MHz, whose memories never stall it, and which picks the
tiling of least energy plus latency. So agreement says how alike two models are, not how true either is.

Prints, per model, Spearman's and Kendall's correlation with the published latency over all blocks, the mean of
Spearman's within groups of about equal MACs (where MACs say little), and the mean absolute relative error: as it is, at
250 MHz, and after one common factor for all blocks (the median ratio), which is all that MACs can be judged by.
"""

from __future__ import annotations

import csv
import gzip
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

from coevo.accelerator import load_template
from coevo.accelerator.machine import Accelerator
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.published_blocks import BLOCKS, TASK
from coevo.networks import build_family, load_space
from coevo.networks.fbnet import from_digits
from coevo.workload import Workload

FAMILY = build_family(load_space("fbnet"), TASK)
CLOCK_MHZ = 250.0
GROUPS = 6
"""Of eight blocks each, by MACs."""

Block = tuple[Workload, float]
"""The layers, and the published latency [ms]."""


def block(row: dict[str, str]) -> Workload:
    """Returns the layers of a block of space fbnet, whose MACs must be those of the file."""
    choices = dict.fromkeys(from_digits("0" * BLOCKS), row["op"])
    name = list(choices)[int(row["layer"])]
    wanted = [f"{name}.{part}" for part in ("expand", "depthwise", "project")]
    layers = tuple(layer for layer in FAMILY.workload(choices).layers if layer.name in wanted)
    assert [layer.macs for layer in layers] == [int(row[column]) for column in ("m_pw1", "m_dw", "m_pw2")], row
    return Workload(f"{row['H']} x {row['cin']} {row['op']}", layers)


def blocks(file: Path) -> list[Block]:
    """Returns the blocks whose published latency is that of the block alone."""
    with gzip.open(file, "rt", encoding="utf-8") as text:
        rows = list(csv.DictReader(text))
    return [(block(r), float(r["ey"])) for r in rows if r["stride"] == "1" and r["cin"] == r["cout"]]


def unstalled(machine: Accelerator) -> Accelerator:
    """Returns the machine with memories and buses that deliver whatever is asked."""
    ports = dict.fromkeys(("read_words_per_cycle", "write_words_per_cycle", "words_per_cycle"), math.inf)
    buses = {"bus_words_per_cycle": (math.inf,) * 3}
    return replace(machine, memories=tuple(replace(memory, **ports, **buses) for memory in machine.memories))


def latencies(machine: Accelerator, objective: str, workloads: Sequence[Workload]) -> np.ndarray:
    """Returns the model's latency of each block at `CLOCK_MHZ` [ms]."""
    model = AnalyticalCost(AnalyticalSettings(objective=objective))
    costs = model.evaluate([(workload, machine) for workload in workloads])
    assert all(cost.violation == 0 for cost in costs)
    return np.array([cost.latency_cycles / (CLOCK_MHZ * 1e3) for cost in costs])


def verdict(name: str, ours: np.ndarray, theirs: np.ndarray, macs: np.ndarray, counts: bool = False) -> str:
    """Returns a line of the table."""
    rank, tau = spearmanr(ours, theirs).statistic, kendalltau(ours, theirs).statistic
    parts = np.array_split(np.argsort(macs, kind="stable"), GROUPS)
    within = np.mean([spearmanr(ours[part], theirs[part]).statistic for part in parts])
    error = np.abs(ours / theirs - 1).mean()
    scaled = np.abs(ours / theirs / np.median(ours / theirs) - 1).mean()
    return (
        f"{name:44} {rank:8.3f} {tau:8.3f} {within:8.3f} {'' if counts else f'{error:.1%}':>8} {scaled:8.1%}"
        f"{'' if counts else f'   {np.median(ours / theirs):5.2f}'}"
    )


def main() -> None:
    """Prints the table."""
    folder = os.environ.get("COEVO_DATA")
    file = Path(folder or "") / "fbnet_block_lut_cifar100.csv.gz"
    if not folder or not file.is_file():
        sys.exit(__doc__)
    known = blocks(file)
    workloads, theirs = [workload for workload, _ in known], np.array([latency for _, latency in known])
    macs = np.array([workload.macs for workload in workloads], dtype=np.float64)
    print(f"{len(known)} blocks; Eyeriss as DNN-Chip Predictor has it")
    print(f"{'':44} Spearman  Kendall   within     MAPE   scaled   ours/theirs")
    print(verdict("MACs", macs, theirs, macs, counts=True))
    eyeriss = load_template("eyeriss").build()
    for name, machine in (("eyeriss.yaml", eyeriss), ("the same, no memory stalls", unstalled(eyeriss))):
        for objective in ("edp", "latency", "energy"):
            label = f"{name}, mapped for {objective}"
            print(verdict(label, latencies(machine, objective, workloads), theirs, macs))


if __name__ == "__main__":
    main()
