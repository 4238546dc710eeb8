"""Laws of the codec: windows do not show, levels stand alone, training moves what it should."""

import pytest
import torch

import tiny
from orchestrion.codec import Codec
from orchestrion.codes import Codes
from orchestrion.config import CodebookConfig, CodecConfig, CodecLossConfig, LevelConfig, StageConfig
from orchestrion.errors import UserError
from orchestrion.grid import Grid
from orchestrion.nn import pieces


def published_shape() -> CodecConfig:
    """The published layout in small: stages of stride 2, projections between levels, a final convolution."""

    def stages(downs: int, width: int, depth: int, last: bool) -> tuple[StageConfig, ...]:
        dilations = tuple(3**i for i in range(depth))
        return tuple(
            StageConfig(
                stride=2,
                kernel=4,
                width=width,
                residual_width=width,
                dilations=dilations,
                project=not last and index == downs - 1,
            )
            for index in range(downs)
        )

    return CodecConfig(
        sample_rate=800,
        channels=2,
        levels=(
            LevelConfig(stages=stages(3, 4, 3, last=True)),
            LevelConfig(stages=stages(3, 4, 2, last=False) + stages(2, 6, 2, last=True)),
        ),
        codebook=CodebookConfig(size=7, width=5),
        loss=CodecLossConfig(spectral_sizes=((64, 16, 64),)),
        final_convolution=True,
    )


def hearing_bands() -> CodecConfig:
    """Two channels, and a top level that hears mel bands."""
    config = tiny.codec_config()
    fine, top = config.levels
    return config.model_copy(
        update={"channels": 2, "levels": (fine, top.model_copy(update={"bands": ((64, 8), (16, 3), (8, 2))}))}
    )


CONFIGS = {"ours": tiny.codec_config, "published": published_shape, "bands": hearing_bands}


@pytest.fixture(params=CONFIGS)
def codec(request) -> Codec:
    config = CONFIGS[request.param]()
    with torch.random.fork_rng():
        return tiny.scrambled(Codec(config), 3)


def some_audio(codec: Codec, rng: torch.Generator, frames: int, batch: int = 2) -> torch.Tensor:
    samples = frames * codec.grid.hop_lengths[-1]
    return torch.randn(batch, codec.config.channels, samples, generator=rng) * 0.3


@pytest.mark.parametrize("window_frames", [1, 7, 40])
def test_decoding_in_windows_gives_the_samples_of_decoding_at_once(codec, rng, window_frames):
    for level in range(2):
        codes = torch.randint(7, (2, 93), generator=rng)
        held = Codes.empty(codec.grid).replace(level, codes)
        part = codec.levels[level]
        whole = part.decoder(part.codebook.decode(codes))
        scale = whole.abs().max()  # scrambled weights can be loud
        windowed = torch.cat(list(codec.stream(held, level, window_frames)), -1)
        torch.testing.assert_close(windowed / scale, whole / scale, atol=1e-5, rtol=0)
        torch.testing.assert_close(codec.decode(held, level) / scale, whole / scale, atol=1e-5, rtol=0)


