"""What was asked for: everything besides the model that decides how a song sounds."""

import math
from typing import Any

from pydantic import ConfigDict, field_validator, model_validator

from orchestrion.config import Settings, read_settings
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.text.lyrics import gone_on_with, untimed

NOTHING_AGAIN = "A"
"""The form of a song in which nothing comes back."""
LONGEST_SECONDS = 24 * 3600.0
_ROUNDING = 1e-6


class Prime(Settings):
    """Someone's own sound to go on from: `seconds` of a file from `start_seconds`, to its end if absent."""

    model_config = ConfigDict(allow_inf_nan=True)  # what is wrong is told in sentences of its own, here and below

    path: str
    start_seconds: float = 0.0
    seconds: float | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> "Prime":
        if not (math.isfinite(self.start_seconds) and self.start_seconds >= 0):
            raise UserError(f"a prompt cannot start at {self.start_seconds} s", "start at 0 or later")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UserError(f"a prompt of {self.seconds} s cannot be used", "give a length above 0, or leave it out")
        return self


class Origin(Settings):
    """The song that this one is made from, and how.

    "continue" keeps every level, up to `stop_seconds` if that is given, "upsample" the top, "repaint" all but
    `start_seconds` to `stop_seconds`.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    song: str
    act: str
    codes_sha256: str
    start_seconds: float | None = None
    stop_seconds: float | None = None


class Mix(Settings):
    """Another artist, whose `share` of the manner is from 0, none, to 1, all of it."""

    model_config = ConfigDict(allow_inf_nan=True)

    artist: str
    share: float

    @model_validator(mode="after")
    def _makes_sense(self) -> "Mix":
        if not 0 <= self.share <= 1:
            raise UserError(f"an artist cannot have a share of {self.share}", "give a number from 0 to 1")
        return self


class Reprise(Settings):
    """A part of a song that comes back: from `start_seconds` on, for `seconds`, what was from `of_seconds` on.

    It resembles what was there by as much as the `leaning` of each level says (`generate.reprise`).
    """

    model_config = ConfigDict(allow_inf_nan=True)

    start_seconds: float
    seconds: float
    of_seconds: float

    @model_validator(mode="after")
    def _makes_sense(self) -> "Reprise":
        if not 0 <= self.of_seconds < self.start_seconds < math.inf:
            raise UserError(
                f"what begins at {self.of_seconds} s cannot come back at {self.start_seconds} s",
                "give a part that begins before",
            )
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UserError(f"a part of {self.seconds} s cannot come back", "give a number of seconds above 0")
        return self


class Request(Settings):
    """A song to be made.

    An absent artist and no genres are a trained case, the same as asking for "unknown". `mix` makes the manner lie
    between those of `artist` and of another. `seconds` is the
    length of the result, a prompt included; `total_seconds` the length that the model is told the whole piece
    has, by default up to the song's end, and `offset_seconds` where in the piece the song begins. `lyrics` are the
    whole piece's, for a model that sings. `sampling` has one entry per level, level 0 first; empty means the model's
    own. Levels finer than `finest_level` are left out: a draft that can be upsampled later.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    seconds: float
    artist: str | None = None
    mix: Mix | None = None
    genres: tuple[str, ...] = ()
    seed: int = 0
    total_seconds: float | None = None
    offset_seconds: float = 0.0
    lyrics: str = ""
    sung_until: tuple[tuple[int, float], ...] = ()
    """Of a piece that went on: up to which second of it so many of the first words are planned (`text.pace.Until`)."""
    form: str | tuple[Reprise, ...] | None = None
    """What comes back: letters for equally long parts, such as "AABA", or the parts themselves. None: stanzas whose
    words do, in a song that is sung by a plan (`text.pace.returning`)."""
    sampling: tuple[LevelSampling, ...] = ()
    finest_level: int = 0
    prime: Prime | None = None
    origin: Origin | None = None

    @field_validator("genres", "sampling", mode="before")
    @classmethod
    def _as_tuple(cls, value: object) -> object:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("form", mode="before")
    @classmethod
    def _as_form(cls, value: object) -> object:
        """Letters as capitals without spaces, so that the same form is the same request; parts each read by itself."""
        if value is None:
            return None
        if isinstance(value, list | tuple):
            return tuple(read_settings(Reprise, part) if isinstance(part, dict) else part for part in value)
        letters = "".join(str(value).split())
        if not (isinstance(value, str) and letters.isascii() and letters.isalpha()):
            raise UserError(f"{value!r} is no form of a song", "name its parts by letters from A to Z, such as AABA")
        return letters.upper()

    @model_validator(mode="after")
    def _makes_sense(self) -> "Request":
        for seconds, what in ((self.seconds, "a song"), (self.total_seconds, "a whole piece")):
            if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
                raise UserError(f"{what} of {seconds} s cannot be made", "ask for a number of seconds above 0")
            if seconds is not None and seconds > LONGEST_SECONDS:
                raise UserError(f"{what} of {seconds:.0f} s is too long", f"ask for {LONGEST_SECONDS:.0f} s or less")
        if not 0 <= self.offset_seconds <= LONGEST_SECONDS:
            raise UserError(f"a song cannot begin at {self.offset_seconds} s of its piece", "give a number from 0 up")
        if self.piece_seconds + _ROUNDING < self.offset_seconds + self.seconds:
            raise UserError(
                f"{self.seconds} s from {self.offset_seconds} s on do not fit a whole piece of {self.total_seconds} s",
                "make total_seconds long enough to hold them",
            )
        if self.prime and self.prime.seconds is not None and self.prime.seconds >= self.seconds:
            raise UserError(
                f"a prompt of {self.prime.seconds} s leaves nothing of a song of {self.seconds} s to compose",
                "seconds counts the prompt too: ask for more, or prime with less",
            )
        for part in self.reprises or ():
            if part.start_seconds >= self.seconds:
                raise UserError(
                    f"nothing can come back at {part.start_seconds:g} s of a song of {self.seconds:g} s",
                    "choose a place inside it",
                )
        if self.prime and self.origin:
            raise UserError("a song cannot both be primed and go on from another song", "choose one")
        for earlier, (words, second) in zip(((0, 0.0), *self.sung_until), self.sung_until, strict=False):
            if not (words >= earlier[0] and math.isfinite(second) and second >= earlier[1]):
                raise UserError(f"words cannot be sung until {self.sung_until}", "give growing numbers and seconds")
        if not 0 <= self.seed < 2**63:
            raise UserError(f"seed {self.seed} is out of range", "use a whole number from 0 to 2**63 - 1")
        if self.finest_level < 0:
            raise UserError(f"there is no level {self.finest_level}", "0 is the finest")
        return self

    @property
    def piece_seconds(self) -> float:
        """How long the model is told that the whole piece is."""
        return self.total_seconds or self.offset_seconds + self.seconds

    @property
    def reprises(self) -> tuple[Reprise, ...] | None:
        """The parts that come back by its form; None for one without."""
        if not isinstance(self.form, str):
            return self.form
        long = self.seconds / len(self.form)
        return tuple(
            Reprise(start_seconds=place * long, seconds=long, of_seconds=self.form.index(letter) * long)
            for place, letter in enumerate(self.form)
            if self.form.index(letter) < place
        )

    @property
    def _form_of_more(self) -> str | None:
        """The form of what is made of this song, where none is given: one that was given says nothing of it."""
        return None if self.form is None else NOTHING_AGAIN

    def takes(self, num: int) -> tuple["Request", ...]:
        """The same request `num` times, with the seeds from its own on."""
        if num < 1:
            raise UserError(f"{num} takes cannot be made", "ask for 1 or more")
        return tuple(self.changed(seed=self.seed + take) for take in range(num))

    def changed(self, **changes: Any) -> "Request":
        """The same request with other settings, checked like a new one."""
        return Request(**{**dict(self), **changes})

    def continued(self, seconds: float, origin: Origin, **changes: Any) -> "Request":
        """The request for a song that goes on from this one's for `seconds` more.

        What came back in it is settled: give the `form` of what is added. Words that are sung by a plan stay where
        they were planned. Other `lyrics` that make the piece longer are those of what is added, or begin with the words
        before (`text.lyrics.gone_on_with`).
        """
        if not (math.isfinite(seconds) and seconds > 0):
            raise UserError(f"a song cannot be continued by {seconds} s", "give a number of seconds above 0")
        kept = self.seconds if origin.stop_seconds is None else origin.stop_seconds
        longer = kept + seconds
        total = max(self.offset_seconds + longer, self.total_seconds) if self.total_seconds else None
        words = self._words(self.offset_seconds + kept, total or self.offset_seconds + longer, changes)
        return self.changed(
            **{
                "seconds": longer,
                "total_seconds": total,
                "prime": None,
                "origin": origin,
                "form": self._form_of_more,
                **changes,
                **words,
            }
        )

    def _words(self, kept: float, piece: float, changes: dict[str, Any]) -> dict[str, Any]:
        """Lyrics and their plan where the piece is to end at second `piece` and all before second `kept` stays."""
        wanted, before = changes.get("lyrics", self.lyrics), self.piece_seconds
        if not wanted.strip():
            return {"sung_until": ()}
        if not self.lyrics.strip():
            return {"sung_until": ((0, kept),)}
        if wanted != self.lyrics and piece <= before + _ROUNDING:
            return {"sung_until": ()}
        until = (*self.sung_until, (len(untimed(self.lyrics).words), before))
        return {"lyrics": gone_on_with(self.lyrics, wanted), "sung_until": until}

    def upsampled(self, origin: Origin, **changes: Any) -> "Request":
        """The request for all levels under the top of this one's song, made anew."""
        made_from = {"finest_level": 0, "prime": None, "origin": origin}
        return self.changed(**{**made_from, **self._replanned(changes)})

    def repainted(self, origin: Origin, **changes: Any) -> "Request":
        """The request for this one's song with a part of it made anew, by another seed unless one is given.

        Nothing comes back in that part unless it is asked for.
        """
        seed, form = (self.seed + 1) % 2**63, self._form_of_more
        made_from = {"prime": None, "origin": origin, "seed": seed, "form": form}
        return self.changed(**{**made_from, **self._replanned(changes)})

    def _replanned(self, changes: dict[str, Any]) -> dict[str, Any]:
        """`changes`, where other words are planned over the whole piece."""
        return changes if changes.get("lyrics", self.lyrics) == self.lyrics else {"sung_until": (), **changes}
