"""One reward out of several objectives: the scalarisations of the survey of hardware-aware NAS.

H. Benmeziane et al., "A Comprehensive Survey on Hardware-Aware Neural Architecture Search", 2021, names the weighted
sum, the weighted product, the weighted exponential sum and the weighted min-max (Tchebycheff); formulas of the latter
are those of R. Marler and J. Arora, "Survey of multi-objective optimization methods for engineering", Struct.
Multidisc. Optim. 26, 2004. Objectives are minimised and scaled to 0 (the best told so far) .. 1 (the worst), rewards
are maximised and lie in -1 .. 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from coevo.protocols import Array

Reward = Literal["weighted_sum", "weighted_product", "exponential", "min_max"]

SHARPNESS = 2.0
"""The exponent p of the exponential criterion."""


def weighted_sum(scaled: Array, weights: Array) -> Array:
    """Returns ``-sum_i w_i s_i`` of scaled objectives and weights ``(design, objective)``."""
    return -np.asarray((weights * scaled).sum(axis=1))


def weighted_product(scaled: Array, weights: Array) -> Array:
    """Returns ``prod_i (v_i / T_i)^-a_i - 1`` of scaled objectives and weights ``(design, objective)``.

    M. Tan et al., "MnasNet", CVPR 2019, eq. 2, for any number of objectives: the target T_i is the best value told.
    As s_i is the logarithm of v_i / T_i over the logarithm R_i of the whole range, the factor is exp(-w_i s_i) with
    the exponent a_i = w_i / R_i, which is the same for objectives in different units. (An objective that may be zero
    or negative has no ratio; its scaled distance stands for the logarithm of one.)
    """
    return np.asarray(np.exp(-weights * scaled).prod(axis=1) - 1)


def exponential(scaled: Array, weights: Array) -> Array:
    """Returns ``-sum_i (e^(p w_i) - 1) e^(p s_i)`` over its largest value, for ``(design, objective)``.

    The exponential weighted criterion (T. Athan and P. Papalambros, Eng. Optim. 27, 1996), which also reaches
    where a front is not convex, as a sum does not.
    """
    factors = np.expm1(SHARPNESS * weights)
    return -np.asarray((factors * np.exp(SHARPNESS * scaled)).sum(axis=1) / (factors.sum(axis=1) * np.exp(SHARPNESS)))


def min_max(scaled: Array, weights: Array) -> Array:
    """Returns ``-max_i w_i s_i`` of scaled objectives and weights ``(design, objective)``: weighted Tchebycheff."""
    return -np.asarray((weights * scaled).max(axis=1))


REWARDS: dict[Reward, Callable[[Array, Array], Array]] = {
    "weighted_sum": weighted_sum,
    "weighted_product": weighted_product,
    "exponential": exponential,
    "min_max": min_max,
}
"""The scalarisations by name."""

assert set(REWARDS) == set(get_args(Reward))
