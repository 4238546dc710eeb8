"""All that a person can do with the songs of a library; the routes of the service call it. No torch here."""

import logging
import secrets
import shutil
import sqlite3
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from orchestrion.config import plain, read_settings
from orchestrion.errors import UserError
from orchestrion.files import explained, read_json, write_json
from orchestrion.grid import INEXACT_SECONDS
from orchestrion.library.index import Index, Wanted, card_of
from orchestrion.library.peaks import peaks_path
from orchestrion.library.tree import (
    LYRICS_FILE,
    SONG,
    Act,
    LibrarySong,
    Mix,
    Span,
    Take,
    levels_of,
    new_id,
    read_song,
    write_song,
)
from orchestrion.text.lyric_files import read_timed_lyrics
from orchestrion.text.lyrics import gone_on_with
from orchestrion.text.timed import TimedLine
from orchestrion.text.vocab import UNKNOWN, called
from orchestrion.web import schemas
from orchestrion.web.jobs import Job, Jobs
from orchestrion.web.places import Places
from orchestrion.web.work import Decode, DrawMap, From, FromUpload, MakeTakes, Refine

logger = logging.getLogger(__name__)

LARGEST_IMPORT_BYTES = 2**30
"""Of a song's files, unpacked."""
UPLOADS_KEPT_SECONDS = 86400.0
_SONGS_ON_MAP = 1000
_PACKINGS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class NotFound(UserError):
    """There is no such thing."""


class Conflict(UserError):
    """It cannot be done as things stand."""


