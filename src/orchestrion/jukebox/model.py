"""The model, opened."""

import logging
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.align.attention import Alignment, lyric_attention
from orchestrion.align.words import Aligned, align_words
from orchestrion.audio import io
from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.adapter import Adapter
from orchestrion.checkpoints.folder import (
    CODEC,
    ModelInfo,
    load_codec,
    load_prior,
    model_sha256,
    prior_file,
    read_card,
    read_model,
)
from orchestrion.checkpoints.memory import read_memory
from orchestrion.codec.model import Codec
from orchestrion.codes import HIDDEN, Codes
from orchestrion.config import plain
from orchestrion.errors import UserError
from orchestrion.files import check_space, check_writable, file_sha256
from orchestrion.generate.reprise import sources_of
from orchestrion.generate.request import Origin, Request
from orchestrion.generate.song import Plan
from orchestrion.generate.told import Told
from orchestrion.jukebox import asked, making, origins
from orchestrion.jukebox.listener import Listener, heard, layer_to_hear, unlabelled
from orchestrion.jukebox.memory import Recollection
from orchestrion.jukebox.song import Composition, Progress, Song
from orchestrion.library.folder import Claim, SongFolder, SongInfo, claim, codes_sha256, find
from orchestrion.library.provenance import Engine, SongAdapter, SongModel
from orchestrion.nn.compiled import can_compile, check_compiler, most_rows
from orchestrion.nn.device import chosen_device
from orchestrion.nn.fast import Weights, quantized, usable
from orchestrion.nn.memory import keep_dropped_memory
from orchestrion.nn.reading import compile_into
from orchestrion.prior.masked import AnyPrior
from orchestrion.prior.model import Prior
from orchestrion.text.lyrics import id_times, sectioned, spelled, untimed, written
from orchestrion.text.timed import TimedLyrics
from orchestrion.version import __version__

logger = logging.getLogger(__name__)

SIDE_BY_SIDE_BYTES = 2**29
"""Up to this size on disk the priors of several levels are used at the same time."""


ALIGNING_ROUNDS = 4
"""How often a song is read at most to find where its words are."""


