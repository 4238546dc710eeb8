"""The model, opened."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.audio import io, waveform
from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.folder import (
    CODEC,
    ModelInfo,
    load_codec,
    load_prior,
    model_sha256,
    read_card,
    read_model,
)
from orchestrion.codec.model import Codec
from orchestrion.codes import Codes
from orchestrion.config import plain, read_settings
from orchestrion.errors import UserError
from orchestrion.files import check_space, check_writable
from orchestrion.generate.align import Alignment, lyric_attention
from orchestrion.generate.request import Origin, Request
from orchestrion.generate.song import Plan, fill_song
from orchestrion.generate.told import Told
from orchestrion.jukebox import asked
from orchestrion.jukebox.song import Composition, Progress, Song
from orchestrion.library.folder import Claim, SongFolder, SongInfo, SongModel, claim, codes_sha256, find
from orchestrion.nn.fast import Weights, quantized
from orchestrion.prior.model import Prior
from orchestrion.version import __version__


class Jukebox:
    """A model, opened. Only its description is in memory; weights come when they are needed and go again.

    `device` is where the work is done, by default the accelerator if there is one; `dtype` is how weights are held;
    `weights` holds those of priors in fewer bits while they draw (`nn.fast`). `most_songs` bounds how many of the songs
    made together are drawn in one go, and with it the memory.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str = "",
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        weights: Weights | None = None,
        most_songs: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.info: ModelInfo = read_model(self.folder)
        self.name = name or self.info.name
        self.dtype = dtype
        self.weights: Weights | None = weights
        self.device = _device(device)
        self.most_songs = most_songs

    @staticmethod
    def from_pretrained(
        name: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
        weights: Weights | None = None,
        most_songs: int | None = None,
    ) -> "Jukebox":
        """Open a model by its name (`orchestrion models list`) or by the path of its folder."""
        return Jukebox(
            zoo.locate(name), name=str(name), device=device, dtype=dtype, weights=weights, most_songs=most_songs
        )

    @property
    def card(self) -> str:
        """The model card, as Markdown."""
        return read_card(self.folder)

    def encode(self, audio: Float[Tensor, "channel sample"], sample_rate: int) -> Codes:
        """The codes of every level for audio at any rate, mixed and resampled to what the model hears."""
        with self._codec() as codec:
            return codec.encode(self._heard(audio, sample_rate))

    def decode(self, codes: Codes, level: int | None = None) -> Float[Tensor, "channel sample"]:
        """The audio of one song's codes at `level`, by default the finest there is, clipped to [-1, 1]."""
        asked.check_codes(codes, self.info, 1)
        level = codes.finest if level is None else level
        if not 0 <= level < codes.grid.num_levels:
            raise UserError(f"there is no level {level}", f"levels go from 0 to {codes.grid.top}")
        with self._codec() as codec:
            return torch.cat(list(self._decoded(codec, codes, level)), -1)

    def compose(
        self,
        request: Request,
        folder: Path | str | None = None,
        *,
        codes: Codes | None = None,
        replace: bool = False,
    ) -> Composition[Song]:
        """Make the song that `request` asks for: from nothing, its prompt, or `codes` that it starts with.

        With a `folder` the song is kept there as it grows, codes after every window. The same request for a
        folder with an unfinished song goes on with it, to the same end. Whatever can be wrong with the
        request, the folder or the disk is found before this returns, as UserError; so is another song in
        the folder, unless `replace` gives that up.
        """
        folders = None if folder is None else [folder]
        return Composition(_only(self._composed([request], folders, codes, replace)))

    def compose_all(
        self,
        requests: Sequence[Request],
        folders: Sequence[Path | str] | None = None,
        *,
        codes: Codes | None = None,
        replace: bool = False,
    ) -> Composition[tuple[Song, ...]]:
        """Make several songs together, which takes little longer than one: each comes out as if made alone.

        As `compose`, with a folder and a row of `codes` for each request. They have the same length, sampling and
        finest level, and prompts of the same length; `Request.takes` gives requests that differ by their seeds.
        """
        return Composition(self._composed(requests, folders, codes, replace))

    def resume(self, folder: Path | str) -> Composition[Song]:
        """Go on with the unfinished song in `folder`."""
        kept = SongFolder.open(Path(folder))
        return self.compose(read_settings(Request, kept.info.request, str(kept.path)), kept.path, codes=kept.codes())

    def prime(
        self,
        request: Request,
        audio: Float[Tensor, "channel sample"],
        sample_rate: int,
        folder: Path | str | None = None,
    ) -> Composition[Song]:
        """Compose on from `audio`, which becomes the start of the song."""
        return self.compose(request, folder, codes=_whole_frames(self.encode(audio, sample_rate)))

    def continue_(
        self,
        song: Song,
        seconds: float,
        folder: Path | str | None = None,
        *,
        replace: bool = False,
        **changes: Any,
    ) -> Composition[Song]:
        """Make `song` longer by `seconds`, keeping its codes. `changes` are to its request, such as `artist`."""
        origin = Origin(song=song.name, act="continue", codes_sha256=codes_sha256(song.codes))
        request = song.request.continued(seconds, origin, **changes)
        return self.compose(request, folder, codes=song.codes, replace=replace)

    def upsample(
        self, song: Song, folder: Path | str | None = None, *, replace: bool = False, **changes: Any
    ) -> Composition[Song]:
        """Make every level of `song` below its top anew. `changes` are to its request, such as `seed`."""
        top = song.codes.grid.top
        codes = Codes.empty(song.codes.grid).replace(top, song.codes[top])
        origin = Origin(song=song.name, act="upsample", codes_sha256=codes_sha256(codes))
        return self.compose(song.request.upsampled(origin, **changes), folder, codes=codes, replace=replace)

    def load(self, path: Path | str, level: int | None = None) -> Song:
        """The song in a folder, or in the one beside an audio file, decoded at `level` or the finest it has."""
        kept = find(Path(path))
        if kept.info.model.codec_sha256 != self.info.sha256.get(CODEC, ""):
            raise UserError(
                f"the codes of {kept.path} are not of this model's codec",
                f"open {kept.info.model.name!r} instead",
            )
        codes = kept.codes()
        audio = self.decode(codes, level)[:, : kept.info.num_samples]
        return Song(
            read_settings(Request, kept.info.request, str(kept.path)),
            codes,
            audio,
            codes.grid.sample_rate,
            kept.path,
        )

    def resolved(self, request: Request) -> Request:
        """The request with nothing left open: the model's spelling of labels, its sampling where none is given.

        UserError for labels that the model does not know.
        """
        return asked.resolved(request, self.info)

    @torch.no_grad()
    def features(
        self,
        audio: Float[Tensor, "channel sample"],
        sample_rate: int,
        *,
        layer: int | None = None,
        mean: bool = True,
        request: Request | None = None,
    ) -> Float[Tensor, "*frame width"]:
        """What the top prior makes of music: the activations after its first `layer` layers, for other models to use.

        The mean over all frames, or with `mean` off one vector per frame of the top level. By default half of the
        layers (Castellon et al. 2021, arXiv 2107.05677, found layer 36 of 72 best); only these are loaded. Music
        longer than the prior's context is read in windows side by side. The prior is told no labels and that
        the piece is as long as the audio, as near as it knows such lengths, unless `request` says otherwise.
        """
        top = self.info.grid.top
        config = self.info.prior(top)
        layer = config.transformer.num_layers // 2 if layer is None else layer
        if not 1 <= layer <= config.transformer.num_layers:
            raise UserError(f"there is no layer {layer}", f"layers go from 1 to {config.transformer.num_layers}")
        heard = self._heard(audio, sample_rate)
        with self._codec() as codec:
            codes = codec.encode(heard, (top,))[top]
        told = self._tell([self.resolved(request or _about(heard.shape[-1], self.info))], top)
        found = []
        with self._prior(top, layer) as prior:
            for start in range(0, codes.shape[1], config.context_frames):
                conditions = told.window(start * config.hop_length)
                window = codes[:, start : start + config.context_frames]
                found.append(prior.features(window, conditions, layer)[0].float().cpu())
        features = torch.cat(found)
        return features.mean(0) if mean else features

    @torch.no_grad()
    def alignment(self, song: Song, *, layer: int | None = None, head: int | None = None) -> Alignment:
        """Where in its lyrics each frame of a song's top level is: the attention of a layer and head of the top prior.

        By default those that follow the words best, where the model says which. UserError for a model or a song
        without lyrics.
        """
        top = self.info.grid.top
        config = self.info.prior(top)
        if config.lyrics is None or not song.request.lyrics:
            raise UserError("there are no lyrics to align", "take a song with lyrics and the model that sang it")
        layer = config.lyrics.alignment_layer if layer is None else layer
        head = config.lyrics.alignment_head if head is None else head
        if layer is None or head is None:
            raise UserError("the model does not say which attention follows the words", "give a layer and a head")
        if layer not in config.aligned_layers or not 0 <= head < config.transformer.num_heads:
            known = ", ".join(str(one) for one in config.aligned_layers)
            raise UserError(
                f"layer {layer}, head {head} does not attend to lyrics",
                f"layers that do: {known}; heads go from 0 to {config.transformer.num_heads - 1}",
            )
        request = self.resolved(song.request)
        asked.check_codes(song.codes, self.info, 1)
        told = self._tell([request], top)
        shape = asked.plan(request, self.info).shape(top)
        with self._prior(top, layer + 1) as prior:
            (weights,) = lyric_attention(
                prior,
                song.codes[top].to(self.device),
                told,
                shape=shape,
                hop_fraction=request.sampling[top].hop_fraction,
                layer=layer,
                head=head,
            )
        spelling = asked.published_names(self.info, top).spelling
        return Alignment(spelling.clean(request.lyrics), weights, self.info.grid.frame_rate(top))

    def _composed(
        self,
        requests: Sequence[Request],
        folders: Sequence[Path | str] | None,
        codes: Codes | None,
        replace: bool,
    ) -> Generator[Progress, None, tuple[Song, ...]]:
        """Checks all at once; what it returns does the work."""
        requests = [self.resolved(request) for request in requests]
        asked.check_together(requests)
        plan = asked.plan(requests[0], self.info, self.most_songs)
        for request in requests:
            asked.plan(request, self.info)
            if codes is None and request.prime:
                asked.check_prompt(request, self.info)
        if codes is not None:
            asked.check_codes(codes, self.info, len(requests), plan)
        for level in plan.missing(codes or Codes.empty(plan.grid)):
            self.info.prior(level)
        kept = None
        if folders is not None:
            if len({Path(folder).absolute() for folder in folders}) != len(requests):
                raise UserError("every song needs a folder of its own", "give as many as there are requests")
            about = [self._about(request, plan) for request in requests]
            kept = [claim(Path(folder), info, replace=replace) for folder, info in zip(folders, about, strict=True)]
            for one in kept:
                check_writable(one.path.parent)
            check_space(kept[0].path.parent, len(kept) * _space_bytes(plan, self.info.codec.channels))
        return self._steps(requests, plan, codes, kept)

    def _steps(
        self, requests: Sequence[Request], plan: Plan, codes: Codes | None, kept: Sequence[Claim] | None
    ) -> Generator[Progress, None, tuple[Song, ...]]:
        started = [one.song for one in kept or () if one.song]
        if kept and len(started) == len(kept):
            # Songs that were stopped at different places go on from the earliest: what is drawn again is the same.
            codes = _together([song.codes() for song in started])
            asked.check_codes(codes, self.info, len(requests), plan)
        elif codes is None:
            codes = self._prompts(requests)
        songs = [one.begin(_row(codes, row)) for row, one in enumerate(kept)] if kept else None
        codes = _moved(codes, self.device)
        seeds = [request.seed for request in requests]
        for event in fill_song(self._prior, codes, plan, tell=partial(self._tell, requests), seeds=seeds):
            if event.codes is not None:
                codes = event.codes
                for row, song in enumerate(songs or ()):
                    song.save_codes(_row(codes, row))
            yield Progress("compose", event.level, event.frames_done, event.frames_total)
        codes = _moved(codes, "cpu")
        audio = yield from self._decode_levels(codes, plan, songs)
        made = tuple(
            Song(request, _row(codes, row), audio[row], plan.grid.sample_rate, songs[row].path if songs else None)
            for row, request in enumerate(requests)
        )
        for row, song in enumerate(songs or ()):
            made[row].draw(song.picture_path)
        return made

    def _decode_levels(
        self, codes: Codes, plan: Plan, songs: Sequence[SongFolder] | None
    ) -> Generator[Progress, None, list[Float[Tensor, "channel sample"]]]:
        """Decode every level that is kept and not decoded yet, and at last the finest, which is returned."""
        num_songs = len(codes[plan.grid.top])
        finest: list[Float[Tensor, "channel sample"]] = []
        with self._codec() as codec:
            for level in range(plan.grid.top, plan.finest_level - 1, -1):
                frames, hop = plan.num_frames(level), plan.grid.hop_lengths[level]
                for row in range(num_songs):
                    song = songs[row] if songs else None
                    if level > plan.finest_level and (song is None or song.audio_path(level).exists()):
                        continue
                    pieces, done = [], 0
                    for piece in self._decoded(codec, _row(codes, row), level):
                        pieces.append(piece)
                        done = min(done + piece.shape[-1] // hop, frames)
                        yield Progress("decode", level, row * frames + done, num_songs * frames)
                    audio = torch.cat(pieces, -1)[:, : plan.num_samples]
                    if song:
                        song.save_audio(level, audio)
                    if level == plan.finest_level:
                        finest.append(audio)
        return finest

    def _decoded(self, codec: Codec, codes: Codes, level: int) -> Iterator[Float[Tensor, "channel sample"]]:
        """Audio of the only song in `codes`, piece by piece, on the CPU."""
        alone = Codes.empty(codes.grid).replace(level, codes[level].to(self.device))
        for piece in codec.stream(alone, level):
            yield piece[0].float().clamp(-1, 1).cpu()

    def _heard(
        self, audio: Float[Tensor, "channel sample"], sample_rate: int
    ) -> Float[Tensor, "batch heard_channel heard_sample"]:
        """Audio as the codec takes it."""
        mixed = waveform.mix(audio.float(), self.info.codec.channels)
        heard = waveform.resample(mixed, sample_rate, self.info.codec.sample_rate)
        return heard[None].to(self.device, self.dtype)

    def _tell(self, requests: Sequence[Request], level: int) -> Told:
        return asked.tell(requests, self.info, level).to(self.device)

    @contextmanager
    def _prior(self, level: int, num_layers: int | None = None) -> Iterator[Prior]:
        prior = load_prior(self.folder, self.info, level, self.dtype, num_layers).to(self.device)
        yield quantized(prior, self.weights) if self.weights else prior

    @contextmanager
    def _codec(self) -> Iterator[Codec]:
        yield load_codec(self.folder, self.info, self.dtype).to(self.device)

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
        return _whole_frames(self.encode(audio, codec.sample_rate))

    def _about(self, request: Request, plan: Plan) -> SongInfo:
        return SongInfo(
            orchestrion=__version__,
            model=SongModel(
                name=self.name, sha256=model_sha256(self.folder), codec_sha256=self.info.sha256.get(CODEC, "")
            ),
            request=plain(request),
            sample_rate=plan.grid.sample_rate,
            hop_lengths=plan.grid.hop_lengths,
            num_samples=plan.num_samples,
        )


def _only(steps: Generator[Progress, None, tuple[Song, ...]]) -> Generator[Progress, None, Song]:
    (song,) = yield from steps
    return song


def _device(wanted: torch.device | str | None) -> torch.device:
    """The device asked for, or the accelerator if there is one; UserError if it cannot be used."""
    if wanted is None:
        found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return found or torch.get_default_device()
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"the device {str(wanted)!r} cannot be used here", "leave it out to use what there is"
        ) from error
    return device


