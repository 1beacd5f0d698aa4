"""Runs on jobs of dask-jobqueue, which come and go: README's recipe for SLURM, with its jobs started by a shell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_cluster_runs import FAKES, begun, start, trained, wait_for_more  # noqa: F401 - fixtures

from coevo.study import load_results

pytest.importorskip("dask_jobqueue", reason="the package dask-jobqueue is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")]

# README's, but for the kind of cluster and its port; jobs are asked for and given up by lines on standard input.
RECIPE = """
import sys
from dask_jobqueue.local import LocalCluster

if __name__ == "__main__":
    cluster = LocalCluster(
        cores=2, processes=1, memory="4GB", walltime="08:00:00", scheduler_options={{"port": 0, "dashboard": False}}
    )
    {scaling}
    print(cluster.scheduler_address, flush=True)
    for line in sys.stdin:
        cluster.scale(jobs=int(line))
"""


class Jobs:
    """A cluster of jobs, in a process of its own.

    Attributes:
        address: Of its scheduler.
    """

    def __init__(self, folder: Path, scaling: str) -> None:
        script, pipe = folder / "jobs.py", subprocess.PIPE
        script.write_text(RECIPE.format(scaling=scaling))
        with (folder / "jobs.log").open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, script],
                cwd=folder,
                stdin=pipe,
                stdout=pipe,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    def scale(self, jobs: int) -> None:
        assert self.process.stdin is not None
        print(jobs, file=self.process.stdin, flush=True)

    def pids(self) -> list[int]:
        """Processes of the jobs that run: children of the cluster's."""
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def jobs(workplace: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKES), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT", "2s")  # after which another job is submitted
    started = Jobs(workplace, request.param)
    yield started
    started.stop()


def same_as_alone(start, workplace: Path) -> None:  # noqa: F811
    alone = start("alone", "--jobs", "2")
    assert (alone.communicate()[1], alone.returncode) == ("", 0)
    there, here = load_results(workplace / "cluster"), load_results(workplace / "alone")
    assert there.evaluations == here.evaluations
    assert there.trainings == here.trainings == 30


@pytest.mark.parametrize("jobs", ["cluster.adapt(minimum_jobs=1, maximum_jobs=1)"], indirect=True)
def test_with_jobs_that_adapt_and_one_killed_the_front_is_that_of_one_machine(start, workplace, jobs):  # noqa: F811
    process = start("cluster", "--cluster", jobs.address)
    wait_for_more(workplace, 6, process)
    (job,) = jobs.pids()
    os.kill(job, signal.SIGKILL)  # mid-training
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert 30 <= len(begun(workplace)) <= 30 + 2
    same_as_alone(start, workplace)


@pytest.mark.parametrize("jobs", ["cluster.scale(jobs=1)"], indirect=True)
def test_with_jobs_that_come_and_go_the_front_is_that_of_one_machine(start, workplace, jobs):  # noqa: F811
    process = start("cluster", "--cluster", jobs.address)
    wait_for_more(workplace, 4, process)
    jobs.scale(2)
    wait_for_more(workplace, 6, process)
    jobs.scale(0)
    time.sleep(5)
    assert process.poll() is None, "without workers it waits"
    jobs.scale(1)
    assert (process.communicate()[1], process.returncode) == ("", 0)
    assert 30 <= len(begun(workplace)) <= 30 + 4
    same_as_alone(start, workplace)
