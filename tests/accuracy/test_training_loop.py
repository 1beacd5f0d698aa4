"""Training learns, is reproducible, and is measured by the last epoch's weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_family import TinyFamily, TinySettings
from torch import Tensor, nn

from coevo.accuracy.augmentation import cut_out, rate_at, shift_and_mirror
from coevo.accuracy.data import Part, Split
from coevo.accuracy.loop import DivergedError, Plan, StoppedError, fit
from coevo.accuracy.settings import TrainSettings
from coevo.protocols import Task


def _bars(n: int, seed: int) -> Part:
    """Images of noise with a bright row that tells the class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 4
    images = rng.integers(0, 120, (n, 1, 8, 8), dtype=np.uint8)
    images[np.arange(n), 0, 2 * labels] += 100
    return Part(images, labels)


def _split() -> Split:
    train = _bars(256, 0)
    mean, std = (np.array([f(train.images)], dtype=np.float32) for f in (np.mean, np.std))
    return Split(Task(1, 8, 4), train, _bars(64, 1), _bars(64, 2), mean, std)


def _net(depth: int = 1, deed: str = "none") -> nn.Module:
    torch.manual_seed(0)
    return TinyFamily(TinySettings(), Task(1, 8, 4)).module({"depth": depth, "deed": deed})


def _fit(module: nn.Module, seed: int = 0, **settings: object) -> object:
    return fit(module, _split(), TrainSettings.model_validate(settings), torch.Generator().manual_seed(seed))


def test_training_learns_what_can_be_learnt() -> None:
    trained = fit(_net(), _split(), TrainSettings(epochs=8, batch_size=16), torch.Generator().manual_seed(0))
    assert trained.validation_error < 0.1
    assert trained.test_error < 0.1


def test_labels_that_mean_nothing_give_chance() -> None:
    split = _split()
    shuffled = Part(split.test.images, np.random.default_rng(0).permutation(split.test.labels))
    honest = Split(split.task, split.train, split.validation, shuffled, split.mean, split.std)
    trained = fit(_net(), honest, TrainSettings(epochs=4, batch_size=16), torch.Generator().manual_seed(0))
    assert 0.5 < trained.test_error < 0.95


@pytest.mark.parametrize("augment", [False, True])
def test_equal_seeds_give_equal_figures_and_others_do_not(augment: bool) -> None:
    nets = [_net() for _ in range(3)]
    for net, seed in zip(nets, (0, 0, 1), strict=True):
        _fit(net, seed, epochs=1, augment=augment)
    first, again, other = (net.state_dict() for net in nets)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_test_images_change_nothing_but_the_test_error() -> None:
    split = _split()
    fewer = Split(split.task, split.train, split.validation, _bars(8, 9), split.mean, split.std)
    settings = TrainSettings(epochs=4, patience=1)
    ends = [fit(_net(), s, settings, torch.Generator().manual_seed(0)) for s in (split, fewer)]
    assert (ends[0].validation_error, ends[0].epochs) == (ends[1].validation_error, ends[1].epochs)


def test_patience_stops_where_validation_no_longer_improves() -> None:
    settings = TrainSettings(epochs=6, learning_rate=1e-9, patience=2)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    trained = fit(linear, _split(), settings, torch.Generator().manual_seed(0))
    assert trained.epochs == 3


def test_figures_are_those_of_the_weights_training_ended_with() -> None:
    class Memory(nn.Module):
        """Answers well in its first epoch and never again."""

        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(4))
            self.scored = 0

        def forward(self, images: Tensor) -> Tensor:
            logits = images.amax(3)[:, 0, ::2] + self.bias
            self.scored += not self.training
            return logits if self.scored <= 1 else -logits

    trained = fit(Memory(), _split(), TrainSettings(epochs=9, patience=2), torch.Generator().manual_seed(0))
    assert trained.epochs == 3
    assert trained.validation_error > 0.5


def test_a_loss_that_is_no_number_is_divergence() -> None:
    with pytest.raises(DivergedError, match="the loss is nan in epoch 1 of 3"):
        _fit(_net(deed="nan"), epochs=3)


def test_an_absurd_learning_rate_diverges() -> None:
    with pytest.raises(DivergedError):
        _fit(_net(), epochs=3, learning_rate=1e30)


def test_an_output_of_another_shape_is_refused() -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(64, 9)

        def forward(self, images: Tensor) -> Tensor:
            return self.linear(images.flatten(1))

    with pytest.raises(ValueError, match=r"\(batch, class\) = \(64, 4\), got \(64, 9\)"):
        _fit(Wide(), epochs=1)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_the_learning_rate_warms_up_then_falls_to_nothing(schedule: str) -> None:
    settings = TrainSettings.model_validate({"schedule": schedule})
    rates = [rate_at(step, 100, settings) for step in range(100)]
    assert rates[9] == max(rates) == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert 0 < rates[-1] < 0.02
    assert rate_at(0, 1, settings) == 1.0


