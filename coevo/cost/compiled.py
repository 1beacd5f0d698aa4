"""Compiles functions with numba, and keeps the machine code where a change of any source makes it stale.

numba's own cache looks at the file of a function alone; the search is spread over several, and they compile the
formulas of yet another. So the cache lies in a folder named after the digest of the compiled sources.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config as numba_config

COMPILED = ("compiled", "formulas", "exact", "bounds", "unroll", "tiles", "ranking", "tile_bounds", "pairs", "search")
"""The modules with compiled functions."""

Function = TypeVar("Function", bound=Callable[..., Any])


def _folder() -> str:
    """Returns where machine code is kept: ``NUMBA_CACHE_DIR``, else the user's cache folder."""
    digest = hashlib.blake2b(digest_size=8)
    for name in COMPILED:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "coevo" / digest.hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # no home to write to: compile anew in every session
        folder = Path(tempfile.gettempdir()) / "coevo" / digest.hexdigest()
    return str(folder)


_FOLDER = _folder()


def announce() -> None:
    """Tells a person at a terminal that the first use compiles, which takes a while; once compiled, does nothing."""
    if sys.stderr.isatty() and not any(Path(_FOLDER).rglob("search.search-*.nbc")):
        sys.stderr.write("compiling the mapper, this once: about a minute\n")


_njit: Any = numba.njit  # its types lack some options
_config: Any = numba_config


def compiled(function: Function) -> Function:
    """Returns the function compiled on first use, for plain numbers and arrays; IEEE arithmetic, nothing reordered."""
    return _cached(_njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True), function)


def inner(function: Function) -> Function:
    """Returns the function compiled on first use, to be called from compiled functions alone.

    It may make no array: so none is counted where it is handed on, which costs more than most of what is computed.
    """
    return _cached(
        _njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True, no_cpython_wrapper=True, _nrt=False),
        function,
    )


def inner_with_arrays(function: Function) -> Function:
    """Like `inner`, for a function that makes arrays."""
    return _cached(
        _njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True, no_cpython_wrapper=True),
        function,
    )


def _cached(decorate: Callable[[Function], Any], function: Function) -> Function:
    before = _config.CACHE_DIR
    _config.CACHE_DIR = _FOLDER
    try:
        result: Function = decorate(function)
    finally:
        _config.CACHE_DIR = before
    return result
