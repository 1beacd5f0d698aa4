"""Runs tasks in processes that may die, hang or eat memory without taking the program along.

A `Pool` starts one server process (`coevo.processes.worker`) with a plain command, not through multiprocessing:
the user's main module is never imported anew, so scripts without an ``if __name__ == "__main__"`` guard, notebooks
and ``python -`` all work. The server forks one process per task, milliseconds each. What passes through the pipes
is pickled by multiprocessing and never stored.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import weakref
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from typing import Any, Protocol

from coevo.errors import BackendError
from coevo.processes.worker import Outcome

_TRIES = 2
_GRACE_S = 2.0
THREADS = tuple(f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM"))
"""Environment variables by which libraries take their number of threads; 1 in a pool's processes unless told."""


class Tasks(Protocol):
    """Tasks under way, to which others may be added; they are begun in the order of adding."""

    @property
    def left(self) -> int:
        """How many are not done."""

    def add(self, payload: bytes) -> int:
        """Adds a task, begins it if there is room, and returns its index: tasks are counted from 0.

        Raises:
            BackendError: The processes cannot start.
        """

    def next(self) -> tuple[int, Outcome]:
        """Waits for one of the tasks that are left, at least one, and returns its (index, outcome).

        Raises:
            BackendError: The processes cannot start, or a task says that this machine cannot run it.
        """

    def close(self) -> None:
        """Cancels those that are left."""


