"""Times a network in a process of its own (`coevo.processes.pool`), so that one that hangs or crashes is a failure.

The process is forked off a server that has imported what networks need and computed nothing: it starts at once, and
finds no threads or memory of another network's.
"""

from __future__ import annotations

# Before the first fork: else every process would take seconds to import them.
import coevo.networks.cell
import coevo.networks.mbconv
import coevo.networks.modules  # noqa: F401
from coevo.cost.timing import measure
from coevo.processes.worker import unpack


def measure_task(_: None, payload: bytes) -> tuple[float, float]:
    """Returns what `coevo.cost.timing.measure` returns of a packed (source, timing)."""
    source, timing = unpack(payload)
    return measure(source, timing)
