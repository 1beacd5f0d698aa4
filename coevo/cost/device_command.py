"""Hands a network to a device by a command, and takes down what it says; a device that hangs or lies is a reason."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import signal
import subprocess
from pathlib import Path

from coevo.cost.figures import Figures

MODEL = "{model}"
"""Stands in a command for the path of the network's ONNX file."""

_SHOWN = 120


def ask(command: str, model: Path, time_limit_s: float, energy: bool) -> Figures:
    """Runs a command and reads the JSON that it prints, ``{"latency_ms": 1.5, "energy_mj": 0.2}``.

    Args:
        command: With `MODEL` in it; no shell looks at it.
        model: The file that stands for that.
        time_limit_s: After which the command and all that it started are ended [s].
        energy: Whether it must say an energy.

    Returns:
        What it said, or the reason why there are no figures.
    """
    arguments = [part.replace(MODEL, str(model)) for part in shlex.split(command)]
    try:
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return Figures.failed(f"the device's command cannot be run: {arguments[0]}: {error.strerror or error}")
    try:
        out, err = process.communicate(timeout=time_limit_s)
    except subprocess.TimeoutExpired:
        return Figures.failed(f"the device did not answer within {time_limit_s:g} s (time_limit_s)")
    finally:
        if process.poll() is None:
            _end(process)
    if process.returncode != 0:
        return Figures.failed(f"the device's command ended with {process.returncode}: {_shown(err) or _shown(out)}")
    return _read(out, energy)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the command and what it started, which is a session of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _read(out: bytes, energy: bool) -> Figures:
    try:
        said = json.loads(out)
    except ValueError:
        return Figures.failed(f"the device did not answer in JSON: {_shown(out)!r}")
    if not isinstance(said, dict):
        return Figures.failed(f'the device must answer {{"latency_ms": ...}}, said {_shown(out)}')
    values = []
    for name in ("latency_ms", *(("energy_mj",) if energy else ())):
        value = said.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
            return Figures.failed(f"the device said {name} {value!r}; it must be a positive number")
        values.append(float(value))
    return Figures.measured(*values)


def _shown(text: bytes) -> str:
    """The end of what a command printed, on one line."""
    line = " ".join(text.decode(errors="replace").split())
    return line if len(line) <= _SHOWN else f"...{line[-_SHOWN:]}"
