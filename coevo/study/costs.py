"""What a cost model is told, and what it leaves with the run: figures that cannot be computed again."""

from __future__ import annotations

import json
from collections.abc import Iterator, MutableMapping
from functools import cached_property
from pathlib import Path
from typing import Any

from coevo.accelerator.machine import Accelerator
from coevo.errors import RunError
from coevo.evaluate import JointSpace
from coevo.protocols import CostContext, CostModel
from coevo.workload import Workload

FILE = "costs.jsonl"
"""Lines of JSON in the run folder, ``{"key": ..., "value": ...}`` each; of two of one key, the later holds."""


def attach(
    cost: CostModel, joint: JointSpace, near_file: str, memory: MutableMapping[str, Any], may_run: bool = True
) -> None:
    """Tells a cost model what it may know beside the pairs that it scores, if it wants to know.

    Raises:
        SpecError: A setting of the model's is wrong.
        DataError: What it reads is absent.
    """

    def draw(count: int, seed: int) -> list[tuple[Workload, Accelerator]]:
        designs = joint.draw(count, seed)
        pairs = [(joint.workload(d.network), machine) for d in designs for machine in d.machines.values()]
        return pairs[:count]

    method = getattr(cost, "attach", None)
    if method is not None:
        method(CostContext(near_file, draw, memory, may_run))


def facts_of(cost: CostModel) -> dict[str, str]:
    """Returns what a report says of a cost model, by label."""
    return dict(getattr(cost, "facts", {}))


class KeptFigures(MutableMapping[str, Any]):
    """Plain data by key in a file, each written as soon as it is known.

    Args:
        folder: The run folder, or another; read at the first question, written to at the first answer.
        read_only: Whether new figures stay in this process.
        name: Of the file in the folder.
    """

    def __init__(self, folder: Path, read_only: bool = False, name: str = FILE) -> None:
        self._path = Path(folder) / name
        self._read_only = read_only
        self._whole = True

    def __getitem__(self, key: str) -> Any:
        return self._known[key]

    def __setitem__(self, key: str, value: Any) -> None:
        known = self._known
        if not self._read_only:
            try:
                self._append(json.dumps({"key": key, "value": value}, allow_nan=False))
            except OSError as error:
                raise RunError(f"{self._path}: cannot be written: {error.strerror or error}") from None
        known[key] = value

    def __delitem__(self, key: str) -> None:
        raise TypeError("a log forgets nothing")

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    @cached_property
    def _known(self) -> dict[str, Any]:
        if not self._path.is_file():
            return {}
        known = {}
        lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        self._whole = lines[-1] == ""
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                known[row["key"]] = row["value"]
            except (ValueError, KeyError, TypeError):
                # The last line may be torn: the process was killed while it wrote.
                if line and number < len(lines):
                    raise RunError(
                        f"{self._path}:{number}: is damaged; move the run away, or start a new one"
                    ) from None
        return known

    def _append(self, line: str) -> None:
        """Writes a line, in the place of one that a killed process began."""
        if not self._whole:
            text = self._path.read_bytes()
            self._path.write_bytes(text[: text.rfind(b"\n") + 1])
            self._whole = True
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")
