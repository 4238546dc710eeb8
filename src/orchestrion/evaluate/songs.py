"""Whole songs beside real music: distances, control, musical figures and memory, as sections of a report."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.codec import Codec
from orchestrion.data.chunks import evenly, spread
from orchestrion.data.encoded import vocabulary_of
from orchestrion.data.manifest import Split, Track
from orchestrion.data.runs import CodeIndex
from orchestrion.data.tracks import TrackStore
from orchestrion.evaluate.control import accuracy, learn
from orchestrion.evaluate.distance import (
    LEAST_TRACKS,
    Described,
    coverage,
    distance,
    floor,
    frechet_distance,
    halves,
    kernel_distance,
    mean_of_splits,
    with_noise,
)
from orchestrion.evaluate.interval import Estimate
from orchestrion.evaluate.memory import LEAST_PIECES, Remembered, name_of, nearest_passages, remembered
from orchestrion.evaluate.musical import compare, musical, pitches_of, sounds
from orchestrion.evaluate.report import Cell, Section, Table
from orchestrion.text.lyric_files import read_lyrics
from orchestrion.text.vocab import Vocabulary

SIDES: tuple[Split, Split] = ("train", "validation")
NOISE_DECIBELS = 20.0
LESSONS = 4
"""Pieces that a classifier of artists and genres learns from, for each song that it judges."""
_DISTANCES = (
    "Vectors of 3 s by musicnn, brought to the mean and deviation of the training music. Distances are to the held-out "
    "music; the Frechet distance is larger for fewer tracks, so mind their number, and prefer the kernel distance for "
    "few. A genre is a piece of each of its training tracks, of as many at most as there are songs. "
    "What the codec gives back of held-out "
    "music, by the finest level that songs have, is as near as songs of this model can come. Where held-out music "
    "keeps its codes of the top level and the others are composed to them, it is further by what is lost below the "
    "top, and songs are further still by what is lost there. These, and held-out music with noise, are beside the very "
    "pieces, and no other music is as near to them: noisy training music has no such advantage over songs. Intervals "
    "are of tracks and songs drawn again, of the halves those of 50 draws; the lower end may be below 0. In the second "
    "table no piece meets itself either: the held-out tracks are cut in halves, 50 times, and one half stands beside "
    "the other, beside what was done to the other, and beside the songs that were asked for by the other's labels. "
    "Its last columns are the share of the cuts in which the songs are nearer. Fewer tracks make all these larger."
)
_CONTROL = (
    "A classifier that learned from the training music names the artist or the genre, of held-out music and of songs "
    "that were asked to be by an artist and of a genre. It learned the labels that songs were asked for, from "
    f"{LESSONS} times as many pieces as there are songs. Chance is the best constant answer. Balanced accuracy is the "
    "mean over labels, common ones and rare ones alike; any constant answer has one label's share of it. Only pieces "
    "with a label that it learned are counted."
)
_MUSICAL = (
    "Each figure's mean over pieces, held-out, coded and composed, and how far the distributions of songs and held-out "
    "music are apart in its unit."
)
_MEMORY = (
    "The longest run of codes of the top level that each piece shares with any training track, or with a variation of "
    "one that CODES has; a code that is held counts once. The limit is what 99 of 100 pieces of held-out music of the "
    "same length stay within: a song above it may hold a copy and should be listened to. Below it nothing is proved."
)
_LIKENESS = (
    "How alike 4 s of each piece and of any training track are by chroma, in any key and whatever they sound like: "
    "the correlation of how both move, at most 1. Common harmonies are alike as well. The limit is that of held-out "
    "music of the same length."
)

Embed = Callable[[Float[Tensor, "channel sample"]], Float[Tensor, "patch width"]]
"""Vectors of a piece of audio, one for each few seconds."""


@dataclass(frozen=True)
class Piece:
    """Some seconds of music: of a real track of this number, or a song of its own; `sung` if the track has words."""

    audio: Float[Tensor, "channel sample"]
    track: int
    artist: str | None
    genre: str | None
    sung: bool = False


def pieces_of(store: TrackStore, side: Split, num_samples: int, most: int) -> list[Piece]:
    """At most so many pieces of real music, evenly spread over the tracks of one side of the split.

    Tracks that are shorter than a piece are left out. The commonest spelling of a name in the music is its label.
    """
    names = vocabulary_of([each.track for each in store.tracks])
    indices = [index for index in store.indices(side) if store.tracks[index].num_samples >= num_samples]
    chunks = spread([store.tracks[index].num_samples for index in indices], num_samples, most)
    return [_piece(store, names, indices[chunk.track], chunk.start, num_samples) for chunk in chunks]


def pieces_by_genre(store: TrackStore, others: Sequence[Piece], num_samples: int, most: int) -> list[Piece]:
    """Of each genre a piece of every training track, or of `most` of its tracks, evenly spread.

    The middle one of a track, or the first of those that `others`, pieces as long, have of it. Tracks that are shorter
    than a piece are left out.
    """
    names = vocabulary_of([each.track for each in store.tracks])
    there = {piece.track: piece for piece in reversed(others)}
    by_genre: dict[int, list[int]] = defaultdict(list)
    for index in store.indices("train"):
        genre = names.genre_ids(store.tracks[index].track.genres[:1])[0]
        if genre and store.tracks[index].num_samples >= num_samples:
            by_genre[genre].append(index)
    chosen = [own[place] for own in by_genre.values() for place in evenly(len(own), most)]
    middles = {index: (store.tracks[index].num_samples - num_samples) // 2 for index in chosen}
    return [there.get(index) or _piece(store, names, index, start, num_samples) for index, start in middles.items()]


def _piece(store: TrackStore, names: Vocabulary, index: int, start: int, num_samples: int) -> Piece:
    track = store.tracks[index].track
    artist, genre = names.artist_id(track.artist), names.genre_ids(track.genres[:1])[0]
    return Piece(
        store.audio(index, start, num_samples),
        index,
        names.artist_name(artist) if artist else None,
        names.genres[genre - 1] if genre else None,
        track.lyrics is not None,
    )


def in_turn(pieces: Sequence[Piece]) -> list[Piece]:
    """The first piece of each track, then the second of each, and so on."""
    passed: Counter[int] = Counter()
    rounds = []
    for piece in pieces:
        rounds.append(passed[piece.track])
        passed[piece.track] += 1
    return [pieces[place] for place in sorted(range(len(pieces)), key=rounds.__getitem__)]


def words_to_sing(tracks: Iterable[Track], seconds: float) -> list[str]:
    """Of each track whose words have times, those that are sung in the first `seconds` from its first word on."""
    found = []
    for track in tracks:
        lyrics = None if track.lyrics is None else read_lyrics(track.lyrics)
        starts = [word.start for word in lyrics.words if word.start is not None] if lyrics else []
        if lyrics is None or not starts:
            continue
        until = starts[0] + seconds
        lines = (" ".join(word.text for word in line.words if word.end and word.end <= until) for line in lyrics.lines)
        found.append("\n".join(line for line in lines if line))
    return [text for text in found if text]


@dataclass(frozen=True)
class Vectors:
    """Pieces as vectors, each with its labels."""

    described: Described
    artists: tuple[str | None, ...]
    genres: tuple[str | None, ...]

    def at(self, places: Sequence[int]) -> "Vectors":
        """Those at these places."""
        kept = torch.tensor(places, dtype=torch.long)
        return Vectors(
            Described(self.described.features[kept], self.described.tracks[kept]),
            tuple(self.artists[place] for place in places),
            tuple(self.genres[place] for place in places),
        )

    def of(self, genre: str, *, others: bool = False) -> "Vectors":
        """Those of a genre, or all `others`."""
        return self.at([place for place, own in enumerate(self.genres) if (own == genre) != others])

    def labelled(self, what: Literal["artist", "genre"], known: Collection[str]) -> tuple["Vectors", list[str]]:
        """Those with one of the `known` labels of this kind, and their labels."""
        labels = self.artists if what == "artist" else self.genres
        kept = [(place, label) for place, label in enumerate(labels) if label is not None and label in known]
        return self.at([place for place, _ in kept]), [label for _, label in kept]

    def as_of(self, tracks: Sequence[int]) -> "Vectors":
        """The same pieces as if piece number n were of the track `tracks[n]`."""
        numbers = torch.tensor(tracks)[self.described.tracks]
        return replace(self, described=Described(self.described.features, numbers))

    def beside(self, music: "Vectors") -> "Vectors":
        """The same in deviations of `music` from its mean."""
        theirs = music.described.features
        features = (self.described.features - theirs.mean(0)) / theirs.std(0).clamp_min(1e-6)
        return replace(self, described=Described(features, self.described.tracks))

    @property
    def num_tracks(self) -> int:
        return len(self.described.of_tracks)


def vectors(pieces: Sequence[Piece], embed: Embed) -> Vectors:
    """What `embed` makes of each piece; all patches of a piece have its labels."""
    found = [embed(piece.audio) for piece in pieces]
    counts = [len(each) for each in found]
    tracks = torch.tensor([piece.track for piece in pieces]).repeat_interleave(torch.tensor(counts))
    artists = tuple(piece.artist for piece, count in zip(pieces, counts, strict=True) for _ in range(count))
    genres = tuple(piece.genre for piece, count in zip(pieces, counts, strict=True) for _ in range(count))
    return Vectors(Described(torch.cat(found), tracks), artists, genres)


def noisy(pieces: Sequence[Piece], rng: torch.Generator) -> list[Piece]:
    """The pieces with white noise at `NOISE_DECIBELS`."""
    return [replace(piece, audio=with_noise(piece.audio, NOISE_DECIBELS, rng)) for piece in pieces]


def coded(pieces: Sequence[Piece], codec: Codec, level: int = 0) -> list[Piece]:
    """The pieces as a level of `codec` gives them back: as good as songs can sound that it decodes."""
    return [replace(piece, audio=_through(piece.audio, codec, level)) for piece in pieces]


def _through(audio: Float[Tensor, "channel sample"], codec: Codec, level: int) -> Float[Tensor, "channel sample"]:
    device, length = codec.entries(level).device, audio.shape[1]
    vector = codec.grid.hop_lengths[level] * codec.config.levels[level].depth
    whole = F.pad(audio, (0, -length % vector))
    codes = codec.encode(whole[None].to(device), levels=(level,))
    return codec.decode(codes, level)[0, :, :length].cpu()


def distance_section(
    learned: Vectors,
    noisy_learned: Vectors,
    by_genre: Vectors,
    real: Vectors,
    versions: Mapping[str, Vectors],
    made: Vectors,
    asked_like: Sequence[int],
) -> Section:
    """How far songs (`made`), training music, as it is and noisy, and versions of held-out music are from the latter.

    `real` is the held-out music, each of the `versions` the same pieces, by what was done to them. `by_genre` is what
    `pieces_by_genre` gives, of as many tracks of each genre as there are songs. Needs five tracks of each. `asked_like`
    has for each song the number of the held-out track whose labels it was asked for by; none is left out.
    """
    versions = {name: each.beside(learned) for name, each in versions.items()}
    parts = (learned, noisy_learned, by_genre, real, made)
    learned, noisy_learned, by_genre, real, made = (each.beside(learned) for each in parts)
    songs = _distances("the songs", made, real)
    rows: list[tuple[Cell, ...]] = [
        songs,
        _distances("real: training tracks", learned, real),
        _distances(f"training tracks, with noise at {NOISE_DECIBELS:g} dB", noisy_learned, real),
        *(_distances(f"held out, {name}", each, real, paired=True) for name, each in versions.items()),
        (
            "real: random halves of the training tracks",
            learned.num_tracks // 2,
            floor(learned.described, frechet_distance),
            floor(learned.described, kernel_distance),
        ),
    ]
    genres: dict[str, tuple[str, int, Estimate, Estimate]] = {}
    for genre in sorted({genre for genre in by_genre.genres if genre}):
        own, others = by_genre.of(genre), real.of(genre, others=True)
        if min(own.num_tracks, others.num_tracks) >= LEAST_TRACKS:
            genres[genre] = _distances(f"real: {genre}, to held-out music of other genres", own, others)
    text = _DISTANCES
    if genres:
        nearest = min(genres, key=lambda genre: genres[genre][3].value)
        text += f"\n\n{_beside_genre(songs, nearest, genres[nearest])}"
    covered, flattered = coverage(real.described, made.described), coverage(real.described, learned.described)
    tables = (
        Table(("", "tracks", "Frechet distance", "kernel distance"), (*rows, *genres.values()), decimals=3),
        _halves(real, versions, made.as_of(asked_like)),
        Table(
            ("", "precision", "recall"),
            (
                ("the songs", covered.precision, covered.recall),
                ("training tracks", flattered.precision, flattered.recall),
            ),
        ),
    )
    return Section("Songs beside real music", text, tables)


def control_section(learned: Vectors, judged: Mapping[str, Vectors], asked: Vectors) -> Section:
    """Whether each of what is `judged`, by its name, sounds like its artist and its genre.

    `learned` teaches the labels that `asked` has.
    """
    rows: list[tuple[Cell, ...]] = []
    kinds: tuple[Literal["artist", "genre"], ...] = ("artist", "genre")
    for what in kinds:
        counts, wanted = (Counter(some.artists if what == "artist" else some.genres) for some in (learned, asked))
        enough = {label for label, count in counts.items() if label in wanted and label and count > 1}
        if len(enough) < 2:
            continue
        known, names = learned.labelled(what, enough)
        classifier = learn(known.described.features, names)
        for name, some in judged.items():
            part, labels = some.labelled(what, enough)
            if not labels:
                continue
            found = accuracy(classifier, part.described, labels)
            shares = (found.found, found.chance, found.balanced, found.balanced_chance)
            rows.append((f"{what}, {name}", len(enough), part.num_tracks, *shares))
    header = ("", "labels", "tracks", "accuracy", "chance", "balanced accuracy", "its chance")
    return Section("Artist and genre", _CONTROL, (Table(header, tuple(rows)),))


def musical_section(
    held_out: Sequence[Piece], heard: Sequence[Piece], songs: Sequence[Piece], sample_rate: int
) -> Section:
    """Musical figures of the first piece of each held-out track beside those of the same coded, and of the songs.

    Silent pieces are left out and counted.
    """
    first, coded_first = ({piece.track: piece for piece in reversed(pieces)}.values() for pieces in (held_out, heard))
    parts = (tuple(first), tuple(coded_first), tuple(songs))
    real, through, made = (
        [musical(piece.audio, sample_rate) for piece in part if sounds(piece.audio, sample_rate)] for part in parts
    )
    silent = [len(part) - len(found) for part, found in zip(parts, (real, through, made), strict=True)]
    text = _MUSICAL
    if any(silent):
        text += f" Left out because they are silent: {silent[0]} held-out, {silent[1]} coded and {silent[2]} composed."
    if not (real and through and made):
        return Section("As music", text)
    rows = tuple(
        (with_codec.name.replace("_", " "), own.one, with_codec.other, own.other, own.apart)
        for own, with_codec in zip(compare(real, made), compare(real, through), strict=True)
    )
    header = ("", "held-out music", "the same, coded", "the songs", "songs apart from held-out")
    return Section("As music", text, (Table(header, rows, decimals=3),))


def memory_section(
    index: CodeIndex,
    held_out: Sequence[Int[Tensor, " frame"]],
    tracks: Sequence[int],
    songs: Sequence[Int[Tensor, " frame"]],
    names: Sequence[str],
) -> tuple[Section, Remembered]:
    """Longest runs of top-level codes shared with the training music.

    `tracks` says which track each held-out piece was cut from; `names` are those of the songs.
    """
    runs = [torch.tensor([float(index.longest_run(codes).length) for codes in part]) for part in (held_out, songs)]
    found = remembered(runs[0], torch.tensor(tracks), runs[1])
    rows: tuple[tuple[Cell, ...], ...] = (
        ("held-out music", len(held_out), found.held_out, found.limit, found.most, None),
        ("the songs", len(songs), found.songs, None, float(runs[1].max()), found.over),
    )
    above = ", ".join(names[place] for place in found.which)
    text = f"{_MEMORY}\n\nSongs above the limit: {above or 'none'}."
    text += _few(len(held_out))
    header = ("", "pieces", "codes shared", "limit (99th percentile)", "most", "share above the limit")
    return Section("Memory", text, (Table(header, rows),)), found


def likeness_section(
    store: TrackStore, held_out: Sequence[Piece], songs: Sequence[Piece], names: Sequence[str], sample_rate: int
) -> Section:
    """The likest passages by chroma in the training music of `store`; `names` are those of the songs.

    The limit wants `memory.LEAST_PIECES` held-out pieces or more.
    """
    shards = store.indices("train")
    parts = [[pitches_of(piece.audio, sample_rate) for piece in part] for part in (held_out, songs)]
    passages = nearest_passages(
        [piece for part in parts for piece in part],
        (pitches_of(store.audio(shard), sample_rate) for shard in shards),
    )
    likeness = torch.tensor([passage.likeness for passage in passages])
    tracks = torch.tensor([piece.track for piece in held_out])
    found = remembered(likeness[: len(held_out)], tracks, likeness[len(held_out) :])
    above = []
    for place in found.which:
        passage = passages[len(held_out) + place]
        track = name_of(store.tracks[shards[passage.track]].track)
        above.append(f"{names[place]} at {passage.song_seconds:.0f} s, {track} at {passage.seconds:.0f} s")
    rows: tuple[tuple[Cell, ...], ...] = (
        ("held-out music", len(held_out), found.held_out, found.limit, found.most, None),
        ("the songs", len(songs), found.songs, None, float(likeness[len(held_out) :].max()), found.over),
    )
    header = ("", "pieces", "likeness", "limit (99th percentile)", "most", "share above the limit")
    text = f"{_LIKENESS}\n\nSongs above the limit, and what they are like: {'; '.join(above) or 'none'}."
    text += _few(len(held_out))
    return Section("Memory by chroma", text, (Table(header, rows, decimals=3),))


def _few(pieces: int) -> str:
    if pieces >= LEAST_PIECES:
        return ""
    return f" Of {pieces} held-out pieces, fewer than {LEAST_PIECES}, the limit is little below the most."


def _beside_genre(
    songs: tuple[str, int, Estimate, Estimate], genre: str, nearest: tuple[str, int, Estimate, Estimate]
) -> str:
    """Rows of `_distances` in a sentence: that of the nearest genre is easily taken for another in the table.

    By the kernel distance: genres have fewer tracks than there are songs, which makes a Frechet distance larger.
    """
    (_, count, _, found), (_, num_tracks, _, limit) = songs, nearest
    half = limit.value / 2
    return (
        f"By the kernel distance the nearest other genre is {genre}, {num_tracks} tracks, at {limit.value:.4g}, half "
        f"of which is {half:.4g}. The interval of the {count} songs, {found.low:.4g} to {found.high:.4g}, is "
        f"{'below' if found.high < half else 'not below'} that half."
    )


def _halves(real: Vectors, versions: Mapping[str, Vectors], made: Vectors) -> Table:
    """Half of the held-out music beside the other half, versions of that, and songs asked for by its labels."""
    others = {"the other half": real}
    others |= {f"the other half, {name}": each for name, each in versions.items()}
    others |= {"songs by the labels of the other half": made}
    described = [each.described for each in others.values()]
    found = [halves(real.described, described, measure) for measure in (frechet_distance, kernel_distance)]
    rows: list[tuple[Cell, ...]] = []
    for place, (name, each) in enumerate(others.items()):
        nearer = (None if each is made else float((by[-1] < by[place]).double().mean()) for by in found)
        rows.append((name, real.num_tracks // 2, *(mean_of_splits(by[place]) for by in found), *nearer))
    distances = ("Frechet distance", "kernel distance")
    return Table(
        ("half of the held-out tracks, and", "tracks", *distances, *(f"songs nearer, {each}" for each in distances)),
        tuple(rows),
        decimals=3,
    )


def _distances(name: str, one: Vectors, other: Vectors, *, paired: bool = False) -> tuple[str, int, Estimate, Estimate]:
    return (
        name,
        one.num_tracks,
        distance(frechet_distance, one.described, other.described, paired=paired),
        distance(partial(kernel_distance, paired=paired), one.described, other.described, paired=paired),
    )
