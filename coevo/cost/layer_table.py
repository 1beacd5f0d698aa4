"""A lookup table of layers: a CSV (also gzipped) with a row per distinct layer and accelerator.

The first lines say what it was made from, ``# name: text`` each. Columns: the accelerator's template and key (a digest
of all that a cost model sees of it) with its choices for people; the layer's loop bounds, stride, dilation, whether it
has weights, and bits; then latency [cycle], energy [pJ] and peak on-chip memory [byte] of one such layer, empty
where unknown, or the reason why there are none.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coevo.accelerator.machine import Accelerator
from coevo.cost.figures import ATTRIBUTES, Figures
from coevo.errors import DataError
from coevo.workload import DIMS, Layer

LAYER = (*DIMS, "stride", "dilation", "weights", "bits")
COLUMNS = ("accelerator", "key", "choices", *LAYER, *ATTRIBUTES, "reason")

MAGIC = "# coevo lookup table, schema 1"
"""The first line."""

LayerKey = tuple[str, ...]
"""A layer's columns, as text."""


@dataclass(frozen=True, eq=False)
class LayerTable:
    """What a file holds.

    Attributes:
        facts: What it was made from, text by name.
        accelerators: Template and choices, for people, by key.
        rows: Figures by the accelerator's key and the layer.
    """

    facts: Mapping[str, str]
    accelerators: Mapping[str, str]
    rows: Mapping[tuple[str, LayerKey], Figures]

    @property
    def unknown(self) -> frozenset[str]:
        """Attributes of `Cost` that no row tells."""
        good = [figures for figures in self.rows.values() if figures.violation == 0]
        return frozenset(name for name in ATTRIBUTES if all(math.isnan(getattr(row, name)) for row in good))


def layer_key(layer: Layer) -> LayerKey:
    """Returns what the table knows a layer by: all that decides its cost alone, as text."""
    bits = "" if layer.bits is None else "/".join("-" if width is None else str(width) for width in layer.bits)
    stride, dilation = (f"{pair[0]}x{pair[1]}" for pair in (layer.stride, layer.dilation))
    return (*map(str, layer.bounds), stride, dilation, "yes" if layer.has_weights else "no", bits)


def layer_text(layer: Layer) -> str:
    """Returns a layer as an error names it, e.g. ``conv2 (g=16 p=8 q=8 r=3 s=3, stride 2x2)``."""
    key = layer_key(layer)
    bounds = " ".join(f"{dim}={size}" for dim, size in zip(DIMS, key, strict=False) if size != "1")
    return f"{layer.name} ({bounds or 'one word'}, stride {key[8]}{', no weights' if key[10] == 'no' else ''})"


def machine_text(machine: Accelerator) -> str:
    """Returns an accelerator as an error names it: its template and what was chosen."""
    chosen = " ".join(f"{path}={value}" for path, value in machine.choices)
    return f"{machine.name} {chosen}".strip()


def refuse_unwritable(path: Path) -> None:
    """Checks that a table can be written, before the work for it is done.

    Raises:
        DataError: It cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        path.open("ab").close()
        if new:
            path.unlink()
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None


def write_table(path: Path, facts: Mapping[str, str], rows: Iterable[tuple[Accelerator, Layer, Figures]]) -> None:
    """Writes a table, whole or not at all; a name that ends in ``.gz`` is compressed.

    Raises:
        DataError: The file cannot be written.
    """
    text = io.StringIO()
    text.write(f"{MAGIC}\n")
    for name, fact in facts.items():
        text.write(f"# {name}: {' '.join(fact.split())}\n")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for machine, layer, figures in rows:
        values = (getattr(figures, name) for name in ATTRIBUTES)
        shown = ("" if figures.violation > 0 or math.isnan(value) else repr(float(value)) for value in values)
        choices = " ".join(f"{path}={value}" for path, value in machine.choices)
        table.writerow((machine.name, machine.key, choices, *layer_key(layer), *shown, figures.reason))
    data = text.getvalue().encode()
    refuse_unwritable(path)
    neighbour = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        neighbour.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
        os.replace(neighbour, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        neighbour.unlink(missing_ok=True)


def read_table(path: Path) -> LayerTable:
    """Reads a table.

    Raises:
        DataError: The file cannot be read or is no such table; the text names the line.
    """
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    lines = text.splitlines()
    if not lines or lines[0] != MAGIC:
        raise DataError(f"{path}: is no lookup table: its first line must be {MAGIC!r}; make one with coevo lut build")
    heads = [line[1:].strip() for line in lines if line.startswith("#")][1:]
    facts = {name: fact.strip() for name, _, fact in (head.partition(":") for head in heads)}
    return _parsed(path, facts, lines[len(heads) + 1 :], len(heads) + 2)


def _parsed(path: Path, facts: Mapping[str, str], lines: Sequence[str], first: int) -> LayerTable:
    """Reads what follows the heads, from line ``first`` of the file on."""
    accelerators: dict[str, str] = {}
    rows: dict[tuple[str, LayerKey], Figures] = {}
    reader = csv.reader(lines)
    if tuple(next(reader, [])) != COLUMNS:
        raise DataError(f"{path}:{first}: the columns must be {','.join(COLUMNS)}")
    for row in reader:
        line = first + reader.line_num - 1
        if len(row) != len(COLUMNS):
            raise DataError(f"{path}:{line}: {len(row)} columns, {len(COLUMNS)} wanted")
        name, key, choices, *rest = row
        layer, figures = tuple(rest[: len(LAYER)]), rest[len(LAYER) :]
        if (key, layer) in rows:
            raise DataError(f"{path}:{line}: this layer and accelerator stand twice; remove one")
        accelerators[key] = f"{name} {choices}".strip()
        try:
            rows[key, layer] = _figures(figures)
        except ValueError as error:
            raise DataError(f"{path}:{line}: {error}") from None
    if not rows:
        raise DataError(f"{path}: has no rows")
    return LayerTable(facts, accelerators, rows)


def _figures(texts: Sequence[str]) -> Figures:
    *numbers, reason = texts
    if reason:
        return Figures.failed(reason)
    values: dict[str, Any] = {}
    for name, text in zip(ATTRIBUTES, numbers, strict=True):
        value = math.nan if text == "" else float(text)
        if text and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} must be a number from 0 on, or empty if it is not known; got {text!r}")
        values[name] = value
    return Figures(**values)
