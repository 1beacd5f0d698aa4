"""Writes files so that whoever kills the program never leaves half of one."""

from __future__ import annotations

import os
from pathlib import Path

from coevo.errors import RunError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a file by way of a hidden neighbour and `os.replace`: readers see the old one or the new one, whole.

    Args:
        path: The file; its folder must exist.
        content: Text is written as UTF-8 with the newlines that it has.

    Raises:
        RunError: It cannot be written.
    """
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        try:
            neighbour.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
            os.replace(neighbour, path)
        finally:
            neighbour.unlink(missing_ok=True)
    except OSError as error:  # on a full disk it names no file, else the neighbour
        raise RunError(
            f"{path}: cannot be written: {error.strerror or error}; nothing evaluated is lost: make room or access, "
            "and run the same command again (--out names another folder)"
        ) from None
