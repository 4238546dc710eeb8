"""The service as a page uses it: composing, choosing, going on, hearing, searching."""

import asyncio
import errno
import io as bytes_io
import json
import os
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from studio_world import quick_world, world

import tiny
from orchestrion.audio import io
from orchestrion.checkpoints import zoo
from orchestrion.cli.main import cli
from orchestrion.errors import UserError
from orchestrion.files import write_json
from orchestrion.library.folder import SongFolder
from orchestrion.library.provenance import read_made
from orchestrion.library.tree import LYRICS_FILE, SONG
from orchestrion.text.lyric_files import write_timed_lyrics
from orchestrion.text.timed import TimedLine, TimedLyrics, TimedWord
from orchestrion.web.places import Places
from orchestrion.web.schemas import LONGEST_SECONDS, LONGEST_UPLOAD_SECONDS, PrimeIn, SongChanges
from orchestrion.web.work import Decode


@pytest.fixture
def page(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    with world(tmp_path / "library") as made:
        made.worker.introduce()
        yield made


def takes_of(song: dict) -> dict[str, dict]:
    return {take["id"]: take for take in song["tree"]}


def path_of(song: dict, take: dict, what: str = "") -> str:
    return f"/songs/{song['id']}/takes/{take['id']}{what}"


def wav(seconds: float, rate: int = 8000) -> bytes:
    buffer = bytes_io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(round(seconds * rate)) * 0.3) * 0.5, rate, format="WAV")
    return buffer.getvalue()


def test_status_and_models(page):
    status = page.get("/status")
    assert status["model"] == {"name": "ditty", "state": "ready", "problem": ""} and status["limits"]["takes"] == 9
    model = next(each for each in page.get("/models")["models"] if each["name"] == "ditty")
    assert model["artists"] == ["Ada Byron", "Bix"] and not model["sings"] and model["levels"] == 2


