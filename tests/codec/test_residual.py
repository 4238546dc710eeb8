"""Several codes for a vector: each tells more of it, and the codec is the same in whatever pieces they come."""

from itertools import pairwise

import pytest
import torch
from torch import Generator, Tensor

import tiny
from orchestrion.checkpoints.folder import ModelInfo, load_codec, read_model, write_model
from orchestrion.codec import Codec
from orchestrion.codec.residual import ResidualCodebook
from orchestrion.codes import Codes, counts_of
from orchestrion.config import CodebookConfig, CodecConfig, plain, read_settings
from orchestrion.config.codec import LevelConfig
from orchestrion.errors import UserError

CONFIG = CodebookConfig(size=12, width=4)


def vectors(rng: Generator, frames: int = 60) -> Tensor:
    return torch.randn(2, 4, frames, generator=rng)


@pytest.fixture
def book(rng: Generator) -> ResidualCodebook:
    made = ResidualCodebook(CONFIG, 3)
    made.fill(vectors(rng, 4000), rng)
    return made


def deep_codec_config() -> CodecConfig:
    """The finer level has two codes for each vector of 8 samples."""
    fine, top = tiny.codec_config().levels
    return tiny.codec_config().model_copy(update={"levels": (LevelConfig(stages=fine.stages, depth=2), top)})


def test_codes_are_the_nearest_of_what_those_before_leave(book: ResidualCodebook, rng: Generator) -> None:
    data = vectors(rng)
    codes = book.encode(data)
    assert codes.shape == (2, 180)
    rest = data
    for place, one in enumerate(book.books):
        own = codes[:, place::3]
        assert torch.equal(one.encode(rest), own)
        rest = rest - one.decode(own)
    torch.testing.assert_close(data - rest, book.decode(codes))
    quantized = book(data)
    assert torch.equal(quantized.codes, codes)
    torch.testing.assert_close(quantized.vectors, book.decode(codes), atol=1e-6, rtol=1e-5)


def test_each_code_brings_the_sum_nearer(book: ResidualCodebook, rng: Generator) -> None:
    data, made = vectors(rng), torch.zeros(2, 4, 60)
    codes, left = book.encode(data), [float(data.square().mean())]
    for place, one in enumerate(book.books):
        made = made + one.decode(codes[:, place::3])
        left.append(float((data - made).square().mean()))
    assert all(after < 0.7 * before for before, after in pairwise(left)), left


def test_entries_follow_what_chooses_them(book: ResidualCodebook, rng: Generator) -> None:
    data = vectors(rng, 2000) * torch.tensor([3.0, 1.0, 0.3, 0.1])[:, None]

    def error() -> float:
        return float((data - book.decode(book.encode(data))).square().mean())

    before = error()
    for _ in range(150):
        book.update(data, book.encode(data), rng)
    assert error() < 0.8 * before


def test_it_is_filled_once(book: ResidualCodebook, rng: Generator) -> None:
    entries = book.table().clone()
    assert book.filled and not ResidualCodebook(CONFIG, 2).filled
    book.fill(5 * vectors(rng), rng)
    assert torch.equal(book.table(), entries)


def test_codes_are_counted_at_their_places() -> None:
    codes = torch.tensor([[0, 2, 0, 1], [1, 2, 0, 2]])
    assert counts_of(codes, 3, 2).tolist() == [[3, 1, 0], [0, 1, 3]]


def test_a_codec_with_several_codes_a_vector_streams_and_is_saved(rng: Generator, tmp_path) -> None:
    config = deep_codec_config()
    assert config.grid.hop_lengths == (4, 32)
    with torch.random.fork_rng():
        codec = tiny.scrambled(Codec(config), 3).eval()
    audio = 0.3 * torch.randn(1, 1, 640, generator=rng)
    codes = codec.encode(audio)
    assert [codes[level].shape[1] for level in (0, 1)] == [160, 20]
    part = codec.levels[0]
    assert torch.equal(part.codebook.encode(part.encoder(audio)), codes[0])
    whole = part.decoder(part.codebook.decode(codes[0])).detach()
    assert torch.equal(codec.quantized(codes[0], 0), part.codebook.decode(codes[0]))
    write_model(tmp_path, ModelInfo(name="x", codec=config), codec, card="")
    again = load_codec(tmp_path, read_model(tmp_path))
    held = Codes.empty(codec.grid).replace(0, codes[0])
    for made in (
        torch.cat(list(again.stream(held, 0, 7)), -1),
        torch.cat(list(again.follow(iter(codes[0][0].split(5)), 0)), -1)[None],  # pieces end within a vector
    ):
        torch.testing.assert_close(made / whole.abs().max(), whole / whole.abs().max(), atol=1e-5, rtol=0)


def test_training_moves_all_of_its_codebooks(rng: Generator) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = Codec(deep_codec_config()).train()
    outputs = codec(0.3 * torch.randn(4, 1, 640, generator=rng), rng)
    torch.stack([output.loss for output in outputs]).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in codec.parameters())
    before = codec.entries(0).clone()
    codec(0.3 * torch.randn(4, 1, 640, generator=rng), rng)
    first, second = (codec.entries(0) != before).any(1).view(2, -1).any(1).tolist()
    assert first and second


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"depth": 3}, "depth 3 does not divide"), ({"kind": "mapped"}, "codebooks of kind 'nearest'")],
)
def test_depths_that_do_not_fit_are_refused(changes: dict[str, object], problem: str) -> None:
    given = plain(deep_codec_config())
    given["levels" if "depth" in changes else "codebook"] = (
        [given["levels"][0] | changes, given["levels"][1]] if "depth" in changes else given["codebook"] | changes
    )
    with pytest.raises(UserError, match=problem):
        read_settings(CodecConfig, given)
