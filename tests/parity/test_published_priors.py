"""The published priors: same conditioning, logits, losses, gradients and drawn codes."""

import math
from pathlib import Path

import published_priors
import pytest
import torch
import torch.nn.functional as F
from published_priors import Case
from torch import Tensor
from torch.testing import assert_close


@pytest.fixture(params=published_priors.NAMES)
def case(request: pytest.FixtureRequest, parity: Path) -> Case:
    return published_priors.load(parity / request.param)


def close(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, rtol=0, atol=1e-4)


def test_conditioning(case: Case) -> None:
    told = case.prior._tell(case.conditions, case.codes.shape[1], None)
    assert told.start is not None and told.conditioning is not None
    close(told.start, case.io["y_cond"][:, 0])
    close(told.conditioning[:, case.prior.config.lyric_tokens :], case.io["x_cond"])
    if "encoder_kv" in case.io:
        assert told.memory is not None
        close(told.memory, case.io["encoder_kv"])


def test_logits(case: Case) -> None:
    close(case.prior(case.codes, case.conditions), case.io["logits"][:, case.prior.config.lyric_tokens :])


def test_losses_and_gradients(case: Case) -> None:
    prior = case.prior
    prior.zero_grad()
    loss = prior.loss(case.codes, case.conditions)
    loss.total.backward()
    train = case.expected["train"]
    assert float(loss.total.detach()) / math.log(2) == pytest.approx(train["loss"], rel=1e-5)
    assert float(loss.bits_per_code) == pytest.approx(train["gen_loss"], rel=1e-5)
    if loss.bits_per_character is not None:
        assert float(loss.bits_per_character) == pytest.approx(train["prime_loss"], rel=1e-5)
    compared = 0
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None, name
        norm = train["grad_norm"].get(case.keys[name])
        if norm is not None:
            # The original's losses are in bits.
            assert float(parameter.grad.norm()) / math.log(2) == pytest.approx(norm, rel=1e-3, abs=1e-5), name
            compared += 1
    assert compared > 20


def greedy(case: Case, start: Tensor, num_frames: int, chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Codes with the likeliest at every step, and the scores that led there."""
    prior = case.prior
    state = prior.begin(case.conditions, prior.config.context_frames)
    codes, scores = start, []
    pieces = list(start.split(chunk, 1)) if chunk and start.shape[1] else [start]
    with torch.no_grad():
        for piece in pieces:
            latest = prior.advance(piece, state)
        while True:
            scores.append(latest)
            drawn = latest.argmax(-1, keepdim=True) - prior.first_code
            codes = torch.cat((codes, drawn), 1)
            if codes.shape[1] == num_frames:
                return codes.clamp(min=0), torch.stack(scores, 1)
            latest = prior.advance(drawn, state)


def test_drawing_from_nothing(case: Case) -> None:
    codes, scores = greedy(case, case.codes[:, :0], case.codes.shape[1])
    assert torch.equal(codes, case.io["greedy_full"])
    close(scores, case.io["greedy_full_logits"][:, case.prior.config.lyric_tokens :])
    partial = case.io["greedy_partial"]
    assert torch.equal(codes[:, : partial.shape[1]], partial)


@pytest.mark.parametrize("chunk", [None, 1, 7, 8])
def test_continuing(case: Case, chunk: int | None) -> None:
    primed = [name for name in case.io if name.startswith("greedy_primed_")]
    assert primed
    for name in primed:
        start = case.codes[:, : int(name.rsplit("_", 1)[1])]
        codes, _ = greedy(case, start, case.codes.shape[1], chunk)
        assert torch.equal(codes, case.io[name]), name


def test_the_originals_own_draws(case: Case) -> None:
    """The same seed of torch's own generator, one draw per code, gives the same codes from our scores."""
    seeded = {name: about for name, about in case.expected["sampling"].items() if name.startswith("seeded_")}
    assert seeded
    for name, about in seeded.items():
        expected, asked = case.io[name], about["args"]
        torch.manual_seed(about["torch_manual_seed"])
        codes = expected[:, :0]
        state = case.prior.begin(case.conditions, case.prior.config.context_frames)
        with torch.no_grad():
            latest = case.prior.advance(codes, state)
            while True:
                scores = latest / asked["temp"]
                if asked.get("top_k"):
                    smallest = scores.topk(asked["top_k"], dim=-1).values[:, -1:]
                    scores = scores.masked_fill(scores < smallest, -torch.inf)
                drawn = torch.distributions.Categorical(logits=scores[:, None]).sample() - case.prior.first_code
                codes = torch.cat((codes, drawn), 1)
                if codes.shape[1] == expected.shape[1]:
                    break
                latest = case.prior.advance(drawn, state)
        assert torch.equal(codes.clamp(min=0), expected), name


def test_attention_to_lyrics(case: Case) -> None:
    if "attn_alignment_layer" not in case.io:
        pytest.skip("this prior has no alignment layer")
    weights = case.prior.alignment(case.codes, case.conditions, case.given["alignment_layer"])
    close(weights, case.io["attn_alignment_layer"])


def test_lyrics_are_scored(case: Case) -> None:
    """The part of the logits that stands before the music."""
    lyric_tokens = case.prior.config.lyric_tokens
    if not lyric_tokens:
        pytest.skip("lyrics are not in the same sequence")
    told = case.prior._tell(case.conditions, case.codes.shape[1], None)
    scores = case.prior._scores(case.codes, case.conditions, told, None)
    close(scores[:, :lyric_tokens], case.io["logits"][:, :lyric_tokens])
    assert case.conditions.lyrics is not None
    nats = F.cross_entropy(scores[:, :lyric_tokens].flatten(0, 1), case.conditions.lyrics.flatten())
    assert float(nats.detach()) / math.log(2) == pytest.approx(case.expected["eval"]["prime_loss"], rel=1e-5)