class Processes(Protocol):
    """Isolated processes that call one function ``(shared, payload: bytes) -> value``, wherever they are.

    A task whose process dies is tried once more.
    """

    def begin(self, jobs: int = 1) -> Tasks:
        """Returns tasks, none yet, to which others can be added while some are running; ``jobs`` run at a time."""

    def close(self) -> None:
        """Ends all processes; what is run next starts them anew. Tasks under way have died."""

    def run(self, payloads: Sequence[bytes], jobs: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yields (index, outcome) of every payload as each is done, ``jobs`` at a time.

        Whoever stops iterating cancels the rest.

        Raises:
            BackendError: The processes cannot start, or a task says that this machine cannot run it.
        """
        with closing(self.begin(jobs)) as tasks:
            for payload in payloads:
                tasks.add(payload)
            while tasks.left:
                yield tasks.next()


class Pool(Processes):
    """Processes on this machine (`Processes`).

    Args:
        function: Its name, ``package.module:function``; the server imports it, the program need not.
        shared: First argument of every call; sent to the server once and inherited by every task.
        time_limit_s: A task that runs longer is killed [s].
        environment: Environment variables of the processes, beside the program's own.
    """

    def __init__(
        self, function: str, shared: Any, *, time_limit_s: float, environment: dict[str, str] | None = None
    ) -> None:
        self._opening = (function, shared, time_limit_s)
        self._environment = {**os.environ, **dict.fromkeys(THREADS, "1"), **(environment or {})}
        self._tickets = itertools.count()
        self._outstanding: set[int] = set()
        self._arrived: dict[int, Outcome] = {}
        self._pipe: Connection | None = None
        self._ready = False
        self._end: weakref.finalize[..., Pool] | None = None

    def begin(self, jobs: int = 1) -> PoolTasks:
        """Returns tasks, none yet; see `Processes.begin`."""
        return PoolTasks(self, jobs)

    def close(self) -> None:
        """Ends all processes; see `Processes.close`."""
        if self._end is not None:
            self._end()
        self._pipe, self._end, self._ready = None, None, False
        self._arrived.update({ticket: Outcome("died", text="its server ended") for ticket in self._outstanding})
        self._outstanding.clear()

    def _submit(self, payload: bytes) -> int:
        ticket = next(self._tickets)
        self._outstanding.add(ticket)
        try:
            self._open().send(("run", ticket, payload))
        except OSError:
            self._lose()
        return ticket

    def _next(self, tickets: Collection[int]) -> tuple[int, Outcome]:
        """Waits until one of the tickets has an outcome; those of others are kept for them."""
        while True:
            for ticket in tickets:
                if ticket in self._arrived:
                    return ticket, self._arrived.pop(ticket)
            self._await(None)

    def _has(self, tickets: Collection[int], within_s: float) -> bool:
        """Says whether one of the tickets has an outcome; waits for a message of the server for so long [s]."""
        if self._arrived.keys().isdisjoint(tickets):
            self._await(within_s)
        return not self._arrived.keys().isdisjoint(tickets)

    def _await(self, within_s: float | None) -> None:
        """Takes in the next message of the server, if there is one in so many seconds; None for however long."""
        try:
            pipe = self._open()
            message = pipe.recv() if pipe.poll(within_s) else None
        except (EOFError, OSError):
            self._lose()
        else:
            if message is not None:
                self._receive(message)

    def _receive(self, message: Any) -> None:
        if message == "ready":
            self._ready = True
            return
        ticket, outcome = message
        if ticket in self._outstanding:
            self._outstanding.remove(ticket)
            self._arrived[ticket] = outcome

    def _cancel(self, tickets: Collection[int]) -> None:
        self._outstanding.difference_update(tickets)
        for ticket in tickets:
            self._arrived.pop(ticket, None)
        if self._pipe is not None and tickets:
            with contextlib.suppress(OSError):  # the server is gone: whoever waits for it next takes note
                self._pipe.send(("cancel", list(tickets)))

    def _lose(self) -> None:
        """Takes note that the server is gone; the next message starts another."""
        ready = self._ready
        self.close()
        if not ready:
            raise BackendError(f"the processes do not start ({sys.executable}); their error stands above")

    def _open(self) -> Connection:
        if self._pipe is None:
            self._pipe, theirs = multiprocessing.Pipe()
            try:
                process = _launch(theirs, self._environment)
            except OSError as error:
                self._pipe.close()
                self._pipe = None
                raise BackendError(f"the processes do not start: {sys.executable}: {error}") from None
            finally:
                theirs.close()
            self._end = weakref.finalize(self, _shut, self._pipe, process)
            self._pipe.send(self._opening)
        return self._pipe


class PoolTasks:
    """Tasks under way in a pool (`Tasks`).

    Args:
        pool: Runs them.
        jobs: How many run at a time.
    """

    def __init__(self, pool: Pool, jobs: int) -> None:
        self._pool = pool
        self._jobs = max(1, jobs)
        self._payloads: dict[int, bytes] = {}
        self._added = itertools.count()
        self._waiting: deque[int] = deque()
        self._running: dict[int, int] = {}
        self._tries: Counter[int] = Counter()

    @property
    def left(self) -> int:
        """How many are not done."""
        return len(self._payloads)

    def add(self, payload: bytes) -> int:
        """Adds a task; see `Tasks.add`."""
        index = next(self._added)
        self._payloads[index] = payload
        self._waiting.append(index)
        with self._intact():
            self._fill()
        return index

    def next(self) -> tuple[int, Outcome]:
        """Waits for one of the tasks that are left; see `Tasks.next`."""
        with self._intact():
            while True:
                self._fill()
                ticket, outcome = self._pool._next(self._running)
                index = self._running.pop(ticket)
                if outcome.kind == "unable":
                    raise BackendError(outcome.text)
                if outcome.kind == "died" and self._tries[index] < _TRIES:
                    self._waiting.appendleft(index)
                    continue
                del self._payloads[index]
                self._fill()
                return index, outcome

    def ready(self, within_s: float) -> bool:
        """Says whether a process has ended; waits for so long [s]. Then `next` does not wait, but where it tries anew.

        Raises:
            BackendError: The processes cannot start.
        """
        with self._intact():
            self._fill()
            return self._pool._has(self._running, within_s)

    def close(self) -> None:
        """Cancels those that are left."""
        self._pool._cancel(self._running)
        self._running.clear()
        self._waiting.clear()
        self._payloads.clear()

    @contextmanager
    def _intact(self) -> Iterator[None]:
        """Gives up the server where its talk is cut short: Ctrl-C may have torn a message in two."""
        try:
            yield
        except BaseException:
            self._pool.close()
            raise

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._jobs:
            index = self._waiting.popleft()
            self._tries[index] += 1
            self._running[self._pool._submit(self._payloads[index])] = index


def _launch(pipe: Connection, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Starts the server with its end of the pipe."""
    handle = pipe.fileno()
    code = (
        f"import json, sys; sys.path[:] = json.loads({json.dumps([str(entry) for entry in sys.path])!r}); "
        f"from coevo.processes.worker import serve; serve({handle}, {os.getpid()})"
    )
    command = [sys.executable, "-c", code]
    if sys.platform == "win32":
        os.set_handle_inheritable(handle, True)
        inherit = subprocess.STARTUPINFO(lpAttributeList={"handle_list": [handle]})
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, startupinfo=inherit)
    # A session of its own, so that a Ctrl-C reaches the program alone. What networks print goes to stderr.
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=2, pass_fds=[handle], start_new_session=True
    )


def _shut(pipe: Connection, process: subprocess.Popen[bytes]) -> None:
    """Closes the pipe, which ends the server and its tasks."""
    pipe.close()
    try:
        process.wait(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
