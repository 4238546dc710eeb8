"""Magnitudes become sounds that have them, the same in whatever pieces they come."""

import pytest
import torch
from torch import Tensor

import tiny
from orchestrion.audio.spectral import LOG_MIDDLE, LOG_SPREAD, decibels, distance
from orchestrion.codec import Codec
from orchestrion.codec.phases import BLOCK, LEAST_LOG, Phases, logs_of, magnitudes_of
from orchestrion.codes import Codes
from orchestrion.config import CodecConfig, LevelConfig
from orchestrion.config.codec import SpectrumConfig

RATE = 8000


def phases(channels: int = 1, iterations: int = 16) -> Phases:
    return Phases(channels=channels, window=256, hop=32, iterations=iterations, momentum=0.99)


def music(seconds: float, channels: int = 1) -> Tensor:
    """Notes with overtones, one after another, a little noise, and another voice in each channel."""
    time = torch.arange(round(seconds * RATE) // 32 * 32) / RATE
    pitch = 200 * 2 ** (torch.floor(time * 3) % 5 / 12)
    turns = torch.cumsum(pitch / RATE, 0) * 2 * torch.pi
    noise = 0.001 * torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return torch.stack([sum((turns * n).sin() / n for n in (1 + c, 2 + c, 4)) * 0.2 + noise for c in range(channels)])


def numbers(found: Tensor) -> Tensor:
    """What a decoder writes that knows them: `channel·bin frame`."""
    logs = (found.clamp_min(1e-6).log() - LOG_MIDDLE) / LOG_SPREAD
    return logs.transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize("channels", [1, 2])
def test_sounds_come_back_from_their_magnitudes(channels):
    audio = music(1.5, channels)
    maker = phases(channels)
    logs = numbers(maker.target(audio[None])[0])
    torch.testing.assert_close(magnitudes_of(logs)[:129].T, maker.target(audio[None])[0, 0], rtol=1e-3, atol=1e-3)
    made = maker(logs[None])
    assert made.shape == (1, channels, audio.shape[-1])
    apart = distance(audio[None], made, ((256, 64, 256),))
    assert float(decibels(apart.convergence)) < -11
    one_step = distance(audio[None], phases(channels, 1)(logs[None]), ((256, 64, 256),))
    assert float(apart.convergence) < 0.8 * float(one_step.convergence)
    assert float(apart.log_difference) < 0.5 * float(one_step.log_difference)


@pytest.mark.parametrize("frames", [1, 7, BLOCK, BLOCK + 200, 2 * BLOCK + 131])
def test_a_sound_does_not_depend_on_the_pieces_it_is_made_in(frames):
    maker = phases(iterations=3)
    logs = torch.randn(frames, 129, generator=torch.Generator().manual_seed(1))
    (whole,) = maker(logs.T[None])
    for length in (1, 100, 600):
        pieces = list(maker.through(iter(logs.split(length))))
        assert torch.equal(torch.cat(pieces).T, whole)
    assert whole.shape == (1, 32 * frames)


def test_blocks_fit_together_as_if_there_were_none(monkeypatch):
    maker = phases(iterations=3)
    logs = torch.randn(BLOCK + 300, 129, generator=torch.Generator().manual_seed(2))
    (whole,) = maker(logs.T[None])
    monkeypatch.setattr("orchestrion.codec.phases.BLOCK", 10_000)
    (at_once,) = maker(logs.T[None])
    torch.testing.assert_close(whole, at_once, rtol=1e-3, atol=1e-3)


def codec_config() -> CodecConfig:
    config = tiny.codec_config()
    spectrum = SpectrumConfig(window=64, iterations=4)
    levels = tuple(level.model_copy(update={"spectrum": spectrum}) for level in config.levels)
    return config.model_copy(update={"levels": levels})


def test_a_codec_learns_to_write_magnitudes():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = Codec(codec_config()).train()
    rng = torch.Generator().manual_seed(3)
    audio = torch.stack([music(0.2)[:, start : start + 1280] for start in (0, 100, 200)])
    optimizer = torch.optim.Adam(codec.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        outputs = codec(audio, rng)
        assert all(output.made.shape == output.true.shape == (3, 33, 160) for output in outputs)
        assert all(bool((output.true >= LEAST_LOG).all()) for output in outputs)
        loss = torch.stack([output.loss for output in outputs]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]
    codes = codec.eval().encode(audio)
    for level in range(2):
        sound = codec.decode(codes, level)
        assert sound.shape == audio.shape and sound.isfinite().all()
        streamed = torch.cat(list(codec.stream(codes, level, 7)), -1)
        torch.testing.assert_close(streamed, sound, rtol=1e-3, atol=1e-4)


def test_what_a_level_of_magnitudes_should_write_is_in_the_order_of_what_it_writes(rng):
    config = codec_config().model_copy(update={"channels": 2})
    codec = Codec(config).eval()
    audio = music(0.1, 2)[None]
    with torch.no_grad():
        (outer, _) = codec.outputs(audio)
    phases = codec.levels[0].decoder.phases
    made = magnitudes_of(outer.true).unflatten(1, (2, 33)).transpose(2, 3)
    torch.testing.assert_close(made, phases.target(audio).clamp_min(float(magnitudes_of(torch.tensor(LEAST_LOG)))))
    torch.testing.assert_close(logs_of(torch.zeros(1)), torch.tensor([LEAST_LOG]))


def test_silence_and_half_precision_are_sound_too():
    codec = tiny.scrambled(Codec(codec_config()), 1).half()
    codes = Codes.empty(codec.grid).replace(1, torch.zeros(1, 9, dtype=torch.long))
    assert codec.decode(codes, 1).isfinite().all()
    silent = phases()(torch.full((1, 129, 20), -20.0))
    assert silent.abs().max() < 1e-6


def test_settings_that_do_not_fit_are_refused():
    (level, _) = tiny.codec_config().levels
    with pytest.raises(ValueError, match="4 or more times the first stride"):
        LevelConfig.model_validate({**level.model_dump(), "spectrum": {"window": 24}})
    with pytest.raises(ValueError, match="a final convolution writes samples"):
        CodecConfig.model_validate({**codec_config().model_dump(), "final_convolution": True})
