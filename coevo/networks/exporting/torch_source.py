"""A trained network as a Python file that needs torch alone: its layers one by one, and how to load its weights.

Names of nodes become names of attributes (``stage1.block2.expand`` -> ``stage1_block2_expand``). A layer with bit
widths becomes an ordinary one: its weights are written as they are after rounding.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from coevo.networks.attention import ChannelNorm, HeadProducts, HeadSums, TokenSequence
from coevo.networks.graph import INPUT, Activation, Add, Conv, GlobalPool, Graph, Linear, Node, Norm, Pool, Shape, Zeros
from coevo.networks.modules import Shuffle
from coevo.networks.quantised import ActivationGrid, QuantisedConv2d, QuantisedLinear, Stored, with_stored
from coevo.networks.sequence import FirstToken, LayerNorm, Mix, Scores, Softmax, Tokens

if TYPE_CHECKING:
    from torch import Tensor, nn

_WIDTH = 110
_ACTIVATIONS: Mapping[Activation, str] = {"relu": "nn.ReLU()", "relu6": "nn.ReLU6()", "gelu": "nn.GELU()"}


def torch_source(graph: Graph, about: str, mean: Sequence[float], std: Sequence[float]) -> str:
    """Returns the file's text.

    Args:
        graph: The network; its last node is a `Linear`.
        about: What the file says of itself, some lines.
        mean: Of the training images, per channel of the graph's input.
        std: Their standard deviation.
    """
    steps = with_stored(graph)
    names = _names(graph)
    template = Path(__file__).with_name("torch_source.txt").read_text(encoding="utf-8")
    built = [line for step, given in steps for line in _built(step, given, names[step.name])]
    run = [_run(step, names) for step, _ in steps[:-1]]
    last = steps[-1][0]
    run.append(f"return self.{names[last.name]}({names[last.sources[0]]}.flatten(1))")
    shown = {
        "ABOUT": about.strip().replace("\\", "/").replace('"""', "'''"),
        "CLASSES": str(graph.shapes[graph.nodes[-1].name][0]),
        "CHANNELS": str(graph.input[0]),
        "SIZE": repr(tuple(graph.input[1:])),
        "MEAN": repr(tuple(mean)),
        "STD": repr(tuple(std)),
        "PARTS": "".join(_parts([step for step, _ in steps])),
        "BUILT": "\n".join(f"        {line}" for line in built),
        "RUN": "\n".join(f"        {line}" for line in run),
    }
    return re.sub(r"@([A-Z]+)@\n?", lambda found: shown[found[1]] + "\n" * found[0].endswith("\n"), template)


def torch_tensors(graph: Graph, module: nn.Module) -> dict[str, Tensor]:
    """Returns the weights and buffers under the names that `torch_source` gives them."""
    names = _names(graph)
    tensors: dict[str, Tensor] = {}
    for step, _ in with_stored(graph):
        part = module.get_submodule(step.name)
        own = _rounded(part) if not isinstance(step, Stored) else _grid(cast("ActivationGrid", part))
        for name, tensor in own.items():
            inner = name.removeprefix("1.") if isinstance(step, Linear) else name
            tensors[f"{names[step.name]}.{inner}"] = tensor.detach().cpu().contiguous()
    return tensors


def _rounded(part: nn.Module) -> dict[str, Tensor]:
    """A layer's tensors, with weights as they are after rounding and without their grids."""
    tensors: dict[str, Tensor] = dict(part.state_dict())
    for name, layer in part.named_modules():
        if isinstance(layer, QuantisedConv2d | QuantisedLinear):
            tensors[f"{name}.weight"] = layer.grid(layer.weight)
            del tensors[f"{name}.grid.shrink"]
    return tensors


def _grid(grid: ActivationGrid) -> dict[str, Tensor]:
    scale, zero = grid.grid()
    return {"scale": scale, "zero": zero}


def _names(graph: Graph) -> dict[str, str]:
    """Attributes by node, all different."""
    names = {INPUT: "images"}
    for step, _ in with_stored(graph):
        name = re.sub(r"\W", "_", step.name)
        name = name if name.isidentifier() and not keyword.iskeyword(name) else f"layer_{name}"
        while name in names.values():
            name += "_"
        names[step.name] = name
    return names


