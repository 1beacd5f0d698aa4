"""``coevo cross``: what are networks worth on another machine than theirs?"""

from __future__ import annotations

from pathlib import Path

import click

from coevo.cli.line import Line
from coevo.cli.run import cores


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN_A RUN_B [...]")
@click.option("--out", type=click.Path(file_okay=False), default="runs/cross", show_default=True,
              help="Where the tables are written.")  # fmt: skip
@click.option("--networks", type=click.IntRange(min=3, max=100_000), default=200, show_default=True,
              help="Random networks by whose ranks machines are compared.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of their draw.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes to use; all cores if not given. Changes no result.")
@click.option("--quiet", is_flag=True, help="Prints the tables alone.")
def cross(runs: tuple[str, ...], out: str, networks: int, seed: int, jobs: int | None, quiet: bool) -> None:
    """Scores the networks of each run's front on the machines of all the RUNs (run folders); nothing is trained.

    A run's machines are its targets, or its one machine, or, where machines vary, that of the front's knee. Prints, per
    front and machine, the share of the hypervolume that the networks of the machine's own front have there, and the
    median excess over the best of them of equal or lower error; and, per pair of machines, how alike they rank random
    networks of the first run's space by latency and energy.
    """
    from coevo.correlate.cross import cross as crossed
    from coevo.correlate.cross import read_front
    from coevo.correlate.cross_tables import cross_text, write_cross

    names = [Path(run).resolve().name for run in runs]
    labels = names if len(set(names)) == len(names) else list(runs)
    fronts = [read_front(Path(run), label) for run, label in zip(runs, labels, strict=True)]
    found = crossed(fronts, networks, seed, jobs or cores(), None if quiet else Line("machines"))
    print(cross_text(found))
    print("tables:", *write_cross(found, Path(out)))
