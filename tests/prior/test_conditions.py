"""What a prior is told, and what it says when told wrongly."""

from dataclasses import replace

import pytest
import tiny_priors as tiny
import torch
from torch.testing import assert_close

from orchestrion.config import ConditionerConfig, PriorConfig, TransformerConfig, read_settings
from orchestrion.config.base import plain
from orchestrion.config.prior import TimingConfig
from orchestrion.errors import UserError
from orchestrion.prior import Conditions, Prior
from orchestrion.prior.labels import LabelEmbedding, TimingEmbedding
from orchestrion.prior.upsample import Conditioner


def test_the_order_of_genres_and_empty_places_do_not_matter() -> None:
    labels = LabelEmbedding(tiny.top().labels, 16)  # type: ignore[arg-type]
    genres = torch.tensor([[4, 1, -1, -1, -1], [-1, 1, -1, -1, 4], [-1, -1, -1, -1, -1]])
    vectors = labels(Conditions(torch.tensor([2, 2, 2]), genres, torch.ones(3), torch.zeros(3)))
    assert_close(vectors[0], vectors[1])
    assert_close(vectors[2], labels.artist.weight[2])


@pytest.mark.parametrize(("artist", "genre", "message"), [(4, 0, "artist number 4"), (0, 5, "genre number 5")])
def test_labels_past_the_table_are_refused(artist: int, genre: int, message: str, rng: torch.Generator) -> None:
    prior = tiny.prior(tiny.top(), rng)
    told = tiny.conditions(prior.config, rng, 1)
    wrong = Conditions(torch.tensor([artist]), torch.tensor([[genre]]), told.total_samples, told.start_samples)
    with pytest.raises(UserError, match=message):
        prior(tiny.codes(prior.config, rng, 1), wrong)


def test_every_condition_reaches_the_music(rng: torch.Generator) -> None:
    prior = tiny.prior(tiny.upsampler(), rng)
    told, codes = tiny.conditions(prior.config, rng, 1), tiny.codes(prior.config, rng, 1)
    usual = prior(codes, told)
    assert told.coarser is not None
    for change in (
        {"artist": (told.artist + 1) % 4},
        {"genres": torch.full_like(told.genres, -1)},
        {"total_samples": told.total_samples * 4},
        {"start_samples": told.start_samples + 5000},
        {"coarser": (told.coarser + 1) % 11},
    ):
        assert (prior(codes, Conditions(**{**vars(told), **change})) - usual).abs().max() > 1e-3, change


