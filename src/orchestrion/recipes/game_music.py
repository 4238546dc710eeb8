"""Twenty hours of freely licensed game music from Debian packages, with its labels."""

import json
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from io import BufferedWriter
from itertools import groupby
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field

from orchestrion.audio import io, waveform
from orchestrion.config import Settings, read_settings
from orchestrion.data.manifest import Track, content_hash, write_manifest
from orchestrion.errors import UserError
from orchestrion.files import check_space, explained, make_writable

Set = Literal["wesnoth", "cc", "all"]
SETS: tuple[Set, ...] = ("wesnoth", "cc", "all")
LICENCES_CC = ("CC-BY-SA-3.0", "CC-BY-3.0", "MIT", "public-domain")

_PACKED = ".pk3.d/"  # on the way to a file: unpack the .pk3 beside it, which is a zip
_COPY_BYTES = 1 << 20
_BYTES_PER_SECOND = 45_000  # package and unpacked track together


class Entry(Settings):
    """A line of the table: where a track lies in which package, and its labels."""

    package: str
    version: str
    path: str
    title: str
    licence: str
    seconds: float
    artist: str | None = None
    genres: tuple[str, ...] = Field(default=(), max_length=5)
    credit: str | None = None
    stems: tuple[str, ...] = ()  # the track is the sum of these files


@dataclass(frozen=True)
class Fetched:
    """Progress: `done` of `total` tracks are there; `missing` names what a package turned out to lack."""

    act: str
    done: int
    total: int
    missing: tuple[str, ...] = ()


def table() -> list[Entry]:
    """Every track known to the recipe."""
    text = resources.files(__package__).joinpath("game_music.jsonl").read_text(encoding="utf-8")
    return [read_settings(Entry, json.loads(line), "the table of game music") for line in text.splitlines()]


def chosen(sets: Sequence[Set]) -> list[Entry]:
    """The tracks of any of these sets, package by package."""
    entries = [entry for entry in table() if any(_belongs(entry, name) for name in sets)]
    return sorted(entries, key=lambda entry: entry.package)


def _belongs(entry: Entry, name: Set) -> bool:
    if name == "wesnoth":
        return entry.package == "wesnoth-1.16-music"
    return name == "all" or entry.licence in LICENCES_CC


def fetch(folder: Path, sets: Sequence[Set]) -> Iterator[Fetched]:
    """Download, unpack and list the music of `sets` in `folder`, ending with its `manifest.jsonl`.

    Packages in `folder/debs` and tracks already unpacked are used as they are, so a stopped run goes on where
    it was. Tracks that another version of a package lacks are named and left out. Raises UserError where
    packages cannot be had or unpacked, or there is no room for them.
    """
    entries = chosen(sets)
    missing_tools = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing_tools:
        raise UserError(
            f"this data set comes as Debian packages and {' and '.join(missing_tools)} cannot be found",
            "run this on Debian or a system like it, or scan your own music: orchestrion data scan FOLDER",
        )
    make_writable(folder)
    wanted = [entry for entry in entries if not _target(folder, entry).exists()]
    check_space(folder, int(_BYTES_PER_SECOND * sum(entry.seconds for entry in wanted)))
    tracks: list[Track] = []
    for package, group in groupby(entries, key=lambda entry: entry.package):
        members = list(group)
        yield Fetched(f"getting {package}", len(tracks), len(entries))
        if any(not _target(folder, entry).exists() for entry in members):
            _unpack(_package(folder, package), folder, members)
        missing = [entry for entry in members if not _target(folder, entry).exists()]
        tracks += [_track(folder, entry) for entry in members if entry not in missing]
        yield Fetched(
            f"unpacked {package}",
            len(tracks),
            len(entries),
            tuple(f"{package}: {entry.path}" for entry in missing),
        )
    if not tracks:
        raise UserError("none of the music was in its packages", "remove the folder debs, update apt, and run again")
    write_manifest(folder / "manifest.jsonl", tracks)


def _target(folder: Path, entry: Entry) -> Path:
    return folder / "tracks" / entry.package / entry.path


