"""The formulas of the loop-nest model, each once: plain elementwise arithmetic.

They run on numpy arrays, on torch tensors and on plain numbers; `coevo.cost.exact` compiles the same source. So
nothing here may branch on a value or call anything but arithmetic: a condition is a factor, 0 or 1 where bounds are
whole. Between whole bounds it goes from one to the other in a straight line, and what hangs on several
conditions is their mean, as if each held by its share: the formulas are the exact model at whole bounds and
continuous in between, which is what a gradient needs (`coevo.cost.relaxed`).

The rules are Timeloop's (Parashar et al., "Timeloop: a systematic approach to DNN accelerator evaluation",
ISPASS 2019, sec. V-VI; NVlabs/timeloop's nest analysis).
"""

from __future__ import annotations

from typing import Any

Array = Any
"""A numpy array, a torch tensor or a number; all arguments of a call broadcast together."""

Fold = tuple[Array, Array, Array, Array, Array, Array, Array, Array]
"""State of the inputs' fold over the loops outside a tile, innermost first; starts as `START`.

(steps, slides, slid, away, h, w, lead_h, lead_w): steps in time at which words may come in; those of them that
slide the window; whether the tile has moved along height or width; whether it has moved along another axis; how far
the loops so far carry it along height and width [word]; the innermost such loop's step, times ``slid``.
"""

START = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def moves(bound: Array) -> Array:
    """Whether a loop iterates: 0 at bound 1, 1 from 2 on, the share in between."""
    return (bound - 1) - (bound - 2) * (bound > 2)


def span(outputs: Array, taps: Array, stride: Array, dilation: Array) -> Array:
    """Extent of the inputs along a sliding axis [word], what a stride skips included (Timeloop's bounding box)."""
    return (outputs - 1) * stride + (taps - 1) * dilation + 1


def still(steps: Array, moved: Array, bound: Array) -> Array:
    """Steps after a loop that does not move the tile: it stays, and costs nothing, until something has moved it."""
    return steps * (1 + moved * (bound - 1))


def repeat(fold: Fold, bound: Array) -> Fold:
    """The inputs' fold after a loop that does not move them."""
    steps, slides, slid, away, h, w, lead_h, lead_w = fold
    moved = 1 - (1 - slid) * (1 - away)
    return steps * (1 + moved * (bound - 1)), slides * bound, slid, away, h, w, lead_h, lead_w


def jump(fold: Fold, bound: Array, iterates: Array) -> Fold:
    """The inputs' fold after a loop over batch, groups or channels: every step is a new tile, no window slides on.

    ``iterates`` are the bound's `moves`, here and in `slide`.
    """
    steps, slides, slid, away, h, w, lead_h, lead_w = fold
    return steps * bound, slides * bound, slid, away + iterates * (1 - away), h, w, lead_h, lead_w


def slide(fold: Fold, bound: Array, iterates: Array, step_h: Array, step_w: Array) -> Fold:
    """The inputs' fold after a loop that moves the window by a step along height or width; the other step is 0.

    A step brings in the rim alone if it equals the step before, which is the innermost moving loop's: so that
    loop's own steps do, and an outer loop's do where it takes up just where the loops inside it, standing at
    their second iteration, would go on; and nothing where it lands where they stand (Timeloop runs the first two
    iterations of every loop and counts the second for all that follow).
    """
    steps, slides, slid, away, h, w, lead_h, lead_w = fold
    ahead_h, ahead_w = step_h - h, step_w - w
    apart = abs(ahead_h) + abs(ahead_w)
    same = (1 - away) * (1 - apart) * (apart < 1)
    turn = abs(slid * ahead_h - lead_h) + abs(slid * ahead_w - lead_w)
    on = (1 - away) * (1 - slid + slid * (1 - turn) * (turn < 1))
    first = iterates * (1 - slid)
    return (
        steps * bound - same * (bound - 1),
        slides * bound + on * (bound - 1),
        slid + first,
        away,
        h + iterates * step_h,
        w + iterates * step_w,
        lead_h + first * step_h,
        lead_w + first * step_w,
    )


def overlap(channels: Array, span_h: Array, span_w: Array, lead_h: Array, lead_w: Array) -> Array:
    """Input words that a box keeps when it slides by the leading step."""
    left_h, left_w = span_h - lead_h, span_w - lead_w
    return channels * (left_h * (left_h > 0)) * (left_w * (left_w > 0))


def meetings(rows: Array, taps: Array, step_row: Array, step_tap: Array, common: Array) -> Array:
    """Lanes that share their inputs with another on a diagonal: output rows and filter rows both unrolled.

    Offsets ``a i + b j`` (``i < rows``, ``j < taps``) take ``rows taps - meetings`` values, since (i, j) and
    (i + b/g, j - a/g) coincide, ``g = gcd(a, b)`` = ``common``.
    """
    rows_left, taps_left = rows - step_tap / common, taps - step_row / common
    return (rows_left * (rows_left > 0)) * (taps_left * (taps_left > 0))
