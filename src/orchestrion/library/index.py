"""The songs of a library, found by their words: an index in SQLite that can be made again from the folders."""

import json
import re
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orchestrion.errors import UserError
from orchestrion.library.database import opened, usable
from orchestrion.library.tree import SONG, LibrarySong, check_id, levels_of, read_song

Sort = Literal["newest", "title", "longest"]
_VERSION = 3
_AT_ONCE = 50
"""Songs that are indexed before somebody else has a turn."""
_ORDERS: dict[Sort, str] = {
    "newest": "created DESC, id",
    "title": "title COLLATE NOCASE, id",
    "longest": "seconds DESC, id",
}
_TABLES = """
CREATE TABLE songs (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE, title TEXT, artist TEXT, seconds REAL, starred INTEGER, created TEXT,
    card TEXT
);
CREATE TABLE labels (song TEXT, kind TEXT, name TEXT);
CREATE INDEX labels_name ON labels (kind, name, song);
CREATE INDEX labels_song ON labels (song);
CREATE INDEX songs_created ON songs (created DESC);
CREATE VIRTUAL TABLE words USING fts5 (
    title, artist, genres, lyrics, notes, tags, tokenize = "unicode61 remove_diacritics 2", prefix = "1 2 3"
);  -- its rowid is the number of the song: looking an id up there reads all of it
"""
_WORD = re.compile(r"[\w\u0300-\u036f]+")  # with accents that no letter is composed with


@dataclass(frozen=True)
class Wanted:
    """Which songs are looked for: all words of `words`, as beginnings, and each of the others that is given."""

    words: str = ""
    artist: str | None = None
    genre: str | None = None
    tag: str | None = None
    starred: bool | None = None
    sort: Sort = "newest"
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True)
class Found:
    """The cards of a page of songs, and how many there are in all."""

    cards: list[dict[str, Any]]
    total: int


