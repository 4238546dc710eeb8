"""The recipe for a prior: the top level's, or an upsampler's."""

from collections import deque
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from orchestrion.audio import io
from orchestrion.checkpoints.folder import write_weights
from orchestrion.codec import Codec
from orchestrion.codes import Codes
from orchestrion.config import plain
from orchestrion.config.prior import LabelConfig, PriorConfig
from orchestrion.config.sampling import LevelSampling
from orchestrion.config.training import PriorTrainingConfig
from orchestrion.data.encoded import CodeBatch, CodeStore
from orchestrion.errors import UserError
from orchestrion.files import write_json
from orchestrion.generate.level import LevelShape, LevelTask, fill_level, finished
from orchestrion.generate.told import Told, told_of
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import AnyPrior
from orchestrion.prior.model import Prior, PriorLoss
from orchestrion.train.checks import prior_findings
from orchestrion.train.loop import StepResult, seed_of
from orchestrion.train.show import compare_spectrograms

_SHOWN = 2  # songs that are drawn at each validation
_RECENT_STEPS = 50  # one batch may be of easy music: their mean says how well the training music is known
_FINAL_WINDOWS = 240  # held-out windows, evenly spread, that the final figures are measured on


def prior_config(config: PriorTrainingConfig, store: CodeStore, level: int) -> PriorConfig:
    """The prior that `config` describes, for the codes and the names that are in `store`."""
    grid, names = store.grid, store.vocabulary
    ratio = 1 if level == grid.top else grid.ratio(level)
    strides = config.conditioner.ratio if config.conditioner else 1
    if strides != ratio:
        raise UserError(
            f"level {level} has {ratio} frames under one of the level above and the conditioner makes {strides}",
            "set conditioner.strides so that they multiply to that number"
            if level < grid.top
            else "leave the conditioner out at the top level",
        )
    labels = LabelConfig(num_artists=names.num_artists, num_genres=names.num_genres)
    return PriorConfig(
        sample_rate=grid.sample_rate,
        hop_length=grid.hop_lengths[level],
        codebook_size=store.codebook_size,
        context_frames=config.context_frames,
        transformer=config.transformer,
        labels=labels if config.use_labels else None,
        timing=config.timing,
        conditioner=config.conditioner,
    )


