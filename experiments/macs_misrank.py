"""How well do MACs rank networks by latency? NAS-Bench-201's cells on 27 device settings, and on accelerators.

    python experiments/macs_misrank.py                     # some 40 seconds
    python experiments/macs_misrank.py --cells 50

Needs nb201_help_latency.npz and nb201_acc.csv.gz in the folder that COEVO_DATA names (README, "Data"). Devices: the
latencies that HELP (H. Lee et al., NeurIPS 2021) gives of all 15,625 cells; the number behind a GPU is the batch, and
eyeriss and fpga are the estimates of HW-NAS-Bench (C. Li et al., ICLR 2021), not measured. Accelerators: the analytical
model's latency and energy of random cells on the templates as they are: a model's word too. Prints Kendall's tau,
Spearman's correlation, and, of the cells whose MACs are within 1 % of the median, the 95th over the 5th percentile:
how far apart networks are that MACs cannot tell apart. (Parameters rank these cells as MACs do.)
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

from coevo.accelerator import load_template
from coevo.cost.analytical import AnalyticalCost
from coevo.cost.published_cells import CELLS, FILE, cells
from coevo.networks import build_family, load_space
from coevo.networks.cell import from_string
from coevo.protocols import Task
from coevo.workload import Workload

ACCELERATORS = ("eyeriss", "nvdla", "shidiannao", "tpu", "simba", "gemmini", "tiny")
"""Templates as they are."""


def line(name: str, values: np.ndarray, macs: np.ndarray) -> str:
    """Returns a row of the table: how a device ranks, and how far cells of equal MACs are apart."""
    known = np.isfinite(values)
    values, macs = values[known], macs[known]
    alike = values[np.abs(macs / np.median(macs) - 1) < 0.01]
    tau, rank = kendalltau(macs, values).statistic, spearmanr(macs, values).statistic
    apart = np.percentile(alike, 95) / np.percentile(alike, 5)
    return f"{name:24} {tau:8.3f} {rank:9.3f} {apart:12.2f} {len(values):8,}"


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=300, help="random cells on the accelerators")
    wanted = parser.parse_args().cells
    data = Path(os.environ.get("COEVO_DATA", ""))
    if not (data / FILE).is_file() or not (data / CELLS).is_file():
        sys.exit(__doc__)
    family = build_family(load_space("nasbench201"), Task(3, 32, 10))
    names = cells(data / FILE)
    counts: dict[tuple[str, ...], float] = {}
    workloads: list[Workload] = []
    rng = np.random.default_rng(0)
    chosen = set(rng.choice(len(names), wanted, replace=False).tolist())
    macs = np.empty(len(names))
    for i, name in names.items():
        choices = from_string(name)
        kinds = tuple(sorted(choices.values()))
        if i in chosen or kinds not in counts:
            workload = family.workload(choices)
            counts[kinds] = workload.macs
            if i in chosen:
                workloads.append(workload)
        macs[i] = counts[kinds]

    head = f"{'':24} {'Kendall':>8} {'Spearman':>9} {'95 % / 5 %':>12} {'cells':>8}"
    print(f"MACs against the latency of devices\n{head}")
    with np.load(data / FILE, allow_pickle=False) as table:
        rows = {str(name): values for name, values in zip(table["devices"], table["latency_ms"], strict=True)}
    for name in sorted(rows, key=lambda name: -kendalltau(macs, rows[name]).statistic):
        print(line(name, rows[name].astype(np.float64), macs))

    own = np.array([workload.macs for workload in workloads], dtype=np.float64)
    print(f"\nMACs against the analytical model\n{head}")
    model = AnalyticalCost()
    for name in ACCELERATORS:
        costs = model.evaluate([(workload, load_template(name).build()) for workload in workloads])
        figures = np.array([[c.latency_cycles, c.energy_pj] if c.violation == 0 else [np.nan] * 2 for c in costs])
        for k, figure in enumerate(("latency", "energy")):
            print(line(f"{name}, {figure}", figures[:, k], own))


if __name__ == "__main__":
    main()