class Index:
    """What can be searched of the songs below `folder`. It follows them song by song (`put`, `remove`) or whole.

    May be used by several threads.
    """

    def __init__(self, folder: Path, database: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._database = opened(database)
        with usable(database):
            self._database.execute("PRAGMA synchronous = OFF")  # it can be made again
            if self._database.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
                self._begin_anew()

    def close(self) -> None:
        with self._lock:  # a thread that is at it ends first
            self._database.close()

    def rebuild(self) -> list[str]:
        """Index every song in the folder anew; returns a sentence for each that cannot be read.

        A few songs at a time, between which others may search and change.
        """
        problems = []
        folders = sorted(path.parent for path in self.folder.glob(f"*/{SONG}"))
        for first in range(0, len(folders), _AT_ONCE):
            with self._changes() as database:
                for folder in folders[first : first + _AT_ONCE]:
                    try:
                        self._delete(database, check_id(folder.name))
                        song = read_song(folder)
                        if song.id != folder.name:
                            raise UserError(
                                f"the folder {folder.name} holds the song {song.id}",
                                f"rename it to {song.id}, or import it as ZIP",
                            )
                        self._insert(database, song)
                    except UserError as error:
                        problems.append(str(error))
                    except OSError as error:  # of a take, whose sound cannot be looked for
                        problems.append(f"{folder.name}: {error.strerror}")
        with self._changes() as database:
            known = [row[0] for row in database.execute("SELECT id FROM songs")]
            for song_id in known:
                if not (self.folder / song_id / SONG).is_file():
                    self._delete(database, song_id)
        return problems

    def put(self, song: LibrarySong) -> None:
        """Index a song, anew if it was there."""
        with self._changes() as database:
            self._delete(database, song.id)
            self._insert(database, song)

    def remove(self, song: str) -> None:
        with self._changes() as database:
            self._delete(database, song)

    def search(self, wanted: Wanted) -> Found:
        """The songs that are wanted, in the order that is wanted; none for words without a letter or digit."""
        where, values = ["1"], []
        if wanted.words.strip():
            terms = [term for term in _WORD.findall(_composed(wanted.words)) if any(map(str.isalnum, term))]
            if not terms:
                return Found([], 0)
            where.append("number IN (SELECT rowid FROM words WHERE words MATCH ?)")
            values.append(" ".join(f'"{term}"*' for term in terms))
        for kind, name in (("artist", wanted.artist), ("genre", wanted.genre), ("tag", wanted.tag)):
            if name is not None:
                where.append("id IN (SELECT song FROM labels WHERE kind = ? AND name = ?)")
                values += [kind, name]
        if wanted.starred is not None:
            where.append("starred = ?")
            values.append(str(int(wanted.starred)))
        clause = " AND ".join(where)
        with self._lock, closing(self._database.cursor()) as cursor:
            total = cursor.execute(f"SELECT count(*) FROM songs WHERE {clause}", values).fetchone()[0]
            rows = cursor.execute(
                f"SELECT card FROM songs WHERE {clause} ORDER BY {_ORDERS[wanted.sort]} LIMIT ? OFFSET ?",
                [*values, wanted.limit, wanted.offset],
            ).fetchall()
        return Found([json.loads(row[0]) for row in rows], total)

    def names(self) -> dict[str, list[str]]:
        """The artists, genres and tags that songs have, each in alphabetical order."""
        found: dict[str, list[str]] = {"artist": [], "genre": [], "tag": []}
        with self._lock, closing(self._database.cursor()) as cursor:
            for kind, name in cursor.execute("SELECT DISTINCT kind, name FROM labels ORDER BY kind, name"):
                found[kind].append(name)
        return found

    @contextmanager
    def _changes(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._database as database:
            yield database

    def _begin_anew(self) -> None:
        with self._changes() as database:
            for table in ("songs", "labels", "words"):
                database.execute(f"DROP TABLE IF EXISTS {table}")
            database.executescript(_TABLES)
            database.execute(f"PRAGMA user_version = {_VERSION}")

    @staticmethod
    def _delete(database: sqlite3.Connection, song: str) -> None:
        database.execute("DELETE FROM words WHERE rowid = (SELECT number FROM songs WHERE id = ?)", (song,))
        database.execute("DELETE FROM songs WHERE id = ?", (song,))
        database.execute("DELETE FROM labels WHERE song = ?", (song,))

    def _insert(self, database: sqlite3.Connection, song: LibrarySong) -> None:
        card = card_of(song, self.folder / song.id)
        artists = {name for take in song.shown for name in _artists(take.artist, take.mix)}
        genres = {genre for take in song.shown for genre in take.genres}
        inserted = database.execute(
            "INSERT INTO songs (id, title, artist, seconds, starred, created, card) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (song.id, song.title, card["artist"], card["seconds"], song.starred, song.created, json.dumps(card)),
        )
        labels = [("artist", name) for name in artists] + [("genre", name) for name in genres]
        labels += [("tag", name) for name in song.tags]
        database.executemany("INSERT INTO labels VALUES (?, ?, ?)", [(song.id, *label) for label in labels])
        lyrics = {song.lyrics, *(take.lyrics for take in song.shown)}
        database.execute(
            "INSERT INTO words (rowid, title, artist, genres, lyrics, notes, tags) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                inserted.lastrowid,
                _composed(song.title),
                _composed(" ".join(sorted(artists))),
                _composed(" ".join(sorted(genres))),
                _composed("\n".join(sorted(lyrics))),
                _composed(song.notes),
                _composed(" ".join(song.tags)),
            ),
        )


def _composed(text: str) -> str:
    """The same letters, those with accents as one character each: programs write them either way."""
    return unicodedata.normalize("NFC", text)


def card_of(song: LibrarySong, folder: Path) -> dict[str, Any]:
    """What a list shows of a song."""
    take = song.heard(lambda one: bool(levels_of(folder / f"{one.id}.song")))
    levels = levels_of(folder / f"{take.id}.song") if take else []
    return {
        "id": song.id,
        "title": song.title,
        "artist": take.artist if take else None,
        "genres": list(take.genres) if take else [],
        "seconds": take.stop if take else 0.0,
        "starred": song.starred,
        "tags": list(song.tags),
        "created": song.created,
        "takes": len(song.shown),
        "heard": {"take": take.id, "level": levels[0]} if take and levels else None,
    }


def _artists(artist: str | None, mix: Any) -> list[str]:
    return [name for name in (artist, mix and mix.first, mix and mix.second) if name]
