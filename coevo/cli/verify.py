"""``coevo verify``: another tool's word on the designs of a run's front."""

from __future__ import annotations

from pathlib import Path

import click

_EXAMPLES = """\b
Examples:
  coevo verify runs/quickstart --backend timeloop
  coevo verify runs/quickstart --backend timeloop --mapper --seconds 300
\b
Timeloop is found on PATH (timeloop-model, timeloop-mapper). The flat format takes
our own tables of energy; v4 goes by pytimeloop and Accelergy's energies.
"""


@click.command("verify", epilog=_EXAMPLES)
@click.argument("run_folder", metavar="RUN", type=click.Path(exists=True, file_okay=False))
@click.option("--backend", type=click.Choice(["timeloop"]), default="timeloop", show_default=True, help="Who judges.")
@click.option("--format", "form", type=click.Choice(["flat", "v4"]), default="flat", show_default=True,
              help="Which of Timeloop's formats it is given.")  # fmt: skip
@click.option("--mapper", is_flag=True, help="Also lets Timeloop's own mapper search every layer.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=120.0, show_default=True,
              help="Time limit of one call.")  # fmt: skip
@click.option("--jobs", type=click.IntRange(min=1), help="Calls at a time; all cores if not given.")
def verify(run_folder: str, backend: str, form: str, mapper: bool, seconds: float, jobs: int | None) -> None:
    """Scores every design of RUN's front with Timeloop, and writes how far our figures are from its.

    Both are under Timeloop's conventions: no filling and draining of the array, nothing kept on chip between layers,
    no data movers. The table is printed and written as verified.csv and verified.json; the report then shows it.
    """
    from coevo.cli.run import cores
    from coevo.errors import BackendError
    from coevo.report import write_report
    from coevo.report.files import write_atomically
    from coevo.study import load_results
    from coevo.timeloop.process import MAPPER, MODEL, Format, Timeloop, check
    from coevo.verify.against import verify as verify_front
    from coevo.verify.write import table, verified_csv, verified_json

    way: Format = "v4" if form == "v4" else "flat"
    check(way, MODEL, *([MAPPER] if mapper else []))
    results, folder = load_results(Path(run_folder)), Path(run_folder)
    designs = results.front.designs
    verdicts = verify_front(designs, Timeloop(way, seconds), mapper=mapper, jobs=jobs or cores())
    print(table(verdicts))
    if way == "v4":
        print("  energies of v4 are Accelergy's, by its own tables; cycles are to agree")
    write_atomically(folder / "verified.csv", verified_csv(verdicts, form))
    write_atomically(folder / "verified.json", verified_json(verdicts, form))
    print(f"verified by {backend}: {folder / 'verified.csv'}")
    print(f"report: {write_report(results, folder)}")
    failures = [verdict.failure for verdict in verdicts if verdict.failure]
    if failures:
        more = f" (and {len(failures) - 1} more designs failed)" if len(failures) > 1 else ""
        raise BackendError(failures[0] + more)
