"""``coevo lut``: tables of what layers cost."""

from __future__ import annotations

from pathlib import Path

import click

from coevo.cli.line import Line
from coevo.cli.run import SETTING, cores


@click.group()
def lut() -> None:
    """Lookup tables of layers, for `cost: {name: lut, path: FILE}`."""


@lut.command()
@click.argument("experiment")
@click.option("-o", "--out", type=click.Path(dir_okay=False),
              help="The table (.csv or .csv.gz); <name>_lut.csv if not given.")  # fmt: skip
@click.option("--machines", type=click.IntRange(min=1), default=64, show_default=True,
              help="Accelerators up to which the table is made.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Processes to use; all cores if not given.")
@click.option("--quiet", is_flag=True, help="Prints the path of the table alone.")
@SETTING
def build(
    experiment: str, out: str | None, machines: int, jobs: int | None, quiet: bool, overrides: tuple[str, ...]
) -> None:
    """Fills a table with every distinct layer of EXPERIMENT's networks on each of its accelerators.

    The figures are those of the experiment's cost model (another by --set), each layer alone. A space of more than
    20,000 networks is drawn from at random until 5,000 networks in a row have no new layer. A build that was stopped
    goes on by the same command: what is known stands in <table>.part meanwhile.
    """
    from coevo.experiment import load_experiment
    from coevo.experiment.lut import build_table

    loaded = load_experiment(experiment, overrides)
    path = Path(out or f"{loaded.name}_lut.csv")
    done = build_table(loaded, path, machines, jobs or cores(), None if quiet else Line("figures"))
    if not quiet:
        print(done)
    print(f"table: {path}")
