"""Code batches: whole tracks as codes, a shard for each and for each variation, and windows cut out of them.

The words of a track lie beside its codes."""

import hashlib
import json
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Int
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from orchestrion.codes import HIDDEN, Codes, counts_of, entropy_bits
from orchestrion.config import Settings, plain, read_settings
from orchestrion.data.chunks import Chunk, Draw, chance, evenly, spread, track_weights
from orchestrion.data.manifest import Split, Track, split
from orchestrion.data.place import DataFolder
from orchestrion.data.sung import NO_WORDS, Listening, SungWords, keep_lyrics, lyrics_file, read_sung
from orchestrion.errors import UserError
from orchestrion.files import make_writable, read_json, replacing, write_json
from orchestrion.grid import Grid
from orchestrion.text.alphabet import Alphabet
from orchestrion.text.vocab import UNKNOWN, Vocabulary, folded
from orchestrion.text.window import UNKNOWN_PLACE

FORMAT = "orchestrion.codes"
VERSION = 1

# The last part of a chance's key; the draw of a chunk uses 0 and 1.
_ARTIST_DROPPED, _GENRES_DROPPED, _LYRICS_DROPPED, _ALL_DROPPED, _LYRICS_MOVED, _PACE_DROPPED = 2, 3, 4, 5, 6, 7
_LARGEST_INT16 = 32767
_MOST_OPEN = 512  # shards that are held open
_MOST_SUNG = 1024  # tracks whose words are held
_MOST_COUNTED = 512  # tracks whose codes are read for an entropy


class Shard(Settings):
    """A track as codes: its file, its length in samples at the codec's rate, and its frames at each level.

    `variation` 0 is the track as it is, others are only learned from (`data.vary`). Levels may be left out: 0 frames.
    `lyrics` is a hash of the track's words, where it has any; they lie beside the codes.
    """

    track: Track
    variation: int = Field(default=0, ge=0)
    file: str
    num_samples: int = Field(gt=0)
    num_frames: tuple[int, ...]
    lyrics: str | None = None


@dataclass(frozen=True)
class CodeBatch:
    """Windows of codes at one level, and what a prior is told about each.

    `coarser` holds the codes of the level above under the same stretch of music. Labels are ids of the
    store's vocabulary. `total_samples` and `start_samples` say how long the track is and where in it the
    window begins. `lyrics` are the ids of words that a prior with lyrics sees there, and `sung` the columns of them,
    from the first up to the last, where what is sung at each frame is read: 0 to 0 where that is not known. `places`
    are the columns of the single characters that are sung (`SeenLyrics.columns`). Frames after the end of a track are
    `HIDDEN`.
    """

    codes: Int[Tensor, "batch frame"]
    coarser: Int[Tensor, "batch frame_above"] | None
    artist: Int[Tensor, " batch"]
    genres: Int[Tensor, "batch genre"]
    total_samples: Int[Tensor, " batch"]
    start_samples: Int[Tensor, " batch"]
    lyrics: Int[Tensor, "batch character"] | None = None
    sung: Int[Tensor, "batch frame 2"] | None = None
    places: Int[Tensor, "batch frame"] | None = None


