"""Figures of an untrained network that go along with its accuracy once trained, each with its source.

Runs in a process of its own per network (`coevo.processes.pool`), so that torch's global generator, from which modules
draw their weights, belongs to this network alone. All figures are the more the better. One that a network does not
have (no map to look at, a division by zero, an overflow) is NaN or infinite; what is made of those is the caller's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from coevo.accuracy.blocks import block_maps
from coevo.accuracy.limits import within_limits
from coevo.accuracy.tasks import NetworkTask
from coevo.processes.worker import unpack
from coevo.protocols import Task

_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)
_WEIGHTED = (nn.Conv2d, nn.Linear)
_TINY = 1e-8
_PATTERN_IMAGES = 32

# The first call of this, as `prepare` makes it, imports torch's compiler, which takes seconds: here, in the server, and
# not in every task. It changes nothing.
torch.use_deterministic_algorithms(
    torch.are_deterministic_algorithms_enabled(), warn_only=torch.is_deterministic_algorithms_warn_only_enabled()
)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What every network is looked at with.

    Attributes:
        task: What the data ask of a network.
        images: Training images, normalised, ``(image, channel, height, width)``; the classes evenly mixed.
        labels: ``(image,)``.
        proxies: Which figures.
        batch_size: Images, real or of noise, in a pass.
        repeats: Initialisations that a figure is the mean of.
        memory_limit_mib: See `coevo.accuracy.settings.LimitSettings`.
        device: As there.
    """

    task: Task
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    proxies: tuple[str, ...]
    batch_size: int
    repeats: int
    memory_limit_mib: int
    device: str


@dataclass(frozen=True, eq=False)
class Look:
    """One look at a network: fresh weights, and images for them.

    Attributes:
        build: Returns the network anew, in training mode, always with the same weights.
        noise: Images of standard normal pixels, ``(batch, channel, height, width)``.
        images: Two batches of real images, likewise.
        labels: Of each batch, ``(batch,)``.
        rng: A generator on the CPU.
    """

    build: Callable[[], nn.Module]
    noise: Tensor
    images: tuple[Tensor, Tensor]
    labels: tuple[Tensor, Tensor]
    rng: torch.Generator


def proxy_task(inputs: Inputs, payload: bytes) -> dict[str, float] | str:
    """Returns the figures of a `NetworkTask` by proxy, or why there are none.

    Raises:
        BackendError: A GPU was asked for and there is none.
    """
    task = unpack(payload)
    return within_limits(inputs.device, inputs.memory_limit_mib, lambda device: _figures(task, inputs, device))


def _figures(task: NetworkTask, inputs: Inputs, device: torch.device) -> dict[str, float]:
    """The figures, each the mean over the repeats."""
    family, choices, entropy, _ = task
    figures: dict[str, float] = {}
    if not {"params", "macs"}.isdisjoint(inputs.proxies):
        workload = family.workload(choices)
        figures |= {"params": float(workload.parameters), "macs": float(workload.macs)}
    probes = [probe for probe, names in PROBES.items() if not set(names).isdisjoint(inputs.proxies)]
    seeds = np.random.SeedSequence(entropy).generate_state(2 * inputs.repeats, np.uint64)
    looked: list[dict[str, float]] = []
    for repeat in range(inputs.repeats if probes else 0):

        def build(seed: int = int(seeds[2 * repeat])) -> nn.Module:
            torch.manual_seed(seed)
            module: nn.Module = family.module(choices).to(device)
            return module.train()

        look = _look(build, inputs, repeat, int(seeds[2 * repeat + 1]), device)
        looked.append({name: value for probe in probes for name, value in _probed(probe, look).items()})
    figures |= {name: float(np.mean([values[name] for values in looked])) for name in (looked or [{}])[0]}
    return {name: figures[name] for name in inputs.proxies}


def _probed(probe: Callable[[Look], dict[str, float]], look: Look) -> dict[str, float]:
    """A probe's figures; NaN where numbers on the way are, which LAPACK refuses."""
    try:
        return probe(look)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return dict.fromkeys(PROBES[probe], math.nan)


def _look(build: Callable[[], nn.Module], inputs: Inputs, repeat: int, seed: int, device: torch.device) -> Look:
    rng = torch.Generator().manual_seed(seed)
    task, size = inputs.task, inputs.batch_size
    noise = torch.randn(size, task.channels, task.resolution, task.resolution, generator=rng)
    first, second = ((np.arange(size) + (2 * repeat + i) * size) % len(inputs.labels) for i in (0, 1))
    images = [torch.from_numpy(inputs.images[rows]).to(device) for rows in (first, second)]
    labels = [torch.from_numpy(inputs.labels[rows]).to(device) for rows in (first, second)]
    return Look(build, noise.to(device), (images[0], images[1]), (labels[0], labels[1]), rng)


# -- maps of blocks: AZ-NAS ------------------------------------------------------------------------------------


