"""The model against silicon: Eyeriss as measured, NVDLA as published.

`pytest -s tests/cost/test_silicon.py` prints every table.

Refills of Eyeriss's array (`coevo.cost.refill`) and the loops that NVDLA's control runs stand in the templates; all
figures come from `evaluate_mapping` and the mapper alone.

What calibrates: three of the seven NVDLA rows at 28 nm (2048, 256 and 32 MACs) give its three area constants, one row
at 16 nm (2048 MACs) the shrink; the other four and six rows are held out. Nothing else is fitted: latencies, frames a
second and traffic follow from the descriptions of the machines.
"""

import eyeriss_chip as chip
import numpy as np
import nvdla_primer as primer
import pytest

from coevo.accelerator import load_template
from coevo.cost import evaluate_mapping
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.cost.mapper import find_mapping, mapping_of
from coevo.workload import Workload

ALEXNET = {measured.layer.name: measured for measured in chip.ALEXNET}


@pytest.fixture(scope="module")
def eyeriss():
    return load_template("eyeriss").build()


def table(title, columns, rows):
    lines = [f"{cell:>9.1f}" if isinstance(cell, float) else f"{cell!s:>9}" for row in rows for cell in row]
    print(f"\n{title}\n" + " ".join(f"{column:>9}" for column in columns))
    for i in range(0, len(lines), len(columns)):
        print(" ".join(lines[i : i + len(columns)]))


def percent(model, measured):
    return f"{100 * (model / measured - 1):+.1f}%"


def mean_error(pairs):
    return float(np.mean([abs(model / measured - 1) for model, measured in pairs]))


# -- Eyeriss, AlexNet ------------------------------------------------------------------------------------------


def latencies(eyeriss, layers, parameters=None):
    """(cost, model's ms, measured ms) of each."""
    costs = [chip.run(eyeriss, layer, parameters) for layer in layers]
    times = [chip.processing_cycles(cost) / chip.CYCLES_PER_MS for cost in costs]
    return [(cost, ms, layer.processing_ms) for cost, ms, layer in zip(costs, times, layers, strict=True)]


def show_latencies(title, results):
    rows = []
    for cost, ms, measured in results:
        compute = chip.iterations(cost)
        parts = (compute, cost.compute_cycles - compute, cost.memory_cycles[chip.ARRAY])
        rows.append(
            (cost.layer.name, *(part / chip.CYCLES_PER_MS for part in parts), ms, measured, percent(ms, measured))
        )
    table(title, ("layer", "compute", "refill", "buffer", "model ms", "chip ms", "error"), rows)
    print(f"mean absolute error {100 * mean_error((ms, measured) for _, ms, measured in results):.1f} %")


def test_eyeriss_latency_of_alexnet_under_the_published_mappings_is_within_5_percent(eyeriss):
    results = latencies(eyeriss, chip.ALEXNET)
    show_latencies("Eyeriss, AlexNet (batch 4), published mappings", results)
    assert mean_error((ms, measured) for _, ms, measured in results) < 0.05
    for _, ms, measured in results:
        assert ms == pytest.approx(measured, rel=0.07)


def test_eyeriss_latency_without_refills_is_twice_as_wrong(eyeriss):
    costs = [chip.run(eyeriss, layer) for layer in chip.ALEXNET]
    hidden = [max(chip.iterations(cost), *cost.memory_cycles[chip.ARRAY :]) / chip.CYCLES_PER_MS for cost in costs]
    assert mean_error(zip(hidden, (layer.processing_ms for layer in chip.ALEXNET), strict=True)) > 0.08


def test_a_refill_is_what_one_counts_by_hand(eyeriss):
    # CONV1: 2 x 16 filters of 11 x 11 words; 7 output rows need 35 input rows, of which 11 words each; 2 x 16 x 7 sums.
    cost = chip.run(eyeriss, ALEXNET["CONV1"])
    passes = 3 * 3 * 8 * 4  # filters, channels, strips of 7 rows, images
    assert cost.compute_cycles - chip.iterations(cost) == passes * (3872 / 4 + 385 + 224 / 4)


