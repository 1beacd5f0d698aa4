"""Whatever a task does to its process, the pool says so and the others' results arrive."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coevo.errors import BackendError
from coevo.processes.pool import Pool
from coevo.processes.worker import Outcome, pack

HERE = str(Path(__file__).parent)
posix = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with contextlib.closing(Pool("pool_tasks:act", 100, time_limit_s=2.0)) as pool:
        yield pool


def _tasks(*pairs: tuple[str, Any]) -> list[bytes]:
    return [pack(pair) for pair in pairs]


def _run(pool: Pool, *pairs: tuple[str, Any], jobs: int = 2) -> list[Outcome]:
    outcomes = dict(pool.run(_tasks(*pairs), jobs))
    assert sorted(outcomes) == list(range(len(pairs)))
    return [outcomes[i] for i in range(len(pairs))]


def _gone(pid: int, within_s: float = 5.0) -> bool:
    """Whether a process is no more (a zombie does not run either)."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        status = Path(f"/proc/{pid}/stat")
        with contextlib.suppress(OSError):
            if status.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        time.sleep(0.02)
    return False


def _pids(log: Path, within_s: float = 20.0) -> list[int]:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if log.exists() and len(log.read_text().split()) == 2:
            return [int(pid) for pid in log.read_text().split()]
        time.sleep(0.02)
    raise AssertionError("the task never started")


def test_every_payload_has_its_own_result(pool: Pool) -> None:
    outcomes = _run(pool, *(("add", i) for i in range(8)), jobs=3)
    assert [outcome.value for outcome in outcomes] == [100 + i for i in range(8)]


def test_results_come_as_they_are_done_not_in_order(pool: Pool) -> None:
    order = [index for index, _ in pool.run(_tasks(("slow_add", (1.0, 0)), ("add", 1)), jobs=2)]
    assert order == [1, 0]


def test_tasks_are_added_while_others_run_and_one_worker_does_them_in_order(pool: Pool) -> None:
    with contextlib.closing(pool.begin(jobs=2)) as tasks:
        added = [tasks.add(payload) for payload in _tasks(("slow_add", (1.0, 0)), ("add", 1))]
        first, outcome = tasks.next()
        assert (added, first, outcome.value, tasks.left) == ([0, 1], 1, 101, 1)
        for payload in _tasks(("add", 2), ("raise", "oh")):
            tasks.add(payload)
        assert [tasks.next()[0] for _ in range(3)] == [2, 3, 0]
        assert tasks.left == 0
    with contextlib.closing(pool.begin(jobs=1)) as tasks:
        for payload in _tasks(("slow_add", (0.2, 0)), ("add", 1), ("add", 2)):
            tasks.add(payload)
        assert [tasks.next()[0] for _ in range(3)] == [0, 1, 2]


def test_tasks_that_are_closed_are_cancelled(pool: Pool) -> None:
    tasks = pool.begin(jobs=1)
    for payload in _tasks(("slow_add", (60.0, 0)), ("add", 1)):
        tasks.add(payload)
    tasks.close()
    assert tasks.left == 0
    assert [outcome.value for outcome in _run(pool, ("add", 3), jobs=1)] == [103]


@posix
def test_every_misdeed_is_reported_and_the_neighbours_finish(pool: Pool) -> None:
    raised, left, killed, crashed, late, good = _run(
        pool,
        ("raise", "two\nlines"),
        ("exit", 3),
        ("kill", signal.SIGKILL),
        ("kill", signal.SIGSEGV),
        ("slow_add", (60.0, 0)),
        ("add", 5),
    )
    assert (raised.kind, raised.text) == ("raised", "ValueError: two lines")
    assert (left.kind, left.text) == ("died", "ended by exit code 3")
    assert (killed.kind, killed.text) == ("died", "killed by SIGKILL")
    assert (crashed.kind, crashed.text) == ("died", "killed by SIGSEGV")
    assert (late.kind, late.text) == ("late", "stopped after 2 s")
    assert 1.9 < late.seconds < 10
    assert (good.kind, good.value) == ("value", 105)


@posix
def test_a_task_that_dies_is_tried_once_more(pool: Pool, tmp_path: Path) -> None:
    (outcome,) = _run(pool, ("kill_once", str(tmp_path / "died")))
    assert (outcome.kind, outcome.value) == ("value", 100)


