"""The Studio as a process: it is killed in the middle of a job, and everything is there after the restart."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest

import tiny
from orchestrion.checkpoints import zoo
from orchestrion.errors import UserError
from orchestrion.library.folder import SongFolder
from orchestrion.web import server
from orchestrion.web.jobs import Jobs
from orchestrion.web.places import Places

PATIENCE_SECONDS = 120.0


@contextmanager
def studio(library: Path, models: Path, *, errors: bool = False):
    command = [sys.executable, "-m", "orchestrion", "studio", "--no-browser", "--port", "0", "--threads", "1"]
    environment = {**os.environ, zoo.MODELS_VARIABLE: str(models)}
    with subprocess.Popen(
        [*command, "--library", str(library), "--model", "ditty"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if errors else subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "the Studio did not say where it is"
            yield process, found[0].rstrip("/")
        finally:
            process.kill()


def ask(address: str, path: str, body: object = None) -> dict:
    request = urllib.request.Request(
        f"{address}/api{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        told: dict = json.loads(answer.read())
    return told


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "this never came to pass"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="processes are killed by SIGKILL")
def test_a_job_goes_on_after_all_was_killed(tmp_path):
    models, library = tmp_path / "models", tmp_path / "library"
    tiny.write_tiny_model(models / "ditty")
    asked = {"title": "Long", "seconds": 20.0, "seed": 5, "takes": 2}
    with studio(library, models) as (process, address):
        wait_for(lambda: ask(address, "/status")["model"]["state"] == "ready")
        begun = ask(address, "/songs", asked)
        waiting = ask(address, "/songs", {"title": "Next", "seconds": 0.4})
        job = f"/jobs/{begun['job']['id']}"
        wait_for(lambda: ask(address, job)["done"] > 100)
        assert ask(address, job)["state"] == "running"
        process.send_signal(signal.SIGKILL)
    with studio(library, models) as (_, address):
        assert ask(address, "/songs?q=long")["total"] == 1
        wait_for(lambda: ask(address, f"/jobs/{waiting['job']['id']}")["state"] == "done")
        assert ask(address, job)["state"] == "done"
        song = ask(address, f"/songs/{begun['song']['id']}")
        assert [take["levels"] for take in song["tree"]] == [[0, 1], [0, 1]]
        again = ask(address, "/songs", {**asked, "title": "Unbroken"})
        wait_for(lambda: ask(address, f"/jobs/{again['job']['id']}")["state"] == "done")
    for one, other in zip(begun["job"]["takes"], again["job"]["takes"], strict=True):
        broken, whole = (
            SongFolder.open(library / begun_of["song"]["id"] / f"{take}.song").codes()
            for begun_of, take in ((begun, one), (again, other))
        )
        assert all(broken[level].equal(whole[level]) for level in range(2))


@pytest.mark.slow
def test_a_worker_that_dies_is_begun_again(tmp_path):
    models, library = tmp_path / "models", tmp_path / "library"
    tiny.write_tiny_model(models / "ditty")
    with studio(library, models) as (process, address):
        wait_for(lambda: ask(address, "/status")["model"]["state"] == "ready")
        begun = ask(address, "/songs", {"seconds": 10.0})
        job = f"/jobs/{begun['job']['id']}"
        wait_for(lambda: ask(address, job)["done"] > 50)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        if not children.exists():
            pytest.skip("the system does not say which processes are whose")
        lists = [task / "children" for task in Path(f"/proc/{process.pid}/task").iterdir()]
        workers = [int(one) for file in lists for one in file.read_text().split()]
        assert len(workers) == 1
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: ask(address, job)["state"] == "done")
        assert ask(address, job)["problem"] == ""


def test_of_a_worker_that_cannot_begin_one_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    monkeypatch.setattr(server, "_AGAIN_SECONDS", 0.01)
    places = Places(tmp_path / "library")
    places.make()
    jobs = Jobs(places.jobs)
    jobs.make_known("model", {"state": "ready", "problem": ""})  # as it was when the Studio was stopped
    with server.worker_beside(places, jobs, "ditty"):
        wait_for(lambda: "the worker ended 3 times" in jobs.fact("model")["problem"])
        assert jobs.fact("model")["state"] != "ready"
    jobs.close()


def test_a_library_is_open_once(tmp_path, capsys):
    places = Places(tmp_path / "library")
    places.make()
    lock = places.lock_server()
    with pytest.raises(UserError, match="another Studio"):
        places.lock_server()
    lock.release()
    places.lock_server().release()


@pytest.mark.parametrize(
    ("model", "adapter", "problem"),
    [
        ("minni", None, "no model called 'minni': did you mean mini"),
        ("mini", "nothing", "there is no adapter in nothing"),
    ],
)
def test_a_model_that_is_not_there_is_refused_before_anything_is_made(tmp_path, model, adapter, problem):
    given = {"host": None, "port": 0, "token": None, "browser": False, "threads": None}
    with pytest.raises(UserError, match=problem):
        server.serve(tmp_path / "library", model=model, adapter=adapter and Path(adapter), **given)
    assert not (tmp_path / "library").exists()


def test_a_library_that_holds_no_database_is_told_of(tmp_path, monkeypatch):
    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    def serve() -> None:
        server.serve(tmp_path, model="mini", host=None, port=0, token=None, browser=False, threads=None)

    with monkeypatch.context() as patched:
        patched.setattr(Jobs, "make_known", full)
        with pytest.raises(UserError, match=r"jobs\.sqlite: database or disk is full"):
            serve()
    Places(tmp_path).jobs.unlink()
    Places(tmp_path).jobs.mkdir()
    with pytest.raises(UserError, match=r"jobs\.sqlite: unable to open"):
        serve()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM that a process hears of")
def test_a_worker_that_is_stopped_leaves_no_half_of_a_file(tmp_path):
    script = f"""
import time
from pathlib import Path
from orchestrion.files import replacing
from orchestrion.web.worker import end_in_order
end_in_order()
with replacing(Path({str(tmp_path / "codes")!r})):
    print("writing", flush=True)
    time.sleep({PATIENCE_SECONDS})
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == "writing\n"
        assert len(list(tmp_path.iterdir())) == 1
        worker.terminate()
        assert worker.wait(PATIENCE_SECONDS) == 0
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_studio_whose_page_is_open_stops_in_silence(tmp_path):
    models, library = tmp_path / "models", tmp_path / "library"
    tiny.write_tiny_model(models / "ditty")
    with studio(library, models, errors=True) as (process, address):
        wait_for(lambda: ask(address, "/status")["model"]["state"] == "ready")
        with urllib.request.urlopen(f"{address}/api/events", timeout=30) as stream:
            assert stream.readline().startswith(b"event: status")
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE_SECONDS) is not None
        # "Cancel 1 running task(s)": the stream of the page was waited for until no patience was left.
        assert "Traceback" not in (told := process.stderr.read()) and "Cancel" not in told, told
