"""The images that networks are trained on, split honestly.

The search sees the validation images' error alone. They are taken from the data's training part; the test images
are the data's own test part. Which images those are depends on the data and the settings, never on a run's seed,
so that every network of every run is measured with the same yardstick.

CIFAR-10 comes as decoded arrays (``cifar10.npz``) or as JPEG files in an array (``cifar10_jpeg.npz``); of the
latter the images in use are decoded and kept, or all of them decoded once and for all by

    python -m coevo.accuracy.data decode cifar10_jpeg.npz cifar10.npz
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo.accuracy.files import FILES, MIRRORED, TASKS, Npz, digits, jpeg, open_file
from coevo.accuracy.images import SPLIT_SEED, Images, Labels, MappedImages, Source, channel_sums, interleave, moments
from coevo.accuracy.own_data import find_own, open_own
from coevo.accuracy.settings import DataSettings, is_own
from coevo.errors import CoevoError, DataError, SpecError
from coevo.protocols import Task

_VALIDATION_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class Part:
    """Labelled images.

    Attributes:
        images: ``(image, channel, height, width)``, as they are in the file; many are read only as they are indexed.
        labels: ``(image,)``.
    """

    images: Images | MappedImages
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Split:
    """The three parts and how to normalise them.

    Attributes:
        task: What the data ask of a network.
        train: What weights are fitted to.
        validation: What a search sees.
        test: What only a report sees.
        mean, std: Of the training images' pixels, per channel ``(channel,)``.
        mirrored: Whether images turned left to right are of the same class.
    """

    task: Task
    train: Part
    validation: Part
    test: Part
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    mirrored: bool = False


def find_file(settings: DataSettings, near_file: str = "") -> Path | None:
    """Returns the file that holds the data or, of data of the user's own, the code; None if they are embedded.

    Raises:
        DataError: It is nowhere; the text says where to put it.
        SpecError: There is no such file of the user's.
    """
    if is_own(settings.data):
        return find_own(settings.data, near_file)
    names = FILES.get(settings.data)
    if names is None:
        return None
    folders = [Path(near_file).parent / settings.folder, Path(settings.folder)] if settings.folder else []
    folders += [Path(os.environ["COEVO_DATA"])] if os.environ.get("COEVO_DATA") else []
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    looked = f"in {', '.join(dict.fromkeys(map(str, folders)))}" if folders else "as no folder is named"
    raise DataError(
        f"data set {settings.data}: found no {' or '.join(names)} {looked}; put the file into a folder and name it by "
        "the environment variable COEVO_DATA or the field accuracy.folder"
    )


def task_of(settings: DataSettings, near_file: str = "") -> Task:
    """Returns what the data ask of a network; to know it, data of the user's own are converted if they were not yet.

    Raises:
        SpecError, DataError: As `open_own`.
    """
    return open_own(settings.data, near_file).task if is_own(settings.data) else TASKS[settings.data]


def shown_name(settings: DataSettings, near_file: str = "") -> str:
    """Returns what reports call the data.

    Raises:
        SpecError, DataError: As `open_own`.
    """
    name = open_own(settings.data, near_file).name if is_own(settings.data) else ""
    return f"{name} ({settings.data})" if name else settings.data


def load_split(settings: DataSettings, near_file: str = "") -> Split:
    """Reads the data and splits them.

    Raises:
        DataError: The data are absent or unreadable.
        BackendError: They are JPEG files and pillow is missing.
        SpecError: More images are asked for than there are, or data of the user's own cannot be converted.
    """
    source, task, mirrored = _source(settings, near_file)
    train, validation, test = _choose(source.labels, settings, near_file)
    train_part, validation_part, test_part = (
        Part(source.read(name, which), source.labels[name][which])
        for name, which in (("train", train), ("train", validation), ("test", test))
    )
    mean, std = _moments(source, train, train_part.images)
    return Split(task, train_part, validation_part, test_part, mean, std, mirrored)


def load_train(settings: DataSettings, near_file: str = "") -> tuple[NDArray[np.float32], Labels]:
    """Reads what weights may be fitted to and nothing else: images normalised by their own moments, and labels.

    Returns:
        ``(image, channel, height, width)``, in memory, and ``(image,)``, those of `Split.train`.

    Raises:
        DataError, BackendError, SpecError: As for `load_split`.
    """
    source, _, _ = _source(settings, near_file)
    train = _choose(source.labels, settings, near_file)[0]
    images = source.read("train", train)
    mean, std = (moment[:, None, None] for moment in _moments(source, train, images))
    return (images[:].astype(np.float32) - mean) / std, source.labels["train"][train]


def _source(settings: DataSettings, near_file: str) -> tuple[Source, Task, bool]:
    """The images, what they ask of a network, and whether they may be mirrored."""
    if is_own(settings.data):
        own = open_own(settings.data, near_file)
        return own.source(), own.task, own.mirrored
    file = find_file(settings, near_file)
    source = digits() if file is None else open_file(file, settings.data)
    return source, TASKS[settings.data], settings.data in MIRRORED


def _moments(
    source: Source, train: NDArray[np.int64], images: Images | MappedImages
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of the training images."""
    sums = channel_sums(images) if source.sums is None else source.sums[train]
    return moments(sums, images.shape[2] * images.shape[3])


