"""From a folder to tracks, whatever lies in it."""

import os
from pathlib import Path

import pytest
import soundfile
import torch
from small_data import sound

from orchestrion.audio import io
from orchestrion.data.manifest import read_manifest, split
from orchestrion.data.scan import audio_files, describe, scan, split_genres
from orchestrion.errors import UserError
from orchestrion.library.provenance import Made, SongModel


def tagged(path, **tags):
    with soundfile.SoundFile(path, "w", 8000, 1) as file:
        for name, text in tags.items():
            setattr(file, name, text)
        file.write([0.1] * 800)
    return path


def test_tags_become_labels(tmp_path):
    path = tagged(tmp_path / "song.flac", artist="Björk 姫", title="夜の歌", genre="Rock; Folk/Electronic, rock")
    found = describe(path)
    assert (found.artist, found.title) == ("Björk 姫", "夜の歌")
    assert found.genres == ("rock", "folk", "electronic")
    assert (found.seconds, found.sample_rate, found.channels) == (0.1, 8000, 1)


def test_without_tags_the_artist_is_unknown_and_the_title_the_name(tmp_path):
    found = describe(sound(tmp_path / "some song.wav", 0.1))
    assert (found.artist, found.title, found.genres, found.lyrics) == (None, "some song", (), None)


def test_an_artist_called_unknown_is_unknown(tmp_path):
    assert describe(tagged(tmp_path / "a.flac", artist="Unknown Artist ", genre="Unknown")).artist is None


@pytest.mark.parametrize(
    ("tag", "genres"),
    [
        ("", ()),
        (" ; ,/", ()),
        ("Hip  Hop", ("hip hop",)),
        ("a,b,c,d,e,f", ("a", "b", "c", "d", "e")),
        ("ROCK\x00Pop", ("rock", "pop")),
    ],
)
def test_genres_are_split_cleaned_and_at_most_five(tag, genres):
    assert split_genres(tag) == genres


def test_lyrics_lie_beside_the_song_and_timed_ones_win(tmp_path):
    song = sound(tmp_path / "song.wav", 0.1)
    (tmp_path / "song.txt").write_text("la")
    assert describe(song).lyrics == tmp_path / "song.txt"
    (tmp_path / "song.lrc").write_text("[00:00.00] la")
    assert describe(song).lyrics == tmp_path / "song.lrc"
    (tmp_path / "song.lyrics.json").write_text("{}")
    assert describe(song).lyrics == tmp_path / "song.lyrics.json"


def test_every_script_hidden_files_and_loops(tmp_path):
    names = ["naïve été.wav", "песня.wav", "歌.wav", "أغنية.wav", "🎵 x.wav", "-rf *.wav", "UPPER.WAV"]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for number, name in enumerate(names):
        sound(tmp_path / "deep" / name, 0.1, frequency=100 + number)
    for hidden in (".hidden.wav", "deep/er/._song.wav"):
        sound(tmp_path / hidden, 0.1)
    (tmp_path / ".git").mkdir()
    sound(tmp_path / ".git" / "song.wav", 0.1)
    (tmp_path / "deep" / "er" / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "deep")
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "notes.txt").write_text("not music")
    paths = audio_files(tmp_path)
    assert sorted(path.name for path in paths) == sorted([*names, "dangling.wav"])
    scanned = list(scan(paths))
    assert [step.path.name for step in scanned if step.track is None] == ["dangling.wav"]
    assert [step.done for step in scanned] == list(range(1, len(paths) + 1))


def test_what_this_program_made_is_no_music_to_learn_from(tmp_path):
    for made in ("me/level_1/samples/step-10/held-out-0.wav", "song.song/audio/level_0.wav", "band.song/01.wav"):
        (tmp_path / made).parent.mkdir(parents=True)
        sound(tmp_path / made, 0.1)
    (tmp_path / "me" / "level_1" / "run.json").write_text("{}")
    (tmp_path / "song.song" / "request.json").write_text("{}")
    assert audio_files(tmp_path) == [tmp_path / "band.song" / "01.wav"]
    assert len(audio_files(tmp_path / "song.song")) == 1
    run = tmp_path / "me" / "level_1"  # of music that a training was begun in: its samples are none
    (run / "mine.wav").write_bytes((tmp_path / "band.song" / "01.wav").read_bytes())
    assert audio_files(run) == [run / "mine.wav"]


@pytest.mark.parametrize("suffix", io.SUFFIXES_WRITE)
def test_what_was_composed_is_told_and_left_out(tmp_path, suffix):
    made = Made(
        orchestrion="0.1.0",
        model=SongModel(name="tiny", sha256="0" * 64, codec_sha256="1" * 64),
        request={"seconds": 1.0},
        level=0,
    )
    tone = torch.sin(torch.arange(8000) * 0.3)[None] * 0.5
    io.write(tmp_path / f"composed{suffix}", tone, 8000, comment=made.tag)
    io.write(tmp_path / f"played{suffix}", tone, 8000, comment="orchestrion.made by hand")
    found = {seen.path.stem: seen for seen in scan(audio_files(tmp_path))}
    assert "composed by this program" in found["composed"].problem and found["played"].track is not None


def test_unreadable_files_are_reported_not_fatal(tmp_path):
    sound(tmp_path / "good.wav", 0.1)
    (tmp_path / "empty.mp3").write_bytes(b"")
    (tmp_path / "words.ogg").write_text("words")
    cut = sound(tmp_path / "cut.wav", 1.0)
    cut.write_bytes(cut.read_bytes()[:1000])
    problems = {step.path.name: step.problem for step in scan(audio_files(tmp_path))}
    assert problems.pop("good.wav") is None
    assert set(problems) == {"empty.mp3", "words.ogg", "cut.wav"}
    assert all(str(tmp_path / name) in problem for name, problem in problems.items())


