"""A model for the tests: measures errors by a formula or looks them up, and says what it was asked."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from coevo.design import Accuracy, Network
from coevo.networks.cell import to_digits
from coevo.networks.paths import structure
from coevo.protocols import Context, NetworkFamily, Task


class MeasuringSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    noise: float = 0.0
    fail: bool = False


class Measuring:
    """Errors that fall with the convolutions on live paths and rise with their number's variance."""

    Settings: ClassVar[type[MeasuringSettings]] = MeasuringSettings

    def __init__(self, settings: MeasuringSettings, near_file: str = "") -> None:
        self.settings = settings
        self.asked: list[str] = []
        self.closed = False

    @property
    def task(self) -> Task:
        return Task(3, 32, 10)

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        for i, network in enumerate(networks):
            self.asked.append(network.key)
            yield i, self.measure(family, network)

    def measure(self, family: Any, network: Network) -> Accuracy:
        features = structure(family.graph(network.choices))
        draw = np.random.default_rng(int(network.key, 16)).standard_normal()
        quality = 0.1 * features.get("mean conv3", 0) - 0.02 * features.get("variance conv3", 0)
        return Accuracy(float(1 / (1 + np.exp(quality + self.settings.noise * draw))), fidelity="formula")

    def values(
        self, family: Any, networks: Sequence[Network], seed: int, jobs: int, context: Context
    ) -> Mapping[str, np.ndarray]:
        """As zero-cost proxies: the error itself, and one that is never finite."""
        self.asked += [network.key for network in networks]
        errors = [self.measure(family, network).error for network in networks]
        return {"error": np.array(errors), "broken": np.full(len(networks), np.nan)}

    def close(self) -> None:
        self.closed = True


@cache
def _table(path: str) -> Mapping[str, Mapping[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return {row["ops"]: row for row in csv.DictReader(file)}


def connected_cells(path: str) -> list[str]:
    """Digits of the cells whose output the input reaches."""
    return [ops for ops, row in _table(path).items() if row["naswot_v1"]]


def published_error(path: str, choices: Mapping[str, Any], column: str) -> float:
    return 1 - float(_table(path)[to_digits(choices)][column]) / 100
