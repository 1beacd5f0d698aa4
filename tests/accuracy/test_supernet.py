"""Networks are parts of shared weights, which are trained once, survive a kill, and score every network alike."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_family import TinyFamily, TinySettings
from torch import Tensor

from coevo.accuracy import shared_weights, supernet_loop
from coevo.accuracy.data import Split, load_split
from coevo.accuracy.shared_tensors import inherited, load, logits_of, new_tensors, part, save
from coevo.accuracy.shared_weights import Choices, GraphFamily, Sampler, Slice, shared_shapes, slices
from coevo.accuracy.supernet import SupernetAccuracy, SupernetSettings, plugin
from coevo.design import Accuracy, Network
from coevo.errors import BackendError, SpecError
from coevo.networks import build_family, load_space
from coevo.networks.cell import OPERATIONS, Cell, CellSettings, from_digits
from coevo.networks.mbconv import MBConv, MBConvSettings
from coevo.networks.modules import GraphModule
from coevo.protocols import Context, Task
from coevo.space import Space

DIGITS = Task(1, 8, 10)
CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "train_images": 256,
    "validation_images": 64,
    "test_images": 64,
    "epochs": 2,
    "calibration_images": 128,
    "device": "cpu",
}
SPACE = {
    "stem": {"width": [4, 8]},
    "stages": [
        {
            "depth": [1, 2],
            "width": [4, 8],
            "kernel": [3, 5],
            "expansion": [1, 2],
            "operator": ["mbconv", "fused"],
            "stride": 2,
        }
    ],
    "head": {"width": 16},
}


def _family(**changes: object) -> GraphFamily:
    return MBConv(MBConvSettings.model_validate({**SPACE, **changes}), DIGITS)


@cache
def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    return shared_shapes(_shipped(name))


def _shipped(name: str) -> GraphFamily:
    if name == "cell":
        return Cell(CellSettings(channels=2, cells=1), DIGITS)
    space = load_space(name)
    return build_family(space, DIGITS if "digits" in name else Task(3, 32, 10))  # type: ignore[return-value]


def _drawn(family: GraphFamily, count: int, seed: int = 0) -> list[Choices]:
    space = Space(family.genes)
    return [space.decode(genome) for genome in space.sample(np.random.default_rng(seed), count)]


def _networks(count: int = 3) -> list[Network]:
    return [Network("mbconv", choices) for choices in _drawn(_family(), count)]


def _split() -> Split:
    return load_split(SupernetSettings(**SMALL))


def _train(family: GraphFamily, file: Path, **changes: Any) -> float:
    return supernet_loop.train(family, _split(), SupernetSettings(**{**SMALL, **changes}), 0, file, CPU)


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def _score(
    model: SupernetAccuracy, networks: list[Network], seed: int = 0, jobs: int = 1, folder: Path | None = None
) -> list[Accuracy]:
    scores = dict(model.score(_family(), networks, seed, jobs, Context(folder=folder)))
    return [scores[i] for i in range(len(networks))]


def _figures(scores: list[Accuracy]) -> list[tuple[float, float | None]]:
    return [(score.error, score.test_error) for score in scores]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[SupernetAccuracy]:
    with contextlib.closing(plugin(SupernetSettings(**SMALL, weights_folder=str(folder)))) as model:
        yield model


# -- which tensors are shared --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["digits_mbconv", "digits_sizing", "digits_vit", "cell"])
def test_every_network_of_a_space_is_a_part_of_the_shared_tensors(name: str) -> None:
    family, shapes = _shipped(name), _shapes(name)
    for choices in _drawn(family, 1000):
        for piece in slices(family.graph(choices)).values():
            assert all(mine <= shared for mine, shared in zip(piece.shape, shapes[piece.shared], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10_mbconv", "cifar10_mbconv_layerwise"])
def test_every_network_of_a_large_space_is_a_part_of_the_shared_tensors(name: str) -> None:
    test_every_network_of_a_space_is_a_part_of_the_shared_tensors(name)


@pytest.mark.parametrize("name", ["digits_mbconv", "digits_vit", "cell"])
def test_a_slice_is_what_the_module_has_by_that_name(name: str) -> None:
    family = _shipped(name)
    for choices in _drawn(family, 20):
        graph = family.graph(choices)
        with torch.device("meta"):
            parameters = dict(GraphModule(graph).named_parameters())
        pieces = slices(graph)
        assert pieces.keys() == parameters.keys()
        for parameter, piece in pieces.items():
            assert part(torch.empty(piece.shape, device="meta"), piece).shape == parameters[parameter].shape


def test_shared_tensors_are_no_larger_than_the_largest_networks_parts() -> None:
    family = _family()
    space = Space(family.genes)
    genomes = np.stack(np.meshgrid(*map(np.arange, space.cardinalities), indexing="ij"), -1)
    largest: dict[str, tuple[int, ...]] = {}
    for genome in space.canonical(genomes.reshape(-1, len(space.genes))):
        for piece in slices(family.graph(space.decode(genome))).values():
            largest[piece.shared] = tuple(map(max, piece.shape, largest.get(piece.shared, piece.shape)))
    assert shared_shapes(family) == largest


def test_a_few_networks_tell_the_largest_shape_of_every_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_weights, "_DRAWN", 60)
    assert shared_shapes(_shipped("digits_mbconv")) == _shapes("digits_mbconv")


def test_the_largest_network_has_its_shared_tensors_whole() -> None:
    family = _shipped("digits_mbconv")
    tensors = new_tensors(_shapes("digits_mbconv"), torch.Generator().manual_seed(0))
    sampler = Sampler(Space(family.genes), np.random.default_rng(0))
    for _ in range(4):
        for piece in slices(family.graph(sampler.largest())).values():
            whole = tensors[piece.shared]
            assert torch.equal(part(whole, piece), whole.flatten(1) if piece.flat else whole)


def test_a_part_is_the_leading_channels_and_the_middle_of_the_window() -> None:
    shared = torch.arange(3 * 2 * 25.0).view(3, 2, 5, 5).requires_grad_()
    mine = part(shared, Slice("w", (2, 1, 3, 3)))
    assert torch.equal(mine, shared[:2, :1, 1:4, 1:4])
    mine.sum().backward()  # type: ignore[no-untyped-call]
    assert shared.grad is not None
    assert float(shared.grad.sum()) == 2 * 1 * 9
    assert float(shared.grad[:2, :1, 1:4, 1:4].sum()) == 2 * 1 * 9


def test_a_network_that_needs_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs \(4,\) of w, which is \(3,\)"):
        part(torch.zeros(3), Slice("w", (4,)))


def test_operations_of_a_cells_edge_have_weights_of_their_own() -> None:
    family = _shipped("cell")
    one, three = (
        {piece.shared for piece in slices(family.graph(from_digits(digit * 6))).values()} for digit in ("2", "3")
    )
    assert all("cell" not in name for name in one & three)
    assert any("reduction1" in name for name in one & three)


def test_a_projection_behind_a_depthwise_convolution_is_not_the_one_behind_a_dense_one() -> None:
    family = _family()
    choices = {**_drawn(family, 1)[0], "stage1.expansion": 2}
    names = [
        slices(family.graph({**choices, "stage1.operator": operator}))["stage1.block1.project.conv.weight"].shared
        for operator in ("mbconv", "fused")
    ]
    assert names[0] != names[1]


def test_a_network_computes_with_its_part_what_its_module_computes(tmp_path: Path) -> None:
    family = _family()
    tensors = new_tensors(shared_shapes(family), torch.Generator().manual_seed(0))
    save(tmp_path / "weights", tensors, {})
    images = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    for choices in _drawn(family, 5):
        graph = family.graph(choices)
        module = inherited(graph, tmp_path / "weights").train()
        torch.testing.assert_close(logits_of(graph, tensors, images), module(images))


def test_largest_and_smallest_are_the_ends_of_ordered_genes_and_others_vary() -> None:
    genes = _family().genes
    sampler = Sampler(Space(genes), np.random.default_rng(0))
    for draw, end in ((sampler.largest, -1), (sampler.smallest, 0)):
        drawn = [draw() for _ in range(20)]
        for gene in genes:
            values = {choices[gene.name] for choices in drawn}
            assert values == ({gene.choices[end]} if gene.ordered else set(gene.choices))


# -- their training ------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    first, last = (
        _train(_family(), tmp_path / f"{epochs}.safetensors", epochs=epochs, batch_size=16) for epochs in (1, 5)
    )
    assert last < 0.7 * first


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family, epochs = _family(), 3
    _train(family, tmp_path / "whole.safetensors", epochs=epochs)
    ran: list[int] = []
    true = supernet_loop._train_epoch

    def killed_in_the_third(*arguments: Any) -> float:
        ran.append(arguments[4])
        if ran == [1, 2, 3]:
            raise KeyboardInterrupt
        return true(*arguments)

    monkeypatch.setattr(supernet_loop, "_train_epoch", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        _train(family, tmp_path / "killed.safetensors", epochs=epochs)
    _train(family, tmp_path / "killed.safetensors", epochs=epochs)
    assert ran == [1, 2, 3, 3]
    whole, killed = (load(tmp_path / f"{name}.safetensors") for name in ("whole", "killed"))
    assert _equal(whole[0], killed[0])
    assert whole[1]["loss"] == killed[1]["loss"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.safetensors", "whole.safetensors"]


def test_a_training_that_is_killed_at_its_end_is_only_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.safetensors"

    def killed(path: Path, *arguments: Any) -> None:
        if path == file:
            raise KeyboardInterrupt
        save(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(supernet_loop, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            _train(_family(), file)
    monkeypatch.setattr(supernet_loop, "_train_epoch", None)
    assert _train(_family(), file) == float(load(file)[1]["loss"]) > 0


@pytest.mark.parametrize(
    ("make", "rule"), [(_family, "sandwich"), (lambda: _shipped("cell"), "single_path")], ids=["mbconv", "cell"]
)
def test_the_rule_follows_from_whether_genes_have_an_order(
    make: Callable[[], GraphFamily], rule: str, tmp_path: Path
) -> None:
    for name in ("auto", "sandwich", "single_path"):
        _train(make(), tmp_path / f"{name}.safetensors", epochs=1, rule=name, train_images=128)
    auto, *others = (load(tmp_path / f"{name}.safetensors")[0] for name in ("auto", "sandwich", "single_path"))
    assert [_equal(auto, other) for other in others] == [rule == "sandwich", rule == "single_path"]


def test_recalibration_sets_the_statistics_of_the_images_it_is_shown(tmp_path: Path) -> None:
    family, split = _family(), _split()
    save(tmp_path / "weights", new_tensors(shared_shapes(family), torch.Generator().manual_seed(0)), {})
    module = inherited(family.graph(_drawn(family, 1)[0]), tmp_path / "weights")
    stem: Any = module.get_submodule("stem")
    data = supernet_loop.Images(split, supernet_loop._train_settings(SupernetSettings(**SMALL)), CPU)
    for _ in range(2):  # what was there before leaves no trace
        supernet_loop.recalibrate(module, data, split.train, 128)
        outputs = stem.conv(data.normalised(torch.from_numpy(split.train.images[:128])))
        torch.testing.assert_close(stem.norm.running_mean, outputs.mean((0, 2, 3)))
        torch.testing.assert_close(stem.norm.running_var, outputs.var((0, 2, 3)))


def test_recalibration_averages_over_batches_of_like_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet_loop, "SCORING_BATCH", 64)
    family, split = _family(), _split()
    save(tmp_path / "weights", new_tensors(shared_shapes(family), torch.Generator().manual_seed(0)), {})
    module = inherited(family.graph(_drawn(family, 1)[0]), tmp_path / "weights")
    stem: Any = module.get_submodule("stem")
    data = supernet_loop.Images(split, supernet_loop._train_settings(SupernetSettings(**SMALL)), CPU)
    supernet_loop.recalibrate(module, data, split.train, 65)
    outputs = stem.conv(data.normalised(torch.from_numpy(split.train.images[:65])))
    means = torch.stack([outputs[:33].mean((0, 2, 3)), outputs[33:].mean((0, 2, 3))])
    torch.testing.assert_close(stem.norm.running_mean, means.mean(0))


# -- the socket ----------------------------------------------------------------------------------------------------


def test_figures_do_not_depend_on_jobs_order_or_company(model: SupernetAccuracy) -> None:
    networks = _networks()
    alone = [_score(model, [network])[0] for network in networks]
    together = _score(model, networks, jobs=2)
    reverse = _score(model, networks[::-1], jobs=2)[::-1]
    assert _figures(alone) == _figures(together) == _figures(reverse)
    assert len(set(_figures(alone))) > 1


def test_added_one_by_one_the_first_trains_the_weights_and_all_have_the_figures_that_they_have_together(
    tmp_path: Path,
) -> None:
    networks, failing = _networks(), Network("mbconv", {"nothing": "known"})
    with contextlib.closing(plugin(SupernetSettings(**SMALL, weights_folder=str(tmp_path)))) as model:
        with contextlib.closing(model.begin(_family(), 0, 2)) as scorings:
            assert not list(tmp_path.iterdir())
            scorings.add(networks[0], Context())
            (file,) = tmp_path.glob("*.safetensors")
            assert file == model.weights_file(_family(), 0)
            found = [scorings.next()]
            for network in (failing, *networks[1:]):
                scorings.add(network, Context())
            found += [scorings.next() for _ in networks]
        together = _score(model, networks)
    scores = {network.key: accuracy for network, accuracy in found}
    assert _figures([scores[network.key] for network in networks]) == _figures(together)
    assert scores[failing.key].reason.startswith("scoring failed: ")


def test_a_score_says_all_about_itself(model: SupernetAccuracy) -> None:
    (score,) = _score(model, _networks(1))
    assert 0 <= score.error <= 1
    assert score.test_error is not None
    assert score.uncertainty == pytest.approx((score.error * (1 - score.error) / 64) ** 0.5)
    assert score.fidelity == "supernet, 2 epochs, 256 images"
    assert (score.violation, score.reason) == (0, "")
    assert score.seconds > 0
    assert model.setup_seconds > 0


def test_a_second_run_takes_the_weights_of_the_first(
    model: SupernetAccuracy, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = _score(model, _networks(1))
    capfd.readouterr()
    with contextlib.closing(plugin(SupernetSettings(**SMALL, weights_folder=str(folder)))) as second:
        assert _figures(_score(second, _networks(1))) == _figures(first)
        assert second.setup_seconds == model.setup_seconds
    assert capfd.readouterr().err == ""


def test_a_network_that_cannot_be_built_is_a_violation(model: SupernetAccuracy) -> None:
    scores = _score(model, [Network("mbconv", {}), *_networks(1)])
    assert scores[0].violation > 0
    assert "scoring failed: ValueError: no value for stem.width" in scores[0].reason
    assert scores[1].violation == 0


def test_what_weights_depend_on_is_in_their_files_name_and_nothing_else(tmp_path: Path) -> None:
    def name(family: GraphFamily | None = None, seed: int = 0, **changes: Any) -> str:
        model = plugin(SupernetSettings(**{**SMALL, **changes}))
        return model.weights_file(family or _family(), seed, Context(folder=tmp_path)).name

    stride = [{**SPACE["stages"][0], "stride": 1}]  # type: ignore[index]
    others = [
        name(_family(head={"width": 32})),
        name(_family(stages=stride)),
        name(seed=1),
        name(epochs=3),
        name(train_images=128),
        name(rule="single_path"),
        name(random_networks=1),
    ]
    assert len({name(), *others}) == 1 + len(others)
    assert name() == name(time_limit_s=5.0, training_limit_s=5.0, calibration_images=64, test_images=32)
    assert name(seed=1, weights_seed=7) == name(seed=2, weights_seed=7) != name(seed=1)


def test_weights_lie_in_the_runs_folder_unless_another_is_named(tmp_path: Path) -> None:
    context = Context(folder=tmp_path)
    assert plugin(SupernetSettings(**SMALL)).weights_file(_family(), 0, context).parent == tmp_path
    (tmp_path / "kept").mkdir()
    near = plugin(SupernetSettings(**SMALL, weights_folder="kept"), str(tmp_path / "experiment.yaml"))
    assert near.weights_file(_family(), 0, context).parent == tmp_path / "kept"


def test_a_family_without_graphs_is_refused() -> None:
    with pytest.raises(SpecError, match=r"accuracy\.name: .* graph\(choices\), which 'tiny' does not have"):
        next(plugin(SupernetSettings(**SMALL)).score(TinyFamily(TinySettings(), DIGITS), [Network("tiny", {})], 0))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"learning_rate": 1e30}, r"supernet: diverged: the loss is nan in epoch 1 of 2"),
        pytest.param(
            {"training_limit_s": 0.01},
            r"time limit: stopped after 0\.01 s \(training_limit_s\)",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_training_that_fails_is_said_so(changes: dict[str, float], reason: str, tmp_path: Path) -> None:
    model = plugin(SupernetSettings(**{**SMALL, **changes}))
    with contextlib.closing(model), pytest.raises(BackendError, match=reason):
        _score(model, _networks(1), folder=tmp_path)


def test_a_damaged_file_of_weights_is_said_so(tmp_path: Path) -> None:
    model = plugin(SupernetSettings(**SMALL))
    model.weights_file(_family(), 0, Context(folder=tmp_path)).write_bytes(b"half of it")
    with pytest.raises(BackendError, match=r"not a file of shared weights .* delete it"):
        _score(model, _networks(1), folder=tmp_path)


@pytest.mark.parametrize("wrong", [{"rule": "evolution"}, {"epochs": 0}, {"calibration_images": 1}, {"patience": 3}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SupernetSettings.model_validate(wrong)


def test_the_program_itself_does_not_import_torch() -> None:
    code = "import sys; import coevo.accuracy.supernet; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_inherited_weights_tell_digits_apart(tmp_path: Path) -> None:
    family = _shipped("digits_mbconv")
    networks = [Network("mbconv", choices) for choices in _drawn(family, 12)]
    with contextlib.closing(plugin(SupernetSettings(epochs=20, batch_size=32, device="cpu"))) as model:
        errors = [score.error for _, score in model.score(family, networks, 0, context=Context(folder=tmp_path))]
    assert max(errors) < 0.5  # by chance 0.9
    assert len(set(errors)) > 6


assert OPERATIONS.index("nor_conv_1x1") == 2
assert OPERATIONS.index("nor_conv_3x3") == 3


def test_positions_and_patches_of_another_size_are_not_shared() -> None:
    family = build_family(load_space("digits_vit"), DIGITS)
    choices = {"stem": "patch", "width": 16, "depth": 1, "heads": 1, "mlp_ratio": 1.0}
    fine, coarse = ({part.shared for part in slices(family.graph({**choices, "patch": p})).values()} for p in (2, 4))
    assert {name for name in fine ^ coarse if "positions" in name} == {"tokens[4x4].positions", "tokens[2x2].positions"}
    assert {name for name in fine ^ coarse if name.startswith("stem") and "weight" in name} == {
        "stem[patches of 2].conv.weight",
        "stem[patches of 4].conv.weight",
    }
    assert "block1.query[pointwise behind norm1].conv.weight" in fine & coarse
