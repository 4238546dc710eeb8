"""Sung music with the time of every syllable: songs in MusicXML, rendered with a voice and a piano."""

import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from anyascii import anyascii
from numpy.typing import NDArray
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from orchestrion.audio import io
from orchestrion.data.manifest import Track, content_hash, is_held_out, write_manifest
from orchestrion.errors import UserError
from orchestrion.files import check_space, explained, make_writable
from orchestrion.processes import worker_processes
from orchestrion.recipes.accompaniment import Room, in_room, play
from orchestrion.recipes.espeak import VOICES
from orchestrion.recipes.score import Score, read_score
from orchestrion.recipes.singing import LEAD_SECONDS, SINGERS, Singer, Sung, SungNote, sing
from orchestrion.recipes.speech_sounds import SAMPLE_RATE
from orchestrion.text.lyric_files import write_timed_lyrics
from orchestrion.text.timed import SUFFIX, TimedLine, TimedLyrics, TimedWord

SUFFIXES = (".mxl", ".musicxml", ".xml")
GENRE = "lied"

_EDITION = 2  # counted up when the same score comes to sound otherwise
_MAX_SCORE_BYTES = 64_000_000
_BYTES_PER_SECOND = 60_000  # of FLAC in stereo, and what is written beside it
_TRANSPOSED = range(-3, 4)  # semitones
_LINE_WORDS, _LONG_LINE_WORDS = 4, 10
_LINE_PAUSE, _LONG_PAUSE = 0.25, 1.2  # seconds
_END_SECONDS = 2.0  # for the last sound to die away
_PEAK = 0.9


@dataclass(frozen=True)
class Song:
    """A score, and how it is to be performed: all that decides what is heard."""

    name: str
    target: str  # the audio file, relative to the data set
    score: Score
    language: str
    singer: Singer
    transpose: int
    tempo: float  # how many times as fast as written
    piano_level: float  # beside the voice's, which is 1
    room: Room
    chance: int
    held_out: bool  # from training, for validation

    @property
    def seconds(self) -> float:
        return self.when(self.score.end) + _END_SECONDS

    def when(self, quarters: float) -> float:
        """The second of the recording at which a moment of the score is heard."""
        return LEAD_SECONDS + self.score.seconds(quarters) / self.tempo


@dataclass(frozen=True)
class Rendered:
    """Progress: `done` of `total`, scores while they are read and seconds of music while they are sung.

    `problem` says which score was left out and why.
    """

    act: str
    done: float
    total: float
    problem: str | None = None


def render(
    folder: Path,
    scores: Path,
    soundfont: Path,
    *,
    hours: float | None = None,
    seed: int = 0,
    language: str | None = None,
    workers: int = 1,
) -> Iterator[Rendered]:
    """Sing the songs in `scores` into `folder`, up to `hours` of them, ending with its `manifest.jsonl`.

    `scores` is a score, a folder of them, or a .zip or .tar archive. Which songs are sung, and how, is a matter of
    their content and `seed`; each is sung once. Songs that are there already are kept, so a stopped run goes on
    where it was. The language is that of the words unless given. Scores that cannot be sung are reported and left
    out. Raises UserError where there is nothing to sing, and where the folder cannot be written or will not hold it.
    """
    make_writable(folder)
    songs: list[Song] = []
    for step in plan(scores, seed, language):
        if isinstance(step, Song):
            songs.append(step)
        else:
            yield step
        if hours is not None and sum(song.seconds for song in songs) >= 3600 * hours:
            break
    if not songs:
        raise UserError(f"none of the scores in {scores} can be sung", "give MusicXML of songs with lyrics")
    waiting = [song for song in songs if not (folder / song.target).exists()]
    total = sum(song.seconds for song in songs)
    check_space(folder, int(_BYTES_PER_SECOND * sum(song.seconds for song in waiting)))
    done = total - sum(song.seconds for song in waiting)
    failed: set[str] = set()
    yield Rendered("singing", done, total)
    for song, problem in render_songs(waiting, folder, soundfont, workers=workers):
        done += song.seconds
        if problem is not None:
            failed.add(song.target)
        yield Rendered("singing", done, total, problem)
    tracks = [_track(folder, song) for song in songs if song.target not in failed]
    if not tracks:
        raise UserError("no song could be sung", "see what was said about each")
    write_manifest(folder / "manifest.jsonl", tracks)


def plan(scores: Path, seed: int, language: str | None = None) -> Iterator["Song | Rendered"]:
    """The songs in `scores` in an order that `seed` decides, each followed by what was read; each once.

    Scores that cannot be sung are in the reports only. Raises UserError where there is no score at all.
    """
    sources = {hashlib.blake2b(data + str(seed).encode()).hexdigest(): (name, data) for name, data in _scores(scores)}
    if not sources:
        raise UserError(f"there is no score in {scores}", f"known are {', '.join(SUFFIXES)}")
    for at, (key, (name, data)) in enumerate(sorted(sources.items()), 1):
        problem = None
        try:
            yield plan_song(data, name, key, language)
        except UserError as error:
            problem = str(error)
        yield Rendered("reading scores", float(at), float(len(sources)), problem)


