"""Reads the files of a Timeloop v4 architecture: its nodes in order, and the constraints that stand elsewhere."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from coevo.errors import SpecError
from coevo.timeloop.expressions import Plain
from coevo.timeloop.scopes import BRANCHES, resolved_nodes, resolved_variables


@dataclass(frozen=True)
class ArchitectureFile:
    """What the files of an architecture say.

    Attributes:
        nodes: The nodes, outermost first, their expressions evaluated; each a table with its YAML tag under ``!``.
        constraints: What lists of constraints say of nodes, by node and type.
        variables: Values of the variables.
    """

    nodes: tuple[dict[str, Any], ...]
    constraints: dict[str, dict[str, Any]]
    variables: dict[str, Any]


class _Loader(yaml.SafeLoader):
    """Keeps the tag of a node under the key ``!``, and where texts without quotes stand."""

    shown = ""


def _plain_or_quoted(loader: _Loader, node: yaml.ScalarNode) -> str:
    """Quotes make a text of what would be an expression."""
    text = str(loader.construct_scalar(node))
    return text if node.style in ("'", '"') else Plain(text, f"{loader.shown}:{node.start_mark.line + 1}")


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> dict[Any, Any]:
    data = loader.construct_mapping(node, deep=True) if isinstance(node, yaml.MappingNode) else {}
    return {"!": f"!{suffix}", **data}


_Loader.add_constructor("tag:yaml.org,2002:str", _plain_or_quoted)
_Loader.add_multi_constructor("!", _tagged)


def read_architecture(files: Sequence[Path]) -> ArchitectureFile:
    """Reads the files that together hold an architecture.

    Raises:
        SpecError: A file is no YAML, or none holds a v4 architecture.
    """
    nodes: list[Any] | None = None
    constraints: dict[str, dict[str, Any]] = {}
    variables: dict[str, Any] = {}
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
            nodes = architecture["nodes"]
        variables |= table(data.get("variables"))
        for entry in table(data.get("constraints")).get("targets") or ():
            if isinstance(entry, dict) and "target" in entry:
                said = {key: value for key, value in entry.items() if key not in ("target", "type")}
                constraints.setdefault(str(entry["target"]), {})[str(entry.get("type"))] = said
    if nodes is None:
        raise SpecError("holds no `architecture` of Timeloop v4", file=str(files[0]))
    known = resolved_variables(variables)
    return ArchitectureFile(tuple(_flat(resolved_nodes(nodes, known))), constraints, known)


def _load(file: Path) -> dict[str, Any]:
    try:
        given = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror or error}", file=str(file)) from None
    except UnicodeDecodeError:
        raise SpecError("is not UTF-8 text", file=str(file)) from None
    _refuse_includes(given, file)
    text = _rendered(given, file)
    loader = _Loader(text)
    # Where jinja drops lines, those behind them have other numbers than in the file.
    loader.shown = str(file) if text.count("\n") == given.count("\n") else f"{file} as jinja renders it"
    try:
        data = loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = 0 if mark is None else mark.line + 1
        raise SpecError(f"not YAML: {getattr(error, 'problem', error)}", file=loader.shown, line=line) from None
    finally:
        loader.dispose()
    if not isinstance(data, dict):
        raise SpecError("must hold a table with `architecture`", file=str(file))
    return data


def _refuse_includes(text: str, file: Path) -> None:
    for number, line in enumerate(text.splitlines(), 1):
        if found := re.match(r"[^#]*?(!include\w*|\{\{\s*include\w*)", line):
            problem = f"{found[1]!r} is not followed; name the other file too: coevo import {file.name} OTHER.yaml"
            raise SpecError(problem, file=str(file), line=number)


def _rendered(text: str, file: Path) -> str:
    """The text after jinja, which has no variables but those that the text itself sets, and may call nothing."""
    if not re.search(r"\{[{%#]", text):
        return text
    from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    try:
        return environment.from_string(text).render()
    except TemplateSyntaxError as error:
        raise SpecError(f"jinja: {error.message}", file=str(file), line=error.lineno) from None
    except (TemplateError, ArithmeticError, TypeError, ValueError) as error:
        lines = [
            frame.lineno or 0 for frame in traceback.extract_tb(error.__traceback__) if "<template>" in frame.filename
        ]
        problem = f"jinja: {error}; write what it stands for in its place"
        raise SpecError(problem, file=str(file), line=lines[-1] if lines else 0) from None


def _flat(nodes: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """All nodes in order: what stands in branches beside each other becomes a sequence, as in Timeloop."""
    for node in nodes:
        if isinstance(node, dict):
            yield from _flat(node["nodes"]) if node.get("!") in BRANCHES else (node,)


def table(data: Any) -> dict[str, Any]:
    """Returns data if it is a table, else an empty one."""
    return data if isinstance(data, dict) else {}


def joined(own: dict[str, Any], listed: dict[str, Any]) -> dict[str, Any]:
    """Returns a node's own constraints and those listed elsewhere together, by type."""
    return {kind: {**table(own.get(kind)), **table(listed.get(kind))} for kind in {**own, **listed}}
