import json
import os
import signal
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import tiny
from orchestrion import Jukebox, LevelSampling, Prime, Request
from orchestrion.audio import io
from orchestrion.checkpoints.folder import ModelInfo
from orchestrion.codes import Codes
from orchestrion.errors import UserError
from orchestrion.grid import Grid
from orchestrion.jukebox import model as room
from orchestrion.jukebox.asked import check_sound, plan
from orchestrion.library.folder import SongFolder, read_codes
from orchestrion.nn.compiled import CompiledSteps
from orchestrion.nn.fast import usable

SOME = Request(seconds=0.9, artist="bix", genres=("jazz",), seed=7)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return tiny.write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def jukebox(model) -> Jukebox:
    return Jukebox.from_pretrained(model, device="cpu")


@pytest.fixture(autouse=True)
def _quick_pictures(request, monkeypatch):
    """Drawing takes longer than all the rest of a tiny song."""
    if "drawn" not in request.node.name:
        monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"picture"))


def noise(seconds: float, rate: int = tiny.SAMPLE_RATE) -> torch.Tensor:
    return 0.3 * torch.randn(1, round(seconds * rate), generator=torch.Generator().manual_seed(3))


def equal(a: Codes, b: Codes) -> bool:
    return all(torch.equal(a[level], b[level]) for level in range(2))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_request_becomes_a_song_of_its_length(jukebox):
    song = jukebox.compose(SOME).finish()
    assert song.audio.shape == (1, round(0.9 * tiny.SAMPLE_RATE))
    assert song.codes[1].shape[1] == 45 and song.codes[0].shape[1] == 180
    assert song.request.artist == "Bix" and song.folder is None
    assert torch.equal(song.audio, jukebox.decode(song.codes)[:, : song.audio.shape[1]])


def test_progress_counts_every_frame_of_every_level_and_then_decodes(jukebox):
    events = list(jukebox.compose(SOME))
    made = [event for event in events if event.stage == "compose"]
    assert [(e.level, e.done) for e in made] == [(1, n + 1) for n in range(45)] + [(0, n + 1) for n in range(180)]
    assert events[-1].stage == "decode" and events[-1].done == events[-1].total


def test_a_composition_can_be_left_and_finished_later(jukebox):
    composition = jukebox.compose(SOME)
    for event in composition:
        if event.done == 20:
            break
    assert equal(composition.finish().codes, jukebox.compose(SOME).finish().codes)
    assert composition.finish() is composition.finish()


def test_the_same_request_gives_the_same_bytes_drawn_and_all_and_others_do_not(jukebox):
    for name in ("a", "b"):
        jukebox.compose(SOME, f"{name}.song").finish()
    assert files(Path("a.song")) == files(Path("b.song"))
    song = jukebox.compose(SOME).finish()
    for changed in ({"artist": "Ada Byron"}, {"artist": None}, {"genres": ("folk",)}, {"seed": 8}):
        assert not equal(jukebox.compose(SOME.changed(**changed)).finish().codes, song.codes)


def test_leaving_labels_out_is_asking_for_unknown(jukebox):
    left_out = jukebox.compose(Request(seconds=0.5)).finish()
    asked = jukebox.compose(Request(seconds=0.5, artist="unknown", genres=("unknown",))).finish()
    assert equal(left_out.codes, asked.codes)


def test_the_folder_holds_all_that_was_asked_and_made(jukebox):
    song = jukebox.compose(SOME, "a.song").finish()
    kept = SongFolder.open(Path("a.song"))
    assert sorted(files(Path("a.song"))) == [
        "audio/level_0.flac",
        "audio/level_1.flac",
        "codes.safetensors",
        "picture.png",
        "request.json",
    ]
    assert kept.info.request["artist"] == "Bix" and kept.info.request["sampling"][0]["temperature"] == 0.9
    assert equal(kept.codes(), song.codes)
    again = jukebox.load("a.song")
    assert again.request == song.request and torch.equal(again.audio, song.audio)
    heard = io.read(kept.audio_path(0), tiny.SAMPLE_RATE, 1)
    torch.testing.assert_close(heard, song.audio, atol=1e-4, rtol=0)


