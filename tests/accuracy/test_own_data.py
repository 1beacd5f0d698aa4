"""A user's own data set is converted once, to what it says, and every mistake in it is one line."""

from __future__ import annotations

import pickle
import textwrap
from pathlib import Path

import numpy as np
import pytest

from coevo.accuracy.data import Split, load_split, shown_name, task_of
from coevo.accuracy.own_data import as_image
from coevo.accuracy.settings import DataSettings
from coevo.errors import DataError, SpecError
from coevo.protocols import Task

GOOD = """
from pathlib import Path
import numpy as np
import torch

class Bars(torch.utils.data.Dataset):
    def __init__(self, n, seed):
        self.images = np.random.default_rng(seed).integers(0, 256, (n, 6, 6, 3), dtype=np.uint8)
    def __len__(self):
        return len(self.images)
    def __getitem__(self, i):
        return self.images[i], i % 3

def make_data():
    with open(Path(__file__).with_name("calls"), "a") as calls:
        calls.write("x")
    return Bars(60, 0), Bars(12, 1)
"""


@pytest.fixture(autouse=True)
def _workplace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COEVO_CACHE", str(tmp_path / "kept"))


def _load(text: str, name: str = "mine.py:make_data", **settings: int) -> Split:
    Path("mine.py").write_text(textwrap.dedent(text))
    return load_split(DataSettings(data=name, **settings), "experiment.yaml")


def _calls() -> int:
    return len(Path("calls").read_text())


def test_a_data_set_of_ones_own_says_what_it_asks_of_a_network() -> None:
    split = _load(GOOD)
    assert split.task == Task(channels=3, resolution=6, classes=3)
    assert (len(split.train), len(split.validation), len(split.test)) == (48, 12, 12)
    images = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
    label_of = {image.tobytes(): i % 3 for i, image in enumerate(images)}
    for part in (split.train, split.validation):
        assert [label_of[image.tobytes()] for image in part.images[:]] == part.labels.tolist()
    np.testing.assert_allclose(split.mean, split.train.images[:].mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(split.std, split.train.images[:].std(axis=(0, 2, 3)), rtol=1e-6)
    assert not split.mirrored


def test_it_is_converted_once_and_anew_when_its_file_changes() -> None:
    first = _load(GOOD)
    again = _load(GOOD, train_images=10)
    assert _calls() == 1
    np.testing.assert_array_equal(again.train.images[:], first.train.images[:10])
    changed = _load(GOOD.replace("Bars(60, 0)", "Bars(60, 5)"))
    assert _calls() == 2
    assert not np.array_equal(changed.train.images[:], first.train.images[:])
    _load(GOOD)
    assert _calls() == 2


def test_files_of_equal_text_in_two_folders_are_two_data_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = """
    from pathlib import Path
    import numpy as np
    def make_data():
        value = int(Path(__file__).with_name("value").read_text())
        pairs = [(np.full((2, 2), value, np.uint8), i % 2) for i in range(10)]
        return pairs, pairs
    """
    for value in (3, 7):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "mine.py").write_text(textwrap.dedent(text))
        (folder / "value").write_text(str(value))
        split = load_split(DataSettings(data="mine.py:make_data"), str(folder / "experiment.yaml"))
        assert (split.train.images[:] == value).all()


