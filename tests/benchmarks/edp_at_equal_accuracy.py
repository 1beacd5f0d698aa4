"""How near do runs on a problem whose true front is known come to the best energy x delay at equal accuracy?

    python tests/benchmarks/edp_at_equal_accuracy.py exact_eyeriss runs/exact_eyeriss/gradient/*

Of a run count the designs than which it found none with a lower error and no greater latency x energy. Each has a
ratio: its product over the least that any design of its error or less has (that one is on the true front: no design is
better in both costs). Prints how many there are, the median ratio, the best, and how many are within 5 %.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from coevo.compare import read_front
from coevo.compare.runs import read_run
from coevo.pareto import nondominated


def products(values: np.ndarray) -> np.ndarray:
    """Returns error, the first objective, and the product of the costs ``(design, 2)``."""
    return np.column_stack([values[:, 0], values[:, 1:].prod(axis=1)])


def main() -> None:
    """Prints a line per run, and the medians over all."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    front = np.array(read_front(sys.argv[1]).front)
    true = products(front)
    lines = []
    for folder in sys.argv[2:]:
        found = products(read_run(Path(folder), front.shape[1]).values)
        best = found[nondominated(found, np.zeros(len(found)))]
        ratios = np.array([product / true[true[:, 0] <= error + 1e-9, 1].min() for error, product in best])
        lines.append((len(ratios), np.median(ratios), ratios.min(), np.mean(ratios <= 1.05)))
        print(f"{folder}: {_text(lines[-1])}")
    print(f"median of {len(lines)} runs: {_text(np.median(lines, axis=0))}")


def _text(line: np.ndarray | tuple[float, ...]) -> str:
    return f"{line[0]:.0f} designs, median {line[1]:.3f}, best {line[2]:.3f}, {line[3]:.0%} within 5 %"


if __name__ == "__main__":
    main()
