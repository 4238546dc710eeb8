"""Models that run in milliseconds, and stand-ins whose output shows every mistake."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from orchestrion.checkpoints.adapter import AdapterInfo, write_adapter
from orchestrion.checkpoints.folder import ModelInfo, load_prior, model_sha256, read_model, write_model
from orchestrion.codec.model import Codec
from orchestrion.codes import HIDDEN
from orchestrion.config import CodebookConfig, CodecConfig, CodecLossConfig, LevelConfig, StageConfig
from orchestrion.config.codec import SpectrumConfig
from orchestrion.config.prior import (
    ConditionerConfig,
    LabelConfig,
    Pattern,
    PriorConfig,
    TimingConfig,
    TransformerConfig,
)
from orchestrion.config.sampling import LevelSampling
from orchestrion.config.training import AdapterConfig
from orchestrion.prior.adapt import adapt, grow, learned
from orchestrion.prior.labels import Conditions
from orchestrion.prior.masked import MaskedPrior, by_vector
from orchestrion.prior.model import Prior
from orchestrion.text.vocab import Vocabulary

SAMPLE_RATE = 1600
CODEBOOK_SIZE = 12
CAUSAL_PATTERNS: tuple[Pattern, ...] = (
    "full",
    "sliding",
    "row",
    "column",
    "previous_row",
    "summary",
    "summary_spread",
    "prefix",
)
"""Those of layers that see what was before, in the sequence itself."""
M = TypeVar("M", bound=nn.Module)
NAMES = Vocabulary(artists=("Ada Byron", "Bix"), genres=("folk", "jazz", "waltz"))


def codec_config() -> CodecConfig:
    """Levels of 8 and 32 samples per frame: 200 and 50 codes a second."""

    def level(*strides: int) -> LevelConfig:
        stages = tuple(
            StageConfig(stride=stride, kernel=2 * stride, width=6, residual_width=6, dilations=(1, 3))
            for stride in strides
        )
        return LevelConfig(stages=stages)

    return CodecConfig(
        sample_rate=SAMPLE_RATE,
        levels=(level(8), level(8, 4)),
        codebook=CodebookConfig(size=CODEBOOK_SIZE, width=4),
        loss=CodecLossConfig(spectral_sizes=((128, 32, 128), (64, 16, 64))),
    )


def bands_config(width: int = 24) -> CodecConfig:
    """A level that hears bands and writes magnitudes: 100 vectors a second, so wide."""
    stages = (
        StageConfig(stride=8, kernel=16, width=32, residual_width=16, dilations=(1, 3)),
        StageConfig(stride=2, kernel=4, width=40, residual_width=16, dilations=(1,)),
    )
    level = LevelConfig(stages=stages, bands=((64, 16), (32, 8)), spectrum=SpectrumConfig(window=32, iterations=2))
    loss = codec_config().loss.model_copy(update={"mel": 1.0, "mel_sizes": ((64, 8), (32, 4))})
    codebook = CodebookConfig(size=CODEBOOK_SIZE, width=width)
    return CodecConfig(sample_rate=SAMPLE_RATE, levels=(level,), codebook=codebook, loss=loss)


def prior_config(level: int) -> PriorConfig:
    """The top sees 24 codes of half a second, the level below 48 of a quarter."""
    return PriorConfig(
        sample_rate=SAMPLE_RATE,
        hop_length=(8, 32)[level],
        codebook_size=CODEBOOK_SIZE,
        context_frames=(48, 24)[level],
        transformer=TransformerConfig(width=8, num_heads=2, patterns=("full",) * 2),
        labels=LabelConfig(num_artists=NAMES.num_artists, num_genres=NAMES.num_genres),
        timing=TimingConfig(num_bins=16, min_total_seconds=0.1, max_total_seconds=60.0) if level == 1 else None,
        conditioner=None if level == 1 else ConditionerConfig(width=6, strides=(2, 2), dilations=(1, 3)),
    )


def scrambled(module: M, seed: int) -> M:
    """Gives every weight and codebook entry a value of its own, so that whatever is left out shows."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in sorted(module.state_dict().items()):
            if tensor.is_floating_point() and not name.endswith(("sums", "counts")):
                tensor.copy_(torch.randn(tensor.shape, generator=rng) * (0.5 if tensor.ndim > 1 else 0.1))
            elif tensor.dtype == torch.bool:
                tensor.fill_(True)
    return module.eval()


def codec() -> Codec:
    with torch.random.fork_rng(devices=[]):
        return scrambled(Codec(codec_config()), 1)


def prior(level: int) -> Prior:
    with torch.random.fork_rng(devices=[]):
        return scrambled(Prior(prior_config(level)), 2 + level)


def masked_config(level: int = 0) -> PriorConfig:
    """As `prior_config`, for a prior that fills many frames at once."""
    config = prior_config(level)
    return config.model_copy(update={"transformer": config.transformer.model_copy(update={"patterns": ("all",) * 2})})


def masked_prior(level: int = 0) -> MaskedPrior:
    with torch.random.fork_rng(devices=[]):
        return scrambled(MaskedPrior(masked_config(level)), 12 + level)


