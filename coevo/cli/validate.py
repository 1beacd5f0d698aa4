"""``coevo validate``: how far is the cost model from a simulator's or a chip's own figures?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from coevo.cost.validation import Validation

_FORM = """\b
A reference names machines, and records of a layer, a mapping and what is known of them:
  {"architectures": {"mine": {
     "levels": [
       {"name": "DRAM", "cls": "DRAM", "fanoutX": 1, "fanoutY": 1, "keep": ["Weights", "Inputs", "Outputs"],
        "read_bandwidth": 8, "block_size": 4, "ERT_pJ_per_vector_access": {"read": 512, "write": 512}},
       {"name": "PEs", "fanoutX": 4, "fanoutY": 4, "spatial_only": true},
       {"name": "RF", "fanoutX": 1, "fanoutY": 1, "keep": ["Weights", "Inputs", "Outputs"],
        "capacity_words": 64, "ERT_pJ_per_vector_access": {"read": 0.5, "write": 0.5, "leak": 0.001}}],
     "compute": {"name": "mac", "energy_pJ": 1.1}}},
   "records": [{"id": 1, "arch": "mine",
     "layer": {"name": "conv1", "C": 8, "M": 8, "P": 4, "Q": 4, "R": 1, "S": 1},
     "mapping": [{"level": "DRAM", "temporal": [["M", 2], ["P", 4]]},
                 {"level": "PEs", "spatialX": [["M", 4]], "spatialY": [["C", 4]]},
                 {"level": "RF", "temporal": [["C", 2], ["Q", 4]]}],
     "cycles": 64, "energy_pJ": 60807.424,
     "levels": {"RF": {"ds": {"Weights": {"reads": 64, "fills": 4}}}}}]}

\b
Levels stand outermost first, with what is below one instance as fanoutX, fanoutY. Temporal loops stand outermost
first, spatial ones fastest first. Counts are words per instance, energies pJ. Give the figures you have: cycles,
compute_cycles, macs, energy_pJ, mac_energy_pJ; levels: {level: {cycles, leak_pJ, energy_pJ, ds: {tensor:
{tile_words, reads, fills, updates, instances, energy_pJ}}}}; networks: {"outer <==> inner": {tensor: {fanout,
ingresses, link_transfers, spatial_reductions, energy_pJ, link_energy_pJ}}}. More keys of a level: keep in a mapping,
multiple_buffering, cluster_size, write_bandwidth, shared_bandwidth, update, reduction_supported, router_energy,
wire_energy, tile_width, word_bits. The docstring of coevo/cost/reference.py says what each means.

\b
Examples:
  coevo validate timeloop.json
  coevo validate timeloop.json chip.json --json
"""


@click.command(epilog=_FORM)
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
@click.option("--worst", type=click.IntRange(min=0), default=10, show_default=True, help="Records to list.")
@click.option("--json", "as_json", is_flag=True, help="Prints JSON.")
def validate(references: tuple[str, ...], worst: int, as_json: bool) -> None:
    """Holds the cost model against REFERENCE files: fixed mappings with the figures that Timeloop or a chip gave.

    Every record's mapping is evaluated by our model. For each quantity it says in how many figures both are equal,
    in how many they are within 0.1 %, and the mean and worst relative error; then it lists the records that are
    furthest off.
    """
    from coevo.cost.reference import read_reference
    from coevo.cost.validation import validate as validate_cases

    validation = validate_cases([case for file in references for case in read_reference(Path(file))])
    data = summary(validation, worst)
    print(json.dumps(data, indent=2) if as_json else _text(data))


def summary(validation: Validation, worst: int) -> dict[str, Any]:
    """Returns the verdict as plain data; a share of which no record gives a figure is None."""
    return {
        "records": len(validation.records),
        "accesses_equal": validation.accesses_equal,
        "cycles_within_0.1pct": validation.cycles_close,
        "energy_within_0.1pct": validation.energy_close,
        "worst": [
            {
                "id": record.case.record.id,
                "file": record.case.file,
                "architecture": record.case.record.arch,
                "layer": record.case.record.layer.name,
                "quantity": one.quantity,
                "place": one.place,
                "ours": one.ours,
                "theirs": one.theirs,
                "relative_error": one.error,
            }
            for record, one in validation.worst(worst)
        ],
        "quantities": {
            name: {
                "figures": tally.figures,
                "equal": tally.equal / tally.figures,
                "within_0.1pct": tally.close / tally.figures,
                "mean_relative_error": tally.mean_error,
                "worst_relative_error": tally.worst_error,
            }
            for name, tally in validation.tallies().items()
        },
    }


def _text(data: dict[str, Any]) -> str:
    width = max(len(name) for name in data["quantities"])
    lines = [f"{data['records']} records"]
    lines.append(f"{'quantity':{width}} {'figures':>8} {'equal':>9} {'in 0.1 %':>9} {'mean error':>11} {'worst':>9}")
    lines += [
        f"{name:{width}} {x['figures']:8} {_percent(x['equal']):>9} {_percent(x['within_0.1pct']):>9} "
        f"{x['mean_relative_error']:11.1e} {x['worst_relative_error']:9.1e}"
        for name, x in data["quantities"].items()
    ]
    lines.append("of the records that give them:")
    for key, text in (
        ("accesses_equal", "all access counts equal"),
        ("cycles_within_0.1pct", "cycles within 0.1 %"),
        ("energy_within_0.1pct", "energy within 0.1 %"),
    ):
        lines.append(f"  {text:24} {'not given' if data[key] is None else _percent(data[key])}")
    if data["worst"]:
        lines.append("furthest off (record, architecture, layer: quantity, ours, theirs, relative error):")
    lines += [
        f"  {x['id']}, {x['architecture']}, {x['layer']}: {x['quantity']}{x['place'] and ' of '}{x['place']}, "
        f"{x['ours']:.10g}, {x['theirs']:.10g}, {x['relative_error']:.1e}"
        for x in data["worst"]
    ]
    return "\n".join(lines)


def _percent(share: float) -> str:
    """A share; only all is 100 %."""
    return "100 %" if share == 1 else f"{min(share, 0.9999):.2%}".replace("%", " %")
