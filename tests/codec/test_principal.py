"""A level that begins as principal components gives its sound back at once."""

import pytest
import torch
from torch import Generator, Tensor

import tiny
from orchestrion.codec import Codec
from orchestrion.codec.loss import magnitude_loss
from orchestrion.codec.phases import magnitudes_of
from orchestrion.config import CodebookConfig, CodecConfig, LevelConfig, StageConfig
from orchestrion.config.codec import SpectrumConfig
from orchestrion.config.training import CodecTrainingConfig, TrainingConfig


def codec_config(width: int = 24) -> CodecConfig:
    stages = (
        StageConfig(stride=8, kernel=16, width=32, residual_width=16, dilations=(1, 3)),
        StageConfig(stride=2, kernel=4, width=40, residual_width=16, dilations=(1,)),
    )
    level = LevelConfig(stages=stages, bands=((64, 16), (32, 8)), spectrum=SpectrumConfig(window=32, iterations=2))
    return CodecConfig(
        sample_rate=tiny.SAMPLE_RATE, levels=(level,), codebook=CodebookConfig(size=12, width=width), loss=tiny_loss()
    )


def tiny_loss():
    return tiny.codec_config().loss.model_copy(update={"mel": 1.0, "mel_sizes": ((64, 8), (32, 4))})


def music(rng: Generator, clips: int = 24) -> Tensor:
    """Two tones in each clip, that swell."""
    time = torch.arange(1600) / tiny.SAMPLE_RATE
    pitches = 100 + 400 * torch.rand(clips, 2, 1, generator=rng)
    loud = 0.1 + 0.4 * torch.rand(clips, 2, 1, generator=rng)
    return ((2 * torch.pi * pitches * time).sin() * loud * (1.1 + (2 * torch.pi * 3 * time).sin())).sum(1)[:, None]


@torch.no_grad()
def error(codec: Codec, audio: Tensor) -> float:
    part = codec.levels[0]
    made = magnitudes_of(part.decoder(part.encoder(audio)))
    true = part.decoder.phases.target(audio)
    spectra = made.view(len(audio), 1, -1, made.shape[-1]).transpose(2, 3)
    return float(magnitude_loss(true, spectra, codec.config.loss, tiny.SAMPLE_RATE).log_spectral)


def test_new_music_comes_through_far_better_than_by_chance(rng: Generator) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        by_chance, begun = Codec(codec_config()), Codec(codec_config())
    begun.begin_principal(0, music(rng))
    new = music(rng, 6)
    assert error(begun, new) < 0.4 * error(by_chance, new)
    with torch.random.fork_rng():
        narrow = Codec(codec_config(width=4))
    narrow.begin_principal(0, music(rng))
    assert error(begun, new) < 0.9 * error(narrow, new), "more numbers tell more"


def test_vectors_have_no_mean_and_are_uncorrelated(rng: Generator) -> None:
    with torch.random.fork_rng():
        codec = Codec(codec_config(width=6))
    audio = music(rng)
    codec.begin_principal(0, audio)
    found = codec.levels[0].encoder(audio).detach().transpose(1, 2).flatten(0, 1)
    spread = found.T.cov()
    assert float(found.mean(0).abs().max()) < 1e-3 * float(spread.diagonal().max() ** 0.5)
    assert float((spread - spread.diagonal().diag()).abs().max()) < 1e-3 * float(spread.diagonal().max())
    assert spread.diagonal().tolist() == sorted(spread.diagonal().tolist(), reverse=True)


def test_levels_that_cannot_begin_so_are_refused() -> None:
    training = TrainingConfig(steps=2, batch_size=2)
    CodecTrainingConfig(codec=codec_config(), training=training, principal_batches=2)
    with pytest.raises(ValueError, match="principal_batches"):
        CodecTrainingConfig(codec=tiny.codec_config(), training=training, principal_batches=2)
    with pytest.raises(ValueError, match="principal_batches"):
        CodecTrainingConfig(codec=codec_config(), training=training, principal_batches=2, decoders_only=True)
