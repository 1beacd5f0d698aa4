"""Images and labels as arrays: in memory, or memory-mapped where they are many; and orders that keep the classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo.errors import DataError

Images = NDArray[np.uint8]
"""``(image, channel, height, width)``."""

Labels = NDArray[np.int64]
"""``(image,)``."""

Rows = NDArray[np.int64]
"""Which images, ``(image,)``."""

SPLIT_SEED = 20261123
"""Decides which images validate, for all runs alike."""

IN_MEMORY_BYTES = 256 * 2**20
"""Size of a kept file beyond which its images stay on the disk and are read batch by batch [byte]."""

_CHUNK_BYTES = 2**22


class MappedImages:
    """Rows of a memory-mapped file, read as they are indexed.

    It is pickled as the file's name and the rows; the other side maps the same file. The pages that are read belong
    to the operating system, which shares them among processes and takes them back when memory is short.

    Args:
        file: An ``.npy`` file that no one changes: uint8 ``(row, channel, height, width)``.
        rows: Which of its rows are the images, in this order.

    Raises:
        DataError: The file is absent or not whole.
    """

    def __init__(self, file: Path, rows: Rows) -> None:
        self._file = file
        self._rows = rows
        self._array: Images = load_array(file, mapped=True)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(image, channel, height, width)``."""
        return (len(self._rows), *self._array.shape[1:])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: slice | Rows) -> Images:
        """Reads some of the images into memory."""
        return np.asarray(self._array[self._rows[which]])

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedImages, (self._file, self._rows)


@dataclass(frozen=True, eq=False)
class Source:
    """A data set whose images are read only as far as they are used.

    Attributes:
        labels: Of the parts ``train`` and ``test``, ``(image,)``.
        read: (part, which images) -> the images.
        sums: `channel_sums` of all images of the part ``train``, where they are known beforehand.
    """

    labels: Mapping[str, Labels]
    read: Callable[[str, Rows], Images | MappedImages]
    sums: NDArray[np.int64] | None = None


def load_array(file: Path, mapped: bool) -> NDArray[Any]:
    """Returns the array of an ``.npy`` file that coevo wrote; memory-mapped, it cannot be written to.

    Raises:
        DataError: It is absent or not whole.
    """
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        problem = " ".join(str(error).split())
        raise DataError(f"{file}: cannot be read ({problem}); delete the folder, and it is made anew") from None
    return array.view(np.ndarray)


def images_of(file: Path, rows: Rows) -> Images | MappedImages:
    """Returns rows of an ``.npy`` file of images: in memory if the file is small, else mapped."""
    images = MappedImages(file, rows)
    return images if file.stat().st_size > IN_MEMORY_BYTES else images[:]


def interleave(labels: Labels, rng: np.random.Generator) -> Rows:
    """Returns an order ``(image,)``, random but such that every prefix has the classes in the data's proportions."""
    shuffled = rng.permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        mine = np.flatnonzero(labels[shuffled] == label)
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    return np.asarray(shuffled[np.argsort(place, kind="stable")], dtype=np.int64)


def channel_sums(images: Images | MappedImages) -> NDArray[np.int64]:
    """Returns sum and sum of squares of every image's pixels, ``(image, 2, channel)``, exact."""
    count, channels, height, width = images.shape
    sums = np.empty((count, 2, channels), dtype=np.int64)
    chunk = max(1, _CHUNK_BYTES // (channels * height * width))
    for start in range(0, count, chunk):
        pixels = images[start : start + chunk].astype(np.int64)
        sums[start : start + chunk, 0] = pixels.sum(axis=(2, 3))
        sums[start : start + chunk, 1] = np.square(pixels).sum(axis=(2, 3))
    return sums


def moments(sums: NDArray[np.int64], pixels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns mean and standard deviation per channel ``(channel,)``; 1 for a channel that never changes.

    Args:
        sums: `channel_sums` of the images, ``(image, 2, channel)``.
        pixels: Height times width.
    """
    mean, square = sums.sum(axis=0) / (len(sums) * pixels)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    return mean.astype(np.float32), np.where(std > 0, std, 1).astype(np.float32)
