"""``coevo import``: an accelerator that another tool describes, as a template."""

from __future__ import annotations

import re
from pathlib import Path

import click

from coevo.errors import SpecError

_EXAMPLES = """\b
Examples:
  coevo import eyeriss_like/arch.yaml --name my_eyeriss
  coevo import architecture.yaml variables.yaml constraints.yaml -o mine.yaml
"""


@click.command("import", epilog=_EXAMPLES)
@click.argument("files", nargs=-1, required=True, metavar="ARCH.yaml...", type=click.Path(exists=True, dir_okay=False))
@click.option("--name", help="Of the template; the first file's if not given.")
@click.option("-o", "--out", type=click.Path(dir_okay=False), help="File; accelerators/<name>.yaml if not given.")
def import_accelerator(files: tuple[str, ...], name: str | None, out: str | None) -> None:
    """Makes an accelerator template of a Timeloop v4 architecture, and says what it did not understand of it.

    Sizes, meshes, bandwidths, what each memory keeps and what may spread where are taken over; energies and areas are
    derived from the technology, and can be set in the template. Arithmetic over variables, attributes and nodes is
    evaluated; a file with `variables` or `constraints` is named beside that of the architecture.
    """
    from coevo.accelerator import load_template
    from coevo.report.files import write_atomically
    from coevo.timeloop.importing import import_architecture

    called = name or re.sub(r"[^a-z0-9]+", "_", Path(files[0]).stem.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", called):
        raise SpecError(f"a template's name is small letters, digits and _, not {called!r}", field="--name")
    path = Path(out or f"accelerators/{called}.yaml")
    if path.exists():
        raise SpecError("is there already; name another file by --out", file=str(path))
    text, notes = import_architecture([Path(file) for file in files], called)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    for note in notes:
        print(f"not understood or assumed: {note}")
    machine = load_template(str(path)).build({})
    print(f"{called}: {len(machine.memories)} memories, {machine.pes} multipliers, {machine.area_mm2:.4g} mm2")
    print(f"template: {path}")
