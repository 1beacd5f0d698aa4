"""The other side of `coevo.processes.pool`: a server process that forks one process per task.

The server imports what the function needs (torch takes seconds), runs none of the user's code and no threads, and
so can fork at will. A task's process may raise, hang, eat memory or die: the server reports what became of it.
Should the program die, the server sees its pipe end and ends every task; should the server die, the kernel ends
them (Linux). Where there is no fork, every task starts a fresh interpreter, which is slow but works alike.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Literal

from coevo.errors import BackendError

Function = Callable[[Any, bytes], Any]
"""``(shared, payload) -> value``."""

Kind = Literal["value", "raised", "died", "late", "unable"]


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        kind: ``value``; ``raised`` an exception; ``died`` (the process ended without a word); ``late`` (stopped
            at the time limit); ``unable`` (`BackendError`: this machine cannot run any such task).
        value: What the function returned.
        text: What happened otherwise, in one line.
        seconds: From the start of its process to its end.
    """

    kind: Kind
    value: Any = None
    text: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class _Running:
    ticket: int
    process: BaseProcess
    start: float


def serve(handle: int, program: int) -> None:
    """Runs the server until the pipe or the program ends, and the process with it.

    Args:
        handle: Of this side's end of the pipe.
        program: Process id of the program.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the program decides; it closes the pipe
    inbox = _connection(handle)
    with contextlib.suppress(EOFError):
        name, shared, time_limit_s = inbox.recv()
        module, _, function = name.partition(":")
        server = _Server(inbox, getattr(importlib.import_module(module), function), shared, time_limit_s)
        with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            inbox.send("ready")
            server.run(program)
        server.stop()
    os._exit(0)  # to take torch apart would take seconds


def pack(task: object) -> bytes:
    """Returns a task as bytes for a pipe, pickled with the code that the other side cannot import.

    The server passes them on unopened, so that only the task's process runs what they bring along.
    """
    from joblib import wrap_non_picklable_objects

    return bytes(ForkingPickler.dumps(wrap_non_picklable_objects(task, keep_wrapper=False)))


def unpack(payload: bytes) -> Any:
    """Returns what `pack` was given."""
    return ForkingPickler.loads(payload)


def one_line(error: BaseException) -> str:
    """Returns type and text of an exception on one line of at most 300 characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    return text if len(text) <= 300 else f"{text[:297]}..."


class _Server:
    def __init__(self, inbox: Connection, function: Function, shared: Any, time_limit_s: float) -> None:
        forks = "fork" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("fork" if forks else "spawn")
        self._ties = (os.getpid(), inbox.fileno()) if forks else None
        self._inbox = inbox
        self._function = function
        self._shared = shared
        self._time_limit_s = time_limit_s
        self._running: dict[Connection, _Running] = {}

    def run(self, program: int) -> None:
        # A process that the program forked may keep the pipe open after the program's death: hence getppid.
        while os.name == "nt" or os.getppid() == program:
            ready = wait([self._inbox, *self._running], timeout=self._until_next())
            for result in [result for result in self._running if result in ready]:
                self._finish(result)
            self._stop_late()
            if self._inbox in ready:
                self._take(*self._inbox.recv())

    def stop(self) -> None:
        self._cancel([task.ticket for task in self._running.values()])

    def _take(self, what: str, *details: Any) -> None:
        if what == "run":
            self._start(*details)
        else:
            self._cancel(*details)

    def _start(self, ticket: int, payload: bytes) -> None:
        result, theirs = self._context.Pipe(duplex=False)
        arguments = (theirs, self._function, self._shared, payload, self._ties)
        process = self._context.Process(target=_run_task, args=arguments, daemon=True)
        try:
            process.start()
        except OSError as error:  # no process or memory left for another
            result.close()
            self._inbox.send((ticket, Outcome("died", text=one_line(error))))
        else:
            self._running[result] = _Running(ticket, process, time.monotonic())
        finally:
            theirs.close()

    def _finish(self, result: Connection) -> None:
        task = self._running[result]
        try:
            kind, value, text = result.recv()
        except (EOFError, OSError):
            task.process.join()
            kind, value, text = "died", None, _exit_text(task.process.exitcode)
        self._report(result, kind, value, text)

    def _stop_late(self) -> None:
        now = time.monotonic()
        for result, task in list(self._running.items()):
            if now - task.start >= self._time_limit_s:
                self._report(result, "late", None, f"stopped after {self._time_limit_s:g} s")

    def _report(self, result: Connection, kind: Kind, value: Any, text: str) -> None:
        task = self._running[result]
        seconds = time.monotonic() - task.start
        self._end(result)
        self._inbox.send((task.ticket, Outcome(kind, value, text, seconds)))

    def _cancel(self, tickets: list[int]) -> None:
        for result, task in list(self._running.items()):
            if task.ticket in tickets:
                self._end(result)

    def _end(self, result: Connection) -> None:
        task = self._running.pop(result)
        task.process.kill()
        task.process.join()
        task.process.close()
        result.close()

    def _until_next(self) -> float:
        """Seconds to the next time limit, at most 1: so often the program is looked after."""
        now = time.monotonic()
        left = [task.start + self._time_limit_s - now for task in self._running.values()]
        return max(0.0, min([1.0, *left]))


def _run_task(
    result: Connection,
    function: Function,
    shared: Any,
    payload: bytes,
    ties: tuple[int, int] | None,
) -> None:
    """The body of a task's process, forked with ``ties`` (the server's process id, its pipe); never returns."""
    if ties is not None:
        server, pipe = ties
        os.close(pipe)  # else the program could not tell the server's death
        _die_with(server)
    outcome: tuple[Kind, Any, str]
    try:
        outcome = ("value", function(shared, payload), "")
    except BackendError as error:
        outcome = ("unable", None, str(error))
    except BaseException as error:  # whatever a network's code raises is its own failure
        outcome = ("raised", None, one_line(error))
    result.send(outcome)
    result.close()
    os._exit(0)  # no user's exit handlers: they could hang


def _die_with(server: int) -> None:
    """Lets the kernel end this process when the server ends (prctl(2), PR_SET_PDEATHSIG); Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != server:  # it ended before the line above
        os._exit(1)


def _exit_text(code: int | None) -> str:
    names = {-int(number): number.name for number in signal.Signals}
    return f"killed by {names[code]}" if code in names else f"ended by exit code {code}"


def _connection(handle: int) -> Connection:
    if sys.platform == "win32":
        from multiprocessing.connection import PipeConnection

        return PipeConnection(handle)
    return Connection(handle)
