"""Laws that every kind of quantizer keeps, and what each promises beyond them."""

import pytest
import torch
from torch import Generator, Tensor

import tiny
from orchestrion.checkpoints.folder import ModelInfo, load_codec, read_model, write_model
from orchestrion.codec import Codec
from orchestrion.codec.codebook import MappedCodebook
from orchestrion.codec.model import quantizer
from orchestrion.codec.quantizer import Quantizer, rotated
from orchestrion.codec.scalars import ScalarGrid
from orchestrion.codes import Codes
from orchestrion.config import CodebookConfig, read_settings
from orchestrion.errors import UserError

KINDS = {
    "nearest": CodebookConfig(size=12, width=4),
    "rotation": CodebookConfig(size=12, width=4, gradient="rotation"),
    "mapped": CodebookConfig(size=12, width=4, kind="mapped", gradient="rotation"),
    "scalars": CodebookConfig(size=12, width=4, kind="scalars", scalar_values=(3, 2, 2)),
}


def vectors(rng: Generator, batch: int = 2, frames: int = 60) -> Tensor:
    return torch.randn(batch, 4, frames, generator=rng)


@pytest.fixture(params=KINDS)
def book(request, rng) -> Quantizer:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        made = quantizer(KINDS[request.param])
    made.fill(vectors(rng), rng)
    return made


def test_training_gives_the_very_entries_of_the_codes(book, rng):
    data = vectors(rng)
    quantized = book(data)
    assert (quantized.codes == book.encode(data)).all()
    torch.testing.assert_close(quantized.vectors, book.decode(quantized.codes), atol=1e-6, rtol=1e-5)


def test_decoding_looks_codes_up_in_the_table(book):
    codes = torch.arange(12).reshape(2, 6)
    assert torch.equal(book.decode(codes).transpose(1, 2).reshape(12, 4), book.table())


def test_gradients_reach_the_vectors_and_all_that_is_learned(book, rng):
    data = vectors(rng).requires_grad_()
    quantized = book(data)
    (quantized.vectors.square().sum() + quantized.commitment + quantized.attraction).backward()
    assert data.grad.isfinite().all() and data.grad.abs().sum() > 0
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in book.parameters())


def test_spread_out_vectors_use_all_codes(book, rng):
    spread = 2 * vectors(rng, frames=4000)
    assert len(book.encode(spread).unique()) == 12


def test_a_rotation_takes_each_vector_to_its_entry(rng):
    data, chosen = vectors(rng), vectors(rng)
    torch.testing.assert_close(rotated(data, chosen), chosen)


def test_the_gradient_of_a_rotation_is_turned_back_and_stretched(rng):
    data, chosen = vectors(rng).requires_grad_(), vectors(rng)
    weight = torch.randn(data.shape, generator=rng)
    (rotated(data, chosen) * weight).sum().backward()
    v, c, g = (t.detach().transpose(1, 2).reshape(-1, 4).double() for t in (data, chosen, weight))
    for one, goal, grad, found in zip(v, c, g, data.grad.transpose(1, 2).reshape(-1, 4), strict=True):
        e, q = one / one.norm(), goal / goal.norm()
        r = (e + q) / (e + q).norm()
        turn = torch.eye(4).double() - 2 * torch.outer(r, r) + 2 * torch.outer(q, e)
        torch.testing.assert_close(turn @ turn.T, torch.eye(4).double())
        torch.testing.assert_close(turn @ one, goal * one.norm() / goal.norm())
        expected = goal.norm() / one.norm() * turn.T @ grad
        torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=1e-4)


def test_vectors_without_a_direction_give_finite_gradients():
    data = torch.tensor([[0.0, 1.0, 1e-9], [0.0, 0.0, 0.0]])[None].requires_grad_()
    chosen = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])[None]
    rotated(data, chosen).sum().backward()
    assert data.grad.isfinite().all()