def test_a_task_that_raises_is_not_tried_again(pool: Pool, tmp_path: Path) -> None:
    _run(pool, ("count_and_raise", str(tmp_path / "log")))
    assert (tmp_path / "log").read_text() == "x"


@posix
def test_the_server_may_be_killed_and_the_results_still_arrive(pool: Pool, tmp_path: Path) -> None:
    outcomes = _run(pool, ("kill_server_once", str(tmp_path / "died")), *(("add", i) for i in range(4)))
    assert [outcome.value for outcome in outcomes] == [100, 100, 101, 102, 103]


def test_a_machine_that_cannot_run_the_tasks_is_the_programs_error(pool: Pool) -> None:
    with pytest.raises(BackendError, match="no such device"):
        _run(pool, ("unable", "no such device"))


def test_a_server_that_does_not_start_is_one_error() -> None:
    with pytest.raises(BackendError, match="do not start"):
        list(Pool("no_such_module:act", 0, time_limit_s=1).run(_tasks(("add", 1))))


def test_what_tasks_print_stays_out_of_the_programs_output(pool: Pool, capfd: pytest.CaptureFixture[str]) -> None:
    pool.close()
    (outcome,) = _run(pool, ("print", "chatter"))
    assert outcome.value == 7
    assert "chatter" not in capfd.readouterr().out


@posix
def test_who_stops_iterating_cancels_the_rest(tmp_path: Path) -> None:
    with contextlib.closing(Pool("pool_tasks:act", 0, time_limit_s=60)) as pool:
        log = tmp_path / "log"
        results = pool.run(_tasks(("hang", str(log)), ("slow_add", (0.5, 1))), jobs=2)
        assert next(results)[0] == 1
        task, server = _pids(log)
        results.close()
        assert _gone(task)
        assert [outcome.value for _, outcome in pool.run(_tasks(("add", 2)))] == [2]
        assert not _gone(server, within_s=0.1)
    assert _gone(server)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_no_task_outlives_its_server(tmp_path: Path) -> None:
    with contextlib.closing(Pool("pool_tasks:act", 0, time_limit_s=60)) as pool:
        log = tmp_path / "log"
        results = pool.run(_tasks(("hang", str(log)), ("add", 1)), jobs=2)
        next(results)
        task, server = _pids(log)
        os.kill(server, signal.SIGKILL)
        assert _gone(task)
        results.close()


def test_two_runs_may_be_interleaved(pool: Pool) -> None:
    first = pool.run(_tasks(("add", 1), ("add", 2)), jobs=2)
    second = pool.run(_tasks(("add", 3), ("add", 4)), jobs=2)
    values = [next(run)[1].value for run in (first, second, first, second)]
    assert sorted(values[0::2]) == [101, 102]
    assert sorted(values[1::2]) == [103, 104]


def test_a_run_that_fails_does_not_stop_another(pool: Pool) -> None:
    good = pool.run(_tasks(("add", 1), ("slow_add", (0.5, 2))), jobs=2)
    assert next(good)[1].value == 101
    with pytest.raises(BackendError):
        _run(pool, ("unable", "no such device"))
    assert next(good)[1].value == 102


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from coevo.processes.pool import Pool
from coevo.processes.worker import pack
tasks = [pack(pair) for pair in {pairs!r}]
print(sorted(outcome.value for _, outcome in Pool("pool_tasks:act", 1, time_limit_s=60).run(tasks, jobs=2)))
"""


def _script(*pairs: tuple[str, Any]) -> str:
    return SCRIPT.format(here=HERE, pairs=pairs)


def test_a_script_without_a_main_guard_works(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_script(("add", 1), ("add", 2)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("[2, 3]\n", "", 0)


def test_a_program_from_standard_input_works() -> None:
    program = _script(("add", 1), ("add", 2))
    done = subprocess.run([sys.executable, "-"], input=program, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("[2, 3]\n", "", 0)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_program(number: int, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", _script(("hang", str(log)))], stderr=subprocess.PIPE, text=True
    ) as program:
        pids = _pids(log)
        program.send_signal(number)
        _, errors = program.communicate(timeout=20)
    assert program.returncode == -number
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    assert all(_gone(pid) for pid in pids)