def _package(folder: Path, package: str) -> Path:
    """The .deb of `package`, downloaded unless it lies in `folder/debs`."""
    debs = folder / "debs"
    here = sorted(debs.glob(f"{package}_*.deb"))
    if here:
        return here[-1]
    make_writable(debs)
    with tempfile.TemporaryDirectory(dir=debs, prefix=".download-") as place:
        result = subprocess.run(
            ["apt-get", "download", package],
            cwd=place,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        found = sorted(Path(place).glob("*.deb"))
        if result.returncode or not found:
            lines = [line for line in result.stderr.splitlines() if line.startswith("E:")]
            reason = lines[-1].removeprefix("E:").strip().rstrip(".") if lines else f"exit {result.returncode}"
            raise UserError(
                f"apt-get could not download {package}: {reason}",
                f"run apt-get update, check the network, or put the package into {debs}, and try again",
            )
        with explained(debs, "write into"):
            return found[0].replace(debs / found[0].name)


def _unpack(deb: Path, folder: Path, entries: Sequence[Entry]) -> None:
    """Take the files of `entries` that are in `deb` out of it, and mix those that come in stems."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpack-") as name:
        place = Path(name)
        sources = [source for entry in entries for source in (entry.stems or (entry.path,))]
        _extract(deb, place, {_outer(source) for source in sources})
        for packed in {_outer(source) for source in sources if _PACKED in source}:
            if (place / packed).exists():
                _unzip(
                    place,
                    packed,
                    [source for source in sources if _outer(source) == packed and _PACKED in source],
                )
        for entry in entries:
            target = _target(folder, entry)
            parts = [place / source for source in (entry.stems or (entry.path,))]
            if not all(part.exists() for part in parts):
                continue
            with explained(target, "write"):
                target.parent.mkdir(parents=True, exist_ok=True)
                if entry.stems:
                    _mix(parts, target)
                else:
                    parts[0].replace(target)


def _outer(path: str) -> str:
    """The file of the package that holds `path`."""
    return path.split(_PACKED)[0] + ".pk3" if _PACKED in path else path


def _extract(deb: Path, place: Path, wanted: set[str]) -> None:
    damaged = UserError(f"the package {deb} is damaged", "delete it and run this again")
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    stream = archive.extractfile(member) if name in wanted and member.isfile() else None
                    if stream is not None:
                        with _created(place / name) as file:
                            shutil.copyfileobj(stream, file, _COPY_BYTES)
            process.stdout.read()  # the padding after the archive: dpkg-deb fails if nobody takes it
        except (tarfile.TarError, EOFError) as error:
            raise damaged from error
    if process.returncode:
        raise damaged


def _unzip(place: Path, packed: str, wanted: Sequence[str]) -> None:
    try:
        with zipfile.ZipFile(place / packed) as archive:
            names = set(archive.namelist())
            for path in wanted:
                inner = path.split(_PACKED)[1]
                if inner in names:
                    with archive.open(inner) as stream, _created(place / path) as file:
                        shutil.copyfileobj(stream, file, _COPY_BYTES)
    except (zipfile.BadZipFile, RuntimeError, zlib.error) as error:
        raise UserError(f"{packed} inside its package is damaged", "delete the package and run this again") from error


@contextmanager
def _created(path: Path) -> Iterator[BufferedWriter]:
    """A new file to write into, with its folders; UserError where there is no room or right."""
    with explained(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            yield file


def _mix(stems: Sequence[Path], target: Path) -> None:
    """The sum of the stems, scaled down where it would pass full scale."""
    info = io.probe(stems[0])
    audio = [io.read(stem, info.sample_rate, info.channels) for stem in stems]
    length = max(part.shape[1] for part in audio)
    total = torch.stack([waveform.pad_to(part, length) for part in audio]).sum(0)
    io.write(target, total / max(1.0, waveform.peak(total)), info.sample_rate)


def _track(folder: Path, entry: Entry) -> Track:
    path = _target(folder, entry)
    info = io.probe(path)
    return Track(
        path=path.absolute(),
        seconds=info.seconds,
        sample_rate=info.sample_rate,
        channels=info.channels,
        content_hash=content_hash(path),
        artist=entry.artist,
        genres=entry.genres,
        title=entry.title,
        licence=entry.licence,
        source=f"Debian package {entry.package}",
        credit=entry.credit,
    )
