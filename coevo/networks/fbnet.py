"""FBNet's networks: a fixed chain of blocks, each of which is one of nine operators (Wu et al., CVPR 2019, table 1).

An operator is an inverted residual block, ``k3_e6`` with kernel 3 and expansion 6, or the input itself, ``skip``. A
block is a pointwise expansion (also where the expansion is 1), a depthwise k x k, and a pointwise projection; ``_g2``
splits both pointwise convolutions into two groups, between which channels are shuffled. The input is added where a
block keeps shape. Where ``skip`` cannot be the input itself, since map or width change, it is a pointwise convolution.

The details that the paper leaves open are those of HW-NAS-Bench's networks (C. Li et al., ICLR 2021; its
``hw_nas_bench_api/fbnet_models/model_infer.py``), so that its figures are figures of these: ReLU behind all but the
projections, batch norm behind every convolution, and for CIFAR a stem and a second stage that do not stride and a head
of 1,504 channels. Those are the defaults.

A network is also written as 22 digits, each an index into `OPERATORS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from coevo.errors import SpecError
from coevo.networks.bits import BitSettings, bit_genes, with_bits
from coevo.networks.choices import Picker
from coevo.networks.described import Described
from coevo.networks.graph import INPUT, Add, Conv, GlobalPool, Graph, Linear, Node
from coevo.networks.mbconv import refuse_shrinking
from coevo.protocols import Task
from coevo.space import Gene


class Block(NamedTuple):
    """An operator that computes.

    Attributes:
        kernel: Of the depthwise convolution [pixel].
        expansion: Its channels over those of the block's input.
        groups: Of the pointwise convolutions.
    """

    kernel: int
    expansion: int
    groups: int = 1


OPERATORS: Mapping[str, Block | None] = {
    "k3_e1": Block(3, 1),
    "k3_e1_g2": Block(3, 1, 2),
    "k3_e3": Block(3, 3),
    "k3_e6": Block(3, 6),
    "k5_e1": Block(5, 1),
    "k5_e1_g2": Block(5, 1, 2),
    "k5_e3": Block(5, 3),
    "k5_e6": Block(5, 6),
    "skip": None,
}
"""The operators in HW-NAS-Bench's order: the digits 0 to 8."""


def _even(width: int) -> int:
    if width % 2:
        raise ValueError(f"must be even, for _g2 splits it into two groups; got {width}")
    return width


Width = Annotated[int, Field(strict=True, ge=2, le=16384), AfterValidator(_even)]
Stride = Annotated[int, Field(strict=True, ge=1, le=8)]


class Stem(BaseModel):
    """The first convolution, 3 x 3 and dense."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: Width = 16
    stride: Stride = 1


class Stage(BaseModel):
    """A run of blocks of one width, the first of which strides."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    depth: Annotated[int, Field(strict=True, ge=1, le=64)]
    width: Width
    stride: Stride = 1


STAGES = tuple(
    Stage(depth=depth, width=width, stride=stride)
    for depth, width, stride in (
        (1, 16, 1),
        (4, 24, 1),
        (4, 32, 2),
        (4, 64, 2),
        (4, 112, 1),
        (4, 184, 2),
        (1, 352, 1),
    )
)
"""FBNet's 22 blocks as HW-NAS-Bench strides them for images of 32 x 32."""


