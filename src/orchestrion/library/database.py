"""A database in SQLite that is whole: a damaged one is made again."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrion.errors import UserError

logger = logging.getLogger(__name__)


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """Turn what keeps SQLite from using the database in `path`, such as a full disk, into a UserError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise UserError(f"cannot use {path}: {error}", "make room there, or choose another place") from error


def opened(path: Path, *, timeout_seconds: float = 5.0) -> sqlite3.Connection:
    """A connection to the database in `path`, for all threads; empty if it is new, or was damaged.

    UserError where it is locked, or there is no room.
    """
    with usable(path):
        try:
            return _whole(path, timeout_seconds)
        except sqlite3.OperationalError:  # it is not the file that is wrong
            raise
        except sqlite3.DatabaseError:
            logger.warning("%s is damaged and made again", path)
            for ending in ("", "-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            return _whole(path, timeout_seconds)


def _whole(path: Path, timeout_seconds: float) -> sqlite3.Connection:
    """sqlite3.DatabaseError if it is not."""
    database = sqlite3.connect(path, check_same_thread=False, timeout=timeout_seconds)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
    except sqlite3.Error:
        database.close()
        raise
    return database
