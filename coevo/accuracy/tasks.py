"""Runs a function on networks, each in a process of its own: what all models that compute with networks share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from coevo.design import Accuracy, Network
from coevo.errors import SpecError
from coevo.processes.pool import Pool, Processes, Tasks
from coevo.processes.worker import Outcome, one_line, pack
from coevo.protocols import Context, NetworkFamily

NetworkTask = tuple[NetworkFamily, Mapping[str, Any], tuple[int, ...], Any]
"""Family, choices of the network, what its random numbers come from, and what the model adds."""


class Place(Protocol):
    """Gives processes for one function; its parameters are those of `Pool`."""

    def __call__(
        self, function: str, shared: Any, *, time_limit_s: float, environment: dict[str, str] | None
    ) -> Processes:
        """Returns processes, which start with their first task."""


PLACE: ContextVar[Place] = ContextVar("PLACE", default=Pool)
"""Where tasks run: on this machine, unless something else is set (`coevo.accuracy.cluster`)."""

_CUDA_DETERMINISM = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


class NetworkTasks:
    """Calls ``function(shared, payload)`` for networks; the payload unpacks to a `NetworkTask`.

    Processes start with the first call of `run`, stay for the next, and end with `close`, with this object, or with
    the program.

    Args:
        function: ``package.module:function``.
        shared: Gives the first argument of every call; asked for once, at the first `run`.
        time_limit_s: A task that runs longer is killed [s].
    """

    def __init__(self, function: str, shared: Callable[[], Any], time_limit_s: float) -> None:
        self._function = function
        self._shared = shared
        self._time_limit_s = time_limit_s
        self._place: Place | None = None
        self._there: Processes | None = None

    def run(
        self,
        family: NetworkFamily,
        networks: Sequence[Network],
        seed: int,
        jobs: int = 1,
        extras: Sequence[Any] | None = None,
    ) -> Iterator[tuple[list[int], Outcome]]:
        """Yields (indices, outcome) of every network as each is done; equal networks are computed once.

        Args:
            family: Builds the modules, in the task's process.
            networks: What to run the function on.
            seed: The run's; a task's random numbers come from it and `Network.key`.
            jobs: Tasks at a time.
            extras: What to add to each network's task; equal networks have equal ones.

        Raises:
            BackendError: No task can run on this machine.
            SpecError: The family cannot be sent.
        """
        places: dict[str, list[int]] = {}
        for i, network in enumerate(networks):
            places.setdefault(network.key, []).append(i)
        everywhere = list(places.values())
        payloads = [
            packed(family, networks[same[0]], seed, None if extras is None else extras[same[0]]) for same in everywhere
        ]
        for i, outcome in self._processes().run(payloads, jobs):
            yield everywhere[i], outcome

    def begin(self, jobs: int = 1) -> Tasks:
        """Returns tasks, none yet, to which networks are added one by one as `packed`; ``jobs`` run at a time."""
        return self._processes().begin(jobs)

    def close(self) -> None:
        """Ends the processes, if there are any."""
        if self._there is not None:
            self._there.close()

    def _processes(self) -> Processes:
        place = PLACE.get()
        if self._there is None or place is not self._place:
            self.close()
            shared, limit_s = self._shared(), self._time_limit_s
            self._place = place
            self._there = place(self._function, shared, time_limit_s=limit_s, environment=_CUDA_DETERMINISM)
        return self._there


class ProcessTrainings:
    """Trainings in processes of their own (socket `Trainings`).

    Args:
        tasks: Of the pool.
        payload: Returns the task of a network in a context.
        accuracy: Returns what a network's outcome means.
    """

    def __init__(
        self,
        tasks: Tasks,
        payload: Callable[[Network, Context], bytes],
        accuracy: Callable[[Network, Outcome], Accuracy],
    ) -> None:
        self._tasks = tasks
        self._payload = payload
        self._accuracy = accuracy
        self._networks: dict[int, Network] = {}

    def add(self, network: Network, context: Context) -> None:
        """Adds a network; see `Trainings.add`.

        Raises:
            BackendError: The processes cannot start.
            RunError, SpecError: As the model's `score`.
        """
        self._networks[self._tasks.add(self._payload(network, context))] = network

    def next(self) -> tuple[Network, Accuracy]:
        """Waits for one; see `Trainings.next`.

        Raises:
            BackendError: No training can run on this machine.
        """
        index, outcome = self._tasks.next()
        network = self._networks.pop(index)
        return network, self._accuracy(network, outcome)

    def close(self) -> None:
        """Cancels those under way."""
        self._tasks.close()
        self._networks.clear()


def failure(outcome: Outcome, what: str = "training") -> Accuracy:
    """Returns what stands for a task that came to nothing: a violation, and why."""
    reason = {
        "value": outcome.value,
        "raised": f"{what} failed: {outcome.text}",
        "died": f"{what} crashed twice: {outcome.text}",
        "late": f"time limit: {outcome.text} (time_limit_s)",
    }[outcome.kind]
    return Accuracy(error=1.0, violation=1.0, reason=str(reason), seconds=outcome.seconds)


def packed(family: NetworkFamily, network: Network, seed: int, extra: Any) -> bytes:
    """Returns a `NetworkTask` for the pipe.

    Args:
        family: Builds the module.
        network: What to run the function on.
        seed: The run's.
        extra: What the model adds.

    Raises:
        SpecError: The family cannot be sent.
    """
    try:
        return pack((family, dict(network.choices), (seed, int(network.key, 16)), extra))
    except Exception as error:
        raise SpecError(
            f"network family {network.family!r} cannot be sent to a training process ({one_line(error)}); "
            "it must hold plain data only"
        ) from None
