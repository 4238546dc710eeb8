"""Laws of the quantizer."""

import pytest
import torch
from torch import Generator

from orchestrion.codec.codebook import Codebook, nearest
from orchestrion.codes import entropy_bits
from orchestrion.config import CodebookConfig


def vectors(rng: Generator, batch: int = 2, frames: int = 40, width: int = 3) -> torch.Tensor:
    return torch.randn(batch, width, frames, generator=rng)


def filled(rng: Generator, **settings: object) -> Codebook:
    book = Codebook(CodebookConfig(size=8, width=3, **settings))
    book.fill(vectors(rng), rng)
    return book


def test_the_nearest_entry_is_the_nearest_by_the_written_out_distance(rng):
    book = filled(rng)
    rows = torch.randn(50, 3, generator=rng)
    distances = (rows[:, None] - book.entries[None]).norm(dim=-1)
    assert (book.nearest(rows) == distances.argmin(-1)).all()


@pytest.mark.parametrize("size", [7, 96, 256])
def test_of_equal_entries_the_first_is_chosen(rng, size):
    book = Codebook(CodebookConfig(size=size, width=3))
    half = torch.randn(size // 2 + 1, 3, generator=rng)
    book.entries.copy_(torch.cat((half, half))[:size])
    rows = torch.randn(70, 3, generator=rng)
    distances = torch.addmm(book.entries.square().sum(-1), rows, book.entries.T, alpha=-2)
    codes = book.nearest(rows)
    assert (codes <= size // 2).all()
    assert (codes == distances.argmin(-1)).all()


def test_entries_decode_to_themselves_and_encode_back(rng):
    book = filled(rng)
    codes = torch.arange(8)[None]
    assert (book.encode(book.decode(codes)) == codes).all()


@pytest.mark.parametrize(("frames", "settings"), [(20, {}), (400, {"first_means": 0})])
def test_the_first_entries_are_vectors_of_the_data_and_are_drawn_once(rng, frames, settings):
    """Where there are few vectors, or where no means are asked for, as the published codecs do."""
    book = Codebook(CodebookConfig(size=8, width=3, **settings))
    data = vectors(rng, batch=1, frames=frames)
    book.fill(data, rng)
    rows = data.transpose(1, 2).reshape(-1, 3)
    assert all((rows == entry).all(1).any() for entry in book.entries)
    before = book.entries.clone()
    book.fill(vectors(rng), rng)
    assert (book.entries == before).all()


def test_of_many_vectors_the_first_entries_are_the_middles_of_what_is_nearest(rng):
    book = Codebook(CodebookConfig(size=8, width=3))
    middles = 10 * torch.randn(8, 3, generator=rng)
    rows = middles.repeat(100, 1) + 0.1 * torch.randn(800, 3, generator=rng)
    book.fill(rows.T[None], rng)
    chosen = book.nearest(rows)
    for code in chosen.unique().tolist():
        torch.testing.assert_close(book.entries[code], rows[chosen == code].mean(0), atol=0.05, rtol=0)
    assert float(book.counts.sum()) == pytest.approx(8)
    assert torch.allclose(book.sums, book.entries * book.counts[:, None])
    error = (rows - book.entries[chosen]).square().mean()
    one = Codebook(CodebookConfig(size=8, width=3))
    one.fill(rows[:20].T[None], rng)
    assert error < (rows - one.entries[one.nearest(rows)]).square().mean()


def test_with_too_few_vectors_entries_differ_all_the_same(rng):
    book = Codebook(CodebookConfig(size=8, width=3))
    book.fill(vectors(rng, batch=1, frames=3), rng)
    assert len(book.entries.unique(dim=0)) == 8


def test_gradients_pass_to_the_vectors_unchanged(rng):
    data = vectors(rng).requires_grad_()
    quantized = filled(rng)(data)
    weight = torch.randn(data.shape, generator=rng)
    (quantized.vectors * weight).sum().backward()
    torch.testing.assert_close(data.grad, weight)


def test_commitment_pulls_vectors_to_their_entries(rng):
    data = vectors(rng).requires_grad_()
    book = filled(rng)
    quantized = book(data)
    quantized.commitment.backward()
    expected = 2 * (data - book.decode(quantized.codes)) / data.numel()
    torch.testing.assert_close(data.grad, expected.detach())


def test_an_update_is_the_written_out_moving_average(rng):
    book = filled(rng, decay=0.9, revive_below_share=0.0)
    data = vectors(rng)
    codes = book.encode(data)
    sums, counts = book.sums.clone(), book.counts.clone()
    rows, chosen = data.transpose(1, 2).reshape(-1, 3), codes.flatten()
    for code in range(8):
        own = rows[chosen == code]
        sums[code] = 0.9 * sums[code] + 0.1 * own.sum(0)
        counts[code] = 0.9 * counts[code] + 0.1 * len(own)
    assert book.update(data, codes, rng) == 0
    torch.testing.assert_close(book.entries, sums / counts[:, None])
    torch.testing.assert_close(book.counts, counts)


def test_entries_nobody_uses_come_back_as_vectors_of_the_data(rng):
    book = filled(rng, revive_below_share=0.03, revived_share=0.1)
    book.entries[3] = 1e6
    book.sums[3], book.counts[3] = 0.0, 0.0
    data = vectors(rng)
    assert book.update(data, book.encode(data), rng) == 1
    rows = data.transpose(1, 2).reshape(-1, 3)
    assert (rows == book.entries[3]).all(1).any()
    torch.testing.assert_close(book.sums[3] / book.counts[3], book.entries[3])


def test_a_collapsed_codebook_is_used_again_after_a_while(rng):
    book = filled(rng)
    book.entries[1:] = 1e6
    book.sums.copy_(book.entries)
    for _ in range(600):
        data = vectors(rng)
        book.update(data, book.encode(data), rng)
    assert len(book.encode(vectors(rng, frames=400)).unique()) == 8


@pytest.mark.parametrize(("counts", "bits"), [([4, 4, 4, 4], 2.0), ([7, 0, 0], 0.0), ([1, 1, 0], 1.0)])
def test_entropy_of_known_distributions(counts, bits):
    assert entropy_bits(torch.tensor(counts, dtype=torch.float)) == pytest.approx(bits)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_entropy_of_counts_that_a_gpu_made():
    assert entropy_bits(torch.tensor([4, 4, 4, 4], device="cuda")) == pytest.approx(2.0)


def test_the_nearest_entry_is_found_in_single_precision_whatever_a_training_multiplies_in(rng):
    entries, rows = torch.randn(500, 16, generator=rng), torch.randn(200, 16, generator=rng)
    expected = nearest(entries, rows)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(entries, rows), expected)
