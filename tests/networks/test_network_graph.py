from __future__ import annotations

import weakref

import pytest
import torch

from coevo.networks.graph import INPUT, Add, Conv, Graph, Linear, Norm, Pool, Zeros
from coevo.networks.modules import GraphModule


@pytest.mark.parametrize(
    ("nodes", "complaint"),
    [
        ((Conv("a", INPUT, 4), Conv("a", "a", 4)), "node a stands twice"),
        ((Conv("a", "b", 4),), "node a: its source b must come before it"),
        ((Conv("a", INPUT, 6, groups=4),), "node a: 8 -> 6 channels do not divide into 4 groups"),
        ((Conv("a", INPUT, 6), Add("b", (INPUT, "a"))), r"node b: adds two or more maps of one shape"),
        ((Add("b", (INPUT,)),), r"node b: adds two or more maps of one shape"),
        (
            (Pool("a", INPUT, "avg", 2, 2), Pool("b", "a", "avg", 2, 2), Pool("c", "b", "avg", 2, 2)),
            "node c: .*nothing",
        ),
        (
            (Conv("a", INPUT, 4, kernel=3, stride=5),),
            "node a: a window of 3 with stride 5 leaves nothing of a map of 4",
        ),
    ],
)
def test_an_impossible_graph_is_refused_with_the_node_named(nodes: tuple, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Graph("bad", (8, 4, 4), nodes)


def test_same_padding_rounds_a_strided_map_up() -> None:
    graph = Graph("g", (1, 7, 9), (Conv("a", INPUT, 2, kernel=5, stride=2), Pool("b", "a", "avg", 3)))
    assert graph.shapes["a"] == graph.shapes["b"] == (2, 4, 5)


def test_average_pooling_leaves_padding_out_of_the_average() -> None:
    module = GraphModule(Graph("g", (1, 3, 3), (Pool("pool", INPUT, "avg", 3),)))
    assert torch.equal(module(torch.ones(1, 1, 3, 3)), torch.ones(1, 9))


def test_images_of_another_size_are_resized_first() -> None:
    graph = Graph("g", (1, 4, 4), (Pool("pool", INPUT, "max", 3), Linear("out", "pool", 2)))
    module = GraphModule(graph)
    constant = torch.full((2, 1, 7, 7), 3.0)
    assert torch.allclose(module(constant), module(torch.full((2, 1, 4, 4), 3.0)))
    assert module(constant).shape == (2, 2)


def test_a_branch_reads_its_input_unchanged_by_the_other_branch() -> None:
    branches = (Norm("n", INPUT), Conv("c", "n", 1, affine="none", before="relu"), Add("sum", ("n", "c")))
    module = GraphModule(Graph("g", (1, 1, 1), branches)).eval()
    torch.nn.init.ones_(module.get_submodule("c.conv").weight)
    assert module(torch.tensor([[[[-2.0]]]])).item() == pytest.approx(-2.0, rel=1e-4), "the sum sees -2, not relu(-2)"


def test_zeros_stop_even_a_nan() -> None:
    module = GraphModule(Graph("g", (1, 1, 1), (Zeros("z", INPUT),)))
    assert module(torch.full((1, 1, 1, 1), float("nan"))).item() == 0


def test_values_are_freed_once_nobody_reads_them() -> None:
    nodes = (Conv("a", INPUT, 1), Conv("dead", "a", 1), Conv("b", "a", 1), Add("sum", ("b", "b")))
    module = GraphModule(Graph("g", (1, 2, 2), nodes))
    made: dict[str, weakref.ref[torch.Tensor]] = {}
    alive: dict[str, list[str]] = {}

    def watch(name: str, output: torch.Tensor) -> None:
        alive[name] = [key for key, value in made.items() if value() is not None]
        made[name] = weakref.ref(output)

    for node in nodes:
        part = module.get_submodule(node.name)
        part.register_forward_hook(lambda m, given, output, name=node.name: watch(name, output))
    with torch.no_grad():
        assert module(torch.zeros(1, 1, 2, 2)).shape == (1, 4)
    assert alive == {"a": [], "dead": ["a"], "b": ["a"], "sum": ["b"]}


def test_the_same_torch_seed_gives_the_same_weights() -> None:
    graph = Graph("g", (3, 4, 4), (Conv("a", INPUT, 4, kernel=3), Linear("out", "a", 2)))
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(GraphModule(graph).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
