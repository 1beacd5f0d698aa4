"""What bit widths cost in accuracy and give in energy: one network of cifar10_mbconv, trained at several widths.

    python experiments/what_bits_cost.py                     # about 7 minutes of one core
    python experiments/what_bits_cost.py --epochs 1 --seeds 1

Needs CIFAR-10 in the folder that COEVO_DATA names. Every width of a seed starts from the same weights and sees the
same images in the same order. Error: share of the 5,000 validation and 10,000 test images told wrongly.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coevo.accelerator import load_template
from coevo.accuracy.data import TASKS, Part, Split, load_split
from coevo.accuracy.loop import fit
from coevo.accuracy.settings import TrainSettings
from coevo.cost.analytical import AnalyticalCost
from coevo.networks import load_space
from coevo.networks.mbconv import MBConv
from coevo.networks.quantised import calibrate
from coevo.workload import Workload

WIDTHS = (8, 4, 2)

NETWORK = {
    "resolution": 24,
    "stem.width": 16,
    "head.width": 64,
    **{f"stage{i}.{name}": value for i in (1, 2, 3) for name, value in (("depth", 1), ("kernel", 3))},
    **{f"stage{i}.operator": "mbconv" for i in (1, 2, 3)},
    **{f"stage{i}.width": width for i, width in ((1, 12), (2, 16), (3, 32))},
    **{f"stage{i}.expansion": expansion for i, expansion in ((1, 2), (2, 2), (3, 3))},
}
"""A network of middle size."""


def family(bits: int | None) -> MBConv:
    """The space with one width for all; None: floats in training, the machine's own words in the cost model."""
    settings: Any = load_space("cifar10_mbconv").settings
    own = None if bits is None else {"weights": bits, "activations": bits}
    return MBConv(type(settings).model_validate(settings.model_dump() | {"bits": own}), TASKS["cifar10"])


def normalised(images: np.ndarray[Any, Any], split: Split) -> Tensor:
    """Images ``(image, channel, height, width)`` as networks see them."""
    mean, std = (torch.from_numpy(values).view(1, -1, 1, 1) for values in (split.mean, split.std))
    return (torch.from_numpy(images).float() - mean) / std


@torch.no_grad()
def wrong(module: nn.Module, split: Split, part: Part) -> int:
    """Images of a part that are told wrongly."""
    told = [module(normalised(part.images[i : i + 250], split)).argmax(1).numpy() for i in range(0, len(part), 250)]
    return int((np.concatenate(told) != part.labels).sum())


def error(module: nn.Module, split: Split) -> float:
    """Error over validation and test images together [%]."""
    parts = (split.validation, split.test)
    return 100 * sum(wrong(module, split, part) for part in parts) / sum(map(len, parts))


def trained(bits: int | None, split: Split, settings: TrainSettings, seed: int) -> tuple[nn.Module, float]:
    """The network, trained quantised if it has bits, and its error [%]."""
    torch.manual_seed(seed)
    module = family(bits).module(NETWORK)
    shares = fit(module, split, settings, torch.Generator().manual_seed(seed))
    told = shares.validation_error * len(split.validation) + shares.test_error * len(split.test)
    return module, 100 * told / (len(split.validation) + len(split.test))


def rounded(floats: nn.Module, bits: int, split: Split) -> nn.Module:
    """The network trained in floats, quantised afterwards as ``quantization: post_training`` does."""
    module = family(bits).module(NETWORK)
    module.load_state_dict(floats.state_dict(), strict=False)
    calibrate(module, (normalised(split.train.images[i : i + 64], split) for i in range(0, 640, 64)))
    return module


def errors(split: Split, settings: TrainSettings, seed: int) -> dict[str, float]:
    """Errors of one seed by bits and way of quantising [%]."""
    floats, floats_error = trained(None, split, settings, seed)
    found = {"float": floats_error}
    for bits in WIDTHS:
        found[f"{bits} post_training"] = error(rounded(floats, bits, split), split)
        found[f"{bits} straight_through"] = trained(bits, split, settings, seed)[1]
    print(f"seed {seed}: " + ", ".join(f"{name} {value:.2f} %" for name, value in found.items()), flush=True)
    return found


def energies(bits: int | None) -> list[float]:
    """Energy of an inference [uJ] on Eyeriss: as it is, with multipliers that scale, with words of so many bits."""
    template, machines = load_template("eyeriss"), [{}, {"mac.precision_scalable": True}]
    machines.append({} if bits is None else {"word_bits.weights": bits, "word_bits.inputs": bits})
    work: Workload = family(bits).workload(NETWORK)
    costs = AnalyticalCost().evaluate([(work, template.build(choices)) for choices in machines])
    return [cost.energy_pj / 1e6 for cost in costs]


def main() -> None:
    """Prints the energies, then the errors of every seed, then their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print("energy [uJ] on Eyeriss: as it is | multipliers that scale | words of so many bits (sums of 16)")
    for bits in (None, *WIDTHS):
        print(f"  {bits or 'no'} bits: " + " | ".join(f"{energy:.2f}" for energy in energies(bits)))
    settings = TrainSettings(data="cifar10", train_images=8_000, validation_images=5_000, epochs=options.epochs)
    split = load_split(settings)
    found = [errors(split, settings, seed) for seed in range(options.seeds)]
    for name in found[0]:
        values = np.array([one[name] for one in found])
        more = values - [one["float"] for one in found]
        spread = more.std(ddof=1) / len(more) ** 0.5 if len(more) > 1 else np.nan
        print(f"{name}: {values.mean():.2f} %, {more.mean():+.2f} points to float (standard error {spread:.2f})")


if __name__ == "__main__":
    main()
