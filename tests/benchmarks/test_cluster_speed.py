"""What does a dask cluster cost beside processes of this machine? Tasks sleep, so that two workers need no second core.

    pytest -s tests/benchmarks/test_cluster_speed.py --benchmark-only

Overhead per task is what a task of no length takes; efficiency the tasks' own time over workers times the clock's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from coevo.processes.pool import Pool, Processes
from coevo.processes.worker import pack

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
from coevo.accuracy.cluster import ClusterPool, on_cluster  # noqa: E402 - needs dask

WORKERS = 2
NAP = "napping:nap"


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[str, Processes]]:
    with ExitStack() as stack:
        cluster = stack.enter_context(on_cluster("local", WORKERS))
        here = stack.enter_context(closing(Pool(NAP, None, time_limit_s=60)))
        there = stack.enter_context(closing(ClusterPool(cluster, NAP, None, time_limit_s=60)))
        for pool in (here, there):
            list(pool.run([pack(0.5)] * 2 * WORKERS, WORKERS))  # the processes stand before anything is timed
        yield {"processes": here, "cluster": there}


@pytest.mark.parametrize(("seconds", "count"), [(0.0, 200), (0.1, 100), (1.0, 20)])
def test_seconds_per_task_beside_processes_of_this_machine(
    benchmark, pools: dict[str, Processes], seconds: float, count: int
) -> None:
    def run(pool: Processes) -> float:
        began = time.perf_counter()
        list(pool.run([pack(seconds)] * count, WORKERS))
        return time.perf_counter() - began

    here = run(pools["processes"])
    there = benchmark.pedantic(lambda: run(pools["cluster"]), rounds=1, iterations=1)
    for name, clock in (("processes", here), ("cluster", there)):
        busy = seconds * count / (WORKERS * clock)
        benchmark.extra_info[name] = {"efficiency": busy, "ms_per_task": 1e3 * clock / count}
        overhead = 1e3 * (WORKERS * clock / count - seconds)
        print(
            f"\ntasks of {seconds:g} s, {name}: {busy:.0%} efficiency with 2 workers, {overhead:.1f} ms overhead each"
        )
