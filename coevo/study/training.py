"""How the designs of a finished run were trained: read from its folder, so that a network can be had again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coevo.accuracy.restored import Restored, restore
from coevo.accuracy.stack import build, close
from coevo.design import Accuracy, FrontDesign
from coevo.errors import RunError
from coevo.library import parse_yaml
from coevo.protocols import AccuracyModel, NetworkFamily
from coevo.sections import texts
from coevo.study.final import final_key
from coevo.study.plan import Header
from coevo.study.results import read_header
from coevo.study.sources import Sources
from coevo.study.store import Store


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """What a run folder says beside its results.

    Attributes:
        folder: The run folder.
        header: What the run says of itself.
        sources: What its space and cost model are made from.
        family: Builds its networks.
        finals: Accuracies of the final trainings by key; empty if there were none.
    """

    folder: Path
    header: Header
    sources: Sources
    family: NetworkFamily
    finals: Mapping[str, Accuracy]

    @property
    def settings(self) -> dict[str, Any]:
        """The experiment, complete, as plain data."""
        return parse_yaml(self.header.settings, f"{self.folder}: its experiment").data

    def training(self, design: FrontDesign) -> tuple[str, int, Accuracy]:
        """Returns which section of the experiment trained a design's network last, its seed, and what came out.

        Raises:
            RunError: The run trained nothing.
        """
        if design.accuracy is None:
            raise RunError(f"{self.folder}: the run trained nothing, so there are no weights")
        for seed in self.header.final["seeds"] if self.header.final else ():
            found = self.finals.get(final_key(self.header.final or {}, design.design.network, seed))
            if found is not None and found.violation == 0:
                return "final", seed, found
        return "accuracy", int(self.settings["seed"]), design.accuracy

    def restored(self, design: FrontDesign) -> Restored:
        """Returns a design's network as its last training left it; trained once more if its weights are not kept.

        Raises:
            RunError: The run has no weights of networks, or not of this one.
            DataError, BackendError, SpecError: As the accuracy model.
        """
        section, seed, _ = self.training(design)
        with self._model(section) as model:
            return restore(model, self.family, design.design.network, seed, self.folder)

    @contextmanager
    def _model(self, section: str) -> Iterator[AccuracyModel]:
        data = self.settings["accuracy"]
        if section == "final":
            data = self.settings["final"].get("accuracy") or data
        for name in texts(data):
            self.sources.check_plugin(self.folder, name, self.sources.near_file)
        model = build(data, self.sources.near_file)
        try:
            yield model
        finally:
            close(model)


def load_run(folder: Path) -> FinishedRun:
    """Reads a run folder.

    Raises:
        RunError: It holds no run, or one that this coevo cannot build.
    """
    store = Store(folder, read_only=True)
    try:
        header, sources = read_header(store)
        joint, _ = sources.build(folder)
        known = store.accuracies
        finals = {} if header.final is None else dict(known.items())
        return FinishedRun(folder, header, sources, joint.family, finals)
    finally:
        store.close()
