"""The recipe for a codec."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from orchestrion.audio import io
from orchestrion.audio.spectral import decibels, distance, mel_distance, signal_to_noise
from orchestrion.checkpoints.folder import CODEC, ModelInfo, write_model
from orchestrion.codec import Codec
from orchestrion.codec.loss import SCALE_SIZE, LossScales, loss_scales
from orchestrion.codec.model import Choice, level_of
from orchestrion.codes import HIDDEN, Codes, counts_of, entropy_bits
from orchestrion.config.training import CodecTrainingConfig
from orchestrion.data.chunks import Chunk
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.generate.pick import seed_of_take
from orchestrion.train.adversarial import Adversary
from orchestrion.train.checks import adversarial_findings, codebook_findings, codec_findings
from orchestrion.train.composed import Composer
from orchestrion.train.loop import StepResult, seed_of
from orchestrion.train.parallel import Part
from orchestrion.train.show import compare_spectrograms
from orchestrion.train.side import under
from orchestrion.train.speech import UNKNOWN, Speech
from orchestrion.train.sung import SungTracks, sung_sounds

Clips = Float[Tensor, "clip channel sample"]

_SCALE_BATCHES = 16  # of training chunks, that the scales of a loss are measured on


def check_chunks(config: CodecTrainingConfig) -> int:
    """The samples of a chunk; UserError where the losses need more."""
    codec, grid = config.codec, config.codec.grid
    num_samples = grid.whole(grid.num_samples(config.chunk_seconds))
    longest = max((codec.loss.longest_window, *config.windows_heard))
    if num_samples <= longest // 2:
        raise UserError(
            f"chunks of {num_samples} samples are too short for spectra of {longest}",
            "raise chunk_seconds, or use smaller codec.loss.spectral_sizes, mel_sizes and adversarial.windows",
        )
    if num_samples * codec.channels < codec.loss.num_largest and codec.loss.largest:
        raise UserError(
            f"chunks of {num_samples} samples have no {codec.loss.num_largest} largest errors",
            "raise chunk_seconds, or lower codec.loss.num_largest",
        )
    return num_samples


def with_scales(
    config: CodecTrainingConfig, tracks: TrackStore | None, begun: Mapping[str, Any] | None = None
) -> CodecTrainingConfig:
    """The settings; where the loss is not relative, with its scales measured in the training music, as published.

    A run that was begun keeps its scales, whose last digits depend on the number of threads: `begun` has its settings.
    Without `tracks` nothing is measured.
    """
    codec, training = config.codec, config.training
    if codec.loss.relative:
        return config
    known = (begun or {}).get("codec", {}).get("loss", {})
    if all(name in known for name in LossScales._fields):
        return _with_scales(config, LossScales(**{name: known[name] for name in LossScales._fields}))
    num_samples = check_chunks(config)
    if num_samples <= SCALE_SIZE[0] // 2:
        raise UserError(f"chunks of {num_samples} samples are too short to measure by", "raise chunk_seconds")
    if tracks is None:
        return config
    batches = (
        tracks.batch(step, batch_size=training.batch_size, num_samples=num_samples, seed=training.seed)
        for step in range(_SCALE_BATCHES)
    )
    return _with_scales(config, loss_scales(clip for batch in batches for clip in batch))


def _with_scales(config: CodecTrainingConfig, scales: LossScales) -> CodecTrainingConfig:
    loss = config.codec.loss.model_copy(update=scales._asdict())
    return config.model_copy(update={"codec": config.codec.model_copy(update={"loss": loss})})


class CodecRecipe:
    """Trains every level of a codec on the same chunks of the training tracks, in the end against an adversary."""

    def __init__(
        self,
        config: CodecTrainingConfig,
        tracks: TrackStore,
        device: torch.device,
        composer: Composer | None = None,
    ) -> None:
        """`composer` is there where `config` has `composed`, and composes the levels that learn."""
        assert (composer is None) == (config.composed is None)
        if composer and composer.info.grid != config.codec.grid:
            raise UserError("the composer has other levels than the codec", "compose by a model of this codec")
        self.config = config
        self.composer = composer
        self.tracks = tracks
        self.device = device
        self._begun_with: dict[str, Any] | None = None
        self._learned_from = tracks.learned_from.union(composer.info.learned_from if composer else ())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.training.seed)
            self.codec = Codec(config.codec).to(device)
            self.codec.learn(config.learning, decoders_only=config.decoders_only)
            self.adversary = self._adversary(config)
            self.sung = SungTracks(tracks, sung_sounds) if config.speech else None
            self.speech = self._speech(config)
        self.chunk_samples = check_chunks(config)
        clip_samples = self.codec.grid.whole(self.codec.grid.num_samples(config.validation_seconds))
        chunks = tracks.validation_chunks(clip_samples, config.validation_clips)
        if not chunks:
            raise UserError(
                "no track is held out for validation, or silence alone",
                "add more tracks, of which content gives one in twelve to it, or hold one out: "
                '"held_out": true in its line of the manifest',
            )
        self._held_out = chunks
        self.clips: Clips = tracks.cut(chunks, clip_samples).to(device)
        self._said = self._sounds(chunks, clip_samples) if self.sung else None

    def _adversary(self, config: CodecTrainingConfig) -> Adversary | None:
        if config.adversarial is None:
            return None
        return Adversary(
            config.adversarial,
            channels=config.codec.channels,
            levels=config.learning,
            magnitudes=config.writing_magnitudes,
            steps=config.training.steps,
            device=self.device,
        )

    def _speech(self, config: CodecTrainingConfig) -> Speech | None:
        if config.speech is None or self.sung is None:
            return None
        return Speech(
            config.speech,
            width=config.codec.codebook.width,
            num_symbols=len(self.sung.symbols),
            steps=config.training.steps,
            device=self.device,
        )

    def begin_with(self, trained: Codec, info: ModelInfo) -> list[str]:
        """Take over weights and codebooks of the same shape; returns the names of what is left to chance.

        Levels are the same from the top down: below those of the other codec, finer ones begin by chance. A codebook
        begins anew, where the music is, if what comes before it does: its entries would be far from all.

        `info` describes that codec's model. The SHA-256 of its file is kept with the levels that were taken over whole
        and what they were there, so that priors that knew their codes may begin with those of this, and with those
        whose codes stay what they were, so that priors that know them know these; so is what that codec says of the
        one before it, and what it learned from. UserError for parts that do not learn and are not taken over.
        """
        lower = self.codec.grid.num_levels - trained.grid.num_levels
        own = self.codec.state_dict()
        theirs = {_at_level(name, level_of(name) + lower): value for name, value in trained.state_dict().items()}
        fitting = {name for name, value in own.items() if name in theirs and theirs[name].shape == value.shape}
        changed = {level_of(name) for name in own if name not in fitting}
        hearing_anew = {level_of(name) for name in own if name not in fitting and ".encoder." in name}
        fitting -= {name for name in own if ".codebook." in name and level_of(name) in hearing_anew}
        left = [name for name in own if name not in fitting]
        frozen = sorted(level_of(name) for name in left if not self._learns(name))
        if frozen:
            raise UserError(
                f"the codec to begin with has another shape at level {frozen[0]}, which does not learn",
                "give one with the same level, or let all levels learn",
            )
        self.codec.load_state_dict(own | {name: theirs[name] for name in fitting})
        learning = {level_of(name) for name in own if ".decoder." not in name and self._learns(name)}
        levels = range(self.codec.grid.num_levels)
        self._begun_with = {
            "sha256": info.sha256[CODEC],
            "levels": {str(level): level - lower for level in levels if level not in changed},
            "unchanged": {str(level): level - lower for level in levels if level not in learning},
        } | ({"before": before} if (before := info.about.get("begun_with")) else {})
        self._learned_from |= set(info.learned_from)
        return left

    def _learns(self, name: str) -> bool:
        """Whether a weight of the codec, or an entry of a codebook, moves."""
        return level_of(name) in self.config.learning and (not self.config.decoders_only or ".decoder." in name)

    @property
    def _moving(self) -> tuple[int, ...]:
        """The levels whose codebooks follow the music."""
        return () if self.config.decoders_only else self.config.learning

    entries = ("fill", "outputs")

    @property
    def model(self) -> nn.Module:
        return self.codec

    @model.setter
    def model(self, codec: nn.Module) -> None:
        assert isinstance(codec, Codec)
        self.codec = codec

    def matrices(self) -> list[nn.Parameter]:
        return []

    def tensors(self) -> dict[str, Tensor]:
        found = self.adversary.tensors() if self.adversary else {}
        return found | (
            {f"speech.{name}": value for name, value in self.speech.tensors().items()} if self.speech else {}
        )

    def load(self, tensors: dict[str, Tensor]) -> None:
        if self.adversary:
            self.adversary.load(tensors)
        if self.speech:
            self.speech.load(under(tensors, "speech."))

    def _chunks(self, step: int, part: Part) -> list[Chunk]:
        seed, items = self.config.training.seed, range(part.first, part.first + part.size)
        return [self.tracks.chunk(seed, step, item, self.chunk_samples) for item in items]

    def _audio(self, step: int, part: Part) -> Clips:
        return self.tracks.cut(self._chunks(step, part), self.chunk_samples).to(self.device)

    def _sounds(self, chunks: list[Chunk], num_samples: int) -> Int[Tensor, "clip frame"]:
        """Which speech sound each frame of the top level has."""
        assert self.sung is not None
        hop = self.codec.grid.hop_lengths[-1]
        found = [
            self.sung.frames(chunk, num_samples, hop, centre=0.5)
            if self.sung.sounds[chunk.track]
            else torch.full((num_samples // hop,), UNKNOWN)
            for chunk in chunks
        ]
        return torch.stack(found).to(self.device)

    def prepare(self, step: int, own: Part) -> None:
        """Begins the codebooks where the music of the first step is."""
        self._rng = torch.Generator().manual_seed(seed_of(self.config.training.seed, step, stream=1))
        self._made: list[list[Choice]] = []
        if step == 0 and self.config.principal_batches:
            batches, everyone = self.config.principal_batches, Part(0, own.total, own.total)
            first = torch.cat([self._audio(batch, everyone) for batch in range(batches)])
            for level in self.config.learning:
                if not self.codec.filled(level):
                    self.codec.begin_principal(level, first)
            share = first[own.first * batches : (own.first + own.size) * batches]
            self.codec.fill(share, self._rng, self._moving)
        elif step == 0:
            self.codec.fill(self._audio(step, own), self._rng, self._moving)

    def loss(self, step: int, part: Part) -> StepResult:
        chunks = self._chunks(step, part)
        audio = self.tracks.cut(chunks, self.chunk_samples).to(self.device)
        outputs = self.codec.outputs(audio, self.config.learning, self._composed(step, part, chunks))
        self._made.append([Choice(output.vectors, output.codes) for output in outputs])
        metrics: dict[str, Tensor | float] = {}
        for level, output in zip(self.config.learning, outputs, strict=True):
            metrics |= {
                f"level_{level}/train_loss": output.loss.detach(),
                f"level_{level}/train_waveform": output.reconstruction.waveform.detach(),
                f"level_{level}/train_spectral": output.reconstruction.spectral.detach(),
                f"level_{level}/commitment": output.commitment.detach(),
            }
            if self.config.codec.loss.mel:
                metrics[f"level_{level}/train_mel"] = output.reconstruction.mel.detach()
        losses = [output.loss for output in outputs]
        if self.adversary and step >= self.adversary.first:
            losses, numbers = self.adversary.losses(outputs, step)
            metrics |= numbers
        if self.speech:
            told, numbers = self.speech.loss(outputs[-1].quantized, self._sounds(chunks, self.chunk_samples))
            losses.append(told)
            metrics |= numbers
        return StepResult(torch.stack(losses).sum(), metrics)

    def _composed(self, step: int, part: Part, chunks: list[Chunk]) -> dict[int, Int[Tensor, "clip frame"]]:
        """The codes that are composed to clips of a batch, by their levels; `HIDDEN` are those of the other clips."""
        if self.config.composed is None:
            return {}
        assert self.composer is not None
        found = {}
        for level in self.config.learning:
            frames = self.chunk_samples // self.codec.grid.hop_lengths[level]
            found[level] = torch.full((part.size, frames), HIDDEN, device=self.device)
            for row, chunk in enumerate(chunks):
                clip = step * part.total + part.first + row
                if self.config.composed.hears(clip):
                    seed = seed_of_take(self.config.training.seed, clip)
                    found[level][row] = self.composer.codes(level, chunk, self.chunk_samples, self.tracks, seed)
        return found

    def follow(self, step: int) -> dict[str, float]:
        """Moves the codebooks that learn, and the discriminators where they take part."""
        revived = self.codec.move(self._made, self._rng, self._moving)
        if self.adversary and step >= self.adversary.first:
            self.adversary.follow(step)
        if self.speech:
            self.speech.follow(step)
        return {f"level_{at}/revived": float(num) for at, num in zip(self._moving, revived, strict=True)}

    def validate(self) -> dict[str, float]:
        metrics: dict[str, float] = {}
        codes = self.codec.encode(self.clips)
        for level, made in enumerate(codes.levels):
            assert made is not None
            restored = self.codec.decode(codes, level)
            apart = distance(self.clips, restored)
            config = self.config.codec
            counts = counts_of(made, config.codebook.size, config.levels[level].depth).float()
            metrics |= {
                f"level_{level}/snr": float(signal_to_noise(self.clips, restored).mean()),
                f"level_{level}/convergence_db": float(decibels(apart.convergence).mean()),
                f"level_{level}/log_spectral": float(apart.log_difference.mean()),
                f"level_{level}/mel_distance": float(
                    mel_distance(self.clips, restored, self.codec.grid.sample_rate).mean()
                ),
                f"level_{level}/codebook_used": float((counts > 0).float().mean(1).min()),
                f"level_{level}/codebook_entropy": min(map(entropy_bits, counts)),
            }
        for level, composed in self._composed_clips.items():
            restored = self.codec.decode(composed, level)
            metrics[f"level_{level}/composed_mel_distance"] = float(
                mel_distance(self.clips, restored, self.codec.grid.sample_rate).mean()
            )
        if self.speech and self._said is not None:
            top = codes.levels[-1]
            assert top is not None
            heard = self.speech.heard(self.codec.quantized(top, -1), self._said)
            metrics |= {"speech/loss": float(heard.loss), "speech/right": heard.right}
        return metrics

    @cached_property
    def _composed_clips(self) -> dict[int, Codes]:
        """Codes that are composed to the held-out clips, by their levels."""
        if self.composer is None:
            return {}
        found, samples = {}, self.clips.shape[-1]
        for level in self.config.learning:
            rows = [
                self.composer.codes(level, chunk, samples, self.tracks, row) for row, chunk in enumerate(self._held_out)
            ]
            found[level] = Codes.empty(self.codec.grid).replace(level, torch.stack(rows))
        return found

    def show(self, folder: Path) -> None:
        """The first two held-out clips and what each level makes of them, to hear and to see."""
        clips = self.clips[:2]
        codes = self.codec.encode(clips)
        sounds = {"original": clips} | {
            f"level {level}": self.codec.decode(codes, level) for level in range(self.codec.grid.num_levels)
        }
        rate = self.config.codec.sample_rate
        for name, audio in sounds.items():
            for index, clip in enumerate(audio):
                io.write(folder / f"clip-{index}-{name.replace(' ', '-')}.flac", clip.cpu(), rate)
        compare_spectrograms(folder / "clips.png", {k: list(v.cpu()) for k, v in sounds.items()}, rate)

    def findings(self, step: int, metrics: dict[str, float]) -> list[str]:
        warmup = self.config.training.optimizer.warmup_steps
        sentences: list[str] = []
        for level in self.config.learning:
            size, kind = self.config.codec.codebook.size, self.config.codec.codebook.kind
            vector = self.codec.grid.hop_lengths[level] * self.config.codec.levels[level].depth
            heard = len(self.clips) * self.clips.shape[-1] // vector
            sentences += codebook_findings(metrics, level, size, heard, kind)
            magnitudes = level in self.config.writing_magnitudes
            sentences += codec_findings(metrics, level, step, warmup, magnitudes=magnitudes)
            if self.adversary:
                own = self.adversary.config.optimizer.warmup_steps
                sentences += adversarial_findings(metrics, level, step - self.adversary.first, own)
        return sentences

    def export(self, folder: Path) -> None:
        """Write `model/`: a model folder with a codec and no priors yet."""
        about: dict[str, Any] = {
            "trained_on": self.tracks.data_hash,
            "learned_from": sorted(self._learned_from),
            "steps": self.config.training.steps,
        }
        if self._begun_with:
            about["begun_with"] = self._begun_with
        info = ModelInfo(name=folder.resolve().name, codec=self.config.codec, about=about)
        write_model(folder / "model", info, self.codec, card="A codec without priors; see ../run.json.\n")


def _at_level(name: str, level: int) -> str:
    """The name of the same weight of another level."""
    first, _, rest = name.split(".", 2)
    return f"{first}.{level}.{rest}"
