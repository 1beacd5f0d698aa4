"""Zero-cost standings: figures by network and seed alone, each proxy by its closed form, the broken standing last."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny_family import TinyFamily, TinySettings
from torch import Tensor, nn

from coevo.accuracy.blocks import block_maps
from coevo.accuracy.proxies import (
    Look,
    by_activations,
    by_blocks,
    by_gradients,
    by_paths,
    channel_entropy,
    jacobian_gain,
    least_correlation,
)
from coevo.accuracy.standing import Aggregate, Scale
from coevo.accuracy.zero_cost import ProxyName, ZeroCostAccuracy, plugin, reference_networks
from coevo.design import Accuracy, Network
from coevo.errors import DataError
from coevo.networks import build_family, load_space
from coevo.networks.cell import Cell, CellSettings, from_digits
from coevo.protocols import Context, Task
from coevo.space import Gene
from coevo.workload import Layer, Workload

LOOKED_AT = list(get_args(ProxyName))
SMALL = {"train_images": 32, "batch_size": 8, "reference": 4, "device": "cpu", "time_limit_s": 20}


class Wide(TinyFamily):
    """The tiny family with more to choose from, so that a reference has networks to compare."""

    @property
    def genes(self) -> tuple[Gene, ...]:
        return (Gene("depth", (1, 2, 3, 4)), Gene("deed", ("none",)))

    def workload(self, choices: Mapping[str, Any], task: Task | None = None) -> Workload:
        return Workload("tiny", tuple(Layer(f"conv{i}", "conv", m=8, c=8, r=3, s=3) for i in range(choices["depth"])))


class Unbuildable(Wide):
    def module(self, choices: Mapping[str, Any]) -> nn.Module:
        raise RuntimeError("nothing is to be computed any more")


def _family() -> Wide:
    return Wide(TinySettings(), Task(1, 8, 10))


def _network(depth: int = 1, deed: str = "none") -> Network:
    return Network("tiny", {"depth": depth, "deed": deed})


@pytest.fixture(scope="module")
def model() -> Iterator[ZeroCostAccuracy]:
    with contextlib.closing(plugin(plugin.Settings(**SMALL, proxies=LOOKED_AT, memory_limit_mib=512))) as model:
        yield model


def _score(
    model: ZeroCostAccuracy, networks: list[Network], seed: int = 0, jobs: int = 1, context: Context | None = None
) -> list[Accuracy]:
    scores = dict(model.score(_family(), networks, seed, jobs, context))
    assert sorted(scores) == list(range(len(networks)))
    return [scores[i] for i in range(len(networks))]


def _errors(scores: list[Accuracy]) -> list[float]:
    return [score.error for score in scores]


# -- the model -------------------------------------------------------------------------------------------------


def test_figures_do_not_depend_on_jobs_order_or_company(model: ZeroCostAccuracy) -> None:
    networks = [_network(depth) for depth in (1, 2, 3)]
    alone = [_score(model, [network])[0] for network in networks]
    together = _score(model, networks, jobs=2)
    reverse = _score(model, networks[::-1], jobs=2)[::-1]
    assert _errors(alone) == _errors(together) == _errors(reverse)
    assert len(set(_errors(alone))) == 3


def test_figures_depend_on_the_seed(model: ZeroCostAccuracy) -> None:
    zero, one, again = (model.values(_family(), [_network(2)], seed)["naswot"] for seed in (0, 1, 0))
    assert zero == again != one


def test_a_standing_says_what_it_is_made_of(model: ZeroCostAccuracy) -> None:
    (score,) = _score(model, [_network(2)])
    assert 0 < score.error < 1
    assert score.fidelity == f"zero-cost: {', '.join(LOOKED_AT)}"
    assert (score.violation, score.reason, score.test_error) == (0, "", None)
    assert score.seconds > 0


def test_what_is_remembered_is_not_computed_again(model: ZeroCostAccuracy) -> None:
    memory: dict[str, Accuracy] = {}
    before = _score(model, [_network(1), _network(3)], context=Context(memory=memory))
    with contextlib.closing(plugin(plugin.Settings(**SMALL, proxies=LOOKED_AT))) as resumed:
        family = Unbuildable(TinySettings(), Task(1, 8, 10))
        after = dict(resumed.score(family, [_network(1), _network(3)], 0, 1, Context(memory=memory)))
    assert [after[0], after[1]] == before


def test_networks_added_one_by_one_have_the_same_figures_and_failures() -> None:
    family, networks, failing = _family(), [_network(depth) for depth in (1, 2, 3)], _network(1, "raise")
    with contextlib.closing(plugin(plugin.Settings(**SMALL, proxies=["naswot", "macs"]))) as model:
        together = dict(model.score(family, networks, 0))
        context = Context(memory={})
        with contextlib.closing(model.begin(family, 0, 2)) as looks:
            looks.add(networks[0], context)
            looks.add(failing, context)
            found = [looks.next()]
            looks.add(networks[1], context)
            looks.add(networks[2], context)
            found += [looks.next() for _ in range(3)]
    scores = {network.key: accuracy for network, accuracy in found}
    assert [scores[network.key].error for network in networks] == [together[i].error for i in range(3)]
    assert scores[failing.key].reason == "scoring failed: RuntimeError: shapes do not fit"


def test_what_is_known_is_done_at_once_but_in_the_order_of_adding_with_one_worker() -> None:
    family, context = _family(), Context(memory={})
    with contextlib.closing(plugin(plugin.Settings(**SMALL, proxies=["naswot"]))) as model:
        known = dict(model.score(family, [_network(depth) for depth in (1, 2, 3)], 0, 1, context))
        for jobs, order in ((1, [1, 2, 3]), (2, [2, 3, 1])):
            del context.memory[model._keys(_network(1), 0)["naswot"]]  # of the others, figures are known
            with contextlib.closing(model.begin(family, 0, jobs)) as looks:
                for depth in (1, 2, 3):
                    looks.add(_network(depth), context)
                found = [looks.next() for _ in range(3)]
            assert [network.choices["depth"] for network, _ in found] == order
            assert all(accuracy.error == known[n.choices["depth"] - 1].error for n, accuracy in found)


def test_sizes_added_one_by_one_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coevo.accuracy.tasks.NetworkTasks._processes", None)
    model = plugin(plugin.Settings(**SMALL, proxies=["macs", "params"]))
    with contextlib.closing(model.begin(_family(), 0, 1)) as looks:
        for depth in (1, 2):
            looks.add(_network(depth), Context())
        assert [looks.next()[1] for _ in range(2)] == _score(model, [_network(1), _network(2)])


def test_every_failure_is_recorded_with_its_reason_while_the_others_go_on(model: ZeroCostAccuracy) -> None:
    reasons = {
        "raise": "scoring failed: RuntimeError: shapes do not fit",
        "bad_build": "scoring failed: KeyError: 'no such operator'",
        "exit": "scoring crashed twice: ended by exit code 7",
    }
    if sys.platform == "linux":
        reasons["eat"] = "out of memory: needs more than 512 MiB (memory_limit_mib)"
    scores = _score(model, [_network(), *(_network(1, deed) for deed in reasons), _network(2)], jobs=2)
    assert scores[0].violation == scores[-1].violation == 0
    for score, reason in zip(scores[1:-1], reasons.values(), strict=True):
        assert (score.error, score.violation > 0, score.reason) == (1, True, reason)
    values = model.values(_family(), [_network(1, "raise"), _network()], 0)
    assert [math.isnan(value) for value in values["naswot"]] == [True, False]


def test_a_network_without_figures_stands_last_and_is_no_failure(model: ZeroCostAccuracy) -> None:
    broken, *good = _score(model, [_network(1, "nan"), *(_network(depth) for depth in (1, 2, 3, 4))])
    assert broken.violation == 0
    assert broken.error > max(_errors(good))


def test_a_cell_whose_output_no_input_reaches_stands_last(model: ZeroCostAccuracy) -> None:
    family = Cell(CellSettings(channels=4, cells=1), Task(1, 8, 10))
    cells = [Network("cell", from_digits(digits)) for digits in ("333000", "111111", "333333")]
    scores = dict(model.score(family, cells, 0))
    assert all(score.violation == 0 for score in scores.values())
    assert scores[0].error > scores[1].error > scores[2].error


def test_raw_figures_of_sizes_are_the_workloads(model: ZeroCostAccuracy) -> None:
    values = model.values(_family(), [_network(depth) for depth in (3, 1, 3)], 0)
    assert values["macs"].tolist() == values["params"].tolist() == [3 * 576, 576, 3 * 576]


def test_reference_networks_are_different_fixed_and_at_most_the_space() -> None:
    family = build_family(load_space("nasbench201"), Task(3, 32, 10))
    networks = reference_networks(family, "cell", 64)
    assert len({network.key for network in networks}) == 64
    assert [n.key for n in networks] == [n.key for n in reference_networks(family, "cell", 64)]
    assert len(reference_networks(_family(), "tiny", 64)) == 4


def test_no_networks_need_no_reference(model: ZeroCostAccuracy) -> None:
    assert list(model.score(Unbuildable(TinySettings(), Task(1, 8, 10)), [], 0)) == []


def test_absent_data_are_noticed_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COEVO_DATA", raising=False)
    model = plugin(plugin.Settings(data="cifar10"))
    with pytest.raises(DataError, match="COEVO_DATA"):
        _ = model.task
    with pytest.raises(DataError, match="COEVO_DATA"):
        next(model.score(_family(), [_network()], seed=0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"proxies": []},
        {"proxies": ["luck"]},
        {"proxies": ["macs", "macs"]},
        {"batch_size": 1},
        {"train_images": 63, "batch_size": 32},
        {"repeats": 0},
        {"reference": 1},
        {"epochs": 1},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        plugin.Settings.model_validate(wrong)


def test_the_program_itself_does_not_import_torch() -> None:
    code = "import sys; import coevo.accuracy.zero_cost; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


# -- standings -------------------------------------------------------------------------------------------------


def test_a_scale_orders_also_what_lies_beyond_its_sample() -> None:
    scale = Scale.of(np.array([1.0, 2.0, 2.0, 5.0, math.nan]))
    values = np.array([math.nan, -math.inf, -1e6, 0.0, 1.0, 1.5, 2.0, 3.0, 5.0, 6.0, 1e6])
    standings = scale(values)
    assert standings[0] == standings[1] > 0
    assert (np.diff(standings[1:]) > 0).all()
    assert standings[-1] < 1
    np.testing.assert_allclose(scale(np.array([1.0, 2.0, 5.0])), [0.3, 0.6, 0.9])  # 1 in 5 is below all, half of ties


def test_a_scale_of_nothing_still_tells_a_figure_from_none() -> None:
    nothing, one = Scale.of(np.array([math.nan])), Scale.of(np.array([3.0, 3.0]))
    assert nothing(np.array([math.nan]))[0] < nothing(np.array([7.0]))[0]
    below, at, above = one(np.array([2.0, 3.0, 4.0]))
    assert below < at == 0.5 < above


def test_one_bad_figure_weighs_more_than_one_good() -> None:
    sample = {"a": np.arange(10.0), "b": np.arange(10.0)[::-1]}
    middling, torn = Aggregate.of(sample)({"a": np.array([4.5, 9.0]), "b": np.array([4.5, 0.0])})
    assert middling > torn


# -- proxies ---------------------------------------------------------------------------------------------------


def _look(module: nn.Module, images: Tensor) -> Look:
    labels = torch.arange(len(images)) % 2
    return Look(lambda: module, images, (images, images * 2), (labels, labels), torch.Generator().manual_seed(0))


def test_entropy_is_the_logarithm_of_the_number_of_independent_channels() -> None:
    signs = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1]]).view(1, 2, 2, 2)
    assert channel_entropy(signs) == pytest.approx(math.log(2), abs=1e-6)
    assert channel_entropy(signs[:, [0, 0]]) == pytest.approx(0, abs=1e-6)


def test_least_correlation_is_one_for_independent_channels_and_zero_for_copies() -> None:
    signs = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1]]).view(1, 2, 2, 2)
    assert least_correlation(signs) == pytest.approx(1)
    assert least_correlation(signs[:, [0, 0]]) == pytest.approx(0, abs=1e-6)
    assert least_correlation(torch.ones(1, 2, 2, 2)) == 0


@pytest.mark.parametrize("stride", [1, 2])
def test_gain_is_the_largest_singular_value(stride: int) -> None:
    weights = torch.randn(4, 4, stride, stride, generator=torch.Generator().manual_seed(1))
    given = torch.zeros(64, 4, 17 - stride, 16, requires_grad=True)  # 15 rows fold into 8 as well
    made = nn.functional.conv2d(given, weights, stride=stride, padding=(stride - 1, 0))
    gain = jacobian_gain(given, made, torch.Generator().manual_seed(0))
    assert gain == pytest.approx(float(torch.linalg.matrix_norm(weights.flatten(1), 2)), rel=0.1)


class Residual(nn.Module):
    """Two blocks: a residual one that overwrites its own values, and one with a dead branch."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Module()
        self.first.conv, self.first.act = nn.Conv2d(2, 2, 1), nn.ReLU(inplace=True)
        self.second = nn.ModuleList([nn.ReLU(), nn.Conv2d(2, 3, 1), nn.Conv2d(2, 3, 1)])

    def forward(self, images: Tensor) -> Tensor:
        here: Tensor = images + self.first.conv(images)
        here = self.first.act(here)
        inner = self.second[0](here)
        made: Tensor = self.second[1](inner)
        self.second[2](inner)
        return made.mean((2, 3))


