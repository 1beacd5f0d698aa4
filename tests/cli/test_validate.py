"""``coevo validate`` as users call it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from coevo.cli import main

RECORDS = Path(__file__).parents[1] / "cost"
TIMELOOP = str(RECORDS / "timeloop_reference.json")
NETWORKS = str(RECORDS / "network_reference.json")


@pytest.fixture
def coevo(capsys):
    """Calls the program; returns exit code, standard output and standard error."""

    def call(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        out, err = capsys.readouterr()
        return stop.value.code, out, err

    return call


@pytest.fixture
def changed(tmp_path):
    """Writes Timeloop's records with one of them changed."""

    def write(change):
        data = json.loads(Path(TIMELOOP).read_text())
        change(data["records"][0])
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(data))
        return str(path)

    return write


def test_json_is_one_object_with_shares_and_the_worst_records(coevo):
    code, out, err = coevo("validate", TIMELOOP, "--json")
    data = json.loads(out)
    assert (code, err) == (0, "")
    assert list(data)[:5] == ["records", "accesses_equal", "cycles_within_0.1pct", "energy_within_0.1pct", "worst"]
    assert data["records"] == 20
    assert data["accesses_equal"] == data["cycles_within_0.1pct"] == data["energy_within_0.1pct"] == 1
    assert len(data["worst"]) == 10
    assert {"id", "architecture", "layer", "quantity", "ours", "theirs"} <= set(data["worst"][0])
    errors = [entry["relative_error"] for entry in data["worst"]]
    assert errors == sorted(errors, reverse=True)


def test_several_files_count_together(coevo):
    _, out, _ = coevo("validate", TIMELOOP, NETWORKS, "--json", "--worst", "3")
    data = json.loads(out)
    assert data["records"] == 29 and len(data["worst"]) == 3
    assert data["quantities"]["network energy"]["equal"] == 1


def test_the_table_gives_every_quantity_with_shares_and_errors(coevo):
    code, out, err = coevo("validate", TIMELOOP)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "20 records"
    for quantity in ("reads", "fills", "updates", "cycles", "energy", "leakage", "ingresses", "link transfers"):
        assert any(line.startswith(f"{quantity}  ") for line in lines), quantity
    assert "  all access counts equal  100 %" in lines
    assert max(map(len, lines)) <= 120


def test_a_figure_that_is_off_shows_among_the_worst(coevo, changed):
    def wrong(record):
        record["cycles"] = round(record["cycles"] * 1.5)

    _, out, _ = coevo("validate", changed(wrong), "--json")
    data = json.loads(out)
    assert data["cycles_within_0.1pct"] == 19 / 20 and data["accesses_equal"] == 1
    assert data["worst"][0]["quantity"] == "cycles" and data["worst"][0]["theirs"] > data["worst"][0]["ours"]


def test_shares_of_what_no_record_gives_are_null(coevo, changed, tmp_path):
    data = json.loads(Path(TIMELOOP).read_text())
    for record in data["records"]:
        for key in ("levels", "networks", "energy_pJ", "mac_energy_pJ"):
            del record[key]
    path = tmp_path / "silicon.json"
    path.write_text(json.dumps(data))
    _, out, _ = coevo("validate", str(path), "--json")
    told = json.loads(out)
    assert told["accesses_equal"] is None and told["energy_within_0.1pct"] is None
    assert told["cycles_within_0.1pct"] == 1
    _, out, _ = coevo("validate", str(path))
    assert "not given" in out


def test_a_mistake_is_one_line_and_exit_code_2(coevo, changed):
    file = changed(lambda record: record["mapping"][0].update(level="DRM"))
    code, out, err = coevo("validate", file)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {file}: record ") and "mapping.0.level" in err and "did you mean 'DRAM'?" in err
    assert err.count("\n") == 1


def test_help_shows_the_form(coevo):
    code, out, _ = coevo("validate", "--help")
    assert code == 0
    assert "ERT_pJ_per_vector_access" in out and '"records": [{' in out


def test_the_form_that_help_shows_can_be_validated(coevo, tmp_path):
    _, out, _ = coevo("validate", "--help")
    start = out.index('{"architectures"')
    example = out[start : out.index("\n\n", start)]
    path = tmp_path / "example.json"
    path.write_text(example)
    code, out, _ = coevo("validate", str(path), "--json")
    assert code == 0 and json.loads(out)["accesses_equal"] == 1


def test_the_form_in_the_module_can_be_validated(coevo, tmp_path):
    from coevo.cost import reference

    start = reference.__doc__.index('{\n      "architectures"')
    path = tmp_path / "example.json"
    path.write_text(reference.__doc__[start : reference.__doc__.index("\n\nArchitectures:", start)])
    code, out, _ = coevo("validate", str(path), "--json")
    assert code == 0 and json.loads(out)["accesses_equal"] == json.loads(out)["energy_within_0.1pct"] == 1
