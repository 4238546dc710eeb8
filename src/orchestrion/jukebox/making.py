"""Songs in the making: all that is done once a request is found to be one that can be met."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from orchestrion.codec.model import Codec
from orchestrion.codes import Codes, frames_made
from orchestrion.generate.request import Request
from orchestrion.generate.song import OpenPrior, Plan, Songs, fill_song, stream_song
from orchestrion.generate.told import Told
from orchestrion.jukebox.memory import Recollection
from orchestrion.jukebox.song import Audio, Progress, Song
from orchestrion.library.folder import SongFolder, SongInfo
from orchestrion.text.timed import TimedLyrics

Made = TypeVar("Made")

FOLLOWED_FRAMES = 64
"""So many codes that are drawn one after another are heard together: fewer are decoded at a greater cost each."""


@dataclass(frozen=True)
class Work:
    """Songs to be made together by an open model, from `codes` on, each kept in its folder if there are `folders`.

    `sources` has the frames of the top level that later ones resemble. With `side_by_side` levels are made at the
    same time, each in a thread of its own, their weights in memory together. `find_words` tells when the words of a
    song are sung.
    """

    requests: Sequence[Request]
    infos: Sequence[SongInfo]
    plan: Plan
    codes: Codes
    folders: Sequence[SongFolder] | None
    tell: Callable[[int], Told]
    sources: Int[Tensor, "row frame_of_song"] | None
    open_prior: OpenPrior
    open_codec: Callable[[], AbstractContextManager[Codec]]
    device: torch.device
    side_by_side: bool = False
    find_words: Callable[[Request, Codes], TimedLyrics] | None = None
    memory: Recollection | None = None

    def songs(self) -> Songs:
        seeds = [request.seed for request in self.requests]
        return Songs(self.codes.to(self.device), self.plan, self.tell, seeds, self.sources)

    def keep(self, codes: Codes) -> None:
        """Save the codes so far, and of what was made no finer codes than there are coarser ones over them.

        Those are drawn anew when the songs go on, and another engine may draw others.
        """
        for level in range(codes.grid.top - 1, -1, -1):
            part, reached = codes.levels[level], codes.num_frames(level + 1) * codes.grid.ratio(level)
            if part is not None:
                codes = codes.replace(level, part[:, : max(reached, self.codes.num_frames(level))])
        for row, folder in enumerate(self.folders or ()):
            folder.save_codes(codes.row(row))

    def finished(self, codes: Codes, audio: Sequence[Audio]) -> tuple[Song, ...]:
        """The songs, their words found and pictures drawn."""
        rate, made = self.plan.grid.sample_rate, []
        for row, request in enumerate(self.requests):
            folder = self.folders[row] if self.folders else None
            lyrics = self.find_words(request, codes.row(row)) if self.find_words and request.lyrics else None
            song = Song(
                request,
                codes.row(row),
                audio[row],
                rate,
                folder.path if folder else None,
                self.infos[row],
                self.plan.finest_level,
                lyrics,
                self.memory,
            )
            if folder and lyrics:
                folder.save_lyrics(lyrics)
            if folder:
                song.draw(folder.picture_path)
            made.append(song)
        return tuple(made)


Begin = Callable[[], Work]
"""Reads the prompts and lays out the folders."""


class Group(NamedTuple):
    """Songs that are made at once, for those that are as far as one another, by their places among all."""

    rows: tuple[int, ...]
    begin: Begin


def make(groups: Sequence[Group]) -> Generator[Progress, None, tuple[Song, ...]]:
    """One group after another, level by level, then to audio."""
    made: dict[int, Song] = {}
    for group in groups:
        songs = yield from _make_at_once(group.begin())
        made.update(zip(group.rows, songs, strict=True))
    return tuple(made[row] for row in sorted(made))


def _make_at_once(work: Work) -> Generator[Progress, None, tuple[Song, ...]]:
    codes = work.codes
    fill = partial(stream_song, side_by_side=True) if work.side_by_side else fill_song
    for event in fill(work.open_prior, work.songs()):
        if event.codes is not None:
            codes = event.codes
            work.keep(codes)
        yield Progress("compose", event.level, event.frames_done, event.frames_total)
    codes = codes.to("cpu")
    with work.open_codec() as codec:
        audio = yield from _decode_levels(work, codec, codes)
    return work.finished(codes, audio)


def stream(begin: Begin) -> Generator[Audio, None, Song]:
    """One song, its audio as early as can be: a window of the finest level that is filled in passes is heard when all
    of it is there, and one that is drawn code by code some codes at a time."""
    work = begin()
    plan, level, grown = work.plan, work.plan.finest_level, [work.codes]

    def fresh() -> Iterator[Tensor]:
        """The codes of the finest level, as they come."""
        songs = work.songs()
        known, latest = songs.codes.levels[level], list[Tensor]()
        given = 0 if known is None else frames_made(known)
        if known is not None:
            yield known[0, :given]
        for event in stream_song(work.open_prior, songs, side_by_side=work.side_by_side):
            if event.latest is not None and event.level == level:
                latest.append(event.latest)
                if len(latest) == FOLLOWED_FRAMES:
                    yield torch.cat(latest)
                    given, latest = given + len(latest), []
            if event.codes is None:
                continue
            grown[0] = event.codes.to("cpu")
            work.keep(grown[0])
            made = frames_made(grown[0][level])
            yield event.codes[level][0, given:made]
            given, latest = made, []
        yield grown[0][level][0, given:].to(work.device)

    with work.open_codec() as codec:
        yield from _audible(codec.follow(fresh(), level), plan.num_samples)
        audio = _outcome(_decode_levels(work, codec, grown[0]))
    (song,) = work.finished(grown[0], audio)
    return song


def decoded(codec: Codec, codes: Codes, level: int) -> Iterator[Audio]:
    """The audio of the only song in `codes`, on the codec's device, piece by piece."""
    alone = Codes.empty(codes.grid).replace(level, codes[level].to(codec.entries(level).device))
    return _audible(piece[0] for piece in codec.stream(alone, level))


def _decode_levels(work: Work, codec: Codec, codes: Codes) -> Generator[Progress, None, list[Audio]]:
    """Decode every level that is kept and not decoded yet, and at last the finest, which is returned."""
    plan, num_songs = work.plan, len(work.requests)
    finest: list[Audio] = []
    for level in range(plan.grid.top, plan.finest_level - 1, -1):
        frames, hop = plan.num_frames(level), plan.grid.hop_lengths[level]
        for row in range(num_songs):
            folder = work.folders[row] if work.folders else None
            if level > plan.finest_level and (folder is None or folder.audio_path(level).exists()):
                continue
            pieces, done = [], 0
            for piece in decoded(codec, codes.row(row), level):
                pieces.append(piece)
                done = min(done + piece.shape[-1] // hop, frames)
                yield Progress("decode", level, row * frames + done, num_songs * frames)
            audio = torch.cat(pieces, -1)[:, : plan.num_samples]
            if folder:
                folder.save_audio(level, audio)
            if level == plan.finest_level:
                finest.append(audio)
    return finest


def _outcome(steps: Generator[Any, None, Made]) -> Made:
    """What steps give in the end."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made: Made = end.value
            return made


def _audible(pieces: Iterable[Audio], num_samples: int | None = None) -> Iterator[Audio]:
    """Audio as it is heard and written, on the CPU, `num_samples` of it or all."""
    left = num_samples
    for piece in pieces:
        heard = piece[:, :left].float().clamp(-1, 1).cpu()
        left = None if left is None else left - heard.shape[-1]
        if heard.shape[-1]:
            yield heard