class Studio:
    """A library that is open, its index, and its jobs."""

    def __init__(self, places: Places, model: str) -> None:
        places.make()
        self.places, self.model = places, model
        self.jobs = Jobs(places.jobs)
        self.index = Index(places.library, places.index)
        self._lock = threading.RLock()
        self._changed: dict[str, None] = {}
        self._first_revision = self._revision = time.time_ns() // 1_000_000  # later than that of a server before this
        self._revisions: dict[str, int] = {}

    def close(self) -> None:
        self.jobs.close()
        self.index.close()

    def index_anew(self) -> None:
        """Index what is in the folder, which may take a while, and make known when that is done."""
        try:
            for problem in self.index.rebuild():
                logger.warning("a song is left out of the index: %r", problem)
            self.jobs.make_known("indexed", True)
        except sqlite3.ProgrammingError:
            logger.info("the Studio was closed before all songs were indexed")

    # Looking

    def song(self, song: str) -> LibrarySong:
        folder = self.places.song(song)
        if not (folder / SONG).is_file():
            raise NotFound(f"there is no song {song!r}", "it may have been deleted: look in the library")
        return read_song(folder)

    def shown(self, song: str) -> schemas.SongOut:
        """A song as it is now, with all its takes that are not undone, and how far each is."""
        with self._lock:  # what is shown is what has this revision
            kept = self.song(song)
            latest: dict[str, Job] = {}
            for job in self.jobs.of_song(song):
                for take in job.takes:
                    latest.setdefault(take, job)
            return schemas.SongOut(
                **card_of(kept, self.places.song(song)),
                lyrics=kept.lyrics,
                notes=kept.notes,
                tree=[self._shown_take(kept, take, latest.get(take.id)) for take in kept.shown],
                revision=self._revisions.get(song, self._first_revision),
                can_undo=kept.can_undo,
                can_redo=kept.can_redo,
            )

    def changes(self) -> list[schemas.SongOut | schemas.Gone]:
        """The songs that were changed here since this was asked last, as they are now, but what cannot be read."""
        with self._lock:
            names, self._changed = list(self._changed), {}
        found: list[schemas.SongOut | schemas.Gone] = []
        for name in names:
            try:
                found.append(self.shown(name))
            except NotFound:
                found.append(schemas.Gone(id=name))
            except Exception:  # the others are told of
                logger.exception("what became of %s cannot be told", name)
        return found

    def take(self, song: str, take: str) -> Take:
        try:
            return self.song(song).take(take)
        except NotFound:
            raise
        except UserError as error:
            raise NotFound(error.problem, error.hint) from error

    def audio(self, song: str, take: str, level: int | None) -> tuple[Path, int]:
        """The audio of a take at a level, or the finest there is, and which that is."""
        self.take(song, take)
        folder = self.places.take(song, take)
        levels = levels_of(folder)
        wanted = level if level is not None else (levels[0] if levels else 0)
        if wanted not in levels:
            raise NotFound("this cannot be heard yet", "wait until it is made, or choose a coarser level")
        return folder / "audio" / f"level_{wanted}.flac", wanted

    def search(self, wanted: Wanted) -> schemas.SongPage:
        found = self.index.search(wanted)
        return schemas.SongPage(songs=[schemas.SongCard(**card) for card in found.cards], total=found.total)

    def models(self) -> list[schemas.Model]:
        return [schemas.Model(**model) for model in self.jobs.fact("models") or []]

    # Making

    def compose(self, asked: schemas.ComposeIn) -> tuple[LibrarySong, Job]:
        """A new song with its first takes."""
        model = self._model(asked.model)
        artist, genres, mix = self._spelled(model, asked.artist, asked.genres, asked.mix)
        seed = _seed(asked.seed)
        upload = None
        if asked.prime is not None:
            prime = asked.prime
            seconds = self.upload(prime.upload).seconds
            if seconds is None:
                raise Conflict("this sound is not decoded yet", "wait a moment")
            length = seconds - prime.start_seconds if prime.seconds is None else prime.seconds
            if prime.start_seconds + length > seconds + INEXACT_SECONDS or length <= 0:
                raise Conflict(f"the sound ends at {seconds:.2f} s", "choose a part inside it")
            if length >= asked.seconds:
                raise Conflict(
                    f"{length:.1f} s of sound leave nothing of {asked.seconds:.1f} s to compose",
                    "ask for more seconds, or begin with less",
                )
            upload = FromUpload(upload=prime.upload, start=prime.start_seconds, seconds=prime.seconds)
        title = asked.title.strip() or _title(artist, genres)
        song = LibrarySong(id=new_id(title), title=title, lyrics=asked.lyrics, created=_now())
        takes = _takes(
            asked.takes,
            first=1,
            parent=None,
            act="prime" if upload else "compose",
            start=0.0,
            stop=asked.seconds,
            artist=mix.first if mix else artist,
            genres=genres,
            mix=mix,
            lyrics=asked.lyrics,
            seed=seed,
            model=model,
        )
        return self._begin(song, takes, asked.seconds, draft=asked.draft, upload=upload, form=asked.form)

    def continue_(self, song: str, take: str, asked: schemas.ContinueIn) -> tuple[LibrarySong, Job]:
        """More of a take, which stays as it is."""
        with self._lock:
            kept, source = self.song(song), self._audible(song, take)
            start = source.stop if asked.from_seconds is None else asked.from_seconds
            if not 0 < start <= source.stop:
                raise Conflict(f"this take ends at {source.stop:.2f} s", "go on from a point inside it")
            if start + asked.seconds > schemas.LONGEST_SECONDS:
                raise Conflict("the song would be too long", f"at most {schemas.LONGEST_SECONDS:.0f} s are made")
            stop = start + asked.seconds
            if asked.lyrics is not None and stop > source.stop:
                asked = asked.model_copy(update={"lyrics": gone_on_with(source.lyrics, asked.lyrics)})
            takes = self._steered(kept, source, asked, act="continue", start=start, stop=stop)
            origin = From(song=song, take=take, act="continue", start=start)
            form = None if asked.reprise is None else (_reprise(asked.reprise, start),)
            return self._begin(kept, takes, asked.seconds, draft=asked.draft, source=origin, form=form)

    def repaint(self, song: str, take: str, asked: schemas.RepaintIn) -> tuple[LibrarySong, Job]:
        """A stretch of a take made anew."""
        with self._lock:
            kept, source = self.song(song), self._audible(song, take)
            if not asked.start_seconds < asked.stop_seconds or asked.start_seconds >= source.stop:
                raise Conflict(f"there is no such part in {source.stop:.2f} s", "give a start and a later end inside")
            span = Span(start=asked.start_seconds, stop=min(asked.stop_seconds, source.stop))
            takes = self._steered(kept, source, asked, act="repaint", start=span.start, stop=source.stop, span=span)
            origin = From(song=song, take=take, act="repaint", start=span.start, stop=span.stop)
            return self._begin(kept, takes, source.stop, draft=asked.draft, source=origin)

    def refine(self, song: str, take: str) -> tuple[LibrarySong, Job]:
        """Finish a draft."""
        with self._lock:
            kept, source = self.song(song), self._audible(song, take)
            if levels_of(self.places.take(song, take))[0] == 0:
                raise Conflict("this take is refined already", "listen to it")
            if any(job.kind == "refine" and take in job.takes for job in self.jobs.active()):
                raise Conflict("this take is being refined", "wait until it is done")
            work = Refine(song=song, take=take, model=source.model)
            return kept, self.jobs.add("refine", plain(work), song=song, takes=(take,))

    # Choosing, undoing, describing

    def choose(self, song: str, take: str) -> LibrarySong:
        with self._lock:
            self._in_force(song, take)
            return self._change(song, lambda kept: kept.with_chosen(take))

    def undo(self, song: str) -> LibrarySong:
        return self._change(song, LibrarySong.undone)

    def redo(self, song: str) -> LibrarySong:
        return self._change(song, LibrarySong.redone)

    def describe(self, song: str, changes: schemas.SongChanges) -> LibrarySong:
        given = {name: value for name, value in changes.model_dump().items() if value is not None}
        if "tags" in given:
            given["tags"] = tuple(dict.fromkeys(given["tags"]))
        return self._change(song, lambda kept: kept.model_copy(update=given))

    def delete(self, song: str) -> None:
        """Into the bin."""
        with self._lock:
            self.song(song)
            for job in self.jobs.of_song(song):
                if job.state in ("queued", "running"):
                    raise Conflict("this song is being made", "cancel its jobs first")
            place = self.places.deleted(song)
            with explained(place, "move the song to"):
                self.places.song(song).rename(place)
            self._removed(song)

    def resume(self, job: str) -> Job:
        """Go on with a job that was cancelled or failed; NotFound where its song is not there any more."""
        with self._lock:
            song = self.jobs.get(job).song
            if song is not None:
                self.song(song)
            return self.jobs.resume(job)

    def restore(self, song: str) -> LibrarySong:
        """Out of the bin."""
        with self._lock:
            place = self._binned(song)
            kept = read_song(place)  # one that is damaged stays where it is seen
            with explained(self.places.song(song), "move the song to"):
                place.rename(self.places.song(song))
            self._put(kept)
            return kept

    def discard(self, song: str) -> None:
        """Out of the bin, for good."""
        with self._lock:
            place = self._binned(song)
            with explained(place, "delete"):
                shutil.rmtree(place)

    def bin(self) -> schemas.Bin:
        """What is in the bin, deleted last first; what cannot be read goes by its id."""
        with self._lock:
            folders = [folder for folder in self.places.bin.iterdir() if folder.is_dir()]
            return schemas.Bin(songs=[_binned(folder) for folder in sorted(folders, key=_moved, reverse=True)])

    def refreshed(self, song: str) -> None:
        """To be told where takes of a song were made: what can be heard of it has changed."""
        with self._lock:
            try:
                self._put(self.song(song))
            except NotFound:
                self._removed(song)

    # Files in and out

    def pack(self, song: str, packed: Path) -> None:
        """A song with all its takes as a zip file; what else lies in its folder is left out."""
        self.song(song)
        folder = self.places.song(song)
        with (
            explained(packed, "write"),
            zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED, strict_timestamps=False) as file,
        ):
            for path in sorted(folder.rglob("*")):
                within = path.relative_to(folder)
                if path.is_file() and _is_song_file(within.parts):
                    file.write(path, f"{song}/{within.as_posix()}")

    def unpack(self, packed: Path) -> LibrarySong:
        """A song from a zip file that `pack` made, under an id of its own if its own is taken, or in the bin."""
        try:
            with zipfile.ZipFile(packed) as file:
                return self._unpack(file)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            EOFError,
            UnicodeDecodeError,
        ) as error:
            raise UserError("this is not a zip file that can be read", "send what the export gave") from error

    def _unpack(self, file: zipfile.ZipFile) -> LibrarySong:
        entries = [entry for entry in file.infolist() if not entry.is_dir()]
        if sum(entry.file_size for entry in entries) > LARGEST_IMPORT_BYTES:
            raise UserError("this song is too large", f"at most {LARGEST_IMPORT_BYTES // 2**20} MiB are taken")
        parts = [PurePosixPath(entry.filename).parts for entry in entries]
        roots = {part[0] for part in parts if part}
        packings = {entry.compress_type for entry in entries}
        if len(roots) != 1 or not all(_is_song_file(part[1:]) for part in parts) or not packings <= _PACKINGS:
            raise UserError("this zip file holds something else than one song", "send what the export gave")
        place = self.places.own / f"import-{secrets.token_hex(6)}"
        try:
            for entry, part in zip(entries, parts, strict=True):
                target = place.joinpath(*part[1:])
                with explained(target, "write"), file.open(entry) as source:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with target.open("wb") as written:
                        shutil.copyfileobj(source, written)
            with self._lock:
                song = read_song(place)
                if self.places.song(song.id).exists() or self.places.deleted(song.id).exists():
                    song = song.model_copy(update={"id": new_id(song.title)})
                    write_song(place, song)
                with explained(self.places.song(song.id), "move the song to"):
                    place.rename(self.places.song(song.id))
                self._put(song)
                return song
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def begin_upload(self, name: str) -> tuple[str, Path]:
        """The id of a new upload, and the file that its bytes go to."""
        upload = f"upload-{secrets.token_hex(8)}"
        folder = self.places.upload(upload)
        write_json(folder / "upload.json", {"name": name})
        return upload, folder / "raw"

    def end_upload(self, upload: str) -> schemas.Upload:
        """All bytes are there: they are to be decoded."""
        job = self.jobs.add("upload", plain(Decode(upload=upload)))
        folder = self.places.upload(upload)
        about = read_json(folder / "upload.json", "upload")
        write_json(folder / "upload.json", {**about, "job": job.id})
        return self.upload(upload)

    def drop_upload(self, upload: str) -> None:
        shutil.rmtree(self.places.upload(upload), ignore_errors=True)

    def drop_old_uploads(self) -> None:
        """Delete sounds sent more than `UPLOADS_KEPT_SECONDS` ago, but those that a job which can go on needs."""
        waiting = [read_settings(Decode, work).upload for work in self.jobs.works("upload", "queued", "running")]
        making = self.jobs.works("prime", "queued", "running", "cancelled", "failed")
        beginning = [read_settings(MakeTakes, work).upload for work in making]
        needed = {*waiting, *(stretch.upload for stretch in beginning if stretch is not None)}
        oldest = time.time() - UPLOADS_KEPT_SECONDS
        for folder in self.places.uploads.iterdir():
            if folder.name not in needed and folder.stat().st_mtime < oldest:
                shutil.rmtree(folder, ignore_errors=True)

    def drop_broken_imports(self) -> None:
        """Delete what a Studio that was killed left of songs that it was importing."""
        for folder in self.places.own.glob("import-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def upload(self, upload: str) -> schemas.Upload:
        path = self.places.upload(upload) / "upload.json"
        if not path.is_file():
            raise NotFound(f"there is no upload {upload!r}", "send the sound again")
        about = read_json(path, "upload")
        try:
            job = self.jobs.get(about["job"])
        except KeyError as error:
            raise NotFound(f"the upload {upload!r} was not finished", "send the sound again") from error
        peaks = peaks_path(self.places.upload(upload) / "audio.flac")  # the worker writes this alone
        seconds = read_json(peaks, "peaks")["seconds"] if peaks.is_file() else None
        return schemas.Upload(
            id=upload, name=about["name"], state=job.state, seconds=seconds, problem=job.problem, job=job.id
        )

    # Lyrics

    def timed_lyrics(self, song: str, take: str) -> schemas.TimedLyricsOut:
        """The lyrics of a take as they are sung; its text, line by line, where no times are known."""
        text = self.take(song, take).lyrics
        path = self.places.take(song, take) / LYRICS_FILE
        if not path.is_file():
            lines = [schemas.Line(text=line, start=None, end=None, words=[]) for line in text.splitlines()]
            return schemas.TimedLyricsOut(timed=False, lines=lines)
        return schemas.TimedLyricsOut(timed=True, lines=[_timed(line) for line in read_timed_lyrics(path).lines])

    # The map

    def map(self) -> schemas.MapOut:
        making = next((job.id for job in self.jobs.active() if job.kind == "map"), None)
        kept = read_json(self.places.map, "map") if self.places.map.is_file() else None
        if kept is None or kept["model"] != self.model:
            state: Literal["making", "missing"] = "making" if making else "missing"
            return schemas.MapOut(state=state, model=self.model, points=[], left_out=0, job=making)
        return schemas.MapOut(
            state="making" if making else "ready",
            model=kept["model"],
            points=[point for point in kept["points"] if self._is_there(point.get("song"))],
            left_out=kept.get("left_out", 0),
            job=making,
        )

    def _is_there(self, song: str | None) -> bool:
        """Whether a point is of no song, or of one that is not deleted."""
        return song is None or (self.places.song(song) / SONG).is_file()

    def draw_map(self) -> Job:
        """Draw the map anew, of the newest songs that can be heard."""
        for job in self.jobs.active():
            if job.kind == "map":
                return job
        found = self.index.search(Wanted(limit=_SONGS_ON_MAP))
        songs = tuple((card["id"], card["heard"]["take"], card["title"]) for card in found.cards if card["heard"])
        work = DrawMap(model=self.model, songs=songs, left_out=found.total - len(found.cards))
        return self.jobs.add("map", plain(work))

    def _steered(
        self, song: LibrarySong, source: Take, asked: schemas.Steered, *, act: Act, **where: Any
    ) -> list[Take]:
        """Takes made from another, with what is changed on the way."""
        stays = asked.artist is None and not asked.nobody
        mix = asked.mix or (source.mix if stays else None)
        artist = mix.first if mix else source.artist if stays else asked.artist
        genres = source.genres if asked.genres is None else asked.genres
        artist, genres, mix = self._spelled(source.model, artist, genres, mix)
        return _takes(
            asked.takes,
            first=len(song.takes) + 1,
            parent=source.id,
            act=act,
            artist=artist,
            genres=genres,
            mix=mix,
            lyrics=source.lyrics if asked.lyrics is None else asked.lyrics,
            seed=_seed(asked.seed),
            model=source.model,
            **where,
        )

    def _begin(
        self,
        song: LibrarySong,
        takes: Sequence[Take],
        seconds: float,
        *,
        draft: bool,
        source: From | None = None,
        upload: FromUpload | None = None,
        form: str | tuple[dict[str, float], ...] | None = None,
    ) -> tuple[LibrarySong, Job]:
        """`form` is that of a request: what comes back."""
        first = takes[0]
        asked: dict[str, Any] = {
            "artist": first.artist,
            "genres": list(first.genres),
            "seed": first.seed,
            "lyrics": first.lyrics,
            "mix": first.mix and {"artist": first.mix.second, "share": first.mix.share},
            **({} if form is None else {"form": form}),
        }
        work = MakeTakes(
            song=song.id,
            takes=tuple(take.id for take in takes),
            model=first.model,
            asked=asked,
            seconds=seconds,
            draft=draft,
            source=source,
            upload=upload,
        )
        with self._lock:
            grown = song.with_takes(takes)
            job = self.jobs.add(first.act, plain(work), song=song.id, takes=work.takes)
            try:
                write_song(self.places.song(song.id), grown)
            except BaseException:
                self.jobs.cancel(job.id)
                raise
            self._put(grown)
        return grown, job

    def _change(self, song: str, change: Callable[[LibrarySong], LibrarySong]) -> LibrarySong:
        with self._lock:
            try:
                changed = change(self.song(song))
            except NotFound:
                raise
            except UserError as error:
                raise Conflict(error.problem, error.hint) from error
            write_song(self.places.song(song), changed)
            self._put(changed)
            return changed

    def _put(self, song: LibrarySong) -> None:
        self.index.put(song)
        self._changed[song.id] = None
        self._revision += 1
        self._revisions[song.id] = self._revision

    def _removed(self, song: str) -> None:
        self.index.remove(song)
        self._changed[song] = None

    def _binned(self, song: str) -> Path:
        place = self.places.deleted(song)
        if not place.is_dir():
            raise NotFound(f"there is no song {song!r} in the bin", "look in the library")
        return place

    def _in_force(self, song: str, take: str) -> Take:
        """A take that was not undone."""
        found = self.take(song, take)
        if found.hidden:
            raise Conflict("this take was undone", "redo it, or take another")
        return found

    def _audible(self, song: str, take: str) -> Take:
        """A take that others can be made from."""
        found = self._in_force(song, take)
        if not levels_of(self.places.take(song, take)):
            raise Conflict("this take is not made yet", "wait until it can be heard")
        return found

    def _model(self, name: str | None) -> str:
        """The model that is asked for; while none are known, the worker says whether there is it."""
        known = {model.name for model in self.models()}
        if name is not None and known and name not in known:
            raise Conflict(f"there is no model called {name!r}", f"known: {', '.join(sorted(known))}")
        return name or self.model

    def _spelled(
        self, model: str, artist: str | None, genres: Sequence[str], mix: Mix | None
    ) -> tuple[str | None, tuple[str, ...], Mix | None]:
        """Names as the model spells them, so that one artist is one wherever names are compared.

        Those that it does not know are refused here; while it loads, by the worker.
        """
        if mix and not (mix.first.strip() and mix.second.strip()):
            raise Conflict("a mix is of two artists", "name both, or leave the mix out")
        known = next((each for each in self.models() if each.name == model), None)
        if known is None:
            return artist, tuple(genres), mix

        def spelled(kind: str, name: str, names: Sequence[str]) -> str:
            found = called((UNKNOWN, *names), name)
            if found is None:
                raise Conflict(f"{model} knows no {kind} called {name!r}", "choose one from the list")
            return found

        if mix:
            first, second = (spelled("artist", name, known.artists) for name in (mix.first, mix.second))
            mix = mix.model_copy(update={"first": first, "second": second})
        genres = tuple(dict.fromkeys(spelled("genre", name, known.genres) for name in genres))
        return artist and spelled("artist", artist, known.artists), genres, mix

    def _shown_take(self, song: LibrarySong, take: Take, job: Job | None) -> schemas.TakeOut:
        levels = levels_of(self.places.take(song.id, take.id))
        state: schemas.State = "done" if job is None and levels else "failed" if job is None else job.state
        return schemas.TakeOut(
            **plain(take.model_copy(update={"hidden": False})) | {"genres": list(take.genres)},
            state=state,
            job=job.id if job else None,
            levels=levels,
            seconds=take.stop,
        )


def _takes(count: int, *, first: int, seed: int, **common: Any) -> list[Take]:
    common = {**common, "batch": secrets.token_hex(4), "created": _now()}
    return [
        Take(id=f"take-{secrets.token_hex(6)}", number=first + place, seed=seed + place, **common)
        for place in range(count)
    ]


def _binned(folder: Path) -> schemas.BinnedSong:
    try:
        title = read_song(folder).title
    except UserError:
        title = folder.name
    return schemas.BinnedSong(id=folder.name, title=title)


def _moved(folder: Path) -> float:
    """When a folder was moved to where it is."""
    return folder.stat().st_ctime


def _is_song_file(parts: tuple[str, ...]) -> bool:
    """Whether a path below a song's folder is one that a song may have."""
    if parts == (SONG,):
        return True
    if len(parts) not in (2, 3) or not parts[0].endswith(".song") or any(part.startswith(".") for part in parts):
        return False
    return len(parts) == 2 or parts[1] == "audio"


def _title(artist: str | None, genres: Sequence[str]) -> str:
    about = artist or (genres[0] if genres else "")
    return f"After {about}" if artist else (about.capitalize() if about else "Untitled")


def _reprise(part: Span, kept_seconds: float) -> dict[str, float]:
    """A part that comes back after so many seconds of a take, as a request has it."""
    if not part.start < part.stop <= kept_seconds:
        raise Conflict(
            f"a part that is not over by {kept_seconds:.2f} s cannot come back there",
            "choose one that is, or go on later",
        )
    return {"start_seconds": kept_seconds, "seconds": part.stop - part.start, "of_seconds": part.start}


def _seed(given: int | None) -> int:
    return secrets.randbelow(2**31) if given is None else given


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _timed(line: TimedLine) -> schemas.Line:
    """A line as it is sung. A word whose times are unknown has no length, at the end of the one before."""
    words: list[schemas.Word] = []
    if line.start is not None:
        end = line.start
        for word in line.words:
            start = end if word.start is None else word.start
            end = max(start, start if word.end is None else word.end)
            words.append(schemas.Word(text=word.text, start=start, end=end))
    return schemas.Line(text=line.text, start=line.start, end=line.end, words=words)
