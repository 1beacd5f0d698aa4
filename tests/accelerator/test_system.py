"""Templates of several accelerators on one chip: what they build, what they share, and which mistakes they refuse."""

import math
from dataclasses import replace

import pytest
from toy_accelerator import GOOD

from coevo.accelerator import System, load_template
from coevo.accelerator.system import system_flaw, system_of
from coevo.errors import SpecError

TWO = """\
schema: 1
name: two
description: two toys
technology_nm: 45
clock_mhz: 500
word_bits: 8
dram: {words_per_cycle: 8}
parts:
  left:
    template: toy.yaml
    set: {pe_array.rows: 2}
  right:
    template: toy.yaml
    set:
      clock_mhz: 250
vary:
  left.pe_array.columns: {any_of: [4, 8]}
  right.memories.glb.size_kib: {any_of: [32, 64]}
  dram.words_per_cycle: {any_of: [4, 8]}
"""


@pytest.fixture
def load(tmp_path):
    def write_and_load(text=TWO, **arguments):
        (tmp_path / "toy.yaml").write_text(GOOD, encoding="utf-8")
        path = tmp_path / "two.yaml"
        path.write_text(text, encoding="utf-8")
        return load_template(str(path), **arguments)

    return write_and_load


def test_area_is_the_sum_of_the_parts_and_what_is_shared(load):
    system = load(TWO.replace("dram:", "other_area_mm2: 0.5\ndram:")).build()
    assert isinstance(system, System)
    assert system.area_mm2 == pytest.approx(0.5 + sum(part.area_mm2 for _, part in system.parts))
    assert system.pes == 2 * 8 + 4 * 8
    on_chip = sum(m.area_mm2 * count for m, count in zip(system.memories, system.instances, strict=True))
    assert on_chip == pytest.approx(
        sum(m.area_mm2 * n for _, x in system.parts for m, n in zip(x.memories, x.instances, strict=True))
    )


def test_parts_take_the_chips_technology_and_words_and_their_own_sizes(load):
    system = load(TWO.replace("technology_nm: 45", "technology_nm: 28")).build()
    for _, part in system.parts:
        assert part.technology_nm == 28
        assert part.bits == (8, 8, 8)
    left, right = (part for _, part in system.parts)
    assert (left.memories[1].fanout_y, right.memories[1].fanout_y) == (2, 4)


def test_all_parts_see_one_dram_whose_bandwidth_counts_in_each_ones_cycles(load):
    system = load().build({"dram.words_per_cycle": 4})
    left, right = (part for _, part in system.parts)
    assert system.memories[0].words_per_cycle == 4
    assert left.memories[0].words_per_cycle == 4
    assert right.memories[0].words_per_cycle == 8  # at half the clock
    assert left.memories[0].read_energy_pj == right.memories[0].read_energy_pj == system.memories[0].read_energy_pj


def test_memories_bear_the_names_of_their_parts(load):
    system = load().build()
    assert [m.name for m in system.memories] == ["dram", "left.glb", "left.spad", "right.glb", "right.spad"]
    assert system.rows == {"left": (0, 1, 2), "right": (0, 3, 4)}
    assert system.instances == (1, 1, 16, 1, 32)


def test_fields_are_named_by_part_and_vary_alone(load):
    template = load()
    assert template.size == 8
    own, wider = template.build(), template.build({"left.pe_array.columns": 4})
    assert dict(wider.parts)["left"].pes == 8
    assert dict(wider.parts)["right"] == dict(own.parts)["right"]
    assert dict(own.choices) == {
        "left.pe_array.columns": 8,
        "right.memories.glb.size_kib": 64,
        "dram.words_per_cycle": 8,
    }


def test_an_experiments_vary_replaces_the_files(load):
    assert load(vary={}).size == 1
    assert [f.path for f in load(vary={"right.pe_array.rows": {"any_of": [2, 4]}}).fields] == ["right.pe_array.rows"]


def test_a_system_with_its_parts_written_in_place_is_the_same_machine(load, tmp_path):
    import yaml

    template = load()
    alone = tmp_path / "elsewhere" / "two.yaml"
    alone.parent.mkdir()
    alone.write_text(yaml.safe_dump(dict(template.content), sort_keys=False), encoding="utf-8")
    again = load_template(str(alone))
    assert again.build().key == template.build().key
    assert again.fields == template.fields
    assert again.content == template.content


