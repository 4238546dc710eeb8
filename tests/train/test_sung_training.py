"""A prior that is trained on words follows them: on songs whose codes are a function of what is sung."""

import json
import shutil
from pathlib import Path

import pytest
import sung_data
import torch

import tiny
from orchestrion.align.linear import linear, start_errors, summary
from orchestrion.align.words import Aligned
from orchestrion.audio import io
from orchestrion.checkpoints.folder import CODEC, ModelInfo, load_codec, read_model, write_model
from orchestrion.cli.main import USER_ERROR, main
from orchestrion.codes import Codes
from orchestrion.config.prior import TransformerConfig
from orchestrion.config.training import AdapterConfig, FinetuneConfig
from orchestrion.data.encoded import CodeStore
from orchestrion.errors import UserError
from orchestrion.evaluate.priors import measure_prior
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox, Song
from orchestrion.library.folder import SongFolder
from orchestrion.prior.model import Prior
from orchestrion.text.lyric_files import read_timed_lyrics, write_timed_lyrics
from orchestrion.text.lyrics import spelled
from orchestrion.text.pace import planned_times
from orchestrion.text.timed import TimedLyrics
from orchestrion.train.assemble import build_model, trained_prior
from orchestrion.train.finetune import Base, FinetuneRecipe, grown_names, write_finetuned
from orchestrion.train.loop import train
from orchestrion.train.parallel import Part
from orchestrion.train.prior import PriorRecipe

CPU = torch.device("cpu")
SECONDS = sung_data.FRAMES / sung_data.RATE


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """A codec, the codes of songs, and a run that has learned from them."""
    root = tmp_path_factory.mktemp("sung")
    info = write_model(
        root / "codec", ModelInfo(name="codec", codec=tiny.codec_config()), tiny.codec(), card="# codec\n"
    )
    sung_data.write_songs(root / "codes", 160, info.sha256[CODEC])
    recipe = PriorRecipe(sung_data.config(150), CodeStore(root / "codes"), 1, load_codec(root / "codec", info), CPU)
    assert train(recipe, recipe.config.training, root / "run")
    return root


@pytest.fixture(scope="module")
def model(world) -> Path:
    store = CodeStore(world / "codes")
    build_model("singer", world / "codec", [world / "run"], store, world / "model", licence="CC0-1.0")
    return world / "model"


@pytest.fixture
def singer(model) -> Jukebox:
    return Jukebox(model, device="cpu")


@pytest.fixture(autouse=True)
def _quick_pictures(monkeypatch):
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))


def sung(singer: Jukebox, number: int) -> tuple[Song, TimedLyrics]:
    """A song that the prior has not learned."""
    codes, lyrics = sung_data.song(number)
    kept = Codes.empty(singer.info.grid).replace(1, torch.tensor([codes]))
    return Song(Request(seconds=SECONDS, lyrics=lyrics.text), kept, torch.zeros(1, 0), tiny.SAMPLE_RATE), lyrics


def test_the_run_says_what_words_are_worth_and_which_head_follows_them(world):
    told = json.loads((world / "run" / "prior.json").read_text())
    figures, lyrics = told["figures"], told["config"]["lyrics"]
    assert figures["validation/bits"] < figures["validation/bits_wordless"]
    assert figures["validation/followed"] > 0.5
    assert (lyrics["alignment_layer"], lyrics["alignment_head"]) == (2, 0)
    assert lyrics["alphabet_size"] == CodeStore(world / "codes").alphabet.size


def test_alignment_recovers_the_times_of_words_of_songs_longer_than_what_is_seen(singer):
    found, guessed, longest = [], [], 0
    for number in range(200, 212):
        song, lyrics = sung(singer, number)
        longest = max(longest, len(lyrics.text))
        aligned = singer.align(song)
        assert [word.text for word in aligned.lyrics.words] == [word.text for word in lyrics.words]
        starts = [word.start for word in aligned.lyrics.words if word.start is not None]
        assert starts == sorted(starts)
        found += start_errors(aligned.lyrics, lyrics)
        guessed += start_errors(linear(lyrics, SECONDS), lyrics)
    assert longest > singer.info.prior(1).lyrics.num_characters
    ours, theirs = summary(found), summary(guessed)
    assert ours["words"] > 0.95 * theirs["words"]
    assert ours["median_seconds"] <= 0.06, (ours, theirs)
    assert ours["within_quarter_second"] > 0.85 and theirs["within_quarter_second"] < 0.7, (ours, theirs)


def test_attention_is_on_the_diagonal(singer):
    song, lyrics = sung(singer, 210)
    shares = singer.align(song).shares
    for place, word in enumerate(lyrics.words):
        frames = slice(round(word.start * sung_data.RATE) + 1, round(word.end * sung_data.RATE))
        assert abs(int(shares[frames].mean(0).argmax()) - place) <= 1, word


