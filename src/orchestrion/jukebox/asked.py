"""What a request means to a model: whether it can be met, by which windows, and what each prior is told."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orchestrion.audio import io
from orchestrion.checkpoints.folder import ModelInfo, singers
from orchestrion.codes import HIDDEN, Codes
from orchestrion.config import as_read_now, read_settings
from orchestrion.errors import UserError
from orchestrion.generate.request import NOTHING_AGAIN, Reprise, Request
from orchestrion.generate.song import Plan
from orchestrion.generate.told import Told
from orchestrion.grid import INEXACT_SECONDS, Grid
from orchestrion.library.folder import SongFolder
from orchestrion.prior.labels import Conditions
from orchestrion.text.lyrics import Spelling, check_pace, spelled, untimed
from orchestrion.text.pace import planned_times, planned_words, returning, stretches
from orchestrion.text.timed import TimedLyrics, TimedWord
from orchestrion.text.window import SeenLyrics


def resolved(request: Request, info: ModelInfo) -> Request:
    """The request with nothing left open: the model's spelling of labels, its sampling where none is given.

    UserError for labels that the model does not know, and for lyrics where it does not sing.
    """
    levels = info.grid.num_levels
    sampling = request.sampling or info.drawing(request.lyrics)
    sampling = sampling * levels if len(sampling) == 1 else sampling
    if len(sampling) != levels:
        raise UserError(
            f"sampling is given for {len(sampling)} levels of {levels}",
            "give one for all levels, or one for each",
        )
    if request.lyrics:
        _check_lyrics(request, info)
    if info.published_names:
        for level, own in enumerate(info.published_names):
            if own is not None:
                _label_ids(request, info, level)
                _other_artist(request, info, level)
        return request.changed(sampling=sampling)
    names = info.vocabulary
    artist = None if request.artist is None else names.artist_name(names.artist_id(request.artist))
    genres = names.genre_names(names.genre_ids(request.genres)) if request.genres else ()
    mix = request.mix and request.mix.model_copy(
        update={"artist": names.artist_name(names.artist_id(request.mix.artist))}
    )
    return request.changed(artist=artist, mix=mix, genres=genres, sampling=sampling)


def plan(request: Request, info: ModelInfo, most_songs: int | None = None, until_level: int = 0) -> Plan:
    """The windows and levels of a resolved request, down to `until_level`; UserError where the model cannot make it."""
    grid = info.grid
    num_samples = grid.num_samples(request.seconds)
    if num_samples < grid.hop_lengths[grid.top]:
        shortest = math.ceil(1000 * grid.seconds(grid.hop_lengths[grid.top])) / 1000
        raise UserError(
            f"{request.seconds} s are less than one code of the top level",
            f"ask for {shortest:.3f} s or more",
        )
    finest = max(request.finest_level, until_level)
    if finest > grid.top:
        raise UserError(f"there is no level {finest}", f"levels go from 0 to {grid.top}")
    _check_timing(request, info)
    contexts = tuple(prior.context_frames if prior else 0 for prior in info.priors)
    return Plan(grid, num_samples, contexts, request.sampling, finest, most_songs)


def tell(requests: Sequence[Request], info: ModelInfo, level: int, *, planned: bool = True) -> Told:
    """What the prior of `level` is told about songs that are made together.

    One that is told when words are sung is told a plan, unless they were sung without one.
    """
    grid, labels = info.grid, [_label_ids(request, info, level) for request in requests]
    conditions = Conditions(
        artist=torch.tensor([artist for artist, _ in labels]),
        genres=torch.tensor([genres for _, genres in labels]),
        total_samples=torch.tensor([grid.num_samples(request.piece_seconds) for request in requests]),
        start_samples=torch.tensor([grid.num_samples(request.offset_seconds) for request in requests]),
    )
    if any(request.mix for request in requests):
        conditions = replace(
            conditions,
            other_artist=torch.tensor([_other_artist(request, info, level) for request in requests]),
            other_share=torch.tensor([request.mix.share if request.mix else 0.0 for request in requests]),
        )
    prior = info.prior(level)
    if prior.lyrics is None:
        return Told(conditions, latest_start=prior.latest_start)
    spelling = info.spelling(level)
    by_plan = prior.paced and planned
    songs = tuple(
        SeenLyrics(
            total_samples=grid.num_samples(request.piece_seconds),
            start_samples=grid.num_samples(request.offset_seconds),
            window_samples=prior.context_frames * prior.hop_length,
            lyrics=spelled(request.lyrics, spelling).ids,
            num_characters=prior.lyrics.num_characters,
            times=_plan_of(request, spelling, grid) if by_plan else None,
            hop_length=prior.hop_length if by_plan else 0,
        )
        for request in requests
    )
    return Told(conditions, songs, prior.latest_start)


def _plan_of(request: Request, spelling: Spelling, grid: Grid) -> tuple[float, ...] | None:
    """At which samples of its piece each id of a song's lyrics is to be sung; None where it has none."""
    times = planned_times(request.lyrics, spelling, request.piece_seconds, request.sung_until)
    return tuple(time * grid.sample_rate for time in times) or None