def test_a_map_moves_every_entry_when_one_vector_asks(rng):
    book = MappedCodebook(KINDS["mapped"])
    book.fill(vectors(rng), rng)
    before = book.table().detach().clone()
    book(vectors(rng, batch=1, frames=1)).attraction.backward()
    with torch.no_grad():
        book.map.weight -= 0.1 * book.map.weight.grad
    assert ((book.table() - before).abs().sum(1) > 0).all()


def test_mapped_entries_begin_spread_like_the_data_and_are_filled_once(rng):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        book = MappedCodebook(CodebookConfig(size=4096, width=4, kind="mapped"))
    mixed = 0.01 * torch.tensor([[9.0, 0, 0, 0], [5, 2, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    data = torch.einsum("ow,bwf->bof", mixed, vectors(rng, frames=4000)) + 0.3
    book.fill(data, rng)
    book.fill(100 * data, rng)
    entries, rows = book.table().detach(), data.transpose(1, 2).reshape(-1, 4)
    torch.testing.assert_close(entries.mean(0), rows.mean(0), atol=0.01, rtol=0)
    torch.testing.assert_close(entries.T.cov(), rows.T.cov(), atol=6e-4, rtol=0.05)


def test_vectors_far_from_the_grid_use_all_of_it_once_it_is_filled(rng):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        book = ScalarGrid(KINDS["scalars"])
    data = 1e-3 * vectors(rng, frames=4000) + 5
    assert len(book.encode(data).unique()) == 1
    book.fill(data, rng)
    assert len(book.encode(data).unique()) == 12


def test_the_grid_holds_each_combination_once_and_finds_it_again():
    book = ScalarGrid(CodebookConfig(size=30, width=3, kind="scalars", scalar_values=(5, 3, 2)))
    assert len(book.points.unique(dim=0)) == 30
    assert book.points.min() == -1 and book.points.max() == 1
    with torch.no_grad():
        book.inward.weight.copy_(torch.eye(3))
        book.inward.bias.zero_()
    assert (book.nearest(torch.atanh(book.points.clamp(-0.999, 0.999))) == torch.arange(30)).all()


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"kind": "scalars"}, "needs them"),
        ({"scalar_values": [4, 3]}, "belong to kind"),
        ({"kind": "scalars", "scalar_values": [5, 3]}, "multiply to size 12"),
        ({"kind": "scalars", "scalar_values": [12, 1]}, "2 or more"),
        ({"kind": "scalars", "scalar_values": [4, 3], "gradient": "rotation"}, "has none"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(given, problem):
    with pytest.raises(UserError, match=problem):
        read_settings(CodebookConfig, {"size": 12, "width": 4} | given)


@pytest.mark.parametrize("kind", KINDS)
def test_a_codec_of_each_kind_streams_trains_and_is_saved(kind, rng, tmp_path):
    config = tiny.codec_config().model_copy(update={"codebook": KINDS[kind]})
    with torch.random.fork_rng():
        codec = tiny.scrambled(Codec(config), 3)
    audio = 0.3 * torch.randn(1, 1, 640, generator=rng)
    codec.train()
    outputs = codec(audio, rng)
    torch.stack([output.loss for output in outputs]).sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in codec.parameters())
    codec.eval()
    write_model(tmp_path, ModelInfo(name="x", codec=config), codec, card="")
    again = load_codec(tmp_path, read_model(tmp_path))
    codes = codec.encode(audio)
    for level, part in enumerate(codec.levels):
        assert torch.equal(again.encode(audio)[level], codes[level])
        assert torch.equal(part.codebook.encode(part.encoder(audio)), codes[level])
        whole = part.decoder(part.codebook.decode(codes[level])).detach()
        held = Codes.empty(codec.grid).replace(level, codes[level])
        streamed = torch.cat(list(again.stream(held, level, 7)), -1)
        torch.testing.assert_close(streamed / whole.abs().max(), whole / whole.abs().max(), atol=1e-5, rtol=0)
