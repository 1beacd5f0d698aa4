"""The splits are honest and fixed, and every mistake about files is one clear line."""

from __future__ import annotations

import gzip
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from coevo.accuracy.data import Split, find_file, load_split, load_train, main
from coevo.accuracy.images import channel_sums, interleave, moments
from coevo.accuracy.settings import TrainSettings
from coevo.errors import BackendError, DataError, SpecError

LABELS = np.tile(np.arange(10, dtype=np.uint8), 8)


@pytest.fixture(autouse=True)
def _folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COEVO_DATA", raising=False)
    monkeypatch.setenv("COEVO_CACHE", str(tmp_path / "kept"))


def _cifar(n: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def _write_cifar(folder: Path, **changes: NDArray[np.generic]) -> None:
    arrays = {"train_x": _cifar(80, 0), "train_y": LABELS, "test_x": _cifar(40, 1), "test_y": LABELS[:40]}
    np.savez(folder / "cifar10.npz", **{**arrays, **changes})


def _write_jpeg(folder: Path) -> None:
    """80 training and 40 test images, each of one colour by its number, so that JPEG hardly loses anything."""
    image = pytest.importorskip("PIL.Image")
    arrays = {}
    for part, count in (("train", 80), ("test", 40)):
        files = []
        for i in range(count):
            buffer = io.BytesIO()
            image.new("RGB", (32, 32), (3 * i, 255 - 3 * i, 128)).save(buffer, "JPEG")
            files.append(buffer.getvalue())
        arrays[f"{part}_jpeg"] = np.frombuffer(b"".join(files), dtype=np.uint8)
        arrays[f"{part}_offset"] = np.cumsum([0, *map(len, files)])
        arrays[f"{part}_y"] = LABELS[:count]
    np.savez(folder / "cifar10_jpeg.npz", **arrays)


def _rows(split: Split) -> list[set[bytes]]:
    return [{image.tobytes() for image in part.images} for part in (split.train, split.validation, split.test)]


def test_no_digit_is_in_two_parts_and_none_is_lost() -> None:
    train, validation, test = _rows(load_split(TrainSettings()))
    assert train.isdisjoint(validation)
    assert train.isdisjoint(test)
    assert validation.isdisjoint(test)
    assert len(train) + len(validation) + len(test) == 1797


def test_validation_images_come_from_the_training_part_and_test_images_from_the_test_part(tmp_path: Path) -> None:
    _write_cifar(tmp_path)
    train, validation, test = _rows(load_split(TrainSettings(data="cifar10", folder=str(tmp_path))))
    of_training = {image.transpose(2, 0, 1).tobytes() for image in _cifar(80, 0)}
    assert (len(train), len(validation), len(test)) == (64, 16, 40)
    assert train | validation == of_training
    assert test.isdisjoint(of_training)


def test_labels_stay_with_their_images(tmp_path: Path) -> None:
    images = np.broadcast_to(LABELS[:, None, None, None], (80, 32, 32, 3))
    _write_cifar(tmp_path, train_x=images, test_x=images[:40])
    split = load_split(TrainSettings(data="cifar10", folder=str(tmp_path)))
    for part in (split.train, split.validation, split.test):
        np.testing.assert_array_equal(part.images[:, 0, 0, 0], part.labels)


def test_validation_and_test_images_do_not_depend_on_the_number_of_training_images() -> None:
    some, all_of_them = (load_split(TrainSettings(train_images=n)) for n in (100, None))
    np.testing.assert_array_equal(some.validation.images, all_of_them.validation.images)
    np.testing.assert_array_equal(some.test.images, all_of_them.test.images)
    np.testing.assert_array_equal(some.train.images, all_of_them.train.images[:100])


def test_parts_have_the_classes_in_equal_shares() -> None:
    split = load_split(TrainSettings(train_images=200, validation_images=100, test_images=50))
    for part, count in ((split.train, 20), (split.validation, 10), (split.test, 5)):
        assert np.abs(np.bincount(part.labels, minlength=10) - count).max() <= 2


def test_every_prefix_of_interleaved_labels_keeps_the_proportions() -> None:
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    order = interleave(labels, np.random.default_rng(0))
    assert sorted(order) == list(range(1000))
    for n in (10, 100, 500):
        np.testing.assert_allclose(np.bincount(labels[order[:n]]) / n, [0.6, 0.3, 0.1], atol=0.06)


def test_mean_and_std_are_those_of_the_training_images() -> None:
    split = load_split(TrainSettings(train_images=500))
    np.testing.assert_allclose(split.mean, split.train.images.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(split.std, split.train.images.std(axis=(0, 2, 3)), rtol=1e-6)


def test_training_images_alone_are_those_of_the_split_normalised(tmp_path: Path) -> None:
    _write_cifar(tmp_path)
    settings = TrainSettings(data="cifar10", folder=str(tmp_path), train_images=40, validation_images=20)
    split, (images, labels) = load_split(settings), load_train(settings)
    np.testing.assert_array_equal(labels, split.train.labels)
    np.testing.assert_allclose(images.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(images.std((0, 2, 3)), 1, atol=1e-5)
    pixels = images[3] * split.std[:, None, None] + split.mean[:, None, None]
    np.testing.assert_allclose(pixels, split.train.images[3], atol=1e-3)


def test_jpeg_and_decoded_files_give_the_same_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_jpeg(tmp_path)
    settings = TrainSettings(data="cifar10", folder=str(tmp_path), train_images=50)
    packed = load_split(settings)
    np.testing.assert_allclose(packed.train.images[:, 2].mean(), 128, atol=2)
    assert main(["decode", str(tmp_path / "cifar10_jpeg.npz"), str(tmp_path / "cifar10.npz")]) == 0
    assert "120 images" in capsys.readouterr().out
    (tmp_path / "cifar10_jpeg.npz").unlink()
    decoded = load_split(settings)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(packed, name).images, getattr(decoded, name).images)
        np.testing.assert_array_equal(getattr(packed, name).labels, getattr(decoded, name).labels)


def test_jpeg_without_pillow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_jpeg(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(BackendError, match=r"pip install 'coevo\[cifar\]'"):
        load_split(TrainSettings(data="cifar10", folder=str(tmp_path)))


def test_jpeg_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_jpeg(tmp_path)
    settings = TrainSettings(data="cifar10", folder=str(tmp_path), train_images=50)
    first = load_split(settings)
    monkeypatch.setitem(sys.modules, "PIL", None)
    again = load_split(settings)
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(first, name).images, getattr(again, name).images)
    with pytest.raises(BackendError):  # other images are not kept yet
        load_split(TrainSettings(data="cifar10", folder=str(tmp_path), train_images=51))
    os.utime(tmp_path / "cifar10_jpeg.npz", (0, 0))
    with pytest.raises(BackendError):  # nor those of another file
        load_split(settings)


def test_jpeg_that_cannot_be_kept_is_decoded_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_jpeg(tmp_path)
    (tmp_path / "file").touch()
    monkeypatch.setenv("COEVO_CACHE", str(tmp_path / "file"))
    assert len(load_split(TrainSettings(data="cifar10", folder=str(tmp_path))).train) == 64


def _grey(n: int, seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def _write_idx(folder: Path) -> None:
    """The four files of 80 training and 40 test images."""
    folder.mkdir(parents=True)
    for prefix, count, seed in (("train", 80, 0), ("t10k", 40, 1)):
        for kind, array in (("images-idx3", _grey(count, seed)), ("labels-idx1", LABELS[:count])):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">i4").tobytes()
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))


