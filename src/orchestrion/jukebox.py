"""Jukebox: open a model and use it, with one level's weights in memory at a time."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from orchestrion.generate.request import Origin, Request
from orchestrion.generate.song import Plan, fill_song
from orchestrion.library.folder import Claim, SongFolder, SongInfo, SongModel, claim, codes_sha256, find
from orchestrion.library.picture import captions, draw
from orchestrion.prior.labels import Conditions
from orchestrion.prior.model import Prior
from orchestrion.version import __version__


@dataclass(frozen=True)
class Progress:
    """How far a composition is: `done` of `total` frames of `level`; `stage` is "compose" or "decode"."""

    stage: str
    level: int
    done: int
    total: int


@dataclass(frozen=True)
class Song:
    """What came of a request. `audio` is of the finest level made; `folder` is None for a song kept nowhere."""

    request: Request
    codes: Codes
    audio: Float[Tensor, "channel sample"]
    sample_rate: int
    folder: Path | None = None

    @property
    def name(self) -> str:
        """What the song goes by where another is made from it."""
        return self.folder.stem if self.folder else ""

    @property
    def seconds(self) -> float:
        return self.audio.shape[-1] / self.sample_rate

    def save(self, path: Path | str) -> None:
        """Write the audio in the format that the suffix names."""
        io.write(Path(path), self.audio, self.sample_rate)

    def draw(self, path: Path | str) -> None:
        """Write a picture of the audio as PNG."""
        asked = self.request
        draw(
            Path(path),
            self.audio,
            self.sample_rate,
            title=captions(asked.artist, asked.genres, asked.seed),
            caption=f"{self.seconds:.1f} s, level {self.codes.finest}",
        )


class Composition:
    """A song in the making: iterate over its progress, stop where you like, `finish()` it for the Song."""

    def __init__(self, steps: Generator[Progress, None, Song]) -> None:
        self._steps = steps
        self._song: Song | None = None

    def __iter__(self) -> Iterator[Progress]:
        return self

    def __next__(self) -> Progress:
        try:
            return next(self._steps)
        except StopIteration as end:
            self._song = self._song or end.value
            raise

    def finish(self) -> Song:
        """Do all that is left to do, and give the song."""
        for _ in self:
            pass
        if self._song is None:
            raise UserError("this composition was broken off by an error", "begin it again")
        return self._song


class Jukebox:
    """A model, opened. Only its description is in memory; weights come when they are needed and go again.

    `device` is where the work is done, by default the accelerator if there is one; `dtype` is how weights
    are held.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        name: str = "",
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.folder = Path(folder)
        self.info: ModelInfo = read_model(self.folder)
        self.name = name or self.info.name
        self.dtype = dtype
        self.device = _device(device)

    @staticmethod
    def from_pretrained(
        name: str | Path,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> "Jukebox":
        """Open a model by its name (`orchestrion models list`) or by the path of its folder."""
        return Jukebox(zoo.locate(name), name=str(name), device=device, dtype=dtype)

    @property
    def card(self) -> str:
        """The model card, as Markdown."""
        return read_card(self.folder)

    def encode(self, audio: Float[Tensor, "channel sample"], sample_rate: int) -> Codes:
        """The codes of every level for audio at any rate, mixed and resampled to what the model hears."""
        mixed = waveform.mix(audio.float(), self.info.codec.channels)
        heard = waveform.resample(mixed, sample_rate, self.info.codec.sample_rate)
        with self._codec() as codec:
            return codec.encode(heard[None].to(self.device, self.dtype))

    def decode(self, codes: Codes, level: int | None = None) -> Float[Tensor, "channel sample"]:
        """The audio of one song's codes at `level`, by default the finest there is, clipped to [-1, 1]."""
        self._check_codes(codes)
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
    ) -> Composition:
        """Make the song that `request` asks for: from nothing, its prompt, or `codes` that it starts with.

        With a `folder` the song is kept there as it grows, codes after every window. The same request for a
        folder with an unfinished song goes on with it, to the same end. Whatever can be wrong with the
        request, the folder or the disk is found before this returns, as UserError; so is another song in
        the folder, unless `replace` gives that up.
        """
        request = self.resolved(request)
        plan = self._plan(request)
        if codes is not None:
            self._check_codes(codes, plan)
        elif request.prime:
            self._check_prompt(request)
        for level in plan.missing(codes or Codes.empty(plan.grid)):
            self.info.prior(level)
        kept = None
        if folder is not None:
            kept = claim(Path(folder), self._about(request, plan), replace=replace)
            check_writable(kept.path.parent)
            check_space(kept.path.parent, _space_bytes(plan, self.info.codec.channels))
        return Composition(self._steps(request, plan, codes, kept))

    def resume(self, folder: Path | str) -> Composition:
        """Go on with the unfinished song in `folder`."""
        kept = SongFolder.open(Path(folder))
        return self.compose(read_settings(Request, kept.info.request, str(kept.path)), kept.path, codes=kept.codes())

    def prime(
        self,
        request: Request,
        audio: Float[Tensor, "channel sample"],
        sample_rate: int,
        folder: Path | str | None = None,
    ) -> Composition:
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
    ) -> Composition:
        """Make `song` longer by `seconds`, keeping its codes. `changes` are to its request, such as `artist`."""
        origin = Origin(song=song.name, act="continue", codes_sha256=codes_sha256(song.codes))
        request = song.request.continued(seconds, origin, **changes)
        return self.compose(request, folder, codes=song.codes, replace=replace)

    def upsample(
        self, song: Song, folder: Path | str | None = None, *, replace: bool = False, **changes: Any
    ) -> Composition:
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
        names, levels = self.info.vocabulary, self.info.grid.num_levels
        artist = None if request.artist is None else names.artist_name(names.artist_id(request.artist))
        genres = names.genre_names(names.genre_ids(request.genres)) if request.genres else ()
        sampling = request.sampling or self.info.sampling
        sampling = sampling * levels if len(sampling) == 1 else sampling
        if len(sampling) != levels:
            raise UserError(
                f"sampling is given for {len(sampling)} levels of {levels}",
                "give one for all levels, or one for each",
            )
        return request.changed(artist=artist, genres=genres, sampling=sampling)

    def _steps(
        self, request: Request, plan: Plan, codes: Codes | None, kept: Claim | None
    ) -> Generator[Progress, None, Song]:
        if kept and kept.song:
            codes = kept.song.codes()
            self._check_codes(codes, plan)
        elif codes is None:
            codes = self._prompt(request) if request.prime else Codes.empty(plan.grid)
        song = kept.begin(codes) if kept else None
        codes = _moved(codes, self.device)
        events = fill_song(self._prior, codes, plan, conditions=self._conditions(request), seeds=[request.seed])
        for event in events:
            if event.codes is not None:
                codes = event.codes
                if song:
                    song.save_codes(codes)
            yield Progress("compose", event.level, event.frames_done, event.frames_total)
        codes = _moved(codes, "cpu")
        audio = yield from self._decode_levels(codes, plan, song)
        made = Song(request, codes, audio, plan.grid.sample_rate, song.path if song else None)
        if song:
            made.draw(song.picture_path)
        return made

    def _decode_levels(
        self, codes: Codes, plan: Plan, song: SongFolder | None
    ) -> Generator[Progress, None, Float[Tensor, "channel sample"]]:
        """Decode every level that is kept and not decoded yet, and at last the finest, which is returned."""
        audio = None
        with self._codec() as codec:
            for level in range(plan.grid.top, plan.finest_level - 1, -1):
                if level > plan.finest_level and (song is None or song.audio_path(level).exists()):
                    continue
                pieces, done = [], 0
                for piece in self._decoded(codec, codes, level):
                    pieces.append(piece)
                    done = min(done + piece.shape[-1] // plan.grid.hop_lengths[level], plan.num_frames(level))
                    yield Progress("decode", level, done, plan.num_frames(level))
                audio = torch.cat(pieces, -1)[:, : plan.num_samples]
                if song:
                    song.save_audio(level, audio)
        assert audio is not None
        return audio

    def _decoded(self, codec: Codec, codes: Codes, level: int) -> Iterator[Float[Tensor, "channel sample"]]:
        """Audio of the only song in `codes`, piece by piece, on the CPU."""
        alone = Codes.empty(codes.grid).replace(level, codes[level].to(self.device))
        for piece in codec.stream(alone, level):
            yield piece[0].float().clamp(-1, 1).cpu()

    @contextmanager
    def _prior(self, level: int) -> Iterator[Prior]:
        yield load_prior(self.folder, self.info, level, self.dtype).to(self.device)

    @contextmanager
    def _codec(self) -> Iterator[Codec]:
        yield load_codec(self.folder, self.info, self.dtype).to(self.device)

    def _plan(self, request: Request) -> Plan:
        grid = self.info.grid
        num_samples = grid.num_samples(request.seconds)
        if num_samples < grid.hop_lengths[grid.top]:
            shortest = grid.seconds(grid.hop_lengths[grid.top])
            raise UserError(
                f"{request.seconds} s are less than one code of the top level",
                f"ask for {shortest:.3f} s or more",
            )
        if request.finest_level > grid.top:
            raise UserError(f"there is no level {request.finest_level}", f"levels go from 0 to {grid.top}")
        self._check_timing(request)
        contexts = tuple(prior.context_frames if prior else 0 for prior in self.info.priors)
        return Plan(grid, num_samples, contexts, request.sampling, request.finest_level)

    def _check_timing(self, request: Request) -> None:
        """Raise UserError for a total length that some prior refuses."""
        total = request.total_seconds or request.seconds
        for prior in self.info.priors:
            timing = prior.timing if prior else None
            if timing and not timing.clamp and not timing.min_total_seconds <= total < timing.max_total_seconds:
                raise UserError(
                    f"the model knows pieces of {timing.min_total_seconds:g} to "
                    f"{timing.max_total_seconds:g} s, not {total:g}",
                    "choose total_seconds within that; seconds may be less",
                )

    def _conditions(self, request: Request) -> Conditions:
        names, grid = self.info.vocabulary, self.info.grid
        return Conditions(
            artist=torch.tensor([names.artist_id(request.artist)]),
            genres=torch.tensor([names.genre_ids(request.genres)]),
            total_samples=torch.tensor([grid.num_samples(request.total_seconds or request.seconds)]),
            start_samples=torch.tensor([0]),
        ).to(self.device)

    def _check_codes(self, codes: Codes, plan: Plan | None = None) -> None:
        """Raise UserError for codes of another model, of several songs, or of more than is planned."""
        if codes.grid != self.info.grid:
            raise UserError(
                f"these codes are on {codes.grid} and the model's on {self.info.grid}",
                "use the model that made them",
            )
        for level, part in enumerate(codes.levels):
            if part is None:
                continue
            if part.shape[0] != 1:
                raise UserError(f"these are the codes of {part.shape[0]} songs", "take them one by one")
            if part.numel() and not 0 <= int(part.min()) <= int(part.max()) < self.info.codec.codebook.size:
                raise UserError(f"level {level} has codes that the model does not know", "use the model that made them")
            if plan and part.shape[1] > plan.num_frames(level):
                raise UserError(
                    f"{codes.seconds(level):.2f} s are there already, more than the song is to last",
                    "ask for more seconds",
                )

    def _check_prompt(self, request: Request) -> None:
        """Raise UserError for a prompt that is not there, too short to hear, or as long as the song."""
        assert request.prime is not None
        length = io.probe(Path(request.prime.path)).seconds - request.prime.start_seconds
        wanted = request.prime.seconds
        if length <= 0 or (wanted is not None and wanted > length + 1e-3):
            raise UserError(
                f"{request.prime.path} ends {max(length, 0):.2f} s after the prompt's start",
                "choose a part inside the file",
            )
        seconds, grid = length if wanted is None else wanted, self.info.grid
        if grid.num_samples(seconds) < grid.hop_lengths[grid.top]:
            raise UserError(f"a prompt of {seconds:.3f} s holds no code of the top level", "prime with more")
        if seconds >= request.seconds:
            raise UserError(
                f"a prompt of {seconds:.2f} s leaves nothing of a song of {request.seconds:g} s to compose",
                "seconds counts the prompt too: ask for more, or prime with less",
            )

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


def _moved(codes: Codes, device: torch.device | str) -> Codes:
    return Codes(codes.grid, tuple(None if part is None else part.to(device) for part in codes.levels))


def _whole_frames(codes: Codes) -> Codes:
    """The codes without those of a last, incomplete frame of the top level."""
    hops = codes.grid.hop_lengths
    frames = min(codes[level].shape[1] * hop // hops[-1] for level, hop in enumerate(hops))
    return Codes(codes.grid, tuple(codes[level][:, : frames * hops[-1] // hop] for level, hop in enumerate(hops)))


def _space_bytes(plan: Plan, channels: int) -> int:
    """What a song needs on disk: codes twice while they are replaced, audio of each level twice, pictures."""
    frames = sum(plan.num_frames(level) for level in range(plan.finest_level, plan.grid.num_levels))
    return 2 * 4 * frames + 2 * 2 * plan.num_samples * channels * (plan.grid.num_levels + 1) + 2_000_000
