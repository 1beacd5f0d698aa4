"""Vision transformers: an image as a sequence of patches, blocks of attention and of two fully connected layers.

The shape is that of ViT (A. Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021) and DeiT (H. Touvron et
al., ICML 2021): a layer norm before attention and before the fully connected layers, the input added behind each. What
may be chosen is AutoFormer's space (M. Chen et al., "AutoFormer: Searching Transformers for Visual Recognition", ICCV
2021, table 1): embedding width, depth, heads and MLP ratio, the last two per block; queries, keys and values have
``heads x head_width`` channels, whatever the embedding width. Beyond it, the patches' size and the stem:

    patch   patches that do not overlap, one convolution (kernel = stride = patch)
    conv    3x3 convolutions of stride 2, batch norm and ReLU until a pixel stands for a patch, then a pointwise one
            (T. Xiao et al., "Early Convolutions Help Transformers See Better", NeurIPS 2021)

What is counted: queries, keys and values are a product each, as are their scores and their weighted sums (of two
activations); GELU is applied on the way, as accelerators do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from coevo.errors import SpecError
from coevo.networks.bits import BitSettings, bit_genes, with_bits
from coevo.networks.choices import CHOICES, Picker, gene_of
from coevo.networks.described import Described
from coevo.networks.graph import INPUT, Add, Conv, GlobalPool, Graph, Linear, Node
from coevo.networks.sequence import FirstToken, LayerNorm, Mix, Scores, Softmax, Tokens
from coevo.protocols import Task
from coevo.space import Gene

_Int = Annotated[int, Field(strict=True, ge=1)]

Patches = Annotated[tuple[Annotated[_Int, Field(le=64)], ...], *CHOICES]
Stems = Annotated[tuple[Literal["patch", "conv"], ...], *CHOICES]
Widths = Annotated[tuple[Annotated[_Int, Field(le=16384)], ...], *CHOICES]
Depths = Annotated[tuple[Annotated[_Int, Field(le=64)], ...], *CHOICES]
Heads = Annotated[tuple[Annotated[_Int, Field(le=256)], ...], *CHOICES]
Ratios = Annotated[tuple[Annotated[float, Field(gt=0, le=64, allow_inf_nan=False)], ...], *CHOICES]


class ViTSettings(BaseModel):
    """The space: each field is a value, or a list of choices that becomes a gene.

    Attributes:
        patch: Height and width of a patch [pixel].
        stem: How patches become tokens.
        width: Channels of a token (embedding).
        depth: Blocks.
        heads: Of attention.
        head_width: Channels of a head's queries, keys and values.
        mlp_ratio: Hidden channels of a block's fully connected layers over ``width``.
        granularity: Whether all blocks share heads and ratio or each has its own.
        output: What the classifier reads: a class token, or the mean of all tokens.
        bits: Bit widths (`coevo.networks.bits`), of the network as a whole; None trains in float.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    patch: Patches
    stem: Stems = ("patch",)
    width: Widths
    depth: Depths
    heads: Heads
    head_width: Widths = (64,)
    mlp_ratio: Ratios = (4.0,)
    granularity: Literal["network", "block"] = "network"
    output: Literal["class_token", "mean"] = "class_token"
    bits: BitSettings | None = None

    @field_validator("bits")
    @classmethod
    def _one_stage(cls, bits: BitSettings | None) -> BitSettings | None:
        if bits is not None and bits.per == "stage":
            raise ValueError("a transformer has no stages; take `per: network`")
        return bits

    @model_validator(mode="after")
    def _halved(self) -> ViTSettings:
        odd = [patch for patch in self.patch if patch & (patch - 1) or patch == 1]
        if "conv" in self.stem and odd:
            raise ValueError(
                f"stem: conv halves the map until a pixel is a patch: patch must be 2, 4, 8, ..., got {odd[0]}"
            )
        return self


_BLOCK_FIELDS = ("heads", "mlp_ratio")


