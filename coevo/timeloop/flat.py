"""Timeloop's older, flat format, which ``timeloop-model`` and ``timeloop-mapper`` take as it is.

With energy and area tables of our own (ERT, ART) they need no Accelergy. The keys are those that NVlabs/timeloop's
parsers read (model/buffer.cpp, model/arithmetic.cpp, model/topology.cpp, mapping/parser.cpp, commit 4cf6d4c).
"""

from __future__ import annotations

import math
from typing import Any, Literal

from coevo.accelerator.machine import Memory
from coevo.timeloop.directive import Directive, mapping, mapspace
from coevo.timeloop.form import LETTERS, PIECES, TENSORS, Form

VERSION = 0.4
"""Of the architecture and the tables."""

Goal = Literal["edp", "latency", "energy"]

_METRICS = {"edp": "edp", "latency": "delay", "energy": "energy"}
CLASSES = {"dram": "DRAM", "sram": "SRAM", "registers": "regfile"}
"""Timeloop's classes of our kinds of memory."""

_TOP = "system"


def architecture(form: Form) -> dict[str, Any]:
    """Returns ``architecture``: every memory, outermost first, then the multipliers."""
    levels = [
        {
            "name": _name(memory.name, form.meshes[i]),
            "class": CLASSES[memory.kind],
            "attributes": _mesh(form.meshes[i]) | storage_attributes(form, memory),
        }
        for i, memory in enumerate(form.machine.memories)
    ]
    compute = {
        "name": _name(form.compute_name, form.meshes[-1]),
        "class": "intmac",
        "attributes": _mesh(form.meshes[-1]) | {"datawidth": form.word_bits},
    }
    return {"version": VERSION, "subtree": [{"name": _TOP, "local": [*levels, compute]}]}


def _name(name: str, mesh: tuple[int, int]) -> str:
    return f"{name}[1..{mesh[0] * mesh[1]}]"


def _mesh(mesh: tuple[int, int]) -> dict[str, int]:
    return {"meshX": mesh[0], "meshY": mesh[1]}


def storage_attributes(form: Form, memory: Memory) -> dict[str, Any]:
    """Returns a memory's attributes, alike in both formats: words are Timeloop's, and an access moves one."""
    words = form.words(memory)
    network = memory.interconnect
    share = form.word_bits / memory.word_bits
    return {
        "datawidth": form.word_bits,
        "block_size": 1,
        **({} if words is None else {"depth": words}),
        **({"multiple_buffering": 2} if memory.double_buffered else {}),
        **({"cluster_size": memory.cluster_size} if memory.cluster_size > 1 else {}),
        **bandwidths(form, memory),
        "reduction_supported": network.reduces,
        "energy_per_hop": network.hop_energy_pj * share,  # in pJ; left out, Timeloop takes its own technology's
        "router_energy": network.router_energy_pj * share,
    }


def bandwidths(form: Form, memory: Memory) -> dict[str, float]:
    """Returns the bandwidths that a memory has, per instance [Timeloop word/cycle]."""
    limits = {
        "read_bandwidth": memory.read_words_per_cycle,
        "write_bandwidth": memory.write_words_per_cycle,
        "shared_bandwidth": memory.words_per_cycle,
    }
    return {key: form.bandwidth(memory, limit) for key, limit in limits.items() if math.isfinite(limit)}


def energy_table(form: Form) -> dict[str, Any]:
    """Returns ``ERT`` [pJ]: per Timeloop word of every memory, per operation, and per cycle where it leaks."""
    tables = []
    for level, memory in enumerate(form.machine.memories):
        energies = {
            "read": form.word_energy_pj(memory, memory.read_energy_pj),
            "write": form.word_energy_pj(memory, memory.write_energy_pj),
            "update": form.word_energy_pj(memory, memory.energy_of_update_pj),
            "leak": form.leakage_pj(level),
        }
        tables.append(_energies(memory.name, energies))
    tables.append(_energies(form.compute_name, {"compute": form.compute_energy_pj, "leak": 0.0}))
    return {"version": VERSION, "tables": tables}