def test_codes_that_come_piece_by_piece_give_the_samples_of_all(codec, rng):
    codes = torch.randint(7, (93,), generator=rng)
    for level in range(2):
        held = Codes.empty(codec.grid).replace(level, codes[None])
        whole = codec.decode(held, level)[0]
        followed = torch.cat(list(codec.follow(torch.split(codes, [1, 40, 7, 45]), level)), -1)
        torch.testing.assert_close(followed / whole.abs().max(), whole / whole.abs().max(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("elements", [1, 200, 1 << 17])
def test_encoding_in_pieces_gives_the_codes_of_encoding_at_once(codec, rng, monkeypatch, elements):
    audio = some_audio(codec, rng, 40)
    monkeypatch.setattr(pieces, "ELEMENTS", elements)
    for part in codec.levels:
        whole = part.codebook.encode(part.encoder(audio))
        assert (part.encode(audio) == whole).all()


@pytest.mark.parametrize("elements", [1, 200, 1 << 17])
def test_decoding_in_pieces_gives_the_samples_of_decoding_at_once(codec, rng, monkeypatch, elements):
    codes = torch.randint(7, (2, 33), generator=rng)
    monkeypatch.setattr(pieces, "ELEMENTS", elements)
    for level, part in enumerate(codec.levels):
        whole = part.decoder(part.codebook.decode(codes)).detach()
        scale = whole.abs().max()
        held = Codes.empty(codec.grid).replace(level, codes)
        torch.testing.assert_close(codec.decode(held, level) / scale, whole / scale, atol=1e-5, rtol=0)


def test_each_level_has_a_code_per_hop_and_a_last_part_frame_is_left_out(codec, rng):
    audio = some_audio(codec, rng, 12)
    codes = codec.encode(audio[..., : audio.shape[-1] - 1])
    for level, hop in enumerate(codec.grid.hop_lengths):
        assert codes[level].shape == (2, (audio.shape[-1] - 1) // hop)


def test_a_level_decodes_without_the_others(codec, rng):
    codes = codec.encode(some_audio(codec, rng, 10))
    alone = Codes.empty(codec.grid).replace(1, codes[1])
    torch.testing.assert_close(codec.decode(alone, 1), codec.decode(codes, 1))
    with pytest.raises(UserError, match="level 0 of these codes is not made yet"):
        codec.decode(alone, 0)


def test_decoded_audio_is_as_long_as_its_codes(codec, rng):
    codes = codec.encode(some_audio(codec, rng, 11))
    for level in range(2):
        expected = codes[level].shape[1] * codec.grid.hop_lengths[level]
        assert codec.decode(codes, level).shape == (2, codec.config.channels, expected)


def test_another_number_of_channels_is_refused(codec, rng):
    with pytest.raises(UserError, match="channel"):
        codec.encode(torch.zeros(1, 3, 500))


def test_audio_shorter_than_a_frame_is_refused(codec):
    with pytest.raises(UserError, match="less than one frame"):
        codec.encode(torch.zeros(1, codec.config.channels, 3))


def test_codes_of_another_grid_are_refused(codec):
    other = Grid(1000, (5, 50))
    with pytest.raises(UserError, match="grid|use the codec"):
        codec.decode(Codes(other, (torch.zeros(1, 4, dtype=torch.int64), None)), 0)


def test_levels_do_not_share_anything(codec, rng):
    codec.train()
    audio = some_audio(codec, rng, 20)
    outputs = codec(audio, rng)
    outputs[0].loss.backward()
    assert all(weight.grad is not None for weight in codec.levels[0].parameters())
    assert all(weight.grad is None for weight in codec.levels[1].parameters())


def test_training_quantizes_with_the_codebook_as_it_was(codec, rng):
    codec.train()
    audio = some_audio(codec, rng, 20)
    before = [codec.entries(level).clone() for level in range(2)]
    expected = [part.codebook.encode(part.encoder(audio)) for part in codec.levels]
    outputs = codec(audio, rng)
    for level in range(2):
        assert (outputs[level].codes == expected[level]).all()
        assert (codec.entries(level) != before[level]).any()


def test_a_few_steps_lower_the_loss(rng):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = Codec(tiny.codec_config())
    optimizer = torch.optim.AdamW(codec.parameters(), 3e-3)
    time = torch.arange(1600) / 1600
    audio = torch.sin(2 * torch.pi * torch.tensor([40.0, 70.0, 110.0])[:, None] * time)[:, None] * 0.5
    losses = []
    for _ in range(60):
        loss = torch.stack([output.loss for output in codec(audio, rng)]).sum()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_encodes_and_decodes_like_the_processor(codec, rng):
    audio = some_audio(codec, rng, 20)
    here = codec.encode(audio)
    sound = codec.decode(here, 0)
    codec.cuda()
    there = codec.encode(audio.cuda())
    assert (there[0].cpu() == here[0]).float().mean() > 0.99
    held = Codes(codec.grid, tuple(codes.cuda() for codes in here.levels))
    torch.testing.assert_close(codec.decode(held, 0).cpu(), sound, atol=1e-3, rtol=0)
