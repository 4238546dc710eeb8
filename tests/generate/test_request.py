import math

import pytest

from orchestrion.config import plain, read_settings
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.request import Origin, Prime, Request


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
        {"sung_until": ((-1, 2.0),)},
        {"sung_until": ((1, math.nan),)},
        {"sung_until": ((2, 3.0), (1, 4.0))},
        {"sung_until": ((1, 3.0), (2, 2.0))},
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


ON = Origin(song="a", act="continue", codes_sha256="0" * 64)
CUT = ON.model_copy(update={"stop_seconds": 6.0})


@pytest.mark.parametrize(
    ("before", "origin", "changes", "lyrics", "sung_until"),
    [
        ({"lyrics": "la li"}, ON, {}, "la li", ((2, 10.0),)),
        ({"lyrics": "la li"}, ON, {"lyrics": "lu"}, "la li\n\nlu", ((2, 10.0),)),
        ({"lyrics": "la li"}, ON, {"lyrics": "la li\nlu"}, "la li\nlu", ((2, 10.0),)),
        ({"lyrics": "la li"}, ON, {"lyrics": "la lily"}, "la li\n\nla lily", ((2, 10.0),)),
        ({"lyrics": "la li"}, ON, {"lyrics": ""}, "", ()),
        ({}, ON, {"lyrics": "lu"}, "lu", ((0, 10.0),)),
        ({}, ON, {}, "", ()),
        ({"lyrics": "la li"}, CUT, {}, "la li", ((2, 10.0),)),
        ({"lyrics": "la li"}, CUT, {"seconds": 8.0, "lyrics": "lu"}, "lu", ()),
        ({}, CUT, {"lyrics": "lu"}, "lu", ((0, 6.0),)),
        ({"lyrics": "la li", "total_seconds": 60.0}, ON, {}, "la li", ((2, 60.0),)),
        ({"lyrics": "la li", "total_seconds": 60.0}, ON, {"lyrics": "lu"}, "lu", ()),
        ({"lyrics": "la li", "total_seconds": 12.0}, ON, {"lyrics": "lu"}, "la li\n\nlu", ((2, 12.0),)),
        ({"lyrics": "la li", "offset_seconds": 5.0}, ON, {}, "la li", ((2, 15.0),)),
    ],
)
def test_words_stay_where_they_were_planned_and_new_ones_are_for_what_is_added(
    before, origin, changes, lyrics, sung_until
):
    request = Request(seconds=10.0, **before)
    added = changes.pop("seconds", 14.0) - (origin.stop_seconds or 10.0)
    found = request.continued(added if added > 0 else 4.0, origin, **changes)
    assert (found.lyrics, found.sung_until) == (lyrics, sung_until)
    assert found.changed() == found


def test_other_words_for_a_part_that_is_made_again_are_planned_over_the_whole_piece():
    request = Request(seconds=10.0, lyrics="la li").continued(4.0, ON, lyrics="lu")
    assert request.repainted(ON).sung_until == request.sung_until != ()
    assert request.repainted(ON, lyrics="lu").sung_until == request.upsampled(ON, lyrics="lu").sung_until == ()
