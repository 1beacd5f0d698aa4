"""The exceptions that coevo raises for what a user or the surroundings did.

    CoevoError
    ├── SpecError      a file, flag or argument is wrong: names file, line, field, value and cure
    ├── DataError      a data set is absent or unreadable
    ├── RunError       a run folder is corrupt, locked or belongs to another experiment
    └── BackendError   an optional package or program is missing or failed

The command line prints any of them as one line and exits with code 2. Whatever else escapes is a bug of
coevo's own and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CoevoError(Exception):
    """Something that whoever runs coevo can understand and cure; its text is one line."""


class SpecError(CoevoError):
    """A specification (YAML file, flag, argument) is wrong.

    Args:
        problem: What is wrong, with the value, and how to cure it.
        file: File that holds the mistake, as the user would name it; empty if there is none.
        line: Line in that file, from 1; 0 if unknown.
        field: Dotted path of the field, e.g. ``memories.glb.holds``; empty if there is none.
    """

    def __init__(self, problem: str, *, file: str = "", line: int = 0, field: str = "") -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.field = field
        place = f"{file}:{line}" if file and line else file
        super().__init__(": ".join(part for part in (place, field, " ".join(problem.split())) if part))


class DataError(CoevoError):
    """A data set is absent or unreadable; the text says where it must be put."""


class RunError(CoevoError):
    """A run folder is corrupt, in use, or belongs to another experiment."""


class BackendError(CoevoError):
    """An optional package or program is missing, or failed."""


def near(name: str, known: Iterable[str]) -> str:
    """Returns the cure for an unknown name: ``(did you mean 'x'?)`` and the names that are known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    meant = f"did you mean '{close[0]}'? " if close else ""
    return f"({meant}known: {', '.join(names) or 'none'})"
