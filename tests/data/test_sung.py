"""Words are cut out with the windows that they belong to."""

import dataclasses

import pytest
import torch
from small_data import GRID, RATE, invented, write_codes

from orchestrion.codes import Codes
from orchestrion.data.encoded import CodeStore, ShardWriter
from orchestrion.data.sung import Listening
from orchestrion.data.vary import varied_sample, vary
from orchestrion.errors import UserError
from orchestrion.text.lyric_files import write_timed_lyrics
from orchestrion.text.timed import TimedLine, TimedLyrics, TimedPhoneme, TimedSyllable, TimedWord

FRAMES = 2500  # at the top: 10 s


def words(num: int, seconds: float = 0.5) -> TimedLyrics:
    """w0 w1 …, each sung for half of its time."""
    sung = tuple(TimedWord(text=f"w{each}", start=each * seconds, end=(each + 0.5) * seconds) for each in range(num))
    return TimedLyrics(lines=(TimedLine(words=sung),))


def store(folder, lyrics: TimedLyrics | str | None, *, variations: int = 0, validation: bool = False) -> CodeStore:
    path = None
    if isinstance(lyrics, str):
        path = folder / "words.txt"
        path.write_text(lyrics, encoding="utf-8")
    elif lyrics is not None:
        path = folder / "words.lyrics.json"
        write_timed_lyrics(path, lyrics)
    writer = ShardWriter(folder / "codes", GRID, 4096, "weights")
    for number in (1, 2):
        track = invented(number, lyrics=path if number == 1 else None, validation=validation)
        writer.keep_lyrics(track)
        coarse = torch.arange(FRAMES)[None]
        for variation in range(variations + 1):
            writer.add(track, Codes(GRID, (coarse.repeat_interleave(4, 1), coarse)), FRAMES * 32, variation)
    writer.finish()
    return CodeStore(folder / "codes")


def test_each_frame_knows_the_word_that_is_sung(tmp_path):
    codes = store(tmp_path, words(20), validation=True)
    rows = list(codes.validation_batches(1, 1, 500, num_characters=24))
    assert len(rows) == 10
    for number, batch in enumerate(rows[:5]):
        start = int(batch.start_samples[0]) / RATE
        assert start == 2.0 * number
        for frame in range(500):
            time = start + (frame + 0.5) * 32 / RATE
            first, stop = batch.sung[0, frame].tolist()
            ids = batch.lyrics[0].tolist()
            place = int(time / 0.5)
            if time % 0.5 < 0.25 - 1e-9:
                assert codes.alphabet.text(ids[first - 1 : stop - 1]) == f"w{place}", time
            elif place < 19:
                assert stop == first + 1 and codes.alphabet.text(ids[first:]).startswith(f"w{place + 1}"), "a rest"
            else:
                assert first == stop == 0, "after the last word"
    for batch in rows[5:]:
        assert not batch.lyrics.any() and not batch.sung.any(), "a track without words"


def test_words_that_are_not_seen_are_not_sung(tmp_path):
    codes = store(tmp_path, words(20), validation=True)
    batch = next(codes.validation_batches(1, 1, 2500, num_characters=12))
    seen = codes.alphabet.text(batch.lyrics[0].tolist())
    assert len(seen) == 12
    for frame in range(0, 2500, 10):
        first, stop = batch.sung[0, frame].tolist()
        if not stop:
            continue
        heard = codes.alphabet.text(batch.lyrics[0, max(first - 1, 0) : stop - 1].tolist())
        place = int((frame + 0.5) * 32 / RATE / 0.5)
        assert heard in ("", f"w{place}", " "), (frame, heard)


def test_words_without_times_are_those_of_the_linear_window(tmp_path):
    codes = store(tmp_path, "abcdefghij" * 10, validation=True)
    rows = list(codes.validation_batches(1, 1, 500, num_characters=10))[:5]
    seen = [codes.alphabet.text(batch.lyrics[0].tolist()) for batch in rows]
    assert [text[0] for text in seen] == ["f", "f", "f", "f", "f"]  # around 10, 30, … of 101
    assert not any(batch.sung.any() for batch in rows)