def test_a_step_schedule_falls_twice_and_a_constant_one_never() -> None:
    step, constant = (TrainSettings.model_validate({"schedule": name}) for name in ("step", "constant"))
    assert sorted({rate_at(i, 100, step) for i in range(10, 100)}) == [0.01, 0.1, 1.0]
    assert {rate_at(i, 100, constant) for i in range(10, 100)} == {1.0}


def test_warm_up_takes_its_share() -> None:
    settings = TrainSettings(warm_up=0.5)
    assert [rate_at(i, 8, settings) for i in range(4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    "change",
    [{"optimizer": "adamw", "learning_rate": 0.01}, {"schedule": "linear"}, {"cutout": 2}, {"mixed_precision": True}],
)
def test_every_way_of_training_learns(change: dict[str, object]) -> None:
    trained = _fit(_net(), epochs=8, batch_size=16, **change)
    assert trained.validation_error < 0.2  # type: ignore[attr-defined]


def test_cutout_blanks_one_square_per_image_and_leaves_the_rest() -> None:
    images = torch.ones(200, 2, 6, 6)
    cut = cut_out(images, 2, torch.Generator().manual_seed(0))
    blanks = (cut == 0).sum(dim=(2, 3))
    assert torch.equal(blanks[:, 0], blanks[:, 1])
    assert set(blanks[:, 0].tolist()) <= {1, 2, 4}  # at the edge it reaches over
    assert blanks[:, 0].float().mean() > 3


def test_a_training_killed_between_epochs_goes_on_and_ends_with_the_same_weights(tmp_path) -> None:
    settings = {"epochs": 4, "batch_size": 16, "augment": True, "checkpoints": True, "patience": 4}
    whole, parts = _net(2), _net(2)
    trained = _fit(whole, **settings)
    plan = Plan(checkpoint=str(tmp_path / "state.safetensors"))

    class KilledError(Exception):
        pass

    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 16 * 2 + 5:
            raise KilledError

    hook = parts.register_forward_pre_hook(lambda module, _: count() if module.training else None)
    with pytest.raises(KilledError):
        fit(parts, _split(), TrainSettings.model_validate(settings), torch.Generator().manual_seed(0), plan)
    hook.remove()
    assert (tmp_path / "state.safetensors").is_file()
    again = _net(2)
    resumed = fit(again, _split(), TrainSettings.model_validate(settings), torch.Generator().manual_seed(0), plan)
    assert resumed == trained
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
    assert not (tmp_path / "state.safetensors").exists()


def test_a_training_stops_once_nothing_seen_so_far_would_save_it() -> None:
    settings = {"epochs": 6, "learning_rate": 1e-9, "stop_dominated": True}
    hopeless = Plan(target=0.3, gains=(0.3, 0.9, 0.95, 0.97, 0.99, 1.0))
    with pytest.raises(
        StoppedError, match=r"after 2 of 6 epochs: an error of .* may become .*, and a design .* has 0\.3"
    ):
        fit(_net(), _split(), TrainSettings.model_validate(settings), torch.Generator().manual_seed(0), hopeless)
    hopeful = Plan(target=0.3, gains=(0.1,) * 6)
    trained = fit(_net(), _split(), TrainSettings.model_validate(settings), torch.Generator().manual_seed(0), hopeful)
    assert len(trained.curve) == 6


def test_shifted_images_are_parts_of_the_padded_ones_and_about_half_are_mirrored() -> None:
    images = torch.arange(1.0, 1 + 64 * 2 * 6 * 6).view(64, 2, 6, 6)
    moved = shift_and_mirror(images, 1, True, torch.Generator().manual_seed(0))
    padded = nn.functional.pad(images, [1] * 4)
    mirrored = 0
    for before, after in zip(padded, moved, strict=True):
        windows = [before[:, y : y + 6, x : x + 6] for y in range(3) for x in range(3)]
        straight = any(torch.equal(window, after) for window in windows)
        assert straight or any(torch.equal(window.flip(2), after) for window in windows)
        mirrored += not straight
    assert 16 < mirrored < 48


def test_without_margin_and_mirror_images_stay_as_they_are() -> None:
    images = torch.arange(1.0, 1 + 8 * 36).view(8, 1, 6, 6)
    assert torch.equal(shift_and_mirror(images, 0, False, torch.Generator().manual_seed(0)), images)
