"""What a run has from others: kept in its folder, so that it needs them no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from coevo.errors import RunError
from coevo.study.store import Store

WARM_STEP = -1
"""Number of the step that scores what was taken, before the optimiser's first."""

_META = "warm_start"


@dataclass(frozen=True)
class Taken:
    """What a run has from others.

    Attributes:
        genomes: Canonical genomes of its own space, each once, the best first.
        origins: Where each is from, ``<run folder>/<design>``.
        trained: Keys of the accuracies that are taken over: they are no trainings of this run.
        facts: What to say of it.
    """

    genomes: tuple[tuple[int, ...], ...]
    origins: tuple[str, ...]
    trained: tuple[str, ...]
    facts: str

    def to_meta(self) -> dict[str, Any]:
        """Returns what stands for it among the facts of a run folder."""
        data = {"genomes": self.genomes, "origins": self.origins, "trained": self.trained, "facts": self.facts}
        return {_META: data}

    @staticmethod
    def of(store: Store) -> Taken | None:
        """Reads what a run folder holds of it; None if its run began with nothing.

        Raises:
            RunError: It is damaged.
        """
        data = store.meta.get(_META)
        if data is None:
            return None
        try:
            genomes = tuple(tuple(genome) for genome in data["genomes"])
            return Taken(genomes, tuple(data["origins"]), tuple(data["trained"]), data["facts"])
        except (KeyError, TypeError) as error:
            raise RunError(f"{store.folder}: what the run began with is damaged ({error})") from None
