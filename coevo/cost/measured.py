"""The cost model ``measured``: times the network itself, on this machine or on a device that a command reaches.

The accelerator's fields do not matter (`accelerators/device.yaml` stands for a device that is not modelled). What was
measured is kept with the run: nothing is measured twice, and a run that is resumed ends with the same front. So is a
failure; on this machine a network runs in a process of its own, which may crash, and which is ended when its time is
over. A network is measured whenever an optimiser wants to know its hardware, which those that look ahead do a lot: see
the README for optimisers that do not, or let a predictor learn from few measurements.
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from coevo.accelerator.machine import Accelerator
from coevo.cost.device_command import MODEL, ask
from coevo.cost.figures import ATTRIBUTES, NANOSECONDS_MHZ, Figures, Known
from coevo.cost.timing import Device, Engine, Timing, export_onnx, refuse_absent
from coevo.design import Cost
from coevo.errors import BackendError, RunError, SpecError
from coevo.processes.pool import THREADS, Pool
from coevo.processes.worker import one_line, pack
from coevo.protocols import CostContext
from coevo.workload import Workload

TASK = "coevo.cost.timing_task:measure_task"
"""What a process does; imported there alone, for it brings torch along."""


DEVICE = "{device}"
"""Stands in a command for the name of the device that the accelerator stands for."""

_LOOKED_AT = 256
"""Designs at random whose accelerators are asked for their devices before a run."""


class MeasuredSettings(BaseModel):
    """What is run, where and how often.

    Attributes:
        engine: Runs the network on this machine.
        device: Of this machine.
        command: Measures on another device instead: a command with ``{model}`` in it, the path of an ONNX file, that
            prints ``{"latency_ms": ...}``. With ``{device}`` in it, each accelerator's own device is asked, so that
            several of them can be targets.
        batch: Inputs at a time; figures are per batch.
        threads: Cores of this machine that are used.
        warm_up: Runs before the first that counts.
        repeats: Runs of which the median counts.
        energy: Whether energy is measured: by this machine's own counter (RAPL), or as ``energy_mj`` by the command.
        time_limit_s: After which a command, or all runs of a network on this machine, are given up [s].
        attempt: Another number measures anew, e.g. to see how well two measurements agree.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    engine: Engine = "torch"
    device: Device = "cpu"
    command: str = ""
    batch: int = Field(default=1, ge=1, le=65536)
    threads: int = Field(default=1, ge=1, le=1024)
    warm_up: int = Field(default=5, ge=0)
    repeats: int = Field(default=30, ge=1)
    energy: bool = False
    time_limit_s: float = Field(default=60.0, gt=0)
    attempt: int = 0

    @property
    def timing(self) -> Timing:
        """How this machine times a network."""
        return Timing(**{name: getattr(self, name) for name in Timing.__dataclass_fields__})

    @model_validator(mode="after")
    def _names_the_model(self) -> Self:
        if self.command and MODEL not in self.command:
            raise ValueError(f"the command must have {MODEL} in it, where the network's ONNX file is named")
        return self


