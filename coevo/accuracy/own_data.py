"""Data of the user's own: a function in a Python file that returns map-style data sets, converted once into arrays.

    accuracy: {name: train, data: mine.py:make_data}

``make_data()`` returns ``(train, test)``, or a mapping with these two keys and, as it likes, ``mirrored`` (whether
images turned left to right are of the same class; false) and ``name`` (for reports). Each is anything with ``len()``
and ``[index]``, as `torch.utils.data.Dataset`, whose items are pairs (image, label). An image is a PIL image (L or
RGB), an array or tensor of uint8, or one of floats from 0 to 1, which are rounded to 256 levels; its shape is
``(height, width)``, ``(height, width, channel)`` or ``(channel, height, width)``, square, and the same for all.
Labels are integers from 0 without gaps. Channels, resolution and classes are taken from the training images.

The arrays are kept (`coevo.accuracy.kept`) for as long as the Python file stays as it is and coevo is called from the
same folder (which relative paths in the file count from): what else the file reads is looked at once.
"""

from __future__ import annotations

import json
import operator
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from coevo.accuracy.images import Images, Labels, Source, channel_sums, images_of, load_array
from coevo.accuracy.kept import keep
from coevo.design import digest
from coevo.errors import DataError, SpecError, near
from coevo.library import find_plugin, fingerprint, plugin_file, plugin_line
from coevo.protocols import Task

_FORMAT = 1
_KEYS = ("train", "test", "mirrored", "name")


@dataclass(frozen=True)
class OwnData:
    """A user's data set as it is kept.

    Attributes:
        folder: Holds the arrays.
        task: What the data ask of a network.
        mirrored: Whether images turned left to right are of the same class.
        name: What to call the data set; empty if the user does not say.
    """

    folder: Path
    task: Task
    mirrored: bool
    name: str

    def source(self) -> Source:
        """Returns the images and labels."""
        labels = {part: load_array(self.folder / f"{part}_labels.npy", mapped=False) for part in ("train", "test")}
        sums = load_array(self.folder / "train_sums.npy", mapped=False)
        return Source(labels, lambda part, which: images_of(self.folder / f"{part}.npy", which), sums)


def find_own(name: str, near_file: str = "") -> Path:
    """Returns the Python file of a data set ``path/to/file.py:function``.

    Raises:
        SpecError: There is none.
    """
    path = plugin_file(name, near_file)
    if path is None:
        problem = f"data set {name!r}: there is no file {name.rpartition(':')[0]}"
        raise SpecError(problem, file=near_file, field="accuracy.data")
    return path


def open_own(name: str, near_file: str = "") -> OwnData:
    """Returns the data set ``path/to/file.py:function``, converted if it was not yet.

    Raises:
        SpecError: There is no such function, it fails, or what it returns is no data set.
        DataError: The arrays cannot be kept.
    """
    path = find_own(name, near_file)
    function = name.rpartition(":")[2]
    key = digest(["own", _FORMAT, str(path), function, fingerprint(path), str(Path.cwd())])
    folder = keep(key, lambda empty: _Conversion(name, near_file, path).write(empty))
    try:
        facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
        return OwnData(folder, Task(**facts["task"]), facts["mirrored"], facts["name"])
    except (OSError, ValueError, KeyError, TypeError):
        raise DataError(f"{folder}: is not whole; delete it, and it is made anew") from None


