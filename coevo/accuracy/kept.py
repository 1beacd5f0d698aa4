"""A folder where arrays are kept from run to run, each entry under a key that says all that its content depends on.

It is ``COEVO_CACHE``, else ``coevo/data`` in the user's cache folder (``~/.cache``). It may be deleted at any time
when no run is under way: what is missing is made anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from coevo.errors import DataError


class NotKeptError(DataError):
    """The folder cannot be written to."""


def keep(key: str, write: Callable[[Path], None]) -> Path:
    """Returns the folder that is kept under a key; if there is none, it is written first.

    It appears whole or not at all. Of two processes that write it at once, the first to end is heeded.

    Args:
        key: Names the entry.
        write: Fills an empty folder.

    Raises:
        NotKeptError: The folder cannot be written to.
    """
    home = _home()
    entry = home / key
    if entry.is_dir():
        return entry
    unfinished = None
    try:
        home.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=home))
        write(unfinished)
        _rename(unfinished, entry)
    except OSError as error:
        problem = f"cannot be written: {error.strerror or error}"
        raise NotKeptError(f"{home}: {problem}; name another folder by the environment variable COEVO_CACHE") from None
    finally:
        if unfinished is not None:
            shutil.rmtree(unfinished, ignore_errors=True)
    return entry


def _rename(unfinished: Path, entry: Path) -> None:
    try:
        unfinished.rename(entry)
    except OSError:
        if not entry.is_dir():  # else another process was faster
            raise


def _home() -> Path:
    if os.environ.get("COEVO_CACHE"):
        return Path(os.environ["COEVO_CACHE"]).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "coevo" / "data"
