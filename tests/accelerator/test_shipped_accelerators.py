"""The templates that come with coevo: complete, buildable, and the size of the machines they describe."""

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from coevo.accelerator import describe, load_template, machine_flaw, technology
from coevo.cost.analytical import AnalyticalCost, AnalyticalSettings
from coevo.experiment import load_experiment
from coevo.library import list_data
from coevo.workload import DIMS, OPERANDS, Layer, LayerKind, Workload

# "device" stands for what is not modelled, and has figures of its own only because a file must.
SHIPPED = tuple(name for name in list_data("accelerators") if name != "device")


@pytest.fixture(scope="module", params=SHIPPED)
def template(request):
    return load_template(request.param)


def check(machine):
    """Nothing physical is free, and every operand has a home on the way in."""
    assert machine.area_mm2 > 0
    assert machine.mac.energy_pj > 0
    assert machine.mac.area_mm2 > 0
    assert machine.mac.leakage_mw > 0
    assert machine_flaw(machine) is None
    for memory in machine.memories:
        assert memory.read_energy_pj > 0
        assert memory.write_energy_pj > 0
        assert (memory.area_mm2 > 0) == (memory.kind != "dram")
        assert (memory.leakage_mw > 0) == (memory.kind != "dram")
    assert set(machine.memories[0].holds) == set(OPERANDS)


def test_all_are_listed():
    assert {"eyeriss", "nvdla", "shidiannao", "tpu", "simba", "gemmini", "tiny"} <= set(SHIPPED)


def test_names_match_their_files(template):
    assert template.file.endswith(f"{template.name}.yaml")


def test_a_data_mover_costs_time_and_energy(template):
    machine = template.build()
    pool = Layer("pool", "pool", g=16, p=4, q=4, r=2, s=2, stride=(2, 2))
    add = Layer("add", "add", g=16, c=2, p=8, q=8)
    for layer in (pool, add, *(replace(add, name=kind, kind=kind, c=1) for kind in get_args(LayerKind))):
        if layer.has_weights:
            continue
        (cost,) = AnalyticalCost(AnalyticalSettings()).evaluate([(Workload("mover", (layer,)), machine)])
        assert cost.violation == 0
        # At the least every input and output word crosses the DRAM's port once.
        words, dram = sum(layer.words), machine.memories[0]
        assert cost.energy_pj >= words * dram.read_energy_pj / dram.words_per_access
        assert cost.latency_cycles >= words / dram.words_per_cycle


def test_every_value_of_every_field_builds(template):
    check(template.build())
    for field in template.fields:
        for value in field.choices:
            machine = template.build({field.path: value})
            check(machine)
            assert dict(machine.choices)[field.path] == value


def test_the_published_machine_is_among_the_choices(template):
    for path, value in template.build().choices:
        assert value in next(field.choices for field in template.fields if field.path == path), path


def test_random_machines_build_and_differ(template):
    rng = np.random.default_rng(0)
    machines = [
        template.build({field.path: field.choices[rng.integers(len(field.choices))] for field in template.fields})
        for _ in range(100)
    ]
    for machine in machines:
        check(machine)
    assert len({machine.key for machine in machines}) > 90


def test_there_are_tens_of_thousands_of_machines(template):
    assert 10_000 <= template.size <= 100_000


def test_more_pes_and_larger_memories_take_more_area(template):
    for field in template.fields:
        if field.path.endswith(("size_kib", "size_words", "rows", "columns", "fanout.x", "fanout.y")):
            areas = [template.build({field.path: value}).area_mm2 for value in field.choices]
            assert areas == sorted(areas), field.path
            assert areas[0] < areas[-1]


def test_describe_names_every_memory_and_field(template):
    text = describe(template)
    for memory in template.build().memories:
        assert memory.name in text
    for field in template.fields:
        assert field.path in text
    assert f"{template.size:,} machines" in text


def test_eyeriss_is_the_chip_of_table_3():
    # Chen et al., JSSC 2017: 168 PEs, core 12.25 mm2, 181.5 KB of SRAM.
    machine = load_template("eyeriss").build()
    assert machine.pes == 168
    assert machine.area_mm2 == pytest.approx(12.25, rel=0.02)
    sram = sum(m.size_bits * n for m, n in zip(machine.memories, machine.instances, strict=True) if m.kind == "sram")
    assert sram / 8192 == pytest.approx(181.5, rel=0.01)


def test_eyeriss_keeps_the_published_energy_ratios():
    # Chen et al., ISCA 2016, table IV, relative to a 16-bit MAC: spad 1, buffer 6, DRAM 200.
    machine = load_template("eyeriss").build()
    ratio = {m.name: m.read_energy_pj / m.words_per_access / machine.mac.energy_pj for m in machine.memories}
    assert ratio == pytest.approx({"dram": 200, "glb": 6, "filter_spad": 1, "ifmap_spad": 1, "psum_spad": 1}, rel=0.01)


