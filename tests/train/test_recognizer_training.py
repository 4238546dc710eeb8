"""A recogniser learns sounds from sung music with times, and goes on where it was stopped."""

import json
from pathlib import Path

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file
from sung_tones import RATE, sung_tones

import tiny
from orchestrion.align.listening import listen
from orchestrion.align.recognizer import Recognizer, aligned, edits, load_recognizer
from orchestrion.checkpoints.folder import ModelInfo, write_model
from orchestrion.cli.main import USER_ERROR, main
from orchestrion.codec import Codec
from orchestrion.config import read_settings
from orchestrion.config.recognizer import RecognizerTrainingConfig
from orchestrion.config.training import OptimizerConfig
from orchestrion.data.manifest import write_manifest
from orchestrion.data.tracks import TrackStore
from orchestrion.errors import UserError
from orchestrion.text.lyric_files import read_timed_lyrics, write_timed_lyrics
from orchestrion.text.lyrics import untimed
from orchestrion.text.timed import TimedLine, TimedLyrics, TimedPhoneme, TimedSyllable, TimedWord
from orchestrion.train.loop import train
from orchestrion.train.parallel import Part
from orchestrion.train.recognizer import RecognizerRecipe
from orchestrion.train.run import begin_run
from orchestrion.train.sung import sung_letters, sung_sounds


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> TrackStore:
    return sung_tones(tmp_path_factory.mktemp("sounds"))


def config(steps: int, hears: str = "phonemes") -> RecognizerTrainingConfig:
    optimizer = OptimizerConfig(learning_rate=1e-2, warmup_steps=5)
    training = small.training(steps, optimizer=optimizer, save_every=20, average_decay=0.9, batch_size=4)
    return RecognizerTrainingConfig(
        hears=hears,
        training=training,
        chunk_seconds=1.5,
        width=16,
        recurrent_width=12,
        dilations=(1, 2),
        dropout=0.05,
        roughness=0.2,
    )


def run(store: TrackStore, folder, steps: int, hears: str = "phonemes", **options) -> RecognizerRecipe:
    own = config(steps, hears)
    recipe = RecognizerRecipe(own, store, small.CPU)
    begin_run(folder, "recognizer", own, {"tracks": store.data_hash})
    train(recipe, own.training, folder, **options)
    return recipe


