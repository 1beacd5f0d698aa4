"""``coevo list``: what can be named without a path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import click

from coevo.errors import CoevoError

Rows = Iterator[tuple[str, str]]


def _accelerators() -> Rows:
    from coevo.accelerator import load_template
    from coevo.library import list_data

    for name in list_data("accelerators"):
        template = load_template(name)
        yield name, f"{template.description} ({template.size:,} machines)"


def _spaces() -> Rows:
    from coevo.library import list_data
    from coevo.networks import build_family, load_space
    from coevo.protocols import Task
    from coevo.space import Space

    for name in list_data("spaces"):
        space = load_space(name)
        genes = build_family(space, Task(channels=3, resolution=32, classes=10)).genes
        yield name, f"{space.description} ({Space(genes).size:,} networks)"


def _experiments() -> Rows:
    from coevo.experiment import load_experiment
    from coevo.library import list_data

    for name in list_data("experiments"):
        try:
            experiment = load_experiment(name)
        except CoevoError as error:  # its data set may be absent
            yield name, f"cannot be loaded here: {error}"
            continue
        sizes = experiment.joint.sizes
        joint = f"{sizes['network']:,} networks x {sizes['hardware']:,} accelerators = {sizes['joint']:.3g} co-designs"
        yield name, f"{experiment.description} ({joint})"


def _described(folder: str) -> Callable[[], Rows]:
    def rows() -> Rows:
        from coevo.library import find_data, list_data, read_yaml

        for name in list_data(folder):
            yield name, str(read_yaml(find_data(folder, name)).data.get("description", ""))

    return rows


def _dataflows() -> Rows:
    from coevo.accelerator.machine import DATAFLOWS

    for flow in DATAFLOWS.values():
        keeps = f"keeps {flow.stationary}" if flow.stationary else "any order"
        yield flow.name, f"columns unroll {' '.join(flow.x)}, rows unroll {' '.join(flow.y)}, {keeps}"


def _metrics() -> Rows:
    from coevo.metrics import METRICS, ON_REQUEST

    for metric in (*METRICS.values(), *ON_REQUEST.values()):
        better = "more is better" if metric.quantity.maximise else "less is better"
        yield metric.quantity.name, f"{metric.quantity.label}, constraint name {metric.quantity.column}, {better}"


def _plugins(kind: str) -> Callable[[], Rows]:
    def rows() -> Rows:
        from coevo.library import find_plugin, list_plugins

        for name in list_plugins(kind):
            yield name, (find_plugin(kind, name).__doc__ or "").strip().split("\n")[0]

    return rows


KINDS: Mapping[str, Callable[[], Rows]] = {
    "accelerators": _accelerators,
    "spaces": _spaces,
    "experiments": _experiments,
    "correlations": _described("experiments/correlations"),
    "comparisons": _described("experiments/comparisons"),
    "dataflows": _dataflows,
    "metrics": _metrics,
    "networks": _plugins("networks"),
    "optimizers": _plugins("optim"),
    "cost": _plugins("cost"),
    "accuracy": _plugins("accuracy"),
}


@click.command("list")
@click.argument("kind", required=False, type=click.Choice(list(KINDS)))
def list_known(kind: str | None) -> None:
    """Lists what can be named: accelerators, spaces (how many networks), experiments, dataflows, metrics, plug-ins."""
    for name in [kind] if kind else KINDS:
        if kind is None:
            print(f"{name}:")
        for key, text in KINDS[name]():
            print(f"  {key:26} {text}")
