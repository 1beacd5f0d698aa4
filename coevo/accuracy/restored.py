"""A network as its training left it: its weights read back, and its errors counted once more with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coevo.accuracy.settings import TrainSettings
from coevo.design import Network
from coevo.errors import RunError
from coevo.protocols import AccuracyModel, NetworkFamily

if TYPE_CHECKING:
    from torch import nn

    from coevo.accuracy.data import Split


@dataclass(frozen=True, eq=False)
class Restored:
    """A network with its weights.

    Attributes:
        module: In evaluation mode, on the CPU.
        mean, std: Of the training images' pixels, per channel: inputs are normalised by them.
        error: Share of the validation images that these weights tell wrongly, 0..1.
        test_error: The same of the test images.
        images: Validation images, and test images.
    """

    module: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    error: float
    test_error: float
    images: tuple[int, int]


def restored(module: nn.Module, split: Split, settings: TrainSettings) -> Restored:
    """Counts a module's errors as a training does.

    Args:
        module: With its weights, on the CPU.
        split: The data.
        settings: How it was trained.
    """
    import torch

    from coevo.accuracy.loop import Images, error_of

    data = Images(split, settings, torch.device("cpu"))
    error, test_error = (error_of(module, data, part) for part in (split.validation, split.test))
    mean, std = (tuple(map(float, values)) for values in (split.mean, split.std))
    return Restored(module.eval(), mean, std, error, test_error, (len(split.validation), len(split.test)))


def restore(model: AccuracyModel, family: NetworkFamily, network: Network, seed: int, folder: Path) -> Restored:
    """Returns a network as an accuracy model left it.

    Args:
        model: The model that scored it.
        family: Builds the module.
        network: Which one.
        seed: With which it was scored.
        folder: The run's.

    Raises:
        RunError: The model has no weights of networks; or as its own ``restored``.
        DataError, BackendError, SpecError: As the model's ``score``.
    """
    found: Any = getattr(model, "restored", None)
    if found is None:
        raise RunError("the run's accuracy model trains no network by itself, so there are no weights")
    network_restored: Restored = found(family, network, seed, folder)
    return network_restored
