"""Laws of what tells a codec's sound from the true one."""

import pytest
import torch
from torch import Tensor

from orchestrion.codec.discriminator import (
    Discriminator,
    Judgement,
    feature_distance,
    fooling_loss,
    telling_loss,
    told_apart,
)
from orchestrion.config.training import AdversarialConfig

CONFIG = AdversarialConfig(windows=(128, 64), width=4)


@pytest.fixture
def discriminator() -> Discriminator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Discriminator(CONFIG, channels=2)


def judged(score: float) -> list[Judgement]:
    return [Judgement(torch.full((2, 1, 3, 4), score), [torch.ones(2, 1, 3, 4)])]


def sounds(rng: torch.Generator, batch: int = 2) -> Tensor:
    return 0.3 * torch.randn(batch, 2, 800, generator=rng)


def test_a_sound_has_no_feature_distance_from_itself(discriminator, rng):
    audio = sounds(rng)
    assert float(feature_distance(discriminator(audio), discriminator(audio)).detach()) == 0
    other = feature_distance(discriminator(audio), discriminator(sounds(rng)))
    assert float(other.detach()) > 0


def test_items_of_a_batch_are_judged_by_themselves(discriminator, rng):
    audio = sounds(rng, batch=3)
    together = discriminator(audio)
    for index in range(3):
        for one, all_ in zip(discriminator(audio[index : index + 1]), together, strict=True):
            torch.testing.assert_close(one.scores[0], all_.scores[index], atol=1e-5, rtol=1e-4)


def test_the_phase_of_a_sound_is_heard(discriminator, rng):
    audio = sounds(rng)
    assert (discriminator(audio)[0].scores - discriminator(-audio)[0].scores).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["hinge", "least_squares"])
def test_what_helps_one_side_harms_the_other(kind):
    sure, unsure = telling_loss(judged(1.0), judged(-1.0), kind), telling_loss(judged(0.0), judged(0.0), kind)
    assert float(sure) == 0 < float(unsure)
    assert fooling_loss(judged(0.9), kind) < fooling_loss(judged(0.0), kind) < fooling_loss(judged(-1.0), kind)
    assert told_apart(judged(1.0), judged(-1.0)) == 1
    assert told_apart(judged(1.0), judged(1.0)) == 0.5


def test_magnitudes_are_judged_channel_by_channel_and_silence_is_silence(rng):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = Discriminator(CONFIG, channels=2, magnitudes=True)
    logs = torch.randn(3, 2 * 33, 50, generator=rng)
    (found,) = judge(logs)
    assert found.scores.shape == (3, 1, 13, 5)  # frames halved twice, bins three times
    lower = torch.where(logs < 0, -30.0, logs)
    lowest = torch.where(logs < 0, -40.0, logs)
    torch.testing.assert_close(judge(lower)[0].scores, judge(lowest)[0].scores)
    swapped = logs.unflatten(1, (2, 33)).flip(1).flatten(1, 2)
    assert not torch.allclose(judge(swapped)[0].scores, found.scores, atol=1e-3)


@pytest.mark.parametrize("kind", ["hinge", "least_squares"])
def test_it_learns_to_tell_noise_from_tones(discriminator, rng, kind):
    optimizer = torch.optim.Adam(discriminator.parameters(), 3e-3)
    tones = 0.3 * torch.sin(0.2 * torch.arange(800)).expand(2, 2, -1)
    for _ in range(40):
        loss = telling_loss(discriminator(tones), discriminator(sounds(rng)), kind)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert told_apart(discriminator(tones), discriminator(sounds(rng))) > 0.9
