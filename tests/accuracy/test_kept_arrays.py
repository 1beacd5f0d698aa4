"""What is kept appears whole or not at all, also when several processes write it at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from coevo.accuracy.kept import keep


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COEVO_CACHE", str(tmp_path / "kept"))


def test_an_entry_is_written_once(tmp_path: Path) -> None:
    written: list[Path] = []

    def write(folder: Path) -> None:
        written.append(folder)
        (folder / "it").write_text("here")

    assert keep("a", write) == keep("a", write) == tmp_path / "kept" / "a"
    assert (tmp_path / "kept" / "a" / "it").read_text() == "here"
    assert len(written) == 1


def test_what_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "it").write_text("half")
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        keep("a", write)
    assert not list((tmp_path / "kept").iterdir())


def test_of_two_that_write_at_once_one_is_heeded_and_both_go_on(tmp_path: Path) -> None:
    together = Barrier(2)

    def write(who: str) -> str:
        def fill(folder: Path) -> None:
            (folder / "it").write_text(who)
            together.wait(timeout=20)

        return (keep("a", fill) / "it").read_text()

    with ThreadPoolExecutor(2) as pool:
        read = set(pool.map(write, ["one", "other"]))
    assert len(read) == 1
    assert [entry.name for entry in (tmp_path / "kept").iterdir()] == ["a"]


def test_without_a_variable_it_lies_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("COEVO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    assert keep("a", lambda folder: None) == tmp_path / "caches" / "coevo" / "data" / "a"
