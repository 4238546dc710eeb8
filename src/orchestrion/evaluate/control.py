"""Whether songs sound like what was asked for: a classifier that learned labels from real music judges them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrion.evaluate.distance import Described
from orchestrion.evaluate.interval import Estimate, bootstrap, share

PENALTY = 1.0
"""Weight of ‖W‖²/2 beside the summed loss of all items, on features of deviation 1."""

_STEPS = 500


@dataclass(frozen=True)
class Classifier:
    """Regularised logistic regression: one score for each of `labels`."""

    labels: tuple[str, ...]
    mean: Float[Tensor, " feature"]
    deviation: Float[Tensor, " feature"]
    weight: Float[Tensor, "label feature"]
    bias: Float[Tensor, " label"]

    def scores(self, features: Float[Tensor, "item feature"]) -> Float[Tensor, "item label"]:
        """Log-probabilities of the labels."""
        standard = (features.double() - self.mean) / self.deviation
        return (standard @ self.weight.T + self.bias).log_softmax(1)


def learn(features: Float[Tensor, "item feature"], labels: Sequence[str], *, penalty: float = PENALTY) -> Classifier:
    """The classifier of `labels`, one for each item; every label weighs the same, however often it occurs.

    The loss is convex and is followed by L-BFGS from 0 to its one minimum: the same data give the same classifier.
    """
    names = tuple(sorted(set(labels)))
    assert len(names) > 1 and len(labels) == len(features), "labels to tell apart, one for each item"
    exact = features.double()
    mean, deviation = exact.mean(0), exact.std(0).clamp_min(1e-8)
    standard = (exact - mean) / deviation
    target = torch.tensor([names.index(label) for label in labels], device=features.device)
    balance = len(labels) / (len(names) * target.bincount(minlength=len(names)).double())
    weight = standard.new_zeros(len(names), standard.shape[1], requires_grad=True)
    bias = standard.new_zeros(len(names), requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-6)

    def loss() -> Tensor:
        search.zero_grad()
        found = cross_entropy(standard @ weight.T + bias, target, weight=balance)
        found = found + penalty / (2 * len(labels)) * weight.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    with torch.enable_grad():
        search.step(loss)  # type: ignore[no-untyped-call]
    return Classifier(names, mean, deviation, weight.detach(), bias.detach())


@dataclass(frozen=True)
class Accuracy:
    """The share of tracks whose label is found, and the share that the best constant answer finds.

    `balanced` is the mean of the shares of each label (balanced accuracy, Brodersen et al. 2010), in which any constant
    answer has `balanced_chance`: where some labels are common, it says more.
    """

    found: Estimate
    chance: float
    balanced: Estimate
    balanced_chance: float


def accuracy(classifier: Classifier, judged: Described, labels: Sequence[str], *, seed: int = 0) -> Accuracy:
    """How often the label of a track, summed over the scores of its pieces, is the one in `labels`, one per item.

    Tracks with a label that was never learned count as not found.
    """
    assert len(labels) == len(judged.features), "one label for each item"
    scores = classifier.scores(judged.features)
    right, true = [], []
    for items in judged.of_tracks:
        label = labels[int(items[0])]
        true.append(label)
        right.append(classifier.labels[int(scores[items].sum(0).argmax())] == label)
    hits = torch.tensor(right)
    names = sorted(set(true))
    of_label = torch.tensor([names.index(label) for label in true])

    def balanced(drawn: Tensor) -> float:
        counts = of_label[drawn].bincount(minlength=len(names))
        found = torch.zeros(len(names), dtype=torch.float64).index_add(0, of_label[drawn], hits[drawn].double())
        return float((found / counts)[counts > 0].mean())

    even = bootstrap(len(hits), balanced, centred=True, seed=seed)
    return Accuracy(
        found=share(hits),
        chance=max(true.count(label) for label in names) / len(true),
        balanced=Estimate(even.value, max(0.0, even.low), min(1.0, even.high)),
        balanced_chance=1 / len(names),
    )