@pytest.mark.parametrize("layer", chip.ALEXNET, ids=lambda layer: layer.layer.name)
def test_eyeriss_mappings_keep_the_published_number_of_pes_busy(eyeriss, layer):
    cost = chip.run(eyeriss, layer)
    busy = layer.layer.operations / chip.iterations(cost)
    assert layer.active_pes * 0.97 < busy <= layer.active_pes * 1.001


def test_eyeriss_buffer_accesses_of_alexnet_are_the_measured_ones(eyeriss):
    rows = []
    for layer in chip.ALEXNET:
        model = chip.buffer_mb(chip.run(eyeriss, layer))
        rows.append((layer.layer.name, model, layer.buffer_mb, percent(model, layer.buffer_mb)))
        if layer.layer.name != "CONV3":
            assert model == pytest.approx(layer.buffer_mb, rel=0.04)
    third = chip.buffer_mb(chip.run(eyeriss, ALEXNET["CONV3"], chip.CONV3_OF_THE_TRAFFIC))
    rows.append(("CONV3 *", third, 50.2, percent(third, 50.2)))
    table("Eyeriss, AlexNet: buffer accesses [MB]; * as CONV4", ("layer", "model", "chip", "error"), rows)
    assert third == pytest.approx(50.2, rel=0.005)


def test_eyeriss_conv3_is_as_fast_under_the_parameters_that_its_traffic_implies(eyeriss):
    ((_, ms, measured),) = latencies(eyeriss, [ALEXNET["CONV3"]], chip.CONV3_OF_THE_TRAFFIC)
    assert ms == pytest.approx(measured, rel=0.03)


def test_eyeriss_dram_traffic_of_alexnet_is_the_measured_one_once_compressed(eyeriss):
    rows = []
    for i, layer in enumerate(chip.ALEXNET):
        cost = chip.run(eyeriss, layer)
        last = layer is chip.ALEXNET[-1]
        after = 0.0 if last else chip.ALEXNET[i + 1].zeros  # zeros of CONV5's outputs are not published
        dense, packed = chip.dram_mb(cost), chip.dram_mb(cost, (layer.zeros, after))
        rows.append((layer.layer.name, dense, packed, layer.dram_mb, percent(packed, layer.dram_mb)))
        assert dense > layer.dram_mb
        assert last or packed == pytest.approx(layer.dram_mb, rel=0.15)
    table("Eyeriss, AlexNet: DRAM accesses [MB]", ("layer", "dense", "packed", "chip", "error"), rows)


# -- Eyeriss, VGG-16 -------------------------------------------------------------------------------------------


def test_eyeriss_latency_of_vgg16_under_mappings_inferred_from_its_traffic(eyeriss):
    results = latencies(eyeriss, chip.VGG16)
    show_latencies("Eyeriss, VGG-16 (batch 3), mappings inferred from PEs, buffer size and traffic", results)
    assert mean_error((ms, measured) for _, ms, measured in results) < 0.07
    for _, ms, measured in results:
        assert ms == pytest.approx(measured, rel=0.15)


def test_the_early_layers_of_vgg16_are_bound_by_partial_sums_through_the_buffer(eyeriss):
    buffer = eyeriss.memories[chip.ARRAY]
    sums_per_cycle = 2 * buffer.write_words_per_cycle  # in and out
    rows = []
    for layer in chip.VGG16:
        words = layer.buffer_mb * chip.MB / chip.WORD_BYTES
        cycles = layer.processing_ms * chip.CYCLES_PER_MS
        ideal = layer.layer.operations / layer.active_pes
        rows.append((layer.layer.name, words / cycles, 100 * words / sums_per_cycle / cycles, 100 * ideal / cycles))
        if layer.layer.name < "CONV5":
            assert 0.92 < words / sums_per_cycle / cycles < 0.97
        else:
            assert words / sums_per_cycle / cycles < 0.65
    title = "Eyeriss, VGG-16, as measured: buffer words a cycle; share of 8 words a cycle; of the PEs' ideal [%]"
    table(title, ("layer", "words", "buffer", "array"), rows)


