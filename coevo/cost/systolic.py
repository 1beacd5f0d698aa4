"""What filling and draining a systolic array costs, exactly as SCALE-Sim counts it.

In a systolic array operands pass from lane to lane, one step a cycle, so lanes start and end one after the other.
While the array works on one tile of its stationary operand, every temporal iteration takes a cycle, as in any
array; but every change of that tile (a *fold*) costs `overhead` cycles more:

    cycles = compute cycles of the nest + folds * overhead(stationary, rows, columns) - 1

SCALE-Sim numbers cycles from 0 and reports the number of the last, hence the -1, once a layer. Compute and fill do
not overlap between folds, and the array is crossed in full however many of its lanes are in use.

The rules are those of Samajdar et al., "A systematic methodology for characterizing scalability of DNN accelerators
using SCALE-Sim", ISPASS 2020, sec. III, as SCALE-Sim 3.0.0 runs them. All formulas are plain elementwise arithmetic, on
numbers, numpy arrays and torch tensors alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from coevo.cost.formulas import moves as iterates
from coevo.cost.formulas import still

Array = Any
"""A number, numpy array or torch tensor; all arguments of a call broadcast together."""

Stationary = Literal["weights", "inputs", "outputs"]
"""The operand whose tile stays in the array, a word in each lane."""


def overhead(stationary: Stationary, rows: Array, columns: Array) -> Array:
    """Returns the cycles that a fold costs besides its own iterations.

    Stationary weights or inputs are shifted in row by row (``rows`` cycles) before the other operand enters, whose
    last word then crosses ``rows - 1`` lanes down and ``columns - 1`` across. Stationary outputs need no loading;
    both operands cross the array while it computes.

    Args:
        stationary: What stays in the array.
        rows: Rows of the whole array.
        columns: Columns of the whole array.

    Returns:
        ``2 rows + columns - 2`` for weights and inputs, ``rows + columns - 2`` for outputs [cycle].
    """
    crossing = rows + columns - 2
    return crossing if stationary == "outputs" else rows + crossing


def fold_cycles(compute: Array, folds: Array, stationary: Stationary, rows: Array, columns: Array) -> Array:
    """Returns the cycles of a nest whose array is systolic: the loop-nest view.

    Args:
        compute: The nest's temporal iterations [cycle].
        folds: How often the array takes in a tile of the stationary operand, the first time included.
        stationary: What stays in the array.
        rows: Rows of the whole array.
        columns: Columns of the whole array.
    """
    return compute + folds * overhead(stationary, rows, columns) - 1


def folds(loops: Iterable[tuple[Array, bool]]) -> Array:
    """Returns how often a tile changes: the iterations of all loops from the innermost one that moves it outwards.

    Args:
        loops: (bound, whether it moves the tile) of the temporal loops outside the tile, innermost first.
    """
    steps: Array = 1
    moved: Array = 0
    for bound, moves in loops:
        if moves:
            steps = steps * bound
            moved = 1 - (1 - moved) * (1 - iterates(bound))
        else:
            steps = still(steps, moved, bound)
    return steps


def gemm_folds(stationary: Stationary, m: Array, n: Array, k: Array, rows: Array, columns: Array) -> Array:
    """Returns the tiles of the stationary operand that a matrix product ``(m, k) x (k, n)`` has.

    Rows by columns hold ``k x n`` of stationary weights, ``k x m`` of inputs, ``m x n`` of outputs.
    """
    down = m if stationary == "outputs" else k
    across = m if stationary == "inputs" else n
    return _ceil(down, rows) * _ceil(across, columns)


def gemm_cycles(stationary: Stationary, m: Array, n: Array, k: Array, rows: Array, columns: Array) -> Array:
    """Returns the compute cycles of a matrix product on a systolic array, as SCALE-Sim reports them.

    Args:
        stationary: What stays in the array; SCALE-Sim's ``ws``, ``is``, ``os`` are weights, inputs, outputs.
        m: Rows of the input matrix (output pixels of a convolution).
        n: Columns of the weight matrix (filters).
        k: The common dim (a filter's words).
        rows: Rows of the array.
        columns: Columns of the array.
    """
    count = gemm_folds(stationary, m, n, k, rows, columns)
    streamed = {"weights": m, "inputs": n, "outputs": k}[stationary]
    return fold_cycles(count * streamed, count, stationary, rows, columns)


def _ceil(size: Array, lanes: Array) -> Array:
    return -(-size // lanes)
