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
from fixed_mapping import geometric_mean, heuristic
from zigzag_peer import tpu_like, zigzag_edp

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


def cpu_seconds(work):
    """The result of a call and its CPU time: the machine may be shared."""
    start = time.process_time()
    result = work()
    return result, time.process_time() - start


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


def test_mappings_priced_where_bounds_leave_many(benchmark):
    """Mappings a second that the search prices, where it has to price many; those that bounds rule out do not count."""
    pair = (Layer("conv4", "conv", m=512, c=512, p=28, q=28, r=3, s=3), load_template("gemmini").build({}))
    found, seconds = cpu_seconds(lambda: find_mapping(*pair, goal="latency"))
    print(
        f"\n{found.priced} mappings priced in {seconds:.2f} CPU-s: {found.priced / seconds / 1e6:.1f} million a second"
    )
    benchmark.extra_info["mappings_priced"] = found.priced
    benchmark.pedantic(lambda: find_mapping(*pair, goal="latency"), rounds=3)


def test_every_variant_of_eyeriss_cold(benchmark):
    """CPU seconds of a cold MobileNetV2 by machine: they differ by the size of the array and what it may unroll."""
    layers = layers_of("mobilenetv2")
    variants = machines(8)
    taken = [cpu_seconds(lambda m=m: find_mappings([(layer, m) for layer in layers]))[1] for m in variants]
    for machine, seconds in zip(variants, taken, strict=True):
        glb = machine.memories[1]
        print(f"\n{machine.dataflow.name}, {glb.fanout_y} x {glb.fanout_x} PEs: {seconds:.2f} CPU-s", end="")
    print(f"\n{len(taken) / sum(taken):.1f} pairs a CPU-second; median machine {1 / float(np.median(taken)):.1f}")
    benchmark.extra_info["median_pairs_per_cpu_s"] = 1 / float(np.median(taken))
    benchmark.pedantic(lambda: find_mappings([(layer, variants[1]) for layer in layers]), rounds=1)


def test_beside_zigzag_on_its_tpu_like_machine(benchmark):
    """ResNet-18's unique layers, both by EDP, in one run: CPU seconds, and each tool's EDP by its own model."""
    pytest.importorskip("zigzag", reason="pip install zigzag-dse six")
    machine, layers = tpu_like(), layers_of("resnet18")
    find_mapping(layers[0], machine)
    rows = []
    for layer in layers:
        ours, quick = cpu_seconds(lambda layer=layer: find_mapping(layer, machine))
        theirs, slow = cpu_seconds(lambda layer=layer: zigzag_edp(layer))
        rows.append((layer, ours.energy_pj * ours.cycles / theirs, quick, slow))
        print(f"\n{layer.name:20} {quick:8.4f} {slow:6.2f} CPU-s, EDP {rows[-1][1]:.3f} of ZigZag's", end="")
    quick, slow = sum(row[2] for row in rows), sum(row[3] for row in rows)
    # A pointwise layer with a stride skips inputs, which ZigZag leaves out and Timeloop's rule (ours) fetches.
    alike = [share for layer, share, *_ in rows if layer.r > 1 or layer.stride == (1, 1)]
    print(f"\nall: {quick:.3f} against {slow:.1f} CPU-s, ratio {slow / quick:.0f}")
    print(f"EDP of ZigZag's, strided pointwise layers apart: {min(alike):.2f} to {max(alike):.2f}, geometric mean "
          f"{geometric_mean(alike):.2f}")  # fmt: skip
    benchmark.extra_info["zigzag_cpu_s"] = slow
    benchmark(lambda: find_mappings([(layer, machine) for layer in layers]))


def test_what_the_search_buys(benchmark):
    """EDP of fixed heuristic mappings over the best one's, same lanes allowed, same machine."""
    machine, shares = eyeriss_like(), {"weights": [], "outputs": []}
    for network in ("resnet18", "mobilenetv2"):
        for layer in layers_of(network):
            best = find_mapping(layer, machine)
            row = []
            for stays, ratios in shares.items():
                cost = heuristic(layer, machine, stays)
                ratios.append(cost.total_energy_pj * cost.cycles / (best.energy_pj * best.cycles))
                row.append(f"{stays} stay {ratios[-1]:6.2f}")
            print(f"\n{network} {layer.name:20} {', '.join(row)}", end="")
    for stays, ratios in shares.items():
        print(f"\n{stays} stay: EDP over the best's {geometric_mean(ratios):.2f} (geometric mean), "
              f"{min(ratios):.2f} to {max(ratios):.2f}", end="")  # fmt: skip
    print()
    benchmark.pedantic(lambda: heuristic(layers_of("resnet18")[0], machine, "weights"), rounds=1)