def test_a_block_ends_where_all_paths_meet() -> None:
    maps = block_maps(Residual(), torch.randn(2, 2, 4, 4))
    assert [made.shape[1] for made in maps] == [2, 2, 3]  # first.act, second.0, second.1
    assert maps[0].min() == 0
    assert all(torch.autograd.grad(b.sum(), a, retain_graph=True) for a, b in itertools.pairwise(maps))


def test_blocks_of_a_cell_network_are_its_cells_and_reductions_between_stem_and_head() -> None:
    family = Cell(CellSettings(channels=4, cells=2), Task(1, 8, 10))
    maps = block_maps(family.module(from_digits("333333")), torch.randn(2, 1, 8, 8))
    stem, stages, head = [(4, 8)] * 2, [(4, 8)] * 2 + [(8, 4)] * 3 + [(16, 2)] * 3, [(16, 2)]  # stem: conv and norm
    assert [tuple(made.shape[1:3]) for made in maps] == stem + stages + head
    assert block_maps(family.module(from_digits("333000")), torch.randn(2, 1, 8, 8)) == []


def test_a_wire_that_is_a_module_is_no_block_of_its_own() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Identity(), nn.Conv2d(2, 3, 1))
    assert [made.shape[1] for made in block_maps(network, torch.randn(1, 1, 2, 2))] == [2, 3]


