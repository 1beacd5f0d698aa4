"""Training with bit widths: through the rounding or before it; figures are those of the quantised network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from coevo.accuracy.data import load_split
from coevo.accuracy.loop import Trained, fit
from coevo.accuracy.settings import TrainSettings
from coevo.accuracy.train import plugin
from coevo.design import Network
from coevo.networks.mbconv import MBConv, MBConvSettings
from coevo.networks.quantised import ActivationGrid
from coevo.protocols import Task

DIGITS = Task(1, 8, 10)
SMALL = TrainSettings(train_images=400, validation_images=200, test_images=100, epochs=5, batch_size=16)
STAGES = [{"depth": 1, "width": 8, "expansion": 2}, {"depth": 1, "width": 16, "expansion": 2, "stride": 2}]


def family(bits: object) -> MBConv:
    section = None if bits is None else {"weights": bits, "activations": bits}
    data = {"stem": {"width": 8}, "stages": STAGES, "bits": section}
    return MBConv(MBConvSettings.model_validate(data), DIGITS)


def train(bits: int | None, way: str = "straight_through", **changes: object) -> tuple[Trained, nn.Module]:
    seed = int(str(changes.pop("seed", 0)))
    settings = SMALL.model_copy(update={"quantization": way, **changes})
    torch.manual_seed(seed)
    module = family(bits).module({})
    return fit(module, load_split(settings), settings, torch.Generator().manual_seed(seed)), module


def error(trained: Trained) -> float:
    return (trained.validation_error * 200 + trained.test_error * 100) / 300


@pytest.fixture(scope="module")
def floats() -> tuple[Trained, nn.Module]:
    return train(None)


def test_post_training_trains_the_floats_and_counts_the_rounded(floats: tuple[Trained, nn.Module]) -> None:
    fine, module = train(16, "post_training")
    states = module.state_dict()
    for name, value in floats[1].state_dict().items():
        assert torch.equal(states[name], value), name
    assert error(fine) == pytest.approx(error(floats[0]), abs=1 / 300), "16 bits are as good as floats"
    coarse, _ = train(2, "post_training")
    assert error(coarse) > error(floats[0]) + 0.1


def test_training_through_the_rounding_learns_weights_that_stand_it() -> None:
    rounded, module = train(3)
    after, _ = train(3, "post_training")
    assert error(rounded) < error(after) - 0.05
    grids = [part for part in module.modules() if isinstance(part, ActivationGrid)]
    assert all(grid.seen == 5 * (400 // 16) for grid in grids), "only training moves ranges"


def test_eight_bits_are_near_floats_and_two_are_not(floats: tuple[Trained, nn.Module]) -> None:
    assert error(train(8)[0]) < error(floats[0]) + 0.03
    assert error(train(2)[0]) > error(floats[0]) + 0.05


def test_the_model_scores_bits_as_genes_and_is_reproducible() -> None:
    settings = {"train_images": 128, "validation_images": 64, "test_images": 64, "epochs": 1, "device": "cpu"}
    networks = [Network("bits", {"bits.weights": bits, "bits.activations": 8}) for bits in (2, 8, 2)]
    model = plugin(plugin.Settings(**settings, quantization="post_training"))
    made = MBConv(
        MBConvSettings.model_validate(
            {"stem": {"width": 4}, "stages": STAGES, "bits": {"weights": [2, 8], "activations": [4, 8]}}
        ),
        DIGITS,
    )
    try:
        scores = dict(model.score(made, networks, seed=0))
    finally:
        model.close()
    assert [scores[i].violation for i in range(3)] == [0, 0, 0]
    assert scores[0].error == scores[2].error


def test_an_unknown_way_of_quantising_is_refused() -> None:
    with pytest.raises(ValidationError, match="'straight_through' or 'post_training'"):
        plugin.Settings(quantization="qat")


@pytest.mark.slow
def test_bits_against_floats_over_seeds() -> None:
    """Prints the mean errors of digits; the figures of CIFAR-10 are those of experiments/what_bits_cost.py."""
    cases = [(None, "straight_through"), *((b, w) for b in (8, 4, 2) for w in ("straight_through", "post_training"))]
    larger = {"train_images": 800, "validation_images": 400, "test_images": 350, "epochs": 6}
    means = {}
    for bits, way in cases:
        ends = [train(bits, way, seed=seed, **larger)[0] for seed in range(3)]
        means[bits, way] = np.mean([(400 * end.validation_error + 350 * end.test_error) / 750 for end in ends])
        print(f"{bits or 'float'} {way}: {100 * means[bits, way]:.2f} %")
    floats = means[None, "straight_through"]
    for way in ("straight_through", "post_training"):
        assert means[8, way] < floats + 0.015
        assert means[2, way] > floats + 0.02
