"""Times a network on this machine by PyTorch or ONNX Runtime: warmed up, on pinned cores. torch is imported late."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coevo.errors import BackendError
from coevo.workload import Source

Engine = Literal["torch", "onnxruntime"]
Device = Literal["cpu", "cuda"]

RAPL = Path("/sys/class/powercap/intel-rapl:0")
"""Where Linux shows the energy of the first processor package (Intel and AMD) [uJ]; often for the superuser alone."""


@dataclass(frozen=True)
class Timing:
    """How a network is timed.

    Attributes:
        engine: Runs the network.
        device: Where.
        batch: Inputs at a time; figures are per batch.
        threads: Cores, which the process is pinned to meanwhile.
        warm_up: Runs before the first that counts.
        repeats: Runs that count; their median is the latency.
        energy: Whether the processor's energy counter is read too.
    """

    engine: Engine
    device: Device
    batch: int
    threads: int
    warm_up: int
    repeats: int
    energy: bool


def refuse_absent(engine: Engine, device: Device, exports: bool, energy: bool) -> None:
    """Checks that this machine can measure so.

    Raises:
        BackendError: A package, the GPU or the energy counter is not there; the text says what to do.
    """
    needed = {"onnx": exports or engine == "onnxruntime", "onnxruntime": engine == "onnxruntime" and not exports}
    for package, wanted in needed.items():
        if wanted and importlib.util.find_spec(package) is None:
            raise BackendError(f"the cost model measured needs {package} for this; pip install 'coevo[onnx]'")
    if device == "cuda" and not _has_cuda(engine):
        raise BackendError(f"device is cuda, but {engine} sees no CUDA device here; use cpu")
    if energy and _energy_uj() is None:
        problem = f"the energy counter {RAPL}/energy_uj is not there or may not be read"
        raise BackendError(f"{problem}; leave energy out (`cost: {{name: mixed, ...}}` takes it from another model)")


def measure(source: Source, timing: Timing) -> tuple[float, float]:
    """Returns latency [ms] and energy [mJ] of one run of a network, untrained; energy NaN if it is not asked for."""
    with pinned(timing.threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = _torch(source, timing) if timing.engine == "torch" else _onnxruntime(source, timing)
        for _ in range(timing.warm_up):
            run()
        before, seconds = _energy_uj() if timing.energy else None, []
        for _ in range(timing.repeats):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
        after = _energy_uj() if timing.energy else None
    latency_ms = 1e3 * statistics.median(seconds)
    if before is None or after is None:
        return latency_ms, float("nan")
    used = after - before if after >= before else after - before + _energy_range_uj()
    return latency_ms, used * 1e-3 / timing.repeats


def export_onnx(source: Source, batch: int, path: Path) -> None:
    """Writes a network, untrained, as an ONNX file of fixed input shape (batch, channels, height, width)."""
    import torch

    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        images = torch.zeros(batch, *source.input_shape)
        torch.onnx.export(_module(source), (images,), str(path), dynamo=False, input_names=["images"])


@contextlib.contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Keeps the process and torch to so many cores meanwhile (where the system can)."""
    import torch

    own = torch.get_num_threads()
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    torch.set_num_threads(threads)
    if cores is not None:
        os.sched_setaffinity(0, sorted(cores)[:threads])
    try:
        yield
    finally:
        torch.set_num_threads(own)
        if cores is not None:
            os.sched_setaffinity(0, cores)


def _module(source: Source) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return source.module().eval()


def _torch(source: Source, timing: Timing) -> Callable[[], object]:
    import torch

    module = _module(source).to(timing.device)
    images = torch.zeros(timing.batch, *source.input_shape, device=timing.device)

    def run() -> None:
        with torch.inference_mode():
            module(images)
            if timing.device == "cuda":
                torch.cuda.synchronize()

    return run


def _onnxruntime(source: Source, timing: Timing) -> Callable[[], object]:
    import numpy as np
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="coevo-") as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(source, timing.batch, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = timing.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        provider = "CUDAExecutionProvider" if timing.device == "cuda" else "CPUExecutionProvider"
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=[provider])
    images = {"images": np.zeros((timing.batch, *source.input_shape), dtype=np.float32)}
    return lambda: session.run(None, images)


def _has_cuda(engine: Engine) -> bool:
    if engine == "torch":
        import torch

        return torch.cuda.is_available()
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _energy_uj() -> float | None:
    """What the counter shows [uJ]; None if it may not be read."""
    try:
        return float((RAPL / "energy_uj").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _energy_range_uj() -> float:
    """Where the counter begins anew [uJ]."""
    return float((RAPL / "max_energy_range_uj").read_text(encoding="ascii"))