class _Conversion:
    """Calls the user's function and writes what it returns as arrays."""

    def __init__(self, name: str, near_file: str, path: Path) -> None:
        self._name = name
        self._near_file = near_file
        self._path = path
        self._function = name.rpartition(":")[2]

    def write(self, folder: Path) -> None:
        if sys.stderr.isatty():
            print(f"reading the data of {self._name}, once for all runs ...", file=sys.stderr)
        given = self._call()
        train, task = self._write_part(folder, "train", given["train"], None)
        np.save(folder / "train_sums.npy", channel_sums(images_of(folder / "train.npy", np.arange(len(train)))))
        self._write_part(folder, "test", given["test"], task)
        facts = {"task": asdict(task), "mirrored": given.get("mirrored", False), "name": given.get("name", "")}
        (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")

    def _call(self) -> Mapping[str, Any]:
        """What the function returns, as a mapping."""
        try:
            function = find_plugin("data", self._name, self._near_file)
        except SpecError as error:
            file, field = (error.file, error.field) if error.file else (self._near_file, "accuracy.data")
            raise SpecError(error.problem, file=file, field=field) from error
        if not callable(function):
            self._refuse(f"is no function but {_kind(function)}")
        try:
            given = function()
        except (Exception, SystemExit) as error:
            self._fail("fails", error)
        if isinstance(given, tuple | list) and len(given) == 2:
            given = {"train": given[0], "test": given[1]}
        if not isinstance(given, Mapping) or not {"train", "test"} <= given.keys():
            self._refuse(f"must return (train, test) or a mapping with the keys train and test, got {_kind(given)}")
        for key in given:
            if key not in _KEYS:
                self._refuse(f"returns the unknown key {key!r} {near(str(key), _KEYS)}")
        for key, kind in (("mirrored", bool), ("name", str)):
            if key in given and not isinstance(given[key], kind):
                self._refuse(f"{key} must be a {kind.__name__}, got {_kind(given[key])}")
        return given

    def _write_part(self, folder: Path, part: str, data: Any, task: Task | None) -> tuple[Labels, Task]:
        """Writes images and labels of a part, which must be as the task says if it is known."""
        count = self._length(part, data)
        labels = np.empty(count, dtype=np.int64)
        shape: tuple[int, ...] | None = None if task is None else (task.channels, task.resolution, task.resolution)
        with (folder / f"{part}.npy").open("wb") as file:
            for i in range(count):
                image, labels[i] = self._item(part, data, i)
                if shape is None:
                    shape = image.shape
                if image.shape != shape:
                    shapes = f"{_shown(image.shape)}, but those before it {_shown(shape)}"
                    self._refuse(f"image {i} of {part} is {shapes} (channels x height x width); make all of one shape")
                if i == 0:
                    header = {"descr": "|u1", "fortran_order": False, "shape": (count, *shape)}
                    np.lib.format.write_array_header_1_0(file, header)
                file.write(image.tobytes())
        assert shape is not None
        task = task or Task(shape[0], shape[1], int(labels.max()) + 1)
        self._check_labels(part, labels, task)
        np.save(folder / f"{part}_labels.npy", labels)
        return labels, task

    def _length(self, part: str, data: Any) -> int:
        try:
            count = len(data)
        except (Exception, SystemExit) as error:
            self._fail(f"{part} must be a map-style data set, with len() and [index]; len() fails", error)
        least = 2 if part == "train" else 1
        if count < least:
            self._refuse(f"{part} has {count} images; it needs at least {least}")
        return int(count)

    def _item(self, part: str, data: Any, i: int) -> tuple[Images, int]:
        """Image ``(channel, height, width)`` and label."""
        where = f"item {i} of {part}"
        try:
            item = data[i]
        except (Exception, SystemExit) as error:
            self._fail(f"{where} fails", error)
        if not isinstance(item, tuple | list) or len(item) != 2:
            self._refuse(f"{where} must be a pair (image, label), got {_kind(item)}")
        try:
            return as_image(item[0]), _as_label(item[1])
        except (ValueError, TypeError, RuntimeError) as error:  # also of tensors that numpy does not know
            self._refuse(f"{where}: {error}")

    def _check_labels(self, part: str, labels: Labels, task: Task) -> None:
        if labels.max() >= task.classes:
            i = int(labels.argmax())
            self._refuse(f"item {i} of {part}: no training image has its label, {labels[i]}")
        if part == "train":
            absent = np.setdiff1d(np.arange(min(task.classes, len(labels) + 1)), labels)
            if len(absent):
                problem = f"the labels of train reach to {labels.max()}, but none is {absent[0]}"
                self._refuse(f"{problem}; number the classes from 0 without gaps")
            if task.classes < 2:
                self._refuse("all labels of train are 0; there must be two classes or more")

    def _refuse(self, problem: str) -> NoReturn:
        raise SpecError(problem, file=str(self._path), field=self._function)

    def _fail(self, what: str, error: BaseException) -> NoReturn:
        """Reports an exception out of the user's code, with the line there that it came through."""
        file, line = plugin_line(error) or (str(self._path), 0)
        text = f"{what}: {type(error).__name__}: {error}"
        raise SpecError(text, file=file, line=line, field=self._function) from error


def as_image(image: Any) -> Images:
    """Returns an image as uint8 ``(channel, height, width)``.

    Args:
        image: As the module says. Three equal axes are taken for ``(channel, height, width)`` if it is a tensor.

    Raises:
        ValueError: It is something else.
    """
    pil = sys.modules.get("PIL.Image")
    tensor = hasattr(image, "detach")
    if pil is not None and isinstance(image, pil.Image):
        if image.mode not in ("L", "RGB"):
            raise ValueError(f"a PIL image of mode {image.mode}; convert it to L or RGB")
        array = np.asarray(image)
    elif tensor:
        array = np.asarray(image.detach().cpu())
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise ValueError(f"an image must be a PIL image, an array or a tensor, got {_kind(image)}")
    return _as_bytes(_channels_first(array, tensor))


def _channels_first(array: NDArray[Any], tensor: bool) -> NDArray[Any]:
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or not array.size:
        raise ValueError(f"an image has two or three axes, got the shape {_shown(array.shape)}")
    first, second, third = array.shape
    if first == second and not (second == third and tensor):
        array = array.transpose(2, 0, 1)
    elif second != third:
        raise ValueError(f"the shape is {_shown(array.shape)}, but images must be square; crop or resize them")
    return array


def _as_bytes(array: NDArray[Any]) -> Images:
    if array.dtype == np.uint8:
        return np.asarray(array)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"pixels must be uint8, or floats from 0 to 1, got {array.dtype}")
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also NaN
        problem = f"floats must lie from 0 to 1, got {low:g} to {high:g}"
        raise ValueError(f"{problem}; leave normalisation to coevo, and give bytes as uint8")
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _as_label(label: Any) -> int:
    try:
        number = operator.index(label)
    except (TypeError, RuntimeError, ValueError):
        raise ValueError(f"a label must be an integer, got {_kind(label)}") from None
    if isinstance(label, bool) or not 0 <= number < 2**31:
        raise ValueError(f"a label must be an integer from 0, got {label!r}")
    return number


def _kind(thing: object) -> str:
    size = f" of length {len(thing)}" if isinstance(thing, tuple | list) else ""
    return f"{type(thing).__name__}{size}"


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