@pytest.mark.parametrize(
    "words", ["[Strophe]\nSchläft ein Lied\nin allen Dingen", "The moon is new", "[Refrain]\nL’été là-bas", "夜 🎵"]
)
def test_songs_of_any_language_are_composed_and_timed(singer, tmp_path, words):
    request = Request(seconds=2.5, lyrics=words, finest_level=1)
    song = singer.compose(request, tmp_path / "a.song").finish()
    assert not torch.equal(song.codes[1], singer.compose(request.changed(lyrics="")).finish().codes[1])
    assert song.lyrics is not None and len(song.lyrics.words) == len([w for w in words.split() if w[0] != "["])
    assert singer.load(tmp_path / "a.song").lyrics == song.lyrics
    assert singer.align(song).lyrics == song.lyrics


def test_lyrics_that_cannot_be_sung_are_refused(singer):
    for lyrics, said in (("\u200b \x07", "no word"), ("la " * 400, "a second")):
        with pytest.raises(UserError, match=said):
            singer.resolved(Request(seconds=2.0, lyrics=lyrics))


def test_commands_compose_and_align(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("[Vers]\nabc def\n\ngah\n", encoding="utf-8")
    compose = ("compose", "--model", str(model), "--device", "cpu", "--seconds", "2", "--finest-level", "1", "-q")
    assert main((*compose, "--lyrics", "words.txt", "-o", "song.flac")) == 0, capsys.readouterr().err
    timed = read_timed_lyrics(Path("song.lrc"))
    assert [line.section for line in timed.lines] == ["Vers", None]
    Path("song.lrc").write_text("[00:01.00]mine", encoding="utf-8")
    assert main((*compose, "--lyrics", "words.txt", "-o", "song.wav")) == 0
    Path("song.lrc").rename("other.lrc")
    assert main((*compose, "--lyrics", "words.txt", "-o", "other.wav")) == USER_ERROR
    assert "other.lrc exists" in capsys.readouterr().err
    assert Path("other.lrc").read_text(encoding="utf-8") == "[00:01.00]mine"

    assert main(("align", "song.flac", "-o", "song.json", "--device", "cpu", "--picture", "words.png", "--json")) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["words"] == 3 and Path("words.png").read_bytes().startswith(b"\x89PNG")
    kept = read_timed_lyrics(Path("song.json"))
    assert [word.confidence is None for word in kept.words] == [False] * 3

    codes, lyrics = sung_data.song(230)
    jukebox = Jukebox(model, device="cpu")
    audio = jukebox.decode(Codes.empty(jukebox.info.grid).replace(1, torch.tensor([codes])))
    io.write(Path("mine.wav"), audio, tiny.SAMPLE_RATE)
    write_timed_lyrics(Path("mine.json"), lyrics)
    engine = ("--model", str(model), "--device", "cpu")
    for name in ("mine.lrc", "mine.vtt"):
        assert main(("align", "mine.wav", "--lyrics", "mine.json", *engine, "-o", name)) == 0, capsys.readouterr().err
        capsys.readouterr()
    assert len(read_timed_lyrics(Path("mine.lrc")).words) == len(lyrics.words)
    assert main(("align", "mine.wav", "--lyrics", "mine.json", "--linear", "--lines", "-o", "guess.lrc")) == 0
    assert "<" not in Path("guess.lrc").read_text()


def test_lyrics_and_codes_in_one_sequence_learn_too(world, tmp_path):
    """The other dialect."""
    config = sung_data.config(2, encoder=None)
    stack = TransformerConfig(
        width=16, num_heads=2, patterns=("full", "prefix"), prefix_tokens=sung_data.config(1).lyrics.num_characters
    )
    config = config.model_copy(update={"transformer": stack})
    store = CodeStore(world / "codes")
    recipe = PriorRecipe(config, store, 1, tiny.codec(), CPU)
    assert train(recipe, config.training, tmp_path / "run")
    prior = trained_prior(tmp_path / "run")
    assert isinstance(prior, Prior) and prior.config.lyrics.alignment_layer == 1
    assert prior.first_code == store.alphabet.size
    assert measure_prior(prior, store, 1, max_windows=4).bits.value > 0


def test_a_configuration_that_cannot_sing_is_explained(world):
    config = sung_data.config(2)
    config = config.model_copy(update={"transformer": TransformerConfig(width=16, num_heads=2, patterns=("full",))})
    with pytest.raises(UserError, match="need a layer with the pattern 'lyrics'"):
        PriorRecipe(config, CodeStore(world / "codes"), 1, tiny.codec(), CPU)


def test_parts_of_a_batch_follow_words_as_the_whole_does(world):
    config = sung_data.config(2)
    transformer = config.transformer.model_copy(update={"dropout": 0.0})
    recipe = PriorRecipe(
        config.model_copy(update={"transformer": transformer}), CodeStore(world / "codes"), 1, tiny.codec(), CPU
    )
    with torch.no_grad():
        whole = recipe.loss(0, Part(0, 4, 4)).loss
        parts = [recipe.loss(0, Part(first, 1, 4)).loss for first in range(4)]
    assert len({round(float(part), 4) for part in parts}) > 1
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


@pytest.mark.parametrize("adapter", [AdapterConfig(rank=2), None])
def test_a_model_that_sings_learns_from_songs_of_someone_else(model, tmp_path, adapter):
    base = Base.open(model)
    sung_data.write_songs(tmp_path / "codes", 16, base.info.sha256[CODEC], artists=("Clara",))
    tracks = [shard.track for shard in CodeStore(tmp_path / "codes").shards]
    store = CodeStore(tmp_path / "codes", grown_names(base.info.vocabulary, tracks))
    settings = FinetuneConfig(training=sung_data.config(4).training, adapter=adapter, validation_windows=4)
    recipe = FinetuneRecipe(base, settings, store, 1, CPU)
    recipe.measure_before(tmp_path / "run" / "before.json")
    assert train(recipe, settings.training, tmp_path / "run")
    figures = json.loads((tmp_path / "run" / "prior.json").read_text())["figures"]
    assert figures["before"]["validation/bits"] < figures["before"]["validation/bits_wordless"]
    write_finetuned(base, settings, store, {1: tmp_path / "run"}, tmp_path / "own", name="clara", licence="mine")
    given = {"adapter": tmp_path / "own"} if adapter else {}
    clara = Jukebox(model if adapter else tmp_path / "own", device="cpu", **given)
    request = Request(artist="Clara", lyrics="abc def", seconds=SECONDS, seed=1, finest_level=1)
    song = clara.compose(request).finish()
    assert song.lyrics is not None and [word.text for word in song.lyrics.words] == ["abc", "def"]


def test_a_model_of_another_spelling_is_not_fine_tuned(model, tmp_path):
    shutil.copytree(model, tmp_path / "other")
    described = json.loads((model / "model.json").read_text())
    described["alphabet"]["characters"] = described["alphabet"]["characters"][:-1] + "☃"
    (tmp_path / "other" / "model.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="spells lyrics otherwise"):
        Base.open(tmp_path / "other")


def test_training_with_words_goes_on_to_the_same_weights(world, tmp_path):
    config = sung_data.config(2)
    config = config.model_copy(update={"training": config.training.model_copy(update={"save_every": 1})})

    def recipe() -> PriorRecipe:
        return PriorRecipe(config, CodeStore(world / "codes"), 1, tiny.codec(), CPU)

    def stop(progress) -> None:
        if progress.step == 1:
            raise KeyboardInterrupt

    assert train(recipe(), config.training, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(recipe(), config.training, tmp_path / "cut", on_progress=stop)
    assert train(recipe(), config.training, tmp_path / "cut")
    weights = [(tmp_path / name / "prior.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_an_alignment_is_of_all_words(singer):
    song, lyrics = sung(singer, 240)
    aligned = singer.align(song, lyrics)
    assert isinstance(aligned, Aligned)
    assert aligned.shares.shape == (sung_data.FRAMES, len(lyrics.words))


def test_a_prior_that_is_told_the_pace_sings_each_letter_when_it_is_planned(world, tmp_path):
    """Its codes are letters here; it has seen them held for up to five frames, and may hold them longer."""
    store, info = CodeStore(world / "codes"), read_model(world / "codec")
    config = sung_data.config(60, paced=True)
    recipe = PriorRecipe(config, store, 1, load_codec(world / "codec", info), CPU)
    assert train(recipe, config.training, tmp_path / "run")
    figures = json.loads((tmp_path / "run" / "prior.json").read_text())["figures"]
    assert figures["validation/bits"] < 0.8 * figures["validation/bits_wordless"]
    build_model("paced", world / "codec", [tmp_path / "run"], store, tmp_path / "model", licence="CC0-1.0")
    singer = Jukebox(tmp_path / "model", device="cpu")
    words = "abc dah\nfeg"
    song = singer.compose(Request(seconds=2.0, lyrics=words, finest_level=1, seed=1)).finish()
    times = planned_times(words, store.alphabet, 2.0)
    right = []
    for place, sign in enumerate(words):
        start, stop = (round(times[each] * sung_data.RATE) for each in (place, place + 1))
        found = song.codes[1][0, start:stop].tolist()
        if sign in sung_data.LETTERS:
            right += [code == sung_data.LETTERS.index(sign) for code in found]
    assert len(right) > 30 and sum(right) / len(right) > 0.7
    assert song.lyrics is not None
    starts = [word.start for word in song.lyrics.words]
    planned = [times[places.start] for places in spelled(words, store.alphabet).words]
    assert starts == planned
    aligned = singer.align(song)
    heard = [word.start for word in aligned.lyrics.words]
    assert all(abs(one - other) < 0.15 for one, other in zip(heard, planned, strict=True))

    longer = singer.continue_(song, 2.0, lyrics="had beg").finish()
    assert longer.lyrics is not None and longer.request.lyrics == f"{words}\n\nhad beg"
    assert [word.start for word in longer.lyrics.words][:3] == planned
    right = []
    times = planned_times(longer.request.lyrics, store.alphabet, 4.0, longer.request.sung_until)
    letters = store.alphabet.prepared(longer.request.lyrics)
    for place, sign in enumerate(letters):
        if sign in sung_data.LETTERS and times[place] > 2:
            stop = times[place + 1] if place + 1 < len(times) else 4.0
            found = longer.codes[1][0, round(times[place] * sung_data.RATE) : round(stop * sung_data.RATE)].tolist()
            right += [code == sung_data.LETTERS.index(sign) for code in found]
    assert len(right) > 20 and sum(right) / len(right) > 0.7
    with pytest.raises(UserError, match="nobody sings more"):
        singer.continue_(song, 0.1, lyrics="had beg")

    later = singer.compose(Request(seconds=1.0, total_seconds=2.0, offset_seconds=1.0, lyrics=words, finest_level=1))
    part = later.finish().lyrics
    assert part is not None
    known = [word.start for word in part.words if word.start is not None]
    assert known == [start - 1.0 for start in planned if start >= 1.0] and 0 < len(known) < 3


def test_songs_without_words_may_be_drawn_otherwise(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    build = ["models", "build", "singer", "--codec", str(world / "codec"), "--codes", str(world / "codes")]
    build += ["--prior", str(world / "run"), "--licence", "CC0-1.0", "-o", "model"]
    build += ["--guidance", "1,6", "--temperature", "0.9"]
    assert main([*build, "--wordless", "guidance=1,1.5", "--wordless", "top-k=0,7"]) == 0, capsys.readouterr().err
    sung, wordless = (read_model(Path("model")).drawing(lyrics)[1] for lyrics in ("abc", ""))
    assert (sung.guidance, sung.temperature, sung.top_k) == (6, 0.9, None)
    assert wordless == sung.model_copy(update={"guidance": 1.5, "top_k": 7})
    jukebox = Jukebox("model", device="cpu")
    asked = [jukebox.resolved(Request(seconds=0.5, lyrics=words, finest_level=1)) for words in ("abc", "")]
    assert [request.sampling[1] for request in asked] == [sung, wordless]
    song = jukebox.compose(asked[1]).finish()
    for request, _ in (jukebox.continued(song, 0.5, lyrics="abc"), jukebox.repainted(song, 0.1, 0.2, lyrics="abc")):
        assert request.sampling[1] == sung
    assert jukebox.continued(song, 0.5, artist=None)[0].sampling[1] == wordless

    compose = ["compose", "--model", "model", "--finest-level", "1", "--seconds", "0.5", "--device", "cpu", "-q"]
    Path("words.txt").write_text("abc")
    Path("songs.jsonl").write_text('{"lyrics": "abc"}\n{}\n{"sampling": [{}, {"guidance": 2}]}\n')
    assert main([*compose, "--temperature", "0.5", "-o", "wordless.wav"]) == 0
    assert main([*compose, "--lyrics", "words.txt", "-o", "sung.wav"]) == 0
    Path("more.txt").write_text("dah\n")
    assert main(["continue", "sung.wav", "--seconds", "0.5", "--lyrics", "more.txt", "--device", "cpu", "-q"]) == 0
    assert SongFolder.open(Path("sung-continued.song")).info.request["lyrics"] == "abc\n\ndah\n"
    assert main([*compose, "--temperature", "0.7", "--batch", "songs.jsonl", "-o", "songs"]) == 0
    folders = ("wordless.song", "sung.song", *(f"songs/song-000{number}.song" for number in (1, 2, 3)))
    asked = [SongFolder.open(Path(folder)).info.request["sampling"][1] for folder in folders]
    assert [(one["guidance"], one["temperature"]) for one in asked] == [
        (1.5, 0.5),
        (6, 0.9),
        (6, 0.7),
        (1.5, 0.7),
        (2, 1),
    ]

    capsys.readouterr()
    assert main([*build, "--force", "--wordless", "guide=1"]) == USER_ERROR
    assert "'guide=1' is no setting of drawing" in capsys.readouterr().err