def by_blocks(look: Look) -> dict[str, float]:
    """Expressivity, progressivity and trainability, from the outputs of a network's blocks.

    Expressivity is the sum over blocks of `channel_entropy`, progressivity the least growth of it from a block to the
    next, trainability the mean over blocks of 2 - gain - 1 / gain (`jacobian_gain`), 0 at most, where a block passes
    gradients on neither larger nor smaller. Weights are drawn anew from N(0, 2 / fan-in); the images are noise.

    Source: J. Lee, B. Ham: AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search, CVPR 2024, section 3,
    and the authors' code. There a block that is a mere wire is infinitely bad; here it is no block.
    """
    module = look.build()
    _initialise(module)
    maps = block_maps(module, look.noise)
    if len(maps) < 2:
        return dict.fromkeys(PROBES[by_blocks], math.nan)
    entropies = np.array([channel_entropy(made.detach()) for made in maps])
    gains = [jacobian_gain(given, made, look.rng) for given, made in itertools.pairwise(maps)]
    return {
        "expressivity": float(np.sum(entropies)),
        "progressivity": float(np.min(np.diff(entropies))),
        "trainability": float(np.mean([2 - gain - 1 / (gain + 1e-6) for gain in gains])),
    }


def channel_entropy(values: Tensor) -> float:
    """Returns the entropy of the share of variance along each principal axis of a map's channels.

    Between 0 and log(channels): the more axes carry signal, the higher.

    Args:
        values: ``(batch, channel, height, width)``; every pixel is a sample of ``(channel,)``.
    """
    pixels = _pixels(values)
    pixels = pixels - pixels.mean(0, keepdim=True)
    variances = torch.linalg.eigvalsh(pixels.T @ pixels / len(pixels)).clamp_min(0)
    share = variances / variances.sum()
    return float(-(share * torch.log(share + _TINY)).sum())


def jacobian_gain(given: Tensor, made: Tensor, rng: torch.Generator) -> float:
    """Returns the largest singular value of a block's Jacobian, the mean of all pixels', estimated by random signs.

    Args:
        given: The block's input ``(batch, channel, height, width)``; windows of pixels count as channels where the
            block strides.
        made: Its output, with the gradient graph that leads to ``given``, which is used up.
        rng: A generator on the CPU.
    """
    signs = (torch.randint(0, 2, made.shape, generator=rng) * 2.0 - 1).to(made)
    (backward,) = torch.autograd.grad(made, given, signs)
    folded = _folded(backward, signs)
    rows, columns = _pixels(folded), _pixels(_folded(signs, folded))
    return float(torch.linalg.matrix_norm(rows.T @ columns / len(columns), 2))


