"""How a task's process computes with torch: reproducibly, within limits, and with a reason where nothing comes out."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from coevo.errors import BackendError

Value = TypeVar("Value")


class FruitlessError(Exception):
    """A task came to nothing for a reason of the network's own; its text is the reason."""


def within_limits(device: str, memory_limit_mib: int, work: Callable[[torch.device], Value]) -> Value | str:
    """Does the work of a task; returns what it gives, or the reason why it gives nothing.

    Args:
        device: As `coevo.accuracy.settings.LimitSettings.device`.
        memory_limit_mib: What the work may allocate [MiB].
        work: Takes the device.

    Raises:
        BackendError: A GPU was asked for and there is none.
    """
    warnings.simplefilter("ignore")  # else every task of a search repeats them
    chosen = prepare(device)
    try:
        with memory_limit(memory_limit_mib, chosen):
            return work(chosen)
    except FruitlessError as reason:
        return str(reason)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return f"out of memory: needs more than {memory_limit_mib} MiB (memory_limit_mib)"


def prepare(device: str) -> torch.device:
    """Makes torch reproducible and returns the device."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device == "cpu" or not torch.cuda.is_available():
        if device == "cuda":
            raise BackendError("accuracy.device is cuda, but torch sees no CUDA device here; use auto or cpu")
        return torch.device("cpu")
    return torch.device("cuda")


@contextlib.contextmanager
def memory_limit(limit_mib: int, device: torch.device) -> Iterator[None]:
    """Limits what may be allocated meanwhile: on the GPU, or (Linux) in main memory on top of what is in use."""
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_mib * 2**20 / total), device)
        yield
    elif sys.platform == "linux":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = _data_bytes() + limit_mib * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    else:
        yield


def _data_bytes() -> int:
    """What RLIMIT_DATA counts: this process's private writable memory (proc(5), VmData) [byte]."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))


def is_out_of_memory(error: Exception) -> bool:
    """Says so of Python's, torch's CPU allocator's (a plain RuntimeError) and CUDA's exceptions."""
    return (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
    )