class ViT(Described):
    """Vision transformers (ViT, DeiT), chosen as AutoFormer does: per network or per block.

    Args:
        settings: The space.
        task: What the networks are built for.

    Raises:
        SpecError: A patch does not divide the image.
    """

    Settings: ClassVar[type[BaseModel]] = ViTSettings

    def __init__(self, settings: ViTSettings, task: Task) -> None:
        self._settings = settings
        self._task = task
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
            SpecError: A patch does not divide the deployment's image.
        """
        task = task or self._task
        self._check(task)
        pick = Picker(choices)
        nodes = with_bits(_nodes(self._settings, pick, task.classes), self._settings.bits, pick, {})
        size = task.resolution
        return Graph(f"vit at {size}x{size}", (task.channels, size, size), nodes)

    def _check(self, task: Task) -> None:
        """Refuses patches that leave a rest of the image."""
        for patch in self._settings.patch:
            if task.resolution % patch:
                size = f"{task.resolution}x{task.resolution}"
                raise SpecError(f"patches of {patch} pixels do not divide an image of {size}", field="patch")


plugin = ViT


def _genes(settings: ViTSettings) -> Iterator[Gene]:
    """The genes from input to output."""
    for field in ("patch", "stem", "width", "depth", "head_width"):
        yield from gene_of(field, getattr(settings, field))
    if settings.granularity == "network":
        for field in _BLOCK_FIELDS:
            yield from gene_of(field, getattr(settings, field))
    else:
        for block in range(1, max(settings.depth) + 1):
            yield from _block_genes(settings, block)
    yield from bit_genes(settings.bits, 0)


def _block_genes(settings: ViTSettings, block: int) -> Iterator[Gene]:
    """A block's own genes, which hang on the depth that includes it."""
    deep_enough = tuple(depth for depth in settings.depth if depth >= block)
    parent = "depth" if deep_enough != settings.depth else None
    for field in _BLOCK_FIELDS:
        values = getattr(settings, field)
        yield from gene_of(f"block{block}.{field}", values, parent=parent, when=deep_enough if parent else ())


def _nodes(settings: ViTSettings, pick: Picker, classes: int) -> list[Node]:
    """All nodes of a network."""
    width, patch = pick("width", settings.width), pick("patch", settings.patch)
    token = settings.output == "class_token"
    nodes = _stem(pick("stem", settings.stem), patch, width)
    nodes.append(Tokens("tokens", nodes[-1].name, class_token=token))
    head_width = pick("head_width", settings.head_width)
    for block in range(1, pick("depth", settings.depth) + 1):
        owner = "" if settings.granularity == "network" else f"block{block}."
        heads, ratio = (pick(f"{owner}{field}", getattr(settings, field)) for field in _BLOCK_FIELDS)
        hidden = max(1, round(ratio * width))
        nodes += _block(f"block{block}", nodes[-1].name, width, heads, heads * head_width, hidden)
    last = nodes[-1].name
    if token:  # the norm is of each token by itself: the others need none
        nodes += [FirstToken("head.token", last), LayerNorm("head.norm", "head.token")]
    else:
        nodes += [LayerNorm("head.norm", last), GlobalPool("head.pool", "head.norm")]
    return [*nodes, Linear("head.linear", nodes[-1].name, classes)]


def _stem(kind: str, patch: int, width: int) -> list[Node]:
    """Patches as pixels of a map; the last node is its output."""
    if kind == "patch":
        return [Conv("stem", INPUT, width, kernel=patch, stride=patch, affine="bias", padded=False)]
    halvings = patch.bit_length() - 1
    nodes: list[Node] = []
    for i in range(1, halvings + 1):
        source = nodes[-1].name if nodes else INPUT
        channels = max(1, width >> (halvings - i))
        nodes.append(Conv(f"stem.conv{i}", source, channels, kernel=3, stride=2, after="relu"))
    return [*nodes, Conv("stem.project", nodes[-1].name, width, affine="bias")]


def _block(name: str, source: str, width: int, heads: int, inner: int, hidden: int) -> list[Node]:
    """Attention of ``heads`` on ``inner`` channels, then layers of ``hidden`` channels; its last node is its output."""
    part = {x: f"{name}.{x}" for x in ("norm1", "query", "key", "value", "scores", "softmax", "mix", "project", "add1")}
    part |= {x: f"{name}.{x}" for x in ("norm2", "expand", "reduce", "add2")}
    return [
        LayerNorm(part["norm1"], source),
        *(Conv(part[x], part["norm1"], inner, affine="bias") for x in ("query", "key", "value")),
        Scores(part["scores"], (part["query"], part["key"]), heads),
        Softmax(part["softmax"], part["scores"]),
        Mix(part["mix"], (part["softmax"], part["value"])),
        Conv(part["project"], part["mix"], width, affine="bias"),
        Add(part["add1"], (source, part["project"])),
        LayerNorm(part["norm2"], part["add1"]),
        Conv(part["expand"], part["norm2"], hidden, affine="bias", after="gelu"),
        Conv(part["reduce"], part["expand"], width, affine="bias"),
        Add(part["add2"], (part["add1"], part["reduce"])),
    ]