def test_another_value_of_any_part_is_another_key(load):
    template = load()
    keys = {template.build({"right.memories.glb.size_kib": size}).key for size in (32, 64)}
    assert len(keys) == 2


MISTAKES = {
    "unknown part template": ("template: toy.yaml\n    set: {", "template: eyeris\n    set: {",
                              "parts.left.template: no accelerator named 'eyeris' .did you mean 'eyeriss'"),
    "parts within parts": ("template: toy.yaml\n    set: {", "template: nvdla_shidiannao\n    set: {",
                           "parts.left.template: 'nvdla_shidiannao' has parts itself"),
    "a part named twice": ("  right:", "  left:", "left"),
    "a part named dram": ("  right:", "  dram:", "parts.dram: a part cannot be called dram"),
    "no shared bandwidth": ("dram: {words_per_cycle: 8}", "dram: {kind: lpddr4}", "dram.words_per_cycle: is missing"),
    "no dram": ("dram: {words_per_cycle: 8}\n", "", "dram: is missing"),
    "no parts": ("parts:\n", "parts: {}\nothers:\n", "others: unknown key"),
    "set of an unknown field": ("pe_array.rows: 2", "pe_array.row: 2", "there is no such field .did you mean"),
    "set of an unknown memory": ("pe_array.rows: 2", "memories.glbb.size_kib: 2", "there is no memory 'glbb'"),
    "set of what is the chip's": ("pe_array.rows: 2", "technology_nm: 7", "is the whole chip's"),
    "set of what is shared": ("pe_array.rows: 2", "memories.dram.words_per_cycle: 7", "all parts share"),
    "a value that makes no machine": ("pe_array.rows: 2", "memories.glb.size_kib: 0.001", "is too small"),
    "a value that is no number": ("pe_array.rows: 2", "pe_array.rows: two", "left.set.pe_array.rows: must be"),
    "a clock slower than a part's": ("\nclock_mhz: 500", "\nclock_mhz: 100", "clock_mhz: 100 is slower than left"),
    "vary of an unknown part": ("  left.pe_array", "  lift.pe_array", "no such part or field .did you mean 'left'"),
    "vary of what is shared": ("  left.pe_array.columns", "  left.memories.dram.words_per_cycle", "section `dram`"),
    "vary by a value that makes no machine": ("[32, 64]", "[0.001, 64]", "the value 0.001 makes no machine"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_with_its_place(load, mistake):
    old, new, problem = MISTAKES[mistake]
    assert old in TWO
    with pytest.raises(SpecError, match=problem) as caught:
        load(TWO.replace(old, new))
    assert "\n" not in str(caught.value)
    assert "two.yaml:" in str(caught.value)


def test_an_unknown_field_to_build_is_refused_with_the_near_one(load):
    with pytest.raises(SpecError, match=r"left\.pe_array\.row: there is no such field .did you mean 'pe_array.rows'"):
        load().build({"left.pe_array.row": 3})


def test_parts_that_cannot_stand_on_one_chip_are_found(load):
    parts = dict(load().build().parts)
    assert system_flaw(500, 0.0, parts) is None
    left = parts["left"]
    dram = replace(left.memories[0], words_per_cycle=3.0)
    for other, field in (
        (replace(left, technology_nm=7), "technology_nm"),
        (replace(left, clock_mhz=1000), "clock_mhz"),
        (replace(left, memories=left.memories[:1]), "memories"),
        (replace(left, memories=(dram, *left.memories[1:])), "memories"),
    ):
        flaw = system_flaw(500, 0.0, parts | {"other": other})
        assert flaw is not None
        assert flaw[0][:3] == ("parts", "other", field)
    assert system_flaw(math.inf, 0.0, parts) is not None
    assert system_flaw(500, -1.0, parts) is not None


def test_a_system_of_one_part_is_that_part_for_areas():
    part = load_template("shidiannao").build()
    system = system_of("alone", part.clock_mhz, {"only": part})
    assert system.area_mm2 == pytest.approx(part.area_mm2)
    assert system.pes == part.pes
