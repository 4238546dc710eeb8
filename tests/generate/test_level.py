import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny
from orchestrion.codes import HIDDEN
from orchestrion.config.sampling import LevelSampling
from orchestrion.generate.draw import PREFILL_FRAMES, likelihood
from orchestrion.generate.level import LevelShape, LevelTask, fill_level
from orchestrion.generate.pick import pick
from orchestrion.generate.told import Told
from orchestrion.generate.windows import Window

GREEDY = LevelSampling(temperature=0.0)


def filled(prior, known, total, **wanted):
    events = list(fill_level(LevelTask(prior, total, **wanted), known))
    return events, events[-1].codes if events else known


@given(
    total=st.integers(1, 120),
    known=st.integers(0, 120),
    contexts=st.integers(1, 12),
    ratio=st.integers(1, 4),
    fraction=st.floats(0.05, 1),
    batch=st.integers(1, 3),
    first_code=st.integers(0, 2),
)
def test_each_frame_is_invented_in_its_place_under_its_coarser_codes(
    total, known, contexts, ratio, fraction, batch, first_code
):
    total, known = total * ratio, min(known, total * ratio)
    prior = tiny.CountingPrior(hop_length=5, ratio=ratio, num_codes=total, first_code=first_code)
    coarser = torch.arange(total // ratio).expand(batch, -1)
    events, codes = filled(
        prior,
        torch.arange(known).expand(batch, -1),
        total,
        shape=LevelShape(0, contexts * ratio, 5, ratio),
        told=Told(tiny.conditions(batch)),
        seeds=range(batch),
        sampling=LevelSampling(temperature=0.0, hop_fraction=fraction),
        above=(lambda frames: coarser) if ratio > 1 else None,
    )
    assert (codes == torch.arange(total)).all()
    assert [event.frames_done for event in events] == list(range(known + 1, total + 1))


def test_long_contexts_are_read_in_pieces():
    total = 3 * PREFILL_FRAMES + 7
    prior = tiny.CountingPrior(5, 1, total)
    _, codes = filled(
        prior,
        torch.arange(total - 2)[None],
        total,
        shape=LevelShape(0, total, 5, 1),
        told=Told(tiny.conditions()),
        seeds=[0],
        sampling=GREEDY,
    )
    assert (codes == torch.arange(total)).all()


def test_a_character_drawn_for_a_code_is_fed_back_and_kept_as_code_zero():
    fed = []

    class Speaker:
        first_code = 3

        def begin(self, conditions, num_frames):
            return None

        def advance(self, codes, state):
            fed.append(codes.tolist())
            return torch.eye(5)[1:2]

    _, codes = filled(
        Speaker(),
        torch.zeros(1, 0, dtype=torch.int64),
        3,
        shape=LevelShape(0, 8, 5, 1),
        told=Told(tiny.conditions()),
        seeds=[0],
        sampling=GREEDY,
    )
    assert fed == [[[]], [[-2]], [[-2]]]
    assert codes.tolist() == [[0, 0, 0]]


TOP = {"shape": LevelShape(1, 24, 32, 1), "sampling": LevelSampling(hop_fraction=0.5)}


@pytest.fixture(scope="module")
def top():
    return tiny.prior(1)


NOTHING = torch.zeros(1, 0, dtype=torch.int64)


def test_the_windows_draw_what_the_whole_prior_expects(top):
    """The slow way: each window read anew for each code, without a cache."""
    told = tiny.conditions()
    _, codes = filled(top, NOTHING, 40, told=Told(told), seeds=[5], **TOP)
    from orchestrion.generate.pick import chances
    from orchestrion.generate.windows import windows

    slow = NOTHING
    for window in windows(40, context=24, stride=12):
        here = type(told)(**{**vars(told), "start_samples": told.start_samples + window.start * 32})
        for frame in range(window.known, window.stop):
            padded = torch.cat([slow[:, window.start :], NOTHING.new_zeros(1, window.stop - frame)], 1)
            logits = top(padded, here)[:, frame - window.start]
            slow = torch.cat([slow, pick(logits, chances([5], 1, frame, frame + 1)[:, 0], TOP["sampling"])[:, None]], 1)
    assert torch.equal(codes, slow)


def test_a_level_stopped_after_any_window_ends_the_same(top):
    told = tiny.conditions()
    events, whole = filled(top, NOTHING, 60, told=Told(told), seeds=[5], **TOP)
    kept = [event.codes for event in events if event.codes is not None]
    assert len(kept) == 4
    for codes in kept[:-1]:
        assert torch.equal(filled(top, codes, 60, told=Told(told), seeds=[5], **TOP)[1], whole)


def test_a_song_is_the_same_alone_and_among_others(top):
    _, together = filled(top, NOTHING.expand(3, -1), 40, told=Told(tiny.conditions(3)), seeds=[4, 5, 6], **TOP)
    _, alone = filled(top, NOTHING, 40, told=Told(tiny.conditions(1)), seeds=[5], **TOP)
    assert torch.equal(together[1:2], alone)
    assert not torch.equal(together[0], together[1])


def test_known_codes_stay(top):
    known = torch.arange(12)[None]
    _, codes = filled(top, known, 40, told=Told(tiny.conditions()), seeds=[5], **TOP)
    assert torch.equal(codes[:, :12], known)


def test_a_hole_tells_how_far_it_is_and_no_more_takes_are_read_at_once_than_may_be(top):
    class Watched:
        first_code = top.first_code

        def begin(self, conditions, num_frames):
            rows.append(len(conditions.artist))
            return top.begin(conditions, num_frames)

        def advance(self, codes, state):
            return top.advance(codes, state)

    rows: list[int] = []
    known = torch.arange(24).expand(2, -1) % 12
    known = torch.where((torch.arange(24) >= 8) & (torch.arange(24) < 16), HIDDEN, known)
    asked = {"told": Told(tiny.conditions(2)), "seeds": [5, 6], **TOP}
    events, codes = filled(Watched(), known, 24, most_rows=3, **asked)
    done = [event.frames_done for event in events]
    assert done == sorted(done) and set(done) == set(range(17, 25))
    assert max(rows) == 3
    assert torch.equal(codes, filled(top, known, 24, **asked)[1])


def test_codes_are_judged_in_single_precision_whatever_a_prior_computes_in():
    class Coarse:
        """Scores in bfloat16, in which a sum of hundreds knows whole numbers alone."""

        first_code = 0

        def begin(self, conditions, num_frames):
            return None

        def advance(self, codes, state):
            return torch.tensor([[0.0, 0.5]]).bfloat16().expand(len(codes), -1)

    codes = torch.tensor([[0] * 900, [0] * 899 + [1]])
    found = likelihood(Coarse(), codes, Window(0, 0, 900), tiny.conditions(2))
    one = torch.tensor([0.0, 0.5]).log_softmax(-1)
    torch.testing.assert_close(found, torch.stack((900 * one[0], 899 * one[0] + one[1])), rtol=1e-5, atol=1e-3)
