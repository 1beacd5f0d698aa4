"""Runs trainings on the workers of a dask cluster: the same tasks, as isolated as here, on as many machines.

    with on_cluster("tcp://10.0.0.1:8786"):
        study.run()

Each thread of a worker (``dask worker``) runs one task at a time, in a `coevo.processes.pool.Pool` of its own, so that
limits hold there as here and a training's death is no worker's. What the tasks of a model share, the images above all,
goes to every worker once, also to those that join later. Workers need this version of coevo, torch and numpy. Where
weights are kept (``keep_weights``, checkpoints, ``inherit``, ``supernet``) they see the run folder under the same path,
and where images are too many for memory the cache's (``COEVO_CACHE``): a shared file system, as clusters have.

The program alone writes the run folder. A worker that dies, or is not heard of for dask's
``distributed.scheduler.worker-ttl``, loses its task to another worker; a scheduler that dies ends the run with one
line, and the same command goes on. Tasks whose program is gone are given up by their workers within a second or so.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from coevo.accuracy.tasks import PLACE
from coevo.errors import BackendError
from coevo.processes.pool import Pool, Processes
from coevo.processes.worker import Outcome, one_line

try:
    import distributed
except ImportError:
    raise BackendError("trainings on a cluster need dask; pip install 'coevo[dask]'") from None

if TYPE_CHECKING:
    from collections.abc import Mapping

_dask: Any = distributed  # typed in parts

LOCAL = "local"
"""The address of a cluster on this machine, of processes that end with the program."""

SAME = ("coevo", "torch", "numpy")
"""Packages whose versions decide figures: they are the same on all workers."""

_WAIT_S = 30.0
_LOOK_S = 1.0
_END_S = 0.5
_CHATTY = ("distributed.client", "distributed.batched", "distributed.core", "distributed.comm", "distributed.scheduler")


@dataclass(frozen=True, eq=False)
class Cluster:
    """A cluster that trainings are sent to.

    Attributes:
        address: Of the scheduler.
        client: dask's.
    """

    address: str
    client: Any

    def __str__(self) -> str:
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            return f"{self.address}: no worker yet; trainings begin when one joins"
        slots = sum(worker["nthreads"] for worker in workers.values())
        return f"{self.address}: {len(workers)} workers, {slots} trainings at a time"


@contextmanager
def on_cluster(address: str, jobs: int = 1) -> Iterator[Cluster]:
    """Runs all trainings begun meanwhile on a dask cluster.

    Args:
        address: Of its scheduler (``tcp://host:8786``), or the path of its scheduler file (``.json``); ``local`` starts
            worker processes on this machine.
        jobs: How many of those.

    Raises:
        BackendError: There is no scheduler.
    """
    with _quiet(), _connected(address, jobs) as client:
        cluster = Cluster(client.scheduler.address, client)
        token = PLACE.set(partial(ClusterPool, cluster))
        try:
            yield cluster
        finally:
            PLACE.reset(token)


@contextmanager
def _connected(address: str, jobs: int) -> Iterator[Any]:
    if address == LOCAL:
        with _here(jobs) as local, _dask.Client(local) as client:
            yield client
        return
    where = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    if "scheduler_file" in where and not os.path.exists(address):  # dask would wait for it
        raise BackendError(f"{address}: there is no such scheduler file; start `dask scheduler --scheduler-file` first")
    try:
        client = _dask.Client(**where, timeout=_WAIT_S)
    except (OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise BackendError(f"no dask scheduler answers at {address} ({one_line(error)})") from None
    try:
        yield client
    finally:
        client.close(timeout=_LOOK_S)


def _here(jobs: int) -> Any:
    """Starts worker processes on this machine, which Ctrl-C does not reach: the program alone decides."""
    masks = hasattr(signal, "pthread_sigmask")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else set()
    try:
        # dask's thread, and with it all processes that it starts, keeps what is blocked now.
        return _dask.LocalCluster(
            n_workers=jobs,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL + 1,
            worker_class=_Brief,
        )
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Brief(distributed.Nanny):
    """Ends its worker soon, also amid trainings: what it was at is done anew by whoever goes on with the run."""

    async def close(self, timeout: float | None = None, reason: str = "nanny-close") -> Any:
        return await super().close(timeout=min(timeout or _END_S, _END_S), reason=reason)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps dask from writing pages about connections that are lost: what matters is told in one line."""
    loggers = [logging.getLogger(name) for name in _CHATTY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


class ClusterPool(Processes):
    """Processes on the workers of a cluster (`coevo.processes.pool.Processes`).

    Args:
        cluster: Where.
        function, shared, time_limit_s, environment: As of `Pool`.
    """

    def __init__(
        self,
        cluster: Cluster,
        function: str,
        shared: Any,
        *,
        time_limit_s: float,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._cluster = cluster
        self._pools = _Pools(function, shared, time_limit_s, environment, versions())
        self._there = False

    def begin(self, jobs: int = 1) -> ClusterTasks:  # noqa: ARG002 - as many at a time as the cluster has threads
        """Returns tasks, none yet; as many run at a time as the cluster has threads.

        Raises:
            BackendError: The workers cannot run them.
        """
        if not self._there:
            with self._cluster_answers():
                self._cluster.client.register_plugin(self._pools)
            self._there = True
        return ClusterTasks(self._cluster, self._pools.name)

    def close(self) -> None:
        """Ends all processes."""
        if self._there and self._cluster.client.status == "running":
            with self._cluster_answers():
                self._cluster.client.unregister_worker_plugin(self._pools.name)
        self._there = False

    @contextmanager
    def _cluster_answers(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            raise BackendError(f"the workers of {self._cluster.address} cannot train: {one_line(error)}") from None


class ClusterTasks:
    """Tasks on the workers of a cluster (`coevo.processes.pool.Tasks`), each until it has an outcome.

    Args:
        cluster: Where.
        pools: Name of the workers' plug-in that runs them.
    """

    def __init__(self, cluster: Cluster, pools: str) -> None:
        self._cluster = cluster
        self._pools = pools
        self._count = itertools.count()
        self._indices: dict[str, int] = {}
        self._done = _dask.as_completed(raise_errors=False, loop=cluster.client.loop)

    @property
    def left(self) -> int:
        """How many are not done."""
        return len(self._indices)

    def add(self, payload: bytes) -> int:
        """Adds a task, and returns its index."""
        index = next(self._count)
        try:
            future = self._cluster.client.submit(run_task, self._pools, payload, pure=False, priority=-index)
        except Exception as error:
            raise self._lost(error) from None
        self._indices[future.key] = index
        self._done.add(future)
        return index

    def next(self) -> tuple[int, Outcome]:
        """Waits for one of the tasks that are left, at least one.

        Raises:
            BackendError: The scheduler is gone, or no worker can run such tasks.
        """
        future = next(self._done)
        index = self._indices.pop(future.key)
        outcome = self._outcome(future)
        if outcome.kind == "unable":
            raise BackendError(outcome.text)
        return index, outcome

    def close(self) -> None:
        """Cancels those that are left."""
        if self._indices and self._cluster.client.status == "running":
            self._cluster.client.cancel(list(self._done.futures), force=True)
        self._done.clear()
        self._indices.clear()

    def _outcome(self, future: Any) -> Outcome:
        if future.status == "finished":
            outcome: Outcome = future.result()
            return outcome
        if future.status == "cancelled":
            raise self._lost()
        error = future.exception()
        if isinstance(error, _dask.KilledWorker):
            return Outcome("died", text=f"{error.allowed_failures + 1} workers died of it")
        raise BackendError(f"the workers of {self._cluster.address} cannot train: {one_line(error)}")

    def _lost(self, error: Exception | None = None) -> BackendError:
        why = "" if error is None else f" ({one_line(error)})"
        return BackendError(
            f"the dask scheduler {self._cluster.address} is gone{why}; nothing evaluated is lost: start it and its "
            "workers again, and the same command goes on"
        )


class _Pools(distributed.WorkerPlugin):
    """What a worker needs for the tasks of a `ClusterPool`: their function, and one pool per thread."""

    def __init__(
        self,
        function: str,
        shared: Any,
        time_limit_s: float,
        environment: dict[str, str] | None,
        made_by: Mapping[str, str],
    ) -> None:
        self.name = f"coevo-{uuid.uuid4().hex}"
        self.made_by = made_by
        self._arguments = (function, shared, time_limit_s, environment)

    def setup(self, worker: Any) -> None:  # noqa: ARG002 - dask's signature
        self._pools: dict[int, Pool] = {}

    def teardown(self, worker: Any) -> None:  # noqa: ARG002
        for pool in self._pools.values():
            pool.close()

    def pool(self) -> Pool:
        """Returns this thread's."""
        function, shared, time_limit_s, environment = self._arguments
        me = threading.get_ident()
        if me not in self._pools:
            self._pools[me] = Pool(function, shared, time_limit_s=time_limit_s, environment=environment)
        return self._pools[me]


def run_task(pools: str, payload: bytes) -> Outcome:
    """Runs a task on a worker; gives it up when nobody waits for it any more."""
    worker: Any = _dask.get_worker()
    mine: _Pools = worker.plugins[pools]
    if mine.made_by != versions():
        differ = ", ".join(f"{name} {theirs} -> {versions()[name]}" for name, theirs in mine.made_by.items())
        return Outcome("unable", text=f"worker {worker.address} has other versions than this program ({differ})")
    key = _dask.worker.thread_state.key
    with closing(mine.pool().begin()) as tasks:
        tasks.add(payload)
        while not tasks.ready(_LOOK_S):
            if _given_up(worker, key):
                return Outcome("died", text="given up")
        try:
            return tasks.next()[1]
        except BackendError as error:
            return Outcome("unable", text=str(error))


def _given_up(worker: Any, key: str) -> bool:
    task = worker.state.tasks.get(key)
    return task is None or task.state == "cancelled" or worker.status is not distributed.Status.running


def versions() -> dict[str, str]:
    """Returns the versions of the packages that decide figures."""
    found = {}
    for name in SAME:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
