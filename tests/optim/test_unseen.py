from __future__ import annotations

import itertools

import numpy as np
import pytest

from coevo.optim.unseen import Seen, first_of_equal, successor
from coevo.space import Gene, Space

from .problem import TINY

NESTED = Space(
    (
        Gene("a", (0, 1, 2)),
        Gene("b", (0, 1), parent="a", when=(1, 2)),
        Gene("c", (0, 1, 2), parent="b", when=(1,)),
        Gene("d", ("only",)),
        Gene("e", (0, 1)),
    )
)


def all_canonical(space: Space) -> set[tuple[int, ...]]:
    """Every canonical genome, from the product of all choices."""
    product = np.array(list(itertools.product(*(range(c) for c in space.cardinalities))), dtype=np.int64)
    return {tuple(row) for row in space.canonical(product)}


@pytest.mark.parametrize("space", [NESTED, Space(TINY), Space((Gene("a", (1,)),)), Space(())])
def test_successors_walk_once_through_the_whole_space_in_lexicographic_order(space):
    genome = np.zeros((1, len(space.genes)), dtype=np.int64)
    walk = []
    for _ in range(space.size):
        walk.append(tuple(genome[0]))
        genome = successor(space, genome)
    assert walk == sorted(all_canonical(space))
    assert not genome.any()


def test_draw_finds_the_last_design_of_a_large_space():
    space = Space(tuple(Gene(f"g{i}", tuple(range(5))) for i in range(5)))
    product = np.array(list(itertools.product(range(5), repeat=5)), dtype=np.int64)
    seen = Seen(space)
    seen.add(np.delete(product, 1234, axis=0))
    np.testing.assert_array_equal(seen.draw(np.random.default_rng(0), 3), product[1234:1235])
    assert seen.exhausted


def test_draw_gives_distinct_designs_and_exactly_as_many_as_asked():
    seen = Seen(NESTED)
    rows = np.concatenate([seen.draw(np.random.default_rng(1), 5), seen.draw(np.random.default_rng(1), 4)])
    assert len(rows) == len({tuple(row) for row in rows}) == 9
    assert seen.draw(np.random.default_rng(1), 0).shape == (0, 5)


def test_draw_of_a_space_without_genes_is_its_one_design():
    seen = Seen(Space(()))
    assert seen.draw(np.random.default_rng(0), 3).shape == (1, 0)
    assert seen.draw(np.random.default_rng(0), 3).shape == (0, 0)


def test_fresh_keeps_order_drops_repeats_and_notes_nothing():
    seen = Seen(Space(TINY))
    a, b, c = [0, 0, 0], [1, 0, 1], [1, 1, 1]
    seen.add(np.array([b]))
    rows = np.array([c, a, b, c, a])
    np.testing.assert_array_equal(seen.fresh(rows), [c, a])
    np.testing.assert_array_equal(seen.fresh(rows), [c, a])


def test_first_of_equal_names_the_first_row_of_each():
    assert first_of_equal(np.array([[1, 2], [0, 0], [1, 2], [3, 3], [0, 0]])) == [0, 1, 3]