def _about(num_samples: int, info: ModelInfo) -> Request:
    """A request for unlabelled music of this length, or the nearest length that the top prior knows."""
    seconds = info.grid.seconds(num_samples)
    timing = info.prior(info.grid.top).timing
    if timing is None:
        return Request(seconds=seconds)
    latest = timing.max_total_seconds - 1
    return Request(seconds=min(seconds, latest), total_seconds=min(max(seconds, timing.min_total_seconds), latest))


def _each(codes: Codes, act: Callable[[Tensor], Tensor]) -> Codes:
    return Codes(codes.grid, tuple(None if part is None else act(part) for part in codes.levels))


def _moved(codes: Codes, device: torch.device | str) -> Codes:
    return _each(codes, lambda part: part.to(device))


def _row(codes: Codes, row: int) -> Codes:
    """The codes of one song."""
    return _each(codes, lambda part: part[row : row + 1])


def _together(songs: Sequence[Codes]) -> Codes:
    """A row for each song, as long as the shortest at each level."""
    levels: list[Tensor | None] = []
    for parts in zip(*(song.levels for song in songs), strict=True):
        there = [part for part in parts if part is not None]
        frames = min(part.shape[1] for part in there) if len(there) == len(parts) else 0
        levels.append(torch.cat([part[:, :frames] for part in there]) if frames else None)
    return Codes(songs[0].grid, tuple(levels))


def _whole_frames(codes: Codes) -> Codes:
    """The codes without those of a last, incomplete frame of the top level."""
    hops = codes.grid.hop_lengths
    frames = min(codes[level].shape[1] * hop // hops[-1] for level, hop in enumerate(hops))
    return Codes(codes.grid, tuple(codes[level][:, : frames * hops[-1] // hop] for level, hop in enumerate(hops)))


def _space_bytes(plan: Plan, channels: int) -> int:
    """What a song needs on disk: codes twice while they are replaced, audio of each level twice, pictures."""
    frames = sum(plan.num_frames(level) for level in range(plan.finest_level, plan.grid.num_levels))
    return 2 * 4 * frames + 2 * 2 * plan.num_samples * channels * (plan.grid.num_levels + 1) + 2_000_000