def plan_song(data: bytes, name: str, key: str, language: str | None = None) -> Song:
    """The song in the bytes of a score; `key`, in hexadecimal digits, decides how it is performed.

    Raises UserError for a score that cannot be sung.
    """
    chance = int(key[:15], 16)
    rng = np.random.default_rng(chance)
    score = read_score(data, name, verse=int(rng.integers(12)))
    composer, title = (_file_name(text) for text in (score.composer or "unknown", score.title or "untitled"))
    made = hashlib.blake2b(f"{_EDITION} {key} {language}".encode(), digest_size=4).hexdigest()
    return Song(
        name=name,
        target=f"tracks/{composer}/{title}-{made}.flac",
        score=score,
        language=language or _language(score),
        singer=SINGERS[int(rng.integers(len(SINGERS)))],
        transpose=int(rng.choice(_TRANSPOSED)),
        tempo=float(rng.uniform(0.9, 1.1)),
        piano_level=float(rng.uniform(0.4, 0.9)),
        room=Room(seconds=float(rng.uniform(0.4, 2.2)), share=float(rng.uniform(0.08, 0.35))),
        chance=chance,
        held_out=_held_out(data),
    )


def _held_out(score: bytes) -> bool:
    """Whether a song is kept for validation: a function of its score, for its sound differs a little by processor.

    Songs that the models which ship learned from, or did not, stay on that side.
    """
    digest = hashlib.blake2b(score, digest_size=8).hexdigest()
    return _sides().get(digest, is_held_out(digest))


@cache
def _sides() -> dict[str, bool]:
    """Scores whose side is known, by their hash: True is held out."""
    listed = (Path(__file__).parent / "lieder_split.txt").read_text(encoding="ascii").split()
    return {digest.rstrip("*"): digest.endswith("*") for digest in listed}


def _scores(place: Path) -> Iterator[tuple[str, bytes]]:
    """The names and the bytes of all scores in a file, a folder or an archive."""
    if not place.exists():
        raise UserError(f"there is no file or folder {place}", "check the path")
    if place.is_dir():
        for path in sorted(place.rglob("*")):
            if _is_score(path.name) and path.is_file():
                with explained(path, "read"):
                    yield str(path.relative_to(place)), path.read_bytes()
        return
    with explained(place, "read"):
        if _is_score(place.name):
            yield place.name, place.read_bytes()
        elif zipfile.is_zipfile(place):
            yield from _zipped(place)
        elif tarfile.is_tarfile(place):
            yield from _tarred(place)
        else:
            raise UserError(f"{place} is neither a score nor an archive of scores", f"known are {', '.join(SUFFIXES)}")


