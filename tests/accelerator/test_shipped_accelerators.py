"""The templates that come with coevo: complete, buildable, and the size of the machines they describe."""

import numpy as np
import pytest

from coevo.accelerator import describe, load_template
from coevo.library import list_data
from coevo.workload import OPERANDS

SHIPPED = ("eyeriss", "nvdla", "shidiannao", "tpu")


@pytest.fixture(scope="module", params=SHIPPED)
def template(request):
    return load_template(request.param)


def check(machine):
    """Nothing physical is free, and every operand has a home on the way in."""
    assert machine.area_mm2 > 0
    assert machine.mac.energy_pj > 0
    assert machine.mac.area_mm2 > 0
    for memory in machine.memories:
        assert memory.read_energy_pj > 0
        assert memory.write_energy_pj > 0
        assert (memory.area_mm2 > 0) == (memory.kind != "dram")
        assert (memory.leakage_mw > 0) == (memory.kind != "dram")
    assert set(machine.memories[0].holds) == set(OPERANDS)


def test_all_are_listed():
    assert set(SHIPPED) <= set(list_data("accelerators"))


def test_names_match_their_files(template):
    assert template.file.endswith(f"{template.name}.yaml")


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
