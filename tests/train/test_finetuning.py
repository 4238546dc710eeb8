"""A trained model learns new names from a little music, in an adapter beside it or as a whole model."""

import json
import signal
from pathlib import Path

import pytest
import tiny_training as small
import torch
from safetensors.torch import load_file, save_file

import tiny
from orchestrion.audio import io
from orchestrion.checkpoints.adapter import Adapter
from orchestrion.checkpoints.folder import CODEC, load_prior, model_sha256, read_card, read_model
from orchestrion.cli.main import STOPPED, main
from orchestrion.codes import Codes
from orchestrion.config import plain
from orchestrion.config.prior import LyricsConfig, TransformerConfig
from orchestrion.config.training import AdapterConfig, FinetuneConfig
from orchestrion.data.encoded import CodeStore, ShardWriter
from orchestrion.data.manifest import Track, split, with_held_out, write_manifest
from orchestrion.data.scan import audio_files, describe
from orchestrion.errors import UserError
from orchestrion.files import file_sha256, write_json
from orchestrion.generate.request import Request
from orchestrion.jukebox import Jukebox
from orchestrion.prior.adapt import adapt, grow, learned, settle
from orchestrion.text.vocab import Vocabulary
from orchestrion.train.finetune import (
    Base,
    FinetuneRecipe,
    first_rows,
    grown_names,
    write_finetuned,
)
from orchestrion.train.loop import train
from orchestrion.train.prior import learning_like
from orchestrion.train.run import begin_run

ADAPTER = AdapterConfig(rank=2, alpha=4.0)
ASKED = Request(artist="Clara", genres=("folk",), seconds=0.5, seed=3)


def config(steps: int = 4, *, adapter: AdapterConfig | None = ADAPTER, **settings: object) -> FinetuneConfig:
    optimizer = small.OptimizerConfig(learning_rate=1e-2, warmup_steps=1)
    return FinetuneConfig(
        training=small.training(steps, optimizer=optimizer, **settings), adapter=adapter, validation_windows=2
    )


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Base:
    return Base.open(tiny.write_tiny_model(tmp_path_factory.mktemp("base"), masked=(0,)))


def tracks(num: int, artist: str | None = "Clara", genres: tuple[str, ...] = ("tango",)) -> list[Track]:
    return [
        Track(
            path=Path(f"/nowhere/{artist}-{number}.flac"),
            seconds=4.0,
            sample_rate=tiny.SAMPLE_RATE,
            channels=1,
            content_hash=f"{12 * number + 1:016x}",
            artist=artist,
            genres=genres,
        )
        for number in range(num)
    ]


@pytest.fixture(scope="module")
def store(base, tmp_path_factory) -> CodeStore:
    """Codes of an artist and in a genre that the model does not know, of a few patterns again and again."""
    folder = tmp_path_factory.mktemp("codes")
    grid, own = base.info.grid, with_held_out(tracks(3), 0.5)
    writer = ShardWriter(folder, grid, tiny.CODEBOOK_SIZE, base.info.sha256[CODEC])
    rng = torch.Generator().manual_seed(5)
    for track in own:
        top = torch.randint(3, (1, 100), generator=rng).repeat(1, 2)
        codes = Codes(grid, (top.repeat_interleave(4, 1) + 4, top))
        writer.add(track, codes, 200 * grid.hop_lengths[-1])
    writer.finish()
    return CodeStore(folder, grown_names(base.info.vocabulary, own))


def run(base, store, level, folder, settings, **options) -> bool:
    begin_run(folder, "finetune", settings, {"codes": store.data_hash, "level": level})
    recipe = FinetuneRecipe(base, settings, store, level, small.CPU)
    windows = recipe.inner.held_out
    recipe.measure_before(folder / "before.json")
    assert recipe.inner.held_out is windows, "validation goes on with those that were asked for"
    return train(recipe, settings.training, folder, **options)


@pytest.fixture(scope="module")
def runs(base, store, tmp_path_factory) -> dict[int, Path]:
    folders = {level: tmp_path_factory.mktemp(f"level-{level}") for level in (1, 0)}
    for level, folder in folders.items():
        assert run(base, store, level, folder, config(12))
    return folders