def _choose(labels: Mapping[str, Labels], settings: DataSettings, near_file: str) -> tuple[NDArray[np.int64], ...]:
    """Which images of the training part train and validate, and which of the test part test."""
    rng = np.random.default_rng(SPLIT_SEED)
    whole, test = (interleave(labels[part], rng) for part in ("train", "test"))
    n_validation = settings.validation_images or max(1, round(_VALIDATION_SHARE * len(whole)))
    n_train = settings.train_images or len(whole) - n_validation
    n_test = settings.test_images or len(test)
    if n_train < 1 or n_train + n_validation > len(whole):
        raise SpecError(
            f"{n_train} images for training and {n_validation} for validation, but the training part of "
            f"{settings.data} has {len(whole)}; lower train_images or validation_images",
            file=near_file,
            field="accuracy.train_images",
        )
    if n_test > len(test):
        problem = f"{n_test} images, but the test part of {settings.data} has {len(test)}; lower it"
        raise SpecError(problem, file=near_file, field="accuracy.test_images")
    return whole[n_validation : n_validation + n_train], whole[:n_validation], test[:n_test]


# -- python -m coevo.accuracy.data -----------------------------------------------------------------------------


def decode_file(source: Path, target: Path) -> int:
    """Decodes ``cifar10_jpeg.npz`` into ``cifar10.npz`` and returns the number of images.

    Raises:
        DataError: The source is not of the JPEG form, or the target cannot be written.
        BackendError: Pillow is missing.
    """
    npz = Npz(source)
    if "train_jpeg" not in npz.names:
        raise npz.error("has no array 'train_jpeg'; only the JPEG form can be decoded")
    packed = jpeg(npz, TASKS["cifar10"])
    arrays: dict[str, NDArray[Any]] = {}
    for part, labels in packed.labels.items():
        arrays[f"{part}_x"] = packed.read(part, np.arange(len(labels)))[:].transpose(0, 2, 3, 1)
        arrays[f"{part}_y"] = labels.astype(np.uint8)
    unfinished = target.with_name(target.name + ".part")
    try:
        with unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        unfinished.replace(target)
    except OSError as error:
        raise DataError(f"{target}: cannot be written: {error.strerror or error}") from None
    return sum(len(labels) for labels in packed.labels.values())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``decode SOURCE TARGET`` and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m coevo.accuracy.data")
    decode = parser.add_subparsers(required=True).add_parser("decode", help="cifar10_jpeg.npz to cifar10.npz")
    decode.add_argument("source", type=Path, help="cifar10_jpeg.npz")
    decode.add_argument("target", type=Path, help="cifar10.npz")
    options = parser.parse_args(arguments)
    try:
        count = decode_file(options.source, options.target)
    except CoevoError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{count} images decoded into {options.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