def test_before_the_worker_is_there_the_service_says_so(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    with world(tmp_path / "library") as early:
        assert early.get("/status")["model"]["state"] == "loading" and early.get("/models") == {"models": []}
        begun = early.post("/songs", {"seconds": 0.4})
        assert begun["job"]["state"] == "queued" and begun["song"]["tree"][0]["state"] == "queued"
        named = early.post("/songs", {"seconds": 0.4, "model": "ditty"})
        unknown = early.post("/songs", {"model": "maxi"})
        early.worker.introduce()
        early.work()
        for made in (begun, named):
            assert early.get(f"/songs/{made['song']['id']}")["tree"][0]["levels"] == [0, 1]
        assert "maxi" in early.get(f"/jobs/{unknown['job']['id']}")["problem"]


def test_three_takes_are_made_heard_and_downloaded(page, tmp_path):
    song = page.song(title="Hum", takes=3, lyrics="la la\nlo lo")
    assert [take["seed"] for take in song["tree"]] == [3, 4, 5] and {take["batch"] for take in song["tree"]} == {
        song["tree"][0]["batch"]
    }
    take = song["tree"][1]
    assert take["state"] == "done" and take["levels"] == [0, 1] and take["stop"] == 0.4
    whole = page.get(path_of(song, take, "/audio"))
    part = page.client.get(f"/api{path_of(song, take, '/audio')}", headers={"range": "bytes=10-29"})
    assert part.status_code == 206 and part.content == whole[10:30]
    assert (
        page.client.get(f"/api{path_of(song, take, '/audio')}", headers={"range": "bytes=99999999-"}).status_code == 416
    )
    peaks = page.get(path_of(song, take, "/peaks"), level=1)
    assert peaks["seconds"] == pytest.approx(0.4) and 0 < max(peaks["peaks"]) <= 1
    assert page.get(path_of(song, take, "/picture")).startswith(b"\x89PNG")
    lyrics = page.get(path_of(song, take, "/lyrics"))
    assert not lyrics["timed"] and [line["text"] for line in lyrics["lines"]] == ["la la", "lo lo"]
    lines = ((TimedWord(text="la", start=0.1, end=0.2), TimedWord(text="lo")), (TimedWord(text="hm"),))
    sung = TimedLyrics(lines=tuple(TimedLine(words=words) for words in lines))
    write_timed_lyrics(page.studio.places.take(song["id"], take["id"]) / LYRICS_FILE, sung)
    assert page.get(path_of(song, take, "/lyrics")) == {
        "timed": True,
        "lines": [
            {
                "text": "la lo",
                "start": 0.1,
                "end": 0.2,
                "words": [{"text": "la", "start": 0.1, "end": 0.2}, {"text": "lo", "start": 0.2, "end": 0.2}],
            },
            {"text": "hm", "start": None, "end": None, "words": []},
        ],
    }
    for kind in ("flac", "mp3", "wav"):
        response = page.client.get(f"/api{path_of(song, take, '/download')}", params={"format": kind})
        assert f'filename="{song["id"]}-2.{kind}"' in response.headers["content-disposition"]
        file = tmp_path / f"got.{kind}"
        file.write_bytes(response.content)
        made = read_made(file)
        assert made is not None and made.request["seed"] == 4 and "AI-generated" in made.notice
        assert io.probe(file).seconds == pytest.approx(0.4, abs=0.2)
    provenance = page.get(path_of(song, take, "/provenance"))
    assert provenance["made"]["request"]["artist"] == "Bix" and provenance["engine"]["device"] == "cpu"


def test_a_draft_plays_at_once_and_is_refined_when_asked(page):
    song = page.song(draft=True)
    (take,) = song["tree"]
    assert take["levels"] == [1] and song["heard"] == {"take": take["id"], "level": 1}
    page.get(path_of(song, take, "/audio"), status=404, level=0)
    draft = SongFolder.open(page.studio.places.take(song["id"], take["id"])).codes()[1]
    page.post(path_of(song, take, "/refine"))
    assert page.post(path_of(song, take, "/refine"), status=409)["error"] == "this take is being refined"
    page.work()
    refined = page.get(f"/songs/{song['id']}")
    assert refined["tree"][0]["levels"] == [0, 1] and refined["heard"]["level"] == 0
    codes = SongFolder.open(page.studio.places.take(song["id"], take["id"])).codes()
    assert codes[1].equal(draft) and codes.has(0)
    assert "refined already" in page.post(path_of(song, take, "/refine"), status=409)["error"]


def test_others_go_on_from_the_draft_of_a_part_of_a_refined_take(page):
    song = page.song(seconds=0.8)
    (take,) = song["tree"]
    page.post(path_of(song, take, "/repaint"), {"start_seconds": 0.2, "stop_seconds": 0.4})
    page.work()
    painted = page.get(f"/songs/{song['id']}")["tree"][-1]
    for act, asked in (("/continue", {"seconds": 0.3}), ("/repaint", {"start_seconds": 0.5, "stop_seconds": 0.6})):
        begun = page.post(path_of(song, painted, act), asked)
        page.work()
        job = page.get(f"/jobs/{begun['job']['id']}")
        assert job["state"] == "done", job
        later = job["takes"][0]
        page.post(f"/songs/{song['id']}/takes/{later}/refine")
        page.work()
        codes = SongFolder.open(page.studio.places.take(song["id"], later)).codes()
        draft = SongFolder.open(page.studio.places.take(song["id"], painted["id"])).codes()
        assert codes[1][:, :20].equal(draft[1][:, :20]) and codes.num_made(0) == codes.num_frames(0)
        assert codes[0].shape[1] == 4 * codes[1].shape[1]


def test_a_song_grows_as_a_tree(page):
    song = page.song(takes=2)
    second = song["tree"][1]
    chosen = page.post(path_of(song, second, "/choose"), status=200)
    assert [take["chosen"] for take in chosen["tree"]] == [False, True]
    begun = page.post(path_of(song, second, "/continue"), {"seconds": 0.3, "takes": 2, "artist": "Ada Byron"})
    page.work()
    grown = page.get(f"/songs/{song['id']}")
    assert len(grown["tree"]) == 4
    child = grown["tree"][2]
    assert (child["parent"], child["act"], child["artist"]) == (second["id"], "continue", "Ada Byron")
    assert child["start"] == 0.4 and child["stop"] == pytest.approx(0.7) and child["levels"] == [1]
    assert begun["job"]["takes"] == [take["id"] for take in grown["tree"][2:]]
    branch = page.post(path_of(song, child, "/continue"), {"seconds": 0.5, "from_seconds": 0.2, "nobody": True})
    page.work()
    branched = takes_of(page.get(f"/songs/{song['id']}"))[branch["job"]["takes"][0]]
    assert branched["start"] == 0.2 and branched["stop"] == pytest.approx(0.7) and branched["artist"] is None
    codes = [SongFolder.open(page.studio.places.take(song["id"], one["id"])).codes()[1] for one in (child, branched)]
    assert codes[0][:, :10].equal(codes[1][:, :10]) and not codes[0].equal(codes[1])
    repaint = page.post(
        path_of(song, second, "/repaint"), {"start_seconds": 0.1, "stop_seconds": 0.2, "draft": False, "nobody": True}
    )
    page.work()
    painted = takes_of(page.get(f"/songs/{song['id']}"))[repaint["job"]["takes"][0]]
    assert painted["artist"] is None and painted["span"] == {"start": 0.1, "stop": 0.2} and painted["levels"] == [0, 1]
    old, new = (SongFolder.open(page.studio.places.take(song["id"], one["id"])).codes()[1] for one in (second, painted))
    assert new[:, :5].equal(old[:, :5]) and new[:, 10:].equal(old[:, 10:])


def test_parts_of_a_song_come_back(page):
    def request_of(take: str) -> dict:
        return SongFolder.open(page.studio.places.take(song["id"], take)).info.request

    song = page.song(seconds=0.6, form=" ABA ")
    (take,) = song["tree"]
    assert request_of(take["id"])["form"] == "ABA"
    begun = page.post(path_of(song, take, "/continue"), {"seconds": 0.2, "reprise": {"start": 0.1, "stop": 0.3}})
    page.work()
    assert page.get(f"/jobs/{begun['job']['id']}")["state"] == "done"
    (again,) = request_of(begun["job"]["takes"][0])["form"]
    assert again == {"start_seconds": 0.6, "seconds": pytest.approx(0.2), "of_seconds": 0.1}
    late = {"seconds": 0.2, "from_seconds": 0.2, "reprise": {"start": 0.1, "stop": 0.3}}
    assert "not over by 0.20 s" in page.post(path_of(song, take, "/continue"), late, status=409)["error"]
    refused = page.post("/songs", {"seconds": 0.6, "form": "A4"}, status=422)
    assert refused["error"] == "form: a form has a letter for each of its parts, such as ABAB"


def test_undo_and_redo(page):
    song = page.song(takes=2)
    page.post(path_of(song, song["tree"][0], "/choose"), status=200)
    begun = page.post(path_of(song, song["tree"][0], "/continue"), {"seconds": 0.2})
    page.work()
    undone = page.post(f"/songs/{song['id']}/undo", status=200)
    assert len(undone["tree"]) == 2 and undone["can_redo"]
    undone = page.post(f"/songs/{song['id']}/undo", status=200)
    assert not any(take["chosen"] for take in undone["tree"]) and not undone["can_undo"]
    assert "nothing to undo" in page.post(f"/songs/{song['id']}/undo", status=409)["error"]
    for _ in range(2):
        redone = page.post(f"/songs/{song['id']}/redo", status=200)
    assert redone["tree"][0]["chosen"] and redone["tree"][2]["id"] == begun["job"]["takes"][0]
    assert "do again" in page.post(f"/songs/{song['id']}/redo", status=409)["error"]


def test_takes_that_were_undone_are_not_gone_on_from(page):
    song = page.song(takes=2)
    begun = page.post(path_of(song, song["tree"][0], "/continue"), {"seconds": 0.2})
    page.work()
    page.post(f"/songs/{song['id']}/undo", status=200)
    take = {"id": begun["job"]["takes"][0]}
    for act, asked in (
        ("choose", None),
        ("refine", None),
        ("continue", {"seconds": 0.2}),
        ("repaint", {"start_seconds": 0.0, "stop_seconds": 0.1}),
    ):
        assert page.post(path_of(song, take, f"/{act}"), asked, status=409)["error"] == "this take was undone"
    page.post(f"/songs/{song['id']}/redo", status=200)
    assert page.post(path_of(song, take, "/choose"), status=200)["tree"][2]["chosen"]


def test_a_song_that_cannot_be_written_is_not_made(page, monkeypatch):
    def full(folder, song):
        raise UserError("no space is left", "make room")

    with monkeypatch.context() as patched:
        patched.setattr("orchestrion.web.studio.write_song", full)
        assert page.post("/songs", {"seconds": 0.4}, status=400)["error"] == "no space is left"
    assert [job["state"] for job in page.get("/jobs")["jobs"]] == ["cancelled"] and not page.worker.work()


def test_an_answer_shows_what_its_revision_is_of(page, monkeypatch):
    song, real = page.song(title="First"), page.studio.describe

    def overtaken(name, changes):
        changed = real(name, changes)
        real(name, SongChanges(title="Third"))
        return changed

    monkeypatch.setattr(page.studio, "describe", overtaken)
    answer = page.client.patch(f"/api/songs/{song['id']}", json={"title": "Second"}).json()
    assert answer["title"] == "Third" and answer == page.get(f"/songs/{song['id']}")


def test_artists_are_mixed(page):
    song = page.song(artist=None, mix={"first": "Bix", "second": "Ada Byron", "share": 0.25})
    (take,) = song["tree"]
    assert take["mix"] == {"first": "Bix", "second": "Ada Byron", "share": 0.25}
    request = SongFolder.open(page.studio.places.take(song["id"], take["id"])).info.request
    assert request["artist"] == "Bix" and request["mix"] == {"artist": "Ada Byron", "share": 0.25}
    begun = page.post(path_of(song, take, "/continue"), {"seconds": 0.2})
    assert begun["song"]["tree"][1]["mix"] == take["mix"]


def test_a_song_begins_with_sound_that_was_sent(page):
    sent = page.client.post("/api/uploads", params={"name": "../../evil.exe"}, content=wav(1.0)).json()
    assert sent["state"] == "queued" and sent["seconds"] is None
    asked = {"seconds": 0.8, "prime": {"upload": sent["id"], "start_seconds": 0.2, "seconds": 0.5}, "takes": 2}
    assert "not decoded yet" in page.post("/songs", asked, status=409)["error"]
    page.work()
    assert page.get(f"/uploads/{sent['id']}")["seconds"] == pytest.approx(1.0)
    assert page.get(f"/uploads/{sent['id']}/peaks")["peaks"] and page.get(f"/uploads/{sent['id']}/audio")[:4] == b"fLaC"
    song = page.song(**asked)
    assert [take["act"] for take in song["tree"]] == ["prime", "prime"]
    codes = [SongFolder.open(page.studio.places.take(song["id"], take["id"])).codes()[1] for take in song["tree"]]
    assert codes[0][:, :25].equal(codes[1][:, :25]) and not codes[0].equal(codes[1])
    for prime, said in (
        ({"start_seconds": 0.9, "seconds": 0.5}, "ends at 1.00 s"),
        ({"start_seconds": 0.0}, "leave nothing"),
        ({"start_seconds": 5.0}, "ends at 1.00 s"),
    ):
        refused = page.post("/songs", {"seconds": 0.8, "prime": {"upload": sent["id"], **prime}}, status=409)
        assert said in refused["error"]


def test_a_worker_that_is_quicker_than_the_server_loses_nothing(page, monkeypatch):
    def written(path, value):
        if "job" in value:
            page.work()  # between what the server has read of the upload and what it writes
        write_json(path, value)

    monkeypatch.setattr("orchestrion.web.studio.write_json", written)
    sent = page.client.post("/api/uploads", params={"name": "hum.wav"}, content=wav(1.0)).json()
    assert (sent["state"], sent["name"], sent["seconds"]) == ("done", "hum.wav", pytest.approx(1.0))
    assert page.get(f"/uploads/{sent['id']}") == sent


@pytest.mark.parametrize("content", [b"MZ not audio", b"RIFF\x00\x00\x00\x00WAVE", b"fLaC" + bytes(100), b"\xff\xfb"])
def test_what_is_no_audio_is_found_out_by_the_worker(page, content):
    sent = page.client.post("/api/uploads", params={"name": "a.wav"}, content=content).json()
    page.work()
    told = page.get(f"/uploads/{sent['id']}")
    assert told["state"] == "failed" and told["problem"] and "Traceback" not in told["problem"]
    page.get(f"/uploads/{sent['id']}/audio", status=404)


def test_old_uploads_are_deleted_but_those_that_a_job_needs(page):
    def sent(name):
        return page.client.post("/api/uploads", params={"name": name}, content=wav(1.0)).json()["id"]

    used, new, left, unread = (sent(name) for name in ("used", "new", "left", "unread"))
    page.client.post(f"/api/jobs/{page.get(f'/uploads/{unread}')['job']}/cancel")
    page.work()
    page.song(seconds=0.8, prime={"upload": used, "start_seconds": 0.2, "seconds": 0.5})
    stretch = {"upload": left, "start_seconds": 0.2, "seconds": 0.5}
    begun = page.post("/songs", {"seconds": 0.8, "seed": 3, "prime": stretch})
    page.client.post(f"/api/jobs/{begun['job']['id']}/cancel")
    waiting = sent("waiting")
    for upload in (used, left, unread, waiting):
        os.utime(page.studio.places.upload(upload), (0, 0))
    page.studio.drop_old_uploads()
    assert {folder.name for folder in page.studio.places.uploads.iterdir()} == {new, left, waiting}

    page.post(f"/jobs/{begun['job']['id']}/resume", status=200)
    page.work()
    assert page.get(f"/jobs/{begun['job']['id']}")["state"] == "done"


def test_decoding_that_was_cut_short_is_done_again(page, monkeypatch):
    def broken(*_, **__):
        raise UserError("the disk is full", "make room")

    sent = page.client.post("/api/uploads", params={"name": "hum.wav"}, content=wav(1.0)).json()
    with monkeypatch.context() as patch:
        patch.setattr("orchestrion.web.worker.write_peaks", broken)
        page.work()
    assert page.get(f"/uploads/{sent['id']}")["state"] == "failed"
    page.post(f"/jobs/{sent['job']}/resume", status=200)
    page.work()
    assert page.get(f"/uploads/{sent['id']}")["seconds"] == pytest.approx(1.0)
    page.worker._decode(page.studio.jobs.get(sent["job"]), Decode(upload=sent["id"]))  # its end was not noted


def test_the_reading_of_sound_can_be_stopped(page, monkeypatch):
    sent = page.client.post("/api/uploads", params={"name": "hum.wav"}, content=wav(1.0)).json()

    def read(*given):
        page.post(f"/jobs/{sent['job']}/cancel", status=200)
        return io.read(*given)

    with monkeypatch.context() as patch:
        patch.setattr("orchestrion.web.worker.io", SimpleNamespace(probe=io.probe, read=read, write=io.write))
        page.work()
    assert page.get(f"/uploads/{sent['id']}")["state"] == "cancelled"
    page.post(f"/jobs/{sent['job']}/resume", status=200)
    page.work()
    assert page.get(f"/uploads/{sent['id']}")["seconds"] == pytest.approx(1.0)


@pytest.mark.parametrize("path", ["/api/uploads", "/api/songs/import"])
def test_a_page_that_is_left_while_it_sends_is_no_error(page, path):
    told = [{"type": "http.request", "body": b"RIFF", "more_body": True}, {"type": "http.disconnect"}]
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [(b"host", b"localhost")]}

    async def receive():
        return told.pop(0)

    async def send(_):
        pass

    asyncio.run(page.app(scope, receive, send))
    assert not told and not any(page.studio.places.uploads.iterdir())


