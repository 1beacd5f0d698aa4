"""A line that says how far a command has come."""

from __future__ import annotations

import sys
import time


class Line:
    """Shows ``<what>: <done> of <count> <things>``: in place on a terminal, else on a line of its own now and then.

    Args:
        things: What is counted.
    """

    def __init__(self, things: str) -> None:
        self._things = things
        self._terminal = sys.stdout.isatty()
        self._last = time.monotonic()

    def __call__(self, what: str, done: int, count: int) -> None:
        """Shows ``done`` of ``count``, unless the last time was just now; the end is always shown."""
        now = time.monotonic()
        if done < count and now - self._last < (0.1 if self._terminal else 20.0):
            return
        self._last = now
        line = f"{what}: {done} of {count} {self._things}"
        if self._terminal:
            print(f"\r\033[K{line}", end="\n" if done == count else "", flush=True)
        else:
            print(line, flush=True)
