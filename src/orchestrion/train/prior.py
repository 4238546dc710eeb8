"""The recipe for a prior: the top level's, or an upsampler's."""

from collections import defaultdict, deque
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from orchestrion.audio import io
from orchestrion.checkpoints.folder import write_weights
from orchestrion.codec import Codec
from orchestrion.codes import HIDDEN, Codes, frames_made
from orchestrion.config import plain
from orchestrion.config.prior import LabelConfig, PriorConfig
from orchestrion.config.sampling import LevelSampling
from orchestrion.config.training import LyricsTrainingConfig, PriorTrainingConfig, TrainingConfig
from orchestrion.data.encoded import CodeBatch, CodeStore
from orchestrion.data.sung import Listening
from orchestrion.errors import UserError
from orchestrion.files import write_json
from orchestrion.generate.level import LevelShape, LevelTask, fill_level, finished
from orchestrion.generate.told import Told, told_of
from orchestrion.nn.chance import RowGenerator, rows_of_batch, uniform_rows
from orchestrion.nn.ranks import num_ranks, summed
from orchestrion.prior.labels import Conditions, LabelEmbedding
from orchestrion.prior.masked import AnyPrior, MaskedPrior
from orchestrion.prior.model import Following, Prior, PriorLoss, followed
from orchestrion.text.vocab import UNKNOWN_ID, Vocabulary, folded
from orchestrion.train.assemble import Trained
from orchestrion.train.checks import prior_findings
from orchestrion.train.loop import StepResult, seed_of
from orchestrion.train.parallel import Part
from orchestrion.train.show import compare_spectrograms

_LABELS = "labels."  # rows of names, which are no other model's
_SHOWN = 2  # songs that are drawn at each validation
_RECENT = "recent_bits"
_RECENT_STEPS = 50  # one batch may be of easy music: their mean says how well the training music is known
_FINAL_WINDOWS = 240  # held-out windows, evenly spread, that the final figures are measured on


def prior_config(config: PriorTrainingConfig, store: CodeStore, level: int, depth: int) -> PriorConfig:
    """The prior that `config` describes, for the codes and the names in `store`; `depth` is that of the codec's level.

    UserError where these do not go together.
    """
    grid, names = store.grid, store.vocabulary
    if level == grid.top and depth > 1:
        raise UserError(
            f"the top level has {depth} codes for a vector, which only an upsampler draws",
            "train a codec with a coarser level above it",
        )
    under = 1 if level == grid.top else grid.ratio(level)
    if under % depth:
        raise UserError(
            f"level {level} has {depth} codes for a vector and {under} under one of the level above",
            "train a codec with another depth or other strides",
        )
    ratio = under // depth
    strides = config.conditioner.ratio if config.conditioner else 1
    if strides != ratio:
        raise UserError(
            f"level {level} has {ratio} {'vectors' if depth > 1 else 'frames'} under one of the level above and the "
            f"conditioner makes {strides}",
            "set conditioner.strides so that they multiply to that number"
            if level < grid.top
            else "leave the conditioner out at the top level",
        )
    labels = LabelConfig(
        num_artists=names.num_artists, num_genres=names.num_genres, every_frame=config.labels_every_frame
    )
    return config.prior(
        labels,
        store.alphabet.size,
        "this configuration",
        sample_rate=grid.sample_rate,
        hop_length=grid.hop_lengths[level],
        codebook_size=store.codebook_size,
        depth=depth,
    )


def learning_like(prior: PriorConfig, training: TrainingConfig, **settings: Any) -> PriorTrainingConfig:
    """The settings by which a prior of these learns; told which words are sung, it needs no help to follow them."""
    lyrics = None
    if prior.lyrics is not None:
        lyrics = LyricsTrainingConfig(
            num_characters=prior.lyrics.num_characters,
            encoder=prior.lyrics.encoder,
            loss_weight=prior.lyrics.loss_weight,
            paced=prior.lyrics.paced,
        )
        if prior.paced:
            lyrics = lyrics.model_copy(update={"attention_weight": 0.0})
    return PriorTrainingConfig(
        **{"context_frames": prior.context_frames, **settings},
        transformer=prior.transformer,
        training=training,
        use_labels=prior.labels is not None,
        labels_every_frame=prior.labels is not None and prior.labels.every_frame,
        timing=prior.timing,
        conditioner=prior.conditioner,
        lyrics=lyrics,
        codebook_embedding=False,
    )


