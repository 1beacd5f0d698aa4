from __future__ import annotations

import pytest

from coevo.evaluate import Constraint
from coevo.evaluate.constraints import total_excess


def test_excess_is_relative_to_the_limit():
    assert Constraint("area_mm2", max=16).excess(20) == pytest.approx(0.25)
    assert Constraint("throughput_per_s", min=50).excess(40) == pytest.approx(0.2)


def test_on_the_limit_is_allowed():
    assert Constraint("area_mm2", max=16, min=16).excess(16) == 0


def test_excess_over_a_limit_of_zero_is_absolute():
    assert Constraint("x", max=0).excess(3) == 3


def test_excesses_add_up_and_each_is_named():
    limits = [Constraint("a", max=10), Constraint("b", min=4), Constraint("c", max=1)]
    violation, reason = total_excess(limits, {"a": 15, "b": 3, "c": 1})
    assert violation == pytest.approx(0.5 + 0.25)
    assert reason == "a is 15, must be <= 10; b is 3, must be >= 4"


def test_what_is_not_known_is_left_out():
    assert total_excess([Constraint("error_pct", max=5)], {"area_mm2": 3}) == (0, "")
