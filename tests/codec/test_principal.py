"""A level that begins as principal components gives its sound back at once."""

import pytest
import torch
from torch import Generator, Tensor

import tiny
from orchestrion.codec import Codec
from orchestrion.codec.loss import magnitude_loss
from orchestrion.codec.phases import magnitudes_of
from orchestrion.config.training import CodecTrainingConfig, TrainingConfig


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
        by_chance, begun = Codec(tiny.bands_config()), Codec(tiny.bands_config())
    begun.begin_principal(0, music(rng))
    new = music(rng, 6)
    assert error(begun, new) < 0.4 * error(by_chance, new)
    with torch.random.fork_rng():
        narrow = Codec(tiny.bands_config(width=4))
    narrow.begin_principal(0, music(rng))
    assert error(begun, new) < 0.9 * error(narrow, new), "more numbers tell more"


def test_vectors_have_no_mean_and_are_uncorrelated(rng: Generator) -> None:
    with torch.random.fork_rng():
        codec = Codec(tiny.bands_config(width=6))
    audio = music(rng)
    codec.begin_principal(0, audio)
    found = codec.levels[0].encoder(audio).detach().transpose(1, 2).flatten(0, 1)
    spread = found.T.cov()
    assert float(found.mean(0).abs().max()) < 1e-3 * float(spread.diagonal().max() ** 0.5)
    assert float((spread - spread.diagonal().diag()).abs().max()) < 1e-3 * float(spread.diagonal().max())
    assert spread.diagonal().tolist() == sorted(spread.diagonal().tolist(), reverse=True)


def test_levels_that_cannot_begin_so_are_refused() -> None:
    training = TrainingConfig(steps=2, batch_size=2)
    CodecTrainingConfig(codec=tiny.bands_config(), training=training, principal_batches=2)
    with pytest.raises(ValueError, match="principal_batches"):
        CodecTrainingConfig(codec=tiny.codec_config(), training=training, principal_batches=2)
    with pytest.raises(ValueError, match="principal_batches"):
        CodecTrainingConfig(codec=tiny.bands_config(), training=training, principal_batches=2, decoders_only=True)
