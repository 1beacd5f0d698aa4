"""The form of a reference file, one class per part; `coevo.cost.reference` says what the keys mean."""

from __future__ import annotations

import difflib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from coevo.errors import near
from coevo.workload import Layer

TENSORS = {"Weights": "weights", "Inputs": "inputs", "Outputs": "outputs"}
"""Timeloop's names of the operands."""

DIMS = ("N", "C", "M", "G", "P", "Q", "R", "S")

Tensor = Literal["Weights", "Inputs", "Outputs"]
Count = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=1)]


def _loop(entry: object) -> tuple[str, int]:
    if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and type(entry[1]) is int):
        raise ValueError(f'a loop reads ["C", 4], not {json.dumps(entry)}')
    dim, bound = entry
    if dim not in DIMS:
        raise ValueError(f"no dim named {dim!r} {near(dim, DIMS)}")
    if bound < 1:
        raise ValueError(f"the loop over {dim} has {bound} iterations; it takes at least 1")
    return dim, bound


Loop = Annotated[tuple[str, int], BeforeValidator(_loop)]


def _plain(key: str) -> str:
    return key.lower().replace("_", "")


class _Part(BaseModel):
    """A part of the file: keys that it does not know are notes, unless they look like one that is missing."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_misspelt(cls, data: Any) -> Any:
        if isinstance(data, dict):
            known = {field.alias or name for name, field in cls.model_fields.items()}
            plain = {_plain(key): key for key in known - set(data)}
            for key in sorted(set(data) - known):
                for meant in difflib.get_close_matches(_plain(key), plain, n=1, cutoff=0.9):
                    raise ValueError(f"no key {key!r}; did you mean {plain[meant]!r}?")
        return data


class AccessTable(_Part):
    """Energies of a level [pJ] per access, and its leakage per cycle."""

    read: Count
    write: Count
    update: Count | None = None
    leak: Count = 0.0


class Level(_Part):
    """A level of an architecture, see the module's text."""

    name: str
    cls: str = ""
    fanout_x: Whole = Field(alias="fanoutX")
    fanout_y: Whole = Field(alias="fanoutY")
    mesh_x: Whole | None = Field(None, alias="meshX")
    mesh_y: Whole | None = Field(None, alias="meshY")
    instances: Whole | None = None
    spatial_only: bool = False
    keep: list[Tensor] = []
    capacity_words: Count | None = None
    multiple_buffering: Annotated[float, Field(ge=1)] = 1.0
    block_size: Whole = 1
    cluster_size: Whole = 1
    word_bits: Positive = 1.0
    read_bandwidth: Positive | None = None
    write_bandwidth: Positive | None = None
    shared_bandwidth: Positive | None = None
    energies: AccessTable | None = Field(None, alias="ERT_pJ_per_vector_access")
    reduction_supported: bool | None = None
    router_energy: Count | None = None
    wire_energy: Count | None = None
    tile_width: Count | None = None

    @property
    def usable_words(self) -> float:
        """Words that the tiles of all tensors may take together."""
        return math.inf if self.capacity_words is None else self.capacity_words // self.multiple_buffering

    @property
    def reduces(self) -> bool:
        """Whether partial sums are added here."""
        return "DRAM" not in self.cls if self.reduction_supported is None else self.reduction_supported


class Compute(_Part):
    """The multiplier-accumulators."""

    name: str = "compute"
    mesh_x: Whole | None = Field(None, alias="meshX")
    mesh_y: Whole | None = Field(None, alias="meshY")
    energy_pj: Count = Field(alias="energy_pJ")


class Architecture(_Part):
    """A machine."""

    levels: Annotated[list[Level], Field(min_length=1)]
    compute: Compute


class Shape(_Part):
    """A layer."""

    name: str = ""
    kind: str = "conv"
    n: Whole = Field(1, alias="N")
    c: Whole = Field(alias="C")
    m: Whole = Field(alias="M")
    g: Whole = Field(1, alias="G")
    p: Whole = Field(alias="P")
    q: Whole = Field(alias="Q")
    r: Whole = Field(alias="R")
    s: Whole = Field(alias="S")
    stride_p: Whole = Field(1, alias="Wstride")
    stride_q: Whole = Field(1, alias="Hstride")
    dilation_r: Whole = Field(1, alias="Wdilation")
    dilation_s: Whole = Field(1, alias="Hdilation")

    def layer(self) -> Layer:
        """The layer as the cost model takes it."""
        return Layer(
            self.name or "layer", "pool" if self.kind in ("pool", "add") else "conv",
            self.n, self.g, self.m, self.c, self.p, self.q, self.r, self.s,
            stride=(self.stride_p, self.stride_q), dilation=(self.dilation_r, self.dilation_s),
        )  # fmt: skip


class Nest(_Part):
    """The loops of one level."""

    level: str
    keep: list[Tensor] | None = None
    temporal: list[Loop] = []
    spatial_x: list[Loop] = Field([], alias="spatialX")
    spatial_y: list[Loop] = Field([], alias="spatialY")


class TensorFigures(_Part):
    """What is known of a tensor at a level."""

    tile_words: Count | None = None
    instances: Count | None = None
    reads: Count | None = None
    fills: Count | None = None
    updates: Count | None = None
    energy_pj: Count | None = Field(None, alias="energy_pJ")


class LevelFigures(_Part):
    """What is known of a level."""

    cycles: Count | None = None
    leak_pj: Count | None = Field(None, alias="leak_pJ")
    energy_pj: Count | None = Field(None, alias="energy_pJ")
    ds: dict[Tensor, TensorFigures] = {}


class NetworkFigures(_Part):
    """What is known of a tensor in the network below a level."""

    fanout: Count | None = None
    ingresses: list[Annotated[list[float], Field(min_length=3, max_length=3)]] | None = None
    link_transfers: Count | None = None
    spatial_reductions: Count | None = None
    energy_pj: Count | None = Field(None, alias="energy_pJ")
    link_energy_pj: Count = Field(0.0, alias="link_energy_pJ")


class Record(_Part):
    """A layer, a machine, a mapping, and what is known of them."""

    id: int | str | None = None
    arch: str
    layer: Shape
    mapping: list[Nest]
    cycles: Count | None = None
    compute_cycles: Count | None = None
    macs: Count | None = None
    energy_pj: Count | None = Field(None, alias="energy_pJ")
    mac_energy_pj: Count | None = Field(None, alias="mac_energy_pJ")
    levels: dict[str, LevelFigures] = {}
    networks: dict[str, dict[Tensor, NetworkFigures]] = {}
