import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrion.generate.windows import stride_frames, window_around, windows


@st.composite
def plans(draw):
    context = draw(st.integers(1, 40))
    total = draw(st.integers(0, 200))
    return {
        "total": total,
        "context": context,
        "stride": draw(st.integers(1, context)),
        "known": draw(st.integers(0, total)),
    }


@given(plans())
def test_windows_invent_each_unknown_frame_once(plan):
    laid = list(windows(**plan))
    assert [f for w in laid for f in range(w.known, w.stop)] == list(range(plan["known"], plan["total"]))


@given(plans())
def test_windows_fit_the_context_and_use_all_of_it_that_there_is(plan):
    for window in windows(**plan):
        assert 0 <= window.start <= window.known < window.stop <= plan["total"]
        assert window.stop - window.start == min(plan["context"], plan["total"])


@given(plans())
def test_a_run_that_stopped_after_a_window_goes_on_with_the_same_windows(plan):
    laid = list(windows(**plan))
    for done in range(len(laid)):
        assert list(windows(**{**plan, "known": laid[done].known})) == laid[done:]


@given(plans())
def test_each_window_after_the_first_has_its_overlap_as_context(plan):
    for window in list(windows(**plan))[1:]:
        assert window.known - window.start >= plan["context"] - plan["stride"]


@pytest.mark.parametrize(
    "total, context, stride, starts",
    [
        (8192, 8192, 4096, [0]),
        (8193, 8192, 4096, [0, 1]),
        (10000, 8192, 1024, [0, 1024, 1808]),
        (5, 8, 4, [0]),
    ],
)
def test_starts_are_those_of_the_paper(total, context, stride, starts):
    assert [w.start for w in windows(total, context=context, stride=stride)] == starts


@given(st.integers(1, 8), st.integers(1, 64), st.floats(0.001, 1))
def test_strides_are_whole_frames_of_the_level_above(ratio, contexts, fraction):
    stride = stride_frames(ratio * contexts, fraction, ratio)
    assert 0 < stride <= ratio * contexts
    assert stride % ratio == 0


@given(
    total=st.integers(1, 60),
    ratio=st.integers(1, 4),
    contexts=st.integers(2, 10),
    hop=st.integers(1, 10),
    data=st.data(),
)
def test_windows_around_a_hole_fill_all_of_it_from_its_start(total, ratio, contexts, hop, data):
    total, context = total * ratio, contexts * ratio
    first = data.draw(st.integers(0, total // ratio - 1)) * ratio
    stop = data.draw(st.integers(first // ratio + 1, total // ratio)) * ratio
    whole = stop - first
    while first < stop:
        window = window_around(first, stop, total, context=context, stride=min(hop, contexts) * ratio, ratio=ratio)
        assert window.start <= first == window.known < window.stop <= total
        assert window.start % ratio == 0 and window.stop - window.start <= context
        if whole <= min(hop, contexts - 1) * ratio:
            assert window.stop >= stop
        first = min(window.stop, stop)
