"""Stages of inverted residual blocks, with a classifier on top: MobileNetV2's shape of network, and its relatives.

A stage repeats a block; its first block strides and changes the width. The block is one of

    mbconv   pointwise expand, depthwise k x k, pointwise project (Sandler et al., CVPR 2018, fig. 4b)
    fused    dense k x k expand, pointwise project (Tan and Le, ICML 2021, fig. 2)

With expansion 1, mbconv leaves out the expand and fused is one dense k x k convolution. The input is added
where a block keeps shape (stride 1, equal width). Batch norm follows every convolution, ReLU6 every one
but the projections (the linear bottleneck), both fused into it.

With ``granularity: stage`` the blocks of a stage share kernel, expansion and operator (hierarchical, as MnasNet,
Tan et al., CVPR 2019); with ``granularity: block`` every block has its own (layer-wise, as ProxylessNAS, Cai et al.,
ICLR 2019, and FBNet, Wu et al., CVPR 2019). The genes of a block that the chosen depth leaves out are inactive.

A network computes at the chosen ``resolution``; images of another size are resized first, which costs the
accelerator nothing (the camera delivers that size). Deployed for another task, the resolution scales with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from coevo.errors import SpecError
from coevo.networks.bits import BitSettings, bit_genes, with_bits
from coevo.networks.choices import CHOICES, Picker, gene_of
from coevo.networks.described import Described
from coevo.networks.graph import INPUT, Add, Conv, GlobalPool, Graph, Linear, Node
from coevo.protocols import Task
from coevo.space import Gene


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError(f"a kernel must be odd (its window needs a middle pixel), got {kernel}")
    return kernel


def _at_least_one(stages: object) -> object:
    if not isinstance(stages, list | tuple) or not stages:
        raise ValueError("must be a list of at least one stage: - {depth, width, kernel, expansion, operator, stride}")
    return stages


_Int = Annotated[int, Field(strict=True, ge=1)]

Operator = Literal["mbconv", "fused"]
Depths = Annotated[tuple[Annotated[_Int, Field(le=64)], ...], *CHOICES]
Widths = Annotated[tuple[Annotated[_Int, Field(le=16384)], ...], *CHOICES]
Kernels = Annotated[tuple[Annotated[_Int, Field(le=31), AfterValidator(_odd)], ...], *CHOICES]
Expansions = Annotated[tuple[Annotated[_Int, Field(le=64)], ...], *CHOICES]
Operators = Annotated[tuple[Operator, ...], *CHOICES]
Strides = Annotated[tuple[Annotated[_Int, Field(le=8)], ...], *CHOICES]
Resolutions = Annotated[tuple[Annotated[_Int, Field(le=4096)], ...], *CHOICES]


class Stem(BaseModel):
    """The first convolution, dense."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: Widths
    kernel: Kernels = (3,)
    stride: Strides = (1,)


class Stage(BaseModel):
    """A run of blocks of one width."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    depth: Depths
    width: Widths
    kernel: Kernels = (3,)
    expansion: Expansions = (1,)
    operator: Operators = ("mbconv",)
    stride: Strides = (1,)


class Head(BaseModel):
    """A pointwise convolution before the classifier."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    width: Widths


class MBConvSettings(BaseModel):
    """The space: each field is a value, or a list of choices that becomes a gene.

    Attributes:
        granularity: Whether a stage's blocks share kernel, expansion and operator.
        resolution: Height and width that the network computes at [pixel]; None takes the task's.
        stem: First convolution.
        stages: From input to output.
        head: Last convolution; None leaves it out.
        bits: Bit widths (`coevo.networks.bits`); None leaves them to the accelerator, and trains in float.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    granularity: Literal["stage", "block"] = "stage"
    resolution: Resolutions | None = None
    stem: Stem
    stages: Annotated[tuple[Stage, ...], BeforeValidator(_at_least_one)]
    head: Head | None = None
    bits: BitSettings | None = None


_BLOCK_FIELDS = ("kernel", "expansion", "operator")


class MBConv(Described):
    """Stages of inverted residual blocks (MobileNetV2, fused as in EfficientNetV2), chosen per stage or per block.

    Args:
        settings: The space.
        task: What the networks are built for.

    Raises:
        SpecError: Strides shrink the smallest map to nothing.
    """

    Settings: ClassVar[type[BaseModel]] = MBConvSettings

    def __init__(self, settings: MBConvSettings, task: Task) -> None:
        self._settings = settings
        self._task = task
        self._fits: set[int] = set()
        self._check(task)
        self._genes = tuple(_genes(settings))

    @property
    def genes(self) -> tuple[Gene, ...]:
        """The decisions: every field with several choices."""
        return self._genes

    def graph(self, choices: Mapping[str, Any], task: Task | None = None) -> Graph:
        """Returns the description from which workload and module are made.

        Args:
            choices: The value of every active gene by name.
            task: What the network is deployed for; None for the family's own task.

        Raises:
            ValueError: An active gene has no value.
            SpecError: The deployment's resolution is too small for the space's strides.
        """
        task = task or self._task
        self._check(task)
        pick = Picker(choices)
        resolution = self._deployed(pick("resolution", self._resolutions), task)
        stages = {f"stage{i}": i for i in range(1, len(self._settings.stages) + 1)}
        nodes = with_bits(_nodes(self._settings, pick, task.classes), self._settings.bits, pick, stages)
        return Graph(f"mbconv at {resolution}x{resolution}", (task.channels, resolution, resolution), nodes)

    @property
    def _resolutions(self) -> tuple[int, ...]:
        return self._settings.resolution or (self._task.resolution,)

    def _deployed(self, resolution: int, task: Task) -> int:
        """The resolution at a task for one chosen at the family's own [pixel]."""
        return max(1, round(resolution * task.resolution / self._task.resolution))

    def _check(self, task: Task) -> None:
        """Refuses strides that shrink a map below a pixel, for the worst of all choices."""
        if task.resolution in self._fits:
            return
        strides = {"stem.stride": max(self._settings.stem.stride)}
        strides |= {f"stages.{i}.stride": max(stage.stride) for i, stage in enumerate(self._settings.stages)}
        refuse_shrinking(self._deployed(min(self._resolutions), task), strides)
        self._fits.add(task.resolution)


