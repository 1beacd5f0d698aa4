"""Which training a design's network is had from again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coevo.design import Accuracy, Network
from coevo.errors import RunError
from coevo.study.final import final_key
from coevo.study.training import FinishedRun

NETWORK = Network("space", {"width": 8})
RECORD = {"accuracy": "a", "seeds": [4, 5]}
SEARCH = Accuracy(0.5, fidelity="1 epochs")


def training(record: Any, finals: dict[int, Accuracy], accuracy: Accuracy | None = SEARCH) -> tuple[str, int, Accuracy]:
    header: Any = SimpleNamespace(final=record, settings="seed: 7\naccuracy: {name: train}\n")
    known = {final_key(RECORD, NETWORK, seed): found for seed, found in finals.items()}
    run = FinishedRun(Path("r"), header, None, None, known)  # type: ignore[arg-type]
    design: Any = SimpleNamespace(accuracy=accuracy, design=SimpleNamespace(network=NETWORK))
    return run.training(design)


def test_without_final_trainings_it_is_the_searchs_with_the_runs_seed() -> None:
    assert training(None, {}) == ("accuracy", 7, SEARCH)


def test_a_final_training_comes_first_the_first_that_did_not_fail() -> None:
    good, failed = Accuracy(0.2), Accuracy(1.0, violation=1.0, reason="diverged")
    assert training(RECORD, {4: good, 5: good}) == ("final", 4, good)
    assert training(RECORD, {4: failed, 5: good}) == ("final", 5, good)
    assert training(RECORD, {4: failed}) == ("accuracy", 7, SEARCH)
    assert training(RECORD, {}) == ("accuracy", 7, SEARCH)


def test_a_run_that_trained_nothing_has_no_training() -> None:
    with pytest.raises(RunError, match="r: the run trained nothing, so there are no weights"):
        training(RECORD, {}, accuracy=None)
