"""What is said of a prior, against what is known without one."""

import math
from pathlib import Path

import pytest
import torch

import tiny
from orchestrion.codes import Codes
from orchestrion.config.prior import LyricsConfig, PriorConfig, TransformerConfig
from orchestrion.data.encoded import CodeStore, ShardWriter
from orchestrion.data.manifest import Track
from orchestrion.errors import UserError
from orchestrion.evaluate.priors import _pairs, mean_bits, measure_prior, pair_chances, priors_section, single_chances
from orchestrion.grid import Grid
from orchestrion.prior import Prior
from orchestrion.prior.masked import MaskedPrior
from orchestrion.text.alphabet import Alphabet

SIZE = tiny.CODEBOOK_SIZE
STAY = 0.9


def chain(length: int, rng: torch.Generator) -> torch.Tensor:
    """Codes that stay with the chance `STAY`, and else become any, all alike."""
    codes = torch.randint(SIZE, (length,), generator=rng)
    stays = torch.rand(length, generator=rng) < STAY
    for place in range(1, length):
        if stays[place]:
            codes[place] = codes[place - 1]
    return codes


@pytest.fixture
def store(tmp_path: Path, rng: torch.Generator) -> CodeStore:
    config = tiny.codec_config()
    grid = Grid(config.sample_rate, (8, 32))
    writer = ShardWriter(tmp_path / "codes", grid, SIZE, "some codec")
    for number in range(11):
        track = Track(
            path=Path(f"{number}.flac"),
            seconds=10.0,
            sample_rate=config.sample_rate,
            channels=1,
            artist="bix",
            genres=("jazz",),
            content_hash=f"{12 * number + (0 if number < 3 else 5):016x}",  # three are held out
        )
        codes = Codes.empty(grid).replace(1, chain(2400, rng)[None]).replace(0, chain(2400 * 4, rng)[None])
        writer.add(track, codes, 2400 * 32)
    writer.finish()
    return CodeStore(tmp_path / "codes")


def fresh(prior: Prior | MaskedPrior) -> Prior | MaskedPrior:
    """Finds every code equally likely."""
    return type(prior)(prior.config, torch.Generator().manual_seed(0)).eval()


def test_pairs_come_near_the_entropy_of_a_chain(store: CodeStore) -> None:
    again = STAY + (1 - STAY) / SIZE
    other = (1 - STAY) / SIZE
    rate = -again * math.log2(again) - (SIZE - 1) * other * math.log2(other)
    found = measure_prior(fresh(tiny.prior(1)), store, 1)
    assert found.single.value == pytest.approx(math.log2(SIZE), abs=0.1)
    assert rate - 0.15 < found.pairs.value < rate + 0.15
    assert found.pairs.low < found.pairs.value < found.pairs.high


@pytest.mark.parametrize("prior", [tiny.prior, tiny.masked_prior])
def test_a_fresh_prior_finds_every_code_equally_likely(store: CodeStore, prior) -> None:
    found = measure_prior(fresh(prior(0)), store, 0, 6)
    assert found.num_windows == 6
    assert found.bits.value == found.unlabelled.value == pytest.approx(math.log2(SIZE), abs=1e-3)
    assert len(found.places) == (16 if prior is tiny.prior else 0)
    for place in found.places:
        assert place.value == pytest.approx(math.log2(SIZE), abs=1e-3)


def test_places_together_are_the_whole(store: CodeStore) -> None:
    found = measure_prior(tiny.prior(0).eval(), store, 0)
    assert sum(place.value for place in found.places) / len(found.places) == pytest.approx(found.bits.value, rel=1e-3)
    assert found.bits.value != found.unlabelled.value


def test_chances_are_distributions(store: CodeStore) -> None:
    assert single_chances(store, 1).sum() == pytest.approx(1)
    for depth in (1, 2):
        torch.testing.assert_close(pair_chances(store, 1, depth).sum(2), torch.ones(depth, SIZE).double())


def test_pairs_are_those_of_codes_at_neighbouring_places(store: CodeStore) -> None:
    index = store.indices("train")[0]
    codes = store.codes(index, 1)
    counted = _pairs(store, 1, [index], 2)
    expected = torch.zeros_like(counted)
    for at in range(1, len(codes)):
        expected[at % 2, codes[at - 1], codes[at]] += 1
    assert torch.equal(counted, expected)


def test_bits_are_those_of_music_where_it_ends_within_the_context(store: CodeStore, rng: torch.Generator) -> None:
    whole, longer = tiny.prior(1), tiny.prior(1)
    config = whole.config.model_copy(update={"timing": None})
    longer_config = config.model_copy(update={"context_frames": 3000})
    whole, longer = Prior(config.model_copy(update={"context_frames": 2400})), Prior(longer_config)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.normal_(0, 0.3, generator=rng)
    assert longer.eval().begin_with(whole.eval())
    found, expected = (measure_prior(prior, store, 1) for prior in (longer, whole))
    assert found.num_windows == expected.num_windows == 3
    for name in ("single", "pairs", "bits", "unlabelled"):
        assert getattr(found, name).value == pytest.approx(getattr(expected, name).value, rel=1e-4), name
    assert [place.value for place in found.places] == pytest.approx(
        [place.value for place in expected.places], rel=1e-4
    )


def test_a_short_track_weighs_as_little_as_it_has_codes() -> None:
    values = torch.full((3, 10), torch.nan)
    values[0], values[1, :2] = 1.0, 7.0  # of the third nothing is known
    tracks = torch.arange(3)
    assert mean_bits(values, tracks).value == pytest.approx((10 * 1 + 2 * 7) / 12)
    assert mean_bits(values, tracks, of_windows=True).value == pytest.approx((1 + 7) / 2)


def test_what_words_are_worth_is_said_of_priors_that_read_them(store: CodeStore) -> None:
    assert measure_prior(tiny.prior(1), store, 1, 4).wordless is None
    config = tiny.prior_config(1)
    encoder = TransformerConfig(width=8, num_heads=2, patterns=("full",))
    lyrics = LyricsConfig(alphabet_size=Alphabet().size, num_characters=8, encoder=encoder)
    stack = config.transformer.model_copy(update={"patterns": ("full", "lyrics")})
    sings = PriorConfig.model_validate(config.model_dump() | {"lyrics": lyrics, "transformer": stack})
    found = measure_prior(tiny.scrambled(Prior(sings), 3), store, 1, 4)
    assert found.wordless is not None and found.wordless.value == found.bits.value  # none of this music has words


def test_windows_that_do_not_fit_are_a_persons_mistake(store: CodeStore) -> None:
    prior = tiny.prior(0)
    prior.config = prior.config.model_copy(update={"context_frames": 12000})
    with pytest.raises(UserError, match="no track is held out, or none as long as a window of level 0"):
        measure_prior(prior, store, 0)


def test_the_section_has_a_row_and_a_line_for_each_level(store: CodeStore) -> None:
    found = [measure_prior(fresh(tiny.prior(level)), store, level, 4) for level in (0, 1)]
    section = priors_section(found, {0: 200.0, 1: 50.0})
    assert [row[0] for row in section.tables[0].rows] == ["level 0", "level 1"]
    assert [line[0] for line in section.plots[0].lines] == ["level 0", "level 1"]
