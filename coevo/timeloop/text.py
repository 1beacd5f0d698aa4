"""YAML as Timeloop's files have it: a comment on top, short lists on one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

_SHORT = 40
"""Characters of an item up to which a list stands on one line."""


class _Dumper(yaml.SafeDumper):
    """Short lists stand on one line; no aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (PyYAML calls it so)
        return True


class Tagged(dict[str, Any]):
    """A table with a YAML tag, as timeloopfe's ``!Component``."""

    def __init__(self, tag: str, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.tag = tag


class Quoted(str):
    """Text in double quotes; timeloopfe takes what has none for an expression to evaluate."""


def _represent_list(dumper: _Dumper, data: list[Any]) -> yaml.Node:
    short = all(not isinstance(item, dict | list) and len(str(item)) < _SHORT for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=short)


def _represent_tagged(dumper: _Dumper, data: Tagged) -> yaml.Node:
    return dumper.represent_mapping(data.tag, data.items(), flow_style=False)


def _represent_quoted(dumper: _Dumper, data: Quoted) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(data), style='"')


_Dumper.add_representer(Quoted, _represent_quoted)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(Tagged, _represent_tagged)


def yaml_text(data: dict[str, Any], comments: Sequence[str] = ()) -> str:
    """Returns data as YAML under lines of comment."""
    head = "".join(f"# {line}\n" if line else "#\n" for line in comments)
    return head + yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