class Head(NamedTuple):
    """A head of attention, and the share of it that goes to the word that is sung."""

    layer: int
    head: int
    share: float


def block_matrices(prior: AnyPrior) -> list[nn.Parameter]:
    """The matrices in a prior's blocks that learn, those of its lyrics' encoder and of its further codes too."""
    stacks: list[nn.Module] = [prior.tokens.transformer]
    if prior.lyrics is not None:
        stacks.append(prior.lyrics.tokens.transformer)
    if isinstance(prior, MaskedPrior) and prior.head is not None:
        stacks.append(prior.head.steps)
    matrices = (weight for stack in stacks for weight in stack.parameters() if weight.ndim == 2)
    return [weight for weight in matrices if weight.requires_grad]


def with_noise(
    codes: Int[Tensor, "batch frame"], most: float, codebook_size: int, rng: Generator
) -> Int[Tensor, "batch frame"]:
    """The codes, a share of them random ones: for each row its own share, evenly from 0 to `most`."""
    batch, frames = codes.shape
    share, chance, others = (uniform_rows(batch, (n,), rng).to(codes.device) for n in (1, frames, frames))
    random = (codebook_size * others).to(codes.dtype)
    return torch.where((chance < most * share) & (codes != HIDDEN), random, codes)


class PriorRecipe:
    """Trains the prior of one level on windows of codes; `codec` lends its codebooks and makes sounds of draws.

    Begins with a fresh prior, or goes on with `prior`.
    """

    def __init__(
        self,
        config: PriorTrainingConfig,
        store: CodeStore,
        level: int,
        codec: Codec,
        device: torch.device,
        *,
        prior: AnyPrior | None = None,
    ) -> None:
        self.config = config
        self.store = store
        self.level = level
        self.codec = codec.to(device)
        self.device = device
        self._learned_from = store.learned_from
        rng = Generator().manual_seed(config.training.seed)
        depth = codec.config.levels[level].depth
        self.prior = self._make(prior_config(config, store, level, depth), rng) if prior is None else prior
        if config.codebook_embedding and prior is None:
            self._embed_codebooks(rng)
        self.prior.to(device)
        self._heard: list[
            Tensor
        ] = []  # bits of this step's parts, numbers when they are asked for: that waits for a GPU
        self._recent: deque[Tensor] = deque(maxlen=_RECENT_STEPS)
        self.held_out = self._windows(config.validation_windows)
        if not self.held_out:
            raise UserError(
                "no track is held out, or none as long as a window",
                "add more tracks, use a shorter context_frames, or hold a longer one out: "
                '"held_out": true in its line of the manifest',
            )

    def begin_with(self, trained: Trained) -> None:
        """Take over the weights of a prior of the same shape, and the rows of the names that both know.

        UserError where its transformer is another, or where it spells lyrics otherwise.
        """
        ours, theirs = self.prior.config, trained.prior.config
        taken = self._take(trained)
        missing = [
            name for name, _ in self.prior.named_parameters() if name not in taken and not name.startswith(_LABELS)
        ]
        if missing:
            raise UserError(
                f"the prior to begin with has another shape: it has no {missing[0]} like this one's",
                "give one with the same transformer, or its settings with --config",
            )
        if ours.lyrics and theirs.lyrics and trained.alphabet != self.store.alphabet:
            raise UserError("the prior to begin with spells lyrics otherwise", "give one of the same version")

    def _take(self, trained: Trained) -> set[str]:
        """Take over the weights that fit, their names returned, and the rows of artists and genres that both know."""
        own = {name: row.clone() for name, row in self.prior.state_dict().items() if name.startswith(_LABELS)}
        taken = set(self.prior.begin_with(trained.prior))
        self.prior.load_state_dict(self.prior.state_dict() | own)
        if self.prior.labels is not None and trained.prior.labels is not None and trained.vocabulary is not None:
            self._take_names(trained.prior.labels, trained.vocabulary)
        self._learned_from |= set(trained.learned_from)
        return taken

    @torch.no_grad()
    def _take_names(self, labels: LabelEmbedding, known: Vocabulary) -> None:
        """The rows of the names that `known` has too."""
        own, names = self.prior.labels, self.store.vocabulary
        assert own is not None
        for table, other, ours, theirs in (
            (own.artist, labels.artist, names.artists, known.artists),
            (own.genre, labels.genre, names.genres, known.genres),
        ):
            table.weight[UNKNOWN_ID] = other.weight[UNKNOWN_ID]
            places = {folded(name): place for place, name in enumerate(theirs, 1)}
            for place, name in enumerate(ours, 1):
                if folded(name) in places:
                    table.weight[place] = other.weight[places[folded(name)]]

    def _windows(self, most: int) -> list[CodeBatch]:
        """At most so many windows of the held-out tracks, evenly spread, in batches."""
        config = self.config
        return list(
            self.store.validation_batches(
                config.training.batch_size,
                self.level,
                config.context_frames,
                max_windows=most,
                num_characters=self.prior.config.num_characters,
                short_tracks=self.prior.config.takes_short_tracks,
            )
        )

    def _embed_codebooks(self, rng: Generator) -> None:
        """Project codebook entries at random into the embeddings' width: distances are kept, nearly."""
        tables = [(self.prior.tokens.embedding.weight[self.prior.first_code :], self.level)]
        if self.prior.conditioner is not None:
            tables.append((self.prior.conditioner.embedding.weight, self.level + 1))
        for table, level in tables:
            entries = self.codec.entries(level).float().cpu()
            centred = entries - entries.mean(0)
            centred = centred / centred.square().mean().sqrt()
            width = table.shape[1]
            projection = torch.randn(entries.shape[1], width, generator=rng) / entries.shape[1] ** 0.5
            scale = table.detach().square().mean().sqrt()
            with torch.no_grad():
                table.copy_(scale * (centred @ projection))

    entries = ("loss",)

    @property
    def model(self) -> nn.Module:
        return self.prior

    @model.setter
    def model(self, prior: nn.Module) -> None:
        assert isinstance(prior, Prior | MaskedPrior)
        self.prior = prior

    def matrices(self) -> list[nn.Parameter]:
        return block_matrices(self.prior)

    def tensors(self) -> dict[str, Tensor]:
        """How well the last steps' batches were known, in a tensor of one size: -1 where there were fewer."""
        lacking = [torch.full((), -1.0, device=self.device)] * (_RECENT_STEPS - len(self._recent))
        return {_RECENT: torch.stack([*lacking, *self._recent]).float()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Checkpoints of before 2026-11-30 do not have it: of those steps nothing is known then."""
        self._recent.clear()
        if _RECENT in tensors:
            self._recent.extend(bits for bits in tensors[_RECENT].to(self.device) if bits >= 0)

    def prepare(self, step: int, own: Part) -> None:
        self._heard.clear()

    def follow(self, step: int) -> dict[str, float]:
        """Nothing moves but by gradients; how well the step's batch was known is kept, as it is no batch left out."""
        self._recent.append(summed(torch.stack(self._heard).mean()) / num_ranks())
        return {}

    def loss(self, step: int, part: Part) -> StepResult:
        seed = self.config.training.seed
        batch = self.store.batch(
            step,
            part.size,
            self.level,
            self.config.context_frames,
            seed=seed,
            label_dropout=self.config.label_dropout,
            first=part.first,
            condition_dropout=self.config.condition_dropout,
            listening=self._listening(),
            short_tracks=self.prior.config.takes_short_tracks,
        )
        rng = rows_of_batch(seed_of(seed, step, stream=2), part.first, part.total)
        conditions = self._conditions(batch)
        if self.config.noise_above and conditions.coarser is not None:
            chance = rows_of_batch(seed_of(seed, step, stream=3), part.first, part.total)
            noisy = with_noise(conditions.coarser, self.config.noise_above, self.store.codebook_size, chance)
            conditions = replace(conditions, coarser=noisy)
        loss = self._training_loss(batch, conditions, rng)
        self._heard.append(loss.bits_per_code.detach())
        metrics: dict[str, Tensor | float] = {"train/bits": loss.bits_per_code}
        if loss.unfollowed is not None:
            metrics["train/unfollowed"] = loss.unfollowed
        return StepResult(loss.total, metrics)

    def _listening(self) -> Listening | None:
        lyrics = self.config.lyrics
        if lyrics is None:
            return None
        return Listening(lyrics.num_characters, lyrics.dropout, lyrics.jitter, lyrics.pace_dropout)

    def _make(self, config: PriorConfig, rng: Generator) -> AnyPrior:
        return Prior(config, rng)

    def _training_loss(self, batch: CodeBatch, conditions: Conditions, rng: RowGenerator) -> PriorLoss:
        assert isinstance(self.prior, Prior)
        return self.prior.loss(batch.codes.to(self.device), conditions, rng=rng, following=self._following(batch))

    def _following(self, batch: CodeBatch) -> Following | None:
        """The attention that is drawn to the words that are sung."""
        lyrics, layers = self.config.lyrics, self.prior.config.aligned_layers
        if lyrics is None or batch.sung is None or not lyrics.attention_weight or not layers:
            return None
        return Following(batch.sung.to(self.device), layers[-1], 0, lyrics.attention_weight)

    def _held_out_loss(self, codes: Tensor, conditions: Conditions, first: int) -> PriorLoss:
        """Of held-out windows, `first` of all and following."""
        assert isinstance(self.prior, Prior)
        return self.prior.loss(codes, conditions)

    def _conditions(self, batch: CodeBatch, *, labelled: bool = True) -> Conditions:
        told = told_of(batch)
        return (told if labelled else told.unlabelled()).to(self.device)

    def validate(self) -> dict[str, float]:
        recent = {"train/recent_bits": fmean(map(float, self._recent))} if self._recent else {}
        return recent | self._held_out_bits(self.held_out, self._best_head(self.held_out))

    @property
    def known(self) -> int:
        """How many of the held-out tracks are among those that what it began with learned from."""
        return len(self.store.held_out & self._learned_from)

    @torch.no_grad()
    def bits(self) -> float:
        """Bits per code on the held-out windows, with labels and words."""
        return self._bits(self.held_out, labelled=True)

    @cached_property
    def unigram_bits(self) -> float:
        """Of single codes in the training music (`CodeStore.unigram_entropy`)."""
        return self.store.unigram_entropy(self.level, "train", self.prior.config.depth)

    @cached_property
    def _final_windows(self) -> list[CodeBatch]:
        return self._windows(_FINAL_WINDOWS)

    def _held_out_bits(self, windows: list[CodeBatch], head: "Head | None") -> dict[str, float]:
        """Bits per code on `windows`, with and without what is told, and how well `head` follows the words there."""
        bits = {
            "validation/bits": self._bits(windows, labelled=True),
            "validation/bits_unlabelled": self._bits(windows, labelled=False),
            "unigram_bits": self.unigram_bits,
        }
        if self.config.lyrics is None:
            return bits
        bits["validation/bits_wordless"] = self._bits(windows, labelled=True, wordless=True)
        return bits if head is None else bits | {"validation/followed": head.share}

    def _bits(self, batches: list[CodeBatch], *, labelled: bool, wordless: bool = False) -> float:
        total, codes, windows = 0.0, 0, 0
        for batch in batches:
            conditions = self._conditions(batch, labelled=labelled)
            conditions = conditions.wordless() if wordless else conditions
            loss = self._held_out_loss(batch.codes.to(self.device), conditions, windows)
            real = int((batch.codes != HIDDEN).sum())
            total += float(loss.bits_per_code) * real
            codes += real
            windows += len(batch.codes)
        return total / codes

    @torch.no_grad()
    def _best_head(self, windows: list[CodeBatch]) -> "Head | None":
        """The head whose attention goes to the word that is sung more than that of any other, on held-out music.

        None for a prior without lyrics, and where no times of held-out words are known.
        """
        if self.config.lyrics is None:
            return None
        assert isinstance(self.prior, Prior)
        shares: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
        for batch in windows:
            assert batch.sung is not None
            sung, codes, conditions = batch.sung.to(self.device), batch.codes.to(self.device), self._conditions(batch)
            for layer in self.prior.config.aligned_layers:
                attention = self.prior.alignment(codes, conditions, layer)
                for head in range(attention.shape[1]):
                    shares[layer, head].append(followed(attention[:, head], sung))
        heads = [
            Head(layer, head, float(torch.cat(own).mean()))
            for (layer, head), own in shares.items()
            if sum(map(len, own))
        ]
        return max(heads, key=lambda head: head.share, default=None)

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
            name: [self._sound(row[None, : frames_made(row[None])]) for row in codes]
            for name, codes in (("held out", batch.codes[:rows].to(self.device)), ("drawn", drawn))
        }
        for name, clips in sounds.items():
            for index, clip in enumerate(clips):
                io.write(folder / f"{name.replace(' ', '-')}-{index}.flac", clip, grid.sample_rate)
        compare_spectrograms(folder / "drawn.png", sounds, grid.sample_rate)

    def _sound(self, codes: Int[Tensor, "1 frame"]) -> Float[Tensor, "channel sample"]:
        return self.codec.decode(Codes.empty(self.store.grid).replace(self.level, codes), self.level)[0].cpu()

    def findings(self, step: int, metrics: dict[str, float]) -> list[str]:
        warmup = self.config.training.optimizer.warmup_steps
        return list(prior_findings(metrics, self.store.codebook_size, step, warmup))

    def export(self, folder: Path, **about: Any) -> None:
        """Write `prior.safetensors` and `prior.json`, with more `about` it; `models build` adds a codec."""
        head = self._best_head(self._final_windows)
        figures = self._final_figures(head)
        sha256 = write_weights(folder / "prior.safetensors", self.prior)
        write_json(
            folder / "prior.json",
            {
                "format": 1,
                "level": self.level,
                "config": plain(self._described(head)),
                "alphabet": plain(self.store.alphabet) if self.config.lyrics else None,
                "vocabulary": self.store.vocabulary.to_json(),
                "codec_hash": self.store.codec_hash,
                "data_hash": self.store.data_hash,
                "learned_from": sorted(self._learned_from),
                "figures": figures,
                "sha256": sha256,
            }
            | about,
        )

    def _described(self, head: "Head | None") -> PriorConfig:
        """The settings of the prior, and which of its heads follows the words."""
        config = self.prior.config
        if config.lyrics is None or head is None:
            return config
        lyrics = config.lyrics.model_copy(update={"alignment_layer": head.layer, "alignment_head": head.head})
        return config.model_copy(update={"lyrics": lyrics})

    def figures(self) -> dict[str, float]:
        """Bits per code on many held-out windows, beside what single codes would take."""
        return self._final_figures(self._best_head(self._final_windows))

    @torch.no_grad()
    def _final_figures(self, head: "Head | None") -> dict[str, float]:
        figures = self._held_out_bits(self._final_windows, head)
        windows = sum(len(batch.codes) for batch in self._final_windows)
        return figures | {
            "windows": windows,
            "unigram_bits_held_out": self.store.unigram_entropy(self.level, "validation", self.prior.config.depth),
        }
