"""What the service says and is told, as JSON: every body of a request and of an answer."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from orchestrion.library.tree import ID_PATTERN, Act, Mix, Span

Identifier = Annotated[str, Field(pattern=ID_PATTERN)]
State = Literal["queued", "running", "done", "failed", "cancelled"]
Format = Literal["flac", "mp3", "wav"]
MOST_TAKES = 9
LONGEST_SECONDS = 600.0
LONGEST_UPLOAD_SECONDS = 1200.0
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Lyrics = Annotated[str, Field(max_length=100_000)]
_Seconds = Annotated[float, Field(gt=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
_Moment = Annotated[float, Field(ge=0, le=LONGEST_SECONDS, allow_inf_nan=False)]
_MomentOfUpload = Annotated[float, Field(ge=0, le=LONGEST_UPLOAD_SECONDS, allow_inf_nan=False)]
_Takes = Annotated[int, Field(ge=1, le=MOST_TAKES)]
_FORM_PATTERN = r"^[A-Za-z ]*[A-Za-z][A-Za-z ]*$"
_Seed = Annotated[int, Field(ge=0, lt=2**53)]
_Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"\S")]
_Tag = Annotated[str, Field(min_length=1, max_length=60)]


def _letters(value: Any) -> Any:
    """Says in words what the pattern of a form asks for."""
    if isinstance(value, str) and not re.search(_FORM_PATTERN, value):
        raise PydanticCustomError("form", "a form has a letter for each of its parts, such as ABAB")
    return value


_Form = Annotated[str, Field(max_length=100, pattern=_FORM_PATTERN), BeforeValidator(_letters)]


class Body(BaseModel):
    """A body that is sent to the service."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """What is wrong, and the way out."""

    error: str
    hint: str


class ModelState(BaseModel):
    """The model that composes unless another is asked for, and whether it can yet."""

    name: str
    state: Literal["loading", "ready", "failed"]
    problem: str


class Limits(BaseModel):
    upload_bytes: int
    import_bytes: int
    body_bytes: int
    seconds: float
    takes: int
    waiting: int


class Status(BaseModel):
    """How the service is. Until it is `indexed`, the library shows a part of what is there."""

    version: str
    model: ModelState
    indexed: bool
    waiting: int
    running: int
    formats: list[Format]
    limits: Limits


class Model(BaseModel):
    """A model that can be composed with. `shortest_seconds` is one code of its top level."""

    name: str
    title: str
    sings: bool
    levels: int
    sample_rate: int
    shortest_seconds: float
    artists: list[str]
    genres: list[str]


class Models(BaseModel):
    models: list[Model]


class TakeOut(BaseModel):
    """One take. It leaves its parent at `start` and ends at `stop`; `levels` can be heard, the finest first."""

    id: str
    parent: str | None
    number: int
    act: Act
    batch: str
    start: float
    stop: float
    artist: str | None
    genres: list[str]
    mix: Mix | None
    lyrics: str
    seed: int
    span: Span | None
    model: str
    created: str
    chosen: bool
    state: State
    job: str | None
    levels: list[int]
    seconds: float


class Heard(BaseModel):
    """Which take stands for a song, and the finest level of it that can be heard."""

    take: str
    level: int


class SongCard(BaseModel):
    id: str
    title: str
    artist: str | None
    genres: list[str]
    seconds: float
    starred: bool
    tags: list[str]
    created: str
    takes: int
    heard: Heard | None


class SongOut(SongCard):
    """A song as a page shows it. What has a lower `revision` than another is older."""

    lyrics: str
    notes: str
    tree: list[TakeOut]
    revision: int
    can_undo: bool
    can_redo: bool


class SongPage(BaseModel):
    songs: list[SongCard]
    total: int


class BinnedSong(BaseModel):
    id: str
    title: str


class Bin(BaseModel):
    songs: list[BinnedSong]


class Names(BaseModel):
    """Artists, genres and tags that songs of the library have."""

    artists: list[str]
    genres: list[str]
    tags: list[str]


class JobOut(BaseModel):
    """Something that is being made: `done` of `total` frames of a stage."""

    id: str
    kind: str
    song: str | None
    takes: list[str]
    state: State
    stage: str
    level: int
    done: int
    total: int
    problem: str
    hint: str
    created: float


class JobList(BaseModel):
    jobs: list[JobOut]


class Begun(BaseModel):
    """What was asked for: the song as it is now, and the job that makes the new takes."""

    song: SongOut
    job: JobOut


class PrimeIn(Body):
    """A stretch of uploaded sound that a song begins with."""

    upload: Identifier
    start_seconds: _MomentOfUpload = 0.0
    seconds: _Seconds | None = None


class ComposeIn(Body):
    """A new song. `seconds` counts the sound that it begins with. `draft` leaves it at the top level, to be refined.

    `form` has a letter for each of equally long parts, of which those with the same letter resemble one another.
    """

    title: Annotated[str, Field(max_length=200)] = ""
    artist: _Name | None = None
    genres: Annotated[list[_Name], Field(max_length=5)] = []
    mix: Mix | None = None
    lyrics: _Lyrics = ""
    form: _Form | None = None
    seconds: _Seconds = 20.0
    seed: _Seed | None = None
    takes: _Takes = 1
    draft: bool = False
    model: _Name | None = None
    prime: PrimeIn | None = None


class Steered(Body):
    """Takes that are made from another. What is left out stays as it is there; `nobody` is of no artist at all."""

    takes: _Takes = 1
    artist: _Name | None = None
    genres: Annotated[list[_Name], Field(max_length=5)] | None = None
    mix: Mix | None = None
    nobody: bool = False
    lyrics: _Lyrics | None = None
    seed: _Seed | None = None
    draft: bool = True


class ContinueIn(Steered):
    """More of a take, from its end or from `from_seconds`; what is the `reprise`, if any, comes back first."""

    seconds: _Seconds
    from_seconds: _Moment | None = None
    reprise: Span | None = None


class RepaintIn(Steered):
    """A stretch of a take made anew."""

    start_seconds: _Moment
    stop_seconds: _Moment


class SongChanges(Body):
    """What a person may change of a song at any time."""

    title: _Title | None = None
    lyrics: _Lyrics | None = None
    notes: Annotated[str, Field(max_length=100_000)] | None = None
    tags: Annotated[list[_Tag], Field(max_length=50)] | None = None
    starred: bool | None = None


class Upload(BaseModel):
    """Sound that was sent; `seconds` is known once it is decoded."""

    id: str
    name: str
    state: State
    seconds: float | None
    problem: str
    job: str


class Gone(BaseModel):
    """A song that is in the bin now."""

    id: str


class PeaksOut(BaseModel):
    seconds: float
    sample_rate: int
    peaks: list[float]


class Word(BaseModel):
    text: str
    start: float
    end: float


class Line(BaseModel):
    text: str
    start: float | None
    end: float | None
    words: list[Word]


class TimedLyricsOut(BaseModel):
    """The lyrics of a take; without times where nothing knows them."""

    timed: bool
    lines: list[Line]


class Provenance(BaseModel):
    """What made a take: the record that its files carry, and what drew it."""

    made: dict[str, Any]
    engine: dict[str, Any] | None


class MapPoint(BaseModel):
    """A place on the map. `song` and `take` are set for a song."""

    kind: Literal["artist", "genre", "song"]
    name: str
    x: float
    y: float
    song: str | None = None
    take: str | None = None


class MapOut(BaseModel):
    """The map: of labels as the model learned them, of songs as it hears them. Two planes, each of its own.

    So many songs, older than those on it, are `left_out`.
    """

    state: Literal["missing", "making", "ready"]
    model: str
    points: list[MapPoint]
    left_out: int
    job: str | None
