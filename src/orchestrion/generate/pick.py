"""Chances and choices: from a prior's logits to the next code."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.config.sampling import LevelSampling

_BLOCK_FRAMES = 1024
_CODES = 2**32
"""More than there are codes."""
_COLDEST = 1e-30
"""What is colder draws the same, and single precision cannot divide by it."""


def pick(
    logits: Float[Tensor, "batch code"], chance: Float[Tensor, " batch"], sampling: LevelSampling
) -> Int[Tensor, " batch"]:
    """The code that falls to each row's `chance`, a number in [0, 1) spread evenly.

    Codes are laid out from the likeliest to the least likely, each as wide as its probability; the one that
    `chance` points at is taken. Among codes of equal probability the smaller number comes first, and `top_k`
    keeps exactly that many.
    """
    if sampling.temperature == 0:
        return logits.argmax(-1)
    if sampling.temperature != 1:
        logits = _sharpened(logits, sampling.temperature)
    probs, order = _ranked(logits.float().softmax(-1))
    if sampling.top_k is not None:
        probs, order = probs[:, : sampling.top_k], order[:, : sampling.top_k]
    upto = (probs / probs.sum(-1, keepdim=True)).cumsum(-1)
    # The nucleus ends with the first code that brings it to top_p, or with the last one.
    bound = upto.new_full((len(upto), 1), sampling.top_p)
    last = torch.searchsorted(upto, bound).clamp_(max=upto.shape[-1] - 1)
    mass = upto.gather(-1, last)
    place = torch.searchsorted(upto, chance.to(upto)[:, None] * mass, right=True)
    return order.gather(-1, torch.minimum(place, last)).squeeze(-1)


def pick_many(
    logits: Float[Tensor, "place code"], chance: Float[Tensor, " place"], sampling: LevelSampling
) -> tuple[Int[Tensor, " place"], Float[Tensor, " place"]]:
    """A code for each place and its probability among those that might have been drawn.

    Drawn as by `pick`, but codes are laid out by their numbers, which spares sorting them where all may be drawn.
    """
    if sampling.temperature == 0:
        share, code = logits.float().softmax(-1).max(-1)
        return code, share
    probs = _sharpened(logits, sampling.temperature).softmax(-1)
    if sampling.top_k is not None or sampling.top_p < 1:
        probs = _nucleus(probs, sampling)
    upto = probs.cumsum(-1)
    mass = upto[:, -1:]
    point = torch.minimum(chance.to(upto)[:, None] * mass, torch.nextafter(mass, torch.zeros_like(mass)))
    code = torch.searchsorted(upto, point, right=True)
    return code.squeeze(-1), probs.gather(-1, code).squeeze(-1)


def _sharpened(logits: Float[Tensor, "place code"], temperature: float) -> Float[Tensor, "place code"]:
    """Logits at a temperature above 0, the likeliest at 0: none, however small, leads to inf - inf or 0 / 0."""
    return (logits - logits.amax(-1, keepdim=True)).float() / max(temperature, _COLDEST)


def _nucleus(probs: Float[Tensor, "place code"], sampling: LevelSampling) -> Float[Tensor, "place code"]:
    """The probabilities of the likeliest codes, as many as `top_k` and `top_p` say; the others are 0, the sum 1."""
    sorted_probs, order = _ranked(probs)
    if sampling.top_k is not None:
        sorted_probs[:, sampling.top_k :] = 0
    sorted_probs /= sorted_probs.sum(-1, keepdim=True)
    before = sorted_probs.cumsum(-1) - sorted_probs
    kept = sorted_probs * (before < sampling.top_p)
    return torch.zeros_like(probs).scatter(-1, order, kept / kept.sum(-1, keepdim=True))


def _ranked(probs: Float[Tensor, "place code"]) -> tuple[Float[Tensor, "place code"], Int[Tensor, "place code"]]:
    """Probabilities from the greatest to the least, and whose they are; of equal ones the smaller code first."""
    # With its code in the lower bits no two are equal, and any way of sorting gives the same: numpy's is the fastest.
    ranks = probs.view(torch.int32).long().mul_(-_CODES).add_(torch.arange(probs.shape[-1], device=probs.device))
    if ranks.device.type == "cpu":
        ranks.numpy().sort()
    else:
        ranks = ranks.sort().values
    codes = ranks.bitwise_and_(_CODES - 1)
    return probs.gather(-1, codes), codes


def seed_of_take(seed: int, take: int) -> int:
    """The seed of one of several takes of the same music: the first has the song's own."""
    return seed if take == 0 else _hashed(f"{seed}/take {take}")


def chances(seeds: Sequence[int], level: int, start: int, stop: int, purpose: str = "") -> Float[Tensor, "batch frame"]:
    """The chance of every frame in [start, stop), a row for each seed, on the CPU; others for each `purpose`.

    A frame's chance depends on the seed, the level and the frame alone: not on the windows, on what stands
    beside it in the batch, or on the device. So what was stopped goes on the same, and a longer song starts
    like a shorter one.
    """
    first, last = start // _BLOCK_FRAMES, -(-stop // _BLOCK_FRAMES)
    rows = [torch.cat([_block(seed, level, block, purpose) for block in range(first, last)]) for seed in seeds]
    return torch.stack(rows)[:, start - first * _BLOCK_FRAMES : stop - first * _BLOCK_FRAMES]


def _block(seed: int, level: int, block: int, purpose: str) -> Float[Tensor, " frame"]:
    # Neighbouring seeds of a generator may be alike; those of a hash are not.
    rng = torch.Generator().manual_seed(_hashed(f"{seed}/{level}/{block}{purpose and '/'}{purpose}"))
    return torch.rand(_BLOCK_FRAMES, generator=rng)


def _hashed(text: str) -> int:
    """A number below 2**63."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
