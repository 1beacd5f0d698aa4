"""Reference files: what a simulator or silicon said of fixed mappings, to hold the cost model against.

A reference is a JSON file of machines and records. A record is a layer, a machine, a mapping, and what is known of
them; whatever figure is left out is not compared, so cycles and energy measured on silicon will do::

    {
      "architectures": {
        "mine": {
          "levels": [
            {"name": "DRAM", "cls": "DRAM", "fanoutX": 1, "fanoutY": 1, "keep": ["Weights", "Inputs", "Outputs"],
             "block_size": 4, "read_bandwidth": 8, "ERT_pJ_per_vector_access": {"read": 512, "write": 512}},
            {"name": "PEs", "fanoutX": 4, "fanoutY": 4, "spatial_only": true},
            {"name": "RF", "fanoutX": 1, "fanoutY": 1, "keep": ["Weights", "Inputs", "Outputs"],
             "capacity_words": 64, "ERT_pJ_per_vector_access": {"read": 0.5, "write": 0.5, "leak": 0.001}}
          ],
          "compute": {"name": "mac", "energy_pJ": 1.1}
        }
      },
      "records": [
        {"id": 1, "arch": "mine",
         "layer": {"name": "conv1", "C": 8, "M": 8, "P": 4, "Q": 4, "R": 1, "S": 1},
         "mapping": [
           {"level": "DRAM", "temporal": [["M", 2], ["P", 4]]},
           {"level": "PEs", "spatialX": [["M", 4]], "spatialY": [["C", 4]]},
           {"level": "RF", "temporal": [["C", 2], ["Q", 4]]}
         ],
         "cycles": 64, "energy_pJ": 60807.424,
         "levels": {"RF": {"ds": {"Weights": {"reads": 64, "fills": 4}}}}}
      ]
    }

Architectures: levels from the outermost in, ``compute`` below the last.

* ``fanoutX``, ``fanoutY``: instances of the next level (or multipliers) below one instance. ``meshX``, ``meshY``,
  ``instances`` may say how many that makes on the chip; they are checked.
* ``spatial_only``: holds nothing and costs nothing, only carries spatial loops.
* ``keep``: the tensors held, ``Weights``, ``Inputs``, ``Outputs``; a mapping's ``keep`` overrides it.
* ``capacity_words`` (null or absent: unbounded), over ``multiple_buffering``; ``block_size`` words an access;
  ``cluster_size`` instances that share an access; ``read_bandwidth``, ``write_bandwidth``, ``shared_bandwidth``
  [word/cycle and instance].
* ``ERT_pJ_per_vector_access``: ``read``, ``write`` (fills), ``update`` (default: as write) [pJ/access] and ``leak``
  [pJ/cycle and instance in use].
* ``router_energy`` [pJ], ``wire_energy`` [pJ/bit/mm], ``tile_width`` [um], ``word_bits``: of the network below.
* ``reduction_supported``: whether partial sums are added at the level; if not (the default where ``cls`` holds
  ``DRAM``), they are carried down and up again. Lanes pass words on to their neighbours, as Timeloop has it.

Layers: ``N C M G P Q R S`` (``G`` groups; a depthwise layer has ``C = M = 1``), ``Wstride`` and ``Wdilation`` of P
and R, ``Hstride`` and ``Hdilation`` of Q and S; no padding. ``kind`` ``pool`` or ``add``: without weights.

Mappings: one entry per level, in order. ``temporal``: [dim, bound], outermost first; ``spatialX``, ``spatialY``:
[dim, factor], fastest first, inside the level's temporal loops.

Figures: ``cycles``, ``compute_cycles``, ``macs``, ``energy_pJ``, ``mac_energy_pJ``; by level ``cycles``, ``leak_pJ``,
``energy_pJ`` and, by tensor under ``ds``, ``tile_words``, ``reads``, ``fills``, ``updates`` (per instance, in words),
``instances`` in use and ``energy_pJ``; under ``networks``, keyed ``outer <==> inner``, by tensor ``fanout``,
``ingresses`` ([multicast, scatter, words]), ``link_transfers``, ``spatial_reductions`` (per instance of the outer
level), ``energy_pJ`` and ``link_energy_pJ``. Other keys are notes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coevo.accelerator.machine import DATAFLOWS, Accelerator, Interconnect, Mac, Memory
from coevo.cost.reference_form import TENSORS, AccessTable, Architecture, Compute, Level, Record
from coevo.errors import SpecError, near
from coevo.library import Document
from coevo.mapping import LevelMapping
from coevo.mapping import Mapping as LoopMapping
from coevo.workload import Layer


@dataclass(frozen=True)
class Case:
    """A record, ready to be evaluated.

    Attributes:
        file: Where it stands.
        label: Its id, or its place among the records.
        record: Its figures.
        levels: The architecture's, with what this record keeps in them.
        layer, machine, mapping: As the cost model takes them. Machines count in words: a word is one bit wide.
    """

    file: str
    label: str
    record: Record
    levels: Sequence[Level]
    layer: Layer
    machine: Accelerator
    mapping: LoopMapping

    def error(self, problem: str, field: str = "") -> SpecError:
        """Returns the error that names file, record and field."""
        return _error(self.file, self.label, problem, field)


def read_reference(path: Path) -> list[Case]:
    """Reads a reference file.

    Raises:
        SpecError: The file is not of the form that the module's text describes, or a mapping does not fit its layer
            or machine; the text names the record and the field.
    """
    file = str(path)
    data = _parse(path, file)
    for key, kind in (("architectures", dict), ("records", list)):
        if key not in data:
            raise SpecError("is missing; `coevo validate --help` shows the form", file=file, field=key)
        if not isinstance(data[key], kind):
            raise SpecError(f"must be a JSON {'object' if kind is dict else 'array'}", file=file, field=key)
    if not data["records"]:
        raise SpecError("there are none", file=file, field="records")
    machines = {name: _architecture(file, name, entry) for name, entry in data["architectures"].items()}
    return [_case(file, i, entry, machines) for i, entry in enumerate(data["records"])]


def _parse(path: Path, file: str) -> dict[str, Any]:
    def no_constant(name: str) -> None:
        raise SpecError(f"{name} is no figure; leave it out where it is not known", file=file)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(pairs)
        if len(table) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise SpecError(f"the key {twice!r} stands twice in one object; remove one", file=file)
        return table

    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=no_constant, object_pairs_hook=once)
    except OSError as error:
        raise SpecError(f"cannot be read: {error.strerror or error}", file=file) from None
    except UnicodeDecodeError:
        raise SpecError("is not UTF-8 text", file=file) from None
    except json.JSONDecodeError as error:
        raise SpecError(f"not JSON: {error.msg}", file=file, line=error.lineno) from None
    except RecursionError:
        raise SpecError("nested too deep", file=file) from None
    if not isinstance(data, dict):
        raise SpecError("must be a JSON object with `architectures` and `records`", file=file)
    return data


def _error(file: str, label: str, problem: str, field: str = "") -> SpecError:
    return SpecError(problem, file=file, field=" ".join(part for part in (label, field) if part))


def _as(model: type[Any], data: Any, file: str, label: str) -> Any:
    if not isinstance(data, dict):
        raise _error(file, label, f"must be a JSON object, not {json.dumps(data)[:40]}")
    try:
        return Document(file, data, {}).parse(model)
    except SpecError as error:
        raise _error(file, label, error.problem, error.field) from None


def _architecture(file: str, name: str, data: Any) -> Architecture:
    label = f"architecture {name}"
    machine: Architecture = _as(Architecture, data, file, label)
    names = [level.name for level in machine.levels]
    columns, rows = 1, 1
    for level in machine.levels:
        if names.count(level.name) > 1:
            raise _error(file, label, "two levels have this name", f"levels.{level.name}")
        _check_mesh(file, label, level, columns, rows)
        if level.spatial_only and level.keep:
            raise _error(file, label, "a spatial_only level keeps nothing", f"levels.{level.name}.keep")
        if not level.spatial_only and level.energies is None:
            raise _error(file, label, "is missing; add it", f"levels.{level.name}.ERT_pJ_per_vector_access")
        columns, rows = columns * level.fanout_x, rows * level.fanout_y
    _check_mesh(file, label, machine.compute, columns, rows)
    return machine


def _check_mesh(file: str, label: str, part: Level | Compute, columns: int, rows: int) -> None:
    """Checks how many instances a part says it has against the fan-outs above it."""
    given = [("meshX", part.mesh_x, columns), ("meshY", part.mesh_y, rows)]
    if isinstance(part, Level):
        given.append(("instances", part.instances, columns * rows))
    for key, count, made in given:
        if count is not None and count != made:
            where = f"levels.{part.name}.{key}" if isinstance(part, Level) else f"compute.{key}"
            raise _error(file, label, f"is {count}, but the fan-outs above make {made}", where)


def _case(file: str, place: int, data: Any, machines: Mapping[str, Architecture]) -> Case:
    known = data.get("id") if isinstance(data, dict) else None
    label = f"record {known if isinstance(known, int | str) else f'#{place + 1}'}"
    record: Record = _as(Record, data, file, label)
    if record.arch not in machines:
        raise _error(file, label, f"no architecture named {record.arch!r} {near(record.arch, machines)}", "arch")
    levels = _kept(file, label, record, machines[record.arch])
    machine = _machine(record.arch, levels, machines[record.arch].compute)
    mapping = LoopMapping(
        tuple(
            LevelMapping(nest.level, *(_loops(loops) for loops in (nest.temporal, nest.spatial_x, nest.spatial_y)))
            for nest in record.mapping
        )
    )
    _check_figures(file, label, record, [level.name for level in levels])
    return Case(file, label, record, levels, record.layer.layer(), machine, mapping)


def _loops(loops: Sequence[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((dim.lower(), bound) for dim, bound in loops if bound > 1)


def _kept(file: str, label: str, record: Record, machine: Architecture) -> list[Level]:
    """The machine's levels, with what the record keeps in them."""
    names = [level.name for level in machine.levels]
    for i, nest in enumerate(record.mapping):
        if nest.level not in names:
            problem = f"{record.arch} has no level named {nest.level!r} {near(nest.level, names)}"
            raise _error(file, label, problem, f"mapping.{i}.level")
    if [nest.level for nest in record.mapping] != names:
        raise _error(file, label, f"must have one entry per level, in this order: {', '.join(names)}", "mapping")
    levels = []
    for level, nest in zip(machine.levels, record.mapping, strict=True):
        if level.spatial_only and nest.keep:
            raise _error(file, label, f"{level.name} is spatial_only and keeps nothing", f"mapping.{level.name}.keep")
        levels.append(level if nest.keep is None else level.model_copy(update={"keep": nest.keep}))
    for tensor in TENSORS:
        if not any(tensor in level.keep for level in levels):
            raise _error(file, label, f"no level keeps the {tensor}", "mapping")
    return levels


