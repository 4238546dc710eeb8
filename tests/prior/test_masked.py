import math

import pytest
import torch

import tiny
from orchestrion.codes import HIDDEN
from orchestrion.config.base import plain, read_settings
from orchestrion.config.prior import LyricsConfig, PriorConfig, TransformerConfig
from orchestrion.errors import UserError
from orchestrion.prior.masked import MaskedPrior, hide, hide_evenly, make_prior, share_hidden
from orchestrion.prior.model import Prior


def told(batch=2):
    conditions = tiny.conditions(batch)
    coarser = torch.randint(tiny.CODEBOOK_SIZE, (batch, 12), generator=torch.Generator().manual_seed(1))
    return type(conditions)(**{**vars(conditions), "coarser": coarser})


@pytest.fixture
def codes():
    return torch.randint(tiny.CODEBOOK_SIZE, (2, 48), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def hidden():
    return hide(2, 48, torch.Generator().manual_seed(3))


def scores(prior, codes, conditions=None):
    around = prior.read(codes, prior.tell(conditions or told(len(codes)), codes.shape[1]))
    return prior.score(around, codes.new_zeros(len(around), 0))


def test_hidden_frames_are_scored_from_all_others_earlier_and_later(codes):
    prior = tiny.masked_prior()
    codes[:, [5, 20]] = HIDDEN
    base = scores(prior, codes)
    assert base.shape == (4, tiny.CODEBOOK_SIZE)
    for frame in (0, 4, 6, 47):
        changed = codes.clone()
        changed[:, frame] = (changed[:, frame] + 1) % tiny.CODEBOOK_SIZE
        assert ((scores(prior, changed) - base).abs().amax(1) > 1e-6).all(), frame


def test_labels_and_coarser_codes_reach_every_frame(codes):
    prior, codes = tiny.masked_prior(), torch.full_like(codes, HIDDEN)
    base = scores(prior, codes)
    named = told()
    named.artist[0] = 1
    assert ((scores(prior, codes, named) - base).abs().amax(1) > 1e-6).tolist() == [True] * 48 + [False] * 48
    above = told()
    above.coarser[1] = (above.coarser[1] + 1) % tiny.CODEBOOK_SIZE
    assert ((scores(prior, codes, above) - base).abs().amax(1) > 1e-6).tolist() == [False] * 48 + [True] * 48


def test_the_loss_is_that_of_the_hidden_codes_alone(codes, hidden):
    prior = tiny.masked_prior()
    loss = prior.loss(codes, hidden, told())
    log_probs = scores(prior, codes.masked_fill(hidden, HIDDEN)).log_softmax(-1)
    surprise = -log_probs.gather(1, codes[hidden][:, None])[:, 0]
    torch.testing.assert_close(loss.total, surprise.mean())
    rows = surprise.split(hidden.sum(1).tolist())
    torch.testing.assert_close(loss.bits_per_code, torch.stack([row.mean() for row in rows]).mean() / math.log(2))


def test_a_fresh_prior_finds_every_code_equally_likely(codes, hidden):
    prior = MaskedPrior(tiny.masked_config(), torch.Generator().manual_seed(0))
    assert float(prior.loss(codes, hidden, told()).bits_per_code) == pytest.approx(math.log2(tiny.CODEBOOK_SIZE))


def test_a_pupil_of_what_it_expects_itself_has_its_own_entropy_to_lose(codes, hidden):
    prior = tiny.masked_prior()
    own = torch.zeros(2, 48, tiny.CODEBOOK_SIZE)
    own[hidden] = scores(prior, codes.masked_fill(hidden, HIDDEN))
    probs = own[hidden].softmax(-1)
    entropy = -(probs * probs.log()).sum(-1).mean()
    taught = prior.loss(codes, hidden, told(), taught=own, taught_share=1.0).total
    torch.testing.assert_close(taught, entropy)
    half = prior.loss(codes, hidden, told(), taught=own, taught_share=0.5).total
    torch.testing.assert_close(half, (entropy + prior.loss(codes, hidden, told()).total) / 2)


def test_it_can_begin_with_the_weights_of_a_prior_that_goes_from_frame_to_frame():
    prior, other = tiny.masked_prior(), tiny.prior(0)
    hidden_vector = prior.hidden.clone()
    assert set(prior.begin_with(other)) == set(other.state_dict())
    for name, tensor in other.state_dict().items():
        assert torch.equal(prior.state_dict()[name], tensor), name
    assert torch.equal(prior.hidden, hidden_vector)


def test_settings_say_which_prior_is_meant():
    assert isinstance(make_prior(tiny.masked_config()), MaskedPrior)
    assert isinstance(make_prior(tiny.prior_config(0)), Prior)
    config = plain(tiny.masked_config())
    config["transformer"]["patterns"] = ["all", "full"]
    with pytest.raises(UserError, match="in every layer or in none"):
        read_settings(PriorConfig, config)
    sung = LyricsConfig(alphabet_size=5, num_characters=6, encoder=None)
    with pytest.raises(UserError, match="lyrics cannot be combined"):
        read_settings(PriorConfig, plain(tiny.masked_config()) | {"lyrics": plain(sung)})
    encoder = TransformerConfig(width=4, num_heads=1, patterns=("all",))
    with pytest.raises(UserError, match="lyrics cannot be combined"):
        read_settings(
            PriorConfig, plain(tiny.prior_config(0)) | {"lyrics": plain(sung.model_copy(update={"encoder": encoder}))}
        )


def test_training_hides_one_span_of_a_window_more_or_less():
    rng = torch.Generator().manual_seed(0)
    rows = hide(400, 32, rng)
    counts = rows.sum(1)
    assert counts.min() >= 1 and counts.max() == 32
    assert 0.5 < float(counts.float().mean() / 32) < 0.7
    assert 0.2 < float((~rows[:, :8]).all(1).float().mean()) < 0.6
    assert not torch.equal(rows, hide(400, 32, rng))


def test_validation_hides_every_number_of_frames_and_always_the_same():
    rows = hide_evenly(256, 32, 0)
    assert torch.equal(rows[100:130], hide_evenly(30, 32, 100))
    found = torch.bincount(rows.sum(1), minlength=33)
    assert found[0] == 0 and found[1:].min() >= 6 and found.max() <= 10


def test_the_schedule_hides_all_at_first_and_nothing_at_last():
    assert share_hidden(0.0) == 1 and share_hidden(1.0) == pytest.approx(0, abs=1e-9)
