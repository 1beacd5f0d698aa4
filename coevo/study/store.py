"""The log of a run: an SQLite file in the run folder, one committed row per design.

SQLite in WAL mode loses no committed row to a killed process and can be read while a run writes. Everything in it
is text and numbers; opening someone else's run folder executes nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from coevo.design import Accuracy
from coevo.errors import RunError

SCHEMA = 1
"""Of the tables; a run folder of another is refused."""

FILE = "run.sqlite"
LOCK = "run.lock"

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE evaluations (
    step INTEGER NOT NULL, position INTEGER NOT NULL, genome TEXT NOT NULL UNIQUE, id TEXT NOT NULL,
    training TEXT NOT NULL, metrics TEXT NOT NULL, objectives TEXT NOT NULL, violation REAL NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY (step, position)
);
CREATE TABLE accuracies (key TEXT PRIMARY KEY, accuracy TEXT NOT NULL);
CREATE TABLE events (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, places TEXT NOT NULL, training TEXT NOT NULL
);
"""

Place = tuple[int, int]
"""Where a design was asked for: number of the `ask` and position in it."""


@dataclass(frozen=True)
class Row:
    """One evaluated design as it is stored.

    Attributes:
        step: Number of the `ask` that proposed it, from 0.
        position: Its place among the genomes of that `ask`.
        genome: Canonical joint genome.
        id: Of the design.
        training: Key of the accuracy it needed; empty if it needed none.
        metrics: By column.
        values: The objectives, minimised.
        violation: 0 if feasible.
        reason: Why not.
    """

    step: int
    position: int
    genome: tuple[int, ...]
    id: str
    training: str
    metrics: Mapping[str, float]
    values: tuple[float, ...]
    violation: float
    reason: str


@dataclass(frozen=True)
class Event:
    """What happened in steady state (`coevo.study.steady`), where the order is no consequence of the seed alone.

    Attributes:
        kind: ``ask``, of the optimiser; ``start``, of a training; ``tell``, of the optimiser.
        places: Of the designs that the training is for, or that were told.
        training: Key of the accuracy that the training finds.
    """

    kind: Literal["ask", "start", "tell"]
    places: tuple[Place, ...] = ()
    training: str = ""


