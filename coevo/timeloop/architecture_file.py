"""Reads the files of a Timeloop v4 architecture: its nodes in order, and the constraints that stand elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from coevo.errors import SpecError

_BRANCHES = ("!Parallel", "!Hierarchical", "!Pipelined")


class _Loader(yaml.SafeLoader):
    """Keeps the tag of a node under the key ``!``."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> dict[Any, Any]:
    data = loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else {}
    return {"!": f"!{suffix}", **data}


_Loader.add_multi_constructor("!", _tagged)


def read_nodes(files: Sequence[Path]) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Returns the nodes, outermost first, and what lists of constraints say of them, by node and type.

    A node is a table with its YAML tag under the key ``!``.

    Raises:
        SpecError: A file is no YAML, or none holds a v4 architecture.
    """
    nodes: list[dict[str, Any]] | None = None
    constraints: dict[str, dict[str, Any]] = {}
    for file in files:
        data = _load(file)
        architecture = data.get("architecture")
        if isinstance(architecture, dict):
            if "subtree" in architecture:
                raise SpecError(
                    "is of Timeloop's older format; v4 has a list `nodes`", file=str(file), field="architecture"
                )
            if not isinstance(architecture.get("nodes"), list):
                raise SpecError("has no list `nodes`", file=str(file), field="architecture")
            nodes = list(_flat(architecture["nodes"]))
        for entry in table(data.get("constraints")).get("targets") or ():
            if isinstance(entry, dict) and "target" in entry:
                said = {key: value for key, value in entry.items() if key not in ("target", "type")}
                constraints.setdefault(str(entry["target"]), {})[str(entry.get("type"))] = said
    if nodes is None:
        raise SpecError("holds no `architecture` of Timeloop v4", file=str(files[0]))
    return nodes, constraints


def _load(file: Path) -> dict[str, Any]:
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror or error}", file=str(file)) from None
    except UnicodeDecodeError:
        raise SpecError("is not UTF-8 text", file=str(file)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 0 if mark is None else mark.line + 1
        raise SpecError(f"not YAML: {getattr(error, 'problem', error)}", file=str(file), line=line) from None
    if not isinstance(data, dict):
        raise SpecError("must hold a table with `architecture`", file=str(file))
    return data


def _flat(nodes: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """All nodes in order: what stands in branches beside each other becomes a sequence, as in Timeloop."""
    for node in nodes:
        if isinstance(node, dict):
            yield from _flat(node.get("nodes") or ()) if node.get("!") in _BRANCHES else (node,)


def table(data: Any) -> dict[str, Any]:
    """Returns data if it is a table, else an empty one."""
    return data if isinstance(data, dict) else {}


def joined(own: dict[str, Any], listed: dict[str, Any]) -> dict[str, Any]:
    """Returns a node's own constraints and those listed elsewhere together, by type."""
    return {kind: {**table(own.get(kind)), **table(listed.get(kind))} for kind in {**own, **listed}}
