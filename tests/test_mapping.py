"""Mappings as nouns, and as the plain data of a design file."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from coevo.mapping import LevelMapping, Mapping
from coevo.workload import DIMS

loops = st.lists(st.tuples(st.sampled_from(DIMS), st.integers(1, 10**6)), max_size=4).map(tuple)
mappings = st.lists(st.builds(LevelMapping, st.text(min_size=1, max_size=8), loops, loops, loops), max_size=4).map(
    lambda levels: Mapping(tuple(levels))
)


@given(mappings)
@settings(max_examples=60, deadline=None)
def test_a_mapping_survives_plain_data_and_yaml(mapping):
    assert Mapping.from_data(mapping.to_data()) == mapping
    assert Mapping.from_data(yaml.safe_load(yaml.safe_dump(mapping.to_data()))) == mapping


def test_empty_axes_are_left_out_of_the_data():
    mapping = Mapping((LevelMapping("dram", (("m", 4), ("c", 2))), LevelMapping("buffer", x=(("p", 7),))))
    assert mapping.to_data() == [
        {"memory": "dram", "temporal": ["m=4", "c=2"]},
        {"memory": "buffer", "x": ["p=7"]},
    ]


def test_extents_multiply_the_loops_of_all_levels_and_axes():
    level = LevelMapping("a", temporal=(("m", 2), ("c", 3), ("m", 5)), x=(("m", 7),), y=(("p", 11),))
    assert level.extent("m") == 2 * 5 * 7 and level.extent("p") == 11 and level.extent("s") == 1
    extents = dict(zip(DIMS, Mapping((level, LevelMapping("b", (("m", 13),)))).extents(), strict=True))
    assert extents == dict.fromkeys(DIMS, 1) | {"m": 2 * 5 * 7 * 13, "c": 3, "p": 11}


@pytest.mark.parametrize(
    "loop", ["m", "m=", "m=0", "m=-2", "m=1.5", "k=3", "=3", "M=3", "m=3=4", " m=3", "m= 3", "m=²", 4, None, ["m=3"]]
)
def test_a_bad_loop_is_shown_with_the_form_it_should_have(loop):
    with pytest.raises(ValueError, match="a loop reads dim=bound with dim one of n g m c p q r s") as caught:
        Mapping.from_data([{"memory": "dram", "temporal": [loop]}])
    assert repr(loop) in str(caught.value)


@pytest.mark.parametrize("given_loops", ["m=4", {"m": 4}, 4, None])
def test_loops_that_are_no_list_are_refused(given_loops):
    with pytest.raises(ValueError, match="loops are a list such as"):
        Mapping.from_data([{"memory": "dram", "x": given_loops}])


@pytest.mark.parametrize("level", [{}, {"temporal": []}, {"memory": 3}, {"memory": "dram", "spatial": []}])
def test_a_level_without_a_memory_or_with_other_keys_is_refused(level):
    with pytest.raises(ValueError, match="a mapping level has the keys memory, temporal, x, y"):
        Mapping.from_data([level])
