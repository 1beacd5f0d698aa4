"""Timeloop's v4 format, which its Python front end (``pytimeloop.timeloopfe.v4``) reads.

Energies and areas are then Accelergy's, by the classes and widths given here; cycles and accesses are as in `flat`.
The keys are those that Accelergy-Project/timeloop-python declares (timeloopfe/v4, commit b8aaf2c).
"""

from __future__ import annotations

import math
from typing import Any

from coevo.accelerator.machine import Memory
from coevo.timeloop.directive import Directive, mapping, mapspace
from coevo.timeloop.flat import CLASSES, VERSION, Goal, bandwidths, problem, search
from coevo.timeloop.form import Form
from coevo.timeloop.text import Quoted, Tagged

UNBOUNDED_DEPTH = 1 << 30
"""Rows of a memory without a size: v4 wants a depth, and Timeloop reads 32 bits of it."""


def architecture(form: Form) -> dict[str, Any]:
    """Returns ``architecture``: memories, outermost first, a container for every fan-out, and the multipliers."""
    machine = form.machine
    chip = {
        "technology": Quoted(f"{machine.technology_nm:g}nm"),
        "global_cycle_seconds": 1e-6 / machine.clock_mhz,
    }
    nodes: list[Any] = [Tagged("!Container", {"name": "system", "attributes": chip})]
    for memory, (columns, rows) in zip(machine.memories, form.fanouts, strict=True):
        part = {"name": memory.name, "class": CLASSES[memory.kind], "attributes": _storage(form, memory)}
        nodes.append(Tagged("!Component", part))
        if columns * rows > 1:
            lanes = {"name": lanes_below(memory), "spatial": {"meshX": columns, "meshY": rows}}
            nodes.append(Tagged("!Container", lanes))
    width = max(form.bits.values())
    compute = {"name": form.compute_name, "class": "intmac", "attributes": {"datawidth": width, "width": width}}
    nodes.append(Tagged("!Component", compute))
    return {"version": VERSION, "nodes": nodes}


def lanes_below(memory: Memory) -> str:
    """Returns the name of the container that a memory's fan-out leads to."""
    return f"lanes_below_{memory.name}"


def _storage(form: Form, memory: Memory) -> dict[str, Any]:
    """A memory's attributes, its real port where the capacity is a multiple of it."""
    words = form.words(memory)
    port = max(memory.words_per_access * memory.word_bits // form.word_bits, 1)
    block = port if words is None else max(math.gcd(words, port), 1)
    return {
        "datawidth": form.word_bits,
        "width": form.word_bits * block,
        "block_size": block,
        "depth": UNBOUNDED_DEPTH if words is None else words // block,
        **({"multiple_buffering": 2} if memory.double_buffered else {}),
        **bandwidths(form, memory),
        "reduction_supported": memory.interconnect.reduces,
    }


def spelt(said: Directive) -> dict[str, Any]:
    """Returns what is said of a memory; its spatial loops belong to the container below it."""
    if said.kind == "keep":
        kept = {"keep": list(said.keep), "bypass": list(said.bypass)}
        return {"target": said.memory.name, "type": "dataspace", **kept}
    target = said.memory.name if said.kind == "temporal" else lanes_below(said.memory)
    return {
        "target": target,
        "type": said.kind,
        "factors": [f"{letter}={bound}" for letter, bound in said.factors.items()],
        "permutation": list(said.order),
        **said.lanes,
    }


def model_input(form: Form) -> dict[str, dict[str, Any]]:
    """Returns all that ``timeloopfe.v4.call_model`` takes, by file name."""
    return _machine_and_problem(form) | {"mapping.yaml": {"mapping": [spelt(said) for said in mapping(form)]}}


def mapper_input(form: Form, goal: Goal = "edp") -> dict[str, dict[str, Any]]:
    """Returns all that ``timeloopfe.v4.call_mapper`` takes, by file name."""
    targets = [spelt(said) for said in mapspace(form)]
    return _machine_and_problem(form) | {
        "constraints.yaml": {"constraints": {"version": VERSION, "targets": targets}},
        "mapper.yaml": {"mapper": {"version": VERSION, **search(goal)}},
    }


def _machine_and_problem(form: Form) -> dict[str, dict[str, Any]]:
    return {
        "architecture.yaml": {"architecture": architecture(form)},
        "problem.yaml": {"problem": {"version": VERSION, **problem(form)}},
    }
