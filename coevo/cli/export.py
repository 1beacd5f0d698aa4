"""``coevo export``: a design of a run as files for others."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from coevo.design import FrontDesign, Results

_EXAMPLES = """\b
Examples:
  coevo export runs/quickstart 0123456789 --to timeloop
  coevo export runs/quickstart 1 --to timeloop -o chip
"""

WRITERS = {"timeloop": "coevo.verify.folder:timeloop_files"}
"""``package.module:function`` of every kind that ``--to`` knows, in the order in which they are written."""


@dataclass(frozen=True)
class _Chosen:
    """What a writer is given."""

    design: FrontDesign


@click.command("export", epilog=_EXAMPLES)
@click.argument("run_folder", metavar="RUN", type=click.Path(exists=True, file_okay=False))
@click.argument("design")
@click.option("-o", "--out", type=click.Path(file_okay=False), help="Folder; RUN/export/<design> if not given.")
@click.option("--to", "kinds", multiple=True, type=click.Choice(tuple(WRITERS)), default=tuple(WRITERS),
              show_default=True, help="What to write; repeatable.")  # fmt: skip
def export(run_folder: str, design: str, out: str | None, kinds: tuple[str, ...]) -> None:
    """Writes a DESIGN of RUN's front for use elsewhere.

    A DESIGN is an id of the front or its beginning, or a row of front.csv from 1.
    """
    from coevo.report.files import write_atomically
    from coevo.study import load_results

    chosen = _find(load_results(Path(run_folder)), design)
    files: dict[str, str | bytes] = {}
    for kind in kinds:
        files |= _writer(WRITERS[kind])(_Chosen(chosen))
    folder = Path(out or Path(run_folder) / "export" / chosen.evaluation.id)
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / file, content)
    print(f"design {chosen.evaluation.id}: {len(files)} files for {', '.join(kinds)}")
    print(f"exported: {folder}")


def _writer(name: str) -> Callable[[_Chosen], dict[str, str | bytes]]:
    module, _, function = name.partition(":")
    found: Callable[[_Chosen], dict[str, str | bytes]] = getattr(importlib.import_module(module), function)
    return found


def _find(results: Results, name: str) -> FrontDesign:
    """Returns the design of the front that a name stands for."""
    from coevo.errors import SpecError, near

    designs = results.front.designs
    found = [design for design in designs if design.evaluation.id.startswith(name)]
    if len(found) == 1:
        return found[0]
    if not found and name.isdecimal() and 1 <= int(name) <= len(designs):
        return designs[int(name) - 1]
    problem = "several designs of the front begin so" if found else "the front has no such design"
    raise SpecError(f"{problem}: {name!r} {near(name, [d.evaluation.id for d in designs])}", field="DESIGN")