def test_a_song_that_came_back_from_a_file_can_be_deleted_too(page):
    song = page.song()
    packed = page.get(f"/songs/{song['id']}/export")
    assert page.client.delete(f"/api/songs/{song['id']}").status_code < 300
    again = page.client.post("/api/songs/import", content=packed).json()
    assert again["id"] != song["id"]
    assert page.client.delete(f"/api/songs/{again['id']}").status_code < 300
    assert page.post(f"/songs/{song['id']}/restore", status=200)["id"] == song["id"]


def test_a_job_whose_song_is_deleted_is_not_gone_on_with(page):
    begun = page.post("/songs", {"seconds": 0.4, "artist": "Bix", "seed": 3})
    song, job = begun["song"]["id"], begun["job"]["id"]
    page.client.post(f"/api/jobs/{job}/cancel")
    page.client.delete(f"/api/songs/{song}")
    page.post(f"/jobs/{job}/resume", status=404)
    page.post(f"/songs/{song}/restore", status=200)
    page.post(f"/jobs/{job}/resume", status=200)
    page.work()
    assert page.get(f"/jobs/{job}")["state"] == "done"


def test_a_damaged_song_stays_in_the_bin(page):
    song = page.song()["id"]
    page.client.delete(f"/api/songs/{song}")
    (page.studio.places.deleted(song) / SONG).write_text("{")
    page.post(f"/songs/{song}/restore", status=400)
    assert [one["id"] for one in page.get("/bin")["songs"]] == [song]
    assert not page.studio.places.song(song).exists()


