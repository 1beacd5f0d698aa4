"""Speed of the proven-optimal mapper: ``pytest tests/benchmarks/test_mapper_speed.py --benchmark-only -s``.

CPU seconds of one core, compile time apart (it is printed); every layer is mapped anew unless said otherwise.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from coevo.accelerator import load_template
from coevo.cost.analytical import AnalyticalCost
from coevo.cost.mapper import find_mapping, find_mappings
from coevo.workload import Layer, Workload

sys.path.insert(0, str(Path(__file__).parents[1] / "cost"))
from eyeriss_like import eyeriss_like, timeloop_layers

TIMELOOP_CPU_S = {"resnet18": 302.0, "mobilenetv2": 408.6}
"""Of Timeloop's own mapper on the same layers and machine, on another machine of two cores (not proven optimal)."""


@pytest.fixture(scope="module", autouse=True)
def compiled():
    start = time.process_time()
    find_mapping(Layer("l", "conv", m=2, c=2, p=2), eyeriss_like())
    print(f"\ncompiling, or loading what was compiled: {time.process_time() - start:.1f} CPU-s")


def layers_of(network):
    return [layer for name, layer, _, _ in timeloop_layers() if name == network]


def machines(count):
    """Random variants of the eyeriss template."""
    template, rng = load_template("eyeriss"), np.random.default_rng(0)
    return [
        template.build({field.path: field.choices[int(rng.integers(len(field.choices)))] for field in template.fields})
        for _ in range(count)
    ]


@pytest.mark.parametrize("network", ["resnet18", "mobilenetv2"])
def test_all_unique_layers_of_a_network_on_eyeriss_like(benchmark, network):
    pairs = [(layer, eyeriss_like()) for layer in layers_of(network)]
    benchmark.extra_info["timeloop_cpu_s"] = TIMELOOP_CPU_S[network]
    found = benchmark(lambda: find_mappings(pairs))
    print(f"\n{network}: {sum(x.priced for x in found)} mappings priced, the rest left out by bounds")


def test_a_cold_mobilenetv2_on_a_new_machine(benchmark):
    """Pairs a second: 8 / seconds."""
    layers, variants = layers_of("mobilenetv2"), machines(8)
    pairs = [(layer, machine) for machine in variants for layer in layers]
    benchmark.pedantic(lambda: find_mappings(pairs), rounds=3)


def test_a_warm_mobilenetv2_on_a_machine_seen_before(benchmark):
    """Pairs a second: 1,000 / seconds; a generation of a search whose layers and machines are all known."""
    workload, variants = Workload("mobilenetv2", tuple(layers_of("mobilenetv2"))), machines(8)
    pairs = [(workload, machine) for machine in variants] * 125
    model = AnalyticalCost()
    model.evaluate(pairs[:8])
    benchmark.pedantic(lambda: model.evaluate(pairs), rounds=5)