plugin = MBConv


def refuse_shrinking(resolution: int, strides: Mapping[str, int]) -> None:
    """Checks that something is left of an input behind strides.

    Args:
        resolution: Height and width of the input [pixel].
        strides: By the field that gives each, from input to output.

    Raises:
        SpecError: Nothing is left.
    """
    size = resolution
    for field, stride in strides.items():
        if size < stride:
            raise SpecError(
                f"a stride of {stride} shrinks a map of {size} pixel to nothing (input {resolution}x{resolution}); "
                "take smaller strides or a larger resolution",
                field=field,
            )
        size = -(-size // stride)


def _genes(settings: MBConvSettings) -> Iterator[Gene]:
    """The genes from input to output."""
    yield from gene_of("resolution", settings.resolution or ())
    for field in ("width", "kernel", "stride"):
        yield from gene_of(f"stem.{field}", getattr(settings.stem, field))
    for i, stage in enumerate(settings.stages, 1):
        for field in ("depth", "width", "stride"):
            yield from gene_of(f"stage{i}.{field}", getattr(stage, field))
        yield from _block_genes(f"stage{i}", stage, settings.granularity)
    if settings.head:
        yield from gene_of("head.width", settings.head.width)
    yield from bit_genes(settings.bits, len(settings.stages))


def _block_genes(stage_name: str, stage: Stage, granularity: str) -> Iterator[Gene]:
    """What a stage's blocks share, or each block's own; those of a block hang on the depth that includes it."""
    if granularity == "stage":
        for field in _BLOCK_FIELDS:
            yield from gene_of(f"{stage_name}.{field}", getattr(stage, field))
        return
    for block in range(1, max(stage.depth) + 1):
        deep_enough = tuple(depth for depth in stage.depth if depth >= block)
        depends = deep_enough != stage.depth
        for field in _BLOCK_FIELDS:
            yield from gene_of(
                f"{stage_name}.block{block}.{field}",
                getattr(stage, field),
                parent=f"{stage_name}.depth" if depends else None,
                when=deep_enough if depends else (),
            )


def _nodes(settings: MBConvSettings, pick: Picker, classes: int) -> list[Node]:
    """All nodes of a network."""
    stem = settings.stem
    width = pick("stem.width", stem.width)
    kernel, stride = pick("stem.kernel", stem.kernel), pick("stem.stride", stem.stride)
    nodes: list[Node] = [Conv("stem", INPUT, width, kernel, stride, after="relu6")]
    for i, stage in enumerate(settings.stages, 1):
        name, given, width = f"stage{i}", width, pick(f"stage{i}.width", stage.width)
        stride = pick(f"{name}.stride", stage.stride)
        for block in range(1, pick(f"{name}.depth", stage.depth) + 1):
            block_name = f"{name}.block{block}"
            owner = name if settings.granularity == "stage" else block_name
            fields = {field: pick(f"{owner}.{field}", getattr(stage, field)) for field in _BLOCK_FIELDS}
            nodes += _block(block_name, nodes[-1].name, given, width, stride, **fields)
            given, stride = width, 1
    if settings.head:
        nodes.append(Conv("head.conv", nodes[-1].name, pick("head.width", settings.head.width), after="relu6"))
    return [*nodes, GlobalPool("head.pool", nodes[-1].name), Linear("head.linear", "head.pool", classes)]


def _block(
    name: str, source: str, given: int, width: int, stride: int, *, kernel: int, expansion: int, operator: Operator
) -> list[Node]:
    """One block from ``given`` to ``width`` channels; its last node is its output."""
    hidden, expand, project = given * expansion, f"{name}.expand", f"{name}.project"
    nodes: list[Node]
    if operator == "fused" and expansion == 1:
        nodes = [Conv(f"{name}.conv", source, width, kernel, stride, after="relu6")]
    elif operator == "fused":
        nodes = [Conv(expand, source, hidden, kernel, stride, after="relu6"), Conv(project, expand, width)]
    else:
        depthwise = f"{name}.depthwise"
        nodes = [] if expansion == 1 else [Conv(expand, source, hidden, after="relu6")]
        window = nodes[-1].name if nodes else source
        nodes.append(Conv(depthwise, window, hidden, kernel, stride, groups=hidden, after="relu6"))
        nodes.append(Conv(project, depthwise, width))
    if stride == 1 and given == width:
        nodes.append(Add(f"{name}.add", (source, nodes[-1].name)))
    return nodes