def test_what_is_left_of_an_import_is_deleted(page):
    left = page.studio.places.own / "import-0a1b2c"
    left.mkdir()
    page.studio.drop_broken_imports()
    assert not left.exists() and page.studio.places.bin.exists()


def test_an_empty_upload_is_refused(page):
    assert "nothing was sent" in page.client.post("/api/uploads", content=b"").json()["error"]
    assert not any(page.studio.places.uploads.iterdir())


def test_songs_are_found_by_their_words(page):
    first = page.song(title="Über den Wolken", lyrics="grenzenlos frei", genres=["folk"])
    second = page.song(title="Canal waltz", artist="Ada Byron", genres=["waltz"])
    page.client.patch(
        f"/api/songs/{second['id']}", json={"notes": "for Mina", "tags": ["night", "night"], "starred": True}
    )

    def found(**query):
        page_of = page.get("/songs", **query)
        assert page_of["total"] == len(page_of["songs"])
        return [song["id"] for song in page_of["songs"]]

    assert found(q="uber wolk") == found(q="GRENZEN") == [first["id"]]
    assert found(q="mina") == found(q="night") == found(starred=True) == found(genre="waltz") == [second["id"]]
    assert found(artist="Ada Byron") == found(tag="night") == [second["id"]]
    assert found(q="wolken mina") == found(q='" * - ^') == [] and found(q="") == found(q=" ") == found()
    assert found() == [second["id"], first["id"]] and found(sort="title") == [second["id"], first["id"]]
    assert page.get("/names") == {"artists": ["Ada Byron", "Bix"], "genres": ["folk", "waltz"], "tags": ["night"]}
    before = page.get("/songs", q="")
    assert page.studio.index.rebuild() == [] and page.get("/songs", q="") == before


