"""Reads a Timeloop v4 architecture (timeloopfe's) as an accelerator template of ours.

What has no place in a template is not dropped in silence: it becomes a note that names node and key. Arithmetic is
evaluated (`coevo.timeloop.expressions`); of what else stands in the place of a number, the note names file and line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from coevo.accelerator.technology import DramKind
from coevo.errors import SpecError
from coevo.timeloop.architecture_file import joined, read_architecture, table
from coevo.timeloop.expressions import Plain
from coevo.timeloop.text import yaml_text
from coevo.workload import DIMS, OPERANDS

_TENSORS = {"Weights": "weights", "Inputs": "inputs", "Outputs": "outputs"}
_LETTERS = {letter.upper(): letter for letter in DIMS} | {"K": "m"}
_COMPUTE = ("mac", "compute")
_STORAGE = ("DRAM", "SRAM", "regfile", "smartbuffer", "storage")

_MOST_REGISTER_BITS = 8 * 4096

_SIZES = (
    "depth",
    "memory_depth",
    "width",
    "memory_width",
    "block_size",
    "cluster_size",
    "entries",
    "sizeKB",
    "datawidth",
)
_TAKEN = {
    *_SIZES, "word_bits", "technology", "global_cycle_seconds", "read_bandwidth", "write_bandwidth",
    "shared_bandwidth", "multiple_buffering", "vector_access_energy", "type", "reduction_supported",
}  # fmt: skip


@dataclass
class Imported:
    """A template in the making.

    Attributes:
        name: Of the template.
        memories: As a template has them, outermost first.
        x, y: Dims that may unroll along columns and rows, the preferred first.
        notes: What was not understood or had to be assumed.
        variables: Values of the variables, which stand for attributes that no node has.
        attributes: What containers say of all that is inside them.
        widths: Bits of a word by memory.
    """

    name: str
    memories: list[dict[str, Any]] = field(default_factory=list)
    x: list[str] = field(default_factory=list)
    y: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    compute: bool = False

    def note(self, node: str, text: str) -> None:
        """Takes down what was not understood of a node."""
        self.notes.append(f"{node}: {text}")


def import_architecture(files: Sequence[Path], name: str) -> tuple[str, list[str]]:
    """Returns a template as YAML text, and what of the files was not understood.

    Args:
        files: One holds ``architecture``; others may hold ``constraints`` and ``variables``.
        name: For the template.

    Raises:
        SpecError: The files hold no v4 architecture, or one without memories or multipliers.
    """
    read = read_architecture(files)
    made, constraints = Imported(name, variables=read.variables), dict(read.constraints)
    for node in read.nodes:
        given = table(node.get("constraints"))
        _take(made, {**node, "constraints": joined(given, constraints.pop(str(node.get("name")), {}))})
    for target in constraints:
        made.note(target, "constraints of a node that the architecture has not")
    if not made.memories or not made.compute:
        missing = "memory" if not made.memories else "compute (class mac or compute)"
        raise SpecError(f"the architecture has no {missing}", file=str(files[0]))
    return _template(made, [str(file) for file in files]), made.notes


# -- nodes -----------------------------------------------------------------------------------------------------


def _take(made: Imported, node: dict[str, Any]) -> None:
    """Takes in one node: a container, a memory or the multipliers."""
    tag, name, kind = node.get("!"), str(node.get("name", "?")), f"{node.get('class', '')} {node.get('subclass', '')}"
    for key in set(node) - {
        "!",
        "name",
        "class",
        "subclass",
        "attributes",
        "spatial",
        "constraints",
        "required_actions",
    }:
        made.note(name, f"{key} is not used")
    if tag == "!Nothing" or node.get("enabled") is False:
        return
    _fan_out(made, node, name)
    if tag == "!Container":
        made.attributes |= table(node.get("attributes"))
    elif any(word in kind for word in _STORAGE):
        _memory(made, node, name, kind)
    elif any(word in kind for word in _COMPUTE):
        made.compute = True
        _unused(made, name, table(node.get("attributes")), {"datawidth", "width", "multiplier_width", "adder_width"})
    else:
        made.note(name, f"class {kind.strip() or 'none'} is neither a memory nor multipliers; left out")


def _fan_out(made: Imported, node: dict[str, Any], name: str) -> None:
    """A node's mesh hangs below the memory before it."""
    spatial, said = table(node.get("spatial")), table(table(node.get("constraints")).get("spatial"))
    columns, rows = (_whole(made, name, f"spatial.{key}", spatial.get(key, 1)) or 1 for key in ("meshX", "meshY"))
    if columns * rows == 1:
        return
    if not made.memories:
        made.note(name, f"a mesh of {columns} x {rows} above the outermost memory; left out")
        return
    fanout = made.memories[-1].setdefault("fanout", {"x": 1, "y": 1})
    fanout["x"], fanout["y"] = fanout["x"] * columns, fanout["y"] * rows
    free = [dim for letter, dim in _LETTERS.items() if letter != "K" and dim not in _ones(said)]
    order = [_LETTERS[letter] for letter in _letters(said.get("permutation")) if letter in _LETTERS]
    split = _whole(made, name, "constraints.spatial.split", said.get("split"))
    first = (len(order) if columns > 1 else 0) if split is None else split
    columns_of, rows_of = (order[:first], order[first:]) if order else (free, free)
    for size, dims, axis in ((columns, columns_of, made.x), (rows, rows_of, made.y)):
        axis += [dim for dim in dims if size > 1 and dim in free and dim not in axis]
    _unused(made, name, said, {"permutation", "factors", "split", "no_link_transfer"}, "constraints.spatial.")


