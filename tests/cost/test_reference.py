"""The cost model against Timeloop's own figures, and the form of a reference file.

`timeloop_reference.json`: timeloop-model (NVlabs/timeloop 4cf6d4c) on fixed mappings of AlexNet's, ResNet's, VGG's and
MobileNetV2's layers on five machines. `network_reference.json`: machines with wire and router energy, clusters and a
DRAM that cannot add, by Timeloop's rules as its source states them.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import pytest

from coevo.cost.reference import read_reference
from coevo.cost.validation import ACCESSES, validate
from coevo.errors import SpecError

FOLDER = Path(__file__).parent
TIMELOOP = FOLDER / "timeloop_reference.json"
NETWORKS = FOLDER / "network_reference.json"
EXAMPLE = {
    "architectures": {
        "mine": {
            "levels": [
                {
                    "name": "DRAM",
                    "cls": "DRAM",
                    "fanoutX": 1,
                    "fanoutY": 1,
                    "keep": ["Weights", "Inputs", "Outputs"],
                    "read_bandwidth": 8,
                    "ERT_pJ_per_vector_access": {"read": 100, "write": 200, "update": 50},
                },
                {"name": "PEs", "cls": "dummy_storage", "fanoutX": 4, "fanoutY": 4, "spatial_only": True},
                {
                    "name": "RF",
                    "meshX": 4,
                    "instances": 16,
                    "fanoutX": 1,
                    "fanoutY": 1,
                    "keep": ["Weights", "Inputs", "Outputs"],
                    "capacity_words": 64,
                    "ERT_pJ_per_vector_access": {"read": 1, "write": 2, "leak": 0.5},
                },
            ],
            "compute": {"name": "mac", "energy_pJ": 1.5},
        }
    },
    "records": [
        {
            "id": 7,
            "arch": "mine",
            "layer": {"name": "conv1", "C": 8, "M": 8, "P": 4, "Q": 4, "R": 1, "S": 1},
            "mapping": [
                {"level": "DRAM", "temporal": [["M", 2], ["P", 4]]},
                {"level": "PEs", "spatialX": [["M", 4]], "spatialY": [["C", 4]]},
                {"level": "RF", "temporal": [["C", 2], ["Q", 4]]},
            ],
            # 16 filters' halves stay; 8 x 16 inputs twice; 8 x 16 finished sums once
            "levels": {
                "DRAM": {
                    "ds": {
                        "Weights": {"reads": 64, "fills": 0, "tile_words": 64},
                        "Inputs": {"reads": 256},
                        "Outputs": {"reads": 0, "updates": 128, "energy_pJ": 6400},
                    }
                },
                "RF": {
                    "ds": {
                        "Weights": {"reads": 64, "fills": 4, "instances": 16, "tile_words": 2},
                        "Inputs": {"fills": 64, "energy_pJ": 16 * (64 * 1 + 64 * 2)},
                        "Outputs": {"updates": 64, "reads": 32, "fills": 0},
                    },
                    "leak_pJ": 0.5 * 16 * 64,
                },
            },
            "cycles": 64,
            "compute_cycles": 64,
            "mac_energy_pJ": 1536,
            "networks": {"PEs <==> RF": {"Inputs": {"ingresses": [[4, 4, 256]], "fanout": 16}}},
        }
    ],
}
"""A machine and a mapping that can be counted by hand."""


@pytest.fixture
def reference(tmp_path):
    """Writes a reference and reads it."""

    def read(data):
        path = tmp_path / "mine.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return read_reference(path)

    return read


@pytest.fixture
def example():
    return copy.deepcopy(EXAMPLE)


@pytest.mark.parametrize("file", [TIMELOOP, NETWORKS])
def test_every_count_of_every_record_is_timeloops(file):
    validation = validate(read_reference(file))
    counts = (*ACCESSES, "instances", "lanes", "ingresses", "link transfers", "spatial reductions", "compute cycles")
    for name, tally in validation.tallies().items():
        assert tally.equal == tally.figures or name not in counts, name
    assert validation.accesses_equal == 1


@pytest.mark.parametrize("file", [TIMELOOP, NETWORKS])
def test_cycles_are_timeloops_but_for_its_rounding(file):
    for record in validate(read_reference(file)).records:
        for one in record.of("cycles", "cycles by level"):  # it divides twice before it rounds up: one more at times
            assert 0 <= one.theirs - one.ours <= 1, (record.case.label, one)


@pytest.mark.parametrize("file", [TIMELOOP, NETWORKS])
def test_energies_are_timeloops_but_for_its_rounding(file):
    for record in validate(read_reference(file)).records:
        # Averages over lanes are cut to whole words, which shows where neighbours pass on the few words of a toy.
        if file == TIMELOOP or not any(one.theirs for one in record.of("link transfers")):
            for one in record.of("energy", "energy by level", "network energy", "multiplier energy"):
                assert one.equal, (record.case.label, one)
        for one in record.of("leakage"):  # of a cycle more at times, and printed to a hundredth
            assert abs(one.ours - one.theirs) <= 0.1 + 1e-4 * one.theirs, (record.case.label, one)


def test_the_records_have_what_they_are_here_for():
    timeloop, networks = (validate(read_reference(file)) for file in (TIMELOOP, NETWORKS))
    passed = [one for record in timeloop.records for one in record.of("link transfers") if one.theirs > 0]
    assert len(passed) == 4
    assert sum(one.theirs > 0 for record in networks.records for one in record.of("network energy")) > 10
    assert any(memory.cluster_size > 1 for record in networks.records for memory in record.case.machine.memories)
    assert len({record.case.machine.name for record in timeloop.records}) == 5


def test_an_example_counted_by_hand_agrees_in_every_figure(reference, example):
    validation = validate(reference(example))
    wrong = [one for record in validation.records for one in record.comparisons if not one.equal]
    assert not wrong
    assert sum(tally.figures for tally in validation.tallies().values()) == 22


def test_a_record_of_silicon_may_give_cycles_and_energy_alone(reference, example):
    record = example["records"][0]
    for key in ("levels", "networks", "compute_cycles", "mac_energy_pJ"):
        del record[key]
    record |= {"cycles": 70, "energy_pJ": 1e5}
    validation = validate(reference(example))
    assert validation.accesses_equal is None
    assert validation.cycles_close == 0 and validation.energy_close == 0
    ((_, one),) = validation.worst(5)
    assert one.quantity == "energy" and validation.tallies()["cycles"].worst_error == pytest.approx(6 / 70)


def test_a_wrong_figure_is_found(reference, example):
    example["records"][0]["levels"]["RF"]["ds"]["Weights"]["reads"] = 65
    validation = validate(reference(example))
    ((record, one),) = validation.worst(5)
    assert (one.quantity, one.place, one.ours, one.theirs) == ("reads", "RF Weights", 64, 65)
    assert record.case.label == "record 7" and validation.accesses_equal == 0


def test_a_figure_for_a_tensor_that_is_not_held_is_held_against_nothing(reference, example):
    example["records"][0]["mapping"][2]["keep"] = ["Weights", "Outputs"]
    example["records"][0]["levels"] = {"RF": {"ds": {"Inputs": {"reads": 5}}}}
    (record,) = validate(reference(example)).records
    assert [(one.ours, one.theirs) for one in record.of("reads")] == [(0, 5)]


def test_notes_are_no_mistake(reference, example):
    example["note"] = example["records"][0]["repro_exact"] = True
    example["architectures"]["mine"]["origin"] = "a sketch"
    assert len(reference(example)) == 1


def change(path, value):
    """A mistake: the value at a dotted path, or its absence."""

    def make(data):
        *folders, last = [int(step) if step.isdecimal() else step for step in path.split("/")]
        for step in folders:
            data = data[step]
        if value is None:
            del data[last]
        else:
            data[last] = value

    return make


RECORD, LEVELS = "records/0", "architectures/mine/levels"
MISTAKES = {
    "records: must be a JSON array": change("records", {}),
    "records: there are none": change("records", []),
    "architectures: is missing": change("architectures", None),
    "architecture mine levels.RF.fanoutX: is missing": change(f"{LEVELS}/2/fanoutX", None),
    "architecture mine levels.RF.ERT_pJ_per_vector_access: is missing": change(
        f"{LEVELS}/2/ERT_pJ_per_vector_access", None
    ),
    "architecture mine levels.RF.instances: is 12, but the fan-outs above make 16": change(f"{LEVELS}/2/instances", 12),
    "architecture mine levels.RF: two levels have this name": change(f"{LEVELS}/0/name", "RF"),
    "architecture mine levels.DRAM.read_bandwidth: input should be greater than 0": change(
        f"{LEVELS}/0/read_bandwidth", 0
    ),
    "architecture mine levels.PEs.keep: a spatial_only level keeps nothing": change(f"{LEVELS}/1/keep", ["Inputs"]),
    "record 7 arch: no architecture named 'min'": change(f"{RECORD}/arch", "min"),
    "record 7 cycles: must be a plain number, got '64'": change(f"{RECORD}/cycles", "64"),
    "record 7 layer.C: is missing": change(f"{RECORD}/layer/C", None),
    "record 7 layer.P: input should be greater than or equal to 1, got 0": change(f"{RECORD}/layer/P", 0),
    "record 7 mapping.1.level: mine has no level named 'PE'": change(f"{RECORD}/mapping/1/level", "PE"),
    "record 7 mapping: must have one entry per level, in this order: DRAM, PEs, RF": change(f"{RECORD}/mapping", []),
    "record 7 mapping.0.temporal.0: no dim named 'K'": change(f"{RECORD}/mapping/0/temporal/0/0", "K"),
    'record 7 mapping.0.temporal.0: a loop reads ["C", 4], not ["M", 2.5]': change(
        f"{RECORD}/mapping/0/temporal/0/1", 2.5
    ),
    "record 7 mapping.0.temporal.0: the loop over M has 0 iterations": change(f"{RECORD}/mapping/0/temporal/0/1", 0),
    "record 7 mapping: layer conv1: the mapping's m loops cover 4 of 8": change(f"{RECORD}/mapping/0/temporal/0/1", 1),
    "record 7 mapping: layer conv1: 5 lanes along x below PEs, which has 4": change(
        f"{RECORD}/mapping/1/spatialX/0/1", 5
    ),
    "record 7 mapping: RF needs 14 words for its tiles and has 10": change(f"{LEVELS}/2/capacity_words", 10),
    "record 7 mapping.2.keep.0: input should be 'Weights', 'Inputs' or 'Outputs'": change(
        f"{RECORD}/mapping/2/keep", ["weights"]
    ),
    "record 7 levels.GLB: mine has no such level": change(f"{RECORD}/levels/GLB", {}),
    "record 7 networks.RF <-> mac: must read `outer <==> inner`": change(f"{RECORD}/networks/RF <-> mac", {}),
    "record #1: must be a JSON object": change(RECORD, 3),
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_names_file_record_and_field(reference, example, tmp_path, line):
    MISTAKES[line](example)
    with pytest.raises(SpecError) as error:
        validate(reference(example))
    assert str(error.value).startswith(f"{tmp_path}/mine.json: ")
    assert re.sub(r"^\S+ ", "", str(error.value)).startswith(line)
    assert "\n" not in str(error.value)


def test_a_misspelt_key_is_no_note(reference, example):
    example["architectures"]["mine"]["levels"][0]["Read_Bandwith"] = 3
    del example["architectures"]["mine"]["levels"][0]["read_bandwidth"]
    with pytest.raises(SpecError, match="no key 'Read_Bandwith'; did you mean 'read_bandwidth'"):
        reference(example)


def test_a_tensor_that_no_level_keeps_is_refused(reference, example):
    for entry in example["records"][0]["mapping"][::2]:
        entry["keep"] = ["Weights", "Outputs"]
    with pytest.raises(SpecError, match="record 7 mapping: no level keeps the Inputs"):
        reference(example)


def test_a_record_without_figures_is_refused(reference, example):
    for key in ("levels", "networks", "cycles", "compute_cycles", "mac_energy_pJ"):
        del example["records"][0][key]
    with pytest.raises(SpecError, match="record 7: has no figure to compare"):
        reference(example)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "mine.json:1: not JSON"),
        ("[1]", "must be a JSON object"),
        ('{"a": NaN}', "NaN is no figure"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_json_object_is_refused(reference, text, line):
    with pytest.raises(SpecError, match=re.escape(line)):
        reference(text)


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"none\.json: cannot be read: No such file"):
        read_reference(tmp_path / "none.json")
