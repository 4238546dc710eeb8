"""Laws of priors, in both dialects."""

import math

import pytest
import tiny_priors as tiny
import torch
from torch.testing import assert_close

from orchestrion.codes import HIDDEN
from orchestrion.config import PriorConfig
from orchestrion.prior import Prior

EVERY = pytest.mark.parametrize("config", tiny.CONFIGS.values(), ids=tiny.CONFIGS)


@EVERY
def test_the_future_cannot_reach_the_past(config: PriorConfig, rng: torch.Generator) -> None:
    prior, told, codes = tiny.prior(config, rng), tiny.conditions(config, rng), tiny.codes(config, rng)
    changed = codes.clone()
    changed[:, 13:] = (changed[:, 13:] + 1) % config.codebook_size
    before, after = prior(codes, told), prior(changed, told)
    assert_close(before[:, :14], after[:, :14], rtol=1e-5, atol=1e-5)
    assert (before[:, 14:] - after[:, 14:]).abs().max() > 1e-3


@EVERY
@pytest.mark.parametrize("pieces", [[], [1], [5, 4, 1], [6], [12, 7], [3, 0, 2]], ids=str)
def test_one_after_another_equals_all_at_once(config: PriorConfig, pieces: list[int], rng: torch.Generator) -> None:
    prior, told, codes = tiny.prior(config, rng), tiny.conditions(config, rng), tiny.codes(config, rng)
    expected = prior(codes, told)
    state, read = prior.begin(told, config.context_frames), 0
    for piece in pieces:
        scores = prior.advance(codes[:, read : read + piece], state)
        read += piece
        assert_close(scores, expected[:, read], rtol=1e-4, atol=1e-5)
    if not pieces:
        assert_close(prior.advance(codes[:, :0], state), expected[:, 0], rtol=1e-4, atol=1e-5)
    while read < config.context_frames - 1:
        scores = prior.advance(codes[:, read : read + 1], state)
        read += 1
        assert_close(scores, expected[:, read], rtol=1e-4, atol=1e-5)


@EVERY
def test_a_short_window_is_the_beginning_of_a_whole_one(config: PriorConfig, rng: torch.Generator) -> None:
    prior, told, codes = tiny.prior(config, rng), tiny.conditions(config, rng), tiny.codes(config, rng)
    whole = prior(codes, told)
    assert_close(prior(codes[:, :17], told), whole[:, :17], rtol=1e-4, atol=1e-5)
    state = prior.begin(told, 17)
    assert_close(prior.advance(codes[:, :16], state), whole[:, 16], rtol=1e-4, atol=1e-5)


@EVERY
def test_what_comes_after_the_music_is_not_learned(config: PriorConfig, rng: torch.Generator) -> None:
    prior, told, codes = tiny.prior(config, rng), tiny.conditions(config, rng), tiny.codes(config, rng)
    ended = codes.clone()
    ended[0, 17:] = HIDDEN
    scores = prior(codes, told).log_softmax(-1)
    nats = -scores.gather(-1, codes[..., None] + prior.first_code)[..., 0]
    real = ended != HIDDEN
    loss = prior.loss(ended, told)
    assert_close(loss.bits_per_code, nats[real].mean() / math.log(2), rtol=1e-4, atol=1e-5)
    gradients = torch.autograd.grad(loss.total, list(prior.parameters()), allow_unused=True)
    rows = [prior.loss(ended[row : row + 1], told.rows(row, row + 1)).total for row in range(2)]
    of_parts = torch.autograd.grad(sum(rows) / 2, list(prior.parameters()), allow_unused=True)
    for whole, part in zip(gradients, of_parts, strict=True):
        assert (whole is None) == (part is None)
        if whole is not None:
            assert_close(whole, part, rtol=1e-3, atol=1e-5)


def test_positions_of_more_lyrics_are_those_of_fewer_counted_from_the_end(rng: torch.Generator) -> None:
    few = tiny.paced()
    assert few.lyrics is not None and few.lyrics.encoder is not None
    encoder = few.lyrics.encoder.model_copy(update={"positions": "learned"})

    def seeing(characters: int) -> Prior:
        lyrics = few.lyrics.model_copy(update={"num_characters": characters, "encoder": encoder})
        return tiny.prior(few.model_copy(update={"lyrics": lyrics}), rng)

    known, longer, shorter = seeing(8), seeing(19), seeing(5)
    (name,) = (name for name, _ in known.named_parameters() if name.endswith("positions"))
    positions = known.get_parameter(name)
    for prior in (longer, shorter):
        assert name in prior.begin_with(known)
        repeated = positions.repeat(3, 1)[-len(prior.get_parameter(name)) :]
        assert torch.equal(prior.get_parameter(name), repeated)


@EVERY
def test_training_starts_with_every_code_equally_likely(config: PriorConfig, rng: torch.Generator) -> None:
    prior, told, codes = Prior(config, rng), tiny.conditions(config, rng), tiny.codes(config, rng)
    num_scores = config.codebook_size + prior.first_code
    assert prior.loss(codes, told).bits_per_code == pytest.approx(math.log2(num_scores), abs=0.1)


@EVERY
def test_the_gradient_reaches_every_parameter(config: PriorConfig, rng: torch.Generator) -> None:
    prior, told, codes = tiny.prior(config, rng), tiny.conditions(config, rng), tiny.codes(config, rng)
    prior.loss(codes, told).total.backward()
    still = [name for name, parameter in prior.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not still


def test_hand_written_gradients_are_right(rng: torch.Generator) -> None:
    prior = tiny.prior(tiny.top(), rng).double()
    told, codes = tiny.conditions(prior.config, rng), tiny.codes(prior.config, rng)
    weight = prior.tokens.transformer.blocks[0].attention.inputs.weight  # type: ignore[union-attr]
    prior.loss(codes, told).total.backward()
    assert weight.grad is not None
    step = torch.randn(weight.shape, generator=rng).double() * 1e-4
    with torch.no_grad():
        weight += step
        above = prior(codes, told)
        weight -= 2 * step
        below = prior(codes, told)
    rise = [torch.nn.functional.cross_entropy(scores.flatten(0, 1), codes.flatten()) for scores in (above, below)]
    assert_close((rise[0] - rise[1]) / 2, (weight.grad * step).sum(), rtol=1e-4, atol=1e-9)


@EVERY
def test_bfloat16_is_close_to_float32(config: PriorConfig, rng: torch.Generator) -> None:
    prior, told, codes = tiny.prior(config, rng), tiny.conditions(config, rng), tiny.codes(config, rng)
    exact = prior.loss(codes, told).total
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = prior.loss(codes, told).total
        loss.backward()
    assert_close(loss, exact, rtol=3e-2, atol=3e-2)
    assert all(parameter.grad.isfinite().all() for parameter in prior.parameters() if parameter.grad is not None)


@EVERY
def test_items_of_a_batch_do_not_meet(config: PriorConfig, rng: torch.Generator) -> None:
    prior, told, codes = tiny.prior(config, rng), tiny.conditions(config, rng, 3), tiny.codes(config, rng, 3)
    assert_close(prior(codes, told)[1:2], prior(codes[1:2], told.rows(1, 2)), rtol=1e-4, atol=1e-5)


def test_settings_survive_their_file() -> None:
    from orchestrion.config import plain, read_settings

    for config in tiny.CONFIGS.values():
        assert read_settings(PriorConfig, plain(config)) == config
