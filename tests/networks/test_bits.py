"""Bit widths as genes: who has which, what modules do with them, and that nothing changes without the section."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from coevo.errors import SpecError
from coevo.networks import load_space
from coevo.networks.cell import EDGES, Cell, CellSettings
from coevo.networks.graph import INPUT, Add, Conv, Graph, Linear, Zeros
from coevo.networks.lowering import lower
from coevo.networks.mbconv import MBConv, MBConvSettings
from coevo.networks.modules import GraphModule
from coevo.networks.quantised import ActivationGrid, WeightGrid, calibrate, set_quantisation
from coevo.protocols import Task
from coevo.workload import Workload

TASK = Task(channels=3, resolution=8, classes=10)
STAGES = [{"depth": 2, "width": 8, "expansion": 2}, {"depth": [1, 2], "width": 12, "stride": 2}]


def mbconv(bits: object) -> MBConv:
    data = {"stem": {"width": 8}, "stages": STAGES, "head": {"width": 16}, "bits": bits}
    return MBConv(MBConvSettings.model_validate(data), TASK)


def cell(bits: object) -> Cell:
    return Cell(CellSettings.model_validate({"channels": 4, "cells": 1, "bits": bits}), TASK)


def edges(operation: str = "nor_conv_3x3") -> dict[str, Any]:
    return {f"node{node}.from{source}": operation for node, source in EDGES}


def bits_by_part(workload: Workload) -> dict[str, set[object]]:
    """(weights, inputs, outputs) of the layers by the first part of their names; movers have no weights."""
    found: dict[str, set[object]] = {}
    for layer in workload.layers:
        assert layer.bits is not None
        assert (layer.bits[0] is None) != layer.has_weights
        assert layer.bits[2] is None, "sums have the machine's width"
        found.setdefault(layer.name.partition(".")[0], set()).add(layer.bits[1])
        if layer.has_weights:
            found[layer.name.partition(".")[0]].add(("weights", layer.bits[0]))
    return found


# -- genes -----------------------------------------------------------------------------------------------------


def test_without_the_section_nothing_changes() -> None:
    plain, quantised = mbconv(None), mbconv({"weights": [4, 8], "activations": 8})
    assert [gene.name for gene in plain.genes] == ["stage2.depth"]
    assert [gene.name for gene in cell(None).genes] == list(edges())
    assert all(layer.bits is None for layer in plain.workload({"stage2.depth": 1}).layers)
    names = set(plain.module({"stage2.depth": 1}).state_dict())
    assert not [name for name in names if "stored" in name or "grid" in name]
    chosen = {"stage2.depth": 1, "bits.weights": 4}
    assert names < set(quantised.module(chosen).state_dict()), "parameters keep their names"


def test_lists_are_ordered_genes_behind_all_others_and_values_are_none() -> None:
    genes = mbconv({"weights": [8, 2, 4], "activations": 8}).genes
    assert [(gene.name, gene.choices, gene.ordered) for gene in genes[1:]] == [("bits.weights", (2, 4, 8), True)]
    genes = mbconv({"weights": [4, 8], "activations": [4, 8], "per": "stage"}).genes
    assert [gene.name for gene in genes[1:]] == [
        "stage1.bits.weights",
        "stage1.bits.activations",
        "stage2.bits.weights",
        "stage2.bits.activations",
    ]
    assert len(cell({"weights": [4, 8], "activations": [4, 8], "per": "stage"}).genes) == 6 + 6


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"weights": 1, "activations": 8}, "greater than or equal to 2"),
        ({"weights": 8, "activations": [8, 17]}, "less than or equal to 16"),
        ({"weights": [], "activations": 8}, "the list is empty"),
        ({"weights": [8, 8], "activations": 8}, "the choice 8 stands 2 times"),
        ({"weights": 8}, r"activations\s+Field required"),
        ({"weights": 8, "activations": 8, "per": "layer"}, "'network' or 'stage'"),
        ({"weights": 8.0, "activations": 8}, "valid integer"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused(section: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        mbconv(section)


def test_a_bit_gene_without_a_value_is_named() -> None:
    with pytest.raises(ValueError, match=r"no value for bits\.weights"):
        mbconv({"weights": [4, 8], "activations": 8}).workload({"stage2.depth": 1})


# -- layers ----------------------------------------------------------------------------------------------------


def test_per_network_all_layers_have_the_chosen_bits() -> None:
    workload = mbconv({"weights": [4, 8], "activations": 6}).workload({"stage2.depth": 1, "bits.weights": 4})
    parts = bits_by_part(workload)
    assert list(parts) == ["stem", "stage1", "stage2", "head"]
    assert all(part == {6, ("weights", 4)} for part in parts.values())


def test_per_stage_each_has_its_own_and_the_ends_have_the_largest() -> None:
    chosen = {f"stage{i}.bits.{kind}": bits for i, kind, bits in
              [(1, "weights", 2), (1, "activations", 3), (2, "weights", 4), (2, "activations", 6)]}  # fmt: skip
    section = {"weights": [2, 4, 8], "activations": [3, 6, 7], "per": "stage"}
    parts = bits_by_part(mbconv(section).workload({"stage2.depth": 2, **chosen}))
    ends = {7, ("weights", 8)}
    assert parts == {"stem": ends, "stage1": {3, ("weights", 2)}, "stage2": {6, ("weights", 4)}, "head": ends}
    own = {"stage3.bits.weights": 8, "stage3.bits.activations": 7}
    parts = bits_by_part(cell(section).workload({**edges(), **chosen, **own}))
    assert parts["reduction1"] == parts["stage2"] == {6, ("weights", 4)}
    assert parts["reduction2"] == {7, ("weights", 8)}


def test_what_follows_what_does_not_depend_on_bits() -> None:
    def follows(bits: object) -> list[bool]:
        return [layer.follows for layer in mbconv(bits).workload({"stage2.depth": 2}).layers]

    assert follows({"weights": 4, "activations": 4}) == follows(None)


# -- modules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_lie_on_a_symmetric_grid_per_channel(bits: int) -> None:
    torch.manual_seed(0)
    weights = torch.randn(5, 4, 3, 3) * torch.tensor([1.0, 10.0, 0.1, 3.0, 0.0]).view(5, 1, 1, 1)
    rounded = WeightGrid(bits, 5)(weights)
    most = 2 ** (bits - 1) - 1
    for own, made in zip(weights[:4], rounded[:4], strict=True):
        step = made[made != 0].abs().min() if bits < 8 else own.abs().max() / most
        places = made / step
        assert torch.allclose(places, places.round(), atol=1e-3)
        assert places.round().abs().max() <= most
        kept = own.abs() <= most * step
        assert ((made - own)[kept].abs() <= step / 2 * 1.001).all(), "to the nearest"
        assert torch.allclose(made[~kept].abs(), (most * step).expand(int((~kept).sum()))), "clipped to the last"
    assert torch.equal(rounded[4], weights[4]), "zeros stay zeros"


def test_folding_a_batch_norm_gives_the_same_integers() -> None:
    torch.manual_seed(0)
    weights, scale = torch.randn(6, 4, 3, 3), torch.rand(6, 1, 1, 1) + 0.5
    grid = WeightGrid(4, 6)
    assert torch.allclose(grid(weights * scale), grid(weights) * scale)


@pytest.mark.parametrize(("bits", "low"), [(2, 0.0), (4, -1.0), (8, -0.3)])
def test_activations_lie_on_a_grid_with_a_zero(bits: int, low: float) -> None:
    torch.manual_seed(0)
    values = torch.rand(4, 3, 5, 5) * (2.0 - low) + low
    grid = ActivationGrid(bits)
    rounded = grid(values)
    levels = rounded.unique()
    step = (grid.high - grid.low) / (2**bits - 1)
    assert len(levels) <= 2**bits
    assert torch.allclose(levels / step, (levels / step).round(), atol=1e-3), "multiples of the step, so 0 is one"
    assert (rounded - values).abs().max() <= step * 1.001


def test_few_bits_clip_what_lies_far_out_and_many_clip_nothing() -> None:
    torch.manual_seed(0)
    values = torch.randn(4000)
    for grid, most in ((ActivationGrid(2), 2.6), (ActivationGrid(8), None)):
        largest = grid(values).abs().max()
        assert largest < most if most else largest == pytest.approx(float(values.abs().max()), rel=0.01)
    weights = torch.cat([torch.randn(1, 4000), torch.full((1, 4000), 0.5)])
    rounded = WeightGrid(2, 2)(weights)
    assert rounded[0].max() == pytest.approx(2 * float(weights[0].abs().mean()))
    assert torch.equal(rounded[1], weights[1]), "equal weights are one step"


def test_gradients_pass_within_the_range_and_stop_outside() -> None:
    grid = ActivationGrid(4)
    grid(torch.tensor([-1.0, 2.0]))
    grid.eval()
    values = torch.tensor([-3.0, -0.9, 0.13, 1.9, 5.0], requires_grad=True)
    (3 * grid(values)).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0, 3, 3, 3, 0]
    weights = torch.randn(3, 2, requires_grad=True)
    (WeightGrid(8, 3)(weights) * 2).sum().backward()
    assert weights.grad is not None
    assert (weights.grad == 2).all(), "no weight is clipped"


def test_ranges_are_means_of_batches_and_frozen_in_evaluation() -> None:
    grid = ActivationGrid(8)
    for high in (1.0, 2.0, 6.0):
        grid(torch.tensor([-high, high]))
    assert (grid.low.item(), grid.high.item()) == pytest.approx((-3, 3))
    grid.eval()
    assert grid(torch.tensor([50.0])).item() == pytest.approx(3, rel=0.01)
    assert grid.high.item() == pytest.approx(3)


def test_what_is_no_number_is_not_rounded_to_one() -> None:
    assert ActivationGrid(4)(torch.tensor([float("nan"), 1.0])).isnan().any(), "training sees that it diverged"
    assert WeightGrid(4, 1)(torch.tensor([[float("nan"), 1.0]])).isnan().any()


def graph(bits: tuple[int, int] | None) -> Graph:
    nodes = (
        Conv("a", INPUT, 4, kernel=3, bits=bits),
        Conv("b", "a", 4, before="relu", bits=bits),
        Add("sum", ("a", "b"), bits=bits),
        Zeros("zeros", "sum"),
        Linear("out", "sum", 3, bits=bits),
    )
    return Graph("g", (2, 4, 4), nodes)


def test_what_two_nodes_read_is_stored_once() -> None:
    module = GraphModule(graph((4, 5)))
    stored = [name for name, part in module.named_modules() if isinstance(part, ActivationGrid)]
    assert stored == ["stored5.input", "stored5.a", "stored5.b", "stored5.sum"]
    seen = []
    module.get_submodule("stored5.a").register_forward_hook(lambda *_: seen.append(1))
    module(torch.randn(2, 2, 4, 4))
    assert seen == [1]
    assert [layer.name for layer in lower(graph((4, 5))).layers] == ["a", "b", "sum", "out"]


def outputs(bits: tuple[int, int] | None, on: bool = True) -> torch.Tensor:
    torch.manual_seed(0)
    module = GraphModule(graph(bits))
    set_quantisation(module, on)
    images = torch.randn(16, 2, 4, 4)
    module(images)
    output: torch.Tensor = module.eval()(images)
    return output.detach()


def test_more_bits_are_nearer_to_floats_and_off_is_floats() -> None:
    floats = outputs(None)
    assert torch.equal(outputs((2, 2), on=False), floats)
    errors = [float((outputs((bits, bits)) - floats).abs().mean()) for bits in (2, 4, 8, 16)]
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.05 * floats.std()
    assert errors[3] < 3e-4 * floats.std()


def test_calibration_clips_weights_for_least_error_and_takes_ranges_behind_quantised_layers() -> None:
    torch.manual_seed(0)
    module = GraphModule(graph((3, 4)))
    set_quantisation(module, False)
    before = {name: value.clone() for name, value in module.state_dict().items() if re.search("weight|bias|mean", name)}
    conv = module.get_submodule("a.conv")
    assert isinstance(conv, nn.Conv2d)
    plain = WeightGrid(3, 4)(conv.weight)
    calibrate(module, [torch.randn(8, 2, 4, 4) for _ in range(3)])
    clipped = conv.grid(conv.weight)  # type: ignore[operator, union-attr]
    assert (clipped - conv.weight).square().sum() < (plain - conv.weight).square().sum()
    grids = [part for part in module.modules() if isinstance(part, ActivationGrid)]
    assert all(grid.seen.item() == 3 and grid.high > 0 and not grid.training for grid in grids)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in before.items()), "nothing is trained"


def test_calibrating_a_module_without_bits_reads_no_batch() -> None:
    batches = iter([torch.zeros(1, 2, 4, 4)])
    calibrate(GraphModule(graph(None)), batches)
    assert len(list(batches)) == 1


def test_a_mistake_in_the_section_names_line_and_field(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    head = "schema: 1\nname: mine\ndescription: Mine\nfamily: cell\n"
    file.write_text(head + "bits:\n  weights: [4, 8]\n  activations: [4, 32]\n")
    with pytest.raises(SpecError, match=r"mine\.yaml:7: bits\.activations\.1: .*less than or equal to 16"):
        load_space(str(file))
