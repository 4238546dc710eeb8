"""The process that makes the music: it takes job after job, and says how far each is.

It has the model and torch; the server has neither, so that the page is there at once. It ends when its server does.
"""

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any

import torch

from orchestrion.audio import io, sniff
from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.adapter import Adapter
from orchestrion.codes import Codes
from orchestrion.config import plain, read_settings
from orchestrion.errors import UserError
from orchestrion.files import read_json, write_json
from orchestrion.generate.request import Prime, Request
from orchestrion.jukebox import Jukebox, Progress
from orchestrion.jukebox.listener import Listener
from orchestrion.jukebox.map import label_points, song_points, song_vector
from orchestrion.library.folder import is_begun
from orchestrion.library.peaks import peaks_path, write_peaks
from orchestrion.library.tree import levels_of
from orchestrion.web.jobs import Job, Jobs
from orchestrion.web.places import Places
from orchestrion.web.schemas import LONGEST_UPLOAD_SECONDS
from orchestrion.web.work import Decode, DrawMap, MakeTakes, Refine

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.1
TOLD_EVERY_SECONDS = 0.2


class Stopped(Exception):
    """The job is to be left: it was cancelled."""


class Orphaned(Exception):
    """The server is gone."""


class Worker:
    """Works on the jobs of a library, with `model` unless a job names another: a model, or an adapter's folder.

    An adapter is opened with the model that it was trained beside: `beside`, or one that goes by a name.
    """

    def __init__(self, places: Places, jobs: Jobs, model: str, *, beside: str | None = None) -> None:
        self.places, self.jobs, self.model, self.beside = places, jobs, model, beside
        self._open: dict[str, Jukebox] = {}
        self._server = os.getppid()
        self._told = 0.0

    def run(self) -> None:
        """Until the server is gone."""
        try:
            self.introduce()
            while True:
                self._check_server()
                if not self.work():
                    time.sleep(IDLE_SECONDS)
        except Orphaned:
            logger.info("the server is gone")

    def introduce(self) -> None:
        """Make known which models there are and what they know; those that cannot be opened are passed over."""
        known: list[dict[str, Any]] = []
        problems: dict[str, str] = {}
        for name in self._names():
            try:
                known.append(_described(self._jukebox(name), name))
            except UserError as error:
                logger.warning("the model %s cannot be used: %s", name, error)
                problems[name] = str(error)
            except Exception as error:
                logger.exception("the model %s cannot be used", name)
                problems[name] = f"something went wrong: {error}"
        self.jobs.make_known("models", known)
        problem = problems.get(self.model, "")
        self.jobs.make_known("model", {"state": "failed" if problem else "ready", "problem": problem})

    def work(self) -> bool:
        """Do the next job, if one waits."""
        taken = self.jobs.take()
        if taken is None:
            return False
        job, work = taken
        try:
            self._do(job, work)
        except Stopped:
            self.jobs.end(job.id, "cancelled")
        except UserError as error:
            self.jobs.end(job.id, "failed", error.problem, error.hint)
        except Orphaned:
            raise
        except Exception as error:
            logger.exception("job %s", job.id)
            self.jobs.end(job.id, "failed", f"something went wrong: {error}", "the log of the Studio says more")
        else:
            self.jobs.end(job.id, "done")
        return True

    def _do(self, job: Job, work: dict[str, Any]) -> None:
        match job.kind:
            case "refine":
                self._refine(job, read_settings(Refine, work))
            case "upload":
                self._decode(job, read_settings(Decode, work))
            case "map":
                self._draw_map(job, read_settings(DrawMap, work))
            case _:
                self._make_takes(job, read_settings(MakeTakes, work))

    def _make_takes(self, job: Job, work: MakeTakes) -> None:
        """Takes that were begun before go on from what is kept of them: what they come from may be another by now."""
        jukebox = self._jukebox(work.model)
        folders = [self.places.take(work.song, take) for take in work.takes]
        until_level = jukebox.info.grid.top if work.draft else 0
        begun = [folder for folder in folders if is_begun(folder)]
        if begun:
            self._follow(job, jukebox.resume_all(begun, until_level=until_level))
        rows = [row for row, folder in enumerate(folders) if folder not in begun]
        if rows:
            request, codes = self._asked(jukebox, work)
            requests = request.takes(len(folders))
            composition = jukebox.compose_all(
                [requests[row] for row in rows],
                [folders[row] for row in rows],
                codes=None if codes is None else codes.repeated(len(rows)),
                until_level=until_level,
            )
            self._follow(job, composition)
        for folder in folders:
            _outline(folder)

    def _asked(self, jukebox: Jukebox, work: MakeTakes) -> tuple[Request, Codes | None]:
        """The request of the first take, and the codes that all begin with."""
        asked = dict(work.asked)
        if asked.get("lyrics") and not jukebox.info.sings:
            asked["lyrics"] = ""  # kept with the song, for a model that sings
        if work.source is not None:
            source = work.source
            song = jukebox.load(self.places.take(source.song, source.take), jukebox.info.grid.top)
            longest = {"seconds": (source.start or 0.0) + work.seconds}
            changes = {name: getattr(read_settings(Request, {**longest, **asked}), name) for name in asked}
            if source.act == "continue":
                return jukebox.continued(song, work.seconds, source.start, **changes)
            assert source.start is not None and source.stop is not None
            return jukebox.repainted(song, source.start, source.stop, **changes)
        request = read_settings(Request, {"seconds": work.seconds, **asked})
        if work.upload is None:
            return request, None
        upload, start, seconds = self.places.upload(work.upload.upload), work.upload.start, work.upload.seconds
        rate, channels = jukebox.info.codec.sample_rate, jukebox.info.codec.channels
        audio = io.read(upload / "audio.flac", rate, channels, start_seconds=start, seconds=seconds)
        # Uploads go after a day: the record has the name that the file has where it came from.
        name = PurePath(read_json(upload / "upload.json", "upload")["name"]).name or "sound"
        primed = request.changed(prime=Prime(path=name, start_seconds=start, seconds=seconds))
        return primed, jukebox.prompt(audio, rate)

    def _refine(self, job: Job, work: Refine) -> None:
        folder = self.places.take(work.song, work.take)
        self._follow(job, self._jukebox(work.model).resume(folder))
        _outline(folder)

    def _decode(self, job: Job, work: Decode) -> None:
        """What a file is says its content, not its name. One that was begun with may be decoded again."""
        folder = self.places.upload(work.upload)
        sent = next(folder.glob("raw*"), None)
        if sent is None:
            if peaks_path(folder / "audio.flac").is_file():
                return
            raise UserError("the sound that was sent is not there any more", "send it again")
        raw = sent if sent.suffix else sniff.named(sent)
        about = io.probe(raw)
        if about.seconds > LONGEST_UPLOAD_SECONDS:
            raise UserError(
                f"this sound lasts {about.seconds / 60:.0f} minutes",
                f"send at most {LONGEST_UPLOAD_SECONDS / 60:.0f}",
            )
        self._tell(job, "decode", 0, 0, 1)
        audio = io.read(raw, about.sample_rate, about.channels)
        self._tell(job, "decode", 0, 1, 1)  # it may have been cancelled while it was read
        io.write(folder / "audio.flac", audio, about.sample_rate)
        write_peaks(folder / "audio.flac")
        raw.unlink()

    def _draw_map(self, job: Job, work: DrawMap) -> None:
        jukebox = self._jukebox(work.model)
        points = [plain(point) for point in label_points(jukebox)]
        if work.songs:
            points += self._placed(job, jukebox.listener(), work.songs)
        write_json(self.places.map, {"model": work.model, "points": points, "left_out": work.left_out})

    def _placed(self, job: Job, listener: Listener, songs: Sequence[tuple[str, str, str]]) -> list[dict[str, Any]]:
        """The songs of a map, each with its place; those that cannot be heard are left out."""
        placed, vectors = [], []
        for number, (song, take, title) in enumerate(songs):
            self._tell(job, "listen", 0, number, len(songs))
            folder = self.places.take(song, take)
            try:
                levels = levels_of(folder)
                if not levels:
                    continue
                vector = song_vector(listener, folder / "audio" / f"level_{levels[0]}.flac")
            except (UserError, OSError) as error:  # damaged, or deleted meanwhile: the others have their places
                logger.warning("%s is left out of the map: %s", song, error)
                continue
            placed.append((song, take, title))
            vectors.append(vector)
        return [
            {**plain(point), "name": title, "song": song, "take": take}
            for (song, take, title), point in zip(placed, song_points(vectors), strict=True)
        ]

    def _follow(self, job: Job, events: Iterable[Progress]) -> None:
        for event in events:
            self._tell(job, event.stage, event.level, event.done, event.total)

    def _tell(self, job: Job, stage: str, level: int, done: int, total: int) -> None:
        """Note how far a job is, now and then; `Stopped` and `Orphaned` where it is not to go on."""
        now = time.monotonic()
        if now - self._told < TOLD_EVERY_SECONDS and done < total:
            return
        self._told = now
        self._check_server()
        if not self.jobs.progress(job.id, stage, level, done, total):
            raise Stopped

    def _check_server(self) -> None:
        if os.getppid() != self._server:
            raise Orphaned

    def _names(self) -> list[str]:
        """The models that can be asked for, those of this Studio first."""
        own = [self.model] if self.beside is None else [self.model, self.beside]
        return [*own, *(name for name in sorted(zoo.names()) if name not in own)]

    def _jukebox(self, name: str) -> Jukebox:
        if name not in self._open:
            adapted = (self.beside is not None and name == self.model) or Path(name, zoo.ADAPTER).is_file()
            self._open[name] = self._adapted(Path(name)) if adapted else Jukebox.from_pretrained(name)
        return self._open[name]

    def _adapted(self, folder: Path) -> Jukebox:
        """The model that an adapter belongs to, opened with it."""
        adapter = Adapter(folder)
        known = [name for name in self._names() if name != self.model or self.beside is None]
        model = next((name for name in known if adapter.belongs_to(zoo.locate(name))), adapter.info.model)
        return Jukebox.from_pretrained(model, adapter=folder)