def sings_by_plan(request: Request, info: ModelInfo) -> bool:
    """Whether the words of a song are sung when a plan says so, and all by the same one.

    A song that goes on keeps its plan; one that was changed in another way may have been sung by another.
    """
    top = info.priors[info.grid.top] if info.priors else None
    same = request.origin is None or (request.origin.act == "continue" and bool(request.sung_until))
    return top is not None and top.paced and same


def planned(request: Request, info: ModelInfo) -> TimedLyrics:
    """The words of a song that is sung by a plan, with its times; those that lie outside of it have none."""
    lyrics = untimed(request.lyrics)
    spelling = info.spelling(info.grid.top)
    found = planned_words(request.lyrics, spelling, request.piece_seconds, request.sung_until)
    assert len(lyrics.words) == len(found), (len(lyrics.words), len(found))
    times = iter(found)

    def timed(word: TimedWord) -> TimedWord:
        start, end = (time - request.offset_seconds for time in next(times))
        return word.model_copy(update={"start": start, "end": end} if start >= 0 and end <= request.seconds else {})

    lines = [line.model_copy(update={"words": tuple(map(timed, line.words))}) for line in lyrics.lines]
    return lyrics.model_copy(update={"lines": tuple(lines)})


def reprises(request: Request, info: ModelInfo) -> tuple[Reprise, ...]:
    """The parts of a song that come back: those that are asked for, or stanzas where a plan says when they are sung.

    What a prompt sings is not known. A song that is upsampled was sung by the plan of its top level.
    """
    if request.reprises is not None:
        return request.reprises
    upsampled = request.origin is not None and request.origin.act == "upsample"
    as_composed = request.changed(origin=None) if upsampled else request
    if not request.lyrics or not sings_by_plan(as_composed, info):
        return ()
    prompt = 0.0 if request.prime is None else request.prime.seconds or request.seconds
    spelling, begun = info.spelling(info.grid.top), request.offset_seconds
    found = returning(request.lyrics, spelling, request.piece_seconds, request.sung_until)
    return tuple(
        Reprise(start_seconds=start - begun, seconds=long, of_seconds=before - begun)
        for start, long, before in found
        if before >= begun + prompt
    )


def _label_ids(request: Request, info: ModelInfo, level: int) -> tuple[int, tuple[int, ...]]:
    """Artist and genres as the prior of a level knows them.

    The published upsamplers have lists of their own and take a name that only the top knows for unknown.
    """
    names = info.published_names[level] if info.published_names else None
    if names is None:
        return _artist_id(request.artist, info, level), info.vocabulary.genre_ids(request.genres)
    strict = level == info.grid.top
    return _artist_id(request.artist, info, level), names.genre_ids(request.genres, strict=strict)


def _artist_id(name: str | None, info: ModelInfo, level: int) -> int:
    names = info.published_names[level] if info.published_names else None
    return info.vocabulary.artist_id(name) if names is None else names.artist_id(name, strict=level == info.grid.top)


def _other_artist(request: Request, info: ModelInfo, level: int) -> int:
    """The other artist of a mix, where there is none the song's own."""
    return _artist_id(request.mix.artist if request.mix else request.artist, info, level)