# -- Eyeriss, found mappings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("goal", ["latency", "edp"])
def test_eyeriss_under_found_mappings(eyeriss, goal):
    """The mapper may cut rows, so that sums of more filters and channels fit; the chip keeps whole rows of sums.

    That is why it is up to five times as fast on VGG-16's wide layers, and somewhat faster than the chip elsewhere.
    """
    measured = [*chip.ALEXNET, *chip.VGG16]
    workload = Workload("both", tuple(layer.layer for layer in measured))
    (cost,) = AnalyticalCost(AnalyticalSettings(objective=goal)).evaluate([(workload, eyeriss)])
    rows, times = [], []
    for found, layer in zip(cost.layers, measured, strict=True):
        own = chip.run(eyeriss, layer)
        ms, published = (chip.processing_cycles(x) / chip.CYCLES_PER_MS for x in (found, own))
        times.append(ms)
        energy = found.total_energy_pj / own.total_energy_pj
        traffic = chip.buffer_mb(found), layer.buffer_mb
        rows.append(
            (
                layer.layer.name,
                ms,
                published,
                layer.processing_ms,
                percent(ms, layer.processing_ms),
                *traffic,
                100 * energy,
            )
        )
    columns = ("layer", "found ms", "own ms", "chip ms", "error", "found MB", "chip MB", "energy %")
    table(f"Eyeriss, mappings found by {goal}; buffer accesses; energy over the chip's own mapping's", columns, rows)
    alexnet = len(chip.ALEXNET)
    assert 0.8 < sum(times[:alexnet]) / sum(layer.processing_ms for layer in chip.ALEXNET) < 1
    assert sum(times[alexnet:]) < sum(layer.processing_ms for layer in chip.VGG16)
    assert cost.energy_pj < 1.2 * sum(chip.run(eyeriss, layer).total_energy_pj for layer in measured)


# -- NVDLA -----------------------------------------------------------------------------------------------------

AREA_ROWS = (2048, 256, 32)
"""MACs of the rows at 28 nm that give the template's three constants."""

SHRINK = primer.SIZES[0].area_16nm_mm2 / primer.SIZES[0].area_28nm_mm2
"""Area at 16 nm over 28 nm, from the row of 2048 MACs."""


def test_nvdla_area_of_seven_sizes_at_two_nodes_is_within_15_percent():
    rows = []
    for size in primer.SIZES:
        machine = primer.machine(size)
        assert machine.pes == size.macs
        area = machine.area_mm2
        assert area == pytest.approx(size.area_28nm_mm2, rel=0.005 if size.macs in AREA_ROWS else 0.15)
        assert area * SHRINK == pytest.approx(size.area_16nm_mm2, rel=0.15)
        errors = percent(area, size.area_28nm_mm2), percent(area * SHRINK, size.area_16nm_mm2)
        used = ("28" if size.macs in AREA_ROWS else "") + (" 16" if size is primer.SIZES[0] else "")
        rows.append((size.macs, f"{area:.2f}", size.area_28nm_mm2, errors[0], f"{area * SHRINK:.2f}", errors[1], used))
    title = "NVDLA area [mm2] (16 nm: row 2048's shrink)"
    table(title, ("MACs", "28 nm", "primer", "error", "16 nm", "error", "used"), rows)


def test_nvdla_at_16_nm_by_published_scaling_of_logic_is_within_25_percent():
    template = load_template("nvdla", vary={})
    shrink = template.build({"technology_nm": 16}).area_mm2 / template.build().area_mm2
    for size in primer.SIZES:
        assert primer.machine(size).area_mm2 * shrink == pytest.approx(size.area_16nm_mm2, rel=0.25)