class FBNetSettings(BaseModel):
    """The chain; which operators stand in it is what is searched.

    Attributes:
        stem: First convolution.
        stages: From input to output.
        head: Width of the last, pointwise convolution.
        bits: Bit widths (`coevo.networks.bits`); None leaves them to the accelerator, and trains in float.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    stem: Stem = Stem()
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = STAGES
    head: Width = 1504
    bits: BitSettings | None = None


class FBNet(Described):
    """Chains of FBNet's blocks, one operator of nine each.

    Args:
        settings: The chain.
        task: What the networks are built for.

    Raises:
        SpecError: Strides shrink the map to nothing.
    """

    Settings: ClassVar[type[BaseModel]] = FBNetSettings

    def __init__(self, settings: FBNetSettings, task: Task) -> None:
        self._settings = settings
        self._task = task
        self._check(task)

    @property
    def genes(self) -> tuple[Gene, ...]:
        """One per block, ``stage2.block1``; then those of the bits."""
        blocks = (Gene(name, tuple(OPERATORS), ordered=False) for name, _, _ in _places(self._settings))
        return (*blocks, *bit_genes(self._settings.bits, len(self._settings.stages)))

    def graph(self, choices: Mapping[str, Any], task: Task | None = None) -> Graph:
        """Returns the description from which workload and module are made.

        Args:
            choices: The operator of every block by gene, and the bits.
            task: What the network is deployed for; None for the family's own task.

        Raises:
            ValueError: A gene has no value.
            SpecError: The deployment's resolution is too small for the space's strides.
        """
        task = task or self._task
        self._check(task)
        pick = Picker(choices)
        stages = {f"stage{i}": i for i in range(1, len(self._settings.stages) + 1)}
        nodes = with_bits(_nodes(self._settings, pick, task.classes), self._settings.bits, pick, stages)
        return Graph(f"fbnet {to_digits(choices)}", (task.channels, task.resolution, task.resolution), nodes)

    def _check(self, task: Task) -> None:
        strides = {"stem.stride": self._settings.stem.stride}
        strides |= {f"stages.{i}.stride": stage.stride for i, stage in enumerate(self._settings.stages)}
        refuse_shrinking(task.resolution, strides)


plugin = FBNet


def to_digits(choices: Mapping[str, Any]) -> str:
    """Returns a network as digits, one per block from input to output.

    Raises:
        KeyError: The choices are of another family.
        ValueError: One of them is no operator.
    """
    order = list(OPERATORS)
    blocks = sorted((name for name in choices if _BLOCK.fullmatch(name)), key=_place)
    if not blocks:
        raise KeyError("stage1.block1")
    return "".join(str(order.index(choices[name])) for name in blocks)


def from_digits(digits: str, settings: FBNetSettings | None = None) -> dict[str, str]:
    """Returns the choices that digits stand for; without settings, in FBNet's own chain.

    Raises:
        SpecError: They are not as many digits from 0 to 8 as there are blocks.
    """
    names = [name for name, _, _ in _places(settings or FBNetSettings())]
    if not re.fullmatch(rf"[0-{len(OPERATORS) - 1}]{{{len(names)}}}", digits):
        raise SpecError(f"a network is {len(names)} digits from 0 to {len(OPERATORS) - 1}, got {digits!r}")
    return {name: list(OPERATORS)[int(digit)] for name, digit in zip(names, digits, strict=True)}


_BLOCK = re.compile(r"stage(\d+)\.block(\d+)")


def _place(name: str) -> tuple[int, ...]:
    found = _BLOCK.fullmatch(name)
    return tuple(map(int, found.groups())) if found else ()


def _places(settings: FBNetSettings) -> list[tuple[str, int, int]]:
    """Name, width and stride of every block."""
    return [
        (f"stage{i}.block{block}", stage.width, stage.stride if block == 1 else 1)
        for i, stage in enumerate(settings.stages, 1)
        for block in range(1, stage.depth + 1)
    ]


def _nodes(settings: FBNetSettings, pick: Picker, classes: int) -> list[Node]:
    """All nodes of a network."""
    given = settings.stem.width
    nodes: list[Node] = [Conv("stem", INPUT, given, kernel=3, stride=settings.stem.stride, after="relu")]
    for name, width, stride in _places(settings):
        operator = OPERATORS[pick(name, tuple(OPERATORS))]
        nodes += _block(name, nodes[-1].name, given, width, stride, operator)
        given = width
    nodes.append(Conv("head.conv", nodes[-1].name, settings.head, after="relu"))
    return [*nodes, GlobalPool("head.pool", "head.conv"), Linear("head.linear", "head.pool", classes)]


def _block(name: str, source: str, given: int, width: int, stride: int, operator: Block | None) -> list[Node]:
    """One block from ``given`` to ``width`` channels; its last node is its output, without one that is its source."""
    keeps_shape = stride == 1 and given == width
    if operator is None:
        return [] if keeps_shape else [Conv(f"{name}.skip", source, width, stride=stride, after="relu")]
    kernel, expansion, groups = operator
    hidden, expand, depthwise, project = given * expansion, f"{name}.expand", f"{name}.depthwise", f"{name}.project"
    nodes: list[Node] = [
        Conv(expand, source, hidden, groups=groups, after="relu"),
        Conv(depthwise, expand, hidden, kernel, stride, groups=hidden, after="relu", shuffle=groups),
        Conv(project, depthwise, width, groups=groups),
    ]
    return [*nodes, Add(f"{name}.add", (source, project))] if keeps_shape else nodes
