"""The table of jobs: what is to be made, how far it is, what went wrong. It outlives the processes that work on it."""

import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from orchestrion.config import Settings
from orchestrion.errors import UserError
from orchestrion.library.database import opened, usable

Kind = Literal["compose", "continue", "repaint", "prime", "refine", "upload", "map"]
State = Literal["queued", "running", "done", "failed", "cancelled"]
MOST_WAITING = 50
MOST_ATTEMPTS = 3
"""A job in which the worker died so often is given up."""
_KEPT = 500
"""Finished jobs beyond so many are forgotten, the oldest first."""
_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, kind TEXT, song TEXT, takes TEXT, work TEXT, state TEXT,
    stage TEXT DEFAULT '', level INTEGER DEFAULT 0, done INTEGER DEFAULT 0, total INTEGER DEFAULT 0,
    problem TEXT DEFAULT '', hint TEXT DEFAULT '', attempts INTEGER DEFAULT 0, stop INTEGER DEFAULT 0,
    created REAL, changed INTEGER
);
CREATE INDEX IF NOT EXISTS jobs_changed ON jobs (changed);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT, changed INTEGER);
"""
_COLUMNS = "id, kind, song, takes, state, stage, level, done, total, problem, hint, attempts, created"


class Job(Settings):
    """Something that the worker does; `song` and `takes` are what comes of it. `done` of `total` frames of a stage."""

    id: str
    kind: Kind
    song: str | None
    takes: tuple[str, ...]
    state: State
    stage: str
    level: int
    done: int
    total: int
    problem: str
    hint: str
    attempts: int
    created: float


class QueueFull(UserError):
    """More jobs wait than the queue may hold."""


class Jobs:
    """All jobs, in a database that the server and the worker have open, each by several threads."""

    def __init__(self, database: Path) -> None:
        self._lock = threading.RLock()
        self._database = opened(database, timeout_seconds=30.0)
        self._database.isolation_level = None
        with usable(database):
            self._database.executescript(_TABLES)

    def close(self) -> None:
        with self._lock:  # a thread that is at it ends first
            self._database.close()

    # Asking for work

    def add(self, kind: Kind, work: dict[str, Any], *, song: str | None = None, takes: tuple[str, ...] = ()) -> Job:
        """A new job at the end of the queue; `QueueFull` if too many wait."""
        with self._change() as (database, changed):
            waiting = database.execute("SELECT count(*) FROM jobs WHERE state = 'queued'").fetchone()[0]
            if waiting >= MOST_WAITING:
                raise QueueFull(f"{waiting} jobs are waiting already", "wait for some of them, or cancel them")
            name = secrets.token_hex(8)
            database.execute(
                "INSERT INTO jobs (id, kind, song, takes, work, state, created, changed) "
                "VALUES (?, ?, ?, ?, ?, 'queued', ?, ?)",
                (name, kind, song, json.dumps(takes), json.dumps(work), time.time(), changed),
            )
            database.execute(
                "DELETE FROM jobs WHERE state IN ('done', 'cancelled', 'failed') AND number <= "
                "(SELECT max(number) FROM jobs) - ?",
                (_KEPT,),
            )
        return self.get(name)

    def cancel(self, job: str) -> Job:
        """Take a job out of the queue, or have the worker leave it; UserError for one that is over."""
        with self._change() as (database, changed):
            state = self.get(job).state
            if state == "queued":
                database.execute("UPDATE jobs SET state = 'cancelled', changed = ? WHERE id = ?", (changed, job))
            elif state == "running":
                database.execute("UPDATE jobs SET stop = 1, changed = ? WHERE id = ?", (changed, job))
            else:
                raise UserError(f"this job is {state} already", "only what waits or runs can be cancelled")
        return self.get(job)

    def resume(self, job: str) -> Job:
        """Put a job that was cancelled or failed into the queue again; UserError for others."""
        with self._change() as (database, changed):
            state = self.get(job).state
            if state not in ("cancelled", "failed"):
                raise UserError(f"this job is {state}", "only what was cancelled or failed can be resumed")
            database.execute(
                "UPDATE jobs SET state = 'queued', stop = 0, attempts = 0, problem = '', hint = '', changed = ? "
                "WHERE id = ?",
                (changed, job),
            )
        return self.get(job)

    # Looking

    def get(self, job: str) -> Job:
        """KeyError where there is none of this id."""
        found = self._rows("WHERE id = ?", job)
        if not found:
            raise KeyError(job)
        return found[0]

    def latest(self, count: int = 100) -> list[Job]:
        """The newest first."""
        return self._rows("ORDER BY number DESC LIMIT ?", count)

    def active(self) -> list[Job]:
        """Those that run or wait, in their order."""
        return self._rows("WHERE state IN ('queued', 'running') ORDER BY number")

    def of_song(self, song: str) -> list[Job]:
        """Those of a song, the newest first."""
        return self._rows("WHERE song = ? ORDER BY number DESC", song)

    def works(self, kind: Kind, *states: State) -> list[dict[str, Any]]:
        """What those of a kind that are in one of these states tell the worker."""
        marks = ", ".join("?" * len(states))
        with self._lock:
            rows = self._database.execute(
                f"SELECT work FROM jobs WHERE kind = ? AND state IN ({marks})", (kind, *states)
            ).fetchall()
        return [json.loads(work) for (work,) in rows]

    def changed_since(self, number: int) -> tuple[list[Job], int]:
        """The jobs that changed after change `number`, and the number of the latest change."""
        with self._lock:
            latest = self._latest()
            return (self._rows("WHERE changed > ? ORDER BY number", number) if latest > number else []), latest

    def fact(self, name: str) -> Any:
        """What the worker made known under a name, None if nothing."""
        with self._lock:
            row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def make_known(self, name: str, value: Any) -> None:
        with self._change() as (database, changed):
            database.execute("REPLACE INTO facts VALUES (?, ?, ?)", (name, json.dumps(value), changed))

    # Working

    def take(self) -> tuple[Job, dict[str, Any]] | None:
        """The next job, which runs from now on, and its work; None if none waits."""
        with self._change() as (database, changed):
            row = database.execute(
                "SELECT id, work FROM jobs WHERE state = 'queued' ORDER BY kind != 'upload', number LIMIT 1"
            ).fetchone()
            if row is None:
                return None
            database.execute(
                "UPDATE jobs SET state = 'running', stop = 0, attempts = attempts + 1, changed = ? WHERE id = ?",
                (changed, row[0]),
            )
        return self.get(row[0]), json.loads(row[1])

    def progress(self, job: str, stage: str, level: int, done: int, total: int) -> bool:
        """Note how far a job is; returns whether it is to go on."""
        with self._change() as (database, changed):
            database.execute(
                "UPDATE jobs SET stage = ?, level = ?, done = ?, total = ?, changed = ? WHERE id = ?",
                (stage, level, done, total, changed, job),
            )
            return not database.execute("SELECT stop FROM jobs WHERE id = ?", (job,)).fetchone()[0]

    def end(self, job: str, state: State, problem: str = "", hint: str = "") -> None:
        with self._change() as (database, changed):
            database.execute(
                "UPDATE jobs SET state = ?, problem = ?, hint = ?, changed = ? WHERE id = ?",
                (state, problem, hint, changed, job),
            )

    def queue_again(self) -> None:
        """What runs without a worker, because that was killed, waits again; what killed it too often has failed."""
        with self._change() as (database, changed):
            _leave_cancelled(database, changed)
            database.execute(
                "UPDATE jobs SET state = 'failed', problem = ?, hint = ?, changed = ? "
                "WHERE state = 'running' AND attempts >= ?",
                (
                    f"the worker ended {MOST_ATTEMPTS} times while it was at this",
                    "it may want more memory than there is: ask for fewer takes or seconds",
                    changed,
                    MOST_ATTEMPTS,
                ),
            )
            database.execute("UPDATE jobs SET state = 'queued', changed = ? WHERE state = 'running'", (changed,))

    def put_back(self) -> None:
        """What runs waits again, and this time does not count: its worker was stopped, and did not die."""
        with self._change() as (database, changed):
            _leave_cancelled(database, changed)
            database.execute(
                "UPDATE jobs SET state = 'queued', attempts = attempts - 1, changed = ? WHERE state = 'running'",
                (changed,),
            )

    def _rows(self, clause: str, *values: Any) -> list[Job]:
        with self._lock:
            rows = self._database.execute(f"SELECT {_COLUMNS} FROM jobs {clause}", values).fetchall()
        names = _COLUMNS.split(", ")
        return [Job(**{**dict(zip(names, row, strict=True)), "takes": tuple(json.loads(row[3]))}) for row in rows]

    def _latest(self) -> int:
        row = self._database.execute(
            "SELECT max((SELECT ifnull(max(changed), 0) FROM jobs), (SELECT ifnull(max(changed), 0) FROM facts))"
        ).fetchone()
        return int(row[0])

    @contextmanager
    def _change(self) -> Iterator[tuple[sqlite3.Connection, int]]:
        """A transaction, and the number of the change that it makes."""
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database, self._latest() + 1
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


def _leave_cancelled(database: sqlite3.Connection, changed: int) -> None:
    """What was cancelled while it ran, and whose worker ended before it noticed, is not begun again."""
    database.execute("UPDATE jobs SET state = 'cancelled', changed = ? WHERE state = 'running' AND stop", (changed,))
