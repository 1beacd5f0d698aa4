"""What Timeloop needs to judge a design: a folder per distinct layer and format, and our figures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from coevo.design import FrontDesign, LayerCost
from coevo.timeloop import flat, v4
from coevo.timeloop.conventions import CONVENTIONS
from coevo.timeloop.form import Form
from coevo.timeloop.text import yaml_text
from coevo.verify.seen import SeenDesign, SeenLayer, seen_designs

FOLDER = "timeloop"

_COMMENTS: Mapping[str, Sequence[str]] = {
    "architecture.yaml": (
        "The machine, outermost memory first. A word is {bits} bits wide; bandwidths are words a cycle and instance,",
        "wider by 1e-12, lest Timeloop's rounding adds a cycle.",
    ),
    "ERT.yaml": (
        "Energies of coevo [pJ]: of a word of {bits} bits in every memory, of an operation, and of a cycle (leak).",
        "What the multipliers leak is in the innermost memory's leak, for Timeloop's own do not.",
    ),
    "ART.yaml": ("Areas of coevo [um2], per instance; what is neither memory nor multiplier is left out.",),
    "problem.yaml": (
        "The layer: N batch, G groups, M C output and input channels of a group, P Q output, R S filter.",
    ),
    "mapping.yaml": ("The run's mapping: temporal loops from the inside out, spatial ones on columns, then rows.",),
    "constraints.yaml": ("What Timeloop's mapper may try: the machine's dataflow, and where its operands lie.",),
    "mapper.yaml": ("How Timeloop's mapper searches; one thread, so that it finds the same again.",),
}

_README = """\
# Design {design} for Timeloop

Written by `coevo export`. One folder per distinct layer, in two formats:

    flat/<layer>/model    cd here: timeloop-model *.yaml
    flat/<layer>/mapper   cd here: timeloop-mapper *.yaml
    v4/<layer>/model      pytimeloop.timeloopfe.v4: call_model(Specification.from_yaml_files("*.yaml"), folder)
    v4/<layer>/mapper     the same with call_mapper
    expected.yaml         our cycles and energy of every layer under Timeloop's conventions

The flat files bring our own tables of energy and area (ERT, ART): no Accelergy is needed, and `timeloop-model` gives
back our cycles and energy. In v4 cycles are the same, energies are Accelergy's. The mapper's folders have no mapping:
there Timeloop searches its own, which may be better or worse than ours (its factors multiply to the layer's bounds;
ours may cover more).

Timeloop's conventions, which `expected.yaml` follows and a run of coevo may not:

{conventions}{parts}

In Timeloop's words: where operands have words of different width, a Timeloop word is their greatest common divisor, and
the dims W, I and O of a problem run over its pieces in a word of weights, inputs and outputs; where the mapping runs a
dim further than the layer, so does the problem, and the energy of an operation is that much smaller.
"""


_PARTS = """

The machine has several parts; these are the layers that the part {part} runs, each as if it had the DRAM to itself.
Cycles are of the part's clock, {clock} MHz; the run's are the sum over these layers. What runs side by side on other
parts is not told to Timeloop."""


class HasDesign(Protocol):
    """What an export hands to its writers."""

    @property
    def design(self) -> FrontDesign:
        """The design to write."""


def timeloop_files(chosen: HasDesign) -> dict[str, str]:
    """Returns a design's Timeloop inputs by path below the export's folder, and the target's and part's, if several.

    Raises:
        SpecError: A layer cannot be told to Timeloop.
    """
    files: dict[str, str] = {}
    for seen in seen_designs(chosen.design):
        folder = "/".join(part for part in (FOLDER, seen.target, seen.part) if part)
        files |= {f"{folder}/{name}": text for name, text in _files(seen).items()}
    return files


def _files(design: SeenDesign) -> dict[str, str]:
    conventions = "\n".join(f"* {text}" for text in CONVENTIONS)
    parts = _PARTS.format(part=design.part, clock=f"{design.machine.clock_mhz:g}") if design.part else ""
    names = _folders(design.layers)
    expected = yaml_text(_expected(design, names), ["Our figures of each layer under Timeloop's conventions."])
    files = {
        "README.md": _README.format(design=design.label, conventions=conventions, parts=parts),
        "expected.yaml": expected,
    }
    for layer, name in zip(design.layers, names, strict=True):
        searched = Form(layer.form.layer, layer.form.machine, layer.form.mac_energy_pj)
        for folder, inputs, form in (
            (f"flat/{name}/model", flat.model_input(layer.form), layer.form),
            (f"flat/{name}/mapper", flat.mapper_input(searched), searched),
            (f"v4/{name}/model", v4.model_input(layer.form), layer.form),
            (f"v4/{name}/mapper", v4.mapper_input(searched), searched),
        ):
            files |= {f"{folder}/{file}": _text(file, data, form) for file, data in inputs.items()}
    return files


def _text(file: str, data: dict[str, Any], form: Form) -> str:
    about = [text.format(bits=form.word_bits) for text in _COMMENTS[file]]
    scored = [f"{form.layer.name} on {form.machine.name}, written by coevo. Timeloop's conventions:"]
    return yaml_text(data, [*about, *scored, *(f"* {text}" for text in CONVENTIONS)])


def _folders(layers: Sequence[SeenLayer]) -> list[str]:
    """Names of the layers' folders: their own, as far as a file system has them."""
    names: list[str] = []
    for layer in layers:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", layer.name).strip(".") or "layer"
        name, again = stem, 2
        while name in names:
            name, again = f"{stem}_{again}", again + 1
        names.append(name)
    return names


def _expected(design: SeenDesign, folders: Sequence[str]) -> dict[str, Any]:
    return {
        "design": design.id,
        **({"target": design.target} if design.target else {}),
        **({"part": design.part} if design.part else {}),
        "machine": design.machine.name,
        "conventions": list(CONVENTIONS),
        "total": {
            "cycles": sum(layer.count * layer.ours.cycles for layer in design.layers),
            "energy_pj": sum(layer.count * layer.ours.total_energy_pj for layer in design.layers),
            "run_cycles": design.run.latency_cycles,
            "run_energy_pj": design.run.energy_pj,
        },
        "left_out": [{"layer": one.layer.name, "kind": one.layer.kind, **_figures(one)} for one in design.movers],
        "layers": [
            {
                "folder": folder,
                "layers": list(layer.names),
                **_figures(layer.ours),
                "run": _figures(layer.run),
                **({"differs": list(layer.remarks)} if layer.remarks else {}),
            }
            for layer, folder in zip(design.layers, folders, strict=True)
        ],
    }


def _figures(cost: LayerCost) -> dict[str, float]:
    return {"cycles": float(cost.cycles), "energy_pj": float(cost.total_energy_pj)}
