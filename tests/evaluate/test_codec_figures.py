"""What is said of a codec: exact on what can be computed by hand."""

import math
import shutil

import pytest
import torch

import tiny
from orchestrion.errors import UserError
from orchestrion.evaluate.codec import codec_section, measure_codec, nearness, si_sdr
from orchestrion.evaluate.opus import check_tools, through_opus

RATE = 8000
EACH = torch.arange(3)  # clips of tracks of their own


def clips(rng: torch.Generator, count: int = 3) -> torch.Tensor:
    return 0.3 * torch.randn(count, 1, RATE, generator=rng)


def test_a_clip_is_nearest_to_itself(rng: torch.Generator) -> None:
    sound = clips(rng)
    same, other = nearness(sound, sound, EACH, RATE), nearness(sound, clips(rng), EACH, RATE)
    assert same.log_spectral.value == same.mel.value == 0
    assert other.log_spectral.value > 0.5 and other.mel.value > 0.1
    assert same.si_sdr.value > 100 > other.si_sdr.value


def test_clips_of_one_track_tell_no_more_than_one_of_them(rng: torch.Generator) -> None:
    sound = clips(rng, 4).repeat_interleave(6, 0)
    made = sound + (torch.arange(4) / 10 + 0.1).repeat_interleave(6)[:, None, None] * clips(rng, 24)
    apart, together = (
        nearness(sound, made, tracks, RATE).si_sdr
        for tracks in (torch.arange(24), torch.arange(4).repeat_interleave(6))
    )
    assert apart.value == pytest.approx(together.value)
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_si_sdr_is_what_was_mixed_and_gain_does_not_change_it(rng: torch.Generator) -> None:
    sound, noise = clips(rng).double(), clips(rng).double()
    noise -= (noise * sound).sum((1, 2), keepdim=True) / sound.square().sum((1, 2), keepdim=True) * sound
    noise *= (sound.square().sum((1, 2), keepdim=True) / noise.square().sum((1, 2), keepdim=True)).sqrt() / 10
    made = (sound + noise).float()
    torch.testing.assert_close(si_sdr(sound.float(), made), torch.full((3,), 20.0).double(), rtol=0, atol=1e-3)
    torch.testing.assert_close(si_sdr(sound.float(), 0.2 * made), si_sdr(sound.float(), made), rtol=0, atol=1e-3)


def test_every_level_is_measured_with_its_rate_and_its_codebook(rng: torch.Generator) -> None:
    codec = tiny.codec().eval()
    samples = codec.grid.whole(codec.grid.num_samples(1.0))
    sound = 0.3 * torch.randn(4, codec.config.channels, samples, generator=rng)
    levels = list(measure_codec(codec, sound, torch.arange(4)))
    assert [found.level for found in levels] == list(range(codec.grid.num_levels))
    bits = math.log2(codec.config.codebook.size)
    for found in levels:
        assert found.kilobits == pytest.approx(codec.grid.frame_rate(found.level) * bits / 1000)
        assert found.entropy <= bits and 0 < found.used_share <= 1
        used = codec.encode(sound)[found.level].unique().numel()
        assert found.used_share == pytest.approx(used / codec.config.codebook.size)


@pytest.mark.skipif(not shutil.which("opusenc"), reason="needs opus-tools")
def test_opus_takes_the_bits_that_it_is_given(rng: torch.Generator) -> None:
    sound = clips(rng, 2).cumsum(-1) * 0.02
    (few, taken_few), (many, taken_many) = (through_opus(sound, RATE, kilobits) for kilobits in (6, 24))
    assert few.shape == many.shape == sound.shape
    assert taken_few < taken_many
    tracks = torch.arange(2)
    assert nearness(sound, many, tracks, RATE).mel.value < nearness(sound, few, tracks, RATE).mel.value


def test_without_opus_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="opusenc and opusdec cannot be found.*opus-tools"):
        check_tools()


def test_the_section_has_a_row_for_each_level(rng: torch.Generator) -> None:
    codec = tiny.codec().eval()
    samples = codec.grid.whole(codec.grid.num_samples(1.0))
    sound = 0.3 * torch.randn(2, codec.config.channels, samples, generator=rng)
    section = codec_section(codec, sound, torch.arange(2), ())
    assert [row[0] for row in section.tables[0].rows] == ["level 0 (8 samples a code)", "level 1 (32 samples a code)"]