def _folded(values: Tensor, other: Tensor) -> Tensor:
    """Values with windows of pixels put into channels, so that the map is no larger than another; zeros fill up."""
    height, width = other.shape[2:]
    fold = max(-(-values.shape[2] // height), -(-values.shape[3] // width))
    if fold == 1:
        return values
    padded = functional.pad(values, (0, fold * width - values.shape[3], 0, fold * height - values.shape[2]))
    return functional.pixel_unshuffle(padded, fold)


def _pixels(values: Tensor) -> Tensor:
    """``(batch * height * width, channel)`` of ``(batch, channel, height, width)``."""
    return values.permute(0, 2, 3, 1).reshape(-1, values.shape[1])


def _initialise(module: nn.Module) -> None:
    """Draws weights by K. He et al.: Delving Deep into Rectifiers, ICCV 2015, eq. 10; biases are zero."""
    for part in module.modules():
        if isinstance(part, _WEIGHTED):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


# -- activations: NASWOT, SWAP ---------------------------------------------------------------------------------


def by_activations(look: Look) -> dict[str, float]:
    """NASWOT and SWAP: how differently a network's activations switch for different images.

    NASWOT is the logarithm of the determinant of the kernel ``(batch, batch)`` that counts, for two images, the inputs
    of activations that have the same sign. SWAP is the number of different patterns of signs over the images (the
    first 32), each activation's input giving one.

    Sources: J. Mellor et al.: Neural Architecture Search without Training, ICML 2021, section 3; Y. Peng et al.:
    SWAP-NAS: Sample-Wise Activation Patterns for Ultra-fast NAS, ICLR 2024, section 3. There the activations are
    ReLUs; here any of the usual ones that are modules.
    """
    module = look.build()
    size = len(look.images[0])
    kernel = torch.zeros(size, size, dtype=torch.float64)
    places = 2.0 ** torch.arange(min(size, _PATTERN_IMAGES), dtype=torch.float64, device=look.noise.device)
    patterns: list[Tensor] = []

    def count(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        positive = (given[0] > 0).flatten(1)
        signs = positive.float() * 2 - 1  # products are 1 where two agree and -1 where they differ
        kernel.add_(((signs @ signs.T + signs.shape[1]) / 2).double().cpu())
        patterns.append(torch.unique(places @ positive[: len(places)].double()))

    for part in module.modules():
        if isinstance(part, _ACTIVATIONS):
            part.register_forward_pre_hook(count)
    with torch.no_grad():
        module(look.images[0])
    if not patterns:
        return dict.fromkeys(PROBES[by_activations], math.nan)
    return {
        "naswot": float(torch.linalg.slogdet(kernel)[1]),
        "swap": float(len(torch.unique(torch.cat(patterns)))),
    }


# -- channels: MeCo --------------------------------------------------------------------------------------------


def by_channels(look: Look) -> dict[str, float]:
    """MeCo: how far the channels of a network's maps are from being combinations of each other.

    The sum over maps of the smallest eigenvalue of the correlation matrix of a map's channels.

    Source: T. Jiang et al.: MeCo: Zero-Shot NAS with One Data and Single Forward Pass via Minimum Eigenvalue of
    Correlation, NeurIPS 2023. There one image of noise is looked at; here a batch, so that small maps, with
    fewer pixels than channels, have independent channels too.
    """
    module = look.build()
    eigenvalues: list[float] = []

    def measure(_module: nn.Module, _given: object, made: object) -> None:
        if isinstance(made, Tensor) and made.dim() == 4 and made.shape[2] * made.shape[3] > 1:
            eigenvalues.append(least_correlation(made))

    for part in module.modules():
        if not any(part.children()):
            part.register_forward_hook(measure)
    with torch.no_grad():
        module(look.noise)
    return {"meco": sum(eigenvalues) if eigenvalues else math.nan}


def least_correlation(values: Tensor) -> float:
    """Returns the smallest eigenvalue of the correlation matrix of channels, 0 if one of them never changes.

    Args:
        values: ``(batch, channel, height, width)``; every pixel is a sample of ``(channel,)``.
    """
    pixels = _pixels(values)
    pixels = pixels - pixels.mean(0, keepdim=True)
    lengths = pixels.norm(dim=0)
    if bool((lengths == 0).any()):
        return 0.0
    pixels = pixels / lengths
    least = float(torch.linalg.eigvalsh((pixels.T @ pixels).double())[0])
    return max(0.0, least)


# -- gradients: GradNorm, ZiCo ---------------------------------------------------------------------------------


def by_gradients(look: Look) -> dict[str, float]:
    """The norm of the loss's gradients, and ZiCo: how large they are for how little they vary between batches.

    Sources: M. Abdelfattah et al.: Zero-Cost Proxies for Lightweight NAS, ICLR 2021, section 3.2 (``grad_norm``, the
    sum over weight tensors of the Euclidean norm); G. Li et al.: ZiCo, ICLR 2023, and the authors' code (the
    sum over layers of the logarithm of the sum over weights of mean magnitude over standard deviation, of two batches).
    """
    module = look.build()
    layers = [part.weight for part in module.modules() if isinstance(part, _WEIGHTED)]
    batches: list[list[Tensor | None]] = []
    for images, labels in zip(look.images, look.labels, strict=True):
        module.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(module(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        batches.append([weight.grad for weight in layers])
    norms = [float(gradient.norm()) for gradient in batches[0] if gradient is not None]
    logs = [
        _log_ratio(torch.stack([one, two]))
        for one, two in zip(*batches, strict=True)
        if not (one is None or two is None)
    ]
    known = [value for value in logs if value is not None]
    return {"grad_norm": sum(norms) if norms else math.nan, "zico": sum(known) if known else math.nan}


def _log_ratio(gradients: Tensor) -> float | None:
    """Logarithm of the sum over weights of mean magnitude over standard deviation, of gradients ``(batch, ...)``."""
    spread = gradients.std(0, unbiased=False)
    ratios = (gradients.abs().mean(0) / spread)[spread > 0]
    return math.log(float(ratios.sum())) if ratios.numel() and float(ratios.sum()) > 0 else None


# -- paths: SynFlow --------------------------------------------------------------------------------------------


def by_paths(look: Look) -> dict[str, float]:
    """SynFlow: the logarithm of the sum over parameters of parameter times gradient, all weights made positive.

    The network is made linear: no batch norm, and activations pass positive values on as they are (ReLU6 would clip).
    An image of ones enters. Double precision holds what is a product over all layers.

    Source: H. Tanaka et al.: Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS
    2020, section 4; as a proxy: M. Abdelfattah et al., ICLR 2021, section 3.2.
    """
    module = look.build().double()
    for part in module.modules():
        if isinstance(part, (_BatchNorm, *_ACTIVATIONS)):
            part.forward = _unchanged  # type: ignore[method-assign, assignment]
    ones = torch.ones_like(look.noise[:1], dtype=torch.float64)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.abs_()
    module(ones).sum().backward()
    flows = [(p.detach() * p.grad).sum() for p in module.parameters() if p.grad is not None]
    flow = float(torch.stack(flows).sum()) if flows else 0.0
    return {"synflow": math.log(flow) if 0 < flow < math.inf else math.nan}


def _unchanged(values: Tensor) -> Tensor:
    return values


PROBES: Mapping[Callable[[Look], dict[str, float]], tuple[str, ...]] = {
    by_blocks: ("expressivity", "progressivity", "trainability"),
    by_activations: ("naswot", "swap"),
    by_channels: ("meco",),
    by_gradients: ("grad_norm", "zico"),
    by_paths: ("synflow",),
}
"""What is computed together, and the proxies that come of it."""