class MeasuredCost:
    """Runs networks and times them, one after the other (socket `CostModel`)."""

    Settings: ClassVar[type[BaseModel]] = MeasuredSettings
    of_network = True

    def __init__(self, settings: Any) -> None:
        self.settings: MeasuredSettings = settings
        self._context = CostContext()
        self._pool: Pool | None = None
        self._known = Known(["measured", settings.model_dump(mode="json")], NANOSECONDS_MHZ)

    def attach(self, context: CostContext) -> None:
        """Takes note of what the run knows.

        Raises:
            SpecError: This machine cannot measure so; the text says what to do.
        """
        self._context = context
        self._known.memory = context.memory
        if self._by_device:
            for _, machine in context.draw(_LOOKED_AT, 0):
                if not machine.device:
                    problem = f"{DEVICE} stands here, and the accelerator {machine.name} names no device; add it there"
                    raise SpecError(f"{problem}, e.g. {{template: device, set: {{device: board}}}}", field="command")

    @property
    def _by_device(self) -> bool:
        """Whether each accelerator's own device is asked."""
        return DEVICE in self.settings.command

    @property
    def unknown(self) -> frozenset[str]:
        """All but the latency, and the energy where that is measured.

        Raises:
            SpecError: This machine cannot measure so.
        """
        own, s = not self.settings.command, self.settings
        try:
            refuse_absent(s.engine if own else "torch", s.device if own else "cpu", not own, s.energy and own)
        except BackendError as error:
            raise SpecError(str(error)) from None
        return frozenset(ATTRIBUTES) - {"latency_cycles", *(("energy_pj",) if s.energy else ())}

    @property
    def facts(self) -> dict[str, str]:
        """How was measured, and where; kept with the run, which may be reported from another machine."""
        key = f"measured {self.settings!r}"
        if key not in self._context.memory:
            if not self._context.may_run:
                return {}
            self._context.memory[key] = self._place()
        return {"measured": self._context.memory[key]}

    def evaluate(self, pairs: Sequence[tuple[Workload, Accelerator]], jobs: int = 1) -> list[Cost]:  # noqa: ARG002
        """Measures every network that is new to the run.

        Raises:
            RunError: There is one, and nothing may be run.
        """
        return self._known.costs(pairs, self._key, self._measured)

    def _key(self, workload: Workload, machine: Accelerator) -> object:
        network = workload.name if workload.source is None else workload.source.key
        return [machine.device, network] if self._by_device else network

    def _measured(self, pairs: Sequence[tuple[Workload, Accelerator]]) -> Iterator[Figures]:
        if not self._context.may_run:
            raise RunError(
                "the run folder lacks a measurement, and none is made by looking into it; go on with the run"
            )
        for workload, machine in pairs:
            yield self._figures(workload, machine.device)

    def _figures(self, workload: Workload, device: str) -> Figures:
        """Measures one network, on a device of that name if the command asks for it; what goes wrong is its failure."""
        settings = self.settings
        if workload.source is None:
            return Figures.failed(f"{workload.name} is no network that can be run")
        try:
            if settings.command:
                with tempfile.TemporaryDirectory(prefix="coevo-") as folder:
                    path = Path(folder) / "network.onnx"
                    export_onnx(workload.source, settings.batch, path)
                    return ask(settings.command.replace(DEVICE, device), path, settings.time_limit_s, settings.energy)
            return self._timed(pack((workload.source, settings.timing)))
        except BackendError:
            raise
        except Exception as error:  # whatever a network's code or an engine raises
            return Figures.failed(f"cannot be measured: {one_line(error)}")

    def _timed(self, payload: bytes) -> Figures:
        """Times a packed network on this machine.

        Raises:
            BackendError: No process can be started for it.
        """
        settings = self.settings
        if self._pool is None:
            threads = {name: str(settings.threads) for name in THREADS}
            self._pool = Pool(TASK, None, time_limit_s=settings.time_limit_s, environment=threads)
        ((_, outcome),) = self._pool.run([payload])
        if outcome.kind == "value":
            return Figures.measured(*outcome.value)
        if outcome.kind == "late":
            limit = f"{settings.time_limit_s:g} s (time_limit_s)"
            return Figures.failed(f"{settings.warm_up + settings.repeats} runs did not end within {limit}")
        crashed = "crashed twice: " if outcome.kind == "died" else ""
        return Figures.failed(f"cannot be measured: {crashed}{outcome.text}")

    def _place(self) -> str:
        settings = self.settings
        batch = f"batch {settings.batch}"
        if settings.command:
            return f"{batch}, by {settings.command}"
        where = settings.device if settings.device == "cuda" else f"{settings.threads} core(s) of {_processor()}"
        return f"{batch}, {settings.engine}, median of {settings.repeats} runs, {where}"


def _processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


plugin = MeasuredCost
