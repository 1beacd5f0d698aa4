"""Accuracies that several runs of one experiment share: what one of them has trained, no other trains again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from coevo.design import Accuracy, Network
from coevo.errors import RunError
from coevo.evaluate import accuracy_key
from coevo.protocols import AccuracyModel, Context, NetworkFamily, Task
from coevo.report.files import write_atomically


class RememberedAccuracy:
    """An accuracy model whose figures are kept in a folder (socket `AccuracyModel`).

    A file for each, under the key by which a run knows it, written whole or not at all, so that runs side by side need
    not wait for each other; two that train one network at once both do. Trainings that failed are not kept: another
    attempt may go well.

    Args:
        model: Who measures; its figures must not depend on what a run has seen before (``independent``).
        model_id: Stands for the model's settings.
        folder: Where; made if it is not there, in one that is.
    """

    Settings: ClassVar[Any] = None
    independent = True

    def __init__(self, model: AccuracyModel, model_id: str, folder: Path) -> None:
        self._model = model
        self._model_id = model_id
        self._folder = folder

    @property
    def task(self) -> Task:
        """The model's."""
        return self._model.task

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        """Yields (index, accuracy) of every network: first what is remembered, then what the model measures.

        Raises:
            RunError: The folder cannot be written, or a file in it is damaged.
            DataError, BackendError, SpecError: As the model.
        """
        missing = []
        for i, network in enumerate(networks):
            known = _read(self._file(network, seed))
            if known is None:
                missing.append(i)
            else:
                yield i, known
        if missing:
            self._make_folder()
            for k, accuracy in self._model.score(family, [networks[i] for i in missing], seed, jobs, context):
                if accuracy.violation == 0:
                    write_atomically(self._file(networks[missing[k]], seed), json.dumps(asdict(accuracy)))
                yield missing[k], accuracy

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"{self._folder}: cannot be made: {error.strerror}; choose another folder (--out)") from None

    def _file(self, network: Network, seed: int) -> Path:
        return self._folder / f"{accuracy_key(network, self._model_id, seed)}.json"


def _read(file: Path) -> Accuracy | None:
    try:
        return Accuracy.from_data(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{file}: no accuracy that a comparison kept ({error}); delete it") from None