_GRID = '''

class Grid(nn.Module):
    """Rounds values to the integers from 0 to ``most``, a ``scale`` apart, of which ``zero`` stands for 0."""

    def __init__(self, most):
        super().__init__()
        self.most = most
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("zero", torch.zeros((), dtype=torch.int32))

    def forward(self, values):
        return torch.fake_quantize_per_tensor_affine(values, self.scale, self.zero, 0, self.most)
'''


def _parts(steps: Sequence[Node | Stored]) -> Iterator[str]:
    """The classes that the steps need, those of transformers as they stand in coevo."""
    if any(isinstance(step, Stored) for step in steps):
        yield _GRID
    if any(isinstance(step, Conv) and step.shuffle > 1 for step in steps):
        yield _plain(Shuffle)
    kinds = {Tokens: TokenSequence, LayerNorm: ChannelNorm, Scores: HeadProducts, Mix: HeadSums}
    for node, module in kinds.items():
        if any(isinstance(step, node) for step in steps):
            yield _plain(module)


def _plain(module: type[nn.Module]) -> str:
    """A class's text without types, which need no import then."""
    return "\n\n" + re.sub(r": Tensor\b| -> \w+(?=:)|: (int|bool)\b", "", inspect.getsource(module))


def _built(step: Node | Stored, given: Shape, name: str) -> Iterator[str]:
    """The lines that make a step's layer; none if it has nothing to keep."""
    match step:
        case Conv():
            yield from _layer(name, _conv_parts(step, given[0]))
        case Norm():
            parts = {"norm": f"nn.BatchNorm2d({given[0]})"}
            yield from _layer(name, parts | ({"after": _ACTIVATIONS[step.after]} if step.after else {}))
        case Linear():
            yield f"self.{name} = nn.Linear({given[0] * given[1] * given[2]}, {step.features})"
        case Tokens():
            yield f"self.{name} = TokenSequence({given[0]}, {given[1] * given[2]}, class_token={step.class_token})"
        case LayerNorm():
            yield f"self.{name} = layer(norm=ChannelNorm({given[0]}))"
        case Scores():
            yield f"self.{name} = HeadProducts({step.heads})"
        case Mix():
            yield f"self.{name} = HeadSums()"
        case Stored():
            yield f"self.{name} = Grid({2**step.bits - 1})"


def _conv_parts(step: Conv, given: int) -> dict[str, str]:
    more = {"stride": step.stride, "padding": step.padding, "dilation": step.dilation, "groups": step.groups}
    usual = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
    options = "".join(f", {key}={value}" for key, value in more.items() if value != usual[key])
    bias = "" if step.affine == "bias" else ", bias=False"
    parts = {"before": _ACTIVATIONS[step.before]} if step.before else {}
    if step.shuffle > 1:
        parts["shuffle"] = f"Shuffle({step.shuffle})"
    parts["conv"] = f"nn.Conv2d({given}, {step.channels}, {step.kernel}{options}{bias})"
    if step.affine == "norm":
        parts["norm"] = f"nn.BatchNorm2d({step.channels})"
    return parts | ({"after": _ACTIVATIONS[step.after]} if step.after else {})


def _layer(name: str, parts: Mapping[str, str]) -> Iterator[str]:
    texts = [f"{part}={text}" for part, text in parts.items()]
    line = f"self.{name} = layer({', '.join(texts)})"
    if len(line) <= _WIDTH:
        yield line
        return
    yield f"self.{name} = layer("
    yield from (f"    {text}," for text in texts)
    yield ")"


def _run(step: Node | Stored, names: Mapping[str, str]) -> str:
    """The line that runs a step."""
    own, given = names[step.name], [names[source] for source in step.sources]
    match step:
        case Pool(mode="avg"):
            window = f"{step.kernel}, {step.stride}, {step.padding}, count_include_pad=False"
            made = f"functional.avg_pool2d({given[0]}, {window})"
        case Pool():
            made = f"functional.max_pool2d({given[0]}, {step.kernel}, {step.stride}, {step.padding})"
        case GlobalPool():
            made = f"functional.adaptive_avg_pool2d({given[0]}, 1)"
        case Add():
            made = " + ".join(given)
        case Softmax():
            made = f"{given[0]}.softmax(-1)"
        case FirstToken():
            made = f"{given[0]}[:, :, :1]"
        case Zeros():
            made = f"torch.zeros_like({given[0]})"
        case Linear():
            made = f"self.{own}({given[0]}.flatten(1))[:, :, None, None]"
        case _:
            made = f"self.{own}({', '.join(given)})"
    return f"{own} = {made}"
