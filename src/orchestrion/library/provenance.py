"""What made a file of audio: the record in its tags, and the one beside it (docs/formats.md)."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, model_serializer

from orchestrion.audio import io
from orchestrion.config import Settings, check_version, plain, read_described, read_settings
from orchestrion.files import file_sha256, write_json
from orchestrion.nn.fast import Weights

RECORD_FORMAT = "orchestrion.provenance"
FORMAT_VERSION = 1
NOTICE = "AI-generated: composed by a trained model"
TRAINED_MEDIA = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""What IPTC calls media made by a trained model (NewsCodes, digital source type)."""


class SongAdapter(Settings):
    """What a model had learned besides: the name of the adapter's folder and the hash of its description."""

    name: str
    sha256: str


class SongModel(Settings):
    """The model of a song: the name it was opened by, the hash of its description, that of its codec.

    Whoever has the same codec can read the codes; to go on in the same way takes the same description, and the same
    `adapter` where there was one.
    """

    name: str
    sha256: str
    codec_sha256: str
    adapter: SongAdapter | None = None

    def same_weights(self, other: "SongModel") -> bool:
        """Whether both draw by the same weights, whatever they are called."""
        mine, theirs = self.adapter, other.adapter
        return (self.sha256, mine and mine.sha256) == (other.sha256, theirs and theirs.sha256)


class Engine(Settings):
    """What drew a song's codes: another one may round differently, and then draws other codes sooner or later.

    `processor` is the accelerator's name, or which instructions torch uses of a processor. `weights` is how those of
    priors were held while they drew, None for as `dtype`.
    """

    torch: str
    device: str
    processor: str
    dtype: str
    weights: Weights | None
    compiled: bool
    threads: int = Field(ge=1)


class Made(Settings):
    """What a file of audio carries in its tags. The same song has the same: no date, no folders of anyone's disk.

    `begins_with` is as in `SongInfo` where neither a prompt nor another song in the request tells of it, and is left
    out of what is written where there is no such thing.
    """

    notice: str = NOTICE
    digitalSourceType: str = TRAINED_MEDIA  # as IPTC and C2PA spell it
    format: str = io.MADE_FORMAT
    version: int = FORMAT_VERSION
    orchestrion: str
    model: SongModel
    request: dict[str, Any]
    level: int
    begins_with: str | None = None

    @model_serializer(mode="wrap")
    def _as_written(self, write: Callable[["Made"], dict[str, Any]]) -> dict[str, Any]:
        written = write(self)
        if self.begins_with is None:
            del written["begins_with"]
        return written

    @property
    def tag(self) -> str:
        """The record as one line of ASCII, which every container can hold."""
        return json.dumps(plain(self), separators=(",", ":"))


class Nearest(Settings):
    """Where the music that a model learned from is nearest to a song: the longest run of codes that they share.

    `limit` is how long it may be; of music that the model never heard, 1 piece in 100 shares more.
    """

    track: str
    track_seconds: float
    song_seconds: float
    codes: int
    limit: float

    @property
    def is_too_near(self) -> bool:
        return self.codes > self.limit


class Record(Settings):
    """What stands beside a file of audio, for what its tags cannot say: its own hash, the date, the engine.

    `codes_sha256` is the hash of all codes of the song. `unsigned_sha256` is that of the file before a signature was
    put into it, None for one without. `nearest` is None where the model has no memory to tell, or nothing is shared.
    """

    format: str = RECORD_FORMAT
    version: int = FORMAT_VERSION
    made: Made
    engine: Engine | None
    date: str
    sha256: str
    codes_sha256: str
    nearest: Nearest | None = None
    unsigned_sha256: str | None = None


def sidecar(audio: Path) -> Path:
    """Where the record of an audio file stands.

    >>> sidecar(Path("tunes/song.flac")).as_posix()
    'tunes/song.flac.json'
    """
    return audio.with_name(f"{audio.name}.json")


def now() -> str:
    """The date and time in UTC, to the second (ISO 8601)."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_record(
    audio: Path, made: Made, engine: Engine | None, codes_sha256: str, nearest: Nearest | None = None
) -> None:
    """Put the record of a file that was just written beside it."""
    record = Record(
        made=made,
        engine=engine,
        date=now(),
        sha256=file_sha256(audio),
        codes_sha256=codes_sha256,
        nearest=nearest,
    )
    write_json(sidecar(audio), plain(record))


def write_signed_record(audio: Path, record: Record) -> None:
    """Put beside a file with a signature the record of the same file without."""
    changed = record.model_copy(update={"sha256": file_sha256(audio), "unsigned_sha256": record.sha256})
    write_json(sidecar(audio), plain(changed))


def read_record(audio: Path) -> Record | None:
    """The record beside an audio file, None if there is none; UserError for a damaged or later one."""
    path = sidecar(audio)
    if not path.is_file():
        return None
    return read_described(Record, path, "record of provenance")


def read_made(audio: Path) -> Made | None:
    """The record in the tags of an audio file, None if they hold none; UserError for a later one."""
    try:
        data = json.loads(io.read_comment(audio))
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("format") != io.MADE_FORMAT:
        return None
    check_version(Made, data, f"{audio} has a record")
    return read_settings(Made, data, f"the record in {audio}")