def test_a_relative_path_in_it_counts_from_where_coevo_is_called(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = """
    from pathlib import Path
    import numpy as np
    def make_data():
        pairs = [(np.full((2, 2), int(Path("value").read_text()), np.uint8), i % 2) for i in range(10)]
        return pairs, pairs
    """
    Path("mine.py").write_text(textwrap.dedent(text))
    for value in (3, 7):
        (tmp_path / str(value)).mkdir()
        (tmp_path / str(value) / "value").write_text(str(value))
        monkeypatch.chdir(tmp_path / str(value))
        split = load_split(DataSettings(data=f"{tmp_path}/mine.py:make_data"))
        assert (split.train.images[:] == value).all()


def test_a_mapping_may_name_the_data_and_allow_mirror_images() -> None:
    text = GOOD.replace(
        "return Bars(60, 0), Bars(12, 1)",
        "return {'train': Bars(60, 0), 'test': Bars(12, 1), 'mirrored': True, 'name': 'bars'}",
    )
    assert _load(text).mirrored
    assert shown_name(DataSettings(data="mine.py:make_data")) == "bars (mine.py:make_data)"
    assert shown_name(DataSettings(data="digits")) == "digits"


def test_every_form_of_image_is_the_same_image() -> None:
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    first = pixels.transpose(2, 0, 1)
    floats = torch.from_numpy(first / np.float32(255))
    forms = [pixels, first, torch.from_numpy(first.copy()), floats, floats.double(), floats.numpy()]
    for form in [*forms, image.fromarray(pixels)]:
        np.testing.assert_array_equal(as_image(form), first)
    for form in (pixels[..., 0], pixels[..., :1], image.fromarray(pixels[..., 0])):
        np.testing.assert_array_equal(as_image(form), first[:1])


def test_floats_are_rounded_to_the_nearest_level() -> None:
    np.testing.assert_array_equal(as_image(np.array([[0.0, 0.4 / 255], [0.6 / 255, 1.0]])), [[[0, 0], [1, 255]]])


def test_three_equal_axes_begin_with_channels_in_a_tensor_alone() -> None:
    torch = pytest.importorskip("torch")
    cube = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    np.testing.assert_array_equal(as_image(cube), cube.transpose(2, 0, 1))
    np.testing.assert_array_equal(as_image(torch.from_numpy(cube)), cube)


PAIRS = """
import numpy as np
def image(*shape):
    return np.zeros(shape, np.uint8)
good = [(image(4, 4), i % 2) for i in range(20)]
def make_data():
    return {}
"""


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("good", r"must return \(train, test\) or a mapping .* got list of length 20"),
        ("None", r"must return \(train, test\).* got NoneType"),
        ("{'train': good}", r"must return \(train, test\)"),
        ("{'train': good, 'test': good, 'miror': True}", r"unknown key 'miror' \(did you mean 'mirrored'\?"),
        ("{'train': good, 'test': good, 'mirrored': 1}", r"mirrored must be a bool, got int"),
        ("iter(good), good", r"train must be a map-style data set, .* len\(\) fails: TypeError"),
        ("[], good", r"train has 0 images; it needs at least 2"),
        ("good, []", r"test has 0 images"),
        ("good[:7] + [image(4, 4)], good", r"item 7 of train must be a pair \(image, label\), got ndarray"),
        ("good, good[:3] + [(image(5, 5), 0)]", r"image 3 of test is 1 x 5 x 5, but those before it 1 x 4 x 4"),
        ("good[:2] + [(image(3, 4, 4), 0)], good", r"image 2 of train is 3 x 4 x 4, but those before it 1 x 4 x 4"),
        ("[(image(4, 6), 0)] * 3, good", r"item 0 of train: the shape is 1 x 4 x 6, but images must be square"),
        ("[(image(4), 0)] * 3, good", r"item 0 of train: an image has two or three axes, got the shape 4"),
        ("[(image(4, 4).tolist(), 0)] * 3, good", r"item 0 of train: an image must be a PIL image, .* got list"),
        ("[(image(4, 4).astype(int), 0)] * 3, good", r"pixels must be uint8, or floats from 0 to 1, got int64"),
        ("[(image(4, 4) - 1.5, 0)] * 3, good", r"floats must lie from 0 to 1, got -1.5 to -1.5"),
        ("[(image(4, 4) * np.nan, 0)] * 3, good", r"floats must lie from 0 to 1, got nan"),
        ("good[:5] + [(image(4, 4), 'cat')], good", r"item 5 of train: a label must be an integer, got str"),
        ("good[:5] + [(image(4, 4), -1)], good", r"item 5 of train: a label must be an integer from 0, got -1"),
        ("good[:5] + [(image(4, 4), True)], good", r"a label must be an integer from 0, got True"),
        ("good[:5] + [(image(4, 4), 3)], good", r"labels of train reach to 3, but none is 2"),
        ("good[:5] + [(image(4, 4), 10**9)], good", r"labels of train reach to 1000000000, but none is 2"),
        ("[(image(4, 4), 0)] * 3, good", r"all labels of train are 0"),
        ("good, good[:5] + [(image(4, 4), 2)]", r"item 5 of test: no training image has its label, 2"),
    ],
)
def test_what_is_no_data_set_is_named_in_one_line(returned: str, said: str) -> None:
    with pytest.raises(SpecError, match=rf"^\S*mine\.py: make_data: .*{said}") as caught:
        _load(PAIRS.replace("return {}", f"return {returned}"))
    assert "\n" not in str(caught.value)
    assert not list(Path("kept").iterdir())