def _is_score(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and "META-INF" not in path.parts


def _zipped(place: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with zipfile.ZipFile(place) as archive:
            for info in sorted(archive.infolist(), key=lambda info: info.filename):
                if _is_score(info.filename) and info.file_size <= _MAX_SCORE_BYTES:
                    yield info.filename, archive.read(info)
    except (zipfile.BadZipFile, EOFError, RuntimeError, lzma.LZMAError, zlib.error) as error:  # encrypted ones too
        raise UserError(f"the archive {place} is damaged, or packed in a way not known here", "get it again") from error


def _tarred(place: Path) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(place) as archive:
            for member in archive:
                if _is_score(member.name) and member.isfile() and member.size <= _MAX_SCORE_BYTES:
                    stream = archive.extractfile(member)
                    assert stream is not None, "a file has content"
                    yield member.name, stream.read()
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"the archive {place} is damaged", "get it again") from error


def _file_name(text: str) -> str:
    """`text` in letters, digits and hyphens, so that any file system takes it."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in anyascii(text).lower())
    return "-".join(filter(None, kept.split("-")))[:60] or "unnamed"


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(list(VOICES))
    return identifier


def _language(score: Score) -> str:
    """The language of the words that are sung (langid, among those that have a voice)."""
    parts: list[str] = []
    for note in score.voice.notes:
        if note.syllable is not None:
            parts.append(note.syllable.text + (" " if note.syllable.ends else ""))
    return str(_identifier().classify("".join(parts))[0])


def render_songs(
    songs: Sequence[Song], folder: Path, soundfont: Path, *, workers: int
) -> Iterator[tuple[Song, str | None]]:
    """Write the files of each song, in as many processes as `workers`; says of each why it cannot be sung, if so.

    UserError where no process can be begun to speak or to play, which is no fault of the song.
    """
    try:
        yield from _rendered(songs, folder, soundfont, workers)
    except BlockingIOError as error:
        raise UserError(
            "the system began no more processes", "give the same command again: what is sung is kept"
        ) from error


def _rendered(songs: Sequence[Song], folder: Path, soundfont: Path, workers: int) -> Iterator[tuple[Song, str | None]]:
    if workers <= 1:
        for song in songs:
            yield song, _perform(song, folder, soundfont)
        return
    with worker_processes(workers) as pool:
        jobs = {pool.submit(_perform, song, folder, soundfont): song for song in songs}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a process that sings was killed, perhaps for want of memory", "run again with fewer workers"
            ) from error


def _perform(song: Song, folder: Path, soundfont: Path) -> str | None:
    """Write a song's lyrics and then its audio; says why it cannot be sung, if so."""
    target = folder / song.target
    try:
        sung = sing_song(song)
        audio = _mixed(song, sung.audio, soundfont)
        lyrics = TimedLyrics(language=song.language, lines=tuple(lines(sung.words)))
        write_timed_lyrics(target.with_suffix(".lrc"), lyrics)
        write_timed_lyrics(target.with_suffix(SUFFIX), lyrics)
    except UserError as error:
        return f"{song.name}: {error}"
    io.write(target, torch.from_numpy(audio.T).float(), SAMPLE_RATE)
    return None


def sing_song(song: Song) -> Sung:
    """The voice of a song alone."""
    moved = song.transpose + 12 * song.singer.octave
    notes = [
        SungNote(song.when(note.start), song.when(note.end), float(note.pitch + moved), note.syllable)
        for note in song.score.voice.notes
    ]
    return sing(notes, song.language, song.singer, np.random.default_rng(song.chance))


def _mixed(song: Song, voice: NDArray[np.float64], soundfont: Path) -> NDArray[np.float64]:
    """Voice and accompaniment in their room, `sample channel`, at full scale or a little below."""
    length = round(song.seconds * SAMPLE_RATE)
    mix = np.zeros((length, 2))
    mix += _fitted(np.repeat(voice[:, None], 2, axis=1), length)
    if any(part.notes for part in song.score.accompaniment):
        parts = song.score.accompaniment
        moments = {at for part in parts for note in part.notes for at in (note.start, note.end)}
        moments |= {at for part in parts for at, _ in part.pedals}
        played = play(parts, {at: song.when(at) for at in moments}, song.transpose, soundfont, SAMPLE_RATE)
        mix += _fitted(played, length) * (song.piano_level * _loudness(voice) / _loudness(played))
    mix = in_room(mix, song.room, SAMPLE_RATE, np.random.default_rng(song.chance))
    scaled: NDArray[np.float64] = mix * (_PEAK / max(np.abs(mix).max(), 1e-9))
    return scaled


def _fitted(audio: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    return np.pad(audio[:length], ((0, max(0, length - len(audio))), (0, 0)))


def _loudness(audio: NDArray[np.float64]) -> float:
    """Root mean square of what is not silent."""
    loud = np.abs(audio) > 0.01 * np.abs(audio).max()
    return float(np.sqrt((audio[loud] ** 2).mean())) if loud.any() else 1.0


def lines(words: Sequence[TimedWord]) -> Iterator[TimedLine]:
    """Words in lines that end where the singer pauses, as long lines of text do."""
    line: list[TimedWord] = []
    for word in words:
        before = line[-1].end if line else None
        pause = 0.0 if before is None or word.start is None else word.start - before
        if line and (
            pause > _LONG_PAUSE
            or (pause > _LINE_PAUSE and len(line) >= _LINE_WORDS)
            or (len(line) >= _LONG_LINE_WORDS and (pause > 0.1 or line[-1].text[-1] in ".,;:!?"))
        ):
            yield TimedLine(words=tuple(line))
            line = []
        line.append(word)
    if line:
        yield TimedLine(words=tuple(line))


def _track(folder: Path, song: Song) -> Track:
    path = folder / song.target
    info = io.probe(path)
    score = song.score
    rights = f"score: {score.rights}" if score.rights else None
    words = f"words: {score.lyricist}" if score.lyricist else None
    return Track(
        path=path.absolute(),
        seconds=info.seconds,
        sample_rate=info.sample_rate,
        channels=info.channels,
        content_hash=content_hash(path),
        artist=score.composer,
        genres=(GENRE,),
        title=score.title,
        licence="CC0-1.0" if "CC0" in (score.rights or "") else None,
        lyrics=path.with_suffix(SUFFIX).absolute(),
        source=f"rendered from {song.name}",
        credit="; ".join(filter(None, [words, rights])) or None,
        held_out=song.held_out,
    )
