"""Where a library keeps what, and who may have it open."""

from pathlib import Path

from filelock import FileLock

from orchestrion.files import make_writable
from orchestrion.library.tree import check_id
from orchestrion.processes import locked

OWN = ".studio"
"""What is not a song: jobs, index, uploads, map, bin."""


class Places:
    """The folders of a library. Ids become paths here and nowhere else, once they are seen to be ids."""

    def __init__(self, library: Path) -> None:
        self.library = library.expanduser().absolute()
        self.own = self.library / OWN

    def make(self) -> None:
        """Make what is missing; UserError where that cannot be."""
        for folder in (self.library, self.own, self.bin, self.uploads):
            make_writable(folder)

    @property
    def jobs(self) -> Path:
        return self.own / "jobs.sqlite"

    @property
    def index(self) -> Path:
        return self.own / "index.sqlite"

    @property
    def bin(self) -> Path:
        return self.own / "bin"

    @property
    def uploads(self) -> Path:
        return self.own / "uploads"

    @property
    def map(self) -> Path:
        return self.own / "map.json"

    def song(self, song: str) -> Path:
        return self.library / check_id(song)

    def take(self, song: str, take: str) -> Path:
        return self.song(song) / f"{check_id(take)}.song"

    def deleted(self, song: str) -> Path:
        return self.bin / check_id(song)

    def upload(self, upload: str) -> Path:
        return self.uploads / check_id(upload)

    def lock_server(self) -> FileLock:
        """Held while a server has the library open; UserError where another one has."""
        return locked(
            self.own / "server.lock",
            f"another Studio has {self.library} open",
            "use that one, or give another folder with --library",
        )

    def worker_lock(self) -> FileLock:
        """Held by the worker: one that lost its server lets go of it before the next begins."""
        return FileLock(self.own / "worker.lock")