@pytest.mark.parametrize("folders", [("mnist", "fashion_mnist"), ("MNIST/raw", "FashionMNIST/raw")])
def test_idx_files_are_the_same_data_as_an_npz_file(folders: tuple[str, str], tmp_path: Path) -> None:
    for data, folder in zip(("mnist", "fashion_mnist"), folders, strict=True):
        settings = TrainSettings(data=data, folder=str(tmp_path))
        _write_idx(tmp_path / folder)
        idx = load_split(settings)
        arrays = {"x_train": _grey(80, 0), "y_train": LABELS, "x_test": _grey(40, 1), "y_test": LABELS[:40]}
        np.savez(tmp_path / f"{data}.npz", **arrays)
        npz = load_split(settings)
        assert npz.mirrored is idx.mirrored is (data == "fashion_mnist")
        for part in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(idx, part).images, getattr(npz, part).images)
            np.testing.assert_array_equal(getattr(idx, part).labels, getattr(npz, part).labels)


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("train-images-idx3", b"not gzip", "cannot be read"),
        ("t10k-images-idx3", gzip.compress(b"\0\0\x08\x03", mtime=0), r"must be an IDX file of uint8 \(40, 28, 28\)"),
        ("train-labels-idx1", gzip.compress(b"\0\0\x08\x01\0\0\0\x02\x01", mtime=0), r"IDX file of uint8 \('n',\)"),
        ("t10k-labels-idx1", gzip.compress(b"\0\0\x08\x01\0\0\0\x01\x0a", mtime=0), "labels from 0 to 9"),
        ("t10k-labels-idx1", None, "No such file"),
    ],
)
def test_an_idx_file_of_the_wrong_form_is_named(file: str, content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mnist" / f"{file}-ubyte.gz"
    _write_idx(path.parent)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: .*{said}"):
        load_split(TrainSettings(data="mnist", folder=str(tmp_path)))


def test_of_a_file_with_one_part_a_fixed_fifth_tests(tmp_path: Path) -> None:
    np.savez(tmp_path / "fashion_mnist_first3615.npz", x=_grey(80, 0), y=LABELS)
    whole, small = (
        load_split(TrainSettings(data="fashion_mnist", folder=str(tmp_path), train_images=n)) for n in (None, 10)
    )
    train, validation, test = _rows(whole)
    assert (len(train), len(validation), len(test)) == (51, 13, 16)
    assert train | validation | test == {image.tobytes() for image in _grey(80, 0)}
    np.testing.assert_array_equal(whole.test.images, small.test.images)
    label_of = {image.tobytes(): label for image, label in zip(_grey(80, 0), LABELS, strict=True)}
    for part in (whole.train, whole.validation, whole.test):
        assert [label_of[image.tobytes()] for image in part.images] == part.labels.tolist()


def test_moments_are_exact_however_many_images_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 9, 9), dtype=np.uint8)
    images[:, 2] = 7
    whole = moments(channel_sums(images), 81)
    monkeypatch.setattr("coevo.accuracy.images._CHUNK_BYTES", 1000)
    np.testing.assert_array_equal(whole, moments(channel_sums(images), 81))
    np.testing.assert_allclose(whole[0], images.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(whole[1], [*images.std(axis=(0, 2, 3))[:2], 1], rtol=1e-6)


def test_a_folder_counts_from_the_experiment_file_then_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("lab/images", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
        _write_cifar(tmp_path / folder)
    monkeypatch.setenv("COEVO_DATA", str(tmp_path / "elsewhere"))
    experiment = str(tmp_path / "lab" / "experiment.yaml")
    near = TrainSettings(data="cifar10", folder="images")
    assert find_file(near, experiment) == tmp_path / "lab" / "images" / "cifar10.npz"
    assert find_file(TrainSettings(data="cifar10"), experiment) == tmp_path / "elsewhere" / "cifar10.npz"


@pytest.mark.parametrize("data", ["mnist", "fashion_mnist", "cifar10"])
def test_absent_data_say_where_to_put_them(data: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no {data}\.npz .*COEVO_DATA"):
        find_file(TrainSettings(data=data))
    with pytest.raises(DataError, match=str(tmp_path)):
        find_file(TrainSettings(data=data, folder=str(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_x": np.zeros((80, 16, 16, 3), np.uint8)}, r"'train_x' must be uint8 \(80, 32, 32, 3\), got .*16, 16"),
        ({"train_x": np.zeros((80, 32, 32, 3))}, r"must be uint8 .*got float64"),
        ({"train_y": LABELS[:79]}, r"'train_x' must be uint8 \(79,"),
        ({"test_y": LABELS[:40] + 1}, r"labels from 0 to 9"),
        ({"test_y": np.array([None] * 40)}, r"'test_y' cannot be read"),
    ],
)
def test_arrays_of_the_wrong_form_are_refused(
    changes: dict[str, NDArray[np.generic]], message: str, tmp_path: Path
) -> None:
    _write_cifar(tmp_path, **changes)
    with pytest.raises(DataError, match=rf"cifar10\.npz: .*{message}"):
        load_split(TrainSettings(data="cifar10", folder=str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04 torn"])
def test_a_file_that_is_no_npz_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(DataError, match="is not an npz file"):
        load_split(TrainSettings(data="mnist", folder=str(tmp_path)))


def test_a_single_array_is_no_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "mnist.npy", LABELS)
    (tmp_path / "mnist.npy").rename(tmp_path / "mnist.npz")
    with pytest.raises(DataError, match="is not an npz file"):
        load_split(TrainSettings(data="mnist", folder=str(tmp_path)))


def test_a_missing_array_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "mnist.npz", y_train=LABELS, y_test=LABELS, pictures=LABELS)
    with pytest.raises(DataError, match="no array 'x_train', only pictures, y_test, y_train"):
        load_split(TrainSettings(data="mnist", folder=str(tmp_path)))


def test_a_torn_jpeg_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write_jpeg(tmp_path)
    with np.load(tmp_path / "cifar10_jpeg.npz") as file:
        arrays = dict(file)
    arrays["test_jpeg"] = np.zeros_like(arrays["test_jpeg"])
    np.savez(tmp_path / "cifar10_jpeg.npz", **arrays)
    assert main(["decode", str(tmp_path / "cifar10_jpeg.npz"), str(tmp_path / "out.npz")]) == 2
    assert "image 0 of 'test' cannot be decoded" in capsys.readouterr().err
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    ("limits", "field"), [({"train_images": 1400}, "train_images"), ({"test_images": 400}, "test_images")]
)
def test_more_images_than_there_are_is_the_users_mistake(limits: dict[str, int], field: str) -> None:
    with pytest.raises(SpecError, match=rf"my\.yaml: accuracy\.{field}: .*lower"):
        load_split(TrainSettings(**limits), "my.yaml")


REAL = pytest.mark.skipif("COEVO_DATA" not in os.environ, reason="COEVO_DATA names no folder with the real data")
FOLDER = os.environ.get("COEVO_DATA", "")


@REAL
@pytest.mark.parametrize(
    ("data", "mean"), [("mnist", [33.3]), ("fashion_mnist", [72.9]), ("cifar10", [125.3, 123.0, 113.9])]
)
def test_the_real_files_load_with_their_well_known_means(data: str, mean: list[float]) -> None:
    settings = TrainSettings(data=data, folder=FOLDER, train_images=2000, validation_images=100, test_images=100)
    try:
        split = load_split(settings)
    except DataError as error:
        pytest.skip(str(error))
    np.testing.assert_allclose(split.mean, mean, atol=3)
    assert len(split.train) == 2000