def test_an_exception_in_it_is_one_line_with_its_place() -> None:
    with pytest.raises(SpecError, match=r"mine\.py:7: make_data: fails: OSError: no\s+such disk"):
        _load(PAIRS.replace("return {}", "raise OSError('no\\nsuch disk')"))
    text = PAIRS.replace("return {}", "return Torn(), good") + textwrap.dedent("""
    class Torn:
        def __len__(self):
            return 3
        def __getitem__(self, i):
            if i == 2:
                raise OSError("torn")
            return good[i]
    """)
    with pytest.raises(SpecError, match=r"mine\.py:14: make_data: item 2 of train fails: OSError: torn"):
        _load(text)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("absent.py:make_data", GOOD, r"experiment\.yaml: accuracy\.data: .*there is no file absent\.py"),
        ("mine.py:make_dat", GOOD, r"experiment\.yaml: accuracy\.data: .*did you mean 'make_data'\?"),
        ("mine.py:make_data", "make_data = 3", r"mine\.py: make_data: is no function but int"),
        ("mine.py:make_data", "import nothing_such", r"mine\.py: .*fails on import: ModuleNotFoundError"),
    ],
)
def test_a_name_that_leads_nowhere_is_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        _load(text, name)


def test_images_in_modes_that_would_lose_colours_are_refused() -> None:
    image = pytest.importorskip("PIL.Image")
    with pytest.raises(ValueError, match="mode P; convert it to L or RGB"):
        as_image(image.new("P", (4, 4)))


def test_a_folder_that_cannot_be_written_names_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("file").write_text("")
    monkeypatch.setenv("COEVO_CACHE", "file")
    with pytest.raises(DataError, match=r"file: cannot be written: .*COEVO_CACHE"):
        _load(GOOD)


def test_kept_arrays_that_are_torn_say_what_to_delete() -> None:
    _load(GOOD)
    (images,) = Path("kept").glob("*/train.npy")
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"train\.npy: cannot be read .*delete the folder"):
        _load(GOOD)
    (facts,) = Path("kept").glob("*/facts.json")
    facts.unlink()
    with pytest.raises(DataError, match="is not whole; delete it"):
        task_of(DataSettings(data="mine.py:make_data"))


def test_few_images_lie_in_memory_and_many_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = _load(GOOD)
    monkeypatch.setattr("coevo.accuracy.images.IN_MEMORY_BYTES", 1000)
    mapped = _load(GOOD)
    assert isinstance(resident.train.images, np.ndarray)
    assert not isinstance(mapped.train.images, np.ndarray)
    assert mapped.train.images.shape == (48, 3, 6, 6)
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(getattr(mapped, part).images[:], getattr(resident, part).images)
        np.testing.assert_array_equal(getattr(mapped, part).labels, getattr(resident, part).labels)
    np.testing.assert_array_equal(mapped.mean, resident.mean)
    np.testing.assert_array_equal(mapped.std, resident.std)
    back = pickle.loads(pickle.dumps(mapped.train))
    rows = np.array([5, 0, 47])
    np.testing.assert_array_equal(back.images[rows], resident.train.images[rows])
    np.testing.assert_array_equal(back.images[40:50], resident.train.images[40:50])
