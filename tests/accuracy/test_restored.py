"""A restored network is the one that was scored: its error, counted again, is the same."""

from __future__ import annotations

import pytest

from coevo.accuracy.restored import restore
from coevo.accuracy.stack import build, close
from coevo.accuracy.train import TrainedAccuracy
from coevo.design import Network
from coevo.errors import RunError
from coevo.networks import build_family, load_space
from coevo.protocols import Candidate, Context, Task
from coevo.space import Space

FAMILY = build_family(load_space("digits_mbconv"), Task(channels=1, resolution=8, classes=10))
SPACE = Space(FAMILY.genes)
SMALL = {"data": "digits", "train_images": 256, "validation_images": 128, "test_images": 128, "device": "cpu"}
TRAIN = {"name": "train", "epochs": 1, **SMALL}
SUPERNET = {"name": "supernet", "epochs": 1, "calibration_images": 64, **SMALL}


def network(index: int = 0) -> Network:
    genome = 0 * SPACE.cardinalities
    genome[0] = index
    return Network("digits_mbconv", SPACE.decode(genome))


def scored_and_restored(section, folder, context=None):
    model = build(section)
    try:
        ((_, accuracy),) = model.score(FAMILY, [network()], 3, context=context or Context(folder=folder))
        return accuracy, restore(model, FAMILY, network(), 3, folder)
    finally:
        close(model)


def assert_same(accuracy, found):
    assert accuracy.violation == 0
    assert (found.error, found.test_error) == (accuracy.error, accuracy.test_error)
    assert found.images == (128, 128) and len(found.mean) == len(found.std) == 1
    assert not found.module.training


@pytest.mark.slow
def test_a_training_that_kept_no_weights_is_done_once_more(tmp_path):
    accuracy, found = scored_and_restored(TRAIN, tmp_path)
    assert_same(accuracy, found)
    assert len(list((tmp_path / "weights").iterdir())) == 1, "now they are kept"


@pytest.mark.slow
@pytest.mark.parametrize(
    "section",
    [
        TRAIN | {"after": {"epochs": 1, "resolution": 0.5}, "quantization": "post_training"},
        SUPERNET,
        {
            "name": "cascade",
            "rungs": [{"model": {"name": "zero_cost", **SMALL, "proxies": ["naswot"]}}, {"model": TRAIN}],
        },
    ],
)
def test_other_models_give_the_network_that_they_scored(section, tmp_path):
    assert_same(*scored_and_restored(section, tmp_path))


@pytest.mark.slow
def test_an_inherited_network_is_read_and_never_trained_without_its_parent(tmp_path):
    parent = network(1)
    model = build(TRAIN | {"name": "inherit"})
    ((_, known),) = model.score(FAMILY, [parent], 3, context=Context(folder=tmp_path))
    close(model)
    context = Context(history=[Candidate(parent, [[1.0]], known)], folder=tmp_path)
    assert_same(*scored_and_restored(TRAIN | {"name": "inherit"}, tmp_path, context))
    for file in (tmp_path / "weights").iterdir():
        file.unlink()
    with pytest.raises(RunError, match=r"the weights of network .* are gone"):
        restore(build(TRAIN | {"name": "inherit"}), FAMILY, network(), 3, tmp_path)


@pytest.mark.parametrize("section", [TRAIN, SUPERNET])
def test_weights_of_smaller_networks_are_not_taken_for_the_designs(section, tmp_path):
    with pytest.raises(RunError, match=r"smaller networks \(width x 0\.5\)"):
        restore(build(section | {"width": 0.5}), FAMILY, network(), 3, tmp_path)


def test_a_model_that_trains_nothing_has_no_weights(tmp_path):
    with pytest.raises(RunError, match="trains no network by itself"):
        restore(build({"name": "zero_cost", "data": "digits"}), FAMILY, network(), 3, tmp_path)


def test_damaged_weights_are_trained_again_and_foreign_ones_refused(tmp_path, monkeypatch):
    from coevo.accuracy import checkpoint, train

    model = build(TRAIN)
    file = train.weights_file(tmp_path, model._settings.chain, network(), 3)
    file.parent.mkdir()
    file.write_bytes(b"no weights")
    again = []
    monkeypatch.setattr(TrainedAccuracy, "_train_again", lambda *given: again.append(given))
    with pytest.raises(RunError, match="do not fit"):
        restore(model, FAMILY, network(), 3, tmp_path)
    assert len(again) == 1
    checkpoint.save(file, FAMILY.module(network(2).choices))
    with pytest.raises(RunError, match="do not fit"):
        restore(model, FAMILY, network(), 3, tmp_path)
    assert len(again) == 1
