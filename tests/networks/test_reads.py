"""Which layer reads which: of graphs, of a user's own modules, and that both say the same of one network."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from coevo.networks import build_family, load_space
from coevo.networks.cell import Cell, CellSettings, from_digits
from coevo.networks.exporting.onnx_model import onnx_model
from coevo.networks.graph import INPUT, Add, Conv, Graph, Linear, Zeros
from coevo.networks.importing import import_network
from coevo.networks.importing.lowering import lower as lower_operators
from coevo.networks.importing.torch_module import read_module
from coevo.networks.lowering import lower
from coevo.protocols import Task
from coevo.space import Space
from coevo.workload import Workload

SPACES = {"nasbench201": Task(3, 32, 10), "digits_mbconv": Task(1, 8, 10), "digits_vit": Task(1, 8, 10)}


def reads(workload: Workload) -> dict[str, tuple[str, ...]]:
    names = [layer.name for layer in workload.layers]
    return {name: tuple(names[i] for i in read) for name, read in zip(names, workload.reads, strict=True)}


def test_a_sum_reads_both_branches_and_a_wire_of_zeros_reads_nothing() -> None:
    nodes = (
        Conv("a", INPUT, 4),
        Conv("b", "a", 4),
        Zeros("none", "b"),
        Conv("of_zeros", "none", 4),
        Add("sum", ("a", "b", "of_zeros")),
        Linear("out", "sum", 2),
    )
    assert reads(lower(Graph("g", (4, 8, 8), nodes))) == {
        "a": (), "b": ("a",), "of_zeros": (), "sum": ("a", "b", "of_zeros"), "out": ("sum",)
    }  # fmt: skip


def test_the_edges_of_a_cell_read_its_nodes_and_so_branch() -> None:
    cell = Cell(CellSettings(channels=4, cells=1), Task(1, 8, 10)).workload(from_digits("333333"))
    found = {name: read for name, read in reads(cell).items() if name.startswith("stage1.cell1")}
    inner = {name.removeprefix("stage1.cell1."): tuple(x.removeprefix("stage1.cell1.") for x in read)
             for name, read in found.items()}  # fmt: skip
    assert inner == {
        "node1.from0": ("stem",),
        "node2.from0": ("stem",),
        "node2.from1": ("node1.from0",),
        "node2.add": ("node2.from0", "node2.from1"),
        "node3.from0": ("stem",),
        "node3.from1": ("node1.from0",),
        "node3.from2": ("node2.add",),
        "node3.add": ("node3.from0", "node3.from1", "node3.from2"),
    }


@pytest.mark.parametrize("space", SPACES)
def test_what_follows_the_layer_before_reads_that_alone(space: str) -> None:
    family = build_family(load_space(space), SPACES[space])
    genes = Space(family.genes)
    for genome in genes.sample(np.random.default_rng(0), 20):
        workload = family.workload(genes.decode(genome))
        assert workload.after is not None
        for i, layer in enumerate(workload.layers):
            assert not layer.follows or workload.after[i] == (i - 1,)


@pytest.mark.parametrize("space", SPACES)
def test_a_network_read_from_onnx_branches_as_the_one_that_was_written(space, tmp_path) -> None:
    family = build_family(load_space(space), SPACES[space])
    genes = Space(family.genes)
    # ONNX adds two maps at a time, so cells whose sums are of two
    cells = [from_digits(digits) for digits in ("331033", "223043", "124203")]
    for choices in cells if space == "nasbench201" else map(genes.decode, genes.sample(np.random.default_rng(1), 3)):
        graph = family.graph(choices)
        (tmp_path / "net.onnx").write_bytes(onnx_model(graph, family.module(choices).eval(), {}))
        again = import_network(str(tmp_path / "net.onnx"))
        assert sorted(shape(again)) == sorted(shape(lower(graph)))


def shape(workload: Workload) -> list[tuple[object, ...]]:
    """Every layer's operations, and those of the layers it reads: through passes of an activation, which ONNX adds."""
    sizes = [layer.operations for layer in workload.layers]
    read: list[tuple[int, ...]] = []
    for own in workload.reads:
        through = [read[i] if workload.layers[i].kind == "activation" else (i,) for i in own]
        read.append(tuple(sorted(itertools.chain(*through))))
    layers = zip(sizes, read, workload.layers, strict=True)
    return [(size, tuple(sizes[i] for i in own)) for size, own, layer in layers if layer.kind != "activation"]


class Branches(nn.Module):
    """Both branches read the stem; one of its forms is needed raw, so that the activation is a pass of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raw = self.stem(x)
        both = torch.cat((self.left(torch.relu(raw)), self.right(raw)), dim=1)
        return both[:, :4] + both[:, 4:]


def test_passes_concatenations_and_parts_are_read_where_they_are_made() -> None:
    layers = lower_operators(read_module(Branches(), "net", (("float32", (4, 8, 8)),)))
    kinds = [layer.kind for layer in layers.layers]
    assert kinds == ["conv", "activation", "conv", "conv", "move", "add"]
    assert layers.after == ((), (0,), (1,), (0,), (2, 3), (4,))


class Best(nn.Module):
    """Between two layers an operator that counts as nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).topk(2).values)


def test_what_an_ignored_operator_makes_waits_for_what_the_operator_reads() -> None:
    layers = lower_operators(read_module(Best(), "net", (("float32", (4,)),), ("topk",)))
    assert layers.after == ((), (0,))


def test_what_reads_a_transposed_convolution_waits_for_all_of_its_phases() -> None:
    network = nn.Sequential(nn.ConvTranspose2d(4, 4, 3, stride=2), nn.Conv2d(4, 4, 1))
    layers = lower_operators(read_module(network, "net", (("float32", (4, 8, 8)),)))
    phases = len(layers.layers) - 1
    assert phases > 1
    assert layers.after == ((),) * phases + (tuple(range(phases)),)
