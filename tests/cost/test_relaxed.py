"""Batches of mappings and the relaxed model: against `evaluate_mapping`, torch, and finite differences."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_machines import ALL, memory

from coevo.accelerator import load_template, mapped_on
from coevo.accelerator.machine import DATAFLOWS, Accelerator, Interconnect, Mac
from coevo.cost.descent import improve_mapping
from coevo.cost.detail import analyse, evaluate_mapping
from coevo.cost.loop_order import LoopOrder, Place
from coevo.cost.mapper import find_mapping, mapping_of
from coevo.cost.nest import Loop, Tile, Window, sweep
from coevo.cost.price import price, tile_bits
from coevo.cost.relaxed import batch_of_alike, on_torch, score, score_mappings, with_figures
from coevo.mapping import LevelMapping, Mapping
from coevo.workload import DIMS, Layer

torch = pytest.importorskip("torch")

SIDES = ("temporal", "x", "y")


def machine(rng: np.random.Generator, holds=("outputs", "inputs")) -> Accelerator:
    """A machine with a bypass, two fan-outs, clusters, leakage and every kind of bandwidth, its figures at random."""
    figure = lambda: float(rng.uniform(0.5, 8.0))  # noqa: E731
    figures = lambda: {  # noqa: E731
        "read_energy_pj": figure(),
        "write_energy_pj": figure(),
        "update_energy_pj": figure() if rng.random() < 0.5 else None,
        "leakage_mw": figure(),
        "words_per_access": int(rng.integers(1, 5)),
    }
    limits = lambda *names: {name: figure() for name in names if rng.random() < 0.8}  # noqa: E731
    return Accelerator(
        name="random",
        technology_nm=45,
        clock_mhz=float(rng.integers(50, 500)),
        bits=tuple(int(x) for x in rng.choice([8, 16, 24], 3)),
        memories=(
            memory("dram", "dram", ALL, **figures(), **limits("words_per_cycle")),
            memory(
                "buffer", "sram", holds, 1e9, (16, 16), **figures(),
                **limits("read_words_per_cycle", "write_words_per_cycle"),
            ),
            memory(
                "local", "sram", ALL, 1e8, (16, 16), **figures(), cluster_size=int(rng.choice([1, 4])),
                double_buffered=True, **limits("words_per_cycle", "read_words_per_cycle"),
            ),
            memory("sum", "registers", ("outputs",), 1e6, **figures()),
        ),
        mac=Mac(energy_pj=figure(), area_mm2=0.01, leakage_mw=figure()),
        dataflow=DATAFLOWS["free"],
    )  # fmt: skip


def layer(rng: np.random.Generator) -> Layer:
    """A convolution of any bounds (a mapping sets its own), stride, dilation, and at times without weights."""
    two = lambda: tuple(int(x) for x in rng.integers(1, 4, 2))  # noqa: E731
    return Layer("random", "conv" if rng.random() < 0.8 else "pool", stride=two(), dilation=two())


def random_order(rng: np.random.Generator, levels: int) -> LoopOrder:
    """Some loops over time on every level, and rows and taps side by side on both fan-outs."""
    places = []
    for level in reversed(range(levels)):
        if level in (1, 2):
            x, y = (("p", "q", "m"), ("r", "s", "c")) if rng.random() < 0.5 else (("p", "r", "g"), ("q", "s", "m"))
            places += [Place(dim, level, "x") for dim in x] + [Place(dim, level, "y") for dim in y]
        dims = [str(dim) for dim in rng.permutation(list(DIMS))[:6]]
        places += [Place(dim, level, "temporal") for dim in dims]
        if rng.random() < 0.3:  # the same dim twice
            places.append(Place(dims[0], level, "temporal"))
    return LoopOrder(("dram", "buffer", "local", "sum")[:levels], tuple(places))


def case(seed: int, count: int = 4):
    """Pairs of one structure, an order of loops, and whole bounds ``(loop, pair, mapping)``."""
    rng = np.random.default_rng(seed)
    machines, layers = [machine(rng) for _ in range(3)], [layer(rng) for _ in range(3)]
    order = random_order(rng, 4)
    bounds = rng.choice([1, 1, 1, 2, 3, 4], (len(order.places), 3, count)).astype(float)
    spatial = np.array([place.spatial for place in order.places])
    bounds[spatial] = np.minimum(bounds[spatial], 2.0)
    return list(zip(layers, machines, strict=True)), order, bounds


def as_given(layer: Layer, mapping: Mapping) -> Layer:
    """The layer that a mapping covers just so."""
    return replace(layer, **dict(zip(DIMS, mapping.extents(), strict=True)))


@pytest.mark.parametrize("seed", range(12))
def test_a_batch_scores_every_mapping_as_evaluate_mapping_does(seed):
    pairs, order, bounds = case(seed)
    cases = [
        (as_given(layer, order.mapping(column)), machine, order.mapping(column))
        for i, (layer, machine) in enumerate(pairs)
        for column in bounds[:, i].T
    ]
    found = score_mappings(cases)
    for i, one in enumerate(cases):
        cost = evaluate_mapping(*one)
        total = cost.energy_pj.sum() + cost.mac_energy_pj + cost.leakage_pj
        assert found.cycles[i] == cost.cycles
        np.testing.assert_allclose(found.energy_pj[i], total, rtol=1e-12)
        assert found.violation[i] == 0
        batch_tiles = [float(np.broadcast_to(x, len(cases))[i]) for x in found.tile_bits]
        analysis = analyse(*one)
        assert batch_tiles == [tile_bits(analysis.batch, at, at, analysis.moved) for at in range(4)]


@pytest.mark.parametrize("seed", range(12))
def test_torch_scores_as_numpy_does(seed):
    pairs, order, bounds = case(seed, count=50)
    batch = batch_of_alike(pairs)
    ours, theirs = score(batch, order, bounds), score(on_torch(batch), order, torch.from_numpy(bounds))
    np.testing.assert_allclose(theirs.energy_pj.numpy(), ours.energy_pj, rtol=1e-12)
    np.testing.assert_array_equal(theirs.cycles.numpy(), ours.cycles)
    np.testing.assert_allclose(theirs.violation.numpy(), ours.violation, rtol=1e-12)
    for one, other in zip(ours.tile_bits, theirs.tile_bits, strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_scores_as_numpy_does():
    for seed in range(3):
        pairs, order, bounds = case(seed, count=1000)
        batch = batch_of_alike(pairs)
        ours = score(batch, order, bounds)
        theirs = score(on_torch(batch, "cuda"), order, torch.from_numpy(bounds).cuda())
        assert theirs.energy_pj.device.type == "cuda"
        np.testing.assert_allclose(theirs.energy_pj.cpu().numpy(), ours.energy_pj, rtol=1e-12)
        np.testing.assert_allclose(theirs.cycles.cpu().numpy(), ours.cycles, rtol=1e-12)


def test_at_whole_bounds_the_relaxed_model_is_the_exact_one_before_cycles_are_rounded_up():
    for seed in range(6):
        pairs, order, bounds = case(seed)
        tensors = torch.from_numpy(bounds).requires_grad_()
        relaxed = score(on_torch(batch_of_alike(pairs)), order, tensors, whole_cycles=False)
        for i, (layer, machine) in enumerate(pairs):
            for j in range(bounds.shape[2]):
                mapping = order.mapping(bounds[:, i, j])
                exact = analyse(as_given(layer, mapping), machine, mapping)
                unrounded = price(exact.batch, exact.nest, exact.moved, whole_cycles=False)
                outside = exact.batch.layers.operations - pairs[i][0].operations  # the pair's own layer has one point
                energy = relaxed.energy_pj[i, j].item() + outside * machine.mac.energy_pj
                assert energy == pytest.approx(unrounded.energy_pj, rel=1e-12)
                assert relaxed.cycles[i, j].item() == pytest.approx(unrounded.cycles, rel=1e-12)


def between(seed: int):
    """A case at real bounds >= 1, a third of them in (1, 2)."""
    pairs, order, bounds = case(seed, count=3)
    rng = np.random.default_rng(100 + seed)
    real = np.where(rng.random(bounds.shape) < 0.3, rng.uniform(1, 2, bounds.shape), bounds + rng.random(bounds.shape))
    return on_torch(batch_of_alike(pairs)), order, torch.from_numpy(real), [m for _, m in pairs]


def energy_delay(batch, order, bounds):
    found = score(batch, order, bounds, whole_cycles=False)
    return torch.log(found.energy_pj) + torch.log(found.cycles) + torch.log1p(found.violation)


@pytest.mark.parametrize("seed", range(6))
def test_the_gradient_by_bounds_is_that_of_finite_differences(seed):
    batch, order, bounds, _ = between(seed)
    bounds.requires_grad_()
    (slopes,) = torch.autograd.grad(energy_delay(batch, order, bounds).sum(), bounds)
    step = 1e-6
    for i in range(len(order.places)):
        moved = torch.zeros_like(bounds)
        moved[i] = step
        ahead, behind = (energy_delay(batch, order, bounds.detach() + sign * moved) for sign in (1, -1))
        numeric = (ahead - behind) / (2 * step)
        assert torch.allclose(slopes[i], numeric, rtol=1e-5, atol=1e-7), (order.places[i], slopes[i], numeric)


NAMES = (
    *(f"{name}.{figure}" for name in ("dram", "buffer", "local") for figure in ("read_energy_pj", "write_energy_pj")),
    *(f"{name}.update_energy_pj" for name in ("dram", "buffer", "sum")),
    *("dram.words_per_cycle", "buffer.read_words_per_cycle", "buffer.write_words_per_cycle", "local.words_per_cycle"),
    *("buffer.size_bits", "local.size_bits", "buffer.fanout_x", "local.fanout_y", "local.leakage_mw"),
    *("mac.energy_pj", "mac.leakage_mw"),
)


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_by_hardware_is_that_of_finite_differences(seed):
    batch, order, bounds, machines = between(seed)
    rng = np.random.default_rng(seed)
    values = {name: torch.from_numpy(rng.uniform(0.5, 3.0, (3, 1))).requires_grad_() for name in NAMES}

    def of(changed):
        return energy_delay(with_figures(batch, machines, changed), order, bounds).sum(dim=1)

    slopes = torch.autograd.grad(of(values).sum(), list(values.values()))
    plain = {name: value.detach() for name, value in values.items()}
    assert sum(float(slope.abs().max()) > 0 for slope in slopes) > len(NAMES) // 2
    for name, slope in zip(NAMES, slopes, strict=True):
        ahead, behind = (of(plain | {name: plain[name] + sign * 1e-6}) for sign in (1, -1))
        numeric = (ahead - behind) / 2e-6
        assert torch.allclose(slope[:, 0], numeric, rtol=1e-5, atol=1e-7), (name, slope, numeric)


@pytest.mark.parametrize("seed", range(4))
def test_a_figure_set_by_name_is_that_figure_of_the_machine(seed):
    pairs, order, bounds = case(seed)
    rng = np.random.default_rng(seed)
    machines = [machine for _, machine in pairs]
    values = {name: rng.integers(1, 9, 3).astype(float) for name in NAMES}
    values["buffer.fanout_x"] *= 4  # so that clusters of four stay whole, as halves of a memory do
    values["local.size_bits"] *= 2
    rebuilt = []
    for i, given in enumerate(machines):
        memories, mac = list(given.memories), given.mac
        for name, value in values.items():
            owner, _, figure = name.rpartition(".")
            if owner == "mac":
                mac = replace(mac, **{figure: value[i]})
            else:
                at = [memory.name for memory in memories].index(owner)
                memories[at] = replace(memories[at], **{figure: value[i]})
        rebuilt.append(replace(given, memories=tuple(memories), mac=mac))
    named = with_figures(batch_of_alike(pairs), machines, {name: value[:, None] for name, value in values.items()})
    built = batch_of_alike([(layer, machine) for (layer, _), machine in zip(pairs, rebuilt, strict=True)])
    ours, theirs = score(named, order, bounds), score(built, order, bounds)
    np.testing.assert_allclose(ours.energy_pj, theirs.energy_pj, rtol=1e-12)
    np.testing.assert_allclose(ours.cycles, theirs.cycles, rtol=1e-12)
    np.testing.assert_allclose(ours.violation, theirs.violation, rtol=1e-12)
    assert (ours.cycles != score(batch_of_alike(pairs), order, bounds).cycles).any()


def test_at_whole_bounds_of_a_pointwise_layer_the_gradient_is_the_slope_on_one_side():
    # From 1 upwards, at 2 downwards, beyond on both sides: there a loop begins to iterate, and does for good.
    rng = np.random.default_rng(5)
    pairs = [(Layer("one", "conv", m=4, c=4, p=4), machine(rng, holds=ALL))]
    places = [Place(dim, level, "temporal") for level in (3, 2, 1, 0) for dim in rng.permutation(["m", "c", "n", "g"])]
    order = LoopOrder(("dram", "buffer", "local", "sum"), tuple(places))
    batch = on_torch(batch_of_alike(pairs))
    whole = torch.from_numpy(rng.integers(1, 5, (len(places), 1, 20)).astype(float))
    bounds = whole.clone().requires_grad_()
    (slopes,) = torch.autograd.grad(energy_delay(batch, order, bounds).sum(), bounds)
    for i in range(len(places)):
        step = torch.zeros_like(whole)
        step[i] = torch.where(whole[i] == 2, -1e-7, 1e-7)
        numeric = (energy_delay(batch, order, whole + step) - energy_delay(batch, order, whole)) / step[i]
        assert torch.allclose(slopes[i], numeric, rtol=1e-4, atol=1e-6), places[i]


@pytest.mark.parametrize("seed", range(8))
def test_nothing_jumps_between_whole_bounds_nor_at_them(seed):
    pairs, order, bounds = case(seed, count=400)
    batch = batch_of_alike(pairs)
    rng = np.random.default_rng(seed)
    at = np.where(rng.random(bounds.shape) < 0.5, bounds, bounds + rng.choice([0.25, 0.5, 0.75], bounds.shape))
    near = np.maximum(at + rng.uniform(-1e-9, 1e-9, at.shape), 1.0)
    ours, theirs = (score(batch, order, x, whole_cycles=False) for x in (at, near))
    np.testing.assert_allclose(ours.energy_pj, theirs.energy_pj, rtol=1e-5)
    np.testing.assert_allclose(ours.cycles, theirs.cycles, rtol=1e-5)
    np.testing.assert_allclose(ours.violation, theirs.violation, rtol=1e-5, atol=1e-9)


def test_part_of_an_iteration_brings_in_that_part_of_the_rim():
    tile = Tile({"r": 3.0, "s": 3.0, "q": 8.0}, Window((1.0, 1.0), (1.0, 1.0), 1.0))
    for bound in (1.0, 1.25, 1.5, 2.0, 3.75):
        assert sweep("inputs", tile, [Loop("p", bound, 0)]) == 3 * 10 + (bound - 1) * 10


def test_an_outer_loop_that_takes_the_slide_up_at_bound_2_alone_does_so_without_a_jump():
    tile = Tile({"r": 7.0, "q": 8.0}, Window((3.0, 1.0), (1.0, 1.0), 1.0))
    inner = np.linspace(1.0, 4.0, 30001)
    words = sweep("inputs", tile, [Loop("p", inner, 0), Loop("p", np.full_like(inner, 4.0), 0)])
    assert words[10000] == 7 * 8 + (2 * 4 - 1) * 3 * 8  # at 2 every step brings in three rows
    assert words[20000] == 4 * (7 * 8 + 2 * 3 * 8)  # at 3 the outer loop's steps start anew
    assert np.abs(np.diff(words)).max() < 1e-3 * words.max()


def small(size_bits=16 * 64, columns=4):
    return Accelerator(
        name="small",
        technology_nm=45,
        clock_mhz=100,
        bits=(16, 16, 16),
        memories=(
            memory("dram", "dram", ALL, read_energy_pj=200.0, write_energy_pj=200.0, words_per_cycle=2.0),
            memory("buffer", "sram", ALL, size_bits, (columns, 4), read_energy_pj=6.0, write_energy_pj=6.0),
            memory("spad", "registers", ALL, 16 * 32),
        ),
        mac=Mac(energy_pj=1.0, area_mm2=0.01),
        dataflow=DATAFLOWS["free"],
    )


CONV = Layer("conv", "conv", m=8, c=4, p=6, q=6, r=3, s=3)


def test_capacity_lanes_and_coverage_are_excesses_and_no_mask():
    mapping = Mapping(
        (
            LevelMapping("dram", (("c", 4), ("p", 6), ("q", 6))),
            LevelMapping("buffer", (("r", 3), ("s", 3)), x=(("m", 8),)),
            LevelMapping("spad"),
        )
    )
    found = score_mappings([(CONV, small(size_bits=16 * 44.5), mapping)])
    words = 8 * 9 + 9 + 8  # weights, inputs and outputs of the buffer's tile
    assert found.tile_bits[1][0] == 16 * words
    assert float(found.violation[0]) == pytest.approx(8 / 4 - 1 + words / 44.5 - 1)
    short = replace(CONV, p=9)
    assert float(score_mappings([(short, small(math.inf, 8), mapping)]).violation[0]) == pytest.approx(9 / 6 - 1)
    assert float(score_mappings([(CONV, small(math.inf, 8), mapping)]).violation[0]) == 0


def slowest(layer, machine):
    """Every loop at DRAM: each word comes from there again and again."""
    loops = tuple((dim, bound) for dim, bound in zip(DIMS, layer.bounds, strict=True) if bound > 1)
    return Mapping(
        (LevelMapping(machine.memories[0].name, loops), *(LevelMapping(m.name) for m in machine.memories[1:]))
    )


@pytest.mark.parametrize("chosen", [CONV, replace(CONV, p=7, q=5, stride=(2, 1)), Layer("fc", "linear", m=60, c=50)])
def test_the_gradient_leads_from_a_bad_mapping_to_a_much_better_valid_one(chosen):
    start = slowest(chosen, small())
    found = improve_mapping(chosen, small(), start)
    before, after = (evaluate_mapping(chosen, small(), mapping) for mapping in (start, found))

    def product(cost):
        return (cost.energy_pj.sum() + cost.mac_energy_pj + cost.leakage_pj) * cost.cycles

    assert product(after) < product(before) / 2


def test_a_mapping_that_cannot_be_improved_is_returned_as_it_is():
    one = Layer("one", "conv")
    start = slowest(one, small())
    assert improve_mapping(one, small(), start) == start


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "accelerators").glob("*.yaml")), ids=lambda x: x.stem
)
def test_every_shipped_machine_scores_in_a_batch_as_alone(file):
    for shipped in mapped_on(load_template(str(file)).build()).values():
        best = find_mapping(CONV, shipped)
        assert best is not None
        mapping = mapping_of(shipped, True, best)
        cost = evaluate_mapping(CONV, shipped, mapping)
        found = score_mappings([(CONV, shipped, mapping)], "cpu")
        assert found.cycles[0] == cost.cycles
        total = cost.energy_pj.sum() + cost.mac_energy_pj + cost.leakage_pj
        assert float(found.energy_pj[0]) == pytest.approx(total, rel=1e-12)


def test_mappings_of_one_order_keep_their_loops():
    ours = Mapping((LevelMapping("a", (("c", 2), ("p", 3), ("c", 4)), x=(("m", 2),)), LevelMapping("b", (("q", 5),))))
    theirs = Mapping((LevelMapping("a", (("c", 7), ("p", 2), ("n", 2))), LevelMapping("b", y=(("q", 2),))))
    order = LoopOrder.common([ours, theirs])
    bounds = order.bounds([ours, theirs])
    assert [order.mapping(column) for column in bounds.T] == [ours, theirs]


def test_loops_nested_differently_are_scored_together():
    ours = slowest(CONV, small())
    theirs = replace(ours, levels=(replace(ours.levels[0], temporal=ours.levels[0].temporal[::-1]), *ours.levels[1:]))
    found = score_mappings([(CONV, small(), mapping) for mapping in (ours, theirs, ours)])
    costs = [evaluate_mapping(CONV, small(), mapping) for mapping in (ours, theirs)]
    assert list(found.cycles[:2]) == [cost.cycles for cost in costs]
    assert found.energy_pj[0] == found.energy_pj[2] != found.energy_pj[1]


def test_mappings_that_do_not_go_together_are_refused():
    ours, theirs = (Mapping((LevelMapping("a", loops),)) for loops in ((("c", 2), ("p", 3)), (("p", 2), ("c", 2))))
    with pytest.raises(ValueError, match="mapping 1: its c loop at a is not of this order"):
        LoopOrder.common([ours]).bounds([ours, theirs])
    with pytest.raises(ValueError, match="different levels: a and b"):
        LoopOrder.common([ours, Mapping((LevelMapping("b"),))])
    with pytest.raises(ValueError, match="mapping 0 does not have the levels a"):
        LoopOrder.common([ours]).bounds([Mapping((LevelMapping("b"),))])
    with pytest.raises(ValueError, match="no mapping"):
        LoopOrder.common([])


def test_machines_that_a_batch_cannot_hold_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="same memories"):
        batch_of_alike([(CONV, machine(rng)), (CONV, machine(rng, holds=ALL))])
    for network in (Interconnect(links=True), Interconnect(hop_energy_pj=1.0)):
        linked = small()
        memories = (linked.memories[0], replace(linked.memories[1], interconnect=network), linked.memories[2])
        with pytest.raises(ValueError, match="network below buffer"):
            batch_of_alike([(CONV, replace(linked, memories=memories))])
    with pytest.raises(ValueError, match=r"no \(layer, machine\) pair"):
        batch_of_alike([])
    with pytest.raises(ValueError, match=r"unknown figure 'bufer.size_bits'.* dram, buffer, spad"):
        with_figures(batch_of_alike([(CONV, small())]), [small()], {"bufer.size_bits": 1.0})
    order = LoopOrder(("dram", "buffer", "spad"), (Place("c", 0, "temporal"),))
    with pytest.raises(ValueError, match="bounds of 2 loops for an order of 1 loops"):
        score(batch_of_alike([(CONV, small())]), order, np.ones((2, 1, 1)))


def test_numpy_batches_do_not_import_torch():
    code = (
        "import sys, coevo.cost.relaxed, coevo.cost.descent; from coevo.cost.detail import evaluate_mapping; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
