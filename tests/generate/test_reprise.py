"""Parts that come back: which frames resemble which, and by how much."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from orchestrion.codes import HIDDEN
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.draw import draw_window
from orchestrion.generate.level import LevelShape, LevelTask, fill_level
from orchestrion.generate.parallel import fill_window
from orchestrion.generate.reprise import NOTHING, finer, lean, sources_of, towards
from orchestrion.generate.request import Reprise, Request
from orchestrion.generate.told import Told
from orchestrion.generate.windows import Window
from orchestrion.grid import Grid
from orchestrion.jukebox import Jukebox
from orchestrion.prior.masked import by_vector

GRID = Grid(1600, (8, 32))  # 50 frames of the top level a second
CERTAIN = 1000.0


def made(total: int, sources: torch.Tensor | None, leaning: float, seeds=(1, 2)) -> torch.Tensor:
    """The top level of two songs of so many frames, in windows of 24 of which each invents 12."""
    prior, known = tiny.prior(1), torch.zeros(len(seeds), 0, dtype=torch.long)
    task = LevelTask(
        prior,
        total,
        LevelShape(1, 24, 32, 1),
        Told(tiny.conditions(len(seeds))),
        seeds,
        LevelSampling(leaning=leaning),
        sources=sources,
    )
    with torch.no_grad():
        *_, last = fill_level(task, known)
    return last.codes


def test_letters_are_equally_long_parts_of_which_the_same_come_back():
    parts = Request(seconds=60.0, form="A b a B").reprises
    assert [(part.start_seconds, part.seconds, part.of_seconds) for part in parts] == [(30, 15, 0), (45, 15, 15)]
    assert [part.of_seconds for part in Request(seconds=3.0, form="AAA").reprises] == [0.0, 0.0]
    assert Request(seconds=3.0, form="ABC").reprises == ()
    assert Request(seconds=3.0).reprises is None
    assert Request(seconds=3.0, form="aB a") == Request(seconds=3.0, form="ABA")


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_seconds": 1.0, "seconds": 1.0, "of_seconds": 1.0},
        {"start_seconds": 1.0, "seconds": 0.0, "of_seconds": 0.0},
        {"start_seconds": 1.0, "seconds": float("nan"), "of_seconds": 0.0},
        {"start_seconds": float("inf"), "seconds": 1.0, "of_seconds": 0.0},
        {"start_seconds": 1.0, "seconds": 1.0, "of_seconds": -1.0},
    ],
)
def test_what_cannot_come_back_is_refused(wrong):
    with pytest.raises(UserError, match="cannot come back"):
        Reprise(**wrong)


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ("A4", "no form"),
        ("A-A", "no form"),
        ("Aß", "no form"),
        ("", "no form"),
        (7, "'?7'? is no form"),
        ([{"start": 3.0}], "no setting 'start'"),
        ((Reprise(start_seconds=3.0, seconds=1.0, of_seconds=0.0),), "nothing can come back at 3 s"),
    ],
)
def test_forms_that_no_song_can_have_are_refused(form, problem):
    with pytest.raises(UserError, match=problem):
        Request(seconds=2.0, form=form)


def test_frames_resemble_those_at_the_same_place_of_the_earlier_part():
    again = Reprise(start_seconds=0.2, seconds=0.1, of_seconds=0.04)
    over = Reprise(start_seconds=0.26, seconds=9.0, of_seconds=0.22)
    sources = sources_of([(again,), (again, over), ()], GRID, 16)
    assert sources[0].tolist() == [-1] * 10 + [2, 3, 4, 5, 6, -1]
    assert sources[1].tolist() == [-1] * 10 + [2, 3, 4, 11, 12, 13]
    assert (sources[2] == -1).all()
    assert sources_of([(), ()], GRID, 16) is None


@given(
    start=st.floats(0.001, 2), seconds=st.floats(0.001, 3), share=st.floats(0, 0.999), num_frames=st.integers(1, 100)
)
def test_no_frame_resembles_one_that_comes_later(start, seconds, share, num_frames):
    sources = sources_of([(Reprise(start_seconds=start, seconds=seconds, of_seconds=share * start),)], GRID, num_frames)
    assert (sources < torch.arange(num_frames)).all() and (sources >= -1).all()


def test_only_the_score_of_the_code_that_was_there_is_raised():
    codes, scores = torch.tensor([[5, 6, HIDDEN], [7, 8, 9], [10, 11, 12]]), torch.randn(3, 14)
    earlier = towards(torch.tensor([[1, 2], [NOTHING, 0], [0, 3]]), codes)
    assert earlier.tolist() == [[6, NOTHING], [NOTHING, 7], [10, NOTHING]]
    expected = torch.zeros(3, 14)
    expected[0, 6] = expected[2, 10] = 2.5
    torch.testing.assert_close(lean(scores, earlier[:, 0], 2.5) - scores, expected)
    assert (towards(torch.tensor([[0], [0]]), torch.zeros(2, 0, dtype=torch.long)) == NOTHING).all()


def test_finer_frames_resemble_those_at_the_same_place_within_a_coarser_one():
    assert finer(torch.tensor([[NOTHING, NOTHING, 0]]), 3).tolist() == [[NOTHING] * 6 + [0, 1, 2]]


@pytest.mark.parametrize("depth", [1, 2])
def test_windows_that_are_filled_in_passes_lean_towards_what_was_there(depth):
    """A prior that scores all alike: what is likelier is so by the leaning alone."""
    prior, codes = tiny.CountingFiller(8, 1, 4, depth), torch.full((1, 4000), HIDDEN)
    prior.score = lambda around, before: torch.zeros(len(around), 4)
    sampling, earlier = LevelSampling(leaning=2.0, passes=2), torch.full((1, 4000), NOTHING)
    prior.read = lambda codes, told: torch.zeros(int((by_vector(codes, depth) == HIDDEN).any(2).sum()), 1)
    earlier[:, :2000] = 3
    steps = fill_window(prior, codes, tiny.conditions(), [1], level=0, start=0, sampling=sampling, earlier=earlier)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            made = end.value[0]
            break
    free = float((made[2000:] == 3).float().mean())
    vectors = made[:2000].view(-1, depth) == 3
    assert free == pytest.approx(0.25, abs=0.05)
    assert float(vectors[:, 0].float().mean()) == pytest.approx(math.exp(2) / (math.exp(2) + 3), abs=0.15)
    if depth > 1:
        after, otherwise = (float(vectors[vectors[:, 0] == same, 1].float().mean()) for same in (True, False))
        assert otherwise < 0.4 < 0.6 < after, "a code after another than before does not lean"


def test_parts_come_back_the_same_where_they_lean_enough_and_not_at_all_where_they_do_not():
    sources = torch.full((2, 60), -1)
    sources[0, 30:50] = torch.arange(5, 25)  # over several windows, and only in the first song
    free, certain, not_at_all = made(60, None, 6.0), made(60, sources, CERTAIN), made(60, sources, 0.0)
    assert torch.equal(certain[0, 30:50], certain[0, 5:25])
    assert torch.equal(certain[:, :30], free[:, :30]) and torch.equal(certain[1], free[1])
    assert torch.equal(not_at_all, free) and not torch.equal(free[0, 30:50], free[0, 5:25])
    assert not torch.equal(certain[0, 50:], certain[0, 25:35])


def test_the_more_it_leans_the_more_comes_back():
    sources = torch.cat((torch.full((2, 100), -1), torch.arange(100).expand(2, -1)), 1)
    songs = [made(200, sources, leaning) for leaning in (0.0, 2.0, 6.0)]
    alike = [float((codes[:, 100:] == codes[:, :100]).float().mean()) for codes in songs]
    assert alike == sorted(alike) and alike[0] < 0.5 < alike[2] < 1


@pytest.fixture(scope="module")
def jukebox(tmp_path_factory):
    return Jukebox(tiny.write_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))


def certain(seconds: float, **settings) -> Request:
    return Request(seconds=seconds, sampling=(LevelSampling(leaning=CERTAIN),), **settings)


def test_a_song_of_a_form_is_the_same_streamed_and_gone_on_with(jukebox, tmp_path):
    request = certain(1.2, form="ABA")
    song = jukebox.compose(request).finish()
    top, fine = song.codes[1][0], song.codes[0][0]
    assert torch.equal(top[40:60], top[:20]) and not torch.equal(top[20:40], top[:20])
    assert torch.equal(fine[160:240], fine[:80]) and not torch.equal(fine[80:160], fine[:80])
    assert torch.equal(jukebox.stream(request).finish().codes[1][0], top)
    with jukebox.compose(request, tmp_path / "song.song") as begun:
        for progress in begun:
            if progress.level == 1 and progress.done > 30:
                break
    assert torch.equal(jukebox.resume(tmp_path / "song.song").finish().codes[1][0], top)


def test_songs_made_together_have_forms_of_their_own(jukebox):
    requests = [certain(1.2, form=form, seed=seed) for seed, form in enumerate(("ABA", "AAB", None))]
    together = jukebox.compose_all(requests).finish()
    alone = [jukebox.compose(request).finish() for request in requests]
    assert all(torch.equal(one.codes[1], other.codes[1]) for one, other in zip(together, alone, strict=True))
    assert torch.equal(together[1].codes[1][0, 20:40], together[1].codes[1][0, :20])


def test_what_is_added_can_bring_back_what_was_and_what_is_made_anew_does_not(jukebox):
    song = jukebox.compose(certain(0.8, form="AA")).finish()
    again = (Reprise(start_seconds=0.8, seconds=0.2, of_seconds=0.1),)
    longer = jukebox.continue_(song, 0.4, form=again).finish()
    assert torch.equal(longer.codes[1][0, 40:50], song.codes[1][0, 5:15])
    free = jukebox.continue_(song, 0.4).finish()
    assert torch.equal(free.codes[1][0, :40], song.codes[1][0]) and free.request.reprises == ()
    other = jukebox.repaint(song, 0.4, 0.8).finish()
    assert other.request.reprises == () and not torch.equal(other.codes[1][0, 20:40], song.codes[1][0, :20])
    for asked in (None, "A"):
        without = jukebox.compose(certain(0.8, form=asked)).finish()
        assert jukebox.continue_(without, 0.4).finish().request.form == asked, "what was refused stays so"


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_leaning_is_in_nats_at_any_temperature(temperature):
    sampling = LevelSampling(temperature=temperature, leaning=2.0)
    flat, known, songs = tiny.CountingPrior(32, 1, 4), torch.zeros(4000, 1, dtype=torch.long), 4000
    flat.advance = lambda codes, state: torch.zeros(songs, 4)
    sources = torch.tensor([[-1, 0]]).expand(songs, -1)
    steps = draw_window(flat, known, Window(0, 1, 2), tiny.conditions(songs), range(songs), 1, sampling, sources)
    with pytest.raises(StopIteration) as end:
        next(steps)
    share = float((end.value.value == 0).float().mean())
    assert share == pytest.approx(math.exp(2) / (math.exp(2) + 3), abs=0.03)


@pytest.mark.parametrize("masked", [(0,), (1,)])
def test_a_song_comes_back_where_windows_are_filled_in_passes(tmp_path, masked):
    jukebox = Jukebox(tiny.write_tiny_model(tmp_path / "masked", masked=masked))
    request = certain(3.0, form="ABA", seed=3)
    song = jukebox.compose(request).finish()
    for level, (third, length) in enumerate(((400, 200), (100, 50))):
        codes = song.codes[level][0]
        assert torch.equal(codes[third : third + length], codes[:length]), level
        assert not torch.equal(codes[length : 2 * length], codes[:length])
    streamed = jukebox.stream(request).finish()
    assert all(torch.equal(streamed.codes[level], song.codes[level]) for level in (0, 1))
