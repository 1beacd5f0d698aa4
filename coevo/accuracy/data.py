"""The images that networks are trained on, split honestly.

The search sees the validation images' error alone. They are taken from the data's training part; the test images
are the data's own test part. Which images those are depends on the data and the settings, never on a run's seed,
so that every network of every run is measured with the same yardstick.

CIFAR-10 comes as decoded arrays (``cifar10.npz``) or as JPEG files in an array (``cifar10_jpeg.npz``); of the
latter the images in use are decoded at each start, or all of them once and for all by

    python -m coevo.accuracy.data decode cifar10_jpeg.npz cifar10.npz
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo.accuracy.settings import DataSettings
from coevo.errors import BackendError, CoevoError, DataError, SpecError
from coevo.protocols import Task

Images = NDArray[np.uint8]
"""``(image, channel, height, width)``."""

Labels = NDArray[np.int64]
"""``(image,)``."""

TASKS: Mapping[str, Task] = {
    "digits": Task(channels=1, resolution=8, classes=10),
    "mnist": Task(channels=1, resolution=28, classes=10),
    "cifar10": Task(channels=3, resolution=32, classes=10),
}
"""What each data set asks of a network."""

FILES: Mapping[str, tuple[str, ...]] = {"mnist": ("mnist.npz",), "cifar10": ("cifar10.npz", "cifar10_jpeg.npz")}
"""The files that may hold each data set, the preferred first; digits are embedded in scikit-learn."""

_SPLIT_SEED = 20261123
_DIGITS_TEST_SHARE = 0.2
_VALIDATION_SHARE = 0.2
_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Part:
    """Labelled images.

    Attributes:
        images: ``(image, channel, height, width)``, as they are in the file.
        labels: ``(image,)``.
    """

    images: Images
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
    """

    task: Task
    train: Part
    validation: Part
    test: Part
    mean: NDArray[np.float32]
    std: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Source:
    """A data set whose images are read only as far as they are used.

    Attributes:
        labels: Of the parts ``train`` and ``test``, ``(image,)``.
        read: (part, which images) -> the images.
    """

    labels: Mapping[str, Labels]
    read: Callable[[str, NDArray[np.int64]], Images]

    def part(self, name: str, which: NDArray[np.int64]) -> Part:
        return Part(self.read(name, which), self.labels[name][which])


def find_file(settings: DataSettings, near_file: str = "") -> Path | None:
    """Returns the file that holds the data, None if they are embedded.

    Raises:
        DataError: It is nowhere; the text says where to put it.
    """
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


def task_of(settings: DataSettings, near_file: str = "") -> Task:  # noqa: ARG001 - a user's own data will need it
    """Returns what the data ask of a network."""
    return TASKS[settings.data]


def load_split(settings: DataSettings, near_file: str = "") -> Split:
    """Reads the data and splits them.

    Raises:
        DataError: The data are absent or unreadable.
        BackendError: They are JPEG files and pillow is missing.
        SpecError: More images are asked for than there are.
    """
    source = _source(settings, near_file)
    train, validation, test = _choose(source.labels, settings, near_file)
    train_part = source.part("train", train)
    mean, std = _moments(train_part.images)
    task = task_of(settings, near_file)
    return Split(task, train_part, source.part("train", validation), source.part("test", test), mean, std)


def load_train(settings: DataSettings, near_file: str = "") -> tuple[NDArray[np.float32], Labels]:
    """Reads what weights may be fitted to and nothing else: images normalised by their own moments, and labels.

    Returns:
        ``(image, channel, height, width)`` and ``(image,)``, those of `Split.train`.

    Raises:
        DataError, BackendError, SpecError: As for `load_split`.
    """
    source = _source(settings, near_file)
    train = source.part("train", _choose(source.labels, settings, near_file)[0])
    mean, std = (moment[:, None, None] for moment in _moments(train.images))
    return (train.images.astype(np.float32) - mean) / std, train.labels


