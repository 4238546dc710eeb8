import pytest
import torch

import tiny
from orchestrion.codes import HIDDEN
from orchestrion.config.sampling import LevelSampling
from orchestrion.errors import UserError
from orchestrion.generate.draw import draw_window
from orchestrion.generate.guided import guided
from orchestrion.generate.parallel import fill_window
from orchestrion.generate.request import Request
from orchestrion.generate.windows import Window
from orchestrion.jukebox import Jukebox
from orchestrion.prior.labels import Conditions


def told(coarser: int | None = None) -> Conditions:
    """Of two songs, by artists and genres of their own."""
    return Conditions(
        artist=torch.tensor([1, 2]),
        genres=torch.tensor([[1, 2], [3, -1]]),
        total_samples=torch.tensor([1600, 3200]),
        start_samples=torch.tensor([0, 320]),
        coarser=None if coarser is None else torch.arange(2 * coarser).view(2, -1) % tiny.CODEBOOK_SIZE,
    )


def test_no_guidance_is_the_prior_itself():
    prior = tiny.prior(1)
    assert guided(prior, 1.0) is prior


@pytest.mark.parametrize("guidance", [0.0, 0.5, 3.0])
def test_scores_frame_after_frame_lie_on_the_line_through_both(guidance):
    prior, conditions = tiny.prior(1), told()
    codes = torch.arange(2 * 20).view(2, 20) % tiny.CODEBOOK_SIZE
    both = guided(prior, guidance)
    with torch.no_grad():
        state = both.begin(conditions, 21)
        found = [both.advance(codes[:, :0], state), both.advance(codes[:, :12], state)]
        found.append(both.advance(codes[:, 12:13], state))
        scores = [prior(torch.cat((codes, codes[:, :1]), 1), one) for one in (conditions, conditions.unlabelled())]
    expected = scores[1] + guidance * (scores[0] - scores[1])
    torch.testing.assert_close(torch.stack(found, 1), expected[:, [0, 12, 13]], atol=1e-4, rtol=1e-4)
    assert (scores[0] - scores[1]).abs().max() > 0.1


def test_scores_of_hidden_frames_lie_on_the_line_through_both():
    prior, conditions = tiny.masked_prior(0), told(coarser=12)
    codes = torch.arange(2 * 48).view(2, 48) % tiny.CODEBOOK_SIZE
    codes[0, ::3] = HIDDEN
    codes[1, 10:26] = HIDDEN
    both = guided(prior, 2.5)
    with torch.no_grad():
        around = both.read(codes, both.tell(conditions, 48))
        found = both.score(around, codes.new_zeros(len(around) // 2, 0))
        with_labels, without = (
            prior.score(prior.read(codes, prior.tell(one, 48)), codes.new_zeros(int((codes == HIDDEN).sum()), 0))
            for one in (conditions, conditions.unlabelled())
        )
    torch.testing.assert_close(found, without + 2.5 * (with_labels - without), atol=1e-4, rtol=1e-4)


def drawn(prior, conditions):
    known = torch.zeros(2, 0, dtype=torch.long)
    steps = draw_window(prior, known, Window(0, 0, 24), conditions, (3, 4), 1, LevelSampling())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_guidance_of_0_draws_as_if_nothing_was_told():
    prior = tiny.prior(1)
    assert torch.equal(drawn(guided(prior, 0.0), told()), drawn(prior, told().unlabelled()))
    assert not torch.equal(drawn(guided(prior, 6.0), told()), drawn(prior, told()))


def test_a_filled_window_is_guided_too():
    prior, hidden = tiny.masked_prior(0), torch.full((2, 48), HIDDEN)

    def filled(guidance, conditions):
        steps = fill_window(
            guided(prior, guidance), hidden, conditions, (1, 2), level=0, start=0, sampling=LevelSampling(passes=3)
        )
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    conditions = told(coarser=12)
    assert torch.equal(filled(0.0, conditions), filled(1.0, conditions.unlabelled()))
    assert not torch.equal(filled(4.0, conditions), filled(1.0, conditions))


def test_a_guided_song_is_the_same_alone_and_beside_others(tmp_path):
    tiny.write_tiny_model(tmp_path / "ditty")
    jukebox = Jukebox(tmp_path / "ditty", device="cpu")
    asked = Request(seconds=0.4, artist="Bix", seed=5, sampling=(LevelSampling(guidance=3.0),))
    alone = jukebox.compose(asked).finish()
    _, second = jukebox.compose_all(asked.changed(seed=4).takes(2)).finish()
    plain = jukebox.compose(asked.changed(sampling=())).finish()
    assert all(torch.equal(one, other) for one, other in zip(alone.codes.levels, second.codes.levels, strict=True))
    assert not torch.equal(alone.codes[1], plain.codes[1])


def test_guidance_below_0_is_refused():
    with pytest.raises(Exception, match="guidance") as raised:
        LevelSampling(guidance=-1.0)
    assert not isinstance(raised.value, UserError)