def _check_figures(file: str, label: str, record: Record, names: Sequence[str]) -> None:
    for name in record.levels:
        if name not in names:
            raise _error(file, label, f"{record.arch} has no such level {near(name, names)}", f"levels.{name}")
    for key in record.networks:
        if key.split(" <==> ")[0] not in names:
            problem = f"must read `outer <==> inner`, and {record.arch} has no such outer level {near(key, names)}"
            raise _error(file, label, problem, f"networks.{key}")
    figures = (record.cycles, record.compute_cycles, record.macs, record.energy_pj, record.mac_energy_pj)
    if all(figure is None for figure in figures) and not record.levels and not record.networks:
        raise _error(file, label, "has no figure to compare; give cycles, energy_pJ or levels")


def _machine(name: str, levels: Sequence[Level], compute: Compute) -> Accelerator:
    """The architecture as the cost model takes it: a word is one bit, a cycle one nanosecond."""
    return Accelerator(
        name=name,
        technology_nm=1.0,
        clock_mhz=1e3,
        bits=(1, 1, 1),
        memories=tuple(_memory(level) for level in levels),
        mac=Mac(compute.energy_pj, area_mm2=0.0),
        dataflow=DATAFLOWS["free"],
    )


def _memory(level: Level) -> Memory:
    energies = level.energies or AccessTable(read=0.0, write=0.0)

    def limit(words: float | None) -> float:
        return math.inf if words is None else words

    return Memory(
        name=level.name,
        kind="dram" if "DRAM" in level.cls else "sram",
        holds=tuple(operand for tensor, operand in TENSORS.items() if tensor in level.keep),
        size_bits=math.inf,  # `coevo.cost.validation` says in words what does not fit
        word_bits=1,
        words_per_access=level.block_size,
        read_words_per_cycle=limit(level.read_bandwidth),
        write_words_per_cycle=limit(level.write_bandwidth),
        words_per_cycle=limit(level.shared_bandwidth),
        double_buffered=False,
        read_energy_pj=energies.read,
        write_energy_pj=energies.write,
        update_energy_pj=energies.update,
        leakage_mw=energies.leak,
        area_mm2=0.0,
        fanout_x=level.fanout_x,
        fanout_y=level.fanout_y,
        cluster_size=level.cluster_size,
        interconnect=Interconnect(
            hop_energy_pj=level.word_bits * (level.tile_width or 0.0) / 1e3 * (level.wire_energy or 0.0),
            router_energy_pj=level.router_energy or 0.0,
            links=True,
            reduces=level.reduces,
        ),
    )
