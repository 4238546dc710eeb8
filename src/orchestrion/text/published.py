"""What the published priors are told of a song: ids of artist and genres, timing, the lyrics around a window."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrion.config import Settings
from orchestrion.errors import UserError
from orchestrion.text.normalize import DIALECTS, Dialect
from orchestrion.text.vocab import NO_GENRE, UNKNOWN, UNKNOWN_ID
from orchestrion.text.window import SeenLyrics


class PublishedNames(Settings):
    """The artists and genres of one published version, each with its id; several names may share one.

    They come from the id lists of the original repository, which `read_published_names` reads. Names are looked up
    as the dialect spells them: v2 knows the letters a to z and digits only, v3 disregards nothing but case. No name,
    or "unknown", is id 0.

    >>> names = PublishedNames(dialect="v2", artists={"the_beatles": 278}, genres={"rock": 8, "classic": 51})
    >>> names.artist_id("The Beatles!"), names.genre_ids(["Classic Rock"])
    (278, (51, 8, -1, -1, -1))
    """

    dialect: Literal["v2", "v3"]
    artists: dict[str, int]
    genres: dict[str, int]

    @property
    def spelling(self) -> Dialect:
        return DIALECTS[self.dialect]

    @property
    def num_artists(self) -> int:
        """Artist ids in use, "unknown" included."""
        return max(self.artists.values(), default=UNKNOWN_ID) + 1

    @property
    def num_genres(self) -> int:
        """Genre ids in use, "unknown" included."""
        return max(self.genres.values(), default=UNKNOWN_ID) + 1

    def artist_id(self, name: str | None, *, strict: bool = True) -> int:
        """The id of an artist; of a name not known a UserError, or without `strict` 0, as in the published code."""
        if _unnamed(name):
            return UNKNOWN_ID
        assert name is not None
        return _look_up(self.artists, self.spelling.artist_key(name), name, "artist", strict)

    def genre_ids(self, names: Sequence[str], *, strict: bool = True) -> tuple[int, ...]:
        """A bag of ids in as many slots as the dialect has, `NO_GENRE` in those left over.

        In v2 every word counts, as often as it is said; in v3 there is one genre. A word not known is a UserError,
        or without `strict` 0, as in the published code.
        """
        if isinstance(names, str):
            raise UserError(f"genres are a list of names, not the text {names!r}", f"give [{names!r}]")
        ids: list[int] = []
        for name in names:
            if _unnamed(name):
                ids.append(UNKNOWN_ID)
            else:
                keys = self.spelling.genre_keys(name)
                ids += [_look_up(self.genres, key, key or name, "genre", strict) for key in keys]
        ids = ids or [UNKNOWN_ID]
        slots = self.spelling.genre_slots
        if len(ids) > slots:
            kind = "words of genres" if self.spelling.splits_names else "genres"
            raise UserError(f"{len(ids)} {kind} are too many for a {self.dialect} model", f"name at most {slots}")
        return (*ids, *(NO_GENRE,) * (slots - len(ids)))

    def artist_name(self, artist_id: int) -> str:
        """A name of this artist, "unknown" for an id without one."""
        return _name_of(self.artists, artist_id)

    def genre_names(self, genre_ids: Sequence[int]) -> tuple[str, ...]:
        """The names in a bag of ids, without the unused slots."""
        return tuple(_name_of(self.genres, one) for one in genre_ids if one != NO_GENRE)


@dataclass(frozen=True, kw_only=True)
class Labels(SeenLyrics):
    """All that a published prior is told about one window of a song besides codes; `vector` is what it reads."""

    artist: int
    genres: tuple[int, ...]

    @property
    def vector(self) -> tuple[int, ...]:
        """Total length, start and length of the window, artist, genres, characters: a row of the published `y`."""
        timing = (self.total_samples, self.start_samples, self.window_samples)
        return (*timing, self.artist, *self.genres, *self.characters)


def make_labels(
    names: PublishedNames,
    *,
    artist: str | None,
    genres: Sequence[str],
    lyrics: str,
    timing: tuple[int, int, int],
    num_characters: int,
    strict: bool = True,
) -> Labels:
    """Labels from words; `timing` is total length, start and length of the window, in samples.

    `strict` as in `PublishedNames`. A prior without lyrics takes `num_characters` 0 and disregards them.
    """
    total, start, window = timing
    if total <= 0 or window <= 0 or start < 0:
        raise UserError(f"a song of {total} samples has no window of {window} from {start}", "give positive lengths")
    spelling = names.spelling
    return Labels(
        total_samples=total,
        start_samples=start,
        window_samples=window,
        artist=names.artist_id(artist, strict=strict),
        genres=names.genre_ids(genres, strict=strict),
        lyrics=spelling.character_ids(spelling.clean(lyrics)),
        num_characters=num_characters,
    )


def read_published_names(folder: Path, dialect: Literal["v2", "v3"]) -> PublishedNames:
    """The names in `{dialect}_artist_ids.txt` and `{dialect}_genre_ids.txt`, files of the original repository."""
    files = {kind: folder / f"{dialect}_{kind}_ids.txt" for kind in ("artist", "genre")}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise UserError(
            f"{folder} holds no {' and no '.join(missing)}",
            "copy these lists from jukebox/data/ids of the original repository into it",
        )
    return PublishedNames(dialect=dialect, artists=read_ids(files["artist"]), genres=read_ids(files["genre"]))


def read_ids(path: Path) -> dict[str, int]:
    """The ids in a list with a `name;id` per line, by lower-case name; of a name that comes twice the last id counts.

    UserError names every line that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8", "give the list of ids as it was published") from error
    ids: dict[str, int] = {}
    wrong: list[str] = []
    for number, line in enumerate(lines, start=1):
        name, separator, written = line.strip().rpartition(";")
        if separator and written.strip().isdecimal():
            ids[name.lower()] = int(written)
        elif line.strip():
            wrong.append(f"line {number} ({line.strip()[:40]!r})")
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise UserError(f"{path} has lines that are not name;id: {shown}", "give the list of ids as it was published")
    if not ids:
        raise UserError(f"{path} holds no ids", "give the list of ids as it was published")
    return ids


def _unnamed(name: str | None) -> bool:
    return name is None or name.strip().lower() in ("", UNKNOWN)


def _look_up(ids: Mapping[str, int], key: str, name: str, kind: str, strict: bool) -> int:
    if key == UNKNOWN or not strict:
        return ids.get(key, UNKNOWN_ID)
    if key in ids:
        return ids[key]
    close = difflib.get_close_matches(key, ids, n=3, cutoff=0.5)
    inside = sorted((known for known in ids if key and key in known), key=len)
    likely = list(dict.fromkeys([*close, *inside]))[:5]
    hint = "closest known: " + ", ".join(likely) if likely else f'leave it out, or ask for "{UNKNOWN}"'
    raise UserError(f"no {kind} called {name!r}", hint)


def _name_of(ids: Mapping[str, int], wanted: int) -> str:
    known = (name for name, one in ids.items() if one == wanted and one != UNKNOWN_ID)
    return next(known, UNKNOWN)