def test_songs_go_to_the_bin_and_come_back(page):
    song = page.song(title="Gone")
    assert page.client.delete(f"/api/songs/{song['id']}").status_code == 204
    page.get(f"/songs/{song['id']}", status=404)
    assert page.get("/songs")["total"] == 0
    back = page.post(f"/songs/{song['id']}/restore", status=200)
    assert back == {**song, "revision": back["revision"]} and back["revision"] > song["revision"]
    assert page.get("/songs", q="gone")["total"] == 1
    page.post(f"/songs/{song['id']}/restore", status=404)


def test_the_bin_is_looked_into_and_emptied(page):
    first, second = page.song(title="One"), page.song(title="Two")
    for song in (first, second):
        assert page.client.delete(f"/api/songs/{song['id']}").status_code == 204
    (page.studio.places.deleted(first["id"]) / "song.json").write_text("{")
    there = {song["id"]: song["title"] for song in page.get("/bin")["songs"]}
    assert there == {first["id"]: first["id"], second["id"]: "Two"}
    assert page.client.delete(f"/api/bin/{first['id']}").status_code == 204
    assert page.client.delete(f"/api/bin/{first['id']}").status_code == 404
    page.post(f"/songs/{second['id']}/restore", status=200)
    assert page.get("/bin") == {"songs": []} and page.client.delete(f"/api/bin/{second['id']}").status_code == 404
    assert page.get("/songs")["total"] == 1


def test_a_song_that_is_being_made_is_not_deleted(page):
    begun = page.post("/songs", {"seconds": 0.4})
    refused = page.client.delete(f"/api/songs/{begun['song']['id']}")
    assert refused.status_code == 409 and "cancel" in refused.json()["hint"]


def test_songs_are_exported_and_imported(page, tmp_path, monkeypatch):
    song = page.song(title="Away", takes=2, lyrics="far")
    (page.studio.places.song(song["id"]) / "cover.jpg").write_bytes(b"of mine")
    packed = page.get(f"/songs/{song['id']}/export")
    again = page.client.post("/api/songs/import", content=packed).json()
    assert again["id"] != song["id"] and [take["levels"] for take in again["tree"]] == [[0, 1], [0, 1]]
    with world(tmp_path / "other") as other:
        assert other.client.post("/api/songs/import", content=packed).json()["id"] == song["id"]
        assert other.get("/songs", q="far")["total"] == 1


def test_files_of_before_1980_are_exported(page):
    song = page.song()
    os.utime(page.studio.places.song(song["id"]) / "song.json", (0, 0))
    packed = page.get(f"/songs/{song['id']}/export")
    assert f"{song['id']}/song.json" in zipfile.ZipFile(bytes_io.BytesIO(packed)).namelist()
    assert not any(page.studio.places.uploads.iterdir())


def evil_zip(name: str) -> bytes:
    buffer = bytes_io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("song/song.json", "{}")
        file.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"PK\x03\x04 not a zip",
        evil_zip("../evil"),
        evil_zip("song/../../evil"),
        evil_zip("/etc/evil"),
        evil_zip("song/evil.sh"),
        evil_zip("song/a.song/../../../evil"),
        evil_zip("other/take.song/request.json"),
        evil_zip("song/take.song/request.json"),
        evil_zip("song/\u00e9").replace("\u00e9".encode(), b"\xff\xfe"),
    ],
)
def test_zip_files_that_are_no_song_are_refused(page, packed, tmp_path):
    before = sorted(path for path in tmp_path.rglob("*") if "sqlite" not in path.name)
    response = page.client.post("/api/songs/import", content=packed)
    assert response.status_code == 400 and response.json()["error"]
    assert sorted(path for path in tmp_path.rglob("*") if "sqlite" not in path.name) == before