def interleave(labels: Labels, rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns an order ``(image,)``, random but such that every prefix has the classes in the data's proportions."""
    shuffled = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        mine = np.flatnonzero(labels[shuffled] == label)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.asarray(shuffled[np.argsort(place, kind="stable")], dtype=np.int64)


def _choose(labels: Mapping[str, Labels], settings: DataSettings, near_file: str) -> tuple[NDArray[np.int64], ...]:
    """Which images of the training part train and validate, and which of the test part test."""
    rng = np.random.default_rng(_SPLIT_SEED)
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


def _moments(images: Images) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation per channel, from exact integer sums; 1 for a channel that never changes."""
    sums = np.zeros((2, images.shape[1]), dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        pixels = images[start : start + _CHUNK].astype(np.int64)
        sums += np.stack([pixels.sum(axis=(0, 2, 3)), np.square(pixels).sum(axis=(0, 2, 3))])
    mean, square = sums / (images.size // images.shape[1])
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)


def _source(settings: DataSettings, near_file: str) -> _Source:
    file = find_file(settings, near_file)
    return _digits() if file is None else _open(file, settings.data, TASKS[settings.data])


def _digits() -> _Source:
    """The 1,797 digits of 8 x 8 pixels in scikit-learn, a fixed fifth of them for testing.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    images = pixels.astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = target.astype(np.int64)
    order = interleave(labels, np.random.default_rng(_SPLIT_SEED))
    n_test = round(_DIGITS_TEST_SHARE * len(labels))
    rows = {"train": order[n_test:], "test": order[:n_test]}
    return _Source({part: labels[rows[part]] for part in rows}, lambda part, which: images[rows[part][which]])


# -- npz files -------------------------------------------------------------------------------------------------


def _open(file: Path, data: str, task: Task) -> _Source:
    arrays = _Npz(file)
    if "train_jpeg" in arrays.names:
        return _jpeg(arrays, task)
    keys = {"train": "x_train", "test": "x_test"} if data == "mnist" else {"train": "train_x", "test": "test_x"}
    labels = {part: arrays.labels(key.replace("x", "y"), task) for part, key in keys.items()}
    size = (task.resolution, task.resolution)
    shape = size if task.channels == 1 else (*size, task.channels)

    def read(part: str, which: NDArray[np.int64]) -> Images:
        images = arrays.array(keys[part], np.uint8, (len(labels[part]), *shape))[which]
        return np.ascontiguousarray(images.reshape(-1, *size, task.channels).transpose(0, 3, 1, 2))

    return _Source(labels, read)


class _Npz:
    """An npz file whose every mistake is a `DataError` that names file and array."""

    def __init__(self, file: Path) -> None:
        self._file = file
        if not zipfile.is_zipfile(file):  # numpy would read other things as well
            raise self.error("is not an npz file: no zip archive, or not all of one")
        try:
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                self.names = set(arrays.files)
        except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise self.error(f"is not an npz file ({error})") from None

    def error(self, problem: str) -> DataError:
        return DataError(f"{self._file}: {' '.join(problem.split())}")

    def array(self, name: str, dtype: type[Any], shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Reads an array; None in ``shape`` leaves an extent open."""
        if name not in self.names:
            raise self.error(f"has no array {name!r}, only {', '.join(sorted(self.names)) or 'none'}")
        try:
            with self._file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
                array: NDArray[Any] = arrays[name]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError) as error:
            raise self.error(f"array {name!r} cannot be read ({error})") from None
        fits = len(array.shape) == len(shape) and all(w in (None, n) for w, n in zip(shape, array.shape, strict=True))
        if not fits or not np.issubdtype(array.dtype, dtype):
            wanted = f"{dtype.__name__} {tuple('n' if extent is None else extent for extent in shape)}"
            raise self.error(f"array {name!r} must be {wanted}, got {array.dtype} {array.shape}")
        return array

    def labels(self, name: str, task: Task) -> Labels:
        labels: Labels = self.array(name, np.integer, (None,)).astype(np.int64)
        if not len(labels) or labels.min() < 0 or labels.max() >= task.classes:
            raise self.error(f"array {name!r} must hold labels from 0 to {task.classes - 1}, at least one")
        return labels


def _jpeg(arrays: _Npz, task: Task) -> _Source:
    """The JPEG form: all files of a part in one array, where each starts, and the labels."""
    labels = {part: arrays.labels(f"{part}_y", task) for part in ("train", "test")}

    def read(part: str, which: NDArray[np.int64]) -> Images:
        offsets = arrays.array(f"{part}_offset", np.int64, (len(labels[part]) + 1,))
        packed = arrays.array(f"{part}_jpeg", np.uint8, (None,))
        images = np.empty((len(which), task.resolution, task.resolution, task.channels), dtype=np.uint8)
        for row, i in enumerate(which):
            file = packed[offsets[i] : offsets[i + 1]].tobytes()
            try:
                images[row] = _decode(file, task.resolution)
            except (OSError, ValueError, SyntaxError) as error:
                raise arrays.error(f"image {i} of {part!r} cannot be decoded ({error})") from None
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    return _Source(labels, read)


def _decode(jpeg: bytes, resolution: int) -> Images:
    """Returns one image ``(height, width, channel)``."""
    try:
        from PIL import Image
    except ImportError:
        raise BackendError(
            "the images are JPEG files, which pillow decodes: pip install 'coevo[cifar]' (or use cifar10.npz)"
        ) from None
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        if image.size != (resolution, resolution):
            raise ValueError(f"{image.size[0]} x {image.size[1]} pixels")
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


# -- python -m coevo.accuracy.data -----------------------------------------------------------------------------


def decode_file(source: Path, target: Path) -> int:
    """Decodes ``cifar10_jpeg.npz`` into ``cifar10.npz`` and returns the number of images.

    Raises:
        DataError: The source is not of the JPEG form, or the target cannot be written.
        BackendError: Pillow is missing.
    """
    npz = _Npz(source)
    if "train_jpeg" not in npz.names:
        raise npz.error("has no array 'train_jpeg'; only the JPEG form can be decoded")
    packed = _jpeg(npz, TASKS["cifar10"])
    arrays: dict[str, NDArray[Any]] = {}
    for part, labels in packed.labels.items():
        arrays[f"{part}_x"] = packed.read(part, np.arange(len(labels))).transpose(0, 2, 3, 1)
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