def test_the_same_content_is_listed_once(tmp_path):
    first = sound(tmp_path / "a.wav", 0.1)
    (tmp_path / "b.wav").write_bytes(first.read_bytes())
    steps = list(scan(audio_files(tmp_path)))
    assert steps[0].track is not None
    assert "same recording" in steps[1].problem
    assert "a.wav" in steps[1].problem


def test_the_split_does_not_depend_on_name_or_folder(tmp_path):
    path = sound(tmp_path / "a.wav", 0.2)
    before = describe(path).content_hash
    (tmp_path / "sub").mkdir()
    assert describe(path.rename(tmp_path / "sub" / "z.wav")).content_hash == before


def test_names_that_are_not_text_are_reported(tmp_path):
    try:
        name = os.fsencode(tmp_path) + b"/b\xff.wav"
        Path(os.fsdecode(name)).write_bytes(sound(tmp_path / "a.wav", 0.1).read_bytes())
    except OSError:
        pytest.skip("this file system takes no such names")
    problems = [step.problem for step in scan(audio_files(tmp_path)) if step.problem]
    assert len(problems) == 1
    assert "not UTF-8" in problems[0]


def test_what_the_system_refuses_is_reported_not_fatal(tmp_path, monkeypatch):
    sound(tmp_path / "a.wav", 0.1)
    sound(tmp_path / f"{250 * 'b'}.wav", 0.2)
    real = Path.is_dir

    def looked_at(path):
        if path.name == "a.wav":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    paths = audio_files(tmp_path)
    monkeypatch.setattr(Path, "is_dir", looked_at)
    short, long = scan(paths)
    assert short.track is None and "a.wav: Permission denied" in short.problem
    assert long.track is not None and long.track.lyrics is None

    def broken(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("orchestrion.audio.containers.is_cut_short", broken)
    assert ["Input/output error" in step.problem for step in scan(paths[1:])] == [True]


def test_folders_without_music_are_explained(tmp_path):
    with pytest.raises(UserError, match="no audio file"):
        audio_files(tmp_path)
    with pytest.raises(UserError, match="there is no folder"):
        audio_files(tmp_path / "missing")
    with pytest.raises(UserError, match="not a folder"):
        audio_files(sound(tmp_path / "a.wav", 0.1))


def test_the_command_writes_a_manifest_and_lists_what_it_left_out(tmp_path):
    from click.testing import CliRunner

    from orchestrion.cli.data import data

    tagged(tmp_path / "song.flac", artist="Ada")
    (tmp_path / "broken.flac").write_bytes(b"")
    done = CliRunner().invoke(data, ["scan", str(tmp_path)])
    assert done.exit_code == 0
    assert done.stdout.strip() == str(tmp_path / "manifest.jsonl")
    assert "broken.flac is empty" in done.stderr.replace("\n", " ")
    assert [each.artist for each in read_manifest(tmp_path / "manifest.jsonl")] == ["Ada"]


@pytest.mark.parametrize("seconds", [0.1, 12.0])
def test_of_few_tracks_some_are_held_out_too(tmp_path, seconds):
    from click.testing import CliRunner

    from orchestrion.cli.data import data

    names = [f"{number}.wav" for number in range(4)]
    for number, name in enumerate(names):
        sound(tmp_path / name, 0.2 if name == "0.wav" else seconds + number / 100)
    done = CliRunner().invoke(data, ["scan", str(tmp_path)])
    tracks = read_manifest(tmp_path / "manifest.jsonl")
    assert done.exit_code == 0 and {split(track) for track in tracks} == {"train", "validation"}
    moved = [track for track in tracks if track.held_out is not None]
    assert {split(track.model_copy(update={"held_out": None})) for track in tracks} == {"train"} and len(moved) == 1
    assert f"{moved[0].path.name} is held out for validation, so that" in done.stderr
    assert seconds < 10 or moved[0].seconds > 10, "what is held out fills a window"


def test_the_command_replaces_nothing_unasked(tmp_path):
    from click.testing import CliRunner

    from orchestrion.cli.data import data

    sound(tmp_path / "song.wav", 0.1)
    (tmp_path / "manifest.jsonl").write_text("mine")
    refused = CliRunner().invoke(data, ["scan", str(tmp_path)])
    assert isinstance(refused.exception, UserError)
    assert (tmp_path / "manifest.jsonl").read_text() == "mine"
    assert CliRunner().invoke(data, ["scan", str(tmp_path), "--force"]).exit_code == 0


def test_the_command_finds_before_it_scans_that_the_manifest_cannot_be_written(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from orchestrion.cli.data import data

    monkeypatch.setattr("orchestrion.data.scan.scan", None)
    song = sound(tmp_path / "song.wav", 0.1)
    done = CliRunner().invoke(data, ["scan", str(tmp_path), "-o", str(song / "manifest.jsonl")])
    assert isinstance(done.exception, UserError) and "cannot write into" in str(done.exception)


def test_the_command_fails_when_nothing_can_be_read(tmp_path):
    from click.testing import CliRunner

    from orchestrion.cli.data import data

    (tmp_path / "broken.flac").write_bytes(b"")
    done = CliRunner().invoke(data, ["scan", str(tmp_path)])
    assert isinstance(done.exception, UserError)
    assert not (tmp_path / "manifest.jsonl").exists()