class ShardWriter:
    """Writes the codes of a data set track by track into a folder or an object store; `CodeStore` reads them.

    Tracks written before by the same codec are kept (`has`), so stopped work goes on where it was; several may write
    into one place. `codec_hash` names the weights that made the codes. Raises UserError for a folder that cannot be
    written or that holds the codes of another codec.
    """

    def __init__(self, place: Path | str, grid: Grid, codebook_size: int, codec_hash: str) -> None:
        self._files = DataFolder(place)
        self.folder = self._files.folder
        make_writable(self.folder)
        self._head = {
            "format": FORMAT,
            "version": VERSION,
            "sample_rate": grid.sample_rate,
            "hop_lengths": list(grid.hop_lengths),
            "codebook_size": codebook_size,
            "codec_hash": codec_hash,
        }
        self._grid = grid
        self._dtype = torch.int16 if codebook_size - 1 <= _LARGEST_INT16 else torch.int32
        self._shards: dict[str, Shard] = {}
        self._whole: dict[str, Shard] = {}  # read already, and not written again
        self._lyrics: dict[str, str] = {}
        if self._files.has("codec.json"):
            if read_json(self._files.fetch("codec.json", anew=True), "set of codes") != self._head:
                raise UserError(f"{place} holds the codes of another codec", "give another folder, or delete this one")
        else:
            self._write("codec.json", self._head)
        self._files.keep_for(codec_hash)

    def look_again(self) -> None:
        """Others may have written since."""
        self._files.look_again()

    def is_written(self, track: Track, variation: int = 0, levels: Collection[int] = ()) -> bool:
        """Whether the codes of this recording are there whole, those of all these levels among them."""
        shard = self._written(track, variation)
        if shard is None or not all(shard.num_frames[level] for level in levels) or not self._is_whole(shard.file):
            return False
        self._whole[_stem(track, variation)] = shard
        return True

    def _is_whole(self, name: str) -> bool:
        """Whether a file of codes is there, and as long as its header says as far as it lies here."""
        if not self._files.has(name):
            return False
        path = self.folder / name
        if not path.exists():  # in an object store alone
            return True
        try:
            with safe_open(path, "pt"):
                return True
        except (SafetensorError, OSError):
            return False

    def has(self, track: Track, variation: int = 0) -> bool:
        """Whether the codes of this recording are written; its labels and words are taken from `track` again."""
        shard = self._written(track, variation)
        if shard is None:
            return False
        self._shards[_stem(track, variation)] = shard.model_copy(
            update={"track": track, "lyrics": self._lyrics.get(track.content_hash)}
        )
        return True

    def _written(self, track: Track, variation: int) -> Shard | None:
        """What is said of the codes of this recording; None where nothing is, or nothing that can be read."""
        stem = _stem(track, variation)
        if stem in self._whole:
            return self._whole[stem]
        name = f"{stem}.json"
        if not self._files.has(name):
            return None
        path = self._files.fetch(name, anew=True)
        try:
            return read_settings(Shard, read_json(path, "description of codes"), str(path))
        except UserError:
            return None

    def keep_lyrics(self, track: Track) -> None:
        """Put the words of a track, if it has any, beside its codes; before these are added or asked for.

        UserError for lyrics that cannot be read.
        """
        kept = keep_lyrics(track, self.folder)
        if kept is not None:
            self._files.publish(lyrics_file(track, self.folder).name)
            self._lyrics[track.content_hash] = kept

    def add(self, track: Track, codes: Codes, num_samples: int, variation: int = 0) -> None:
        """Write the codes of a whole track, levels from sample 0 on, one item; a variation may lack levels."""
        stem = _stem(track, variation)
        levels = {
            _key(level): found[0].to(self._dtype).cpu() for level, found in enumerate(codes.levels) if found is not None
        }
        shard = Shard(
            track=track,
            variation=variation,
            file=f"{stem}.safetensors",
            num_samples=num_samples,
            num_frames=tuple(0 if found is None else found.shape[1] for found in codes.levels),
            lyrics=self._lyrics.get(track.content_hash),
        )
        with replacing(self.folder / shard.file) as part:
            save_file(levels, part)
        self._files.publish(shard.file)
        self._write(f"{stem}.json", plain(shard))
        self._shards[stem] = shard

    def finish(self) -> None:
        """Write the index: the tracks added or found by `has` make up the data set."""
        if not self._shards:
            raise UserError(f"no track was encoded into {self._files.place}", "give tracks that can be read")
        shards = [plain(shard) for shard in self._shards.values()]
        self._write("index.json", {**self._head, "tracks": shards})

    def _write(self, name: str, value: Any) -> None:
        write_json(self.folder / name, value)
        self._files.publish(name)


