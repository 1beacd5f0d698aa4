"""What the loader of an experiment needs of a part: plug-ins with their settings, contents, and where a mistake is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from coevo.accelerator.machine import Accelerator
from coevo.errors import SpecError
from coevo.evaluate import Constraint
from coevo.library import Document, FieldPath, read_yaml
from coevo.protocols import CostModel, Metric


class Plugin(NamedTuple):
    """A plug-in that an experiment names, with its settings checked."""

    name: str
    plugin: Any
    settings: BaseModel

    @property
    def data(self) -> dict[str, Any]:
        """Name and complete settings as plain data."""
        return {"name": self.name, **self.settings.model_dump(mode="json")}

    def __str__(self) -> str:
        given = ((key, value) for key, value in self.data.items() if key != "name" and value not in (None, ""))
        settings = ", ".join(f"{key} {value}" for key, value in given)
        return f"{self.name} ({settings})" if settings else self.name


def content(file: str) -> dict[str, Any]:
    """Returns what a YAML file holds."""
    return read_yaml(Path(file)).data


@contextmanager
def located(document: Document, path: FieldPath) -> Iterator[None]:
    """Gives an error that names no line the place in the experiment that led to it."""
    try:
        yield
    except SpecError as error:
        if error.line or error.file not in ("", document.file):
            raise
        raise document.error(_deepened(document, path, error.field), error.problem) from None


def _deepened(document: Document, path: FieldPath, dotted: str) -> FieldPath:
    """Follows a dotted field below a path as far as the document has it; keys may themselves hold dots."""
    here: Any = document.data
    for step in path:
        here = here[step]
    parts = dotted.split(".")
    while isinstance(here, dict):
        keys = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
        key = next((key for key in keys if key in here), None)
        if key is None:
            break
        path, here, parts = (*path, key), here[key], parts[key.count(".") + 1 :]
    return path


def refuse_machines(cost: CostModel, machines: Iterable[Accelerator]) -> None:
    """Has a cost model refuse those machines that it cannot score, whatever varies in them.

    Raises:
        SpecError: It cannot score one of them.
    """
    refuse = getattr(cost, "refuse", None)
    if refuse is not None:
        for machine in machines:
            refuse(machine)


def refuse_unknown(
    document: Document,
    cost: str,
    objectives: Sequence[Metric],
    constraints: Sequence[Constraint],
    known: Collection[str],
) -> None:
    """Refuses objectives and constraints that a cost model cannot tell.

    Args:
        document: The experiment.
        cost: The cost model's name.
        objectives: In the order of the experiment.
        constraints: All of them.
        known: Columns of the metrics that it tells.

    Raises:
        SpecError: It cannot tell one of them.
    """
    fields: list[tuple[FieldPath, str]] = [(("objectives", i), m.quantity.column) for i, m in enumerate(objectives)]
    for path, column in [*fields, *((("constraints", c.column), c.column) for c in constraints)]:
        if column not in known:
            problem = f"the cost model {cost} does not tell {column}; remove it, or take another model"
            raise document.error(path, problem)
