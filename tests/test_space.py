"""Genomes of conditional spaces against plain enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coevo.space import Gene, Space, join

STAGE = (
    Gene("depth", (0, 1, 2)),
    Gene("block1.op", ("conv", "pool"), ordered=False, parent="depth", when=(1, 2)),
    Gene("block1.kernel", (3, 5, 7), parent="block1.op", when=("conv",)),
    Gene("block2.op", ("conv", "pool"), parent="depth", when=(2,)),
)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Up to six genes; each may hang from any earlier one, so parents nest."""
    genes: list[Gene] = []
    for i in range(draw(st.integers(1, 6))):
        choices = tuple(draw(st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True)))
        parent = draw(st.none() | st.sampled_from(genes)) if genes else None
        when = tuple(draw(st.sets(st.sampled_from(parent.choices)))) if parent else ()
        genes.append(Gene(f"gene{i}", choices, parent=parent and parent.name, when=when))
    return Space(tuple(genes))


def everything(space: Space) -> np.ndarray:
    return np.array(list(itertools.product(*(range(len(gene.choices)) for gene in space.genes))), dtype=np.int64)


def chosen(space: Space, genome: np.ndarray) -> dict[str, object]:
    """The active genes' values by the definition: a gene counts if its parent does, with one of its values."""
    values: dict[str, object] = {}
    for gene, index in zip(space.genes, genome, strict=True):
        if gene.parent is None or (gene.parent in values and values[gene.parent] in gene.when):
            values[gene.name] = gene.choices[index]
    return values


properties = settings(max_examples=60, deadline=None)


@given(spaces())
@properties
def test_decoding_gives_exactly_the_active_genes(space):
    for genome in everything(space):
        assert space.decode(genome) == chosen(space, genome)


@given(spaces())
@properties
def test_encode_undoes_decode_and_gives_the_canonical_genome(space):
    genomes = everything(space)
    for genome, canonical in zip(genomes, space.canonical(genomes), strict=True):
        values = space.decode(genome)
        np.testing.assert_array_equal(space.encode(values), canonical)
        assert space.decode(space.encode(values)) == values


@given(spaces())
@properties
def test_canonical_is_idempotent_and_equal_for_equal_designs_alone(space):
    genomes = everything(space)
    canonical = space.canonical(genomes)
    np.testing.assert_array_equal(space.canonical(canonical), canonical)
    keys = {(tuple(row), tuple(chosen(space, genome).items())) for row, genome in zip(canonical, genomes, strict=True)}
    assert len(keys) == len({row for row, _ in keys}) == len({values for _, values in keys})


@given(spaces())
@properties
def test_the_size_is_the_number_of_distinct_designs(space):
    assert space.size == len({tuple(row) for row in space.canonical(everything(space))})


@given(spaces(), st.integers(0, 2**32))
@properties
def test_samples_are_in_range_canonical_and_repeatable(space, seed):
    drawn = space.sample(np.random.default_rng(seed), 20)
    assert drawn.shape == (20, len(space.genes)) and drawn.dtype == np.int64
    space.check(drawn)
    np.testing.assert_array_equal(space.canonical(drawn), drawn)
    np.testing.assert_array_equal(space.sample(np.random.default_rng(seed), 20), drawn)


def test_sampling_reaches_every_design_of_a_small_space():
    space = Space(STAGE)
    drawn = space.sample(np.random.default_rng(0), 500)
    assert len({tuple(row) for row in drawn}) == space.size == 1 + (3 + 1) + (3 + 1) * 2


def test_a_space_too_large_to_count_in_64_bits_has_its_exact_size():
    assert Space(tuple(Gene(f"g{i}", tuple(range(10))) for i in range(30))).size == 10**30


def test_inactive_genes_may_be_given_and_do_not_count():
    space = Space(STAGE)
    given_too = space.encode({"depth": 0, "block1.op": "pool", "block1.kernel": 7})
    np.testing.assert_array_equal(given_too, space.encode({"depth": 0}))


def test_join_puts_genes_one_after_the_other():
    other = Gene("other", (1, 2))
    assert join(STAGE, [other]).genes == (*STAGE, other)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"depth": 1, "block1.op": "conv"}, "no value for block1.kernel"),
        ({}, "no value for depth"),
        ({"depth": 3}, r"depth: 3 is not one of \[0, 1, 2\]"),
        ({"depth": 0, "block1.op": "none"}, "block1.op: 'none' is not one of"),
        ({"depth": 0, "width": 1, "a": 2}, "no such gene: a, width"),
    ],
)
def test_values_that_make_no_design_are_refused(values, said):
    with pytest.raises(ValueError, match=said):
        Space(STAGE).encode(values)


@pytest.mark.parametrize(
    ("genomes", "said"),
    [
        (np.zeros((2, 3), np.int64), r"must be int64 \(batch, gene\) = \(batch, 4\); got int64 \(2, 3\)"),
        (np.zeros(4, np.int64), r"got int64 \(4,\)"),
        (np.zeros((2, 4), np.int32), r"got int32 \(2, 4\)"),
        (np.array([[3, 0, 0, 0]]), "index outside"),
        (np.array([[0, 0, 0, -1]]), "index outside"),
    ],
)
def test_genomes_of_the_wrong_shape_type_or_range_are_refused(genomes, said):
    with pytest.raises(ValueError, match=said):
        Space(STAGE).canonical(genomes)


@pytest.mark.parametrize("choices", [(), (1, 2, 1), (1, 1.0)])
def test_choices_must_be_different_and_at_least_one(choices):
    with pytest.raises(ValueError, match="gene g: choices must be different and at least one"):
        Gene("g", choices)


def test_a_gene_twice_and_a_parent_that_does_not_come_before_are_refused():
    with pytest.raises(ValueError, match="gene depth stands twice"):
        join(STAGE, STAGE)
    with pytest.raises(ValueError, match=r"gene block1\.op: its parent depth must come before it"):
        Space(STAGE[1:])