def test_naswot_and_swap_count_signs() -> None:
    images = torch.tensor([[1.0, 1, -1, -1], [1, -1, -1, -1]]).view(2, 1, 2, 2)
    figures = by_activations(_look(nn.ReLU(), images))
    assert figures["naswot"] == pytest.approx(math.log(4 * 4 - 3 * 3))  # 3 of 4 agree
    assert figures["swap"] == 3  # both, the first alone, none
    assert math.isnan(by_activations(_look(nn.Identity(), images))["naswot"])


def test_synflow_is_the_flow_of_magnitudes_counted_once_per_layer() -> None:
    chain = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.BatchNorm2d(1), nn.ReLU6(inplace=True), nn.Flatten(), nn.Linear(4, 1, False)
    )
    with torch.no_grad():
        chain[0].weight.fill_(-100)
        chain[4].weight.fill_(0.5)
    flow = 100 * 0.5 * 4  # four pixels of 1
    assert by_paths(_look(chain, torch.zeros(2, 1, 2, 2)))["synflow"] == pytest.approx(math.log(2 * flow))


def test_gradients_of_a_linear_network_by_hand() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(1, 2, bias=False))
    nn.init.zeros_(network[1].weight)
    images = torch.ones(2, 1, 1, 1)
    look = dataclasses.replace(_look(network, images), labels=(torch.zeros(2, dtype=torch.int64),) * 2)
    figures = by_gradients(look)  # d loss / d w = (softmax - onehot) * x = (-1/2, 1/2) x, with x = 1, then 2
    assert figures["grad_norm"] == pytest.approx(math.sqrt(0.5))
    assert figures["zico"] == pytest.approx(math.log(2 * 0.75 / 0.25))


def test_a_network_of_one_map_has_no_figures_by_blocks() -> None:
    figures = by_blocks(_look(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.randn(4, 1, 2, 2)))
    assert all(math.isnan(value) for value in figures.values())


@pytest.mark.slow
def test_standings_go_along_with_trained_accuracy_on_nas_bench_201() -> None:
    table = Path(os.environ.get("COEVO_DATA", "")) / "nb201_acc.csv.gz"
    if not table.is_file():
        pytest.skip("COEVO_DATA names no folder with nb201_acc.csv.gz")
    import pandas as pd
    from scipy.stats import spearmanr

    rows = pd.read_csv(table, dtype={"ops": str})
    rows = rows[rows.naswot_v1.notna()].sample(60, random_state=1)
    networks = [Network("cell", from_digits(ops)) for ops in rows.ops]
    settings = plugin.Settings(data="cifar10", batch_size=16, reference=16, device="cpu")
    with contextlib.closing(plugin(settings)) as model:
        family = Cell(CellSettings(channels=8, cells=2), model.task)
        errors = {i: score.error for i, score in model.score(family, networks, 0)}
    assert spearmanr([-errors[i] for i in range(60)], rows.c10_test200)[0] > 0.85