def test_labels_of_every_frame_are_heard_where_the_start_is_not(rng: torch.Generator) -> None:
    base = tiny.top()
    assert base.labels is not None
    rows = TransformerConfig(width=16, num_heads=2, patterns=("row",), num_rows=4)  # later rows do not see the start
    heard = {}
    for every_frame in (False, True):
        labels = base.labels.model_copy(update={"every_frame": every_frame})
        prior = tiny.prior(base.model_copy(update={"transformer": rows, "labels": labels}), rng)
        told, codes = tiny.conditions(prior.config, rng, 1), tiny.codes(prior.config, rng, 1)
        usual = prior(codes, told)
        other = replace(told, artist=(told.artist + 1) % 4)
        heard[every_frame] = (prior(codes, other) - usual).abs().amax(-1)[0] > 1e-4
        state = prior.begin(told, codes.shape[1])
        step_by_step = [prior.advance(codes[:, :0], state)]
        step_by_step += [prior.advance(codes[:, at : at + 1], state) for at in range(codes.shape[1] - 1)]
        assert_close(torch.stack(step_by_step, 1), usual, atol=1e-4, rtol=1e-4)
    assert heard[True].all() and not heard[False][len(heard[False]) // 4 :].any()


def test_masked_priors_add_labels_to_every_frame_anyway() -> None:
    config = plain(tiny.top())
    config["transformer"]["patterns"] = ["all"]
    config["labels"]["every_frame"] = True
    with pytest.raises(UserError, match="leave out every_frame"):
        read_settings(PriorConfig, config)


def test_a_missing_condition_is_named(rng: torch.Generator) -> None:
    for config, name, message in (
        (tiny.upsampler(), "coarser", "level above"),
        (tiny.with_encoder(), "lyrics", "lyrics"),
        (tiny.with_lyrics_in_sequence(), "lyrics", "lyrics"),
    ):
        told = Conditions(**{**vars(tiny.conditions(config, rng)), name: None})
        with pytest.raises(UserError, match=message):
            tiny.prior(config, rng)(tiny.codes(config, rng), told)


def test_coarser_codes_act_where_they_are() -> None:
    config = ConditionerConfig(width=8, strides=(2, 4), dilations=(1,))
    conditioner = Conditioner(config, 7, 8)
    coarser = torch.randint(7, (1, 40))
    changed = coarser.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 7
    moved = (conditioner(coarser) - conditioner(changed)).abs().amax((0, 2)) > 1e-6
    frames = moved.nonzero()[:, 0]
    assert moved.shape == (320,)
    assert frames.min() > (20 - 6) * 8
    assert frames.max() < (20 + 7) * 8


def test_conditions_go_in_rows(rng: torch.Generator) -> None:
    told = tiny.conditions(tiny.upsampler(), rng, 5)
    assert told.coarser is not None
    part = told.rows(1, 3).to("cpu")
    assert torch.equal(part.artist, told.artist[1:3])
    assert part.coarser is not None
    assert torch.equal(part.coarser, told.coarser[1:3])
    assert part.lyrics is None


def test_a_frame_of_a_piece_shorter_than_the_window_is_told_its_share_of_the_piece() -> None:
    config = TimingConfig(num_bins=10, min_total_seconds=1.0, max_total_seconds=100.0)
    ours, published = (
        TimingEmbedding(config.model_copy(update={"clamp": clamp}), 4, 10, window_samples=80, frames=8)
        for clamp in (True, False)
    )
    piece = torch.tensor([40]), torch.tensor([0])
    assert ours.positions(*piece)[1][0].tolist() == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert published.positions(*piece)[1][0].tolist() == [place / 8 for place in range(8)]


def test_dropout_is_drawn_from_the_generator_in_training_only(rng: torch.Generator) -> None:
    stack = TransformerConfig(width=16, num_heads=2, patterns=("full",), dropout=0.5)
    prior = tiny.prior(tiny.top(transformer=stack), rng)
    told, codes = tiny.conditions(prior.config, rng), tiny.codes(prior.config, rng)

    def losses() -> list[float]:
        return [
            float(prior.loss(codes, told, rng=given).total.detach())
            for given in (None, torch.Generator().manual_seed(1), torch.Generator().manual_seed(1))
        ]

    plain_loss, first, second = losses()
    assert plain_loss == first == second
    prior.train()
    plain_again, first, second = losses()
    assert plain_again == plain_loss
    assert first == second != plain_loss


def test_weights_follow_from_the_seed() -> None:
    made = [Prior(tiny.upsampler(), torch.Generator().manual_seed(3)).state_dict() for _ in range(2)]
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("transformer", "num_heads"), 3, "cannot be shared by 3 heads"),
        (("transformer", "num_rows"), 5, "cannot be cut into 5 rows"),
        (("transformer", "patterns"), ["prefix"], "needs prefix_tokens"),
        (("transformer", "patterns"), ["lyrics"], "needs lyrics with an encoder"),
        (("transformer", "patterns"), ["diagonal"], "patterns"),
        (("transformer", "patterns"), [], "patterns"),
        (("transformer", "n_heads"), 3, "did you mean"),
        (("conditioner", "strides"), [5], "must be 1 or even"),
        (("conditioner", "strides"), [2, 16], "multiple of 32"),
        (("timing", "max_total_seconds"), 0.5, "below max_total_seconds"),
        (("context_frames",), 0, "context_frames"),
    ],
)
def test_settings_that_do_not_fit_are_refused(path: tuple[str, ...], value: object, message: str) -> None:
    given = plain(tiny.upsampler())
    place = given
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(UserError, match=message):
        read_settings(PriorConfig, given)


def test_nobody_in_particular_is_told_of_as_one_of_no_name():
    told = Conditions(
        torch.tensor([3, 5]), torch.tensor([[1, 2, -1], [4, -1, -1]]), torch.tensor([9, 9]), torch.arange(2)
    )
    nobody = told.unlabelled()
    assert nobody.artist.tolist() == [0, 0]
    assert nobody.genres.tolist() == [[0, -1, -1]] * 2
    assert nobody.start_samples.tolist() == [0, 1] and told.artist.tolist() == [3, 5]


def test_what_is_sung_reaches_its_own_frame_and_no_earlier_one(rng: torch.Generator) -> None:
    prior = tiny.prior(tiny.paced(), rng)
    told, codes = tiny.conditions(prior.config, rng, 1), tiny.codes(prior.config, rng, 1)
    assert told.sung is not None
    usual = prior(codes, told)
    for place in (-2, -1, (int(told.sung[0, 9]) + 1) % 8):
        sung = told.sung.clone()
        sung[0, 9] = place
        if place == told.sung[0, 9]:
            continue
        changed = prior(codes, replace(told, sung=sung))
        assert torch.equal(changed[:, :9], usual[:, :9])
        assert not torch.allclose(changed[:, 9], usual[:, 9])
    unknown = replace(told, sung=torch.full_like(told.sung, -1))
    assert_close(prior(codes, unknown), prior(codes, replace(told, sung=None)))
    wordless = told.wordless()
    assert wordless.sung is not None and (wordless.sung == -1).all()
