"""NAS-Bench-201's networks: one cell, repeated in a fixed skeleton (Dong and Yang, ICLR 2020, fig. 1).

A cell has four nodes; each of its six edges carries one of five operations, and a node is the sum of its edges.
The skeleton is a 3x3 stem to C channels, N cells, a residual block that halves the map and doubles the channels, N
cells, another such block, N cells, batch norm with ReLU, global average pooling and a classifier. Convolutions are
ReLU, convolution, batch norm in that order.

What is counted, in workload and module alike:

- An operation counts even if nothing depends on it (a dead edge), as in the published table.
- ``skip_connect`` is a wire and ``none`` is absent: neither is a layer, and ``none`` is no addend. A node with one
  addend is that addend; one with none is zeros.
- Multiply-accumulates with C = 16, N = 5 on CIFAR-10 are 7,783,040 + 3,932,160 n1 + 35,389,440 n3 for n1 1x1 and n3 3x3
  edges, 10 below the table's 7.78305 million: the table also counts the classifier's bias. Parameters are the
  table's, 73,306 + 28,000 n1 + 243,040 n3.

An architecture is also written as the paper's string, ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|...|``, or as six
digits, one per edge in that order, each an index into `OPERATIONS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from coevo.errors import SpecError, near
from coevo.networks.bits import BitSettings, bit_genes, with_bits
from coevo.networks.choices import Picker
from coevo.networks.described import Described
from coevo.networks.graph import INPUT, Add, Conv, GlobalPool, Graph, Linear, Node, Norm, Pool, Zeros
from coevo.protocols import Task
from coevo.space import Gene

Operation = Literal["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]

OPERATIONS: tuple[Operation, ...] = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""The operations, in the paper's order: the digits 0 to 4."""

NODES = 4
"""Values in a cell; the first is its input, the last its output."""

EDGES = tuple((node, source) for node in range(1, NODES) for source in range(node))
"""(node, earlier node that it reads) of every edge, in the order of the paper's string."""

STAGES = 3
"""Runs of cells in the skeleton; between them the map is halved."""


class CellSettings(BaseModel):
    """The skeleton's size.

    Attributes:
        channels: Of the first stage (C); they double at each reduction.
        cells: Of each stage (N).
        bits: Bit widths (`coevo.networks.bits`); None leaves them to the accelerator, and trains in float. A residual
            block between two stages has those of the second.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    channels: Annotated[int, Field(strict=True, ge=1, le=4096)] = 16
    cells: Annotated[int, Field(strict=True, ge=1, le=64)] = 5
    bits: BitSettings | None = None


class Cell(Described):
    """The cell of NAS-Bench-201: six edges of five operations each, in its macro skeleton.

    Args:
        settings: The skeleton's size.
        task: What the networks are built for.

    Raises:
        SpecError: The input cannot be halved twice.
    """

    Settings: ClassVar[type[BaseModel]] = CellSettings

    def __init__(self, settings: CellSettings, task: Task) -> None:
        self._settings = settings
        self._task = task
        self._check(task)

    @property
    def settings(self) -> CellSettings:
        """The skeleton's size."""
        return self._settings

    def shallower(self, share: float) -> Cell:
        """Returns the family of the same cells in a skeleton with ``share`` of the cells per stage, at least one."""
        cells = max(1, round(share * self._settings.cells))
        return Cell(CellSettings(channels=self._settings.channels, cells=cells), self._task)

    @property
    def genes(self) -> tuple[Gene, ...]:
        """One per edge, ``node2.from1`` being the edge from node 1 to node 2; then those of the bits."""
        edges = (Gene(_edge(*edge), OPERATIONS, ordered=False) for edge in EDGES)
        return (*edges, *bit_genes(self._settings.bits, STAGES))

    def graph(self, choices: Mapping[str, Any], task: Task | None = None) -> Graph:
        """Returns the description from which workload and module are made.

        Args:
            choices: The operation of every edge by gene, and the bits.
            task: What the network is deployed for; None for the family's own task.

        Raises:
            ValueError: A gene has no value.
            SpecError: The deployment's input cannot be halved twice.
        """
        task = task or self._task
        self._check(task)
        missing = [_edge(*edge) for edge in EDGES if _edge(*edge) not in choices]
        if missing:
            raise ValueError(f"no value for {', '.join(missing)}")
        stages = {f"stage{i}": i for i in range(1, STAGES + 1)} | {f"reduction{i}": i + 1 for i in range(1, STAGES)}
        nodes = with_bits(_nodes(choices, self._settings, task.classes), self._settings.bits, Picker(choices), stages)
        return Graph(f"cell {to_string(choices)}", (task.channels, task.resolution, task.resolution), nodes)

    @staticmethod
    def _check(task: Task) -> None:
        """Refuses maps that do not halve: convolution and pooling of a reduction would then differ in size."""
        halvings = 2 ** (STAGES - 1)
        if task.resolution % halvings:
            raise SpecError(
                f"the cell family halves the map {STAGES - 1} times, so the input's resolution must be a multiple of "
                f"{halvings} pixels, got {task.resolution}",
                field="family",
            )


plugin = Cell


def to_digits(choices: Mapping[str, Any]) -> str:
    """Returns the six digits of a cell, e.g. ``334131``."""
    return "".join(str(OPERATIONS.index(choices[_edge(*edge)])) for edge in EDGES)


