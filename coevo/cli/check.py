"""``coevo check``: is this file right, and what is in it?"""

from __future__ import annotations

from pathlib import Path

import click

from coevo.errors import SpecError

_KEYS = {
    "objectives": "experiments",
    "memories": "accelerators",
    "parts": "accelerators",
    "family": "spaces",
    "optimizers": "experiments/comparisons",
    "models": "experiments/correlations",
}
"""What a file is, by a field that no other kind has."""


@click.command()
@click.argument("file")
def check(file: str) -> None:
    """Checks FILE and says what it holds.

    It may be an accelerator template, a network space, an experiment, a comparison or a correlation. The name of one
    that ships with coevo will do as well.
    """
    print(_description(file))


def _description(file: str) -> str:
    kind, path = _kind(file)
    if kind == "accelerators":
        from coevo.accelerator import describe, load_template

        return describe(load_template(path))
    if kind == "spaces":
        return _space(path)
    if kind == "experiments/comparisons":
        return _comparison(path)
    if kind == "experiments/correlations":
        return _correlation(path)
    return _experiment(path)


def _kind(file: str) -> tuple[str, str]:
    """What a file or name is: told by its own keys."""
    from coevo.library import find_data, list_data, read_yaml

    if not file.endswith((".yaml", ".yml")):
        for kind in ("accelerators", "spaces", "experiments", "experiments/comparisons", "experiments/correlations"):
            if file in list_data(kind):
                return kind, str(find_data(kind, file))
        raise SpecError(
            f"no file and nothing that ships with coevo is called {file!r}; `coevo list` shows what there is"
        )
    document = read_yaml(Path(file))
    for key, kind in _KEYS.items():
        if key in document.data:
            return kind, file
    if document.data.get("kind") == "design":
        raise SpecError("is a design; `coevo evaluate` reads it", file=file)
    keys = ", ".join(f"`{key}`" for key in _KEYS)
    raise SpecError(f"is none of the files that coevo reads: it has none of the fields {keys}", file=file)


def _space(path: str) -> str:
    from coevo.networks import build_family, load_space
    from coevo.protocols import Task
    from coevo.space import Space

    space = load_space(path)
    genes = build_family(space, Task(channels=3, resolution=32, classes=10)).genes
    lines = [f"{space.name}: {space.description}", f"  family    {space.family}"]
    lines += [f"  networks  {Space(genes).size:,}", f"  genes     {len(genes)}"]
    lines += [f"    {gene.name}: {', '.join(map(str, gene.choices))}" for gene in genes]
    return "\n".join(lines)


def _experiment(path: str) -> str:
    from coevo.experiment import load_experiment

    experiment = load_experiment(path)
    sizes = experiment.joint.sizes
    lines = [f"{experiment.name}: {experiment.description}"]
    lines += [f"  {label}: {text}" for label, text in experiment.plan.header.facts.items()]
    lines += [f"  {what} space: {size:,}" for what, size in sizes.items()]
    return "\n".join(lines)


def _comparison(path: str) -> str:
    from coevo.compare import load_comparison

    plan = load_comparison(path)
    spec, what = plan.spec, "trainings" if plan.trains else "designs"
    lines = [f"{spec.name}: {spec.description}", f"  experiment  {spec.experiment}"]
    lines += [f"  objectives  {', '.join(quantity.name for quantity in plan.objectives)}"]
    lines += [f"  compared    after {', '.join(map(str, sorted(spec.at)))} {what}, {spec.seeds} seeds each"]
    lines += [f"  front       {spec.front or 'the best that all runs find'}", "  optimisers"]
    lines += [f"    {label}: {section}" for label, section in spec.optimizers.items()]
    return "\n".join(lines)


def _correlation(path: str) -> str:
    from coevo.correlate import load_correlation

    spec = load_correlation(path).spec
    lines = [f"{spec.name}: {spec.description}", f"  space      {spec.space}, {spec.networks} networks"]
    lines += [f"  reference  {spec.reference}", "  models"]
    lines += [f"    {label}: {section}" for label, section in spec.models.items()]
    return "\n".join(lines)
