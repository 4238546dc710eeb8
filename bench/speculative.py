"""Whether a quick draft that a prior then checks would draw codes faster: prints a table (docs/experiments.md has it).

python bench/speculative.py CODES [MODEL] [--level 1] [--windows 24] [--runs 5]

A draft proposes k codes, the prior reads them in one pass and keeps each with probability min(1, p/q), so that what is
drawn is exactly the prior's (Leviathan et al. 2023, arXiv 2211.17192). Of a draft's codes the share sum(min(p, q)) is
kept on average; it is measured on held-out windows, for drafts that cost next to nothing (how often codes follow one
another in the training tracks, mixed with how often they occur) and for the prior's own first layers read through its
output. The time of a pass over k + 1 codes is measured beside that of one.
"""

import argparse
import copy
import statistics
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from orchestrion.checkpoints import zoo
from orchestrion.checkpoints.folder import load_prior, read_model
from orchestrion.data.encoded import CodeBatch, CodeStore
from orchestrion.evaluate.priors import pair_chances
from orchestrion.generate.told import told_of
from orchestrion.nn.fast import quantized
from orchestrion.prior import Prior
from peers.figures import timed
from report import table

DRAFTED = (1, 2, 4)


def kept(p: Float[Tensor, "*place code"], q: Float[Tensor, "*place code"]) -> float:
    """The share of a draft's codes that is kept on average."""
    return float(torch.minimum(p, q).sum(-1).mean())


def seconds(prior: Prior, batch: CodeBatch, new: int, runs: int) -> float:
    """Of one pass over `new` codes in the middle of a window."""
    half = batch.codes.shape[1] // 2
    state = prior.begin(told_of(batch), batch.codes.shape[1])
    prior.advance(batch.codes[:, :half], state)
    length = state.tokens.cache.length

    def read() -> None:
        for _ in range(20):
            state.tokens.cache.length, state.num_codes = length, half
            prior.advance(batch.codes[:, half : half + new], state)

    return statistics.median(timed(read, runs)) / 20


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("codes", type=Path, help="A folder of codes by the model's codec.")
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--windows", type=int, default=24)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    folder = zoo.locate(given.model)
    info = read_model(folder)
    prior = load_prior(folder, info, given.level).eval()
    assert isinstance(prior, Prior), "only a prior that draws code by code can check a draft"
    config, store = prior.config, CodeStore(given.codes, info.vocabulary)
    batches = list(
        store.validation_batches(
            1, given.level, config.context_frames, max_windows=given.windows, num_characters=config.num_characters
        )
    )
    chances = {"": [prior(batch.codes, told_of(batch)).softmax(-1) for batch in batches]}
    follows = pair_chances(store, given.level)[0].float()
    chances["pairs of codes"] = [
        torch.cat([follows.mean(0)[None], follows[batch.codes[0, :-1]]])[None] for batch in batches
    ]
    layers = prior.config.transformer.num_layers
    for first in range(1, layers):
        draft = copy.deepcopy(prior)
        draft.tokens.transformer.keep_first(first)
        chances[f"the first {first} of {layers} layers"] = [
            draft(batch.codes, told_of(batch)).softmax(-1) for batch in batches
        ]
    exact = chances.pop("")
    drawing = quantized(prior, info.weights) if info.weights else prior
    times = {new: seconds(drawing, batches[0], new, given.runs) for new in (1, *(k + 1 for k in DRAFTED))}
    rows: list[list[object]] = []
    for name, found in chances.items():
        share = statistics.mean(kept(p, q) for p, q in zip(exact, found, strict=True))
        free = name.startswith("pairs")
        draft_share = 0.0 if free else int(name.split()[2]) / layers
        gains = []
        for k in DRAFTED:
            codes = sum(share**n for n in range(k + 1))
            gains.append(f"{codes * times[1] / (times[k + 1] + k * draft_share * times[1]):.2f}")
        rows.append([name, f"{share:.2f}", *gains])
    print(table(["draft", "kept", *(f"times as fast, {k} drafted" for k in DRAFTED)], rows))
    print("\nms a pass: " + ", ".join(f"{1e3 * each:.2f} for {new}" for new, each in times.items()))


main()
