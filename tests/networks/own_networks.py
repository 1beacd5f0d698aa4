"""Networks of users, in plain torch, and how they leave torch as ONNX."""

from __future__ import annotations

import warnings

import torch
from torch import nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """He et al., CVPR 2016, fig. 5 left."""

    def __init__(self, given, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.down = None
        if stride > 1 or given != width:
            self.down = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += x if self.down is None else self.down(x)
        return self.relu(y)


def resnet18():
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    given = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [BasicBlock(given, width, stride), BasicBlock(width, width, 1)]
        given = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000))


class InvertedResidual(nn.Module):
    """Sandler et al., CVPR 2018, fig. 4b."""

    def __init__(self, given, width, stride, expansion):
        super().__init__()
        hidden = given * expansion
        expand = [nn.Conv2d(given, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6()] if expansion > 1 else []
        window = [
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(),
        ]
        self.body = nn.Sequential(*expand, *window, nn.Conv2d(hidden, width, 1, bias=False), nn.BatchNorm2d(width))
        self.residual = stride == 1 and given == width

    def forward(self, x):
        return x + self.body(x) if self.residual else self.body(x)


def mobilenet_v2():
    layers = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU6()]
    given = 32
    for expansion, width, repeats, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(repeats):
            layers.append(InvertedResidual(given, width, stride if i == 0 else 1, expansion))
            given = width
    layers += [nn.Conv2d(320, 1280, 1, bias=False), nn.BatchNorm2d(1280), nn.ReLU6(), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(), nn.Linear(1280, 1000))


class Attention(nn.Module):
    """Multi-head attention as vision transformers write it, by torch's own function or by hand."""

    def __init__(self, width, heads, by_hand):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.heads, self.by_hand = heads, by_hand

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (
            self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        if self.by_hand:
            y = ((q * (width // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(-1) @ v
        else:
            y = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(batch, length, width))


class EncoderBlock(nn.Module):
    """Dosovitskiy et al., ICLR 2021, fig. 1 right."""

    def __init__(self, width, heads, by_hand):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), Attention(width, heads, by_hand)
        self.norm2, self.mlp = (
            nn.LayerNorm(width),
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)),
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """ViT-Tiny/16 (width 192, 3 heads), with as many blocks as asked for."""

    def __init__(self, blocks=1, by_hand=False):
        super().__init__()
        self.patch = nn.Conv2d(3, 192, 16, 16)
        self.token, self.position = nn.Parameter(torch.zeros(1, 1, 192)), nn.Parameter(torch.zeros(1, 197, 192))
        self.blocks = nn.Sequential(*(EncoderBlock(192, 3, by_hand) for _ in range(blocks)))
        self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 1000)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class LanguageModel(nn.Module):
    """A BERT-like encoder on tokens; its output layer shares the embedding's weights."""

    def __init__(self, width=128, heads=4, blocks=2, words=1000, length=48):
        super().__init__()
        self.words, self.positions = nn.Embedding(words, width), nn.Parameter(torch.zeros(1, length, width))
        self.norm = nn.LayerNorm(width)
        block = nn.TransformerEncoderLayer(width, heads, 4 * width, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(block, blocks, enable_nested_tensor=False)
        self.head = nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens):
        return self.head(self.encoder(self.norm(self.words(tokens) + self.positions)))


class Medley(nn.Module):
    """What the others lack: dilation, groups, one axis, transposed convolution, gating, padding, slices, resizing."""

    def __init__(self):
        super().__init__()
        self.dilated = nn.Conv2d(3, 8, 3, padding="same", dilation=2)
        self.up3, self.up4 = nn.ConvTranspose2d(8, 6, 3, 2, 1, 1), nn.ConvTranspose2d(6, 6, 4, 2, 1, groups=2)
        self.norm = nn.LayerNorm(64)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 2, 1), nn.SiLU(), nn.Conv2d(2, 6, 1), nn.Sigmoid()
        )
        self.line, self.slope = nn.Conv1d(6, 4, 5, 2), nn.PReLU(4)

    def forward(self, x):
        x = self.dilated(x)
        x = torch.cat([x.relu(), x.sigmoid()], 1)[:, ::2]
        x = self.norm(self.up4(self.up3(x)))
        x = functional.interpolate(x * self.gate(x), scale_factor=2)
        x = functional.max_pool2d(functional.pad(x, (1, 2, 1, 2)), 3, 2)
        return self.slope(self.line(x.flatten(2))).mean(-1)


NETWORKS = {
    "resnet18": (resnet18, ("float32", (3, 224, 224))),
    "mobilenet_v2": (mobilenet_v2, ("float32", (3, 224, 224))),
    "transformer": (VisionTransformer, ("float32", (3, 224, 224))),
    "transformer by hand": (lambda: VisionTransformer(by_hand=True), ("float32", (3, 224, 224))),
    "language model": (LanguageModel, ("int64", (48,))),
    "medley": (Medley, ("float32", (3, 16, 16))),
}
"""Network, and type and shape of its input."""


def build(name):
    """The network, with weights that all differ (an exporter merges equal ones), and its input."""
    make, given = NETWORKS[name]
    torch.manual_seed(0)
    network = make().eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(0.1, 1)
    return network, given


def save_onnx(network, given, file, *, batch="batch"):
    """Exports a network untouched by optimisation; the batch stays open."""
    kind, shape = given
    axes = {"x": {0: batch}} if batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one; the new one needs a package more
        torch.onnx.export(
            network, (torch.zeros(1, *shape, dtype=getattr(torch, kind)),), str(file), dynamo=False, opset_version=17,
            do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE, input_names=["x"], dynamic_axes=axes,
        )  # fmt: skip