def test_variations_move_the_words_with_the_music(tmp_path):
    codes = store(tmp_path, words(20), variations=2)
    (plain, varied) = codes.sung(0), codes.sung(1)
    track = codes.shards[1].track
    for sample, moved in zip(plain.times, varied.times, strict=True):
        assert moved == pytest.approx(varied_sample(sample, track.content_hash, 1, 32))
    click = torch.zeros(1, 8000)
    click[0, 4000] = 1.0
    heard = int(vary(click, track.content_hash, 1, 32).abs().argmax())
    assert heard == pytest.approx(varied_sample(4000.0, track.content_hash, 1, 32), abs=2)


def test_lyrics_are_dropped_as_often_as_asked_and_moved_by_chance(tmp_path):
    codes = store(tmp_path, "abcdefghij" * 10)

    def batches(**listening: float):
        given = Listening(10, **listening)
        return torch.cat([codes.batch(step, 8, 1, 500, seed=0, listening=given).lyrics for step in range(60)])

    told, kept = batches().any(1), batches(dropout=0.3).any(1)
    assert 0.35 < told.float().mean() < 0.65, "one of two tracks has words"
    assert not (kept & ~told).any() and 0.6 < kept.sum() / told.sum() < 0.8
    still, moved = batches(), batches(jitter=0.5)
    assert not torch.equal(still, moved)
    assert torch.equal(still.any(1), moved.any(1))
    assert torch.equal(moved, batches(jitter=0.5)), "a function of seed and step"


def test_all_that_is_told_is_dropped_together(tmp_path):
    codes = store(tmp_path, words(20))
    batch = codes.batch(0, 8, 1, 500, seed=0, condition_dropout=1.0, listening=Listening(24))
    assert not batch.artist.any() and not batch.lyrics.any() and not batch.sung.any()
    assert (batch.genres[:, 0] == 0).all()
    half = [codes.batch(step, 8, 1, 500, seed=0, condition_dropout=0.5, listening=Listening(24)) for step in range(20)]
    whole = [codes.batch(step, 8, 1, 500, seed=0, listening=Listening(24)) for step in range(20)]
    assert all(torch.equal(a.codes, b.codes) for a, b in zip(half, whole, strict=True)), "dropping changes no code"


def test_words_decide_what_is_learned_and_are_kept_without_their_notes(tmp_path):
    syllable = TimedSyllable(text="la", start=0.0, end=1.0, phonemes=(TimedPhoneme(text="l"),))
    lyrics = TimedLyrics(lines=(TimedLine(words=(TimedWord(text="la", start=0.0, end=1.0, syllables=(syllable,)),)),))
    hashes = set()
    for name, sung in (("a", None), ("b", lyrics), ("c", words(3))):
        (tmp_path / name).mkdir()
        hashes.add(store(tmp_path / name, sung).data_hash)
    assert len(hashes) == 3
    kept = next((tmp_path / "b" / "codes").glob("*.lyrics.json")).read_text()
    assert "phonemes" not in kept and "syllables" in kept


def test_codes_without_words_have_the_hash_that_they_always_had(tmp_path):
    write_codes(tmp_path, [invented(1, artist="Ada")])
    assert CodeStore(tmp_path).data_hash == "6cfb82bbc8845349"


@pytest.mark.parametrize("broken", [b"\xff\xfe\x00", b"la\0li"])
def test_words_that_are_none_are_refused(tmp_path, broken):
    path = tmp_path / "words.txt"
    path.write_bytes(broken)
    writer = ShardWriter(tmp_path / "codes", GRID, 4096, "weights")
    with pytest.raises(UserError, match="not text"):
        writer.keep_lyrics(invented(1, lyrics=path))


def test_a_batch_without_lyrics_has_none(tmp_path):
    batch = store(tmp_path, words(3)).batch(0, 2, 1, 64, seed=0)
    assert dataclasses.asdict(batch)["lyrics"] is None and batch.sung is None
