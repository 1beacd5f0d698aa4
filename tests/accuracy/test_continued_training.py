"""Cheaper proxies, trainings that go on from another's weights, children that start from their parents'."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_family import TinyFamily, TinySettings

from coevo.accuracy import inherit as inherit_model
from coevo.accuracy import train as train_model
from coevo.accuracy.checkpoint import inherit, load, read, save
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.train import WEIGHTS, weights_file
from coevo.design import Accuracy, Network
from coevo.errors import RunError, SpecError
from coevo.networks.cell import Cell, CellSettings, from_digits
from coevo.networks.mbconv import MBConv, MBConvSettings
from coevo.networks.modules import GraphModule
from coevo.networks.narrow import narrowed, reduced
from coevo.protocols import Candidate, Context, Task

TASK = Task(1, 8, 10)
SMALL = {"train_images": 192, "validation_images": 96, "test_images": 64, "device": "cpu", "batch_size": 16}
STAGE = {"depth": [1, 2], "width": [4, 8], "kernel": [3, 5], "expansion": [1, 2], "operator": ["mbconv", "fused"]}
SPACE = MBConvSettings.model_validate(
    {"stem": {"width": [4, 8]}, "stages": [{**STAGE, "stride": 2}], "head": {"width": 16}}
)
FAMILY = MBConv(SPACE, TASK)


def network(**changes: object) -> Network:
    choices = {
        "stem.width": 8, "stage1.depth": 2, "stage1.width": 8, "stage1.kernel": 3, "stage1.expansion": 2,
        "stage1.operator": "mbconv",
    }  # fmt: skip
    return Network("small", {**choices, **{name.replace("_", "."): value for name, value in changes.items()}})


def score(
    context: Context | None, networks: list[Network], plugin: object = None, **settings: object
) -> list[Accuracy]:
    plugin = plugin or train_model.plugin
    with contextlib.closing(plugin(plugin.Settings(**{**SMALL, **settings}))) as model:  # type: ignore[attr-defined]
        scores = dict(model.score(FAMILY, networks, 0, 1, context))
    return [replace(scores[i], seconds=0.0) for i in range(len(networks))]


# -- cheaper proxies -------------------------------------------------------------------------------------------


def test_a_narrower_network_has_fewer_channels_and_the_same_shape() -> None:
    graph = FAMILY.graph(network().choices)
    narrow = narrowed(graph, 0.5)
    assert [node.name for node in narrow.nodes] == [node.name for node in graph.nodes]
    for name, (channels, *size) in graph.shapes.items():
        expected = channels if name in ("input", graph.nodes[-1].name) else channels / 2
        assert narrow.shapes[name] == (expected, *size)
    images = torch.zeros(2, 1, 8, 8)
    assert GraphModule(narrow)(images).shape == (2, 10)
    assert narrowed(graph, 1) is graph


def test_even_the_least_share_leaves_a_channel() -> None:
    assert min(shape[0] for shape in narrowed(FAMILY.graph(network().choices), 1e-6).shapes.values()) == 1


def test_a_reduced_network_computes_at_the_reduced_size() -> None:
    cell = Cell(CellSettings(channels=4, cells=4), Task(3, 32, 10))
    smaller = reduced(cell, Task(3, 32, 10), resolution=0.5, width=0.5, depth=0.5)
    assert smaller.genes == cell.genes
    assert smaller.workload(from_digits("334131")).macs < cell.workload(from_digits("334131")).macs / 25
    module = smaller.module(from_digits("334131"))
    assert module.size == (16, 16)
    assert module.get_submodule("stem.conv").out_channels == 2
    names = {name for name, _ in module.named_modules()}
    assert "stage1.cell2" in names
    assert "stage1.cell3" not in names
    assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_the_fidelity_names_what_was_reduced() -> None:
    (plain,), (reduced,) = (
        score(None, [network()], epochs=1),
        score(None, [network()], epochs=1, resolution=0.5, width=0.5),
    )
    assert plain.fidelity == "1 epochs, 192 images"
    assert reduced.fidelity == "1 epochs, 192 images, resolution x 0.5, width x 0.5"
    assert reduced.error != plain.error


def test_what_a_family_cannot_do_is_refused_with_the_field() -> None:
    tiny = TinyFamily(TinySettings(), TASK)
    for settings, family, field in (
        ({"width": 0.5}, tiny, "width"),
        ({"resolution": 0.5}, tiny, "resolution"),
        ({"depth": 0.5}, FAMILY, "depth"),
    ):
        with pytest.raises(SpecError) as error:
            train_model.plugin(TrainSettings(**settings)).check(family)
        assert error.value.field == field


# -- continued trainings ---------------------------------------------------------------------------------------

CONTINUED = {"epochs": 2, "after": {"epochs": 1, "train_images": 96, "keep_weights": True}}


def test_a_continued_training_is_the_same_whether_the_weights_were_kept_or_not(tmp_path: Path) -> None:
    context = Context(folder=tmp_path)
    alone = score(None, [network()], **CONTINUED)
    score(context, [network()], epochs=1, train_images=96, keep_weights=True)
    (file,) = (tmp_path / WEIGHTS).glob("*.safetensors")
    assert score(context, [network()], **CONTINUED) == alone
    whole = file.read_bytes()
    for damaged in (b"damaged" + whole[7:], whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:], whole[:-8]):
        file.write_bytes(damaged)
        assert read(file) is None
        assert score(context, [network()], **CONTINUED) == alone
    assert alone[0].fidelity == "1 + 2 epochs, 192 images"
    assert alone != score(None, [network()], epochs=2)


def test_a_continued_training_starts_from_the_kept_weights(tmp_path: Path) -> None:
    context = Context(folder=tmp_path)
    score(context, [network()], epochs=1, train_images=96, keep_weights=True)
    (file,) = (tmp_path / WEIGHTS).glob("*.safetensors")
    before = score(context, [network()], **CONTINUED)
    tensors, _ = read(file) or ({}, {})
    module = FAMILY.module(network().choices)
    assert load(module, {name: torch.zeros_like(value) for name, value in tensors.items()})
    save(file, module)
    assert score(context, [network()], **CONTINUED) != before  # nothing was trained anew


def test_weights_are_kept_by_network_settings_and_seed(tmp_path: Path) -> None:
    chain = TrainSettings(epochs=2).chain
    files = {
        weights_file(tmp_path, chain, network(), 0),
        weights_file(tmp_path, chain, network(), 1),
        weights_file(tmp_path, chain, network(stem_width=4), 0),
        weights_file(tmp_path, TrainSettings(epochs=3).chain, network(), 0),
    }
    assert len(files) == 4
    longer = TrainSettings(epochs=2, time_limit_s=5, keep_weights=True)
    assert weights_file(tmp_path, longer.chain, network(), 0) in files


def test_a_resolution_may_grow_from_training_to_training() -> None:
    (grown,) = score(None, [network()], epochs=1, after={"epochs": 1, "resolution": 0.5})
    assert grown.violation == 0
    assert grown.fidelity == "1 + 1 epochs, 192 images"


@pytest.mark.parametrize(
    ("after", "problem"),
    [({"width": 0.5}, "width and depth must be the same"), ({"epoch": 1}, "epoch"), ({"epochs": 0}, "epochs")],
)
def test_a_wrong_training_before_is_refused(after: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TrainSettings(after=after)


# -- hot start -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """A run's context after two networks were trained and their weights kept."""
    folder = tmp_path_factory.mktemp("run")
    first = [network(), network(stage1_operator="fused", stage1_depth=1)]
    scores = score(Context(folder=folder), first, inherit_model.plugin, epochs=6)
    none = np.empty((1, 0))
    yield Context(folder=folder, history=tuple(Candidate(n, none, a) for n, a in zip(first, scores, strict=True)))