def _outline(folder: Path) -> None:
    """The peaks of all that can be heard of a take."""
    for level in levels_of(folder):
        audio = folder / "audio" / f"level_{level}.flac"
        if not peaks_path(audio).exists():
            write_peaks(audio)


def _described(jukebox: Jukebox, name: str) -> dict[str, Any]:
    info, grid = jukebox.info, jukebox.info.grid
    return {
        "name": name,
        "title": f"{jukebox.adapter.info.name} ({info.name})" if jukebox.adapter else info.name,
        "sings": info.sings,
        "levels": grid.num_levels,
        "sample_rate": grid.sample_rate,
        "shortest_seconds": grid.seconds(grid.hop_lengths[grid.top]),
        "artists": list(info.artists),
        "genres": list(info.genres),
    }


def end_in_order() -> None:
    """Make of being terminated an exit, by which files that are being written are cleaned up."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())


def main() -> None:
    """Run by the server, with the library and the model as JSON."""
    end_in_order()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings")
    given = json.loads(parser.parse_args().settings)
    logging.basicConfig(level=logging.INFO)
    if given["threads"]:
        torch.set_num_threads(given["threads"])
    places = Places(Path(given["library"]))
    with places.worker_lock():
        jobs = Jobs(places.jobs)
        jobs.queue_again()
        Worker(places, jobs, given["model"], beside=given["beside"]).run()


if __name__ == "__main__":
    main()