def write_tiny_model(
    folder: Path,
    *,
    levels: tuple[int, ...] = (0, 1),
    masked: tuple[int, ...] = (),
    dtype: torch.dtype | None = None,
) -> Path:
    """A whole model folder of a codec and the priors of `levels`, those of some levels `masked`."""
    info = ModelInfo(
        name="tiny",
        codec=codec_config(),
        vocabulary=NAMES,
        sampling=(LevelSampling(temperature=0.9), LevelSampling(top_p=0.95)),
        about={"licence": "CC0-1.0"},
    )
    priors = {level: masked_prior(level) if level in masked else prior(level) for level in levels}
    write_model(folder, info, codec(), priors, card="# tiny\n", dtype=dtype)
    return folder


def write_tiny_adapter(folder: Path, model: Path, *, name: str = "clara", artist: str = "Clara") -> Path:
    """An adapter to the tiny model in the folder `model`, by chance, which knows one artist more."""
    update = AdapterConfig(rank=2)
    known = read_model(model)
    tensors = {}
    for level in (0, 1):
        adapted = load_prior(model, known, level)
        labels = adapted.labels
        assert labels is not None
        rng = torch.Generator().manual_seed(level)
        row = torch.randn(1, labels.artist.weight.shape[1], generator=rng)
        grow(adapted, row, labels.genre.weight.new_empty(0, row.shape[1]))
        adapt(adapted, update, rng)
        tensors[level] = {part: torch.randn(one.shape, generator=rng) for part, one in learned(adapted).items()}
    info = AdapterInfo(
        name=name,
        model=known.name,
        model_sha256=model_sha256(model),
        levels=(0, 1),
        vocabulary=known.vocabulary.model_copy(update={"artists": (*known.vocabulary.artists, artist)}),
        update=update,
        sha256="",
    )
    write_adapter(folder, info, tensors)
    return folder


@dataclass
class _Count:
    start: Tensor  # number of the window's first frame, per row
    num_frames: int
    read: int = 0


class CountingPrior:
    """Invents frame t as the number t, so that a window laid wrongly shows as a wrong number.

    Checks that it is fed the numbers that belong there, and that the coarser codes under its window count
    likewise.
    """

    def __init__(self, hop_length: int, ratio: int, num_codes: int, first_code: int = 0) -> None:
        self.hop_length, self.ratio, self.num_codes = hop_length, ratio, num_codes
        self.first_code = first_code
        self.windows: list[tuple[int, int]] = []

    def begin(self, conditions: Conditions, num_frames: int) -> _Count:
        assert (conditions.start_samples % self.hop_length == 0).all()
        start = conditions.start_samples // self.hop_length
        if conditions.coarser is not None:
            first = int(start[0]) // self.ratio
            expected = torch.arange(first, first + -(-num_frames // self.ratio))
            assert (conditions.coarser == expected).all(), (conditions.coarser, expected)
        self.windows.append((int(start[0]), int(start[0]) + num_frames))
        return _Count(start, num_frames)

    def advance(self, codes: Tensor, state: _Count) -> Tensor:
        assert codes.shape[1] > 0 or state.read == 0
        expected = state.start[:, None] + state.read + torch.arange(codes.shape[1])
        assert (codes == expected).all(), (codes, expected)
        state.read += codes.shape[1]
        assert state.read < state.num_frames, "asked for a code past the window"
        logits = torch.full((len(codes), self.first_code + self.num_codes), -1e9)
        logits[torch.arange(len(codes)), self.first_code + state.start + state.read] = 0.0
        return logits


class CountingFiller:
    """Likewise for filling: scores every hidden frame t as the number t, and notes how many were hidden each time."""

    def __init__(self, hop_length: int, ratio: int, num_codes: int, depth: int = 1) -> None:
        self.hop_length, self.ratio, self.num_codes, self.depth = hop_length, ratio, num_codes, depth
        self.windows: list[tuple[int, int]] = []
        self.hidden: list[int] = []

    def tell(self, conditions: Conditions, num_frames: int) -> int:
        assert (conditions.start_samples % self.hop_length == 0).all()
        start = int(conditions.start_samples[0]) // self.hop_length
        if conditions.coarser is not None:
            first = start // self.ratio
            expected = torch.arange(first, first + -(-num_frames // self.ratio))
            assert (conditions.coarser == expected).all(), (conditions.coarser, expected)
        self.windows.append((start, start + num_frames))
        return start

    def read(self, codes: Tensor, told: int) -> Tensor:
        frames = torch.arange(told, told + codes.shape[1]).expand_as(codes)
        assert ((codes == HIDDEN) | (codes == frames)).all(), codes
        hidden = (by_vector(codes, self.depth) == HIDDEN).any(2)
        self.hidden.append(int(hidden[0].sum()))
        return by_vector(frames, self.depth)[hidden].float()

    def score(self, around: Tensor, before: Tensor) -> Tensor:
        place = before.shape[1]
        assert torch.equal(before, around[:, :place].long()), "codes of a vector come one after another"
        logits = torch.full((len(around), self.num_codes), -1e9)
        logits[torch.arange(len(around)), around[:, place].long()] = 0.0
        return logits


def conditions(batch: int = 1, total_samples: int = SAMPLE_RATE) -> Conditions:
    return Conditions(
        artist=torch.zeros(batch, dtype=torch.int64),
        genres=torch.tensor([[0, -1, -1, -1, -1]]).expand(batch, -1),
        total_samples=torch.full((batch,), total_samples),
        start_samples=torch.zeros(batch, dtype=torch.int64),
    )
