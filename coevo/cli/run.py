"""``coevo run`` and ``coevo report``."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from coevo.design import Results
    from coevo.study import Progress, Study

SETTING = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Overrides a field of the experiment; repeatable.",
)

CLUSTER = click.option(
    "--cluster",
    metavar="ADDRESS",
    help="Trains on the workers of a dask scheduler: its address (tcp://host:8786), its scheduler file (.json), or "
    "`local` for as many worker processes as --jobs. Changes no result, except in steady state.",
)


@click.command()
@click.argument("experiment")
@click.option("--out", type=click.Path(file_okay=False), help="Run folder; runs/<experiment's name> if not given.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Processes to use; all cores if not given. Changes no result, except in steady state.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Short for --set seed=N.")
@click.option("--quiet", is_flag=True, help="Prints only where the report lies.")
@CLUSTER
@SETTING
def run(
    experiment: str,
    out: str | None,
    jobs: int | None,
    seed: int | None,
    quiet: bool,
    cluster: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Runs EXPERIMENT (a YAML file, or the name of one that ships with coevo) and writes its report.

    A run that was interrupted, even killed, goes on by the same command and ends with the same front (in steady state,
    as if its trainings had ended in the order that the log holds).
    """
    from coevo.experiment import load_experiment

    if seed is not None:
        overrides = (*overrides, f"seed={seed}")
    loaded = load_experiment(experiment, overrides)
    with at_work(cluster, jobs or cores(), quiet), loaded.study(out or None, jobs or cores()) as study:
        if not quiet:
            _introduce(study)
        for progress in _shown(study, quiet):
            last = progress
        _train_front(study, quiet)
        results = study.results()
        where = _write(study, results)
        if not quiet:
            print(_closing(study, last, results.training_seconds))
    print(f"report: {where}")


@click.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(exists=True, file_okay=False))
@click.option("--out", type=click.Path(file_okay=False), help="Where to write; into the run folder if not given.")
def report(run_folder: str, out: str | None) -> None:
    """Writes the report of RUN (a run folder), also while it is still running."""
    from coevo.report import write_report
    from coevo.study import load_results

    results = load_results(Path(run_folder))
    print(f"report: {write_report(results, Path(out or run_folder), run_folder)}")


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def at_work(cluster: str | None, jobs: int, quiet: bool) -> Iterator[None]:
    """Sends trainings to a cluster, if there is one."""
    if cluster is None:
        yield
        return
    from coevo.accuracy.cluster import on_cluster

    with on_cluster(cluster, jobs) as there:
        if not quiet:
            print(f"cluster {there}")
        yield


def _introduce(study: Study) -> None:
    header, sizes = study.plan.header, study.plan.joint.sizes
    facts = header.facts
    print(f"{header.name}: {facts['optimiser']}, seed {facts['seed']}, budget {facts['budget']}")
    joint = f"{sizes['network']:,} networks x {sizes['hardware']:,} accelerators = {sizes['joint']:.3g} co-designs"
    print(f"spaces: {joint}; run folder {study.folder}")
    if study.taken:
        print(f"warm start: {study.taken}")
    if "schedule" in facts:
        print(facts["schedule"])
    if study.resumed:
        print(f"goes on from {study.resumed:,} designs")


def _shown(study: Study, quiet: bool) -> Iterator[Progress]:
    """Passes snapshots on, showing each: one line that changes on a terminal, else a line a step."""
    terminal, step = sys.stdout.isatty() and not quiet, study.progress.step
    for progress in study.iterate():
        if terminal:
            width = shutil.get_terminal_size().columns - 1  # a longer line wraps, and then is not overwritten
            print(f"\r\033[K{_line(progress)[:width]}", end="", flush=True)
        elif not quiet and (progress.step != step or progress.ended):
            print(_line(progress), flush=True)
            step = progress.step
        yield progress
    if terminal:
        print()


def _line(progress: Progress) -> str:
    """What matters most comes first: a narrow terminal shows only the beginning."""
    best = " ".join(f"{name} {value:.4g}" for name, value in progress.best.items())
    volume = "" if progress.hypervolume is None else f"hypervolume {progress.hypervolume:.4f} | "
    left = "" if progress.seconds_left is None else f"{_duration(progress.seconds_left)} left | "
    step = "warm start" if progress.step < 0 else f"generation {progress.step}"
    flying = f"{progress.in_flight} in flight | " if progress.in_flight else ""
    return (
        f"{progress.fraction:4.0%} {left}{step} | {flying}{progress.evaluations} designs, "
        f"{progress.trainings} trainings, {progress.infeasible} infeasible | {volume}best {best or 'none yet'}"
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _train_front(study: Study, quiet: bool) -> None:
    """Trains the front anew, if the experiment says so, telling how far that has come."""
    terminal = sys.stdout.isatty()
    for done, count in study.train_front():
        if terminal and not quiet:
            print(f"\r\033[Kfinal trainings of the front: {done} of {count}", end="", flush=True)
        elif not quiet and done in (0, count):
            print(f"final trainings of the front: {done} of {count}", flush=True)
    if terminal and not quiet and study.plan.final is not None:
        print()


def _write(study: Study, results: Results) -> Path:
    from coevo.report import write_report

    return write_report(results, study.folder)


def _closing(study: Study, last: Progress, training_seconds: float) -> str:
    time = f" in {_duration(training_seconds)} of training" if last.trainings else ""
    saved = f", {last.trainings_saved} trainings saved on infeasible hardware" if last.trainings_saved else ""
    counts = f"{last.evaluations:,} designs, {last.trainings:,} trainings{time}{saved}"
    return f"{last.ended}: {counts}; seed {study.plan.seed}"