def following(info: ModelInfo, layer: int | None = None, head: int | None = None) -> tuple[int, int]:
    """The layer and head of the top prior whose attention follows the words: those given, or as the model says.

    UserError for a model that does not sing, does not say so, or has no such attention.
    """
    config = info.prior(info.grid.top)
    if config.lyrics is None:
        raise UserError(f"the model {info.name!r} does not sing, so it cannot follow words", f"take {_a_singer()}")
    layer = config.lyrics.alignment_layer if layer is None else layer
    head = config.lyrics.alignment_head if head is None else head
    if layer is None or head is None:
        raise UserError(
            f"the model {info.name!r} does not say which attention follows the words",
            "leave --model out: the recogniser listens; in Python, Jukebox.alignment takes a layer and a head",
        )
    if layer not in config.aligned_layers or not 0 <= head < config.transformer.num_heads:
        known = ", ".join(str(one) for one in config.aligned_layers)
        raise UserError(
            f"layer {layer}, head {head} does not attend to lyrics",
            f"layers that do: {known}; heads go from 0 to {config.transformer.num_heads - 1}",
        )
    return layer, head


def follows_words(info: ModelInfo) -> bool:
    """Whether the model says which attention follows the words."""
    top = info.priors[info.grid.top] if info.priors else None
    lyrics = None if top is None else top.lyrics
    return lyrics is not None and None not in (lyrics.alignment_layer, lyrics.alignment_head)


def knows_when(request: Request, info: ModelInfo) -> bool:
    """Whether it can be told when the words of a song are sung: by its plan, or by an attention that follows them."""
    return sings_by_plan(request, info) or follows_words(info)


def _a_singer() -> str:
    return " or ".join(singers()) or "a model that does"


def _check_lyrics(request: Request, info: ModelInfo) -> None:
    """Raise UserError for lyrics that cannot be sung."""
    if not info.sings:
        raise UserError(f"the model {info.name!r} does not sing", f"leave the lyrics out, or take {_a_singer()}")
    for level, prior in enumerate(info.priors):
        if prior is None or prior.lyrics is None:
            continue
        spelling = info.spelling(level)
        if not any(spelled(request.lyrics, spelling).words):
            raise UserError(f"there is no word in these lyrics that {info.name!r} can read", "leave them out")
        if not info.published_names:
            for text, seconds in stretches(request.lyrics, request.piece_seconds, request.sung_until):
                check_pace(len(spelling.clean(text)), seconds)


def check_together(requests: Sequence[Request]) -> None:
    """Raise UserError for songs that cannot be made in one go."""
    if not requests:
        raise UserError("no song is asked for", "give at least one request")
    first = requests[0]
    for other in requests[1:]:
        for name in ("seconds", "sampling", "finest_level"):
            if getattr(other, name) != getattr(first, name):
                raise UserError(f"songs made together have the same {name}", "make these one after another")


def check_codes(
    codes: Codes, info: ModelInfo, songs: int, plan: Plan | None = None, *, level: int | None = None
) -> None:
    """Raise UserError for codes of another model, of another number of songs, or of more than is planned.

    Without a `plan` also for what is not whole, at all levels that there are or only at `level`.
    """
    if codes.grid != info.grid:
        raise UserError(
            f"these codes are on {codes.grid} and the model's on {info.grid}",
            "use the model that made them",
        )
    for at, part in enumerate(codes.levels):
        if part is None or level not in (None, at):
            continue
        frames = part.shape[1]
        if not plan and not frames:
            raise UserError(f"level {at} is not made yet", "finish the song first")
        if part.shape[0] != songs:
            raise UserError(f"these are the codes of {part.shape[0]} songs, not {songs}", "give a row for each song")
        if (part == HIDDEN).any():
            if not plan:
                raise UserError(f"level {at} has a part that is not made yet", "finish the song first")
            if not ((part == HIDDEN) == (part[:1] == HIDDEN)).all():
                raise UserError("songs made together lack the same parts", "make these one after another")
            part = part[part != HIDDEN]
        if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < info.codec.codebook.size:
            raise UserError(f"level {at} has codes that the model does not know", "use the model that made them")
        if plan and frames > plan.num_frames(at):
            raise UserError(
                f"{codes.seconds(at):.2f} s are there already, more than the song is to last",
                "ask for more seconds",
            )


