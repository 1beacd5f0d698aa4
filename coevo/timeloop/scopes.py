"""What names stand for in a Timeloop v4 architecture: expressions of variables and nodes, each in its scope.

As timeloopfe resolves them (its ``v4/specification.py`` and ``v4/arch.py``): variables first, each seeing those before
it; then nodes from the outermost in, which see the variables, the attributes of the containers that they stand in,
other nodes by name (``buffer.attributes["width"]``) and, of their own attributes, those above.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coevo.timeloop.expressions import value_of

BRANCHES = ("!Parallel", "!Hierarchical", "!Pipelined")
"""Tags of nodes that hold nodes."""


def resolved_variables(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of variables, in the order of the file."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        found[name] = value_of(value, found)
    return found


def resolved_nodes(nodes: Sequence[Any], variables: Mapping[str, Any]) -> list[Any]:
    """Returns the nodes with the values of their attributes, meshes and splits.

    Args:
        nodes: As in the file.
        variables: Their values.
    """
    return _branch(nodes, {**variables, "variables": dict(variables)})


def _branch(nodes: Sequence[Any], outer: Mapping[str, Any]) -> list[Any]:
    """Nodes of one branch; what its containers say holds to its end."""
    names = dict(outer)
    found: list[Any] = []
    for node in nodes:
        if not isinstance(node, dict):
            found.append(node)
        elif node.get("!") in BRANCHES:
            inside = node.get("nodes")
            inner = _branch(inside if isinstance(inside, list) else (), names)
            names |= {str(each["name"]): each for each in inner if isinstance(each, dict) and "name" in each}
            found.append({**node, "nodes": inner})
        else:
            made = _node(node, names)
            names |= made["attributes"] if made.get("!") == "!Container" and "attributes" in made else {}
            names |= {str(made["name"]): made} if "name" in made else {}
            found.append(made)
    return found


def _node(node: Mapping[str, Any], outer: Mapping[str, Any]) -> dict[str, Any]:
    made, names = dict(node), dict(outer)
    if isinstance(made.get("attributes"), dict):
        attributes: dict[str, Any] = {}
        for key, value in made["attributes"].items():
            names[key] = attributes[key] = value_of(value, names)
        made["attributes"] = attributes
    if isinstance(made.get("spatial"), dict):
        made["spatial"] = {key: value_of(value, names) for key, value in made["spatial"].items()}
    constraints = made.get("constraints")
    if isinstance(constraints, dict) and isinstance(constraints.get("spatial"), dict):
        spatial = constraints["spatial"]
        if "split" in spatial:
            spatial = {**spatial, "split": value_of(spatial["split"], names)}
        made["constraints"] = {**constraints, "spatial": spatial}
    return made
