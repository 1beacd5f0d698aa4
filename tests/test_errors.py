"""One line for every mistake: place, field, problem, cure."""

from __future__ import annotations

import pytest

from coevo.errors import SpecError, near


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ({}, "is wrong"),
        ({"file": "a.yaml"}, "a.yaml: is wrong"),
        ({"file": "a.yaml", "line": 3}, "a.yaml:3: is wrong"),
        ({"file": "a.yaml", "line": 3, "field": "x.y"}, "a.yaml:3: x.y: is wrong"),
        ({"line": 3, "field": "x.y"}, "x.y: is wrong"),
    ],
)
def test_only_what_is_known_of_the_place_is_said(place, text):
    assert str(SpecError("is wrong", **place)) == text


def test_a_problem_of_many_lines_becomes_one():
    assert str(SpecError("  is\n\twrong \r\n twice ", file="a.yaml")) == "a.yaml: is wrong twice"


def test_a_near_name_is_proposed_and_all_known_ones_are_listed():
    assert near("latencey", ["energy", "latency", "area"]) == "(did you mean 'latency'? known: area, energy, latency)"
    assert near("zzz", ["energy"]) == "(known: energy)"
    assert near("zzz", []) == "(known: none)"
