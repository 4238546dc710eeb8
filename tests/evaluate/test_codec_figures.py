"""What is said of a codec: exact on what can be computed by hand."""

import math
import shutil

import pytest
import torch

import tiny
from orchestrion.errors import UserError
from orchestrion.evaluate.codec import codec_section, distances, measure_codec, si_sdr
from orchestrion.evaluate.interval import mean_of_tracks
from orchestrion.evaluate.opus import AS_MUSIC, check_tools, through_opus, within

RATE = 8000


def clips(rng: torch.Generator, count: int = 3) -> torch.Tensor:
    return 0.3 * torch.randn(count, 1, RATE, generator=rng)


def test_a_clip_is_nearest_to_itself(rng: torch.Generator) -> None:
    sound = clips(rng)
    same, other = distances(sound, sound, RATE), distances(sound, clips(rng), RATE)
    assert (same.log_spectral == 0).all() and (same.mel == 0).all()
    assert (other.log_spectral > 0.5).all() and (other.mel > 0.1).all()
    assert (same.si_sdr > 100).all() and (other.si_sdr < 100).all()


def test_twice_as_loud_is_the_logarithm_of_two_away(rng: torch.Generator) -> None:
    sound = clips(rng)
    apart = distances(sound, 2 * sound, RATE)
    for found in (apart.log_spectral, apart.mel):
        torch.testing.assert_close(found, torch.full((3,), math.log(2)).double(), atol=3e-3, rtol=0)
    torch.testing.assert_close(apart.convergence, torch.zeros(3).double(), atol=1e-4, rtol=0)  # as loud as the sound


def test_clips_of_one_track_tell_no_more_than_one_of_them(rng: torch.Generator) -> None:
    sound = clips(rng, 4).repeat_interleave(6, 0)
    made = sound + (torch.arange(4) / 10 + 0.1).repeat_interleave(6)[:, None, None] * clips(rng, 24)
    ratios = distances(sound, made, RATE).si_sdr
    apart, together = (
        mean_of_tracks(tracks, ratios) for tracks in (torch.arange(24), torch.arange(4).repeat_interleave(6))
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
    levels = list(measure_codec(codec, sound))
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
    (few, taken_few), (many, taken_many) = (through_opus(sound, RATE, kilobits) for kilobits in (6.0, 24.0))
    assert few.shape == many.shape == sound.shape
    assert taken_few < taken_many
    assert (distances(sound, many, RATE).mel < distances(sound, few, RATE).mel).all()
    told, _ = through_opus(sound, RATE, 24.0, AS_MUSIC)
    assert not torch.equal(told, many)


@pytest.mark.skipif(not shutil.which("opusenc"), reason="needs opus-tools")
def test_opus_in_no_more_bits_is_asked_for_as_few_as_that_takes(rng: torch.Generator) -> None:
    sound = clips(rng, 2)
    most = through_opus(sound, RATE, 10.0)[1] + 0.01  # noise takes more than is asked for
    assert most > 10.3
    restored, taken, asked = within(sound, RATE, most)
    assert taken <= most < through_opus(sound, RATE, asked + 0.2)[1] and asked < most
    assert torch.equal(restored, through_opus(sound, RATE, asked)[0])
    with pytest.raises(UserError, match="--no-opus"):
        within(sound[..., :800], RATE, 6.0)


def test_without_opus_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="opusenc and opusdec cannot be found.*opus-tools"):
        check_tools()


def test_the_section_has_a_row_for_each_level(rng: torch.Generator) -> None:
    codec = tiny.codec().eval()
    samples = codec.grid.whole(codec.grid.num_samples(1.0))
    sound = 0.3 * torch.randn(2, codec.config.channels, samples, generator=rng)
    section = codec_section(codec, sound, torch.arange(2), ())
    (table,) = section.tables
    assert [row[0] for row in table.rows] == ["level 0 (8 samples a code)", "level 1 (32 samples a code)"]


@pytest.mark.skipif(not shutil.which("opusenc"), reason="needs opus-tools")
def test_opus_is_beside_it_clip_by_clip(rng: torch.Generator) -> None:
    codec = tiny.codec().eval()
    samples = codec.grid.whole(codec.grid.num_samples(1.0))
    sound = 0.3 * torch.randn(3, codec.config.channels, samples, generator=rng)
    levels, less = codec_section(codec, sound, torch.arange(3), (12.0,)).tables
    names = [str(row[0]) for row in less.rows]
    assert names == [row[0] for row in levels.rows[2:]]
    assert names[::2] == ["Opus asked for 12", "Opus asked for 12, as music"]
    assert names[1].startswith("Opus in at most 12 (asked for ") and "as music" in names[3]
    assert all(row[1] <= 12 for row in less.rows[1::2])
    for row, theirs in zip(less.rows, levels.rows[2:], strict=True):
        for place in (2, 3):
            own = levels.rows[0][place]
            assert row[place].value == pytest.approx(own.value - theirs[place].value)