def test_it_hears_what_is_sung_and_when(store, tmp_path):
    recipe = run(store, tmp_path, 400)
    model = load_recognizer(tmp_path)
    assert model.config.symbols == ("a", "i", "s")
    index = store.indices("validation")[0]
    sounds, audio = sung_sounds(store.tracks[index].track.lyrics), store.audio(index)[0]
    true = model.ids(sound.symbol for sound in sounds)
    found = model.heard(audio)
    assert edits(found, true) / len(true) < 0.2
    assert edits(found, true[::-1]) > edits(found, true)
    places = aligned(model.listen(audio).sequence, true)
    errors = [abs(place.start / model.frame_rate - sound.start) for place, sound in zip(places, sounds, strict=True)]
    assert sorted(errors)[len(errors) // 2] < 0.15
    assert recipe.validate()["validation/error"] < 0.2
    assert "sung:" in next(tmp_path.glob("samples/*/heard.txt")).read_text()


@pytest.fixture(scope="module")
def speller(store, tmp_path_factory) -> Path:
    """The run of a recogniser of letters."""
    folder = tmp_path_factory.mktemp("letters")
    run(store, folder, 300, "letters")
    return folder


def test_letters_say_when_words_are_sung(store, speller):
    index = store.indices("validation")[0]
    lyrics = read_timed_lyrics(store.tracks[index].track.lyrics)
    known = [word.syllables[0].phonemes[0].start for word in lyrics.words]
    found = listen(load_recognizer(speller), store.audio(index)[0], untimed(lyrics.text))
    assert found.lyrics.text == lyrics.text and found.measure == "confidence"
    errors = sorted(abs(word.start - start) for word, start in zip(found.lyrics.words, known, strict=True))
    assert errors[len(errors) // 2] < 0.1 and errors[-1] < 0.5
    assert all(0.3 < word.confidence <= 1 for word in found.lyrics.words)
    assert found.shares.shape == (store.tracks[index].num_samples // 512, len(known))
    middles = [round((word.start + word.end) / 2 * found.frame_rate) for word in found.lyrics.words]
    assert found.shares[middles].argmax(1).tolist() == list(range(len(known)))


def test_a_word_without_letters_is_between_its_neighbours(store, speller):
    index = store.indices("validation")[0]
    first, *others = read_timed_lyrics(store.tracks[index].track.lyrics).text.split()
    found = listen(
        load_recognizer(speller), store.audio(index)[0], untimed(f"[Vers]\n{first} & {' '.join(others)}")
    ).lyrics.words
    assert [word.text for word in found[:2]] == [first, "&"] and found[1].confidence == 0
    assert found[0].end <= found[1].start <= found[2].start


def test_what_cannot_be_listened_to_is_explained(store, speller, tmp_path):
    model, audio = load_recognizer(speller), torch.zeros(RATE)
    with pytest.raises(UserError, match="100 words do not fit into 1 seconds"):
        listen(model, audio, untimed("ais " * 100))
    with pytest.raises(UserError, match="no word of letters"):
        listen(model, audio, untimed("& 42"))
    with pytest.raises(UserError, match="too much at once"):
        listen(model, torch.zeros(1).expand(RATE * 36_000), untimed("ais " * 10_000))
    other = Recognizer(model.config.model_copy(update={"hears": "phonemes"}))
    with pytest.raises(UserError, match="not letters"):
        listen(other, audio, untimed("a"))


def test_the_command_listens_where_no_model_tells(store, speller, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    track = store.tracks[store.indices("validation")[0]].track
    words = read_timed_lyrics(track.lyrics).text
    Path("words.txt").write_text(words, encoding="utf-8")
    command = ("align", str(track.path), "--lyrics", "words.txt", "--recognizer", str(speller), "--device", "cpu")
    assert main((*command, "-o", "found.json", "--picture", "found.png")) == 0, capsys.readouterr().err
    assert read_timed_lyrics(Path("found.json")).text == words
    assert Path("found.png").read_bytes().startswith(b"\x89PNG")
    assert main((*command, "--model", "mini", "-o", "other.json")) == USER_ERROR
    assert "leave all but one of --model, --recognizer and --linear out" in capsys.readouterr().err


def test_letters_have_the_times_of_the_sounds_that_they_spell(tmp_path):
    sounds = [TimedPhoneme(text=text, start=start, end=end) for text, start, end in (("n", 1, 1.1), ("a", 1.1, 2.1))]
    word = TimedWord(
        text="Nahhe",
        syllables=(
            TimedSyllable(text="Nah", phonemes=tuple(sounds)),
            TimedSyllable(text="he", phonemes=(TimedPhoneme(text="ə", start=2.5, end=3.5),)),
        ),
    )
    untold = TimedWord(text="da", syllables=(TimedSyllable(text="da", phonemes=(TimedPhoneme(text="a"),)),))
    path = tmp_path / "a.lyrics.json"
    write_timed_lyrics(path, TimedLyrics(lines=(TimedLine(words=(word, untold)),)))
    found = [(sound.symbol, round(sound.start, 3), round(sound.end, 3)) for sound in sung_letters(path)]
    assert found == [("n", 1, 1.067), ("a", 1.067, 1.433), ("h", 1.433, 3.0), ("e", 3.0, 3.5)]
    number = TimedWord(text="2", syllables=(TimedSyllable(text="2", phonemes=(sounds[0],)),))
    write_timed_lyrics(path, TimedLyrics(lines=(TimedLine(words=(number,)),)))
    assert sung_letters(path) == []


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
    one, other = (load_file(tmp_path / name / "recognizer.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_music_without_sounds_is_refused(tmp_path):
    with pytest.raises(UserError, match="speech sounds with times"):
        RecognizerRecipe(config(1), small.music(tmp_path), small.CPU)


def tones_codec() -> Codec:
    """One that has learned nothing, for such songs."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Codec(tiny.codec_config().model_copy(update={"sample_rate": RATE}))


def test_what_a_codec_gives_back_is_heard_too(store, tmp_path):
    class Deaf(Codec):
        """Gives back nothing but silence, as long as the audio."""

        def decode(self, codes, level):
            assert level == 0
            return torch.zeros(len(codes[0]), 1, codes[0].shape[1] * 8)

    own = config(1).model_copy(update={"coded_share": 0.5})
    codec = tones_codec()
    codec.__class__ = Deaf
    heard: list[torch.Tensor] = []
    plain, coded = (RecognizerRecipe(own, store, small.CPU, each) for each in (None, codec))
    for recipe in (plain, coded):
        recipe.recognizer.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
        for step in range(8):
            recipe.loss(step, Part(0, 4, 4))
    plain_rows, coded_rows = torch.cat(heard[:8]), torch.cat(heard[8:])
    silent = (coded_rows == 0).all(1)
    assert 8 < int(silent.sum()) < 24
    assert torch.equal(plain_rows[~silent], coded_rows[~silent])
    heard.clear()
    figures = coded.validate()
    assert figures["coded/error"] != figures["validation/error"] and "coded/error" not in plain.validate()


def test_a_codec_for_other_audio_is_refused(store):
    with pytest.raises(UserError, match="not for one channel at 8000 Hz"):
        RecognizerRecipe(config(1), store, small.CPU, Codec(tiny.codec_config()))


def test_it_begins_with_what_another_knows(store, tmp_path):
    first = run(store, tmp_path / "first", 3)
    recipe = RecognizerRecipe(config(1), store, small.CPU)
    recipe.begin_with(load_recognizer(tmp_path / "first"))
    ours, theirs = recipe.recognizer.state_dict(), load_file(tmp_path / "first" / "recognizer.safetensors")
    assert all(torch.equal(ours[name].half(), theirs[name]) for name in theirs)
    smoother = config(1).model_copy(update={"dropout": 0.3, "roughness": 0.0})
    RecognizerRecipe(smoother, store, small.CPU).begin_with(load_recognizer(tmp_path / "first"))
    other = Recognizer(first.recognizer.config.model_copy(update={"symbols": ("a", "s")}))
    with pytest.raises(UserError, match="other symbols"):
        recipe.begin_with(other)


def test_the_command_learns_what_the_recipe_does_and_begins_with_another_run(store, tmp_path, capsys):
    codec, model = tones_codec(), tmp_path / "model"
    write_model(model, ModelInfo(name="tones", codec=codec.config), codec, card="# tones")
    write_manifest(tmp_path / "songs.jsonl", [decoded.track for decoded in store.tracks])
    settings = tmp_path / "small.toml"
    settings.write_text(
        "chunk_seconds = 1.5\nwidth = 16\nrecurrent_width = 12\ndilations = [1, 2]\ndropout = 0.05\n"
        'coded_share = 0.5\n[training]\nsteps = 99\nbatch_size = 4\nprecision = "float32"\naverage_decay = 0.5\n'
        "[training.optimizer]\nlearning_rate = 1e-2\nwarmup_steps = 1\n"
    )

    def command(run: str, *more: str) -> int:
        words = ("train", "recognizer", str(tmp_path / "songs.jsonl"), "--codec", str(model), "--device", "cpu")
        return main((*words, "--config", str(settings), "--steps", "4", "--run", str(tmp_path / run), *more))

    def learned(run: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / run / "recognizer.safetensors")

    assert command("one", "--hears", "letters") == 0, capsys.readouterr().err
    described = json.loads((tmp_path / "one" / "run.json").read_text())
    own = read_settings(RecognizerTrainingConfig, described["config"])
    assert (own.hears, own.training.steps, own.coded_share) == ("letters", 4, 0.5)
    same = TrackStore(next(tmp_path.glob("songs-audio-*")), artist_balance=own.artist_balance)
    train(RecognizerRecipe(own, same, small.CPU, codec), own.training, tmp_path / "same")
    assert all(torch.equal(tensor, learned("same")[name]) for name, tensor in learned("one").items())

    assert command("on", "--hears", "letters", "--begin", str(tmp_path / "one")) == 0, capsys.readouterr().err
    recipe = RecognizerRecipe(own, same, small.CPU, codec)
    recipe.begin_with(load_recognizer(tmp_path / "one"))
    train(recipe, own.training, tmp_path / "same-on")
    assert all(torch.equal(tensor, learned("same-on")[name]) for name, tensor in learned("on").items())
    assert not all(torch.equal(tensor, learned("one")[name]) for name, tensor in learned("on").items())
    assert command("other", "--begin", str(tmp_path / "one")) == USER_ERROR
    assert "other symbols" in capsys.readouterr().err and not (tmp_path / "other").exists()
