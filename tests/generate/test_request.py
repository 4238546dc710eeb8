import math

import pytest

from orchestrion.config import plain, read_settings
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.request import Prime, Request


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan, math.inf, 1e9])
def test_seconds_that_no_song_can_have_are_refused(seconds):
    with pytest.raises(UserError, match="ask for"):
        Request(seconds=seconds)


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 2**63},
        {"finest_level": -1},
        {"total_seconds": 3.0},
        {"total_seconds": math.nan},
        {"prime": Prime(path="a.wav", seconds=10.0)},
    ],
)
def test_what_contradicts_itself_is_refused(wrong):
    with pytest.raises(UserError):
        Request(**{"seconds": 10.0, **wrong})


@pytest.mark.parametrize("wrong", [{"start_seconds": -1.0}, {"seconds": 0.0}, {"seconds": math.nan}])
def test_prompts_that_cannot_be_are_refused(wrong):
    with pytest.raises(UserError):
        Prime(path="a.wav", **wrong)


def test_it_survives_json():
    request = Request(
        seconds=3.0,
        artist="Ada",
        genres=("folk",),
        seed=7,
        sampling=(LevelSampling(temperature=0.9), LevelSampling(top_k=3)),
        prime=Prime(path="x.wav", seconds=1.0),
    )
    assert read_settings(Request, plain(request)) == request


def test_lists_serve_as_well_as_tuples():
    assert Request(seconds=1.0, genres=["a", "b"]) == Request(seconds=1.0, genres=("a", "b"))


def test_sums_that_rounding_makes_a_little_larger_fit():
    assert 1.1 + 2.2 > 3.3
    assert Request(seconds=2.2, offset_seconds=1.1, total_seconds=3.3).piece_seconds == 3.3
