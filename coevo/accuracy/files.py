"""The data sets that go by a name, and the readers of their files.

Files are npz archives (CIFAR-10 also as JPEG bytes) or, for MNIST and Fashion-MNIST, the IDX files of their original
distributions. What is decoded from JPEG is kept (`coevo.accuracy.kept`).
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coevo.accuracy.images import SPLIT_SEED, Images, Labels, MappedImages, Rows, Source, images_of, interleave
from coevo.accuracy.kept import NotKeptError, keep
from coevo.design import digest
from coevo.errors import BackendError, DataError
from coevo.protocols import Task

TASKS: Mapping[str, Task] = {
    "digits": Task(channels=1, resolution=8, classes=10),
    "mnist": Task(channels=1, resolution=28, classes=10),
    "fashion_mnist": Task(channels=1, resolution=28, classes=10),
    "cifar10": Task(channels=3, resolution=32, classes=10),
}
"""What each data set asks of a network."""

FILES: Mapping[str, tuple[str, ...]] = {
    "mnist": ("mnist.npz", "mnist/train-images-idx3-ubyte.gz", "MNIST/raw/train-images-idx3-ubyte.gz"),
    "fashion_mnist": (
        "fashion_mnist.npz",
        "fashion_mnist_first3615.npz",
        "fashion_mnist/train-images-idx3-ubyte.gz",
        "FashionMNIST/raw/train-images-idx3-ubyte.gz",
    ),
    "cifar10": ("cifar10.npz", "cifar10_jpeg.npz"),
}
"""The files that may hold each data set, the preferred first; digits are embedded in scikit-learn."""

MIRRORED = ("cifar10", "fashion_mnist")
"""The data sets whose images are of the same class when turned left to right."""

_TEST_SHARE = 0.2


def digits() -> Source:
    """Returns the 1,797 digits of 8 x 8 pixels in scikit-learn, a fixed fifth of them for testing.

    E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998.
    """
    from sklearn.datasets import load_digits

    pixels, target = load_digits(return_X_y=True)
    return _hold_out(pixels.astype(np.uint8).reshape(-1, 1, 8, 8), target.astype(np.int64))


def open_file(file: Path, data: str) -> Source:
    """Returns the data set in a file.

    Raises:
        DataError: The file is not of its form.
    """
    task = TASKS[data]
    if file.suffix == ".gz":
        return _idx(file, task)
    arrays = Npz(file)
    if "train_jpeg" in arrays.names:
        return _kept(jpeg(arrays, task), file)
    size = (task.resolution, task.resolution)
    shape = size if task.channels == 1 else (*size, task.channels)

    def images(key: str, count: int, which: Rows | slice) -> Images:
        rows = arrays.array(key, np.uint8, (count, *shape))[which]
        return np.ascontiguousarray(rows.reshape(-1, *size, task.channels).transpose(0, 3, 1, 2))

    if "x" in arrays.names:
        labels_of_all = arrays.labels("y", task)
        return _hold_out(images("x", len(labels_of_all), slice(None)), labels_of_all)
    keys = {"train": "train_x", "test": "test_x"} if data == "cifar10" else {"train": "x_train", "test": "x_test"}
    labels = {part: arrays.labels(key.replace("x", "y"), task) for part, key in keys.items()}
    return Source(labels, lambda part, which: images(keys[part], len(labels[part]), which))


def _hold_out(images: Images, labels: Labels) -> Source:
    """A data set of one part, of which a fixed fifth tests."""
    order = interleave(labels, np.random.default_rng(SPLIT_SEED))
    n_test = round(_TEST_SHARE * len(labels))
    rows = {"train": order[n_test:], "test": order[:n_test]}
    return Source({part: labels[rows[part]] for part in rows}, lambda part, which: images[rows[part][which]])


class Npz:
    """An npz file whose every mistake is a `DataError` that names file and array.

    Attributes:
        names: Of its arrays.
    """

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
        """Returns the error that names the file."""
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
        """Reads an array of labels."""
        labels: Labels = self.array(name, np.integer, (None,)).astype(np.int64)
        if not len(labels) or labels.min() < 0 or labels.max() >= task.classes:
            raise self.error(f"array {name!r} must hold labels from 0 to {task.classes - 1}, at least one")
        return labels


# -- IDX -------------------------------------------------------------------------------------------------------


def _idx(train_images: Path, task: Task) -> Source:
    """The four files of the original distribution, found beside that of the training images."""
    images: dict[str, Images] = {}
    labels: dict[str, Labels] = {}
    for part, prefix in (("train", "train"), ("test", "t10k")):
        folder = train_images.parent
        file = folder / f"{prefix}-labels-idx1-ubyte.gz"
        labels[part] = _read_idx(file, (None,)).astype(np.int64)
        if not len(labels[part]) or labels[part].max() >= task.classes:
            raise DataError(f"{file}: must hold labels from 0 to {task.classes - 1}, at least one")
        shape = (len(labels[part]), task.resolution, task.resolution)
        images[part] = _read_idx(folder / f"{prefix}-images-idx3-ubyte.gz", shape)[:, None]
    return Source(labels, lambda part, which: images[part][which])


def _read_idx(file: Path, shape: tuple[int | None, ...]) -> NDArray[np.uint8]:
    """An array of bytes: 0, 0, 8 (for uint8), the number of axes, their extents as big-endian int32, the values.

    Source: Y. LeCun, C. Cortes, C. Burges: The MNIST database, section "File formats".
    """
    try:
        with gzip.open(file) as stream:
            content = stream.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read ({error})") from None
    start = 4 + 4 * len(shape)
    extents = tuple(int(n) for n in np.frombuffer(content[4:start].ljust(start - 4, b"\0"), dtype=">i4"))
    fits = all(wanted in (None, extent) for wanted, extent in zip(shape, extents, strict=True))
    if content[:4] != bytes([0, 0, 8, len(shape)]) or not fits or len(content) != start + int(np.prod(extents)):
        wanted = tuple("n" if extent is None else extent for extent in shape)
        raise DataError(f"{file}: must be an IDX file of uint8 {wanted}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(extents)


# -- JPEG ------------------------------------------------------------------------------------------------------


def jpeg(arrays: Npz, task: Task) -> Source:
    """Returns the data set in the JPEG form: all files of a part in one array, where each starts, and the labels."""
    labels = {part: arrays.labels(f"{part}_y", task) for part in ("train", "test")}

    def read(part: str, which: Rows) -> Images:
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

    return Source(labels, read)


def _decode(file: bytes, resolution: int) -> Images:
    """Returns one image ``(height, width, channel)``."""
    try:
        from PIL import Image
    except ImportError:
        raise BackendError(
            "the images are JPEG files, which pillow decodes: pip install 'coevo[cifar]' (or use cifar10.npz)"
        ) from None
    with Image.open(io.BytesIO(file), formats=["JPEG"]) as image:
        if image.size != (resolution, resolution):
            raise ValueError(f"{image.size[0]} x {image.size[1]} pixels")
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _kept(source: Source, file: Path) -> Source:
    """The source, what is read from it kept for as long as the file stays as it is, if it can be kept."""
    state = file.stat()

    def read(part: str, which: Rows) -> Images | MappedImages:
        key = digest(["decoded", str(file.resolve()), state.st_size, state.st_mtime_ns, part, which.tolist()])
        name = "images.npy"
        try:
            entry = keep(key, lambda folder: np.save(folder / name, source.read(part, which)[:]))
        except NotKeptError:
            return source.read(part, which)
        return images_of(entry / name, np.arange(len(which)))

    return Source(source.labels, read)