class Jukebox:
    """A model, opened. Only its description is in memory; weights come when they are needed and go again.

    On a processor, levels of a small model are made side by side; else one after another, one in memory at a time.

    `device` is where the work is done, by default the accelerator if there is one; `dtype` is how weights of priors are
    held, for those of the codec stay in single precision: it would hear and make others than the priors know;
    `adapter` is the folder of what the model learned besides (`train finetune`);
    `weights` holds those of priors in fewer bits while they draw, and only then (`nn.fast`): "auto" as the model says,
    where the machine can; None leaves them as they are. With `compiled`, codes are drawn by compiled steps
    (`nn.compiled`): seconds more before the first code, less for each, on a processor for one song at a time with
    guidance 1; None does so on CUDA alone, where that can be done. `most_songs` bounds how many of the songs made
    together are drawn in one go, and with it the memory.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str = "",
        adapter: Path | str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        weights: Weights | Literal["auto"] | None = "auto",
        compiled: bool | None = None,
        most_songs: int | None = None,
    ) -> None:
        if most_songs is not None and most_songs < 1:
            raise UserError(f"at most {most_songs} songs drawn in one go are none", "give 1 or more, or None for all")
        self.folder = Path(folder)
        self._as_written = read_model(self.folder)
        self.adapter = None if adapter is None else Adapter(Path(adapter))
        self.info: ModelInfo = self.adapter.grown(self.folder, self._as_written) if self.adapter else self._as_written
        self.name = name or self.info.name
        self.dtype = dtype
        self.device = chosen_device(device)
        if self.device.type == "cpu":
            keep_dropped_memory()
        if weights == "auto":
            best = self.info.weights
            weights = best if best and usable(best, self.device) else None
        self.weights: Weights | None = weights
        if compiled:
            check_compiler(self.device)
        self.compiled = self.device.type == "cuda" and can_compile(self.device) if compiled is None else compiled
        self.most_songs = most_songs

    @staticmethod
    def from_pretrained(
        name: str | Path,
        *,
        adapter: Path | str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        weights: Weights | Literal["auto"] | None = "auto",
        compiled: bool | None = None,
        most_songs: int | None = None,
    ) -> "Jukebox":
        """Open a model by its name (`orchestrion models list`) or by the path of its folder."""
        return Jukebox(
            zoo.locate(name),
            name=zoo.called(name),
            adapter=adapter,
            device=device,
            dtype=dtype,
            weights=weights,
            compiled=compiled,
            most_songs=most_songs,
        )

    @property
    def card(self) -> str:
        """The model card, as Markdown."""
        return read_card(self.folder)

    @cached_property
    def memory(self) -> Recollection | None:
        """What songs are compared with, so that one that repeats what was learned is noticed; None without."""
        found = read_memory(self.folder, self.info.sha256.get(CODEC, ""))
        return Recollection(found) if found else None

    def encode(self, audio: Float[Tensor, "channel sample"], sample_rate: int) -> Codes:
        """The codes of every level for audio at any rate, mixed and resampled to what the model hears."""
        sound = self._heard(audio, sample_rate)
        with self._codec() as codec:
            return codec.encode(sound)

    def decode(self, codes: Codes, level: int | None = None) -> Float[Tensor, "channel sample"]:
        """The audio of one song's codes at `level`, by default the finest there is, clipped to [-1, 1]."""
        return self._decoded(codes, self._audible_level(codes, level))

    def _audible_level(self, codes: Codes, level: int | None) -> int:
        """The level that is to be heard of a song, by default the finest there is; UserError where it cannot be."""
        level = codes.finest if level is None else level
        if not 0 <= level < codes.grid.num_levels:
            raise UserError(f"there is no level {level}", f"levels go from 0 to {codes.grid.top}")
        asked.check_codes(codes, self.info, 1, level=level)
        return level

    def _decoded(self, codes: Codes, level: int, num_samples: int | None = None) -> Float[Tensor, "channel sample"]:
        with self._codec() as codec:
            return torch.cat(list(making.decoded(codec, codes, level)), -1)[:, :num_samples]

    def compose(
        self,
        request: Request,
        folder: Path | str | None = None,
        *,
        codes: Codes | None = None,
        replace: bool = False,
        until_level: int = 0,
    ) -> Composition[Progress, Song]:
        """Make the song that `request` asks for: from nothing, its prompt, or `codes` that it starts with.

        With a `folder` the song is kept there as it grows, codes after every window. The same request for a
        folder with an unfinished song goes on with it, to the same end. Whatever can be wrong with the
        request, the folder or the disk is found before this returns, as UserError; so is another song in
        the folder, unless `replace` gives that up. With `until_level` it is left there unfinished once that level is
        made and can be heard: a draft that the same request finishes.
        """
        return Composition(_only(making.make(self._work([request], _alone(folder), codes, replace, until_level))))

    def stream(
        self,
        request: Request,
        folder: Path | str | None = None,
        *,
        codes: Codes | None = None,
        replace: bool = False,
    ) -> Composition[Float[Tensor, "channel sample"], Song]:
        """As `compose`, to the same song, but its steps are pieces of audio, the first of them as early as can be.

        That is after a window where the finest level is filled in passes, else after some dozens of codes. One piece
        joins the next without a seam, and together they are the song. The weights of all levels are in memory at once.
        A song that was streamed in part goes on by `compose` as well.
        """
        (group,) = self._work([request], _alone(folder), codes, replace)
        return Composition(making.stream(group.begin))

    def compose_all(
        self,
        requests: Sequence[Request],
        folders: Sequence[Path | str] | None = None,
        *,
        codes: Codes | None = None,
        replace: bool = False,
        until_level: int = 0,
    ) -> Composition[Progress, tuple[Song, ...]]:
        """Make several songs together, in less time than one after another; each comes out as if made alone.

        As `compose`, with a folder and a row of `codes` for each request. They have the same length, sampling and
        finest level, and prompts of the same length; `Request.takes` gives requests that differ by their seeds. Songs
        that were begun before go on with those that are as far, and none of what is kept is drawn again.
        """
        return Composition(making.make(self._work(requests, folders, codes, replace, until_level)))

    def resume(self, folder: Path | str) -> Composition[Progress, Song]:
        """Go on with the unfinished song in `folder`."""
        return Composition(_only(making.make(self._gone_on_with([folder], 0))))

    def resume_all(
        self, folders: Sequence[Path | str], *, until_level: int = 0
    ) -> Composition[Progress, tuple[Song, ...]]:
        """Go on with unfinished songs that were asked for together, as `compose_all` does.

        What they were made from may have changed, or be gone: each goes on from what is in its folder.
        """
        return Composition(making.make(self._gone_on_with(folders, until_level)))

    def prime(
        self,
        request: Request,
        audio: Float[Tensor, "channel sample"],
        sample_rate: int,
        folder: Path | str | None = None,
    ) -> Composition[Progress, Song]:
        """Compose on from `audio`, which becomes the start of the song."""
        return self.compose(request, folder, codes=self.prompt(audio, sample_rate))

    def prompt(self, audio: Float[Tensor, "channel sample"], sample_rate: int) -> Codes:
        """The codes that a song begins with which goes on from `audio`: whole frames of every level."""
        return _whole_frames(self.encode(audio, sample_rate))

    def continue_(
        self,
        song: Song,
        seconds: float,
        folder: Path | str | None = None,
        *,
        start_seconds: float | None = None,
        replace: bool = False,
        **changes: Any,
    ) -> Composition[Progress, Song]:
        """Make `song` longer by `seconds`, keeping its codes, or those before `start_seconds`.

        `changes` are to its request, such as `artist`.
        """
        request, codes = self.continued(song, seconds, start_seconds, **changes)
        return self.compose(request, folder, codes=codes, replace=replace)

    def continued(
        self, song: Song, seconds: float, start_seconds: float | None = None, **changes: Any
    ) -> tuple[Request, Codes]:
        """What `continue_` makes, asked for, and the codes that it begins with: for several takes of it."""
        if start_seconds is not None and not 0 < start_seconds <= song.request.seconds:
            raise UserError(
                f"a song of {song.request.seconds:g} s cannot be continued from {start_seconds} s",
                "choose a point inside it",
            )
        asked.check_source(song.codes, song.request)
        origin = Origin(
            song=song.name, act="continue", codes_sha256=codes_sha256(song.codes), stop_seconds=start_seconds
        )
        request = song.request.continued(seconds, origin, **self._drawn_for(song, changes))
        return request, origins.kept(origin, song.codes)

    def upsample(
        self, song: Song, folder: Path | str | None = None, *, replace: bool = False, **changes: Any
    ) -> Composition[Progress, Song]:
        """Make every level of `song` below its top anew. `changes` are to its request, such as `seed`.

        UserError for songs of a single level.
        """
        top = song.codes.grid.top
        if not top:
            raise UserError("this song has a single level: there is none below it to make", "repaint a part of it")
        codes = Codes.empty(song.codes.grid).replace(top, song.codes[top])
        asked.check_source(codes, song.request)
        origin = Origin(song=song.name, act="upsample", codes_sha256=codes_sha256(codes))
        request = song.request.upsampled(origin, **self._drawn_for(song, changes))
        return self.compose(request, folder, codes=codes, replace=replace)

    def repaint(
        self,
        song: Song,
        start_seconds: float,
        stop_seconds: float,
        folder: Path | str | None = None,
        *,
        replace: bool = False,
        **changes: Any,
    ) -> Composition[Progress, Song]:
        """Make a part of `song` anew at every level it has, to fit what is around it; the rest of its codes stays.

        The part is rounded to frames of the top level. `changes` are to the request; without a `seed` among them the
        song's own plus 1 is taken. Sound changes a little beyond the part, where its outermost frames reach.
        """
        request, codes = self.repainted(song, start_seconds, stop_seconds, **changes)
        return self.compose(request, folder, codes=codes, replace=replace)

    def repainted(self, song: Song, start_seconds: float, stop_seconds: float, **changes: Any) -> tuple[Request, Codes]:
        """What `repaint` makes, asked for, and the codes that it begins with: for several takes of it."""
        asked.check_source(song.codes, song.request)
        origin = Origin(
            song=song.name,
            act="repaint",
            codes_sha256=codes_sha256(song.codes),
            start_seconds=start_seconds,
            stop_seconds=stop_seconds,
        )
        request = song.request.repainted(origin, **self._drawn_for(song, changes))
        return request, origins.kept(origin, song.codes)

    def _drawn_for(self, song: Song, changes: dict[str, Any]) -> dict[str, Any]:
        """`changes` to the song's request: with other lyrics the model's own way of drawing is that for those."""
        before = song.request
        if "lyrics" not in changes or "sampling" in changes or before.sampling != self.info.drawing(before.lyrics):
            return changes
        return {**changes, "sampling": self.info.drawing(changes["lyrics"])}

    def again(self, request: Request, source: Codes | None = None) -> Composition[Progress, Song]:
        """The song of a recorded request once more, kept nowhere. `source` has the codes of the one it is made from.

        UserError if the song was made from another and that is not `source`, or not any more.
        """
        if request.origin is None:
            return self.compose(request)
        if source is None or not origins.is_of(request.origin, source):
            problem = "is needed for that" if source is None else "is not what it was: its codes are others"
            raise UserError(
                f"this song was made from {request.origin.song!r} ({request.origin.act}), which {problem}",
                "give the very song that it was made from",
            )
        return self.compose(request, codes=origins.kept(request.origin, source))

    def load(self, path: Path | str, level: int | None = None) -> Song:
        """The song in a folder, or in the one beside an audio file, to be heard at `level` or the finest it has.

        It is decoded when its `audio` is first asked for.
        """
        kept = find(Path(path))
        if kept.info.model.codec_sha256 != self.info.sha256.get(CODEC, ""):
            raise UserError(
                f"the codes of {kept.path} are not of this model's codec",
                f"open {kept.info.model.name!r} instead",
            )
        codes = kept.codes()
        level = self._audible_level(codes, level)
        sound = partial(self._decoded, codes, level, kept.info.num_samples)
        request = asked.request_of(kept)
        return Song(
            request, codes, sound, codes.grid.sample_rate, kept.path, kept.info, level, kept.lyrics(), self.memory
        )

    def label_vectors(self) -> tuple[Float[Tensor, "artist width"], Float[Tensor, "genre width"]] | None:
        """What the top prior learned for each artist and genre, by their ids; None for a prior without labels."""
        labels = self._prior(self.info.grid.top, 1).labels
        return None if labels is None else (labels.artist.weight.detach().cpu(), labels.genre.weight.detach().cpu())

    def resolved(self, request: Request) -> Request:
        """The request with nothing left open: the model's spelling of labels, its sampling where none is given.

        UserError for labels that the model does not know.
        """
        return asked.resolved(request, self.info)

    def is_kept(self, request: Request, folder: Path | str, *, replace: bool = False) -> bool:
        """Whether `folder` holds this very song, finished or not.

        As `compose`, UserError for what cannot be made, and for another song there unless `replace` gives it up.
        """
        request = self.resolved(request)
        plan = asked.plan(request, self.info)
        (beginning,) = _beginnings([request], None)
        (found,) = self._claimed([self._about(request, beginning, plan, self.compiled)], [folder], plan, replace)
        if found.song is not None:
            return True
        if request.prime:
            asked.check_prompt(request, self.info)
        for level in plan.missing(Codes.empty(plan.grid)):
            self.info.prior(level)
        return False

    def listener(self, layer: int | None = None) -> Listener:
        """Codec and first layers of the top prior, kept in memory: `features` of many recordings.

        By default half of the layers (Castellon et al. 2021, arXiv 2107.05677, found layer 36 of 72 best); only these
        are loaded. UserError for a layer that is not there, and for a top prior that fills windows in passes.
        """
        layer = layer_to_hear(self.info, layer)
        prior = self._prior(self.info.grid.top, layer)
        assert isinstance(prior, Prior)
        with self._codec() as codec:
            return Listener(self.info, codec, prior, layer)

    def features(
        self,
        audio: Float[Tensor, "channel sample"],
        sample_rate: int,
        *,
        layer: int | None = None,
        mean: bool = True,
        request: Request | None = None,
    ) -> Float[Tensor, "*frame width"]:
        """What the top prior makes of one recording (`Listener.features`); `listener` is faster for many."""
        return self.listener(layer).features(audio, sample_rate, mean=mean, request=request)

    @torch.no_grad()
    def alignment(self, song: Song, *, layer: int | None = None, head: int | None = None) -> Alignment:
        """Where in its lyrics each frame of a song's top level is: the attention of a layer and head of the top prior.

        By default those that follow the words best, where the model says which. UserError for a model or a song
        without lyrics.
        """
        top = self.info.grid.top
        if self.info.prior(top).lyrics is None or not song.request.lyrics:
            raise UserError("there are no lyrics to align", "take a song with lyrics and the model that sang it")
        following = asked.following(self.info, layer, head)
        request = self.resolved(song.request)
        asked.check_codes(song.codes, self.info, 1)
        told = self._tell([request], top, planned=asked.sings_by_plan(request, self.info))
        prior = self._prior(top, following[0] + 1)
        weights = self._attention(prior, request, song.codes, told, following)
        return Alignment(self.info.spelling(top).clean(request.lyrics), weights, self.info.grid.frame_rate(top))

    def align(self, song: Song, lyrics: TimedLyrics | None = None) -> Aligned:
        """When each word of a song is sung: of its own lyrics, or of others that it is said to sing.

        UserError for a model that does not follow words, and for a song without lyrics.
        """
        lyrics = None if lyrics is None else sectioned(lyrics)
        text = song.request.lyrics if lyrics is None else written(lyrics)
        if not text:
            raise UserError("there are no lyrics to align", "give them")
        asked.check_codes(song.codes, self.info, 1)
        request = self.resolved(song.request.changed(lyrics=text))
        words = untimed(text) if lyrics is None else lyrics
        planned = lyrics is None and asked.sings_by_plan(request, self.info)
        return self._aligned(request, song.codes, words, planned=planned)

    def align_audio(self, audio: Float[Tensor, "channel sample"], sample_rate: int, lyrics: TimedLyrics) -> Aligned:
        """When each word of a recording is sung, as the top prior hears it; nothing is told of who sings.

        UserError for a model that does not follow words, and for lyrics that cannot be sung in that time.
        """
        asked.following(self.info)
        lyrics = sectioned(lyrics)
        sound = self._heard(audio, sample_rate)
        top = self.info.grid.top
        about = unlabelled(sound.shape[-1], self.info)
        request = self.resolved(about.changed(lyrics=written(lyrics)))
        with self._codec() as codec:
            codes = codec.encode(sound, (top,))
        return self._aligned(request, codes, lyrics, planned=False)

    @torch.no_grad()
    def _aligned(self, request: Request, codes: Codes, lyrics: TimedLyrics, *, planned: bool) -> Aligned:
        """The times of the words of a resolved request in these codes; `planned` if they were sung by its plan.

        Of lyrics longer than what the prior sees, each window first sees those that would be there if all were sung
        evenly, and then those that were found there, until nothing changes.
        """
        grid, top = self.info.grid, self.info.grid.top
        following = asked.following(self.info)
        ids = spelled(request.lyrics, self.info.spelling(top))
        told = self._tell([request], top, planned=planned)
        prior = self._prior(top, following[0] + 1)
        for _ in range(ALIGNING_ROUNDS):
            weights = self._attention(prior, request, codes, told, following)
            aligned = align_words(lyrics, ids, weights, grid.frame_rate(top))
            times = id_times(aligned.lyrics, ids)
            if times is None:
                break
            found = told.moved(tuple((request.offset_seconds + time) * grid.sample_rate for time in times))
            if found == told.lyrics:
                break
            told = replace(told, lyrics=found)
        return aligned

    def _attention(
        self, prior: AnyPrior, request: Request, codes: Codes, told: Told, following: tuple[int, int]
    ) -> Float[Tensor, "frame character"]:
        """What one head of the top prior attends to, over a whole song."""
        assert isinstance(prior, Prior)
        top, (layer, head) = self.info.grid.top, following
        (weights,) = lyric_attention(
            prior,
            codes[top].to(self.device),
            told,
            shape=asked.plan(request, self.info).shape(top),
            hop_fraction=request.sampling[top].hop_fraction,
            layer=layer,
            head=head,
        )
        return weights

    def _find_words(self, request: Request, codes: Codes) -> TimedLyrics:
        if asked.sings_by_plan(request, self.info):
            return asked.planned(request, self.info)
        return self._aligned(request, codes, untimed(request.lyrics), planned=False).lyrics

    def _gone_on_with(self, folders: Sequence[Path | str], until_level: int) -> list[making.Group]:
        """The work on songs that are kept in these folders, from what their records say."""
        kept = [SongFolder.open(Path(folder)) for folder in folders]
        requests = [asked.request_of(one) for one in kept]
        return self._work(requests, [one.path for one in kept], None, False, until_level, kept)

    def _work(
        self,
        requests: Sequence[Request],
        folders: Sequence[Path | str] | None,
        codes: Codes | None,
        replace: bool,
        until_level: int = 0,
        kept: Sequence[SongFolder] = (),
    ) -> list[making.Group]:
        """Checks all that can be wrong with what is to be done.

        Songs that are `kept` go on from there: what they begin with is not looked for again.
        """
        requests = [self.resolved(request) for request in requests]
        asked.check_together(requests)
        plan, *_ = [asked.plan(request, self.info, self.most_songs, until_level) for request in requests]
        if codes is not None:
            asked.check_codes(codes, self.info, len(requests), plan)
        elif not kept:
            for request in requests:
                if request.prime:
                    asked.check_prompt(request, self.info)
        there_already = [one.codes() for one in kept] or [codes or Codes.empty(plan.grid)]
        missing = [level for one in there_already for level in plan.missing(one)]
        for level in missing:
            self.info.prior(level)
        compiled = any(self._compiles(plan, len(requests), level) for level in missing)
        if self.compiled and self.device.type == "cpu" and missing and not compiled:
            logger.warning("nothing is compiled: on a processor that is for one song, code by code, with guidance 1")
        self.memory  # noqa: B018 - a damaged one is found now, not when the song is made
        beginnings = [one.info.begins_with for one in kept] or _beginnings(requests, codes)
        about = partial(self._about, plan=plan, compiled=compiled)
        infos = [about(*song) for song in zip(requests, beginnings, strict=True)]
        claims = None if folders is None else self._claimed(infos, folders, plan, replace)
        alike: dict[Any, list[int]] = {}
        for row in range(len(requests)):
            there = claims[row].song if claims else None
            alike.setdefault(there and _place(there.codes()), []).append(row)
        groups = []
        for rows in alike.values():
            own = None if codes is None else codes.rows(rows)
            some = [claims[row] for row in rows] if claims else None
            begin = partial(self._begun, [requests[row] for row in rows], [infos[row] for row in rows], plan, own, some)
            groups.append(making.Group(tuple(rows), begin))
        return groups

    def _begun(
        self,
        requests: Sequence[Request],
        infos: Sequence[SongInfo],
        plan: Plan,
        codes: Codes | None,
        claims: Sequence[Claim] | None,
    ) -> making.Work:
        """Songs all of which go on from where they are kept, or none."""
        started = [one.song.codes() for one in claims or () if one.song]
        if started:
            codes = _together(started)
            asked.check_codes(codes, self.info, len(requests), plan)
        elif codes is None:
            codes = self._prompts(requests)
        kept = [one.begin(codes.row(row)) for row, one in enumerate(claims)] if claims else None
        return making.Work(
            requests=requests,
            infos=[one.info for one in kept] if kept else infos,
            plan=plan,
            codes=codes,
            folders=kept,
            tell=partial(self._tell, requests),
            sources=self._sources(requests, plan),
            open_prior=partial(self._drawing, plan, len(requests)),
            open_codec=self._codec,
            device=self.device,
            side_by_side=self._side_by_side(plan, codes),
            find_words=self._find_words if all(asked.knows_when(one, self.info) for one in requests) else None,
            memory=self.memory,
        )

    def _side_by_side(self, plan: Plan, codes: Codes) -> bool:
        """Whether levels are made at the same time: where processors are to spare, and memory for all their weights."""
        missing = plan.missing(codes)
        if self.device.type != "cpu" or not 1 < len(missing) <= torch.get_num_threads():
            return False
        files = [self.folder / prior_file(level) for level in missing]
        return all(file.exists() for file in files) and sum(file.stat().st_size for file in files) <= SIDE_BY_SIDE_BYTES

    def _claimed(
        self, infos: Sequence[SongInfo], folders: Sequence[Path | str], plan: Plan, replace: bool
    ) -> list[Claim]:
        """The folders, seen to be free or to hold these very songs, with room for them."""
        if len({Path(folder).absolute() for folder in folders}) != len(infos):
            raise UserError("every song needs a folder of its own", "give as many as there are requests")
        one_at = partial(claim, replace=replace, request_of=asked.request_as_read_now)
        claims = [one_at(Path(folder), info) for folder, info in zip(folders, infos, strict=True)]
        for one in claims:
            check_writable(one.path.parent)
        check_space(claims[0].path.parent, len(claims) * _space_bytes(plan, self.info.codec.channels))
        return claims

    def _heard(
        self, audio: Float[Tensor, "channel sample"], sample_rate: int
    ) -> Float[Tensor, "batch heard_channel heard_sample"]:
        return heard(audio, sample_rate, self.info.codec).to(self.device)

    def _tell(self, requests: Sequence[Request], level: int, *, planned: bool = True) -> Told:
        return asked.tell(requests, self.info, level, planned=planned).to(self.device)

    def _sources(self, requests: Sequence[Request], plan: Plan) -> Int[Tensor, "row frame"] | None:
        reprises = [asked.reprises(request, self.info) for request in requests]
        return sources_of(reprises, plan.grid, plan.num_frames(plan.grid.top))

    def _prior(self, level: int, num_layers: int | None = None) -> AnyPrior:
        """The prior of a level as it is, or its first layers."""
        prior = load_prior(self.folder, self._as_written, level, self.dtype, num_layers)
        if self.adapter:
            self.adapter.fit(prior, level, partly=num_layers is not None)
        return prior.to(self.device)

    @contextmanager
    def _drawing(self, plan: Plan, songs: int, level: int) -> Iterator[AnyPrior]:
        """The prior of a level as it draws so many songs."""
        prior = drawing = self._prior(level)
        compiled = self._compiles(plan, songs, level)
        if self.weights and (usable(self.weights, self.device) or not compiled):
            drawing = quantized(prior, self.weights, many_rows=prior.config.masked)
        if compiled:
            compile_into(drawing.tokens.transformer, prior.tokens.transformer, self.weights)
        del prior  # its weights go where a copy holds others
        yield drawing

    def _compiles(self, plan: Plan, songs: int, level: int) -> bool:
        """Whether compiled steps draw the codes of a level, for so many songs."""
        few = plan.num_rows(level, songs) <= most_rows(self.device)
        return self.compiled and few and not self.info.prior(level).masked

    @contextmanager
    def _codec(self) -> Iterator[Codec]:
        yield load_codec(self.folder, self.info).to(self.device)

    def _prompts(self, requests: Sequence[Request]) -> Codes:
        """The codes that songs start with: their prompts', or none."""
        primed = [request for request in requests if request.prime]
        if not primed:
            return Codes.empty(self.info.grid)
        prompts = [self._prompt(request) for request in primed]
        if len(primed) < len(requests) or len({codes[0].shape[1] for codes in prompts}) > 1:
            raise UserError("songs made together have prompts of the same length", "make these one after another")
        return _together(prompts)

    def _prompt(self, request: Request) -> Codes:
        assert request.prime is not None
        codec, prime = self.info.codec, request.prime
        audio = io.read(
            Path(prime.path),
            codec.sample_rate,
            codec.channels,
            start_seconds=prime.start_seconds,
            seconds=prime.seconds,
        )
        return self.prompt(audio, codec.sample_rate)

    def _about(self, request: Request, begins_with: str | None, plan: Plan, compiled: bool) -> SongInfo:
        return SongInfo(
            orchestrion=__version__,
            model=self.song_model,
            request=plain(request),
            begins_with=begins_with,
            sample_rate=plan.grid.sample_rate,
            hop_lengths=plan.grid.hop_lengths,
            num_samples=plan.num_samples,
            engine=self._engine(compiled),
        )

    @property
    def song_model(self) -> SongModel:
        """What a song's record says of the model."""
        adapter = (
            SongAdapter(name=str(self.adapter.folder.absolute()), sha256=self.adapter.sha256) if self.adapter else None
        )
        return SongModel(
            name=self.name,
            sha256=model_sha256(self.folder),
            codec_sha256=self.info.sha256.get(CODEC, ""),
            adapter=adapter,
        )

    def _engine(self, compiled: bool) -> Engine:
        cpu = self.device.type == "cpu"
        return Engine(
            torch=str(torch.__version__),
            device=self.device.type,
            processor=torch.backends.cpu.get_cpu_capability() if cpu else _accelerator_name(self.device),
            dtype=str(self.dtype).removeprefix("torch."),
            weights=self.weights,
            compiled=compiled,
            threads=torch.get_num_threads(),
        )


