"""Mappings priced a second, on numpy and torch: ``pytest tests/benchmarks/test_relaxed_speed.py --benchmark-only``.

One core: set OMP_NUM_THREADS=1 (torch is told so here). A benchmark's operations per second times ``MAPPINGS`` are
mappings per second, also printed as ``extra_info``.
"""

from __future__ import annotations

import numpy as np
import pytest

from coevo.accelerator import load_template
from coevo.cost.loop_order import LoopOrder, Place
from coevo.cost.relaxed import batch_of_alike, on_torch, score
from coevo.workload import DIMS, Layer

MAPPINGS = 100_000
CHUNK = 4_000
"""Mappings at a time on a processor: its cache holds them."""

LAYER = Layer("layer3.1.conv1", "conv", m=256, c=256, p=14, q=14, r=3, s=3)
"""Of ResNet-18 at 224 x 224."""

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def mappings():
    """Random ways to split the layer's bounds over Eyeriss's memories and fan-out ``(loop, 1, mapping)``."""
    machine = load_template("eyeriss").build()
    rng = np.random.default_rng(0)
    places = [Place(dim, 4, "temporal") for dim in "mcs"] + [Place(dim, 1, "temporal") for dim in "qcmp"]
    places = [*places[:3], Place("p", 1, "x"), Place("m", 1, "x"), Place("r", 1, "y"), Place("c", 1, "y"), *places[3:]]
    places += [Place(dim, 0, "temporal") for dim in "rsqpcm"]
    left = {dim: np.full(MAPPINGS, bound) for dim, bound in zip(DIMS, LAYER.bounds, strict=True)}
    bounds = np.empty((len(places), 1, MAPPINGS))
    for i, place in enumerate(places):
        rest = left[place.dim]
        factor = rest if place.level == 0 else np.gcd(rest, rng.integers(1, 13, MAPPINGS))
        bounds[i, 0] = factor
        left[place.dim] = rest // factor
    order = LoopOrder(tuple(memory.name for memory in machine.memories), tuple(places))
    return batch_of_alike([(LAYER, machine)]), order, bounds


def report(benchmark):
    benchmark.extra_info["mappings_per_second"] = round(MAPPINGS / benchmark.stats.stats.min)


def test_numpy_on_one_core(benchmark, mappings):
    batch, order, bounds = mappings
    parts = np.array_split(bounds, MAPPINGS // CHUNK, axis=2)
    benchmark.pedantic(lambda: [score(batch, order, part) for part in parts], rounds=5, warmup_rounds=1)
    report(benchmark)


def test_torch_on_one_core(benchmark, mappings):
    batch, order, bounds = mappings
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tensors, parts = on_torch(batch), torch.from_numpy(bounds).chunk(MAPPINGS // CHUNK, dim=2)
    benchmark.pedantic(lambda: [score(tensors, order, part) for part in parts], rounds=5, warmup_rounds=1)
    torch.set_num_threads(threads)
    report(benchmark)


def test_torch_with_its_gradient_on_one_core(benchmark, mappings):
    batch, order, bounds = mappings
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tensors, leaf = on_torch(batch), torch.from_numpy(bounds)

    def gradient():
        for part in leaf.chunk(MAPPINGS // CHUNK, dim=2):
            moving = part.clone().requires_grad_()
            found = score(tensors, order, moving, whole_cycles=False)
            torch.autograd.grad((torch.log(found.energy_pj) + torch.log(found.cycles)).sum(), moving)

    benchmark.pedantic(gradient, rounds=2, warmup_rounds=1)
    torch.set_num_threads(threads)
    report(benchmark)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_torch_on_a_gpu(benchmark, mappings):
    batch, order, bounds = mappings
    tensors, all_at_once = on_torch(batch, "cuda"), torch.from_numpy(bounds).cuda()

    def priced():
        score(tensors, order, all_at_once)
        torch.cuda.synchronize()

    benchmark.pedantic(priced, rounds=20, warmup_rounds=3)
    report(benchmark)