def _energies(name: str, energies: dict[str, float]) -> dict[str, Any]:
    actions = [{"name": action, "arguments": {}, "energy": float(energy)} for action, energy in energies.items()]
    return {"name": f"{_TOP}.{name}[1..1]", "actions": actions}


def area_table(form: Form) -> dict[str, Any]:
    """Returns ``ART`` [um2], per instance; a multiplier of several pieces is as many of Timeloop's."""
    areas = {memory.name: memory.area_mm2 for memory in form.machine.memories}
    areas[form.compute_name] = form.machine.mac.area_mm2 / math.prod(form.pieces.values())
    tables = [{"name": f"{_TOP}.{name}[1..1]", "area": 1e6 * float(area)} for name, area in areas.items()]
    return {"version": VERSION, "tables": tables}


def problem(form: Form) -> dict[str, Any]:
    """Returns ``problem``: a convolution with groups, its bounds, strides and dilations; alike in both formats."""
    projections = {
        "weights": [[[LETTERS[dim]]] for dim in "gmcrs"],
        "inputs": [
            *([[LETTERS[dim]]] for dim in "ngc"),
            [["R", "Wdilation"], ["P", "Wstride"]],
            [["S", "Hdilation"], ["Q", "Hstride"]],
        ],
        "outputs": [[[LETTERS[dim]]] for dim in "ngmpq"],
    }
    spaces: list[dict[str, Any]] = []
    for operand in form.operands:
        pieces = [[[PIECES[operand]]]] if operand in form.pieces else []
        written = {"read_write": True} if operand == "outputs" else {}
        spaces.append({"name": TENSORS[operand], "projection": [*projections[operand], *pieces], **written})
    coefficients = ("Wstride", "Hstride", "Wdilation", "Hdilation")
    shape = {
        "name": "layer",
        "dimensions": list(form.bounds),
        "coefficients": [{"name": name, "default": 1} for name in coefficients],
        "data_spaces": spaces,
    }
    values = (*form.layer.stride, *form.layer.dilation)
    return {"shape": shape, "instance": {**form.bounds, **dict(zip(coefficients, values, strict=True))}}


def spelt(said: Directive) -> dict[str, Any]:
    """Returns what is said of a memory as an entry of a mapping or of constraints."""
    target = {"target": said.memory.name, "type": "bypass" if said.kind == "keep" else said.kind}
    if said.kind == "keep":
        return {**target, "keep": list(said.keep), "bypass": list(said.bypass)}
    factors = " ".join(f"{letter}={bound}" for letter, bound in said.factors.items())
    return {**target, "factors": factors, "permutation": "".join(said.order), **said.lanes}


def model_input(form: Form) -> dict[str, dict[str, Any]]:
    """Returns all that ``timeloop-model`` takes, by file name."""
    return _machine_and_problem(form) | {"mapping.yaml": {"mapping": [spelt(said) for said in mapping(form)]}}


def mapper_input(form: Form, goal: Goal = "edp") -> dict[str, dict[str, Any]]:
    """Returns all that ``timeloop-mapper`` takes, by file name."""
    targets = [spelt(said) for said in mapspace(form)]
    return _machine_and_problem(form) | {
        "constraints.yaml": {"architecture_constraints": {"targets": targets}},
        "mapper.yaml": {"mapper": search(goal)},
    }


def _machine_and_problem(form: Form) -> dict[str, dict[str, Any]]:
    return {
        "architecture.yaml": {"architecture": architecture(form)},
        "ERT.yaml": {"ERT": energy_table(form)},
        "ART.yaml": {"ART": area_table(form)},
        "problem.yaml": {"problem": problem(form)},
    }


def search(goal: Goal) -> dict[str, Any]:
    """Returns how the mapper searches: by one thread and up to counts, so that it finds the same mapping again."""
    return {
        "algorithm": "random_pruned",
        "optimization_metrics": [_METRICS[goal]],
        "num_threads": 1,
        "search_size": 20_000,  # mappings that fit
        "victory_condition": 500,  # of these in a row no better
        "timeout": 10_000,  # mappings in a row that do not fit
        "live_status": False,
        "diagnostics": False,
    }
