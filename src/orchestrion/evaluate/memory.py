"""Whether a song was remembered rather than invented: its nearest passage in the music that was learned from.

Twice: by the codes themselves, which finds what was copied exactly, and by chroma, which finds the same notes in
another sound, at another loudness or in another key.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.checkpoints.memory import Limit, Memory, MemoryInfo
from orchestrion.data.encoded import CodeStore
from orchestrion.data.manifest import Track
from orchestrion.data.runs import CodeIndex
from orchestrion.errors import UserError
from orchestrion.evaluate.chroma import FRAMES_PER_SECOND
from orchestrion.evaluate.interval import Estimate, bootstrap_tracks, mean, mean_of_tracks, share

WINDOW_SECONDS = 4
"""Passages that are compared by chroma last so long."""
LENGTHS_SECONDS = (10, 20, 40, 80, 160)
"""Of pieces that limits are found for."""
LEAST_PIECES = 100

_STEP_SECONDS = 1  # from one stretch of a song to the next that is looked for
_LEAST_MOVED = 0.25  # of the energy of a stretch of chroma
_NEAR = 0.99


def learned(store: CodeStore, level: int) -> tuple[CodeIndex, list[int]]:
    """The training tracks' codes at a level, of their variations too, which are learned from as much.

    And, in the order of their numbers, the shards they come from.
    """
    shards = [shard for shard in store.indices("train", varied=True) if store.shards[shard].num_frames[level]]
    return CodeIndex([store.codes(shard, level) for shard in shards], store.codebook_size), shards


def limit(held_out: Float[Tensor, " piece"]) -> float:
    """What music must not pass to be no nearer to what was learned than music is that never was.

    The 99th percentile of held-out pieces; 100 or more are wanted, all as long as what is judged by them.
    """
    return float(torch.quantile(held_out.double(), _NEAR))


def memory_of(
    store: CodeStore, codec_sha256: str, *, on_piece: Callable[[int, int], None] = lambda done, total: None
) -> Memory:
    """What songs of a model are compared with while they are made: the training tracks' codes at the top, and limits.

    `codec_sha256` names the codec of the model, which knows the codes in `store`.
    There is a limit for each of `LENGTHS_SECONDS` that held-out music has `LEAST_PIECES` of; UserError where that is
    none. `on_piece` is told how many pieces are done, and of how many.
    """
    level = store.grid.top
    index, shards = learned(store, level)
    frames = {seconds: round(seconds * store.grid.frame_rate(level)) for seconds in LENGTHS_SECONDS}
    counts = {seconds: len(store.validation_tracks(level, frames[seconds])) for seconds in LENGTHS_SECONDS}
    enough = [seconds for seconds in LENGTHS_SECONDS if counts[seconds] >= LEAST_PIECES]
    if not enough:
        raise UserError(
            f"{counts[LENGTHS_SECONDS[0]]} pieces of {LENGTHS_SECONDS[0]} s are held out, and {LEAST_PIECES} are "
            "wanted to say what is near",
            "encode more tracks",
        )
    limits, done, total = [], 0, sum(counts[seconds] for seconds in enough)
    for seconds in enough:
        shared = []
        for piece in store.validation_batches(1, level, frames[seconds]):
            shared.append(float(index.longest_run(piece.codes[0]).length))
            done += 1
            on_piece(done, total)
        limits.append(Limit(seconds=float(seconds), codes=limit(torch.tensor(shared)), pieces=len(shared)))
    codes = [store.codes(shard, level) for shard in shards]
    info = MemoryInfo(
        codec_sha256=codec_sha256,
        codebook_size=store.codebook_size,
        tracks=tuple(name_of(store.shards[shard].track) for shard in shards),
        num_frames=tuple(len(track) for track in codes),
        variations=tuple(store.shards[shard].variation for shard in shards),
        content_hashes=tuple(store.shards[shard].track.content_hash for shard in shards),
        limits=tuple(limits),
    )
    return Memory(info, torch.cat(codes))


def name_of(track: Track) -> str:
    """Title and artist, as a person is told where a song is near."""
    title = track.title or track.path.stem
    return f"{title} by {track.artist}" if track.artist else title


@dataclass(frozen=True)
class Passage:
    """A stretch of a song that sounds like one of a track, `semitones` higher in the song than in the track.

    `likeness` is at most 1.
    """

    likeness: float
    song_seconds: float
    track: int
    seconds: float
    semitones: int


def nearest_passages(
    songs: Sequence[Float[Tensor, "_ 12"]],
    tracks: Iterable[Float[Tensor, "_ 12"]],
    *,
    seconds: float = WINDOW_SECONDS,
) -> list[Passage]:
    """Of each song, the likest pair of a stretch in it and one in any track, in twelve transpositions.

    Takes what `chroma.chroma` gives; the likeness is the correlation of how the two move around their means. Stretches
    of a song begin every second, of a track at every frame. Those that hardly move, held chords and silence, resemble
    nothing. Tracks shorter than a stretch are left out; songs must be as long.
    """
    window, step = round(seconds * FRAMES_PER_SECOND), round(_STEP_SECONDS * FRAMES_PER_SECOND)
    assert all(len(song) >= window for song in songs), "a song is shorter than a passage"
    asked = [
        torch.cat([_stretches(song.roll(-semitones, 1), window, step) for semitones in range(12)]) for song in songs
    ]
    best = [Passage(0.0, 0.0, 0, 0.0, 0)] * len(songs)
    for number, track in enumerate(tracks):
        if len(track) < window:
            continue
        there = _stretches(track, window).T
        for song, rows in enumerate(asked):
            alike = rows @ there
            likeness, at = alike.flatten().max(0)
            if float(likeness) <= best[song].likeness:
                continue
            row, start = divmod(int(at), alike.shape[1])
            semitones, place = divmod(row, len(rows) // 12)
            best[song] = Passage(
                likeness=float(likeness),
                song_seconds=place * step / FRAMES_PER_SECOND,
                track=number,
                seconds=start / FRAMES_PER_SECOND,
                semitones=semitones,
            )
    return best


def _stretches(frames: Float[Tensor, "frame 12"], window: int, step: int = 1) -> Float[Tensor, "place value"]:
    """Stretches as rows: how the chroma of each moves around its mean, of length 1; or 0 where it hardly moves."""
    rows = frames.unfold(0, window, step)
    moved = (rows - rows.mean(2, keepdim=True)).flatten(1)
    size = moved.norm(dim=1, keepdim=True)
    least = (_LEAST_MOVED * window) ** 0.5
    return torch.where(size >= least, moved / size.clamp_min(least), torch.zeros_like(moved))


@dataclass(frozen=True)
class Remembered:
    """Songs beside held-out music in how much they share with what was learned.

    `limit` is that of `memory.limit`, `most` the largest figure of held-out pieces; `over` the share of songs above the
    limit and `which` they are.
    """

    held_out: Estimate
    songs: Estimate
    limit: Estimate
    most: float
    over: Estimate
    which: tuple[int, ...]


def remembered(
    held_out: Float[Tensor, " piece"], tracks: Int[Tensor, " piece"], songs: Float[Tensor, " song"], *, seed: int = 0
) -> Remembered:
    """Judge the figures of songs (lengths of runs, or likenesses) by those of held-out pieces of the same length.

    `tracks` says which track each piece was cut from. Longer pieces share longer runs by chance alone: cut the held-out
    music as long as the songs.
    """
    above = songs > limit(held_out)
    return Remembered(
        held_out=mean_of_tracks(tracks, held_out.double(), seed=seed),
        songs=mean(songs, seed=seed),
        limit=bootstrap_tracks(tracks, lambda drawn: limit(held_out[drawn]), seed=seed),
        most=float(held_out.max()),
        over=share(above),
        which=tuple(above.nonzero()[:, 0].tolist()),
    )