class Store:
    """The log of one run folder.

    Args:
        folder: The run folder; made if it is not there, unless ``read_only``.
        read_only: Whether only to look, also while a run is writing.

    Raises:
        RunError: The folder cannot be made or read, holds something else, or another process runs in it.
    """

    def __init__(self, folder: Path, read_only: bool = False) -> None:
        self.folder = folder
        self._path = folder / FILE
        self._lock: sqlite3.Connection | None = None
        if read_only:
            if not self._path.is_file():
                raise RunError(f"{folder}: no run here (there is no {FILE}); give the folder that `coevo run` named")
            with self._guarded():
                self._database = sqlite3.connect(f"{self._path.resolve().as_uri()}?{self._read_mode()}", uri=True)
        else:
            self._make_folder()
            self._lock = self._take_lock()
            with self._guarded():
                self._database = sqlite3.connect(self._path, isolation_level=None)
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=NORMAL")
        try:
            self._check_tables(may_create=not read_only)
        except RunError:
            self.close()
            raise

    def close(self) -> None:
        """Closes the log and lets other processes in."""
        self._database.close()
        if self._lock is not None:
            self._lock.close()

    # -- facts about the run -----------------------------------------------------------------------------------

    @property
    def meta(self) -> dict[str, Any]:
        """Facts about the run, plain data by key; empty for a new one."""
        with self._guarded():
            rows = self._database.execute("SELECT key, value FROM meta WHERE key != 'schema'").fetchall()
            return {key: json.loads(value) for key, value in rows}

    def set_meta(self, facts: Mapping[str, Any], accuracies: Mapping[str, Accuracy] | None = None) -> None:
        """Writes facts, and accuracies that come with them, all of them or none."""
        rows = [(key, json.dumps(value)) for key, value in facts.items()]
        known = [(key, json.dumps(asdict(accuracy))) for key, accuracy in (accuracies or {}).items()]
        with self._guarded(), self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", rows)
            self._database.executemany("INSERT OR REPLACE INTO accuracies VALUES (?, ?)", known)

    # -- designs -----------------------------------------------------------------------------------------------

    def rows(self) -> list[Row]:
        """Returns every evaluated design in the order of asking, whatever the order they became known in."""
        query = (
            "SELECT step, position, genome, id, training, metrics, objectives, violation, reason "
            "FROM evaluations ORDER BY step, position"
        )
        with self._guarded():
            return [
                Row(
                    step,
                    position,
                    tuple(json.loads(genome)),
                    name,
                    training,
                    json.loads(metrics),
                    tuple(json.loads(values)),
                    violation,
                    reason,
                )
                for step, position, genome, name, training, metrics, values, violation, reason in (
                    self._database.execute(query)
                )
            ]

    def add(self, row: Row) -> None:
        """Commits one evaluated design."""
        with self._guarded():
            self._insert(row)

    def _insert(self, row: Row) -> None:
        values = (
            row.step,
            row.position,
            json.dumps(row.genome),
            row.id,
            row.training,
            json.dumps(dict(row.metrics)),
            json.dumps(row.values),
            row.violation,
            row.reason,
        )
        self._database.execute("INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    # -- the order of events -----------------------------------------------------------------------------------

    def events(self) -> list[Event]:
        """Returns all events in their order."""
        with self._guarded():
            return [
                Event(kind, tuple((step, position) for step, position in json.loads(places)), training)
                for kind, places, training in self._database.execute(
                    "SELECT kind, places, training FROM events ORDER BY number"
                )
            ]

    def note(self, event: Event, rows: Sequence[Row] = ()) -> None:
        """Commits an event and the designs that it evaluated, all of it or nothing."""
        with self._guarded(), self._transaction():
            for row in rows:
                self._insert(row)
            self._database.execute(
                "INSERT INTO events (kind, places, training) VALUES (?, ?, ?)",
                (event.kind, json.dumps(event.places), event.training),
            )

    # -- accuracies --------------------------------------------------------------------------------------------

    @property
    def accuracies(self) -> MutableMapping[str, Accuracy]:
        """The accuracies by key; one that is put in is committed."""
        return _Accuracies(self)

    # -- SQLite ------------------------------------------------------------------------------------------------

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turns what SQLite and the decoders say about a bad file into one line."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise RunError(
                f"{self._path}: {error}; nothing committed is lost: make room or access, and run the same command again"
            ) from None
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            raise RunError(
                f"{self._path}: not a run of coevo, or damaged ({error}); move it away, or choose another folder"
            ) from None

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _read_mode(self) -> str:
        """How to open the log only to look; where nothing can be written, SQLite's usual way is closed.

        A log in WAL mode is read by way of a file beside it, which the reader makes if no writer has. In a folder on
        a read-only disk it cannot, and need not, as nobody writes there.
        """
        written = self._path.with_name(f"{FILE}-wal").exists() or os.access(self.folder, os.W_OK)
        return "mode=ro" if written else "mode=ro&immutable=1"

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"{self.folder}: cannot be a run folder: {error.strerror}; choose another") from None

    def _take_lock(self) -> sqlite3.Connection:
        """Takes a lock that the system lets go of when this process dies, however it dies."""
        lock: sqlite3.Connection | None = None
        try:
            lock = sqlite3.connect(self.folder / LOCK, timeout=0, isolation_level=None)
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if lock is not None:
                lock.close()
            if "locked" in str(error):
                raise RunError(f"{self.folder}: another process is running in it; wait for it or stop it") from None
            raise RunError(f"{self.folder}: cannot be locked ({error}); choose another folder") from None
        return lock

    def _check_tables(self, may_create: bool) -> None:
        with self._guarded():
            tables = {name for (name,) in self._database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables and may_create:
                self._create()
                return
            if not {"meta", "evaluations", "accuracies"} <= tables:
                raise RunError(f"{self._path}: not a run of coevo; move it away, or choose another folder")
            found = self._database.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()
        if found != (str(SCHEMA),):
            made = found[0] if found else "none"
            raise RunError(f"{self._path}: of schema {made}, this coevo reads {SCHEMA}; use the coevo that made it")

    def _create(self) -> None:
        with self._transaction():
            for statement in _TABLES.split(";"):
                self._database.execute(statement)
            self._database.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))


class _Accuracies(MutableMapping[str, Accuracy]):
    """The table of accuracies as a mapping."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getitem__(self, key: str) -> Accuracy:
        with self._store._guarded():
            query = "SELECT accuracy FROM accuracies WHERE key = ?"
            found = self._store._database.execute(query, (key,)).fetchone()
            if found is not None:
                return Accuracy.from_data(json.loads(found[0]))
        raise KeyError(key)

    def __setitem__(self, key: str, accuracy: Accuracy) -> None:
        with self._store._guarded():
            self._store._database.execute(
                "INSERT OR REPLACE INTO accuracies VALUES (?, ?)", (key, json.dumps(asdict(accuracy)))
            )

    def __delitem__(self, key: str) -> None:
        raise TypeError("a log forgets nothing")

    def __iter__(self) -> Iterator[str]:
        with self._store._guarded():
            keys = [key for (key,) in self._store._database.execute("SELECT key FROM accuracies ORDER BY key")]
        return iter(keys)

    def __len__(self) -> int:
        return sum(1 for _ in self)
