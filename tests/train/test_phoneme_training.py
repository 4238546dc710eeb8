"""A recogniser learns sounds from sung music with times, and goes on where it was stopped."""

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file

from orchestrion.align.phonemes import aligned, edits, load_recognizer
from orchestrion.audio import io
from orchestrion.config.phonemes import PhonemeTrainingConfig
from orchestrion.config.training import OptimizerConfig
from orchestrion.data.manifest import Track, content_hash, split
from orchestrion.data.tracks import TrackStore, prepare
from orchestrion.errors import UserError
from orchestrion.text.lyric_files import write_timed_lyrics
from orchestrion.text.timed import TimedLine, TimedLyrics, TimedPhoneme, TimedSyllable, TimedWord
from orchestrion.train.loop import train
from orchestrion.train.phonemes import PhonemeRecipe, sung_sounds
from orchestrion.train.run import begin_run

RATE = 8000
PITCHES = {"a": 400.0, "iː": 1600.0, "s": 3000.0}
EACH = 0.3


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> TrackStore:
    """Rows of tones, one for each sound, with rests between words."""
    folder = tmp_path_factory.mktemp("sounds")
    tracks: list[Track] = []
    rng = torch.Generator().manual_seed(0)
    while len(tracks) < 8 or {split(track) for track in tracks} != {"train", "validation"}:
        number = len(tracks)
        words, audio, time = [], [], 0.0
        for _ in range(8):
            names = [list(PITCHES)[int(one)] for one in torch.randint(3, (2,), generator=rng)]
            phonemes = []
            for name in names:
                at = torch.arange(round(EACH * RATE)) / RATE
                audio.append(0.3 * torch.sin(2 * torch.pi * PITCHES[name] * at))
                phonemes.append(TimedPhoneme(text=name, start=round(time, 4), end=round(time + EACH, 4)))
                time += EACH
            text = "".join(names)
            syllable = TimedSyllable(text=text, phonemes=tuple(phonemes))
            words.append(TimedWord(text=text, syllables=(syllable,)))
            audio.append(torch.zeros(round(0.1 * RATE)))
            time += 0.1
        path = folder / f"row-{number}.flac"
        io.write(path, torch.cat(audio)[None], RATE)
        lyrics = folder / f"row-{number}.lyrics.json"
        write_timed_lyrics(lyrics, TimedLyrics(lines=(TimedLine(words=tuple(words)),)))
        tracks.append(
            Track(path=path, seconds=time, sample_rate=RATE, channels=1, content_hash=content_hash(path), lyrics=lyrics)
        )
    for _ in prepare(tracks, folder / "audio", RATE, 1):
        pass
    return TrackStore(folder / "audio")


def config(steps: int) -> PhonemeTrainingConfig:
    optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=5)
    training = small.training(steps, optimizer=optimizer, save_every=20, average_decay=0.9, batch_size=4)
    return PhonemeTrainingConfig(
        training=training, chunk_seconds=1.5, width=16, recurrent_width=12, dilations=(1, 2), dropout=0.05
    )


def run(store: TrackStore, folder, steps: int, **options) -> PhonemeRecipe:
    own = config(steps)
    recipe = PhonemeRecipe(own, store, small.CPU)
    begin_run(folder, "phonemes", own, {"tracks": store.data_hash})
    train(recipe, own.training, folder, **options)
    return recipe


def test_it_hears_what_is_sung_and_when(store, tmp_path):
    recipe = run(store, tmp_path, 300)
    model = load_recognizer(tmp_path)
    assert model.config.symbols == ("a", "i", "s")
    index = store.indices("validation")[0]
    sounds, audio = sung_sounds(store.tracks[index].track.lyrics), store.audio(index)[0]
    true = model.ids(sound.symbol for sound in sounds)
    found = model.heard(audio)
    assert edits(found, true) / len(true) < 0.2
    assert edits(found, true[::-1]) > edits(found, true)
    places = aligned(model.scores(audio), true)
    errors = [abs(place.start / model.frame_rate - sound.start) for place, sound in zip(places, sounds, strict=True)]
    assert sorted(errors)[len(errors) // 2] < 0.15
    assert recipe.validate()["validation/phoneme_error"] < 0.2
    assert "sung:" in next(tmp_path.glob("samples/*/heard.txt")).read_text()


def test_a_run_that_was_stopped_ends_like_one_left_alone(store, tmp_path):
    class Enough(Exception):
        pass

    def stop(progress) -> None:
        if progress.step == 25:
            raise Enough

    run(store, tmp_path / "whole", 40)
    with pytest.raises(Enough):
        run(store, tmp_path / "stopped", 40, on_progress=stop)
    run(store, tmp_path / "stopped", 40)
    one, other = (load_file(tmp_path / name / "phonemes.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_music_without_sounds_is_refused(tmp_path):
    with pytest.raises(UserError, match="speech sounds with times"):
        PhonemeRecipe(config(1), small.music(tmp_path), small.CPU)