def test_jobs_are_cancelled_and_resumed(page, monkeypatch):
    begun = page.post("/songs", {"seconds": 0.4})
    job = begun["job"]["id"]
    assert page.post(f"/jobs/{job}/cancel", status=200)["state"] == "cancelled"
    page.work()
    assert page.get(f"/songs/{begun['song']['id']}")["tree"][0]["state"] == "cancelled"
    assert page.post(f"/jobs/{job}/resume", status=200)["state"] == "queued"
    monkeypatch.setattr("orchestrion.web.worker.TOLD_EVERY_SECONDS", 0.0)
    real = page.studio.jobs.progress
    monkeypatch.setattr(page.studio.jobs, "progress", lambda *told: page.studio.jobs.cancel(job) and real(*told))
    page.work()
    assert page.get(f"/jobs/{job}")["state"] == "cancelled" and page.get(f"/jobs/{job}")["done"] > 0
    monkeypatch.setattr(page.studio.jobs, "progress", real)
    page.post(f"/jobs/{job}/resume", status=200)
    page.work()
    assert page.get(f"/songs/{begun['song']['id']}")["tree"][0]["levels"] == [0, 1]
    page.post(f"/jobs/{job}/cancel", status=409)
    assert page.get("/jobs")["jobs"][0]["id"] == job


def test_names_that_the_model_does_not_know_are_refused_at_once(page):
    assert "Biks" in page.post("/songs", {"artist": "Biks"}, status=409)["error"]
    assert "no genre" in page.post("/songs", {"genres": ["polka"]}, status=409)["error"]
    assert "no model" in page.post("/songs", {"model": "maxi"}, status=409)["error"]
    assert page.get("/songs")["total"] == 0


def test_names_are_kept_as_the_model_spells_them(page):
    song = page.song(artist="ada  BYRON", genres=["Folk", "folk"])
    (take,) = song["tree"]
    assert (take["artist"], take["genres"], song["title"]) == ("Ada Byron", ["folk"], "After Ada Byron")
    mix = {"first": "BIX", "second": "Ada byron", "share": 0.25}
    begun = page.post(path_of(song, take, "/continue"), {"seconds": 0.2, "mix": mix, "genres": ["JAZZ"]})
    later = begun["song"]["tree"][1]
    assert later["mix"] == {"first": "Bix", "second": "Ada Byron", "share": 0.25}
    assert (later["artist"], later["genres"]) == ("Bix", ["jazz"])
    assert page.get("/names")["artists"] == ["Ada Byron", "Bix"]


def test_the_queue_is_not_endless(page, monkeypatch):
    monkeypatch.setattr("orchestrion.web.jobs.MOST_WAITING", 2)
    for _ in range(2):
        page.post("/songs", {})
    assert "2 jobs are waiting" in page.post("/songs", {}, status=429)["error"]
    assert page.get("/songs")["total"] == 2


def test_what_the_worker_cannot_make_is_told_in_plain_words(page):
    begun = page.post("/songs", {"seconds": 0.0001})
    page.work()
    job = page.get(f"/jobs/{begun['job']['id']}")
    assert job["state"] == "failed" and "less than one code" in job["problem"] and job["hint"]


def test_the_map_of_labels_and_songs(page):
    assert page.get("/map") == {"state": "missing", "model": "ditty", "points": [], "left_out": 0, "job": None}
    songs = [page.song(title=f"Song {number}", seed=number) for number in range(2)]
    job = page.post("/map", status=202)
    assert page.post("/map", status=202)["id"] == job["id"] and page.get("/map")["state"] == "making"
    page.work()
    drawn = page.get("/map")
    assert drawn["state"] == "ready"
    names = {(point["kind"], point["name"]) for point in drawn["points"]}
    assert names == {
        *(("artist", name) for name in ("Ada Byron", "Bix")),
        *(("genre", name) for name in ("folk", "jazz", "waltz")),
        *(("song", song["title"]) for song in songs),
    }
    assert all(-1 <= point[axis] <= 1 for point in drawn["points"] for axis in "xy")


def test_the_map_of_another_model_is_drawn_anew(page):
    page.post("/map", status=202)
    page.work()
    assert page.get("/map")["state"] == "ready"
    page.studio.model = "another"
    assert page.get("/map")["state"] == "missing"


