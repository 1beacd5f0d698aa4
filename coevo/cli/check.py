"""``coevo check``: is this file right, and what is in it?"""

from __future__ import annotations

from pathlib import Path

import click

from coevo.errors import SpecError


@click.command()
@click.argument("file")
def check(file: str) -> None:
    """Checks FILE, an accelerator template, a network space or an experiment, and says what it holds.

    The name of one that ships with coevo will do as well.
    """
    print(_description(file))


def _description(file: str) -> str:
    kind, path = _kind(file)
    if kind == "accelerators":
        from coevo.accelerator import describe, load_template

        return describe(load_template(path))
    if kind == "spaces":
        return _space(path)
    return _experiment(path)


def _kind(file: str) -> tuple[str, str]:
    """What a file or name is: told by its own keys."""
    from coevo.library import find_data, list_data, read_yaml

    if not file.endswith((".yaml", ".yml")):
        for kind in ("accelerators", "spaces", "experiments"):
            if file in list_data(kind):
                return kind, str(find_data(kind, file))
        raise SpecError(
            f"no file and nothing that ships with coevo is called {file!r}; `coevo list` shows what there is"
        )
    document = read_yaml(Path(file))
    for key, kind in (("objectives", "experiments"), ("memories", "accelerators"), ("family", "spaces")):
        if key in document.data:
            return kind, file
    if document.data.get("kind") == "design":
        raise SpecError("is a design; `coevo evaluate` reads it", file=file)
    keys = "an accelerator has `memories`, a space `family`, an experiment `objectives`"
    raise SpecError(f"is no accelerator, space or experiment: {keys}", file=file)


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
