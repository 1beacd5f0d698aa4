from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from coevo.networks.cell import EDGES, OPERATIONS, Cell, CellSettings, from_digits
from coevo.networks.graph import INPUT, Add, Conv, Graph, Pool, Zeros
from coevo.networks.paths import MOST_WORDS, live_nodes, parts, structure
from coevo.protocols import Task

WORDS = {"nor_conv_1x1": ("conv1",), "nor_conv_3x3": ("conv3",), "avg_pool_3x3": ("pool3",), "skip_connect": ()}


def _graph(digits: str, cells: int = 1) -> Graph:
    return Cell(CellSettings(cells=cells), Task(3, 32, 10)).graph(from_digits(digits))


def _paths(digits: str, node: int = 0) -> list[tuple[str, ...]]:
    """Words of all paths through a cell, by walking every edge that is there."""
    if node == 3:
        return [()]
    operations = {edge: OPERATIONS[int(digit)] for edge, digit in zip(EDGES, digits, strict=True)}
    steps = [(to, operations[to, node]) for to in range(node + 1, 4)]
    return [WORDS[op] + rest for to, op in steps if op != "none" for rest in _paths(digits, to)]


@pytest.mark.parametrize("digits", ["334131", "443113", "123412", "111111", "333333"])
def test_words_are_counted_as_by_walking_every_path(digits: str) -> None:
    found = Counter(tuple(sorted(part.items())) for part in parts(_graph(digits, cells=2)))
    assert found[tuple(sorted(Counter(_paths(digits)).items()))] == 6  # two cells in each of three stages


def test_moments_over_all_paths_are_those_of_the_paths_listed() -> None:
    digits = "334134"
    features = structure(_graph(digits))
    counts = np.array([word.count("conv3") for word in _paths(digits)])
    # three cells, one after the other; two residual blocks, one path of two 3x3 and one of none; the stem
    assert features["paths"] == pytest.approx(3 * math.log(len(counts)) + 2 * math.log(2))
    assert features["mean conv3"] == pytest.approx(3 * counts.mean() + 2 * 1 + 1)
    assert features["variance conv3"] == pytest.approx(3 * counts.var() + 2 * 1)
    assert features["most conv3"] == 3 * counts.max() + 5
    assert features["least conv3"] == 3 * counts.min() + 1


def test_what_no_path_takes_does_not_count() -> None:
    dead = structure(_graph("330400"))  # the edges to nodes 1 and 2 lead nowhere
    assert dead == structure(_graph("000400")) == structure(_graph("343400"))
    assert structure(_graph("330400")) != structure(_graph("330430"))
    assert len(live_nodes(_graph("330400"))) < len(_graph("330400").nodes)


def test_a_network_whose_output_the_input_does_not_reach_has_no_features() -> None:
    assert live_nodes(_graph("333000")) == ()
    assert structure(_graph("333000")) == {}


def test_cells_that_differ_in_numbering_alone_have_the_same_features() -> None:
    # Nodes 1 and 2 side by side: exchanged, the network is the same.
    assert structure(_graph("320143")) != structure(_graph("320134"))
    assert structure(_graph("320143")) == structure(_graph("230134"))


def test_macs_are_those_of_the_live_convolutions_by_height() -> None:
    graph = Graph("g", (3, 8, 8), (Conv("a", INPUT, 4, kernel=3), Conv("dead", "a", 64), Conv("b", "a", 4, stride=2)))
    features = structure(graph)
    assert features["macs at 8"] == pytest.approx(math.log(4 * 64 * 27))
    assert features["macs at 4"] == pytest.approx(math.log(4 * 16 * 4))
    assert features["live conv1"] == 1


def test_zeros_end_a_path_and_pools_are_no_convolutions() -> None:
    nodes = (Pool("p", INPUT, "avg", 3), Zeros("z", INPUT), Add("sum", ("p", "z", INPUT)))
    features = structure(Graph("g", (3, 8, 8), nodes))
    assert features["paths"] == pytest.approx(math.log(2))
    assert features["mean operation"] == 0.5
    assert features["mean convolution"] == 0


def test_a_graph_without_a_waist_is_cut_off_the_same_in_every_order_of_addends() -> None:
    def dense(order: tuple[int, ...]) -> Graph:
        nodes: list[Conv | Add] = []
        values = [INPUT]
        for i in range(1, 9):
            source = values[-1]
            if len(values) > 1:
                ordered = sorted(values, key=lambda name: order[len(name) % len(order)])
                nodes.append(Add(f"{'s' * i}", tuple(ordered)))
                source = nodes[-1].name
            nodes.append(Conv(f"c{'c' * i}", source, 3, kernel=1 + 2 * (i % 3)))
            values.append(nodes[-1].name)
        return Graph("dense", (3, 8, 8), (*nodes, Add("out", tuple(values))))

    first, *others = (structure(dense(order)) for order in permutations(range(3)))
    assert all(other == pytest.approx(first) for other in others)
    assert sum(name.startswith("word") for name in first) <= MOST_WORDS


def test_inverted_residual_blocks_have_a_long_path_and_a_short_one() -> None:
    nodes = (
        Conv("stem", INPUT, 4, kernel=3),
        Conv("expand", "stem", 8),
        Conv("depthwise", "expand", 8, kernel=5, groups=8),
        Conv("project", "depthwise", 4),
        Add("sum", ("project", "stem")),
    )
    graph = Graph("block", (3, 8, 8), nodes)
    assert list(parts(graph)) == [{("conv3",): 1}, {("conv1", "grouped5", "conv1"): 1, (): 1}]
    assert structure(graph)["together conv1 grouped5"] == pytest.approx(0.5)
