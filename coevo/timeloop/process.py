"""Calls the user's own Timeloop: its programs for the flat format, its Python front end for v4."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from coevo.errors import BackendError
from coevo.timeloop import flat, v4
from coevo.timeloop.flat import Goal
from coevo.timeloop.form import Form
from coevo.timeloop.stats import Stats, read_mapping, read_stats
from coevo.timeloop.text import yaml_text

Format = Literal["flat", "v4"]

MODEL, MAPPER = "timeloop-model", "timeloop-mapper"
DOCUMENTATION = "https://timeloop.csail.mit.edu"

_FRONT_END = """\
import sys, pytimeloop.timeloopfe.v4 as tl
spec = tl.Specification.from_yaml_files(*sys.argv[3:], jinja_parse_data=None)
call = tl.call_model if sys.argv[1] == "model" else tl.call_mapper
sys.exit(call(spec, output_dir=sys.argv[2], return_proc=True).wait())
"""
"""Run by a Python of its own: the front end prints, and the program that it starts may end its caller."""


@dataclass(frozen=True)
class Timeloop:
    """A way to Timeloop.

    Attributes:
        format: Which files it is given.
        seconds: Time limit of one call.
    """

    format: Format = "flat"
    seconds: float = 120.0

    def model(self, form: Form, about: str) -> Stats:
        """Returns what Timeloop's model says of a form's mapping.

        Args:
            form: With a mapping.
            about: Names layer and design in an error.

        Raises:
            BackendError: It is missing, failed, took too long or wrote what cannot be read.
        """
        files = flat.model_input(form) if self.format == "flat" else v4.model_input(form)
        with tempfile.TemporaryDirectory(prefix="coevo-timeloop-") as folder:
            self._call(MODEL, files, Path(folder), about)
            return _stats(Path(folder), MODEL, about)

    def mapper(self, form: Form, about: str, goal: Goal = "edp") -> Form:
        """Returns a form with the mapping that Timeloop's mapper finds; the arguments and errors are as above."""
        files = flat.mapper_input(form, goal) if self.format == "flat" else v4.mapper_input(form, goal)
        names = [memory.name for memory in form.machine.memories]
        with tempfile.TemporaryDirectory(prefix="coevo-timeloop-") as folder:
            self._call(MAPPER, files, Path(folder), about)
            text = _read(Path(folder) / f"{MAPPER}.map.yaml", about, "found no mapping that fits")
            try:
                mapping = read_mapping(text, names)
            except ValueError as error:
                raise BackendError(f"{about}: {error}") from None
        return Form(form.layer, form.machine, form.mac_energy_pj, mapping)

    def _call(self, program: str, files: Mapping[str, dict[str, Any]], folder: Path, about: str) -> None:
        inputs = folder / "inputs"
        inputs.mkdir()
        paths = []
        for name, data in files.items():
            paths.append(str(inputs / name))
            (inputs / name).write_text(yaml_text(data), encoding="utf-8")
        if self.format == "flat":
            command = [program_path(program), *paths, "-o", str(folder)]
        else:
            command = [sys.executable, "-c", _FRONT_END, program.removeprefix("timeloop-"), str(folder), *paths]
        _run(command, folder, self.seconds, f"{about}: {program}")


def program_path(program: str) -> str:
    """Returns where a program of Timeloop's is.

    Raises:
        BackendError: It is not on PATH.
    """
    path = shutil.which(program)
    if path is None:
        raise BackendError(
            f"{program} is not on PATH; Timeloop is built from source or taken from its Docker image: {DOCUMENTATION}"
        )
    return path


def check(form: Format, *programs: str) -> None:
    """Makes sure that what a format needs is there.

    Raises:
        BackendError: Something is missing; the text says what, and where it is documented.
    """
    for program in programs:
        program_path(program)
    if form == "v4" and importlib.util.find_spec("pytimeloop") is None:
        raise BackendError(
            "format v4 needs the Python package pytimeloop, which is not installed (it is on no index; "
            f"{DOCUMENTATION} says how to build it); the flat format needs {MODEL} alone"
        )


def _run(command: Sequence[str], folder: Path, seconds: float, about: str) -> None:
    """Runs a command in its folder; a process that takes too long is ended with all that it started."""
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            raise BackendError(f"{about}: no answer in {seconds:g} s; set a longer time limit") from None
        except BaseException:
            _end(process)
            raise
    if code:
        raise BackendError(f"{about} failed ({_exit(code)}): {_reason(log.read_text(errors='replace'))}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills a process and its children, which share its group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _exit(code: int) -> str:
    return f"exit {code}" if code > 0 else f"signal {signal.Signals(-code).name}"


def _reason(log: str) -> str:
    """The line that tells most: the last that says ERROR, else the last that says anything."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\bERROR\b|[Ee]rror:", line)]
    return (errors or lines or ["it said nothing"])[-1][:300]


def _stats(folder: Path, program: str, about: str) -> Stats:
    text = _read(folder / f"{program}.stats.txt", about, "wrote no stats")
    try:
        return read_stats(text)
    except ValueError as error:
        raise BackendError(f"{about}: {error}") from None


def _read(path: Path, about: str, problem: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        log = path.parent / "log.txt"
        said = _reason(log.read_text(errors="replace")) if log.exists() else ""
        raise BackendError(f"{about}: Timeloop {problem}: {said}") from None
