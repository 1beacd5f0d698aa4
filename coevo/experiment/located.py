"""Where in an experiment an error of its parts belongs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from coevo.errors import SpecError
from coevo.library import Document, FieldPath


@contextmanager
def located(document: Document, path: FieldPath) -> Iterator[None]:
    """Gives an error that names no line the place in the experiment that led to it."""
    try:
        yield
    except SpecError as error:
        if error.line or error.file not in ("", document.file):
            raise
        raise document.error(_deepened(document, path, error.field), error.problem) from None


def _deepened(document: Document, path: FieldPath, dotted: str) -> FieldPath:
    """Follows a dotted field below a path as far as the document has it; keys may themselves hold dots."""
    here: Any = document.data
    for step in path:
        here = here[step]
    parts = dotted.split(".")
    while isinstance(here, dict):
        keys = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        key = next((key for key in keys if key in here), None)
        if key is None:
            break
        path, here, parts = (*path, key), here[key], parts[key.count(".") + 1 :]
    return path