def _only(steps: Generator[Progress, None, tuple[Song, ...]]) -> Generator[Progress, None, Song]:
    (song,) = yield from steps
    return song


def _accelerator_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _beginnings(requests: Sequence[Request], codes: Codes | None) -> list[str | None]:
    """Of each song a hash of what it begins with that its request does not tell: the sound of its prompt, or codes.

    "" where it begins with nothing else than is asked for, None where the prompt is not there any more.
    """
    if codes is not None:
        return ["" if one.origin else codes_sha256(codes.row(row)) for row, one in enumerate(requests)]
    prompts = [Path(one.prime.path) if one.prime else None for one in requests]
    return ["" if path is None else file_sha256(path) if path.is_file() else None for path in prompts]


def _alone(folder: Path | str | None) -> list[Path | str] | None:
    return None if folder is None else [folder]


def _place(codes: Codes) -> tuple[tuple[bool, ...] | None, ...]:
    """How far a song is: of each frame at each level whether it is hidden."""
    return tuple(None if part is None else tuple((part[0] == HIDDEN).tolist()) for part in codes.levels)


def _together(songs: Sequence[Codes]) -> Codes:
    """A row for each song, all of which are as far as one another."""
    levels = zip(*(song.levels for song in songs), strict=True)
    return Codes(songs[0].grid, tuple(None if parts[0] is None else torch.cat(parts) for parts in levels))


def _whole_frames(codes: Codes) -> Codes:
    """The codes without those of a last, incomplete frame of the top level."""
    hops = codes.grid.hop_lengths
    frames = min(codes[level].shape[1] * hop // hops[-1] for level, hop in enumerate(hops))
    return Codes(codes.grid, tuple(codes[level][:, : frames * hops[-1] // hop] for level, hop in enumerate(hops)))


def _space_bytes(plan: Plan, channels: int) -> int:
    """What a song needs on disk: codes twice while they are replaced, audio of each level twice, pictures."""
    frames = sum(plan.num_frames(level) for level in range(plan.finest_level, plan.grid.num_levels))
    return 2 * 4 * frames + 2 * 2 * plan.num_samples * channels * (plan.grid.num_levels + 1) + 2_000_000