def _memory(made: Imported, node: dict[str, Any], name: str, kind: str) -> None:
    own = table(node.get("attributes"))
    given = {**made.attributes, **own}
    for key in ("technology", "global_cycle_seconds"):
        if key in own:
            made.attributes.setdefault(key, own[key])
    bits = _whole(made, name, "datawidth", given.get("datawidth", given.get("word_bits")))
    if bits is None:
        made.note(name, "no datawidth; 8 bits are assumed")
        bits = 8
    cluster = _whole(made, name, "cluster_size", own.get("cluster_size", 1)) or 1
    width = _whole(made, name, "width", own.get("width", own.get("memory_width")))
    block = _whole(made, name, "block_size", own.get("block_size")) or max((width or bits) // bits // cluster, 1)
    memory: dict[str, Any] = {"name": _slug(name, made), "kind": "dram"}
    holds = _holds(made, name, table(table(node.get("constraints")).get("dataspace")))
    if "DRAM" in kind:
        memory |= {**_dram(made, name, own.get("type")), "holds": holds}
    else:
        words = _words(made, name, own, block, bits)
        memory |= {"kind": _kind(made, name, kind, words * bits), "holds": holds, "size_words": words}
    memory["words_per_access"] = block
    memory |= _rates(made, name, given)
    said = table(table(node.get("constraints")).get("temporal"))
    if fixed := _ones(said):
        memory["loops"] = [dim for dim in DIMS if dim not in fixed]
    _unused(made, name, said, {"factors"}, "constraints.temporal.")
    _unused(made, name, own, _TAKEN)
    made.widths[memory["name"]] = bits
    made.memories.append(memory)


def _rates(made: Imported, name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Bandwidths, energy and buffering, as far as they are given."""
    found: dict[str, Any] = {}
    for theirs, ours in (
        ("read_bandwidth", ("read_words_per_cycle",)),
        ("write_bandwidth", ("write_words_per_cycle",)),
        ("shared_bandwidth", ("words_per_cycle",)),
        ("vector_access_energy", ("read_energy_pj", "write_energy_pj")),
    ):
        if (value := _number(made, name, theirs, given.get(theirs))) is not None:
            found |= dict.fromkeys(ours, value)
    buffering = _number(made, name, "multiple_buffering", given.get("multiple_buffering", 1))
    if buffering == 2:
        found["double_buffered"] = True
    elif buffering not in (None, 1):
        made.note(name, f"multiple_buffering {buffering:g} is not 1 or 2; left out")
    return found


def _kind(made: Imported, name: str, kind: str, size_bits: int) -> str:
    """What is called a register file is one up to a size; larger ones are built as SRAM."""
    if not re.search(r"regfile|RF\b|reg_|\breg", kind):
        return "sram"
    if size_bits <= _MOST_REGISTER_BITS:
        return "registers"
    made.note(name, f"a register file of {size_bits / 8:,.0f} bytes; it is taken for SRAM")
    return "sram"


def _dram(made: Imported, name: str, given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    known = get_args(DramKind)
    if str(given).lower() in known:
        return {"dram": str(given).lower()}
    made.note(name, f"type {given!r} is no DRAM that is known ({', '.join(known)}); lpddr4 is taken")
    return {}


def _words(made: Imported, name: str, given: Mapping[str, Any], block: int, bits: int) -> int:
    """Words of one instance."""
    if (kib := _number(made, name, "sizeKB", given.get("sizeKB"))) is not None:
        return int(kib * 8192 // bits)
    if (entries := _whole(made, name, "entries", given.get("entries"))) is not None:
        return entries
    depth = _whole(made, name, "depth", given.get("depth", given.get("memory_depth")))
    if depth is None:
        made.note(name, "no depth; 1 row is assumed, set size_words")
        depth = 1
    return depth * block


def _holds(made: Imported, name: str, said: Mapping[str, Any]) -> list[str]:
    keep, bypass = ([x for x in said.get(key) or () if x in _TENSORS] for key in ("keep", "bypass"))
    only = [x for x in said.get("keep_only") or () if x in _TENSORS]
    for key in ("keep", "bypass", "keep_only"):
        for tensor in said.get(key) or ():
            if tensor not in _TENSORS:
                made.note(name, f"constraints.dataspace.{key}: no tensor {tensor!r} (Weights, Inputs, Outputs)")
    if only or keep:
        return [_TENSORS[tensor] for tensor in _TENSORS if tensor in (only or keep)]
    if not bypass:
        made.note(name, "says not what it keeps; it holds all tensors here")
    return [operand for tensor, operand in _TENSORS.items() if tensor not in bypass]


def _ones(said: Mapping[str, Any]) -> set[str]:
    """Dims whose factor is fixed at 1."""
    factors = said.get("factors") or ()
    text = factors if isinstance(factors, str) else " ".join(str(factor) for factor in factors)
    return {_LETTERS[letter] for letter in re.findall(r"\b([A-Z])\s*=\s*1\b", text) if letter in _LETTERS}


def _letters(permutation: Any) -> list[str]:
    if isinstance(permutation, str):
        return re.findall(r"[A-Z]", permutation)
    return [str(letter) for letter in permutation or ()]


def _unused(made: Imported, name: str, given: Mapping[str, Any], taken: set[str], where: str = "attributes.") -> None:
    for key in given:
        if key not in taken:
            made.note(name, f"{where}{key} is not used")


def _number(made: Imported, name: str, key: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(f"{float(value):.9g}")
    except (TypeError, ValueError):
        why = f" ({value.place}): {value.why}" if isinstance(value, Plain) else " is no number"
        made.note(name, f"{key} {str(value)!r}{why}; left out")
        return None
    return int(number) if number.is_integer() else number


def _whole(made: Imported, name: str, key: str, value: Any) -> int | None:
    number = _number(made, name, key, value)
    if number is not None and number != int(number):
        made.note(name, f"{key} {number:g} is no whole number; {int(number)} is taken")
    return None if number is None else int(number)


def _slug(name: str, made: Imported) -> str:
    """A name as a template has it, that no memory has yet."""
    stem = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()).strip("_") or "memory"
    stem = stem if stem[0].isalpha() else f"m_{stem}"
    found, again = stem, 2
    while any(memory["name"] == found for memory in made.memories):
        found, again = f"{stem}_{again}", again + 1
    return found


# -- the template ----------------------------------------------------------------------------------------------


def _template(made: Imported, files: Sequence[str]) -> str:
    attributes, outermost = made.attributes, made.memories[0]
    if outermost["kind"] != "dram":
        made.note(outermost["name"], "the outermost memory must be the DRAM; it is taken for one")
        outermost["kind"] = "dram"
    if set(outermost["holds"]) != set(OPERANDS):
        made.note(outermost["name"], "the outermost memory must hold all operands; it does here")
        outermost["holds"] = list(OPERANDS)
    _put_registers_inside(made)
    if not any("fanout" in memory for memory in made.memories):
        made.memories[-1]["fanout"] = {"x": 1, "y": 1}
    bits = made.widths[outermost["name"]]
    for memory, width in made.widths.items():
        if width != bits:
            text = f"words of {width} bits; here operands have {bits} bits at all levels, and its size is kept in words"
            made.note(memory, f"{text} (word_bits says otherwise of an operand)")
    data = {
        "schema": 1,
        "name": made.name,
        "description": f"Imported from Timeloop v4: {', '.join(Path(file).name for file in files)}",
        "technology_nm": _technology(made, attributes.get("technology", made.variables.get("technology"))),
        "clock_mhz": _clock(made, attributes.get("global_cycle_seconds", made.variables.get("global_cycle_seconds"))),
        "word_bits": bits,
        "memories": made.memories,
        "dataflow": {"name": "imported", "x": made.x, "y": made.y},
    }
    made.note("dataflow", "groups (depthwise layers) are no dim there; add g to dataflow.x or y where they may spread")
    unknown = [f"not understood or assumed: {note}" for note in made.notes]
    return yaml_text(data, ["Made by coevo import; energies and areas are derived from the technology.", *unknown])


def _put_registers_inside(made: Imported) -> None:
    """A template has no SRAM inside registers: from the first registers on, all are."""
    inside = False
    for memory in made.memories:
        inside = inside or memory["kind"] == "registers"
        if inside and memory["kind"] == "sram":
            made.note(memory["name"], "a memory inside registers; it is taken for registers")
            memory["kind"] = "registers"


def _technology(made: Imported, given: Any) -> float:
    found = re.search(r"\d+(\.\d+)?", str(given)) if given is not None else None
    if found is None:
        made.note("architecture", f"technology is {given!r}; 45 nm are assumed")
        return 45.0
    return float(found[0])


def _clock(made: Imported, given: Any) -> float:
    seconds = _number(made, "architecture", "global_cycle_seconds", given)
    if not seconds:
        made.note("architecture", "no global_cycle_seconds; 1000 MHz are assumed")
        return 1000.0
    return float(f"{1e-6 / seconds:.9g}")