class PriorRecipe:
    """Trains the prior of one level on windows of codes; `codec` lends its codebooks and makes sounds of draws."""

    def __init__(
        self, config: PriorTrainingConfig, store: CodeStore, level: int, codec: Codec, device: torch.device
    ) -> None:
        self.config = config
        self.store = store
        self.level = level
        self.codec = codec.to(device)
        self.device = device
        rng = Generator().manual_seed(config.training.seed)
        self.prior = self._make(prior_config(config, store, level), rng)
        if config.codebook_embedding:
            self._embed_codebooks(rng)
        self.prior.to(device)
        self._recent: deque[float] = deque(maxlen=_RECENT_STEPS)
        self.unigram_bits = store.unigram_entropy(level, "train")
        self.held_out = self._windows(config.validation_windows)
        if not self.held_out:
            raise UserError(
                "no held-out track is as long as a window", "add more tracks, or use a shorter context_frames"
            )

    def _windows(self, most: int) -> list[CodeBatch]:
        """At most so many windows of the held-out tracks, evenly spread, in batches."""
        config = self.config
        return list(
            self.store.validation_batches(
                config.training.batch_size, self.level, config.context_frames, max_windows=most
            )
        )

    def _embed_codebooks(self, rng: Generator) -> None:
        """Project codebook entries at random into the embeddings' width: distances are kept, nearly."""
        tables = [(self.prior.tokens.embedding, self.level)]
        if self.prior.conditioner is not None:
            tables.append((self.prior.conditioner.embedding, self.level + 1))
        for table, level in tables:
            entries = self.codec.entries(level).float().cpu()
            centred = entries - entries.mean(0)
            centred = centred / centred.square().mean().sqrt()
            width = table.weight.shape[1]
            projection = torch.randn(entries.shape[1], width, generator=rng) / entries.shape[1] ** 0.5
            scale = table.weight.detach().square().mean().sqrt()
            with torch.no_grad():
                table.weight.copy_(scale * (centred @ projection))

    @property
    def model(self) -> nn.Module:
        return self.prior

    def matrices(self) -> list[nn.Parameter]:
        blocks = self.prior.tokens.transformer
        return [weight for weight in blocks.parameters() if weight.ndim == 2]

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def load(self, tensors: dict[str, Tensor]) -> None:
        assert not tensors, "a prior's training has no state of its own"

    def step(self, step: int) -> StepResult:
        training = self.config.training
        batch = self.store.batch(
            step,
            training.batch_size,
            self.level,
            self.config.context_frames,
            seed=training.seed,
            label_dropout=self.config.label_dropout,
        )
        rng = Generator().manual_seed(seed_of(training.seed, step, stream=2))
        loss = self._training_loss(batch.codes.to(self.device), self._conditions(batch), rng)
        self._recent.append(float(loss.bits_per_code))
        return StepResult(loss.total, {"train/bits": loss.bits_per_code})

    def _make(self, config: PriorConfig, rng: Generator) -> AnyPrior:
        return Prior(config, rng)

    def _training_loss(self, codes: Tensor, conditions: Conditions, rng: Generator) -> PriorLoss:
        assert isinstance(self.prior, Prior)
        return self.prior.loss(codes, conditions, rng=rng)

    def _held_out_loss(self, codes: Tensor, conditions: Conditions, first: int) -> PriorLoss:
        """Of held-out windows, `first` of all and following."""
        assert isinstance(self.prior, Prior)
        return self.prior.loss(codes, conditions)

    def _conditions(self, batch: CodeBatch, *, labelled: bool = True) -> Conditions:
        told = told_of(batch)
        return (told if labelled else told.unlabelled()).to(self.device)

    def validate(self) -> dict[str, float]:
        return {"train/recent_bits": sum(self._recent) / len(self._recent)} | self._held_out_bits()

    def _held_out_bits(self) -> dict[str, float]:
        return {
            "validation/bits": self._bits(labelled=True),
            "validation/bits_unlabelled": self._bits(labelled=False),
            "unigram_bits": self.unigram_bits,
        }

    def _bits(self, *, labelled: bool) -> float:
        total, num = 0.0, 0
        for batch in self.held_out:
            conditions = self._conditions(batch, labelled=labelled)
            loss = self._held_out_loss(batch.codes.to(self.device), conditions, num // self.config.context_frames)
            total += float(loss.bits_per_code) * batch.codes.numel()
            num += batch.codes.numel()
        return total / num

    def show(self, folder: Path) -> None:
        """Draw a window for two held-out labels (below the top: over their coarser codes), to hear and to see."""
        grid, batch = self.store.grid, self.held_out[0]
        rows = min(_SHOWN, len(batch.codes))
        shape = LevelShape(
            self.level,
            self.config.context_frames,
            grid.hop_lengths[self.level],
            1 if self.level == grid.top else grid.ratio(self.level),
        )
        drawn: Tensor | None = None
        task = LevelTask(
            prior=self.prior,
            total=self.config.context_frames,
            shape=shape,
            told=Told(self._conditions(batch).rows(0, rows)),
            seeds=range(rows),
            sampling=LevelSampling(temperature=0.98),
            above=None if batch.coarser is None else finished(batch.coarser[:rows].to(self.device)),
        )
        for filled in fill_level(task, batch.codes[:rows, :0].to(self.device)):
            drawn = filled.codes
        assert drawn is not None
        sounds = {
            name: list(self.codec.decode(Codes.empty(grid).replace(self.level, codes), self.level).cpu())
            for name, codes in (("held out", batch.codes[:rows].to(self.device)), ("drawn", drawn))
        }
        for name, clips in sounds.items():
            for index, clip in enumerate(clips):
                io.write(folder / f"{name.replace(' ', '-')}-{index}.flac", clip, grid.sample_rate)
        compare_spectrograms(folder / "drawn.png", sounds, grid.sample_rate)

    def findings(self, step: int, metrics: dict[str, float]) -> list[str]:
        warmup = self.config.training.optimizer.warmup_steps
        return list(prior_findings(metrics, self.store.codebook_size, step, warmup))

    def export(self, folder: Path) -> None:
        """Write `prior.safetensors` and `prior.json`; `models build` puts them together with a codec."""
        sha256 = write_weights(folder / "prior.safetensors", self.prior)
        write_json(
            folder / "prior.json",
            {
                "format": 1,
                "level": self.level,
                "config": plain(self.prior.config),
                "vocabulary": self.store.vocabulary.to_json(),
                "codec_hash": self.store.codec_hash,
                "data_hash": self.store.data_hash,
                "figures": self._figures(),
                "sha256": sha256,
            },
        )

    def _figures(self) -> dict[str, float]:
        """Bits per code on many held-out windows, beside what single codes would take."""
        self.held_out = self._windows(_FINAL_WINDOWS)
        with torch.no_grad():
            figures = self._held_out_bits()
        windows = sum(len(batch.codes) for batch in self.held_out)
        return figures | {
            "windows": windows,
            "unigram_bits_held_out": self.store.unigram_entropy(self.level, "validation"),
        }
