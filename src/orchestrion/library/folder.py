"""A song on disk: the request, the codes so far, the audio of each level, a picture.

docs/formats.md describes every file.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from orchestrion.audio import io
from orchestrion.codes import Codes
from orchestrion.config import Settings, plain, read_described
from orchestrion.errors import UserError
from orchestrion.files import explained, file_sha256, is_part, replacing, write_json
from orchestrion.grid import Grid
from orchestrion.library.provenance import Engine, Made, Record, SongModel, read_made, read_record
from orchestrion.library.tree import LYRICS_FILE
from orchestrion.text.lyric_files import read_timed_lyrics, write_timed_lyrics
from orchestrion.text.timed import TimedLyrics

SONG_FORMAT = "orchestrion.song"
CODES_FORMAT = "orchestrion.codes"
FORMAT_VERSION = 1
SUFFIX = ".song"

_TOLD = {  # the fields of a request that a person knows by other words
    "seconds": "length",
    "total_seconds": "whole length",
    "offset_seconds": "place in the whole",
    "sung_until": "plan of its words",
    "finest_level": "finest level",
    "prime": "prompt",
    "origin": "song, or part of one, that it is made from",
}
_REQUEST, _CODES, _AUDIO, _PICTURE = "request.json", "codes.safetensors", "audio", "picture.png"


class SongInfo(Settings):
    """What `request.json` holds. `request` is plain data: this room keeps requests and does not read them.

    `engine` is what began to draw it. `begins_with` is a hash of the prompt's file, or of codes that were given, ""
    where the song begins with nothing that its request does not tell, None in records that do not say.
    """

    format: str = SONG_FORMAT
    version: int = FORMAT_VERSION
    orchestrion: str
    model: SongModel
    request: dict[str, Any]
    begins_with: str | None = None
    sample_rate: int
    hop_lengths: tuple[int, ...]
    num_samples: int
    engine: Engine | None = None

    @property
    def grid(self) -> Grid:
        return Grid(self.sample_rate, self.hop_lengths)

    def made(self, level: int) -> Made:
        """The record of audio decoded from `level`. Paths are cut to names: it goes where the audio goes."""
        request = dict(self.request)
        if request.get("prime"):
            request["prime"] = {**request["prime"], "path": Path(request["prime"]["path"]).name}
        adapter = self.model.adapter
        if adapter:
            adapter = adapter.model_copy(update={"name": Path(adapter.name).name})
        model = self.model.model_copy(update={"name": Path(self.model.name).name, "adapter": adapter})
        told = request.get("prime") or request.get("origin")
        return Made(
            orchestrion=self.orchestrion,
            model=model,
            request=request,
            level=level,
            begins_with=None if told else self.begins_with or None,
        )

    def has_made(self, made: Made) -> bool:
        """Whether audio with this record was made of what is asked for here, whatever the codes are by now."""
        return made == self.made(made.level)


@dataclass(frozen=True)
class SongFolder:
    """One song's folder. Every file in it appears whole; what is there already is never half replaced."""

    path: Path
    info: SongInfo

    @staticmethod
    def create(path: Path, info: SongInfo, codes: Codes) -> "SongFolder":
        """A new folder that knows what was asked, and the codes that the song starts with, if any.

        The request is written last: a folder without it is no song yet, and may be created again.
        """
        if path.exists() and not is_vacant(path):
            raise UserError(f"{path} exists already", "choose another name, or add --force to replace it")
        (path / _CODES).unlink(missing_ok=True)
        if any(part is not None for part in codes.levels):
            write_codes(path / _CODES, codes)
        write_json(path / _REQUEST, plain(info))
        return SongFolder(path, info)

    @staticmethod
    def open(path: Path) -> "SongFolder":
        """The song in `path`; UserError if it is not a song folder, or one of a later version."""
        if not is_begun(path):
            raise UserError(f"there is no song in {path}", f"give a folder with a {_REQUEST}, or the audio beside it")
        return SongFolder(path, read_described(SongInfo, path / _REQUEST, "song's request"))

    def codes(self) -> Codes:
        """The codes so far, at no level if none was saved yet."""
        path = self.path / _CODES
        if not path.exists():
            return Codes.empty(self.info.grid)
        codes = read_codes(path)
        if codes.grid != self.info.grid:
            raise UserError(f"{path} holds codes on {codes.grid}, not on the song's own grid", "restore the right file")
        return codes

    def frames(self) -> list[tuple[int, int]]:
        """Of each level how many codes there are, and how many a whole song of this length has."""
        codes, found = self.codes(), []
        for level, hop_length in enumerate(codes.grid.hop_lengths):
            found.append((codes.num_made(level), codes.grid.whole(self.info.num_samples) // hop_length))
        return found

    def is_of(self, record: Record) -> bool:
        """Whether the audio that this record stands beside was written from this song and the codes it has now."""
        same_codes = record.codes_sha256 == codes_sha256(self.codes())
        return same_codes and self.info.has_made(record.made)

    def save_codes(self, codes: Codes) -> None:
        write_codes(self.path / _CODES, codes)

    def audio_path(self, level: int) -> Path:
        return self.path / _AUDIO / f"level_{level}.flac"

    def save_audio(self, level: int, audio: Float[Tensor, "channel sample"]) -> None:
        io.write(self.audio_path(level), audio, self.info.sample_rate, comment=self.info.made(level).tag)

    def save_lyrics(self, lyrics: TimedLyrics) -> None:
        """Keep when each word is sung."""
        write_timed_lyrics(self.path / LYRICS_FILE, lyrics)

    def lyrics(self) -> TimedLyrics | None:
        """When each word is sung, where that was found out."""
        path = self.path / LYRICS_FILE
        return read_timed_lyrics(path) if path.exists() else None

    @property
    def picture_path(self) -> Path:
        return self.path / _PICTURE

    def delete(self) -> None:
        with explained(self.path, "delete"):
            shutil.rmtree(self.path)


@dataclass(frozen=True)
class Claim:
    """A place for a song. `song` is what is there of this very song; `other` what must go for it."""

    path: Path
    info: SongInfo
    song: SongFolder | None = None
    other: SongFolder | None = None

    def begin(self, codes: Codes) -> SongFolder:
        """The folder to go on with: as it is, or a new one that starts with `codes`."""
        if self.song:
            return self.song
        if self.other:
            self.other.delete()
        return SongFolder.create(self.path, self.info, codes)


def claim(
    path: Path,
    info: SongInfo,
    *,
    replace: bool,
    request_of: Callable[["SongFolder"], dict[str, Any]] = lambda song: song.info.request,
) -> Claim:
    """See whether the song of `info` can be kept in `path`; nothing is changed yet.

    `request_of` gives the request of a song that is there, with settings that came later at their defaults.
    UserError if something is there that is not this song, unless it is a song and `replace` gives it up.
    """
    if not path.exists() or is_vacant(path):
        return Claim(path, info)
    if not is_begun(path):
        raise UserError(f"{path} is there and is no song", "choose another name")
    song = SongFolder.open(path)
    asked, there = info.request, request_of(song)
    differing = [name for name in asked if asked[name] != there.get(name)]
    if not song.info.model.same_weights(info.model):
        differing.append("model")
    if None not in (info.begins_with, song.info.begins_with) and info.begins_with != song.info.begins_with:
        differing.append("beginning")
    if not differing:
        return Claim(path, song.info, song=song)
    if not replace:
        raise UserError(
            f"{path} holds another song, with another {', '.join(_TOLD.get(name, name) for name in differing)}",
            "choose another name, or add --force to replace it",
        )
    return Claim(path, info, other=song)


def is_complete(frames: Sequence[tuple[int, int]], finest_level: int) -> bool:
    """Whether a song with these `SongFolder.frames` has all its codes, down to `finest_level`."""
    return all(made >= wanted for made, wanted in frames[finest_level:])


def is_begun(path: Path) -> bool:
    """Whether there is a song in `path`, finished or not."""
    return (path / _REQUEST).is_file()


def is_vacant(path: Path) -> bool:
    """Whether `path` is a folder with nothing in it that anyone could miss."""
    return path.is_dir() and all(file.name == _CODES or is_part(file) for file in path.iterdir())


def beside(audio: Path) -> Path:
    """The song folder that belongs to an audio file.

    >>> beside(Path("tunes/song.flac")).as_posix()
    'tunes/song.song'
    """
    return audio.with_suffix(SUFFIX)


def is_written(audio: Path) -> bool:
    """Whether the file `audio` is there, as it was written from the song in the folder beside it."""
    if not audio.is_file() or not is_begun(beside(audio)):
        return False
    song, record = SongFolder.open(beside(audio)), read_record(audio)
    if record is not None:
        return song.is_of(record) and record.sha256 == file_sha256(audio)
    made = read_made(audio)  # as its record comes after the audio
    return made is not None and song.info.has_made(made)


def can_be_written(audio: Path) -> bool:
    """Whether `audio` was written from the song in the folder beside: it is there so, or gone and its record tells."""
    if audio.exists() or not is_begun(beside(audio)):
        return is_written(audio)
    record = read_record(audio)
    return record is not None and SongFolder.open(beside(audio)).is_of(record)


def others_beside(audio: Path) -> list[Path]:
    """The files of other formats that were written from the song whose place is beside `audio`."""
    others = (audio.with_suffix(suffix) for suffix in io.SUFFIXES_WRITE)
    return [other for other in others if other != audio and is_written(other)]


def find(path: Path) -> SongFolder:
    """The song that `path` means: its folder, or the audio file beside the folder.

    UserError where there is none, and for audio that was made from another song than the one in the folder.
    """
    if path.is_dir():
        return SongFolder.open(path)
    if beside(path).is_dir():
        song = SongFolder.open(beside(path))
        record = read_record(path) if path.exists() else None
        if record is not None and not song.info.has_made(record.made):
            raise UserError(
                f"{path} was made from another song than the one that is in {song.path} now",
                f"give {song.path} for the one that is there, or bring back the folder that belongs to the audio",
            )
        return song
    if path.exists():
        raise UserError(f"{path} has no song folder beside it", f"the codes are kept in {beside(path)}: bring it along")
    raise UserError(f"there is no song at {path}", "check the path")


def write_codes(path: Path, codes: Codes) -> None:
    """Codes as safetensors, 32-bit integers, whole or not at all. The same codes give the same bytes."""
    tensors = {
        f"level_{level}": part.detach().cpu().to(torch.int32).contiguous()
        for level, part in enumerate(codes.levels)
        if part is not None
    }
    about = {
        "format": CODES_FORMAT,
        "version": FORMAT_VERSION,
        "sample_rate": codes.grid.sample_rate,
        "hop_lengths": codes.grid.hop_lengths,
    }
    with replacing(path) as part_path:
        # One key only: the order in which safetensors writes several is left to chance.
        save_file(tensors, part_path, {"orchestrion": json.dumps(about)})


def codes_sha256(codes: Codes) -> str:
    """A hash of the codes themselves: tells whether another song still stands on the same ones."""
    digest = hashlib.sha256(repr(codes.grid).encode())
    for level, part in enumerate(codes.levels):
        if part is not None:
            digest.update(f"/{level} {tuple(part.shape)} ".encode())
            digest.update(part.detach().cpu().to(torch.int32).contiguous().numpy().astype("<i4").tobytes())
    return digest.hexdigest()


def read_codes(path: Path) -> Codes:
    """The codes in `path`; UserError if it is missing, damaged or something else."""
    if not path.is_file():
        raise UserError(f"there are no codes at {path}", "check the path")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("orchestrion", "{}"))
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} is damaged or not a file of codes", "restore it from a copy, or compose anew"
        ) from error
    if not isinstance(about, dict) or about.get("format") != CODES_FORMAT or about.get("version") != FORMAT_VERSION:
        raise UserError(f"{path} is not a file of codes that this program reads", "give the codes of a song folder")
    grid = Grid(int(about["sample_rate"]), tuple(int(hop) for hop in about["hop_lengths"]))
    levels = tuple(found.pop(f"level_{level}", None) for level in range(grid.num_levels))
    if found or any(part is not None and part.ndim != 2 for part in levels):
        raise UserError(f"{path} does not hold one row of codes per level", "restore it from a copy, or compose anew")
    return Codes(grid, tuple(None if part is None else part.long() for part in levels))
