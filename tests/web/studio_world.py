"""A Studio with a tiny model, whose worker works when a test says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import tiny
from orchestrion.checkpoints import zoo
from orchestrion.web.app import create_app
from orchestrion.web.places import Places
from orchestrion.web.studio import Studio
from orchestrion.web.worker import Worker

BASE = "http://localhost:8765"


def quick_world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write_tiny_model(folder / "models" / "ditty")
    monkeypatch.setenv(zoo.MODELS_VARIABLE, str(folder / "models"))
    monkeypatch.setattr("orchestrion.jukebox.song.draw", lambda path, *_, **__: path.write_bytes(b"\x89PNG picture"))


class World:
    """The service of a library, spoken to as a page does; with `adapter` as the model, beside the tiny one."""

    def __init__(self, library: Path, adapter: Path | None = None, **options: Any) -> None:
        model, beside = ("ditty", None) if adapter is None else (str(adapter), "ditty")
        self.studio = Studio(Places(library), model)
        self.worker = Worker(self.studio.places, self.studio.jobs, model, beside=beside)
        self.app = create_app(self.studio, **options)
        self.client = TestClient(self.app, base_url=BASE)

    def work(self) -> None:
        """Do all that waits, and look at it as a running service does."""
        while self.worker.work():
            pass
        for job in self.studio.jobs.latest():
            if job.song:
                self.studio.refreshed(job.song)

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        return self._told(self.client.get(f"/api{path}", params=query), status)

    def post(self, path: str, body: Any = None, status: int = 201, **more: Any) -> Any:
        return self._told(self.client.post(f"/api{path}", json=body, **more), status)

    def song(self, **asked: Any) -> dict[str, Any]:
        """A new song, made."""
        begun = self.post("/songs", {"seconds": 0.4, "artist": "Bix", "seed": 3, **asked})
        self.work()
        job = self.get(f"/jobs/{begun['job']['id']}")
        assert job["state"] == "done", job
        found: dict[str, Any] = self.get(f"/songs/{begun['song']['id']}")
        return found

    def close(self) -> None:
        self.client.close()
        self.studio.close()

    @staticmethod
    def _told(response: Any, status: int) -> Any:
        assert response.status_code == status, (response.status_code, response.text)
        return response.json() if response.headers.get("content-type") == "application/json" else response.content


@contextmanager
def world(library: Path, **options: Any) -> Iterator[World]:
    made = World(library, **options)
    try:
        yield made
    finally:
        made.close()
