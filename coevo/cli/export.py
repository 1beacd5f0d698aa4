"""``coevo export``: a design of a run as files for others."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from coevo.export import Chosen, Files

_EXAMPLES = """\b
Examples:
  coevo export runs/quickstart knee
  coevo export runs/quickstart 01234567 -o chip --to onnx --to accelerator
  coevo export runs/hardware_only 1 --untrained
  coevo export runs/hardware_only 1 --to timeloop
"""


WRITERS = {
    "accelerator": "coevo.export.writers:accelerator_files",
    "mapping": "coevo.export.writers:mapping_files",
    "weights": "coevo.export.writers:weights_files",
    "torch": "coevo.export.writers:torch_files",
    "onnx": "coevo.export.writers:onnx_files",
    "timeloop": "coevo.verify.folder:timeloop_files",
}
"""``package.module:function`` of every kind that ``--to`` knows, in the order in which they are written."""


@click.command("export", epilog=_EXAMPLES)
@click.argument("run_folder", metavar="RUN", type=click.Path(exists=True, file_okay=False))
@click.argument("design")
@click.option("-o", "--out", type=click.Path(file_okay=False), help="Folder; RUN/export/<design> if not given.")
@click.option("--to", "kinds", multiple=True, type=click.Choice(("all", *WRITERS)), default=("all",), show_default=True,
              help="What to write; repeatable.")  # fmt: skip
@click.option("--untrained", is_flag=True, help="Writes weights as they are drawn, not as the run trained them.")
def export(run_folder: str, design: str, out: str | None, kinds: tuple[str, ...], untrained: bool) -> None:
    """Writes a DESIGN of RUN's front for use elsewhere: its network, its machine and its mappings.

    A DESIGN is an id of the front or its beginning, a row of front.csv from 1, or `knee`. A network whose weights the
    run did not keep is trained once more, as the run did.
    """
    from coevo.errors import SpecError
    from coevo.export import choose, design_files, readme
    from coevo.report.files import write_atomically

    chosen = choose(Path(run_folder), design, untrained)
    files: dict[str, str | bytes] = dict(design_files(chosen))
    for kind, name in WRITERS.items():
        if kind in kinds or "all" in kinds:
            try:
                files |= _writer(name)(chosen)
            except SpecError as error:
                if kind in kinds:
                    raise
                print(f"without {kind}: {error}")
    files["README.md"] = readme(chosen, list(files))
    folder = Path(out or Path(run_folder) / "export" / chosen.id)
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / file, content)
    print(f"{chosen.title}: {', '.join(dict.fromkeys(file.partition('/')[0] for file in files))}")
    if "weights.safetensors" in files or "model.onnx" in files:
        print(chosen.trained.says)
    print(f"exported: {folder}")


def _writer(name: str) -> Callable[[Chosen], Files]:
    module, _, function = name.partition(":")
    found: Callable[[Chosen], Files] = getattr(importlib.import_module(module), function)
    return found