def test_the_nearest_is_the_parent_and_the_first_of_equals(parents: Context) -> None:
    settings = inherit_model.plugin.Settings(**SMALL, epochs=6)
    training = inherit_model._Training(settings, "")
    near = training._parent(network(stage1_kernel=5), parents)
    assert near is not None
    assert near.key == parents.history[0].network.key
    far = training._parent(network(stage1_operator="fused", stage1_depth=1, stem_width=4), parents)
    assert far is not None
    assert far.key == parents.history[1].network.key
    nobody = training._parent(network(stage1_kernel=5, stem_width=4, stage1_width=4, stage1_expansion=1), parents)
    assert nobody is None  # four of six choices differ


def test_a_hot_start_beats_a_cold_one_and_says_so(parents: Context) -> None:
    child = network(stage1_kernel=5)
    (hot,) = score(parents, [child], inherit_model.plugin, epochs=6)
    (cold,) = score(Context(folder=parents.folder), [child], inherit_model.plugin, epochs=6)
    assert hot.fidelity == "6 epochs, 192 images, inherited"
    assert hot.error != cold.error


def test_failed_networks_are_nobodys_parents(parents: Context) -> None:
    history = tuple(replace(known, accuracy=Accuracy(1.0, violation=1.0)) for known in parents.history)
    training = inherit_model._Training(inherit_model.plugin.Settings(**SMALL, epochs=6), "")
    assert training._parent(network(stage1_kernel=5), replace(parents, history=history)) is None


