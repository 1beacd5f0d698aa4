"""``coevo compare``: which optimiser is best on a problem? And ``coevo exact``: what is the best there is?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from coevo.cli.line import Line
from coevo.cli.run import SETTING, at_work, cores

_FORM = """\b
FILE names a problem, optimisers and budgets:
  schema: 1
  name: mine
  experiment: quickstart
  optimizers:
    nsga2: {name: nsga2}
    random: {name: random}
  seeds: 10
  at: [20, 40]

\b
More fields: overrides (of the experiment's fields), first_seed, front (a true front that `coevo exact` wrote; without
    it
the best that all runs found together). Budgets count trained networks; designs where nothing is trained.
"""


@click.command(epilog=_FORM)
@click.argument("file")
@click.option("--out", type=click.Path(file_okay=False), help="Where to write; runs/<name> if not given.")
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time; all cores if not given. Changes no result.")
@click.option("--quiet", is_flag=True, help="Prints the tables alone.")
@click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Makes the runs on the workers of a dask scheduler, as of `coevo run`; they need the same folders.",
)
@SETTING
def compare(
    file: str, out: str | None, jobs: int | None, quiet: bool, cluster: str | None, overrides: tuple[str, ...]
) -> None:
    """Runs several optimisers on one experiment, several seeds each with equal budgets, and compares what they find.

    Prints, per budget and optimiser, the median share of the best hypervolume, quartiles, mean rank and the rank-sum
    test against the best. Runs that are there already are used; what was interrupted goes on by the same command.
    """
    from coevo.compare import load_comparison, write_comparison
    from coevo.compare.write import text_table

    plan = load_comparison(file, overrides)
    folder = Path(out or Path("runs") / plan.spec.name)
    tell = None if quiet else partial(Line("runs"), plan.spec.name)
    with at_work(cluster, jobs or cores(), quiet):
        comparison = plan.run(folder, jobs or cores(), tell, None if cluster is None else "dask")
    print(text_table(comparison))
    print(f"report: {write_comparison(comparison, folder)}")


@click.command()
@click.argument("experiment")
@click.option("--out", type=click.Path(dir_okay=False), help="The file; <name>.json if not given.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes to use; all cores if not given. Changes no result.")
@click.option("--quiet", is_flag=True, help="Prints the result alone.")
@SETTING
def exact(experiment: str, out: str | None, jobs: int | None, quiet: bool, overrides: tuple[str, ...]) -> None:
    """Scores every network of EXPERIMENT with every accelerator, and writes the true front.

    For small spaces whose errors are known, such as NAS-Bench-201's table: searches can then be measured against the
    truth (`coevo compare`, field front).
    """
    from coevo import load_experiment
    from coevo.compare import exact_front, write_front

    loaded = load_experiment(experiment, overrides)
    front = exact_front(loaded.plan, jobs or cores(), None if quiet else partial(Line("workloads"), loaded.name))
    file = Path(out or f"{loaded.name}.json")
    write_front(front, loaded.name, file)
    print(f"{len(front.front)} designs on the true front, hypervolume {front.volume:.4f}: {file}")
