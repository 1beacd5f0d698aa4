"""On a dask cluster, whatever becomes of workers and scheduler, every task has its outcome or the run says why not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from machines import Machines

from coevo.errors import BackendError
from coevo.processes.worker import Outcome, pack

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
from coevo.accuracy.cluster import Cluster, ClusterPool, _Brief, on_cluster  # noqa: E402 - needs dask

posix = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")


pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    machines = Machines(tmp_path_factory.mktemp("cluster"))
    yield machines
    machines.stop()


@pytest.fixture(scope="module")
def cluster(machines: Machines) -> Iterator[Cluster]:
    with on_cluster(machines.address) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def pool(cluster: Cluster) -> Iterator[ClusterPool]:
    with contextlib.closing(ClusterPool(cluster, "pool_tasks:act", 100, time_limit_s=5.0)) as pool:
        yield pool


@pytest.fixture
def workers(machines: Machines, cluster: Cluster) -> None:
    """Two of them."""
    for name in ("one", "two"):
        if name not in machines.workers:
            machines.start_worker(name)
    cluster.client.wait_for_workers(2, timeout=60)


def _tasks(*pairs: tuple[str, Any]) -> list[bytes]:
    return [pack(pair) for pair in pairs]


def _run(pool: ClusterPool, *pairs: tuple[str, Any]) -> list[Outcome]:
    outcomes = dict(pool.run(_tasks(*pairs)))
    assert sorted(outcomes) == list(range(len(pairs)))
    return [outcomes[i] for i in range(len(pairs))]


def _wait_for(file: Path) -> str:
    end = time.monotonic() + 30
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return file.read_text()


def test_every_misdeed_is_reported_and_the_neighbours_finish(pool: ClusterPool, workers: None) -> None:
    raised, left, killed, late, *good = _run(
        pool,
        ("raise", "two\nlines"),
        ("exit", 3),
        ("kill", signal.SIGKILL),
        ("slow_add", (60.0, 0)),
        *(("add", i) for i in range(6)),
    )
    assert (raised.kind, raised.text) == ("raised", "ValueError: two lines")
    assert (left.kind, left.text) == ("died", "ended by exit code 3")
    assert (killed.kind, killed.text) == ("died", "killed by SIGKILL")
    assert (late.kind, late.text) == ("late", "stopped after 5 s")
    assert [outcome.value for outcome in good] == [100 + i for i in range(6)]


def test_as_many_run_at_a_time_as_the_cluster_has_threads(pool: ClusterPool, workers: None, cluster: Cluster) -> None:
    assert str(cluster).endswith("2 workers, 2 trainings at a time")
    spans = [outcome.value for outcome in _run(pool, *(("span", 0.5) for _ in range(8)))]
    at_once = [sum(began <= start < ended for began, ended in spans) for start, _ in spans]
    assert max(at_once) == 2


def test_a_task_whose_worker_dies_is_done_by_another(
    pool: ClusterPool, workers: None, machines: Machines, tmp_path: Path
) -> None:
    with contextlib.closing(pool.begin()) as tasks:
        for payload in _tasks(*(("log_and_add", (2.0, str(tmp_path / f"{i}"))) for i in range(2))):
            tasks.add(payload)
        for i in range(2):
            _wait_for(tmp_path / f"{i}")
        machines.kill("one")
        assert sorted(tasks.next()[0] for _ in range(2)) == [0, 1]
    assert max(len((tmp_path / f"{i}").read_text()) for i in range(2)) > 1  # begun a second time


def test_a_worker_that_joins_later_takes_part(
    pool: ClusterPool, workers: None, machines: Machines, cluster: Cluster
) -> None:
    servers, end = set(), time.monotonic() + 60
    with contextlib.closing(pool.begin()) as tasks:
        for _ in range(6):
            tasks.add(pack(("server", 0.3)))
        machines.start_worker("three")
        while len(servers) < 3:
            assert time.monotonic() < end
            servers.add(tasks.next()[1].value)
            tasks.add(pack(("server", 0.3)))
    machines.kill("three")


def test_a_task_whose_worker_hangs_is_done_by_another(
    pool: ClusterPool, workers: None, machines: Machines, cluster: Cluster, tmp_path: Path
) -> None:
    with contextlib.closing(pool.begin()) as tasks:
        for payload in _tasks(*(("log_and_add", (2.0, str(tmp_path / f"{i}"))) for i in range(2))):
            tasks.add(payload)
        for i in range(2):
            _wait_for(tmp_path / f"{i}")
        machines.workers["two"].send_signal(signal.SIGSTOP)
        assert sorted(tasks.next()[0] for _ in range(2)) == [0, 1]
    machines.kill("two")


def test_what_nobody_waits_for_any_more_is_given_up(cluster: Cluster, workers: None, tmp_path: Path) -> None:
    tasks = ClusterPool(cluster, "pool_tasks:act", 100, time_limit_s=300.0).begin()
    tasks.add(pack(("hang", str(tmp_path / "pids"))))
    pid = int(_wait_for(tmp_path / "pids").split()[0])
    tasks.close()
    end = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    assert tasks.left == 0


def test_workers_of_this_machine_are_given_half_a_second_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float] = []

    async def close(self: Any, timeout: float, reason: str) -> None:
        given.append(timeout)

    monkeypatch.setattr(distributed.Nanny, "close", close)
    nanny = object.__new__(_Brief)
    asyncio.run(nanny.close())
    asyncio.run(nanny.close(timeout=0.25))
    assert given == [0.5, 0.25]


def test_workers_of_another_version_are_refused(pool: ClusterPool, workers: None, cluster: Cluster) -> None:
    other = ClusterPool(cluster, "pool_tasks:act", 100, time_limit_s=5.0)
    other._pools.made_by = {**other._pools.made_by, "torch": "1.0"}
    with pytest.raises(BackendError, match=r"has other versions than this program \(.*torch 1\.0 -> "):
        _run(other, ("add", 1))


def test_a_function_that_workers_lack_is_one_line(workers: None, cluster: Cluster) -> None:
    with pytest.raises(BackendError, match="the processes do not start"):
        _run(ClusterPool(cluster, "not_there:act", 100, time_limit_s=5.0), ("add", 1))


def test_a_scheduler_that_dies_is_one_line(pool: ClusterPool, workers: None, machines: Machines) -> None:
    tasks = pool.begin()
    for payload in _tasks(("slow_add", (5.0, 0)), ("slow_add", (5.0, 1))):
        tasks.add(payload)
    machines.scheduler.kill()
    with pytest.raises(BackendError, match=r"the dask scheduler .* is gone.*the same command goes on"):
        tasks.next()
    tasks.close()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nothing", "missing.json"])
def test_where_there_is_no_scheduler_it_is_one_line(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coevo.accuracy.cluster._WAIT_S", 0.5)
    with pytest.raises(BackendError, match=f"{address}"), on_cluster(address):
        pass
