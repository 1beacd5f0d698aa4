"""What can be measured of a design, one function each; any of them may be an objective or a constraint.

A metric's parameter names say what must be computed for it: ``cost`` (`Cost`), ``accuracy`` (`Accuracy`),
``workload`` (`Workload`), ``accelerator`` (`Accelerator`). Models count in cycles, pJ, bytes and fractions; here,
and only here, these become ms, mJ, KiB and percent. To add one of your own, write such a function in a file and
name it in the experiment as ``path/to/file.py:name``:

    from coevo.metrics import metric

    @metric(unit="W", title="Power")
    def power(cost, accelerator): ...
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache

from coevo.accelerator.fpga import block_rams, dsp_slices
from coevo.accelerator.machine import Accelerator
from coevo.design import Accuracy, Cost, Quantity
from coevo.errors import SpecError, near
from coevo.library import find_plugin
from coevo.protocols import Metric
from coevo.workload import Workload

INPUTS = ("cost", "accuracy", "workload", "accelerator")
"""What a metric may ask for, by the names of its parameters."""


def metric(unit: str = "", maximise: bool = False, title: str = "") -> Callable[[Callable[..., float]], Metric]:
    """Makes the decorated function a `Metric`; the function's name is the metric's.

    Args:
        unit: Of what the function returns, e.g. ``ms``; empty for counts.
        maximise: Whether more is better.
        title: For axes.

    Raises:
        ValueError: A parameter is none of `INPUTS`, or there is none.
    """

    def wrap(compute: Callable[..., float]) -> Metric:
        wanted = tuple(inspect.signature(compute).parameters)
        if not wanted or not set(wanted) <= set(INPUTS):
            raise ValueError(
                f"metric {compute.__name__}: parameters must be out of {', '.join(INPUTS)}, got {', '.join(wanted)}"
            )
        return Metric(Quantity(compute.__name__, unit, maximise, title), compute)

    return wrap


@cache
def inputs_of(metric: Metric) -> frozenset[str]:
    """Returns which of `INPUTS` a metric needs."""
    return frozenset(inspect.signature(metric.compute).parameters)


@metric("%", title="Validation error")
def error(accuracy: Accuracy) -> float:
    """Share of validation samples that the network gets wrong."""
    return 100 * accuracy.error


@metric("ms", title="Latency")
def latency(cost: Cost, accelerator: Accelerator) -> float:
    """Time of one inference: cycles over clock."""
    return cost.latency_cycles / (accelerator.clock_mhz * 1e3)


@metric("mJ", title="Energy")
def energy(cost: Cost) -> float:
    """Energy of one inference."""
    return cost.energy_pj * 1e-9


@metric("mm2", title="Area")
def area(accelerator: Accelerator) -> float:
    """Area of the chip."""
    return accelerator.area_mm2


@metric("mJ·ms", title="Energy-delay product")
def edp(cost: Cost, accelerator: Accelerator) -> float:
    """Energy times latency of one inference."""
    return energy.compute(cost) * latency.compute(cost, accelerator)


@metric("mJ·ms·mm2", title="Energy-delay-area product")
def edap(cost: Cost, accelerator: Accelerator) -> float:
    """Energy times latency times area."""
    return edp.compute(cost, accelerator) * area.compute(accelerator)


@metric("ms", title="Interval")
def interval(cost: Cost, accelerator: Accelerator) -> float:
    """Time from one inference to the next: the latency, or less where parts work on different inferences at once."""
    cycles = cost.latency_cycles if cost.interval_cycles is None else cost.interval_cycles
    return cycles / (accelerator.clock_mhz * 1e3)


@metric("1/s", maximise=True, title="Throughput")
def throughput(cost: Cost, accelerator: Accelerator) -> float:
    """Inferences per second: the inverse of the interval."""
    return 1e3 / interval.compute(cost, accelerator)


@metric("KiB", title="Peak on-chip memory")
def peak_memory(cost: Cost) -> float:
    """Most on-chip memory that the tiles of any one layer occupy."""
    return cost.peak_memory_bytes / 1024


@metric(title="DSP slices")
def dsps(accelerator: Accelerator) -> float:
    """DSP slices that the multipliers take on an FPGA (`coevo.accelerator.fpga`)."""
    return dsp_slices(accelerator)


@metric(title="Block RAMs of 18 Kb")
def brams(accelerator: Accelerator) -> float:
    """Block RAMs of 18 Kb that the memories take on an FPGA (`coevo.accelerator.fpga`)."""
    return block_rams(accelerator)


@metric(title="Multiply-accumulates")
def macs(workload: Workload) -> float:
    """Multiply-accumulates of one inference."""
    return workload.macs


@metric(title="Parameters")
def parameters(workload: Workload) -> float:
    """Trainable parameters of the network."""
    return workload.parameters


ON_REQUEST: Mapping[str, Metric] = {found.quantity.name: found for found in (dsps, brams)}
"""coevo's own metrics that are computed only where an experiment names them, by name: those of FPGAs."""

METRICS: Mapping[str, Metric] = {
    found.quantity.name: found
    for found in list(globals().values())
    if isinstance(found, Metric) and found.quantity.name not in ON_REQUEST
}
"""coevo's own metrics that are computed of every design, by name."""


def find_metric(name: str, near_file: str = "") -> Metric:
    """Returns the metric that a name in an experiment stands for.

    Args:
        name: One of `METRICS` or `ON_REQUEST`, or ``path/to/file.py:name``.
        near_file: The file that names it; a relative path is tried from its folder first.

    Raises:
        SpecError: There is none, the user's file fails on import, or what it names is not a metric.
    """
    if ".py:" not in name:
        own = {**METRICS, **ON_REQUEST}
        if name not in own:
            raise SpecError(f"no metric named {name!r} {near(name, own)}")
        return own[name]
    found = find_plugin("metrics", name, near_file)
    if not isinstance(found, Metric):
        raise SpecError(f"{name!r} is not a metric; decorate the function with @coevo.metrics.metric(...)")
    return found