def test_what_a_model_learned_besides_is_a_model_to_choose(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    adapter = tiny.write_tiny_adapter(tmp_path / "runs" / "clara" / "adapter", tmp_path / "models" / "ditty")
    with world(tmp_path / "library", adapter=adapter) as page:
        page.worker.introduce()
        assert page.get("/status")["model"] == {"name": str(adapter), "state": "ready", "problem": ""}
        own, plain = page.get("/models")["models"][:2]
        assert (own["name"], own["title"], own["artists"][-1]) == (str(adapter), "clara (tiny)", "Clara")
        assert plain["name"] == "ditty" and "Clara" not in plain["artists"]
        song = page.song(artist="clara", draft=True)
        other = page.song(artist="Bix", model="ditty")
    with world(tmp_path / "library") as later:  # without the adapter: what was made with it goes on with it
        later.worker.introduce()
        assert [model["name"] for model in later.get("/models")["models"]].count(str(adapter)) == 0
        (take,) = song["tree"]
        later.post(path_of(song, take, "/refine"))
        later.post(path_of(song, take, "/continue"), {"seconds": 0.2})
        later.work()
        takes = later.get(f"/songs/{song['id']}")["tree"]
        assert [one["levels"] for one in takes] == [[0, 1], [1]] and takes[1]["artist"] == "Clara"
        for one, name in ((song, "adapter"), (other, None)):
            made = later.get(path_of(one, one["tree"][0], "/provenance"))["made"]["model"]
            assert made["name"] == "ditty" and (made["adapter"] and made["adapter"]["name"]) == name


def test_an_adapter_of_no_model_that_is_here_is_told_of(tmp_path, monkeypatch):
    quick_world(tmp_path, monkeypatch)
    for folder, problem in ((tmp_path / "adapter", "another"), (tmp_path / "models", "no adapter in")):
        if problem == "another":
            tiny.write_tiny_adapter(folder, tmp_path / "models" / "ditty")
            about = json.loads((folder / "adapter.json").read_text())
            write_json(folder / "adapter.json", {**about, "model": "ditty", "model_sha256": "0" * 64})
        with world(tmp_path / f"library-{problem}", adapter=folder) as page:
            page.worker.introduce()
            told = page.get("/status")["model"]
            assert told["state"] == "failed" and problem in told["problem"]
            assert "ditty" in [model["name"] for model in page.get("/models")["models"]]


def test_a_model_that_cannot_be_read_does_not_hide_the_others(page):
    broken = zoo.installed_folder() / "broken"
    broken.mkdir()
    (broken / "model.json").write_text("{}")
    page.worker.introduce()
    assert page.get("/status")["model"]["state"] == "ready"
    names = [model["name"] for model in page.get("/models")["models"]]
    assert "ditty" in names and "broken" not in names


def test_a_model_that_cannot_even_be_tried_is_told_of(page, monkeypatch):
    def broken(name):
        raise ValueError("of all things")

    monkeypatch.setattr(page.worker, "_jukebox", broken)
    page.worker.introduce()
    model = page.get("/status")["model"]
    assert model["state"] == "failed" and "of all things" in model["problem"]


def test_a_library_whose_own_folder_is_a_file_is_explained(tmp_path):
    (tmp_path / ".studio").write_text("not a folder")
    with pytest.raises(UserError, match="cannot write into"):
        Places(tmp_path).make()


def test_the_description_of_the_service_can_be_read(page):
    described = page.get("/openapi.json")
    names = [route["operationId"] for path in described["paths"].values() for route in path.values()]
    assert len(names) == len(set(names)) and "compose" in names
    assert json.dumps(described)
    for path, routes in described["paths"].items():
        for method, route in routes.items():
            assert route.get("description") or route.get("summary"), (method, path)
            assert "Problem" in json.dumps(route["responses"]["422"]), (method, path)


def test_a_broken_song_does_not_hide_the_others(page, tmp_path):
    song = page.song(title="Whole")
    broken = tmp_path / "library" / "broken"
    broken.mkdir()
    (broken / "song.json").write_text("{")
    (problem,) = page.studio.index.rebuild()
    assert "broken" in problem and [one["id"] for one in page.get("/songs")["songs"]] == [song["id"]]
    assert Path(broken / "song.json").exists()


def test_a_continuation_goes_on_after_its_source_was_refined(page, monkeypatch):
    song = page.song(draft=True)
    (take,) = song["tree"]
    begun = page.post(path_of(song, take, "/continue"), {"seconds": 0.4, "takes": 2})
    job = begun["job"]["id"]
    monkeypatch.setattr("orchestrion.web.worker.TOLD_EVERY_SECONDS", 0.0)
    real = page.studio.jobs.progress
    monkeypatch.setattr(page.studio.jobs, "progress", lambda *told: page.studio.jobs.cancel(job) and real(*told))
    page.work()
    monkeypatch.setattr(page.studio.jobs, "progress", real)
    assert page.get(f"/jobs/{job}")["state"] == "cancelled"
    left, other = (page.studio.places.take(song["id"], each) for each in begun["job"]["takes"])
    kept = SongFolder.open(left).codes()[1]
    shutil.rmtree(other)  # as if it had not been begun
    page.post(path_of(song, take, "/refine"))
    page.work()
    page.post(f"/jobs/{job}/resume", status=200)
    page.work()
    ended = page.get(f"/jobs/{job}")
    assert (ended["state"], ended["problem"]) == ("done", "")
    grown = takes_of(page.get(f"/songs/{song['id']}"))
    assert all(grown[each]["levels"] for each in begun["job"]["takes"])
    assert SongFolder.open(left).codes()[1][:, : kept.shape[1]].equal(kept)


def test_a_take_that_goes_on_has_the_words_of_all_of_it(page):
    song = page.song(lyrics="la la")
    (take,) = song["tree"]

    def words(**asked: object) -> str:
        begun = page.post(path_of(song, take, "/continue"), asked)
        page.work()
        (made,) = begun["job"]["takes"]
        assert page.get(f"/jobs/{begun['job']['id']}")["state"] == "done"
        return takes_of(page.get(f"/songs/{song['id']}"))[made]["lyrics"]

    assert words(seconds=0.4) == "la la"
    assert words(seconds=0.4, lyrics="la la\nlo") == "la la\nlo"
    assert words(seconds=0.4, lyrics="lo") == "la la\n\nlo"
    assert words(seconds=0.4, lyrics="") == ""
    assert words(seconds=0.1, from_seconds=0.2, lyrics="lo") == "lo"


def test_the_map_is_drawn_without_songs_that_are_gone_or_damaged(page):
    songs = [page.song(title=f"Song {number}", seed=number) for number in range(3)]
    page.post("/map", status=202)
    damaged = page.studio.audio(songs[0]["id"], songs[0]["tree"][0]["id"], None)[0]
    damaged.write_bytes(damaged.read_bytes()[:60])
    page.client.delete(f"/api/songs/{songs[1]['id']}")
    page.work()

    def drawn() -> list[str]:
        return [point["song"] for point in page.get("/map")["points"] if point["song"]]

    assert page.get("/map")["state"] == "ready" and drawn() == [songs[2]["id"]]
    page.client.delete(f"/api/songs/{songs[2]['id']}")
    assert drawn() == []


def test_a_song_can_be_heard_in_the_library_while_it_is_gone_on_with(page):
    song = page.song(takes=2)
    begun = page.post(path_of(song, song["tree"][1], "/continue"), {"seconds": 0.3})
    assert page.get("/songs")["songs"][0]["heard"] == {"take": song["tree"][1]["id"], "level": 0}
    assert page.get("/songs")["songs"][0]["seconds"] == pytest.approx(0.4)
    page.work()
    (made,) = begun["job"]["takes"]
    assert page.get("/songs")["songs"][0]["heard"] == {"take": made, "level": 1}


def test_a_song_that_began_with_sent_sound_is_made_again_from_its_record(page, tmp_path):
    (tmp_path / "hum.wav").write_bytes(wav(1.0))
    sent = page.client.post("/api/uploads", params={"name": "hum.wav"}, content=wav(1.0)).json()
    page.work()
    song = page.song(seconds=0.8, prime={"upload": sent["id"], "start_seconds": 0.2, "seconds": 0.5})
    take = song["tree"][0]
    file, _ = page.studio.audio(song["id"], take["id"], None)
    told = page.get(path_of(song, take, "/provenance"))["made"]["request"]["prime"]
    assert told == {"path": "hum.wav", "start_seconds": 0.2, "seconds": 0.5}
    page.studio.drop_upload(sent["id"])
    run = CliRunner().invoke(cli, ["songs", "replay", str(file), "--source", str(tmp_path / "hum.wav")])
    assert run.exit_code == 0 and "the same bytes" in run.output, run.output


def test_sound_after_the_tenth_minute_can_be_begun_with():
    within = PrimeIn(upload="upload-a", start_seconds=LONGEST_UPLOAD_SECONDS - 10)
    assert within.start_seconds > LONGEST_SECONDS


@pytest.mark.parametrize("first, second", [("", "Bix"), ("Bix", " ")])
def test_a_mix_is_of_two_artists(page, first, second):
    mix = {"first": first, "second": second, "share": 0.5}
    assert "two artists" in page.post("/songs", {"seconds": 0.4, "mix": mix}, status=409)["error"]


def test_a_title_is_more_than_blanks(page):
    song = page.song(title="Named")
    for title in ("", "   "):
        assert page.client.patch(f"/api/songs/{song['id']}", json={"title": title}).status_code == 422
    assert page.client.patch(f"/api/songs/{song['id']}", json={"title": " New name "}).json()["title"] == "New name"


def repacked(packed: bytes, **changes: object) -> bytes:
    """An export whose song.json says something else."""
    buffer = bytes_io.BytesIO()
    with zipfile.ZipFile(bytes_io.BytesIO(packed)) as before, zipfile.ZipFile(buffer, "w") as after:
        for name in before.namelist():
            content = before.read(name)
            if name.endswith("/song.json"):
                content = json.dumps({**json.loads(content), **changes}).encode()
            after.writestr(name, content)
    return buffer.getvalue()


def test_a_song_that_contradicts_itself_is_not_imported(page):
    song = page.song()
    packed = page.get(f"/songs/{song['id']}/export")
    for changes in ({"tags": ["a", "a"]}, {"done": 99}):
        response = page.client.post("/api/songs/import", content=repacked(packed, **changes))
        assert response.status_code == 400 and song["id"] in response.json()["error"]
    assert page.get("/songs")["total"] == 1


def test_a_full_disk_is_not_taken_for_a_bad_file(page, monkeypatch):
    packed = page.get(f"/songs/{page.song()['id']}/export")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("orchestrion.web.studio.shutil.copyfileobj", full)
    response = page.client.post("/api/songs/import", content=packed)
    assert response.status_code == 400 and "no space is left" in response.json()["error"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_told_of_where_sound_is_sent(page, monkeypatch):
    real = page.studio.begin_upload
    monkeypatch.setattr(page.studio, "begin_upload", lambda name: (real(name)[0], Path("/dev/full")))
    response = page.client.post("/api/uploads", content=wav(1.0))
    assert response.status_code == 400 and "no space is left" in response.json()["error"]
    assert not any(page.studio.places.uploads.iterdir())


def test_it_is_made_known_when_all_songs_are_indexed(page, tmp_path, caplog):
    assert page.get("/status")["indexed"] is False
    (tmp_path / "library" / "broken").mkdir()
    (tmp_path / "library" / "broken" / "song.json").write_text("{")
    page.studio.index_anew()
    assert page.get("/status")["indexed"] is True and "broken" in caplog.text
