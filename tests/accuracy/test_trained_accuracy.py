"""The socket's promises: figures by network and seed alone; every failure is a violation with its reason."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError
from tiny_family import TinyFamily, TinySettings

from coevo.accuracy.train import TrainedAccuracy, plugin
from coevo.design import Accuracy, Network
from coevo.errors import DataError, SpecError
from coevo.library import find_plugin
from coevo.protocols import Context, Task

SMALL = {"train_images": 192, "validation_images": 64, "test_images": 64, "epochs": 2, "device": "cpu"}


@pytest.fixture(scope="module")
def model() -> Iterator[TrainedAccuracy]:
    settings = plugin.Settings(**SMALL, time_limit_s=5, memory_limit_mib=512)
    with contextlib.closing(plugin(settings)) as model:
        yield model


def _network(depth: int = 1, deed: str = "none") -> Network:
    return Network("tiny", {"depth": depth, "deed": deed})


def _family() -> TinyFamily:
    return TinyFamily(TinySettings(), Task(1, 8, 10))


def _score(model: TrainedAccuracy, networks: list[Network], seed: int = 0, jobs: int = 1) -> list[Accuracy]:
    scores = dict(model.score(_family(), networks, seed, jobs))
    assert sorted(scores) == list(range(len(networks)))
    return [scores[i] for i in range(len(networks))]


def _figures(scores: list[Accuracy]) -> list[tuple[float, float | None]]:
    return [(score.error, score.test_error) for score in scores]


def test_figures_do_not_depend_on_jobs_order_or_company(model: TrainedAccuracy) -> None:
    networks = [_network(depth) for depth in (1, 2, 3)]
    alone = [_score(model, [network])[0] for network in networks]
    together = _score(model, networks, jobs=2)
    reverse = _score(model, networks[::-1], jobs=2)[::-1]
    assert _figures(alone) == _figures(together) == _figures(reverse)
    assert len(set(_figures(alone))) > 1


def test_networks_added_one_by_one_have_the_same_figures_and_failures(model: TrainedAccuracy) -> None:
    networks = [_network(depth) for depth in (1, 2, 3)]
    together = _score(model, networks)
    with contextlib.closing(model.begin(_family(), 0, 2)) as trainings:
        trainings.add(networks[0], Context())
        trainings.add(_network(1, "raise"), Context())
        found = [trainings.next()]
        trainings.add(networks[1], Context())
        trainings.add(networks[2], Context())
        found += [trainings.next() for _ in range(3)]
    scores = {network.key: accuracy for network, accuracy in found}
    assert _figures([scores[network.key] for network in networks]) == _figures(together)
    assert scores[_network(1, "raise").key].reason == "training failed: RuntimeError: shapes do not fit"


def test_figures_depend_on_the_seed(model: TrainedAccuracy) -> None:
    seeds = [_figures(_score(model, [_network(2)], seed)) for seed in (0, 1, 0)]
    assert seeds[0] == seeds[2] != seeds[1]


def test_figures_depend_on_the_network_also_where_the_module_is_the_same(model: TrainedAccuracy) -> None:
    plain, named = _score(model, [Network("tiny", {"depth": 2}), Network("tiny", {"depth": 2, "deed": "none"})])
    assert _figures([plain]) != _figures([named])


def test_a_good_training_says_all_about_itself(model: TrainedAccuracy) -> None:
    (score,) = _score(model, [_network()])
    assert 0 <= score.error < 0.9
    assert score.test_error is not None
    assert score.uncertainty == pytest.approx((score.error * (1 - score.error) / 64) ** 0.5)
    assert score.fidelity == "2 epochs, 192 images"
    assert (score.violation, score.reason) == (0, "")
    assert score.seconds > 0


def test_equal_networks_are_trained_once(model: TrainedAccuracy) -> None:
    first, other, again = _score(model, [_network(1), _network(2), _network(1)])
    assert first is again
    assert first is not other


def test_every_failure_is_recorded_with_its_reason_while_the_others_go_on(model: TrainedAccuracy) -> None:
    reasons = {
        "raise": "training failed: RuntimeError: shapes do not fit",
        "bad_build": "training failed: KeyError: 'no such operator'",
        "few_classes": "the network's output must be (batch, class)",
        "exit": "training crashed twice: ended by exit code 7",
        "kill": "training crashed twice: killed by SIGKILL",
        "sleep": "time limit: stopped after 5 s (time_limit_s)",
        "nan": "diverged: the loss is nan in epoch 1 of 2",
    }
    if sys.platform == "linux":
        for deed in ("eat", "eat_in_python"):
            reasons[deed] = "out of memory: needs more than 512 MiB (memory_limit_mib)"
    scores = _score(model, [_network(), *(_network(1, deed) for deed in reasons), _network(2)], jobs=3)
    assert scores[0].violation == scores[-1].violation == 0
    for score, reason in zip(scores[1:-1], reasons.values(), strict=True):
        assert score.violation > 0
        assert score.error == 1
        assert reason in score.reason
        assert "\n" not in score.reason


def test_a_family_of_a_users_file_is_trained(model: TrainedAccuracy, tmp_path: Path) -> None:
    source = Path(__file__).with_name("tiny_family.py").read_text()
    (tmp_path / "mine.py").write_text(source.replace("class TinyFamily", "class Mine"))
    mine = find_plugin("networks", f"{tmp_path}/mine.py:Mine")
    family = mine(mine.Settings(), Task(1, 8, 10))
    ((_, score),) = model.score(family, [_network()], seed=0)
    assert _figures([score]) == _figures(_score(model, [_network()]))


def test_a_family_that_cannot_be_sent_is_said_so(model: TrainedAccuracy, tmp_path: Path) -> None:
    family = _family()
    with (tmp_path / "open").open("w") as file:
        family.file = file  # type: ignore[attr-defined]
        with pytest.raises(SpecError, match="'tiny' cannot be sent to a training process"):
            list(model.score(family, [_network()], seed=0))


def test_absent_data_are_noticed_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COEVO_DATA", raising=False)
    model = plugin(plugin.Settings(data="cifar10"))
    with pytest.raises(DataError, match="COEVO_DATA"):
        _ = model.task
    with pytest.raises(DataError, match="COEVO_DATA"):
        next(model.score(_family(), [_network()], seed=0))


def test_the_task_is_what_the_data_ask_for() -> None:
    assert plugin(plugin.Settings()).task == Task(channels=1, resolution=8, classes=10)


@pytest.mark.parametrize(
    "wrong",
    [{"data": "imagenet"}, {"epochs": 0}, {"learning_rate": 0}, {"epoch": 3}, {"device": "tpu"}, {"batch_size": 1}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        plugin.Settings.model_validate(wrong)


def test_the_program_itself_does_not_import_torch() -> None:
    code = "import sys; import coevo.accuracy.train; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"