def test_a_parent_whose_weights_are_gone_is_an_error_with_a_cure(parents: Context, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"weights of network .* are gone, .*; put them back, or start the run anew"):
        score(replace(parents, folder=tmp_path), [network(stage1_kernel=5)], inherit_model.plugin, epochs=6)


def test_weights_are_copied_where_shapes_agree_and_in_part_where_they_overlap(tmp_path: Path) -> None:
    torch.manual_seed(0)
    parent, child = FAMILY.module(network().choices), FAMILY.module(network(stage1_width=4).choices)
    save(tmp_path / "parent.safetensors", parent)
    tensors, _ = read(tmp_path / "parent.safetensors") or ({}, {})
    before = {name: value.clone() for name, value in child.state_dict().items()}
    inherit(child, tensors, overlap=False)
    after, given = child.state_dict(), parent.state_dict()
    assert torch.equal(after["stem.conv.weight"], given["stem.conv.weight"])
    project = "stage1.block1.project.conv.weight"
    assert given[project].shape != after[project].shape
    assert torch.equal(after[project], before[project])
    inherit(child, tensors, overlap=True)
    assert torch.equal(child.state_dict()[project], given[project][:4])


# -- hopeless trainings ----------------------------------------------------------------------------------------


def known(error: float, costs: list[list[float]], curve: tuple[float, ...] = (), key: int = 0) -> Candidate:
    accuracy = Accuracy(error, curve=curve, violation=float(error > 1))
    return Candidate(Network("small", {"number": key}), np.array(costs), accuracy)


def test_the_target_is_the_error_of_designs_that_cost_no_more() -> None:
    history = [known(0.3, [[2, 2]]), known(0.2, [[5, 5]]), known(2.0, [[0, 0]])]
    assert train_model._target(np.array([[3, 3]]), history) == 0.3
    assert train_model._target(np.array([[3, 3], [6, 6]]), history) == 0.3  # dominated as one of the two, not the other
    assert train_model._target(np.array([[6, 6]]), history) == 0.2
    assert train_model._target(np.array([[1, 9]]), history) == float("inf")
    assert train_model._target(None, history) == float("inf")


def test_gains_are_the_best_improvements_of_whole_curves_of_enough_trainings() -> None:
    model = train_model.plugin(TrainSettings(epochs=3, stop_dominated=True))
    curves = [(0.8, 0.6, 0.4), (0.5, 0.5, 0.45)] * 4
    history = [known(curve[-1], [[1]], curve, i) for i, curve in enumerate(curves)]
    assert model._gains(history) == pytest.approx((0.5, 0.4 / 0.6, 1.0))
    assert model._gains(history[:-1]) == ()
    assert model._gains([*history[:-1], known(0.4, [[1]], (0.8, 0.4))]) == ()  # a curve that was cut short
    assert model._alike([*history, known(0.1, [[0]], (0.2, 0.1))]) == history