def from_digits(digits: str) -> dict[str, Operation]:
    """Returns the choices that six digits stand for.

    Raises:
        SpecError: They are not six digits from 0 to 4.
    """
    if not re.fullmatch(rf"[0-{len(OPERATIONS) - 1}]{{{len(EDGES)}}}", digits):
        raise SpecError(f"a cell is {len(EDGES)} digits from 0 to {len(OPERATIONS) - 1}, got {digits!r}")
    return {_edge(*edge): OPERATIONS[int(digit)] for edge, digit in zip(EDGES, digits, strict=True)}


def to_string(choices: Mapping[str, Any]) -> str:
    """Returns the paper's string of a cell, ``|...~0|+|...~0|...~1|+|...~0|...~1|...~2|``."""
    nodes = ([f"{choices[_edge(node, source)]}~{source}" for source in range(node)] for node in range(1, NODES))
    return "+".join(f"|{'|'.join(terms)}|" for terms in nodes)


def from_string(text: str) -> dict[str, Operation]:
    """Returns the choices that the paper's string stands for.

    Raises:
        SpecError: It is no such string; the text says what is wrong with it.
    """
    operations = re.findall(r"([^|~+]+)~", text)
    for operation in operations:
        if operation not in OPERATIONS:
            raise SpecError(f"cell {text!r}: unknown operation {operation!r} {near(operation, OPERATIONS)}")
    choices = {_edge(*edge): operation for edge, operation in zip(EDGES, operations, strict=False)}
    if len(choices) < len(EDGES) or to_string(choices) != text:
        raise SpecError(f"not a cell: {text!r}; write |op~0|+|op~0|op~1|+|op~0|op~1|op~2|")
    return choices


def isomorphism_class(choices: Mapping[str, Any]) -> str:
    """Returns a text that cells of one class share, those that compute the same function: 6,466 classes of 15,625.

    A skip is its source, an absent edge or one that reads nothing is ``#``, addends are sorted: the rule by which
    the benchmark counts its distinct cells (X. Dong, Y. Yang, ICLR 2020, section 2.1: isomorphic cells).
    """
    values = ["0"]
    for node in range(1, NODES):
        addends = []
        for source in range(node):
            operation = choices[_edge(node, source)]
            if operation == "none" or values[source] == "#":
                addends.append("#")
            elif operation == "skip_connect":
                addends.append(values[source])
            else:
                addends.append(f"({values[source]})@{operation}")
        values.append("+".join(sorted(addends)))
    return values[-1]


def _edge(node: int, source: int) -> str:
    return f"node{node}.from{source}"


def _nodes(choices: Mapping[str, Any], settings: CellSettings, classes: int) -> list[Node]:
    """The whole skeleton."""
    channels = settings.channels
    nodes: list[Node] = [Conv("stem", INPUT, channels, kernel=3)]
    source = "stem"
    for stage in range(1, STAGES + 1):
        for i in range(1, settings.cells + 1):
            cell, source = _cell(f"stage{stage}.cell{i}", source, channels, choices)
            nodes += cell
        if stage < STAGES:
            channels *= 2
            nodes += _reduction(f"reduction{stage}", source, channels)
            source = nodes[-1].name
    nodes.append(Norm("head.norm", source, after="relu"))
    return [*nodes, GlobalPool("head.pool", "head.norm"), Linear("head.linear", "head.pool", classes)]


def _reduction(name: str, source: str, channels: int) -> list[Node]:
    """A residual block of stride 2; its shortcut is an average pooling and a bare pointwise convolution."""
    return [
        Conv(f"{name}.conv1", source, channels, kernel=3, stride=2, before="relu"),
        Conv(f"{name}.conv2", f"{name}.conv1", channels, kernel=3, before="relu"),
        Pool(f"{name}.pool", source, "avg", kernel=2, stride=2),
        Conv(f"{name}.shortcut", f"{name}.pool", channels, affine="none"),
        Add(f"{name}.add", (f"{name}.shortcut", f"{name}.conv2")),
    ]


def _cell(name: str, source: str, channels: int, choices: Mapping[str, Any]) -> tuple[list[Node], str]:
    """Returns a cell's nodes and the name of its output."""
    nodes: list[Node] = []
    values: list[str] = [source]
    absent: set[str] = set()  # values that are zeros
    for node in range(1, NODES):
        addends = []
        for j, given in enumerate(values):
            operation = choices[_edge(node, j)]
            if operation == "skip_connect" and given not in absent:
                addends.append(given)
            elif operation not in ("none", "skip_connect"):
                nodes.append(_operation(f"{name}.{_edge(node, j)}", given, channels, operation))
                addends.append(nodes[-1].name)
        if not addends:
            nodes.append(Zeros(f"{name}.node{node}.zeros", source))
            absent.add(nodes[-1].name)
        elif len(addends) > 1:
            nodes.append(Add(f"{name}.node{node}.add", tuple(addends)))
        values.append(addends[0] if len(addends) == 1 else nodes[-1].name)
    return nodes, values[-1]


def _operation(name: str, source: str, channels: int, operation: Operation) -> Node:
    if operation == "avg_pool_3x3":
        return Pool(name, source, "avg", kernel=3)
    return Conv(name, source, channels, kernel=1 if operation == "nor_conv_1x1" else 3, before="relu")