def check_source(codes: Codes, request: Request) -> None:
    """Raise UserError for codes of a song that no other can be made from yet.

    All of the top level is there, as in a draft. No code of the others is without the one above it: that it was drawn
    from, and another would be drawn in its place.
    """
    grid = codes.grid

    def made(level: int) -> Tensor:
        part = codes.levels[level]
        return torch.zeros(0, dtype=torch.bool) if part is None else part[0] != HIDDEN

    if int(made(grid.top).sum()) < grid.whole(grid.num_samples(request.seconds)) // grid.hop_lengths[grid.top]:
        raise UserError("the top level of this song is not all made yet", "finish the song first")
    for level in range(grid.top):
        below, above = made(level), made(level + 1).repeat_interleave(grid.ratio(level))
        if len(below) > len(above) or (below & ~above[: len(below)]).any():
            raise UserError(f"level {level} of this song is ahead of the one above it", "finish the song first")


def recorded(request: dict[str, Any]) -> dict[str, Any]:
    """A recorded request as it was meant: in songs with words that know of no form, nothing came back."""
    return {"form": NOTHING_AGAIN, **request} if request.get("lyrics") else request


def request_of(kept: SongFolder) -> Request:
    """What a song's folder says was asked for; UserError where that makes no sense."""
    return read_settings(Request, recorded(kept.info.request), str(kept.path))


def request_as_read_now(kept: SongFolder) -> dict[str, Any]:
    """The same as plain data, with settings that came later at their defaults; as it is where it makes no sense."""
    return as_read_now(Request, recorded(kept.info.request), str(kept.path))


def check_sound(audio: object, sample_rate: int) -> None:
    """Raise UserError for what is no waveform `channel sample` of finite amplitudes, full scale 1, at some rate."""
    if not isinstance(audio, torch.Tensor) or not audio.is_floating_point() or audio.ndim != 2 or not audio.numel():
        raise UserError(
            "a sound is a floating tensor with the axes channel and sample, full scale 1, and not empty",
            "make one of your samples, or read a file with orchestrion.audio.io.read",
        )
    if not audio.isfinite().all():
        raise UserError("this sound has samples that are not numbers", "mend it first")
    if not 0 < sample_rate < math.inf:
        raise UserError(f"a sound cannot have {sample_rate} samples a second", "give its sample rate in Hz")


def check_prompt(request: Request, info: ModelInfo) -> None:
    """Raise UserError for a prompt that is not there, too short to hear, or as long as the song."""
    assert request.prime is not None
    whole, start = io.probe(Path(request.prime.path)).seconds, request.prime.start_seconds
    length, wanted = whole - start, request.prime.seconds
    if length <= 0:
        raise UserError(
            f"{request.prime.path} ends at {whole:.2f} s, before the prompt would begin at {start:g}",
            "choose a part inside the file",
        )
    if wanted is not None and start + wanted > whole + INEXACT_SECONDS:
        raise UserError(
            f"{request.prime.path} ends {length:.2f} s after the prompt's start", "choose a part inside the file"
        )
    seconds, grid = length if wanted is None else wanted, info.grid
    if grid.num_samples(seconds) < grid.hop_lengths[grid.top]:
        raise UserError(f"a prompt of {seconds:.3f} s holds no code of the top level", "prime with more")
    if seconds >= request.seconds:
        raise UserError(
            f"a prompt of {seconds:.2f} s leaves nothing of a song of {request.seconds:g} s to compose",
            "seconds counts the prompt too: ask for more, or prime with less",
        )


def _check_timing(request: Request, info: ModelInfo) -> None:
    """Raise UserError for a total length that some prior refuses."""
    total = request.piece_seconds
    for prior in info.priors:
        timing = prior.timing if prior else None
        if timing and not timing.clamp and not timing.min_total_seconds <= total < timing.max_total_seconds:
            raise UserError(
                f"the model knows pieces of {timing.min_total_seconds:g} to "
                f"{timing.max_total_seconds:g} s, not {total:g}",
                "choose total_seconds within that; seconds may be less",
            )