@pytest.mark.parametrize(
    ("rows", "columns", "buffer_kib", "area_mm2"),
    [
        (64, 32, 512, 5.5),
        (64, 16, 256, 3.0),
        (32, 16, 256, 2.3),
        (32, 8, 256, 1.7),
        (16, 8, 256, 1.4),
        (8, 8, 128, 0.91),
        (8, 4, 128, 0.85),
    ],
)
def test_nvdla_scales_as_the_primers_table(rows, columns, buffer_kib, area_mm2):
    machine = load_template("nvdla").build(
        {
            "memories.conv_buffer.fanout.x": columns,
            "memories.accumulators.fanout.y": rows,
            "memories.conv_buffer.size_kib": buffer_kib,
        }
    )
    assert machine.pes == rows * columns
    assert machine.area_mm2 == pytest.approx(area_mm2, rel=0.1)


def test_nvdla_in_16_nm_shrinks_as_the_primers_table():
    template = load_template("nvdla")
    assert template.build({"technology_nm": 16}).area_mm2 / template.build().area_mm2 == pytest.approx(0.6, rel=0.2)


def test_tpu_has_the_published_peak_and_memory():
    # Jouppi et al., ISCA 2017, abstract: 65,536 MACs, 92 TOPS, 28 MiB.
    machine = load_template("tpu").build()
    assert machine.pes == 65536
    assert 2 * machine.pes * machine.clock_mhz * 1e-6 == pytest.approx(92, rel=0.01)
    assert machine.area_mm2 == pytest.approx(331, rel=0.01)


def test_the_arrays_that_are_refilled_over_buses_are_those_of_which_it_is_known():
    machines = {name: load_template(name).build() for name in SHIPPED}
    widths = {name: [set(memory.bus_words_per_cycle) for memory in x.memories] for name, x in machines.items()}
    assert {name for name, sets in widths.items() if any(each != {math.inf} for each in sets)} == {"eyeriss"}
    glb = next(memory for memory in machines["eyeriss"].memories if memory.name == "glb")
    assert glb.bus_words_per_cycle == (4, 1, 4)


def test_nvdla_alone_restricts_its_outer_loops_and_to_those_that_end_sums():
    for name in SHIPPED:
        loops = load_template(name).build().memories[0].loops
        assert loops == (("n", "g", "m", "p", "q") if name == "nvdla" else DIMS)


def test_the_systolic_machines_are_those_of_which_it_is_published():
    systolic = {name for name in SHIPPED if any(m.systolic for m in load_template(name).build().memories)}
    assert systolic == {"tpu", "gemmini"}


def test_gemmini_is_the_generators_default():
    # Configs.scala: 16 x 16 PEs, 256 KB of scratchpad, 64 KB of 32-bit accumulators; area by DAC 2021 less the host.
    machine = load_template("gemmini").build()
    assert machine.pes == 256
    scratchpad, accumulators = machine.memories[1:3]
    assert scratchpad.size_bits == 256 * 8192
    assert accumulators.size_bits / 8 * 32 * machine.instances[2] == 64 * 8192
    assert machine.area_mm2 == pytest.approx(1.029 - 0.171, rel=0.01)


def test_gemminis_energies_are_dosas_at_22_nm():
    machine = load_template("gemmini").build()
    _, scratchpad, accumulators, register = machine.memories
    found = (
        machine.mac.energy_pj,
        register.read_energy_pj,
        scratchpad.read_energy_pj / 16,
        accumulators.read_energy_pj,
    )
    dosa = (0.5608, 0.48746172, 0.02513 * 128 + 0.49, 0.1005 * 32 / 16 + 1.94)
    assert found == pytest.approx([energy * technology.energy_scale(22, 40) for energy in dosa], rel=0.005)


def test_simba_has_two_levels_of_fan_out_and_the_published_peak():
    # VLSI 2019, abstract: 4.01 TOPS per chiplet. 16 PEs with 8 vector MACs of 8 lanes.
    machine = load_template("simba").build()
    fanouts = [m.fanout_x * m.fanout_y for m in machine.memories if m.fanout_x * m.fanout_y > 1]
    assert fanouts == [16, 64]
    assert 2 * machine.pes * machine.clock_mhz * 1e-6 == pytest.approx(4.01, rel=0.001)
    assert machine.area_mm2 == pytest.approx(6, rel=0.01)


def test_tiny_is_of_a_microcontrollers_size():
    machine = load_template("tiny").build()
    assert machine.pes == 32
    assert machine.area_mm2 < 1
    on_chip = sum(m.size_bits * n for m, n in zip(machine.memories, machine.instances, strict=True) if m.kind != "dram")
    assert on_chip / 8192 < 256


def test_the_microcontroller_experiment_bounds_the_peak_memory():
    experiment = load_experiment("tiny_mcu")
    assert any("peak_memory_kib" in constraint for constraint in experiment.plan.header.constraints)


def test_shidiannao_has_the_published_area():
    # Du et al., ISCA 2015, abstract: 4.86 mm2.
    machine = load_template("shidiannao").build()
    assert machine.pes == 64
    assert machine.area_mm2 == pytest.approx(4.86, rel=0.01)


def test_shidiannao_spends_the_published_power_in_its_pes():
    # Du et al., ISCA 2015, breakdown that adds up to the abstract's 320 mW: the NFU takes 268.82 mW at 1 GHz.
    machine = load_template("shidiannao").build()
    fifo, accumulator = machine.memories[-2:]
    per_cycle = machine.mac.energy_pj + fifo.read_energy_pj + accumulator.read_energy_pj + accumulator.write_energy_pj
    assert machine.pes * per_cycle * machine.clock_mhz * 1e-3 == pytest.approx(268.82, rel=0.02)