@pytest.fixture(scope="module")
def adapter(base, store, runs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    write_finetuned(base, config(12), store, runs, folder, name="clara", licence="mine")
    return folder


@pytest.mark.parametrize("level", [0, 1])
def test_an_update_begins_at_nothing_and_settles_to_the_same_scores(base, level, store):
    prior, (batch,) = load_prior(base.folder, base.info, level), store.validation_batches(1, level, 24, max_windows=1)
    told = tiny.conditions(1)
    told = type(told)(**{**vars(told), "coarser": batch.coarser})

    def scores():
        if level == 0:
            around = prior.read(torch.where(batch.codes % 2 == 0, -1, batch.codes), prior.tell(told, 24))
            return prior.score(around, batch.codes.new_zeros(len(around), 0))
        return prior(batch.codes, told)

    before = scores()
    rng = torch.Generator().manual_seed(1)
    adapt(prior, ADAPTER, rng)
    torch.testing.assert_close(scores(), before, rtol=1e-4, atol=1e-5)
    for name, tensor in learned(prior).items():
        if name.endswith("up"):
            tensor.normal_(0, 0.3, generator=rng)
    changed = scores()
    assert (changed - before).abs().max() > 0.01
    settle(prior)
    assert not learned(prior)
    torch.testing.assert_close(scores(), changed, rtol=1e-4, atol=1e-4)


def test_windows_are_told_nothing_as_often_as_is_asked(base, store):
    recipe = FinetuneRecipe(base, config(), store, 1, small.CPU)
    assert recipe.inner.config.condition_dropout == config().condition_dropout == 0.1


def test_a_long_context_goes_on_to_learn_from_shorter_windows(base, store):
    short = config().model_copy(update={"window_frames": 20})
    recipes = {level: FinetuneRecipe(base, short, store, level, small.CPU).inner for level in (1, 0)}
    context = base.info.prior(1).context_frames
    assert recipes[1].held_out[0].codes.shape[1] == 20 < context == recipes[1].prior.config.context_frames
    assert recipes[0].held_out[0].codes.shape[1] == base.info.prior(0).context_frames, "passes fill whole windows"
    assert recipes[1].validate()["validation/bits"] > 0


def test_a_model_without_priors_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no prior"):
        Base.open(tiny.write_tiny_model(tmp_path, levels=()))


def test_a_singer_that_is_told_the_pace_goes_on_without_help_of_its_attention():
    stack = TransformerConfig(width=8, num_heads=1, patterns=("full",), positions="learned")
    lyrics = LyricsConfig(alphabet_size=9, num_characters=12, encoder=stack)
    singing = tiny.prior_config(1).transformer.model_copy(update={"patterns": ("full", "lyrics")})
    prior = tiny.prior_config(1).model_copy(update={"transformer": singing, "lyrics": lyrics})
    paced = prior.model_copy(update={"lyrics": lyrics.model_copy(update={"paced": True})})
    assert learning_like(prior, small.training(1)).lyrics.attention_weight > 0
    assert learning_like(paced, small.training(1)).lyrics.attention_weight == 0


def test_new_rows_come_after_the_known_ones_which_stay(base):
    prior = load_prior(base.folder, base.info, 1)
    before = prior.labels.artist.weight.clone()
    rows = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    grow(prior, rows, rows[:0])
    artists = torch.arange(5)
    settled = prior.labels.artist(artists)
    assert torch.equal(settled, torch.cat((before, rows)))
    settle(prior)
    assert torch.equal(prior.labels.artist.weight, settled)
    assert (prior.config.labels.num_artists, prior.config.labels.num_genres) == (5, 4)


def test_a_new_name_begins_at_the_known_one_that_surprises_the_prior_least(base, store):
    prior = load_prior(base.folder, base.info, 1)
    known = base.info.vocabulary
    artists, genres = first_rows(prior, store, 1, known, prior.config.context_frames, nearest=True)
    assert artists.shape == (1, 8) and genres.shape == (1, 8)
    batch = next(store.batches_of(store.indices("train"), 8, 1, 24, max_windows=8))
    bits = []
    for artist in range(1, known.num_artists):
        told = tiny.conditions(len(batch.codes))
        told = type(told)(
            **{
                **vars(told),
                "artist": torch.full_like(told.artist, artist),
                "total_samples": batch.total_samples,
                "start_samples": batch.start_samples,
            }
        )
        bits.append(float(prior.loss(batch.codes, told).bits_per_code))
    nearest = 1 + bits.index(min(bits))
    assert torch.equal(artists[0], prior.labels.artist.weight[nearest])
    mean, _ = first_rows(prior, store, 1, known, prior.config.context_frames, nearest=False)
    torch.testing.assert_close(mean[0], prior.labels.artist.weight[1:].mean(0))


def test_only_updates_and_new_rows_are_learned_and_kept(base, store, runs):
    kept = load_file(runs[1] / "checkpoint" / "model.safetensors")
    ends = {name.rsplit(".", 1)[1] for name in kept}
    assert ends == {"up", "down", "added"}
    assert base.info.sha256 == read_model(base.folder).sha256
    rows = kept["labels.artist.added"]
    fresh = base.prior(1, store, config(), small.CPU)
    assert (rows - fresh.labels.artist.added).abs().max() > 1e-3


def test_held_out_music_is_predicted_better_afterwards(runs):
    for level, folder in runs.items():
        figures = json.loads((folder / "prior.json").read_text())["figures"]
        assert figures["after"]["validation/bits"] < figures["before"]["validation/bits"] - 0.1, level


def test_a_run_broken_off_and_resumed_ends_like_one_left_alone(base, store, runs, tmp_path):
    def broken(progress):
        if progress.step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(base, store, 1, tmp_path, config(12), on_progress=broken)
    assert run(base, store, 1, tmp_path, config(12))
    assert (tmp_path / "prior.safetensors").read_bytes() == (runs[1] / "prior.safetensors").read_bytes()


def test_a_model_with_its_adapter_knows_the_new_names_and_says_so(base, adapter, tmp_path):
    with pytest.raises(UserError, match="no artist called 'Clara'"):
        Jukebox(base.folder, device="cpu").compose(ASKED)
    jukebox = Jukebox(base.folder, device="cpu", adapter=adapter)
    assert jukebox.info.artists[-1] == "Clara" and jukebox.info.genres[-1] == "tango"
    song = jukebox.compose(ASKED, tmp_path / "one.song").finish()
    again = Jukebox(base.folder, device="cpu", adapter=adapter).compose(ASKED).finish()
    assert torch.equal(song.audio, again.audio)
    told = json.loads((tmp_path / "one.song" / "request.json").read_text())["model"]
    assert told["sha256"] == model_sha256(base.folder)
    assert told["adapter"] == {"name": str(adapter), "sha256": Adapter(adapter).sha256}
    song.save(tmp_path / "one.flac")
    record = json.loads((tmp_path / "one.flac.json").read_text())
    assert record["made"]["model"]["adapter"]["name"] == adapter.name, "paths are cut to names"
    plain = ASKED.changed(artist="Bix")
    with_it, without = (
        Jukebox(base.folder, device="cpu", adapter=one).compose(plain).finish() for one in (adapter, None)
    )
    assert not torch.equal(with_it.codes[1], without.codes[1])
    with pytest.raises(UserError, match="another artist, model"):
        Jukebox(base.folder, device="cpu").compose(song.request.changed(artist="Bix"), tmp_path / "one.song")


def test_a_whole_model_is_an_ordinary_one(base, store, tmp_path):
    settings = config(2, adapter=None)
    assert run(base, store, 1, tmp_path / "level_1", settings)
    write_finetuned(base, settings, store, {1: tmp_path / "level_1"}, tmp_path / "model", name="clara", licence="mine")
    info = read_model(tmp_path / "model")
    assert info.artists == (*tiny.NAMES.artists, "Clara")
    assert info.about["licence"] == "mine" and info.about["data_hash"] == store.data_hash
    figures = json.loads((tmp_path / "level_1" / "prior.json").read_text())["figures"]
    assert info.about["figures"]["level_1"] == figures["after"]
    assert info.about["finetuned"]["figures"] == {"level_1": figures}
    assert info.about["finetuned"]["from"] == {"name": "tiny", "licence": "CC0-1.0"}
    assert "Fine-tuned from tiny" in read_card(tmp_path / "model")
    before, after = load_prior(base.folder, base.info, 1), load_prior(tmp_path / "model", info, 1)
    assert not torch.equal(before.tokens.embedding.weight, after.tokens.embedding.weight)
    assert Jukebox(tmp_path / "model", device="cpu").compose(ASKED).finish().audio.isfinite().all()


def test_an_adapter_is_refused_beside_another_model_or_when_it_is_damaged(base, adapter, tmp_path):
    other = tiny.write_tiny_model(tmp_path / "other")
    with pytest.raises(UserError, match="belongs to the model 'tiny'"):
        Jukebox(other, device="cpu", adapter=adapter)
    with pytest.raises(UserError, match="there is no adapter"):
        Jukebox(base.folder, device="cpu", adapter=other)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in adapter.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    info, tensors = Adapter(copy).info, load_file(copy / "adapter.safetensors")
    artists = info.vocabulary.artists
    for names in (artists[::-1], artists[1:]):
        vocabulary = info.vocabulary.model_copy(update={"artists": names})
        write_json(copy / "adapter.json", plain(info.model_copy(update={"vocabulary": vocabulary})))
        with pytest.raises(UserError, match="do not begin with those of the model"):
            Jukebox(base.folder, device="cpu", adapter=copy)
    for changed in (tensors["level_1.labels.artist.added"][:, :3], None):
        kept = {name: tensor for name, tensor in tensors.items() if name != "level_1.labels.artist.added"}
        added = {} if changed is None else {"level_1.labels.artist.added": changed.contiguous()}
        save_file(kept | added, copy / "adapter.safetensors")
        changes = {"sha256": file_sha256(copy / "adapter.safetensors")}
        write_json(copy / "adapter.json", plain(info.model_copy(update=changes)))
        with pytest.raises(UserError, match=r"added is (missing|\()"):
            Jukebox(base.folder, device="cpu", adapter=copy).compose(ASKED).finish()
    save_file(tensors, copy / "adapter.safetensors")
    weights = bytearray((copy / "adapter.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "adapter.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="missing or not the file"):
        Jukebox(base.folder, device="cpu", adapter=copy).compose(ASKED).finish()


def test_some_music_is_held_out_of_any_two_tracks():
    learned_from = tracks(3)
    assert {split(track) for track in learned_from} == {"train"}
    assert [split(track) for track in with_held_out(learned_from, 4.0)] == ["validation", "train", "train"]
    kept = [track.model_copy(update={"content_hash": f"{12 * i:016x}"}) for i, track in enumerate(tracks(2))]
    assert [split(track) for track in with_held_out(kept, 4.0)] == ["train", "validation"]
    mixed = [learned_from[0], kept[1]]
    assert with_held_out(mixed, 4.0) == mixed
    with pytest.raises(UserError, match="0 of 1 tracks last 5.0 s.*two or more"):
        with_held_out(learned_from[:1], 5.0)
    with pytest.raises(UserError, match="^two tracks are needed: one"):
        with_held_out(learned_from[:1], 0.0)


def test_what_is_held_out_fills_a_window(base):
    assert base.window_seconds == 48 / 200  # of the upsampler: the top prior takes what is shorter
    short, *long = tracks(3)
    short = short.model_copy(update={"seconds": 0.4})
    assert [split(track) for track in with_held_out([short, *long], 0.48)] == ["train", "validation", "train"]
    aside = short.model_copy(update={"held_out": True})
    assert [split(track) for track in with_held_out([aside, *long], 0.48)] == ["validation", "validation", "train"]
    with pytest.raises(UserError, match="1 of 2 tracks last 0.5 s"):
        with_held_out([short, long[0]], 0.48)


def test_names_are_new_whatever_their_case():
    known = Vocabulary(artists=("Ada Byron",), genres=("folk",))
    names = grown_names(known, [*tracks(1, "ada  byron", ("Folk", "Tango")), *tracks(1, "Zoe", ())])
    assert names == Vocabulary(artists=("Ada Byron", "Zoe"), genres=("folk", "Tango"))


def tones(folder: Path) -> None:
    for pitch in (50, 60):
        tone = 0.4 * torch.sin(torch.arange(2 * tiny.SAMPLE_RATE) * 2 * torch.pi * pitch / tiny.SAMPLE_RATE)
        io.write(folder / f"{pitch}.flac", tone[None], tiny.SAMPLE_RATE)


def test_files_that_are_short_or_gone_and_words_that_cannot_be_read_keep_nobody_from_learning(base, tmp_path, capsys):
    tones(tmp_path / "music")
    for number in range(8):
        io.write(tmp_path / "music" / f"short-{number}.wav", torch.full((1, 9), 0.1 + number / 99), tiny.SAMPLE_RATE)
    (tmp_path / "music" / "50.lrc").write_bytes(b"\xff\xfe")
    found = [describe(path) for path in audio_files(tmp_path / "music")]
    gone = found[0].model_copy(update={"path": tmp_path / "gone.flac", "content_hash": f"{1:016x}"})
    write_manifest(tmp_path / "manifest.jsonl", [gone, *found])
    own = tmp_path / "own.toml"
    own.write_text('variations = 2\n[training]\nsteps = 1\nbatch_size = 2\nprecision = "float32"\n')
    command = [
        "train", "finetune", str(base.folder), "--data", str(tmp_path / "manifest.jsonl"), "--artist", "Clara",
        "--run", str(tmp_path / "run"), "--config", str(own), "--device", "cpu", "--threads", "1", "--level", "1",
    ]  # fmt: skip
    assert main(command) == 0, capsys.readouterr().err
    said = " ".join(capsys.readouterr().err.split())
    assert "gone.flac: there is no such file: check the path" in said
    assert "left out: the words of" in said and "50.flac" in said


def test_a_signal_in_the_last_step_of_a_level_is_heeded_before_the_next(base, tmp_path, capsys, monkeypatch):
    tones(tmp_path / "music")
    own = tmp_path / "own.toml"
    own.write_text('[training]\nsteps = 2\nbatch_size = 2\nprecision = "float32"\n')
    command = [
        "train", "finetune", str(base.folder), "--data", str(tmp_path / "music"), "--artist", "Clara",
        "--run", str(tmp_path / "run"), "--config", str(own), "--device", "cpu", "--threads", "1",
    ]  # fmt: skip

    def show(recipe: FinetuneRecipe, folder: Path) -> None:  # in the validation after the last step
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(FinetuneRecipe, "show", show)
        assert main(command) == STOPPED
    assert "stopped and saved" in capsys.readouterr().err
    assert (tmp_path / "run" / "level_1" / "prior.json").exists()
    assert not (tmp_path / "run" / "level_0").exists()
    assert main(command) == 0, capsys.readouterr().err
    assert set(Adapter(tmp_path / "run" / "adapter").info.levels) == {0, 1}


def test_the_command_goes_from_a_folder_of_music_to_a_song(base, tmp_path, capsys):
    tones(tmp_path / "music")
    own = tmp_path / "own.toml"
    own.write_text(
        "variations = 1\nvalidation_windows = 2\n[adapter]\nrank = 2\n[training]\nsteps = 2\nbatch_size = 2\n"
        'precision = "float32"\n'
    )
    command = [
        "train", "finetune", str(base.folder), "--data", str(tmp_path / "music"), "--artist", "Clara",
        "--run", str(tmp_path / "run"), "--config", str(own), "--device", "cpu", "--threads", "1",
    ]  # fmt: skip
    assert main(command) == 0
    adapter = Path(capsys.readouterr().out.strip())
    assert adapter == tmp_path / "run" / "adapter"
    told = Adapter(adapter).info.about["tracks"][0]
    assert told.endswith("Training tracks were also heard in 1 other keys and tempos.")
    song = str(tmp_path / "song.wav")
    asked = ["--artist", "clara", "--seconds", "0.3", "--device", "cpu", "-q"]
    assert main(["compose", "--model", str(base.folder), "--adapter", str(adapter), *asked, "-o", song]) == 0
    assert main(["continue", song, "--seconds", "0.2", "--device", "cpu", "-q"]) == 0
    capsys.readouterr()
    assert main(["songs", "replay", song, "-q"]) == 0, "the folder beside it says where model and adapter are"
    (tmp_path / "song.song").rename(tmp_path / "elsewhere.song")
    assert main(["songs", "replay", song, "-q", "--model", str(base.folder)]) == 2
    assert "--adapter" in capsys.readouterr().err
    assert main(["songs", "replay", song, "-q", "--model", str(base.folder), "--adapter", str(adapter)]) == 0
    assert main([*command, "--level", "7"]) == 2


def test_levels_that_learn_one_after_the_other_are_put_together(base, tmp_path, capsys):
    tones(tmp_path / "music")
    own = tmp_path / "own.toml"
    settings = (
        "variations = 0\nvalidation_windows = 2\n[adapter]\nrank = {}\n[training]\nsteps = 2\nbatch_size = 2\n"
        'precision = "float32"\n'
    )
    own.write_text(settings.format(2))
    run = tmp_path / "music" / "run"  # what it writes there is no music to learn from
    command = [
        "train", "finetune", str(base.folder), "--data", str(tmp_path / "music"), "--artist", "Clara",
        "--run", str(run), "--config", str(own), "--device", "cpu", "--threads", "1",
    ]  # fmt: skip
    assert main([*command, "--level", "1"]) == 0, capsys.readouterr().err
    assert Adapter(run / "adapter").info.levels == (1,)
    assert "other keys" not in Adapter(run / "adapter").info.about["tracks"][0]
    assert main([*command, "--level", "0"]) == 0, capsys.readouterr().err
    assert set(Adapter(run / "adapter").info.levels) == {0, 1}
    own.write_text(settings.format(3))
    capsys.readouterr()
    assert main([*command, "--level", "0"]) == 2
    assert "another config (adapter.rank: 2 there, 3 here)" in capsys.readouterr().err


def test_the_command_writes_a_whole_model_that_knows_the_new_name(base, tmp_path, capsys):
    tones(tmp_path / "music")
    own = tmp_path / "own.toml"
    own.write_text('validation_windows = 2\n[training]\nsteps = 9\nbatch_size = 2\nprecision = "float32"\n')
    command = [
        "train", "finetune", str(base.folder), "--data", str(tmp_path / "music"), "--artist", "Clara", "--whole",
        "--run", str(tmp_path / "run"), "--config", str(own), "--steps", "2", "--level", "1", "--name", "clara",
        "--licence", "CC0-1.0", "--device", "cpu", "--threads", "1",
    ]  # fmt: skip
    assert main(command) == 0, capsys.readouterr().err
    model = Path(capsys.readouterr().out.strip())
    assert model == tmp_path / "run" / "model"
    info = read_model(model)
    assert (info.name, info.about["finetuned"]["licence"]) == ("clara", "CC0-1.0")
    assert len(info.learned_from) == 1
    assert "Clara" in info.artists and set(base.info.artists) < set(info.artists)
    for level, learns in ((0, False), (1, True)):
        before, after = (load_file(folder / f"prior_{level}.safetensors") for folder in (base.folder, model))
        blocks = [name for name in before if "blocks" in name]
        assert blocks and learns != all(torch.equal(before[name].half(), after[name].half()) for name in blocks)
    asked = ["--artist", "clara", "--seconds", "0.3", "--device", "cpu", "-q", "-o", str(tmp_path / "song.wav")]
    assert main(["compose", "--model", str(model), *asked]) == 0
