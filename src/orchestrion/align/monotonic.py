"""The likeliest way through words that are sung in their order."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_FLOOR = 0.01
"""Added to every share: a frame that attends to nothing in particular says little against any word."""
_JUMP = 4.0
"""What it costs, in nats, to leave words out, or to begin or end with another than the first or last."""


def follow(shares: Float[Tensor, "frame word"]) -> Int[Tensor, " frame"]:
    """The word that each frame is at, never going back, such that the attention to them is the likeliest.

    `shares` says how much of its attention each frame has for each word. A frame stays at the word of the frame before
    it, goes on to the next one, or leaves words out at a price (Viterbi 1967).
    """
    frames, words = shares.shape
    scores = (shares + _FLOOR).log()
    place = torch.arange(words)
    came = torch.zeros(frames, words, dtype=torch.int32)
    best = scores[0] - _JUMP * (place > 0)
    nowhere = best.new_full((2,), -torch.inf)
    for frame in range(1, frames):
        highest, where = best.cummax(0)
        ways = torch.stack(
            (best, torch.cat((nowhere[:1], best[:-1])), torch.cat((nowhere, highest[:-2]))[:words] - _JUMP)
        )
        origins = torch.stack((place, place - 1, torch.cat((place[:2], where[:-2]))[:words]))
        best, choice = ways.max(0)
        came[frame] = origins.gather(0, choice[None])[0]
        best = best + scores[frame]
    at = int((best - _JUMP * (place < words - 1)).argmax())
    path = []
    for frame in range(frames - 1, -1, -1):
        path.append(at)
        at = int(came[frame, at])
    return torch.tensor(path[::-1])