def stop_after(jukebox, request, folder, events):
    composition = jukebox.compose(request, folder)
    for _ in range(events):
        next(composition)


@pytest.mark.parametrize("events", [1, 24, 30, 45, 150, 224])
def test_a_stopped_song_goes_on_to_the_same_bytes(jukebox, events):
    jukebox.compose(SOME, "whole.song").finish()
    stop_after(jukebox, SOME, "stopped.song", events)
    jukebox.compose(SOME, "stopped.song").finish()
    assert files(Path("stopped.song")) == files(Path("whole.song"))


def test_a_song_resumes_from_its_folder_alone(jukebox):
    jukebox.compose(SOME, "whole.song").finish()
    stop_after(jukebox, SOME, "stopped.song", 100)
    jukebox.resume("stopped.song").finish()
    assert files(Path("stopped.song")) == files(Path("whole.song"))


KILLED = """
import os, signal, sys
from orchestrion import Jukebox, Request
jukebox = Jukebox.from_pretrained(sys.argv[1], device="cpu")
for event in jukebox.compose(Request(seconds=0.9, artist="bix", genres=("jazz",), seed=7), sys.argv[2]):
    if (event.level, event.done) == (0, 90):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_song_killed_in_the_middle_goes_on_to_the_same_bytes(jukebox, model):
    jukebox.compose(SOME, "whole.song").finish()
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(model), "killed.song"], env=threads, check=False)
    assert killed.returncode == -signal.SIGKILL
    so_far = read_codes(Path("killed.song/codes.safetensors"))
    assert so_far[1].shape[1] == 45 and 0 < so_far[0].shape[1] < 180
    jukebox.compose(SOME, "killed.song").finish()
    assert files(Path("killed.song")) == files(Path("whole.song"))


def test_a_folder_of_another_song_is_left_alone(jukebox):
    stop_after(jukebox, SOME, "a.song", 100)
    before = files(Path("a.song"))
    with pytest.raises(UserError, match=r"another seed, artist|another artist, seed"):
        jukebox.compose(SOME.changed(seed=8, artist=None), "a.song")
    assert files(Path("a.song")) == before


def test_a_song_begun_before_there_was_a_setting_goes_on(jukebox):
    jukebox.compose(SOME, "whole.song").finish()
    stop_after(jukebox, SOME, "stopped.song", 100)
    record = Path("stopped.song/request.json")
    about = json.loads(record.read_text())
    for level in about["request"]["sampling"]:
        del level["guidance"]
    record.write_text(json.dumps(about))
    jukebox.compose(SOME, "stopped.song").finish()
    assert equal(SongFolder.open(Path("stopped.song")).codes(), SongFolder.open(Path("whole.song")).codes())


def test_a_folder_of_another_model_is_left_alone(jukebox):
    stop_after(jukebox, SOME, "a.song", 30)
    other = tiny.write_tiny_model(Path("other"), dtype=torch.bfloat16)
    with pytest.raises(UserError, match="with another model"):
        Jukebox.from_pretrained(other).compose(SOME, "a.song")


def test_another_song_is_replaced_only_when_told_so(jukebox):
    jukebox.compose(SOME, "a.song").finish()
    other = SOME.changed(seed=8)
    song = jukebox.compose(other, "a.song", replace=True).finish()
    assert equal(SongFolder.open(Path("a.song")).codes(), song.codes)
    assert equal(jukebox.compose(other).finish().codes, song.codes)


def test_a_song_of_another_codec_is_not_loaded(jukebox):
    jukebox.compose(SOME, "a.song").finish()
    other = tiny.write_tiny_model(Path("other"), dtype=torch.bfloat16)
    with pytest.raises(UserError, match="not of this model's codec"):
        Jukebox.from_pretrained(other).load("a.song")


def test_a_draft_has_the_top_level_only_and_can_be_upsampled_to_the_whole(jukebox):
    whole = jukebox.compose(SOME).finish()
    draft = jukebox.compose(SOME.changed(finest_level=1), "draft.song").finish()
    assert not draft.codes.has(0) and draft.audio.shape == whole.audio.shape
    assert equal(jukebox.upsample(jukebox.load("draft.song")).finish().codes, whole.codes)


def test_upsampling_again_keeps_the_top_and_nothing_else(jukebox):
    song = jukebox.compose(SOME).finish()
    again = jukebox.upsample(song, seed=99).finish()
    assert torch.equal(again.codes[1], song.codes[1])
    assert not torch.equal(again.codes[0], song.codes[0])
    assert again.request.origin.act == "upsample"


def test_continuing_keeps_what_was_there_and_adds_what_was_asked(jukebox):
    song = jukebox.compose(SOME, "a.song").finish()
    longer = jukebox.continue_(song, 0.7, "b.song", artist="Ada Byron").finish()
    assert longer.audio.shape[1] == round(1.6 * tiny.SAMPLE_RATE)
    for level in (0, 1):
        assert torch.equal(longer.codes[level][:, : song.codes[level].shape[1]], song.codes[level])
    assert longer.request.origin.song == "a" and longer.request.artist == "Ada Byron"
    for seconds in (0.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="cannot be continued"):
            jukebox.continue_(song, seconds)


def test_a_stopped_continuation_goes_on_to_the_same_bytes(jukebox):
    song = jukebox.compose(SOME, "a.song").finish()
    jukebox.continue_(song, 0.7, "whole.song").finish()
    composition = jukebox.continue_(song, 0.7, "stopped.song")
    for _ in range(10):
        next(composition)
    jukebox.resume("stopped.song").finish()
    assert files(Path("stopped.song")) == files(Path("whole.song"))


def test_a_prompt_is_the_start_of_the_song_at_every_level(jukebox):
    io.write(Path("mine.wav"), noise(1.0), tiny.SAMPLE_RATE)
    prime = Prime(path="mine.wav", start_seconds=0.25, seconds=0.51)
    song = jukebox.compose(SOME.changed(prime=prime), "primed.song").finish()
    heard = io.read(Path("mine.wav"), tiny.SAMPLE_RATE, 1, start_seconds=0.25, seconds=0.51)
    codes = jukebox.encode(heard, tiny.SAMPLE_RATE)
    assert torch.equal(song.codes[1][:, :25], codes[1])
    assert torch.equal(song.codes[0][:, :100], codes[0][:, :100])
    assert equal(jukebox.prime(SOME, heard, tiny.SAMPLE_RATE).finish().codes, song.codes)
    assert equal(jukebox.resume("primed.song").finish().codes, song.codes)


def test_a_song_that_begins_with_another_sound_is_another_song(jukebox):
    io.write(Path("mine.wav"), noise(1.0), tiny.SAMPLE_RATE)
    primed = SOME.changed(prime=Prime(path="mine.wav", seconds=0.5))
    first = jukebox.compose(primed, "primed.song").finish()
    assert jukebox.is_kept(primed, "primed.song")
    io.write(Path("mine.wav"), 0.5 * noise(2.0)[:, tiny.SAMPLE_RATE :], tiny.SAMPLE_RATE)
    for other in (jukebox.compose, jukebox.is_kept):
        with pytest.raises(UserError, match="another song, with another beginning"):
            other(primed, "primed.song")
    assert equal(jukebox.resume("primed.song").finish().codes, first.codes)
    second = jukebox.compose(primed, "primed.song", replace=True).finish()
    assert equal(second.codes, jukebox.compose(primed).finish().codes) and not equal(second.codes, first.codes)
    Path("mine.wav").unlink()
    assert jukebox.is_kept(primed, "primed.song")

    sounds = noise(0.5), 0.5 * noise(0.5)
    played = jukebox.prime(SOME, sounds[0], tiny.SAMPLE_RATE, "played.song").finish()
    assert equal(jukebox.prime(SOME, sounds[0], tiny.SAMPLE_RATE, "played.song").finish().codes, played.codes)
    with pytest.raises(UserError, match="another beginning"):
        jukebox.prime(SOME, sounds[1], tiny.SAMPLE_RATE, "played.song")
    with pytest.raises(UserError, match="another beginning"):
        jukebox.compose(SOME, "played.song")


def test_the_shortest_song_is_as_short_as_is_said():
    odd = tiny.codec_config().model_copy(update={"sample_rate": 1501})
    info = ModelInfo(name="odd", codec=odd, sampling=(LevelSampling(),) * 2)
    with pytest.raises(UserError) as refused:
        plan(SOME.changed(seconds=0.02, sampling=info.sampling), info)
    assert refused.value.hint == "ask for 0.022 s or more"
    assert plan(SOME.changed(seconds=0.022, sampling=info.sampling), info).num_samples == 33


def test_audio_is_encoded_at_any_rate_and_number_of_channels(jukebox):
    stereo = noise(1.0, 8000).expand(2, -1)
    codes = jukebox.encode(stereo, 8000)
    assert codes[1].shape == (1, 50)
    assert jukebox.decode(codes, 1).shape == jukebox.decode(codes, 0).shape == (1, 1600)


@pytest.mark.parametrize("sound", [noise(0.1).to(torch.int16), noise(0.1)[0], noise(0.1).numpy(), torch.zeros(1, 0)])
def test_what_is_no_sound_is_refused(sound):
    with pytest.raises(UserError, match="floating tensor with the axes channel and sample"):
        check_sound(sound, 1600)


def test_sounds_of_no_rate_or_of_no_numbers_are_not_heard(jukebox):
    for rate in (0, -1):
        with pytest.raises(UserError, match=f"{rate} samples a second"):
            jukebox.encode(noise(0.1), rate)
    with pytest.raises(UserError, match="samples that are not numbers"):
        jukebox.prime(SOME, torch.full((1, 800), float("nan")), 1600)


@pytest.mark.parametrize(
    "changes, problem",
    [
        ({"artist": "Adda Byron"}, "Ada Byron"),
        ({"genres": ("jaz",)}, "jazz"),
        ({"seconds": 0.019}, "less than one code"),
        ({"finest_level": 2}, "no level 2"),
        ({"sampling": (LevelSampling(),) * 3}, "3 levels of 2"),
        ({"prime": Prime(path="none.wav")}, "none.wav"),
        ({"prime": Prime(path="mine.wav", seconds=2.0), "seconds": 5.0}, "ends"),
        ({"prime": Prime(path="mine.wav", start_seconds=2.0)}, "ends"),
        ({"prime": Prime(path="mine.wav", seconds=0.01)}, "no code of the top"),
        ({"prime": Prime(path="mine.wav"), "seconds": 1.0}, "leaves nothing"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_loaded(jukebox, monkeypatch, changes, problem):
    io.write(Path("mine.wav"), noise(1.0), tiny.SAMPLE_RATE)
    monkeypatch.setattr("orchestrion.jukebox.model.load_prior", None)
    monkeypatch.setattr("orchestrion.jukebox.model.load_codec", None)
    with pytest.raises(UserError, match=problem):
        jukebox.compose(SOME.changed(**changes), "a.song")
    assert not Path("a.song").exists()


def test_a_disk_that_is_too_small_is_noticed_first(jukebox, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("", (), {"free": 1000})())
    with pytest.raises(UserError, match="are free"):
        jukebox.compose(SOME, "a.song")


def test_a_model_without_priors_encodes_and_does_not_compose():
    jukebox = Jukebox.from_pretrained(tiny.write_tiny_model(Path("codec"), levels=()))
    assert jukebox.encode(noise(0.5), tiny.SAMPLE_RATE)[1].shape == (1, 25)
    with pytest.raises(UserError, match="no prior for level 1"):
        jukebox.compose(SOME)


def test_codes_of_another_model_are_refused(jukebox):
    foreign = Codes(Grid(1600, (8, 64)), (None, torch.zeros(1, 4, dtype=torch.int64)))
    beyond = Codes(jukebox.info.grid, (None, torch.full((1, 4), tiny.CODEBOOK_SIZE)))
    several = Codes(jukebox.info.grid, (None, torch.zeros(2, 4, dtype=torch.int64)))
    long = Codes(jukebox.info.grid, (None, torch.zeros(1, 400, dtype=torch.int64)))
    for codes in (foreign, beyond, several, long):
        with pytest.raises(UserError):
            jukebox.compose(SOME, codes=codes)
    for codes in (foreign, beyond, several):
        with pytest.raises(UserError):
            jukebox.decode(codes, 1)


def test_one_level_of_weights_is_in_memory_at_a_time(jukebox, monkeypatch):
    import gc

    alive = []

    def watched(real):
        def load(*args):
            gc.collect()
            assert [ref for ref in alive if ref() is not None] == []
            module = real(*args)
            alive.append(weakref.ref(module))
            return module

        return load

    for name in ("load_prior", "load_codec"):
        monkeypatch.setattr(room, name, watched(getattr(room, name)))
    jukebox.compose(SOME, "a.song").finish()
    assert len(alive) == 3


def test_a_device_that_is_not_there_is_refused(model):
    for device in ("cuda:63", "gramophone"):
        with pytest.raises(UserError, match="cannot be used here"):
            Jukebox.from_pretrained(model, device=device)
    with pytest.raises(UserError, match="computes nothing"):
        Jukebox.from_pretrained(model, device="meta")


def test_bfloat16_composes_too(model):
    song = Jukebox.from_pretrained(model, device="cpu", dtype=torch.bfloat16).compose(Request(seconds=0.4)).finish()
    assert song.audio.dtype == torch.float32 and song.audio.isfinite().all()


@pytest.mark.parametrize("weights", ["bfloat16", "float16", "int8"])
def test_weights_in_fewer_bits_compose_too(model, weights):
    jukebox = Jukebox.from_pretrained(model, device="cpu", weights=weights)
    song = jukebox.compose(Request(seconds=0.4)).finish()
    assert song.audio.isfinite().all()
    assert equal(jukebox.compose(Request(seconds=0.4)).finish().codes, song.codes)


def test_compiled_steps_draw_the_same_song(model, jukebox, monkeypatch):
    steps = []
    real = CompiledSteps._step
    monkeypatch.setenv("CXX", sys.executable)  # no compiler is needed
    monkeypatch.setattr(CompiledSteps, "_step", lambda *given: steps.append(0) or real(*given))
    # What the compiler is given runs as it stands: it cannot read the checks that annotations are in tests.
    with torch.compiler.set_stance("force_eager"):
        drawn = Jukebox.from_pretrained(model, device="cpu", compiled=True).compose(SOME).finish()
    assert steps
    assert equal(drawn.codes, jukebox.compose(SOME).finish().codes)


def test_without_a_compiler_for_cuda_a_model_opens_and_only_what_was_asked_for_is_refused(model, monkeypatch):
    monkeypatch.setattr("orchestrion.jukebox.model.chosen_device", lambda wanted: torch.device("cuda"))
    for triton, capability in ((None, (9, 0)), ("here", (6, 1))):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, found=triton: found)
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, found=capability: found)
        assert not Jukebox(model).compiled
        with pytest.raises(UserError, match="--no-compile"):
            Jukebox(model, compiled=True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: (7, 5))
    assert Jukebox(model).compiled


@pytest.mark.parametrize("compiled", [True, False])
def test_nothing_is_said_of_weights_that_only_compiled_steps_hold(model, monkeypatch, caplog, compiled):
    monkeypatch.setenv("CXX", sys.executable)  # no compiler is needed
    monkeypatch.setattr("orchestrion.nn.fast._failure", lambda weights: "no kernel")
    jukebox = Jukebox(model, device="cpu", weights="int8", compiled=compiled)
    planned = plan(jukebox.resolved(SOME), jukebox.info)
    with caplog.at_level("WARNING"), jukebox._drawing(planned, 1, 1) as prior:
        assert (prior.tokens.transformer.steps is not None) == compiled
    assert ("no kernel" in caplog.text) == (not compiled)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sounds_and_codes_are_the_same_however_weights_are_held(model, jukebox, dtype):
    sound, other = noise(4.0), Jukebox(model, device="cpu", dtype=dtype)
    codes = jukebox.encode(sound, tiny.SAMPLE_RATE)
    assert equal(other.encode(sound, tiny.SAMPLE_RATE), codes)
    assert torch.equal(other.decode(codes), jukebox.decode(codes))


@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_weights_that_a_copy_holds_in_fewer_bits_are_gone_when_it_draws(model, monkeypatch, weights):
    held, real = [], room.load_prior

    def load(*given):
        prior = real(*given)
        held.append(weakref.ref(prior.tokens.transformer.blocks[0].mlp.wide.weight))
        return prior

    monkeypatch.setattr(room, "load_prior", load)
    jukebox = Jukebox(model, device="cpu", weights=weights)
    if not usable(weights, jukebox.device):
        pytest.skip("no such products here")
    with jukebox._drawing(plan(jukebox.resolved(SOME), jukebox.info), 1, 1):
        assert [ref() for ref in held] == [None]


@pytest.mark.parametrize(
    "guidance, songs, told",
    [((1.0, 1.0), 1, False), ((1.0, 3.0), 1, False), ((3.0, 3.0), 1, True), ((1.0, 1.0), 2, True)],
)
def test_on_a_processor_steps_are_compiled_where_they_draw_one_row_and_the_record_says_so(
    model, monkeypatch, caplog, guidance, songs, told
):
    monkeypatch.setenv("CXX", sys.executable)  # no compiler is needed
    jukebox = Jukebox(model, device="cpu", compiled=True)
    sampling = tuple(LevelSampling(guidance=each) for each in guidance)
    asked = SOME.changed(sampling=sampling, seconds=0.1)
    planned = plan(asked, jukebox.info)
    for level in (0, 1):
        with jukebox._drawing(planned, songs, level) as prior:
            compiled = prior.tokens.transformer.steps is not None
        assert compiled == (songs == 1 and guidance[level] == 1)
    with torch.compiler.set_stance("force_eager"), caplog.at_level("WARNING"):
        made = jukebox.compose_all(asked.takes(songs)).finish()
    assert [song.info.engine.compiled for song in made] == [not told] * songs
    assert ("nothing is compiled" in caplog.text) == told


def test_a_song_is_decoded_when_it_is_heard(jukebox, monkeypatch):
    song = jukebox.compose(SOME, "a.song").finish()
    real = room.load_codec
    monkeypatch.setattr(room, "load_codec", None)
    again = jukebox.load("a.song")
    assert equal(jukebox.continued(again, 0.5)[1], song.codes)
    monkeypatch.setattr(room, "load_codec", real)
    assert torch.equal(again.audio, song.audio) and again.audio is again.audio


def test_a_prompt_that_ends_within_a_millisecond_of_its_file_is_heard_to_its_end(jukebox):
    io.write(Path("mine.wav"), noise(0.5, 8000), 8000)
    primed = SOME.changed(prime=Prime(path="mine.wav", start_seconds=0.1, seconds=0.4009))
    codes = jukebox.compose(primed).finish().codes
    assert equal(codes, jukebox.compose(SOME.changed(prime=Prime(path="mine.wav", start_seconds=0.1))).finish().codes)
    with pytest.raises(UserError, match="ends"):
        jukebox.compose(SOME.changed(prime=Prime(path="mine.wav", start_seconds=0.1, seconds=0.4011)))


@pytest.mark.parametrize("most_songs", [0, -1])
def test_less_than_one_song_in_one_go_is_refused(model, most_songs):
    with pytest.raises(UserError, match="1 or more"):
        Jukebox(model, most_songs=most_songs)


def test_a_name_that_is_no_text_is_refused_before_anything_is_drawn(model, jukebox, monkeypatch):
    song = replace(jukebox.compose(SOME).finish(), folder=Path("caf\udce9.song"))
    monkeypatch.setattr("orchestrion.jukebox.model.load_prior", None)
    with pytest.raises(UserError, match="not text in UTF-8"):
        jukebox.continue_(song, 0.5, "a.song")
    with pytest.raises(UserError, match="not text in UTF-8"):
        Jukebox(model, name="caf\udce9", device="cpu").compose(SOME, "a.song").finish()


def test_a_song_is_saved_and_drawn(jukebox):
    song = jukebox.compose(Request(seconds=0.5)).finish()
    song.save("song.wav")
    song.draw("song.png")
    assert io.probe(Path("song.wav")).seconds == pytest.approx(0.5)
    Path("song.wav").write_bytes(b"mine")
    for file in ("song.wav", "song.wav.json"):
        with pytest.raises(UserError, match=f"{file} exists already.*give replace=True"):
            song.save("song.wav")
        Path("song.wav").unlink(missing_ok=True)
    song.save("song.wav", replace=True)
    assert io.probe(Path("song.wav")).seconds == pytest.approx(0.5)
    assert Path("song.png").stat().st_size > 1000
