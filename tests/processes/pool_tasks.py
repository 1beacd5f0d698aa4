"""What the tests let a pool run: functions ``(shared, payload)`` that behave or misbehave."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from coevo.errors import BackendError
from coevo.processes.worker import unpack


def act(shared: Any, payload: bytes) -> Any:
    """Does what the payload, ``(what, argument)``, says."""
    what, argument = unpack(payload)
    return globals()[f"_{what}"](shared, argument)


def _add(shared: int, argument: int) -> int:
    return shared + argument


def _slow_add(shared: int, argument: tuple[float, int]) -> int:
    time.sleep(argument[0])
    return shared + argument[1]


def _log_and_add(shared: int, argument: tuple[float, str]) -> int:
    """Writes a mark into a file when it begins."""
    with open(argument[1], "a") as file:
        file.write("x")
    time.sleep(argument[0])
    return shared


def _span(_: int, seconds: float) -> tuple[float, float]:
    """Returns when it began and ended, by the machine's clock."""
    began = time.monotonic()
    time.sleep(seconds)
    return began, time.monotonic()


def _server(_: int, seconds: float) -> int:
    """Returns the process id of the server, of which every thread of a worker has one."""
    time.sleep(seconds)
    return os.getppid()


def _raise(_: int, argument: str) -> None:
    raise ValueError(argument)


def _exit(_: int, code: int) -> None:
    os._exit(code)


def _kill(_: int, number: int) -> None:
    os.kill(os.getpid(), number)


def _kill_once(shared: int, marker: str) -> int:
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return shared


def _count_and_raise(_: int, log: str) -> None:
    with open(log, "a") as file:
        file.write("x")
    raise RuntimeError("always")


def _hang(_: int, log: str) -> None:
    """Writes its own and the server's process ids, and cannot be asked to stop."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(log).write_text(f"{os.getpid()} {os.getppid()}")
    while True:
        time.sleep(60)


def _kill_server_once(shared: int, marker: str) -> int:
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    return shared


def _unable(_: int, text: str) -> None:
    raise BackendError(text)


def _print(_: int, text: str) -> int:
    print(text, flush=True)
    return len(text)
