"""The classifier learns what can be told apart and nothing else."""

import torch

from orchestrion.evaluate.control import accuracy, learn
from orchestrion.evaluate.distance import Described


def clusters(rng, per_label=60, apart=2.0):
    labels = ["metal"] * per_label + ["ambient"] * per_label
    features = torch.randn(2 * per_label, 10, generator=rng)
    features[:per_label] += apart
    return Described(features, torch.arange(2 * per_label) // 3), labels


def test_two_clusters_are_told_apart_on_music_never_heard(rng):
    learned, labels = clusters(rng)
    classifier = learn(learned.features, labels)
    found = accuracy(classifier, *clusters(rng))
    assert found.found.value > 0.97
    assert found.chance == 0.5


def test_shuffled_labels_are_found_by_chance_only(rng):
    learned, labels = clusters(rng)
    judged, true = clusters(rng)
    found = []
    for _ in range(20):
        shuffled = [labels[place] for place in torch.randperm(len(labels), generator=rng)]
        found.append(accuracy(learn(learned.features, shuffled), judged, true).found.value)
    assert abs(sum(found) / len(found) - 0.5) < 0.15


def test_the_same_music_gives_the_same_classifier(rng):
    learned, labels = clusters(rng)
    one, other = learn(learned.features, labels), learn(learned.features, labels)
    assert torch.equal(one.weight, other.weight) and torch.equal(one.bias, other.bias)


def test_the_scale_of_a_feature_does_not_matter(rng):
    learned, labels = clusters(rng, apart=0.5)
    scale = torch.logspace(-2, 2, 10)
    one, other = learn(learned.features, labels), learn(learned.features * scale, labels)
    torch.testing.assert_close(one.scores(learned.features), other.scores(learned.features * scale), rtol=0, atol=1e-3)


def test_a_rare_label_is_not_drowned_by_a_common_one(rng):
    features = torch.cat([torch.randn(300, 4, generator=rng), torch.randn(12, 4, generator=rng) + 1.5])
    labels = ["rock"] * 300 + ["folk"] * 12
    judged = Described(torch.randn(200, 4, generator=rng) + 1.5, torch.arange(200))
    assert accuracy(learn(features, labels), judged, ["folk"] * 200).found.value > 0.8


def test_a_label_that_was_never_learned_is_never_found(rng):
    learned, labels = clusters(rng, apart=8.0)
    asked = ["opera" if number < 30 else label for number, label in enumerate(labels)]  # 10 of 40 tracks
    assert accuracy(learn(learned.features, labels), learned, asked).found.value == 0.75


def test_balanced_accuracy_counts_rare_labels_as_much_as_common_ones(rng):
    learned, labels = clusters(rng, apart=8.0)
    common, rare = learned.of_tracks[0], learned.of_tracks[-1]
    taken = torch.cat([*learned.of_tracks[:3], rare])
    judged = Described(learned.features[taken], torch.arange(4).repeat_interleave(len(common)))
    asked = [labels[int(place)] for place in taken[: -len(rare)]] + ["another"] * len(rare)
    found = accuracy(learn(learned.features, labels), judged, asked)
    assert found.found.value == found.chance == 0.75
    assert found.balanced.value == found.balanced_chance == 0.5
    assert found.balanced.low < 0.5 < found.balanced.high <= 1