class CodeStore:
    """The codes of a data set and batches of windows cut out of them.

    Shards are in the order of their content, whatever that of the index is.
    Labels become ids of `vocabulary`, by default of every artist and genre that occurs; UserError where it
    lacks one. `artist_balance` is as for `TrackStore`. Tracks shorter than a window are left out, but where
    `short_tracks` is asked for, at the top level: there such a track fills the beginning of a window, `HIDDEN` frames
    follow, and it is drawn as often as one that is as long as a window. `alphabet` spells lyrics.

    Of an object store each process fetches the shards that its own windows are cut from, when they are drawn: batches
    are functions of the step, however many processes there are and wherever a run goes on.
    """

    def __init__(self, place: Path | str, vocabulary: Vocabulary | None = None, *, artist_balance: float = 0.5) -> None:
        self._files = DataFolder(place)
        self.folder = folder = self._files.folder
        index = read_json(self._files.fetch("index.json", anew=True), "set of codes")
        if not isinstance(index, dict) or index.get("format") != FORMAT or index.get("version") != VERSION:
            raise UserError(f"{place} holds no codes written by this program", "encode the music again")
        self.grid = Grid(index["sample_rate"], tuple(index["hop_lengths"]))
        self.codebook_size: int = index["codebook_size"]
        self.codec_hash: str = index["codec_hash"]
        self._files.keep_for(self.codec_hash)
        found = [read_settings(Shard, each, str(folder / "index.json")) for each in index["tracks"]]
        # By content, so that batches do not follow from the order in which the music was encoded.
        self.shards = tuple(sorted(found, key=lambda shard: (shard.track.content_hash, shard.variation)))
        tracks = [shard.track for shard in self.shards]
        self.vocabulary = vocabulary_of(tracks) if vocabulary is None else vocabulary
        self._artists = [self.vocabulary.artist_id(track.artist) for track in tracks]
        self._genres = [self.vocabulary.genre_ids(track.genres) for track in tracks]
        self._balance = artist_balance
        self.alphabet = Alphabet()
        self._draws: dict[tuple[int, int, bool], Draw] = {}
        self._sung: OrderedDict[int, SungWords] = OrderedDict()
        self._open: OrderedDict[int, Any] = OrderedDict()

    @property
    def data_hash(self) -> str:
        """A hash of what is learned from: the codec, the content, the levels, the labels and the words."""
        seen = sorted(
            (shard.track.content_hash, shard.variation, shard.track.artist or "", shard.track.genres, *told)
            + ((shard.lyrics,) if shard.lyrics else ())
            + ((missing,) if missing else ())
            for shard in self.shards
            for told in [() if shard.track.held_out is None else (shard.track.held_out,)]
            for missing in [tuple(level for level, frames in enumerate(shard.num_frames) if not frames)]
        )
        return hashlib.blake2b(json.dumps([self.codec_hash, seen]).encode(), digest_size=8).hexdigest()

    def indices(self, side: Split, *, varied: bool = False) -> list[int]:
        """The places in `shards` of the tracks on one side of the split, as they are, or their variations as well."""
        return [
            index
            for index, shard in enumerate(self.shards)
            if (varied or shard.variation == 0) and split(shard.track) == side
        ]

    @property
    def learned_from(self) -> set[str]:
        """Content hashes of the training tracks."""
        return self._hashes("train")

    @property
    def held_out(self) -> set[str]:
        """Content hashes of the validation tracks."""
        return self._hashes("validation")

    def _hashes(self, side: Split) -> set[str]:
        return {self.shards[index].track.content_hash for index in self.indices(side)}

    def batch(
        self,
        step: int,
        batch_size: int,
        level: int,
        context_frames: int,
        *,
        seed: int,
        label_dropout: float = 0.0,
        first: int = 0,
        condition_dropout: float = 0.0,
        listening: Listening | None = None,
        short_tracks: bool = False,
    ) -> CodeBatch:
        """Training windows of one step, a function of `seed` and `step`, from item `first` on.

        Windows start where a frame of the level above starts. The artist and the genres of a window each
        become unknown with the chance `label_dropout`, lyrics with that of `listening`, and with the chance
        `condition_dropout` all of them together.
        """
        draw = self._draw(level, context_frames, short_tracks)
        ratio = self._ratio(level)
        items = range(first, first + batch_size)
        chunks = [draw.chunk(context_frames, seed, step, item, ratio=ratio) for item in items]
        untold = [chance(seed, step, item, _ALL_DROPPED) < condition_dropout for item in items]
        shifts = None
        if listening is not None:
            told = [chance(seed, step, item, _LYRICS_DROPPED) >= listening.dropout for item in items]
            moved = [(2 * chance(seed, step, item, _LYRICS_MOVED) - 1) * listening.jitter for item in items]
            shifts = [
                move if is_told and not nothing else None
                for is_told, nothing, move in zip(told, untold, moved, strict=True)
            ]
        batch = self._cut(chunks, level, context_frames, listening, shifts)
        unknown = torch.tensor(self.vocabulary.genre_ids(()))
        for row, (item, nothing) in enumerate(zip(items, untold, strict=True)):
            unpaced = listening is not None and chance(seed, step, item, _PACE_DROPPED) < listening.pace_dropout
            if unpaced and batch.places is not None:
                batch.places[row] = UNKNOWN_PLACE
            if nothing or chance(seed, step, item, _ARTIST_DROPPED) < label_dropout:
                batch.artist[row] = self.vocabulary.artist_id(None)
            if nothing or chance(seed, step, item, _GENRES_DROPPED) < label_dropout:
                batch.genres[row] = unknown
        return batch

    def validation_batches(
        self,
        batch_size: int,
        level: int,
        context_frames: int,
        *,
        max_windows: int | None = None,
        num_characters: int | None = None,
        short_tracks: bool = False,
    ) -> Iterator[CodeBatch]:
        """The validation tracks from beginning to end in windows that do not overlap, labelled; the same
        every time.

        With `num_characters` so much is seen of their lyrics.

        A rest shorter than a window is left out; `max_windows` keeps so many, evenly spread.
        """
        yield from self.batches_of(
            self.indices("validation"),
            batch_size,
            level,
            context_frames,
            max_windows=max_windows,
            num_characters=num_characters,
            short_tracks=short_tracks,
        )

    def batches_of(
        self,
        indices: Sequence[int],
        batch_size: int,
        level: int,
        context_frames: int,
        *,
        max_windows: int | None = None,
        num_characters: int | None = None,
        short_tracks: bool = False,
    ) -> Iterator[CodeBatch]:
        """As `validation_batches`, of the tracks at these places in `shards`."""
        chunks = self._spread(indices, level, context_frames, max_windows, short_tracks)
        for start in range(0, len(chunks), batch_size):
            part = chunks[start : start + batch_size]
            listening = None if num_characters is None else Listening(num_characters)
            yield self._cut(part, level, context_frames, listening, [0.0] * len(part))

    def validation_tracks(
        self, level: int, context_frames: int, *, max_windows: int | None = None, short_tracks: bool = False
    ) -> list[int]:
        """The place in `shards` of the track that each window of `validation_batches` is cut from."""
        chunks = self._spread(self.indices("validation"), level, context_frames, max_windows, short_tracks)
        return [chunk.track for chunk in chunks]

    def _spread(
        self, indices: Sequence[int], level: int, context_frames: int, max_windows: int | None, short_tracks: bool
    ) -> list[Chunk]:
        self._ratio_fits(level, context_frames)
        lengths = [self._length(self.shards[index], level, context_frames, short_tracks) for index in indices]
        limit = sum(lengths) if max_windows is None else max_windows
        return [Chunk(indices[chunk.track], chunk.start) for chunk in spread(lengths, context_frames, limit)]

    def codes(self, index: int, level: int, start: int = 0, stop: int | None = None) -> Int[Tensor, " frame"]:
        """Codes of one track at one level, from frame `start` up to `stop` or to the end."""
        stop = self.shards[index].num_frames[level] if stop is None else stop
        try:
            if index not in self._open:
                self._open[index] = self._opened(self.shards[index])
            self._open.move_to_end(index)
            codes: Tensor = self._open[index].get_slice(_key(level))[start:stop]
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        except (SafetensorError, OSError) as error:
            path = self.folder / self.shards[index].file
            raise UserError(f"{path} of the set of codes is missing or damaged", "encode the music again") from error
        return codes.long()

    def _opened(self, shard: Shard) -> Any:
        opened: Any = safe_open(self._files.fetch(shard.file), "pt")
        wanted = {_key(level) for level, frames in enumerate(shard.num_frames) if frames}
        if wanted <= set(opened.keys()):
            return opened
        return safe_open(self._files.fetch(shard.file, anew=True), "pt")  # a mirror's, written with more levels since

    def counts(
        self, level: int, side: Split, depth: int = 1, *, most_tracks: int | None = None
    ) -> Int[Tensor, "place code"]:
        """How often each code occurs at one level of one side of the split, at each place of a vector of `depth`.

        In all tracks, or in `most_tracks` of them, evenly spread: all that are read are fetched from an object store.
        """
        counts, indices = torch.zeros(depth, self.codebook_size, dtype=torch.long), self.indices(side)
        for place in evenly(len(indices), len(indices) if most_tracks is None else most_tracks):
            counts += counts_of(self.codes(indices[place], level), self.codebook_size, depth)
        return counts

    def unigram_entropy(self, level: int, side: Split, depth: int = 1) -> float:
        """Bits per code of a model that knows only how often each code occurs at its place: a prior must do better.

        Of more than 512 tracks, so many are counted.
        """
        return fmean(map(entropy_bits, self.counts(level, side, depth, most_tracks=_MOST_COUNTED)))

    def _ratio(self, level: int) -> int:
        return 1 if level == self.grid.top else self.grid.ratio(level)

    def _ratio_fits(self, level: int, context_frames: int) -> None:
        if not 0 <= level <= self.grid.top:
            raise UserError(f"there is no level {level}", f"levels go from 0, the finest, to {self.grid.top}")
        if context_frames <= 0 or context_frames % self._ratio(level):
            raise UserError(
                f"a window of {context_frames} frames does not fit level {level}",
                f"make it a multiple of {self._ratio(level)}, the frames under one of the level above",
            )

    def _length(self, shard: Shard, level: int, context_frames: int, short_tracks: bool) -> int:
        """Frames of a track at a level, 0 where a window or the codes that it is conditioned on do not fit."""
        frames = shard.num_frames[level]
        if level == self.grid.top:
            return frames if short_tracks or frames >= context_frames else 0
        conditioned = shard.num_frames[level + 1] * self._ratio(level) >= frames
        return frames if conditioned and frames >= context_frames else 0

    def _draw(self, level: int, context_frames: int, short_tracks: bool) -> Draw:
        if (level, context_frames, short_tracks) not in self._draws:
            self._ratio_fits(level, context_frames)
            lengths = [
                self._length(shard, level, context_frames, short_tracks) if split(shard.track) == "train" else 0
                for shard in self.shards
            ]
            if not any(lengths):
                raise UserError(
                    f"no training track is as long as a window of {context_frames} frames at level {level}",
                    "use a shorter window, or longer tracks",
                )
            artists = [shard.track.artist for shard in self.shards]
            # Of a short track every window has all, of a long one `context_frames`: so each second is heard as often.
            counted = [max(length, context_frames) if length else 0 for length in lengths]
            draw = Draw(lengths, track_weights(counted, artists, self._balance))
            self._draws[level, context_frames, short_tracks] = draw
        return self._draws[level, context_frames, short_tracks]

    def sung(self, index: int) -> SungWords:
        """The words of one track, none if it has none."""
        if index not in self._sung:
            shard = self.shards[index]
            if shard.lyrics is not None:
                self._files.fetch(lyrics_file(shard.track, self.folder).name, anew=True)
            self._sung[index] = (
                NO_WORDS
                if shard.lyrics is None
                else read_sung(
                    shard.track,
                    self.folder,
                    self.alphabet,
                    variation=shard.variation,
                    sample_rate=self.grid.sample_rate,
                    hop_length=self.grid.hop_lengths[-1],
                )
            )
            if len(self._sung) > _MOST_SUNG:
                self._sung.popitem(last=False)
        self._sung.move_to_end(index)
        return self._sung[index]

    def _cut(
        self,
        chunks: Sequence[Chunk],
        level: int,
        context_frames: int,
        listening: Listening | None = None,
        shifts: Sequence[float | None] | None = None,
    ) -> CodeBatch:
        """Windows; each is told its lyrics moved by the share `shifts` of what is seen, or none for None."""
        ratio, hop = self._ratio(level), self.grid.hop_lengths[level]
        coarser = [
            self.codes(chunk.track, level + 1, chunk.start // ratio, (chunk.start + context_frames) // ratio)
            for chunk in chunks
            if level < self.grid.top
        ]
        return CodeBatch(
            codes=torch.stack([self._window(chunk, level, context_frames) for chunk in chunks]),
            coarser=torch.stack(coarser) if coarser else None,
            artist=torch.tensor([self._artists[chunk.track] for chunk in chunks]),
            genres=torch.tensor([self._genres[chunk.track] for chunk in chunks]),
            total_samples=torch.tensor([self.shards[chunk.track].num_samples for chunk in chunks]),
            start_samples=torch.tensor([chunk.start * hop for chunk in chunks]),
            **(
                {}
                if listening is None or shifts is None
                else self._heard(chunks, hop, context_frames, listening, shifts)
            ),
        )

    def _window(self, chunk: Chunk, level: int, frames: int) -> Int[Tensor, " frame"]:
        codes = self.codes(chunk.track, level, chunk.start, chunk.start + frames)
        return F.pad(codes, (0, frames - len(codes)), value=HIDDEN)

    def _heard(
        self,
        chunks: Sequence[Chunk],
        hop: int,
        frames: int,
        listening: Listening,
        shifts: Sequence[float | None],
    ) -> dict[str, Tensor]:
        """The lyrics of windows and what of them is sung at each frame."""
        ids, sung, places = [], [], []
        for chunk, shift in zip(chunks, shifts, strict=True):
            words = NO_WORDS if shift is None else self.sung(chunk.track)
            seen = words.seen(
                total=self.shards[chunk.track].num_samples,
                start=chunk.start * hop,
                window=frames * hop,
                num_characters=listening.num_characters,
                jitter=shift or 0.0,
                hop=hop,
            )
            ids.append(seen.characters)
            sung.append(words.sung(seen, frames, hop))
            places.append(seen.columns)
        return {"lyrics": torch.tensor(ids), "sung": torch.tensor(sung), "places": torch.tensor(places)}


def vocabulary_of(tracks: Sequence[Track]) -> Vocabulary:
    """Every artist and genre of `tracks`, sorted; of spellings of one name the commonest, of such the first by code."""
    return Vocabulary(
        artists=_names(track.artist for track in tracks if track.artist is not None),
        genres=_names(genre for track in tracks for genre in track.genres),
    )


def _names(found: Iterator[str]) -> tuple[str, ...]:
    by_meaning: dict[str, Counter[str]] = {}
    for name in found:
        by_meaning.setdefault(folded(name), Counter())[name] += 1
    by_meaning.pop(folded(UNKNOWN), None)
    return tuple(
        min(spellings, key=lambda name: (-spellings[name], name)) for _, spellings in sorted(by_meaning.items())
    )


def _key(level: int) -> str:
    return f"level_{level}"


def _stem(track: Track, variation: int) -> str:
    return f"{track.content_hash}-{variation}" if variation else track.content_hash
