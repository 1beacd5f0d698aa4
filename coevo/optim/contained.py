"""PyTorch inside an optimiser: reproducible, and without a trace outside."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def contained(rng: np.random.Generator) -> Iterator[None]:
    """Lets PyTorch draw from ``rng`` alone, on one thread, in silence; its global generator stays as it was.

    One thread, as sums over several are rounded differently from one number of cores to another, and a run that is
    resumed must ask what it asked before.
    """
    import torch

    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        torch.default_generator.manual_seed(int(rng.integers(2**31)))
        try:
            yield
        finally:
            torch.set_num_threads(threads)
