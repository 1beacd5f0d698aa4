"""``coevo costs``: how well does a cost model stand for another?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from coevo.cli.line import Line
from coevo.cli.run import SETTING, cores


@click.command()
@click.argument("experiment")
@click.option("--reference", required=True, metavar="MODEL",
              help="The cost model that is believed: a name, or {name: ..., ...}.")  # fmt: skip
@click.option("--model", "models", multiple=True, metavar="MODEL",
              help="One that is judged by it; repeatable. The experiment's own if not given.")  # fmt: skip
@click.option("--designs", type=click.IntRange(min=3, max=100_000), default=200, show_default=True,
              help="Random designs.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of their draw.")
@click.option("--out", type=click.Path(dir_okay=False), help="Also writes the table there, as CSV.")
@click.option("--jobs", type=click.IntRange(min=1), help="Processes to use; all cores if not given.")
@click.option("--quiet", is_flag=True, help="Prints the table alone.")
@SETTING
def costs(
    experiment: str,
    reference: str,
    models: tuple[str, ...],
    designs: int,
    seed: int,
    out: str | None,
    jobs: int | None,
    quiet: bool,
    overrides: tuple[str, ...],
) -> None:
    """Scores random designs of EXPERIMENT by cost models and compares them with a reference.

    Prints, for latency and energy, Spearman's and Kendall's rank correlation, the mean relative error (MAPE), the bias
    and the worst error of each MODEL, and the rank correlation of MACs and parameters beside them.
    """
    from coevo.correlate.costs import compare_costs, csv_table, text_table
    from coevo.experiment import load_experiment
    from coevo.report.files import write_atomically

    loaded = load_experiment(experiment, overrides)
    given = [(text, _section("--model", text)) for text in models]
    names = [section["name"] for _, section in given]
    judged = {s["name"] if names.count(s["name"]) == 1 else text: s for text, s in given}
    own: dict[str, Any] = loaded.plan.identity["cost"]
    found = compare_costs(
        loaded,
        _section("--reference", reference),
        judged or {str(own["name"]): own},
        designs,
        seed,
        jobs or cores(),
        None if quiet else Line("models"),
    )
    print(text_table(found))
    if out:
        write_atomically(Path(out), csv_table(found))
        print(f"table: {out}")


def _section(option: str, text: str) -> dict[str, Any]:
    """Reads a model as it stands in an experiment, or by its name alone; defaults are spelt out.

    Raises:
        SpecError: It is none.
    """
    from coevo import sections
    from coevo.errors import SpecError
    from coevo.library import parse_yaml

    given = text.strip()
    data = parse_yaml(f"cost: {given}", option).data["cost"]
    section = {"name": data} if isinstance(data, str) else data
    if not isinstance(section, dict):
        raise SpecError(f"must be a model's name or {{name: ..., ...}}, got {text!r}", field=option)
    try:
        return sections.complete("cost", section)
    except ValueError as error:
        raise SpecError(str(error), field=option) from None
