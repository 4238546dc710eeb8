"""Artists and genres, and the ids by which a prior knows them."""

import difflib
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import model_validator

from orchestrion.config import Settings, plain, read_settings
from orchestrion.errors import UserError

UNKNOWN = "unknown"
UNKNOWN_ID = 0
NO_GENRE = -1  # fills the slots of a genre bag that are not used
GENRE_SLOTS = 5


class Vocabulary(Settings):
    """The names a model learned; the name at position i has id i + 1, and id 0 is "unknown".

    Names match as `folded`. Not naming an artist and no genre at all
    are the same as asking for "unknown": cases that are trained.

    >>> names = Vocabulary(artists=("Ada", "Bix"), genres=("folk", "jazz"))
    >>> names.artist_id("bix"), names.genre_ids(["jazz"])
    (2, (2, -1, -1, -1, -1))
    """

    artists: tuple[str, ...] = ()
    genres: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _names_differ(self) -> "Vocabulary":
        for kind, names in (("artist", self.artists), ("genre", self.genres)):
            seen = {folded(UNKNOWN): UNKNOWN}
            for name in names:
                other = seen.setdefault(folded(name), name)
                if other is not name or not folded(name):
                    raise UserError(
                        f"{kind} {name!r} cannot be told from {other!r}",
                        f"give every {kind} a name of its own",
                    )
        return self

    @property
    def num_artists(self) -> int:
        """Artist ids in use, "unknown" included."""
        return len(self.artists) + 1

    @property
    def num_genres(self) -> int:
        """Genre ids in use, "unknown" included."""
        return len(self.genres) + 1

    def artist_id(self, name: str | None) -> int:
        """The id of `name`, of "unknown" for None; UserError that names close ones for a name not known."""
        return UNKNOWN_ID if name is None else _look_up(self._artist_ids, name, "artist", self.artists)

    def genre_ids(self, names: Sequence[str]) -> tuple[int, ...]:
        """A bag of ids in `GENRE_SLOTS` slots, `NO_GENRE` in those left over; each genre counts once."""
        if isinstance(names, str):
            raise UserError(f"genres are a list of names, not the text {names!r}", f"give [{names!r}]")
        ids = tuple(dict.fromkeys(_look_up(self._genre_ids, name, "genre", self.genres) for name in names))
        if len(ids) > GENRE_SLOTS:
            raise UserError(f"{len(ids)} genres are too many", f"name at most {GENRE_SLOTS}")
        ids = ids or (UNKNOWN_ID,)
        return ids + (NO_GENRE,) * (GENRE_SLOTS - len(ids))

    def artist_name(self, artist_id: int) -> str:
        return UNKNOWN if artist_id == UNKNOWN_ID else self.artists[artist_id - 1]

    def genre_names(self, genre_ids: Sequence[int]) -> tuple[str, ...]:
        """The names in a bag of ids, without the unused slots."""
        return tuple(UNKNOWN if i == UNKNOWN_ID else self.genres[i - 1] for i in genre_ids if i != NO_GENRE)

    def to_json(self) -> dict[str, Any]:
        return plain(self)

    @staticmethod
    def from_json(data: dict[str, Any], source: str = "vocabulary") -> "Vocabulary":
        return read_settings(Vocabulary, data, source)

    @cached_property
    def _artist_ids(self) -> dict[str, int]:
        return {folded(name): i for i, name in enumerate((UNKNOWN, *self.artists))}

    @cached_property
    def _genre_ids(self) -> dict[str, int]:
        return {folded(name): i for i, name in enumerate((UNKNOWN, *self.genres))}


def folded(name: str) -> str:
    """A name as it is compared with others: without regard to case, width of spaces, or how Unicode composes it."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def called(names: Iterable[str], name: str) -> str | None:
    """The one of `names` that means the same as `name`, as it is spelled there; None where none does."""
    return next((own for own in names if folded(own) == folded(name)), None)


def _look_up(ids: Mapping[str, int], name: str, kind: str, names: Sequence[str]) -> int:
    found = ids.get(folded(name))
    if found is not None:
        return found
    spelled = {folded(known): known for known in (UNKNOWN, *names)}
    close = difflib.get_close_matches(folded(name), spelled, n=3, cutoff=0.5)
    inside = [known for known in spelled if folded(name) and folded(name) in known]
    likely = list(dict.fromkeys([*close, *inside]))[:5]
    if likely:
        raise UserError(f"no {kind} called {name!r}", "closest known: " + ", ".join(spelled[one] for one in likely))
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    raise UserError(f"no {kind} called {name!r}", f"known: {shown or 'none'}; or leave it out")
