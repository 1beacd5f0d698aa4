"""``coevo correlate``: how well do accuracy models rank networks, and what does it take them?"""

from __future__ import annotations

from pathlib import Path

import click

from coevo.cli.line import Line
from coevo.cli.run import CLUSTER, SETTING, at_work, cores

_FORM = """\b
FILE names a space, what is believed, and what is judged by it:
  schema: 1
  name: rungs
  space: digits_mbconv
  networks: 30
  reference: {name: train, data: digits, epochs: 20}
  models:
    MACs: {name: zero_cost, data: digits, proxies: [macs]}
    2 epochs: {name: train, data: digits, epochs: 2}
  combined:
    both: [MACs, 2 epochs]

\b
More fields: seed, top_share (what counts as the best), labelled (so many more networks, scored by the reference, from
which a predictor learns). Networks whose output no input reaches are left out of the draw.
"""


@click.command(epilog=_FORM)
@click.argument("file")
@click.option("--out", type=click.Path(file_okay=False), help="Where to write; runs/<name> if not given.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes to use; all cores if not given. Changes no result.")
@click.option("--quiet", is_flag=True, help="Prints the table alone.")
@CLUSTER
@SETTING
def correlate(
    file: str, out: str | None, jobs: int | None, quiet: bool, cluster: str | None, overrides: tuple[str, ...]
) -> None:
    """Ranks random networks by the accuracy models in FILE and by a reference, and compares the rankings.

    Prints, per model, Spearman's and Kendall's correlation with the reference, how many of the reference's best are
    among its best, and the seconds per network; draws correlation against time. What was interrupted goes on by the
    same command.
    """
    from coevo.correlate import load_correlation, write_results
    from coevo.correlate.write import text_table

    loaded = load_correlation(file, overrides)
    folder = Path(out or Path("runs") / loaded.spec.name)
    with at_work(cluster, jobs or cores(), quiet):
        results = loaded.run(folder, jobs or cores(), None if quiet else Line("networks"))
    if not quiet:
        reference = f"reference: {results.reference}"
        print(f"{len(results.networks)} random networks of {results.space}; {reference}")
    print(text_table(results))
    print(f"figure: {write_results(results, folder)}")