def frames_per_s(layers, costs, size):
    """At 1 GHz; a residual is read from DRAM while the layer that adds it runs."""
    cycles = 0.0
    for (_, residual), cost in zip(layers, costs, strict=True):
        cycles += max(cost.cycles, cost.memory_cycles[0] + residual / size.dram_gb_s)
    return 1e9 / cycles


def dram_mb(layers, costs):
    return sum(float(c.reads[0].sum() + c.writes[0].sum()) + x for (_, x), c in zip(layers, costs, strict=True)) / 1e6


def test_nvdla_frames_per_second_on_resnet50_are_within_20_percent():
    layers = primer.resnet50()
    assert len(layers) == 54
    rows = []
    for size in primer.SIZES:
        machine = primer.machine(size)
        known = {}
        for layer, _ in layers:
            if layer.shape_key not in known:
                known[layer.shape_key] = primer.fastest_schedule(layer, machine)
        costs = [known[layer.shape_key] for layer, _ in layers]
        frames = frames_per_s(layers, costs, size)
        rows.append((size.macs, frames, float(size.frames_s), percent(frames, size.frames_s), dram_mb(layers, costs)))
        assert frames == pytest.approx(size.frames_s, rel=0.2)
    title = "NVDLA, ResNet-50 under the schedules of its control"
    table(title, ("MACs", "frames/s", "primer", "error", "DRAM MB"), rows)


def show_found_frames(title, sizes, machines):
    """Frames a second of each size under the mapper's mappings, over the primer's."""
    layers = primer.resnet50()
    workload = Workload("resnet50", tuple(layer for layer, _ in layers))
    costs = AnalyticalCost(AnalyticalSettings(objective="latency")).evaluate([(workload, one) for one in machines])
    rows, ratios = [], []
    for size, cost in zip(sizes, costs, strict=True):
        assert cost.violation == 0, cost.reason
        frames = frames_per_s(layers, cost.layers, size)
        ratios.append(frames / size.frames_s)
        row = size.macs, frames, float(size.frames_s), percent(frames, size.frames_s), dram_mb(layers, cost.layers)
        rows.append(row)
    table(title, ("MACs", "frames/s", "primer", "error", "DRAM MB"), rows)
    return ratios


def test_nvdla_frames_per_second_on_resnet50_under_found_mappings_are_within_20_percent():
    machines = [primer.machine(size) for size in primer.SIZES]
    for ratio in show_found_frames("NVDLA, ResNet-50 under found mappings", primer.SIZES, machines):
        assert ratio == pytest.approx(1, rel=0.2)


def test_nvdla_would_be_far_too_fast_where_dram_is_scarce_if_its_control_could_run_any_loop():
    """The reason for ``loops`` in the template: with sums to and from DRAM, fewer words would move than on the chip."""
    scarce = [size for size in primer.SIZES if size.dram_gb_s <= 1]
    machines = [primer.without_rules(primer.machine(size)) for size in scarce]
    assert min(show_found_frames("NVDLA, ResNet-50, if any memory ran any loop", scarce, machines)) > 1.3


@pytest.mark.parametrize("macs", [2048, 32])
def test_nvdlas_sums_leave_its_accumulators_complete(macs):
    machine = primer.machine(next(size for size in primer.SIZES if size.macs == macs))
    for layer in {layer.shape_key: layer for layer, _ in primer.resnet50()}.values():
        found = find_mapping(layer, machine, "latency")
        for mapping in (mapping_of(machine, layer.has_weights, found), primer.fastest_schedule(layer, machine).mapping):
            for level in mapping.levels[:2]:
                assert not {dim for dim, _ in level.temporal} & {"c", "r", "s"}
        cost = evaluate_mapping(layer, machine, mapping_of(machine, layer.has_weights, found))
        assert cost.reads[0, 2] == 0  # no sum comes back
        assert cost.cycles == found.cycles
