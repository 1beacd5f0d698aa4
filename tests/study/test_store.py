from __future__ import annotations

import sqlite3

import pytest

from coevo.design import Accuracy
from coevo.errors import RunError
from coevo.study import load_results
from coevo.study.store import Row, Store


def row(step: int, position: int) -> Row:
    metrics = {"latency_ms": 0.1 + 0.2}
    return Row(step, position, (step, position), f"{step}-{position}", "", metrics, (0.1 + 0.2,), 0.0, "")


def test_rows_come_back_exactly_in_the_order_of_asking(tmp_path):
    store = Store(tmp_path / "run")
    rows = [row(1, 0), row(0, 1), row(0, 0)]
    for one in rows:
        store.add(one)
    store.close()
    again = Store(tmp_path / "run", read_only=True)
    assert again.rows() == [row(0, 0), row(0, 1), row(1, 0)]
    again.close()


def test_accuracies_come_back_exactly(tmp_path):
    store = Store(tmp_path)
    accuracy = Accuracy(1 / 3, None, 0.1, "5 epochs", 0.0, "", 12.5)
    store.accuracies["a"] = accuracy
    assert dict(store.accuracies) == {"a": accuracy}
    assert "b" not in store.accuracies
    store.close()


def refused(open_store) -> str:
    with pytest.raises(RunError) as caught:
        open_store()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "run.sqlite").write_bytes(b"no database at all" * 300)
    assert "not a run of coevo, or damaged" in refused(lambda: Store(tmp_path))
    assert "not a run of coevo, or damaged" in refused(lambda: load_results(tmp_path))


def test_a_foreign_database_is_refused_and_left_alone(tmp_path):
    database = sqlite3.connect(tmp_path / "run.sqlite")
    database.execute("CREATE TABLE meta (key, value)")
    database.close()
    assert "not a run of coevo" in refused(lambda: Store(tmp_path))


def test_another_schema_is_refused(tmp_path):
    store = Store(tmp_path)
    store.set_meta({"schema": 99})
    store.close()
    assert "of schema 99, this coevo reads 1" in refused(lambda: Store(tmp_path))


def test_a_torn_file_is_refused(run, workplace):
    run("budget.designs=12")
    path = workplace / "run" / "run.sqlite"
    path.write_bytes(path.read_bytes()[:5000])
    assert "damaged" in refused(lambda: load_results(workplace / "run"))
    assert "damaged" in refused(lambda: run("budget.designs=12"))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM meta WHERE key = 'header'",
        "UPDATE meta SET value = '[1' WHERE key = 'header'",
        "UPDATE meta SET value = '{}' WHERE key = 'header'",
        "UPDATE meta SET value = json_remove(value, '$.sources.task') WHERE key = 'header'",
        "UPDATE evaluations SET genome = '[99, 0, 0, 0, 0, 0]' WHERE rowid = 1",
        "UPDATE evaluations SET metrics = 'x' WHERE rowid = 1",
        "DELETE FROM accuracies",
    ],
)
def test_damaged_contents_are_refused_in_one_line(run, workplace, statement):
    run("budget.designs=12")
    database = sqlite3.connect(workplace / "run" / "run.sqlite")
    database.execute(statement)
    database.commit()
    database.close()
    refused(lambda: load_results(workplace / "run"))


def test_no_run_in_a_folder(tmp_path):
    assert "no run here" in refused(lambda: load_results(tmp_path))
    assert "no run here" in refused(lambda: load_results(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    assert "cannot be a run folder" in refused(lambda: Store(tmp_path / "run"))


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "run.lock").mkdir()  # stands for missing rights, which root has anyway
    assert "cannot be locked" in refused(lambda: Store(tmp_path))


def test_a_closed_log_can_be_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.add(row(0, 0))
    store.close()
    monkeypatch.setattr("coevo.study.store.os.access", lambda *_: False)  # stands for a read-only disk
    reader = Store(tmp_path, read_only=True)
    assert reader.rows() == [row(0, 0)]
    assert not list(tmp_path.glob("run.sqlite-*"))  # SQLite's usual way would have had to make some
    reader.close()


def test_a_log_in_use_is_read_with_what_is_only_in_its_journal(tmp_path, monkeypatch):
    store = Store(tmp_path)
    store.add(row(0, 0))
    monkeypatch.setattr("coevo.study.store.os.access", lambda *_: False)
    reader = Store(tmp_path, read_only=True)
    assert reader.rows() == [row(0, 0)]
    reader.close()
    store.close()


def test_a_full_disk_is_one_line_and_loses_nothing_committed(tmp_path):
    store = Store(tmp_path)
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages + 2}")

    def fill() -> None:
        for step in range(10_000):
            store.add(row(step, 0))

    assert "full; nothing committed is lost" in refused(fill)
    store.close()
    again = Store(tmp_path)
    rows = again.rows()
    assert rows == [row(step, 0) for step in range(len(rows))]
    assert rows
    again.close()


def test_killed_while_it_was_made_the_store_is_made_again(tmp_path):
    (tmp_path / "run.sqlite").write_bytes(b"")
    store = Store(tmp_path)
    assert store.rows() == []
    store.close()
