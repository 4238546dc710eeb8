"""Distances are what their formulas say, near 0 for the same music, and grow with what is wrong."""

import pytest
import torch

from orchestrion.evaluate.distance import (
    Described,
    coverage,
    distance,
    floor,
    frechet,
    frechet_distance,
    halves,
    kernel_distance,
    with_noise,
)


def described(rng, items=240, features=8, per_track=1, shift=0.0):
    tracks = torch.arange(items) // per_track
    return Described(torch.randn(items, features, generator=rng) + shift, tracks)


@pytest.mark.parametrize("items", [5, 8, 300])
def test_the_frechet_distance_of_a_set_from_itself_is_nothing(rng, items):
    rows = torch.randn(items, 8, generator=rng)
    assert frechet(rows, rows) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_is_the_closed_form_of_normal_distributions():
    # Rows with exactly these means and covariances: axes that commute, so that (C D)^½ is known.
    corners = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    scale = (3 / 2) ** 0.5  # makes the covariance of the corners the unit matrix
    one = scale * corners * torch.tensor([2.0, 3.0]) + torch.tensor([1.0, 0.0])
    other = scale * corners * torch.tensor([1.0, 5.0]) + torch.tensor([0.0, 2.0])
    assert frechet(one, other) == pytest.approx(1 + 4 + (2 - 1) ** 2 + (3 - 5) ** 2, abs=1e-9)


def test_the_frechet_distance_agrees_with_the_root_of_the_matrix(rng):
    one = torch.randn(90, 6, generator=rng) @ torch.randn(6, 6, generator=rng)
    other = torch.randn(70, 6, generator=rng) @ torch.randn(6, 6, generator=rng)
    first, second = torch.cov(one.double().T), torch.cov(other.double().T)
    trace = torch.linalg.eigvals(first @ second).real.clamp(min=0).sqrt().sum()
    slow = (one.double().mean(0) - other.double().mean(0)).square().sum() + first.trace() + second.trace() - 2 * trace
    assert frechet(one, other) == pytest.approx(float(slow), rel=1e-6)


def test_frechet_does_not_depend_on_how_the_axes_are_turned(rng):
    one, other = torch.randn(50, 6, generator=rng), 2 * torch.randn(40, 6, generator=rng) + 1
    turn = torch.linalg.qr(torch.randn(6, 6, generator=rng, dtype=torch.float64)).Q.float()
    assert frechet(one @ turn, other @ turn) == pytest.approx(frechet(one, other), rel=1e-4)


def test_the_kernel_distance_of_the_same_distribution_is_on_both_sides_of_nothing(rng):
    found = torch.tensor([kernel_distance(described(rng, 60), described(rng, 60)) for _ in range(60)])
    assert found.min() < 0 < found.max()
    assert abs(found.mean()) < 3 * found.std() / 60**0.5


def test_pieces_of_one_track_do_not_make_the_same_music_look_different(rng):
    found = []
    for _ in range(60):
        sets = []
        for _ in range(2):
            centres = torch.randn(30, 8, generator=rng).repeat_interleave(4, 0)
            sets.append(
                Described(centres + 0.1 * torch.randn(120, 8, generator=rng), torch.arange(30).repeat_interleave(4))
            )
        found.append(kernel_distance(*sets))
    values = torch.tensor(found)
    assert abs(values.mean()) < 3 * values.std() / 60**0.5


def test_two_versions_of_the_same_pieces_are_no_nearer_than_other_draws_of_the_music(rng):
    one = described(rng, 60)
    other = Described(one.features + 0.01 * torch.randn(one.features.shape, generator=rng), one.tracks)
    assert kernel_distance(one, other) < -0.05
    assert abs(kernel_distance(one, other, paired=True)) < 0.01
    apart, together = (distance(frechet_distance, one, other, paired=paired, draws=50) for paired in (False, True))
    assert apart.value == together.value
    assert together.high - together.low < 0.1 * (apart.high - apart.low)


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance])
def test_music_that_differs_is_further_away_than_halves_of_the_same(rng, measure):
    real = described(rng, per_track=4)
    same = floor(real, measure)
    apart = distance(measure, real, described(rng, per_track=4, shift=0.8), draws=50)
    assert apart.low > same.high
    assert apart.low < apart.value < apart.high


@pytest.mark.parametrize("measure", [frechet_distance, kernel_distance])
def test_between_halves_no_piece_meets_its_own_version(rng, measure):
    real = described(rng, per_track=4)
    spoilt = Described(real.features + 0.8, real.tracks)
    itself, same, apart = halves(real, [real, real, spoilt], measure, splits=20)
    assert torch.equal(itself, same), "all are cut alike"
    assert float(itself.mean()) > measure(real, real)
    assert (itself < apart).all()
    assert torch.equal(halves(real, [spoilt], measure, splits=20)[0], apart)


def test_distances_are_the_same_every_time(rng):
    one, other = described(rng, 40), described(rng, 40)
    assert distance(frechet_distance, one, other, draws=10) == distance(frechet_distance, one, other, draws=10)


def test_a_set_covers_itself_and_nothing_far_away(rng):
    real = described(rng, 60)
    itself = coverage(real, real)
    assert (itself.precision.value, itself.recall.value) == (1.0, 1.0)
    far = coverage(real, described(rng, 60, shift=100.0))
    assert (far.precision.value, far.recall.value) == (0.0, 0.0)


def test_music_from_one_corner_is_precise_and_recalls_little(rng):
    real = described(rng, 200, features=2)
    found = coverage(real, Described(0.1 * torch.randn(200, 2, generator=rng), torch.arange(200)))
    assert found.precision.value > 0.95
    assert found.recall.value < 0.2


def test_reach_is_to_other_tracks_not_to_other_pieces_of_the_same(rng):
    tracks = torch.randn(40, 2, generator=rng)
    pieces = tracks.repeat_interleave(6, 0) + 1e-3 * torch.randn(240, 2, generator=rng)
    real = Described(pieces, torch.arange(40).repeat_interleave(6))
    made = Described(torch.randn(200, 2, generator=rng), torch.arange(200))
    of_tracks = coverage(Described(tracks, torch.arange(40)), made, neighbours=1).precision.value
    assert coverage(real, made, neighbours=6).precision.value == pytest.approx(of_tracks, abs=0.02)
    assert of_tracks > 0.5


def test_noise_is_as_loud_as_asked(rng):
    audio = torch.sin(torch.arange(40_000) / 7)[None]
    noise = with_noise(audio, 20.0, rng) - audio
    assert 10 * float((audio.square().mean() / noise.square().mean()).log10()) == pytest.approx(20, abs=0.2)
