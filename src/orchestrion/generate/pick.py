"""Chances and choices: from a prior's logits to the next code."""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from orchestrion.config.sampling import LevelSampling

_BLOCK_FRAMES = 1024


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
    # The likeliest is shifted to 0 first, so that no temperature, however small, leads to inf - inf.
    shifted = (logits - logits.amax(-1, keepdim=True)).float() / sampling.temperature
    probs, order = shifted.softmax(-1).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k is not None:
        probs, order = probs[:, : sampling.top_k], order[:, : sampling.top_k]
    upto = (probs / probs.sum(-1, keepdim=True)).cumsum(-1)
    # The nucleus ends with the first code that brings it to top_p; the first code is always in it.
    kept = 1 + (upto[:, :-1] < sampling.top_p).sum(-1)
    mass = upto.gather(-1, kept[:, None] - 1)
    place = torch.searchsorted(upto, chance.to(upto)[:, None] * mass, right=True)
    return order.gather(-1, torch.minimum(place, kept[:, None] - 1)).squeeze(-1)


def chances(seeds: Sequence[int], level: int, start: int, stop: int) -> Float[Tensor, "batch frame"]:
    """The chance of every frame in [start, stop), a row for each seed, on the CPU.

    A frame's chance depends on the seed, the level and the frame alone: not on the windows, on what stands
    beside it in the batch, or on the device. So what was stopped goes on the same, and a longer song starts
    like a shorter one.
    """
    first, last = start // _BLOCK_FRAMES, -(-stop // _BLOCK_FRAMES)
    rows = [torch.cat([_block(seed, level, block) for block in range(first, last)]) for seed in seeds]
    return torch.stack(rows)[:, start - first * _BLOCK_FRAMES : stop - first * _BLOCK_FRAMES]


def _block(seed: int, level: int, block: int) -> Float[Tensor, " frame"]:
    # Neighbouring seeds of a generator may be alike; those of a hash are not.
    digest = hashlib.blake2b(f"{seed}/{level}/{block}".encode(), digest_size=8).digest()
    rng = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    return torch.rand(_BLOCK_FRAMES, generator=rng)
