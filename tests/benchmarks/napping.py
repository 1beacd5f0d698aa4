"""An accuracy model whose trainings sleep in processes of their own: 0.1 to 1 s, log-uniform by the network's key."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from coevo.accuracy.train import ProcessTrainings
from coevo.design import Accuracy, Network
from coevo.processes.pool import Pool
from coevo.processes.worker import Outcome, pack, unpack
from coevo.protocols import Context, NetworkFamily, Task


def nap(_: Any, payload: bytes) -> float:
    seconds = float(unpack(payload))
    time.sleep(seconds)
    return seconds


class NappingSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Napping:
    Settings: ClassVar[type[BaseModel]] = NappingSettings

    def __init__(self, settings: NappingSettings, near_file: str = "") -> None:
        self.task = Task(1, 8, 10)
        self._pool = Pool("napping:nap", None, time_limit_s=60)
        for _ in self._pool.run([pack(0.0)]):  # the processes stand before anything is timed
            pass

    def score(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        context: Context | None = None,
    ) -> Iterator[tuple[int, Accuracy]]:
        for i, outcome in self._pool.run([_payload(network) for network in networks], jobs):
            yield i, _accuracy(networks[i], outcome)

    def begin(self, family: NetworkFamily, seed: int, jobs: int = 1) -> ProcessTrainings:
        return ProcessTrainings(self._pool.begin(jobs), lambda network, _: _payload(network), _accuracy)


def _share(network: Network) -> float:
    return int(network.key, 16) % 1000 / 1000


def _payload(network: Network) -> bytes:
    return pack(0.1 * 10 ** _share(network))


def _accuracy(network: Network, outcome: Outcome) -> Accuracy:
    return Accuracy(0.1 + 0.8 * _share(network), seconds=float(outcome.value))
