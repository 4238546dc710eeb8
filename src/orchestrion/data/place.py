"""Where the files of a data set lie: in a folder, or in an object store that a folder mirrors."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrion.errors import UserError
from orchestrion.files import replacing, write_text

MIRROR_BYTES = 50 * 2**30
"""So much of an object store is kept here; beyond that the files that were not used for longest go."""
_MAKE_ROOM_TO = 0.9
_LOOK_AFTER = 0.02
_SHARD = ".safetensors"
_OWNER = "codec.txt"


def is_address(place: Path | str) -> bool:
    """Whether a place is the address of an object store, such as s3://bucket/codes, not a folder."""
    return isinstance(place, str) and "://" in place


class DataFolder:
    """The files of a data set, by their names.

    `place` is a folder, or an address that fsspec knows (s3://, gs://, az://, hf://, …): files are then fetched into
    `folder`, by default below XDG_CACHE_HOME, when they are asked for, and those written there are sent off by
    `publish`. Several processes may share it. UserError where nothing serves such an address.
    """

    def __init__(self, place: Path | str, *, mirror: Path | None = None, most_bytes: int = MIRROR_BYTES) -> None:
        self.place = place
        self._most_bytes = most_bytes
        self._added = 0
        self._files: Any = None
        self._names: set[str] | None = None
        if is_address(place):
            self._files, self._root = _connected(str(place))
            self.folder = mirror or _mirror(str(place))
        else:
            self.folder = Path(place)

    def fetch(self, name: str, *, anew: bool = False) -> Path:
        """The file, here; `anew` where it may have changed. UserError where an object store does not give it."""
        path = self.folder / name
        if self._files is None:
            return path
        if not anew and _touched(path):
            return path
        with replacing(path) as part, self._reached(name):
            self._files.get_file(f"{self._root}/{name}", str(part))
        self._make_room(path)
        return path

    def keep_for(self, codec_hash: str) -> None:
        """Drop what a mirror holds from another codec: the address was written anew since."""
        if self._files is None:
            return
        owner = self.folder / _OWNER
        if owner.exists() and owner.read_text() != codec_hash:
            for path in self.folder.glob("*.*"):
                if path.name not in (_OWNER, "index.json", "codec.json") and not path.name.startswith("."):
                    path.unlink(missing_ok=True)
        write_text(owner, codec_hash)

    def has(self, name: str) -> bool:
        """Whether the file is there; of an object store as it was when first asked, or asked after `look_again`."""
        if self._files is None:
            return (self.folder / name).exists()
        if self._names is None:
            with self._reached():
                try:
                    listed = self._files.ls(self._root, detail=False)
                except FileNotFoundError:  # nothing was written there yet
                    listed = []
            self._names = {str(path).rpartition("/")[2] for path in listed}
        return name in self._names

    def look_again(self) -> None:
        """Others may have written since."""
        self._names = None
        if self._files is not None:
            self._files.invalidate_cache(self._root)

    def publish(self, name: str) -> None:
        """Send a file that was written in `folder` where it belongs."""
        if self._files is None:
            return
        with self._reached(name):
            self._files.makedirs(self._root, exist_ok=True)
            self._files.put_file(str(self.folder / name), f"{self._root}/{name}")
        if self._names is not None:
            self._names.add(name)
        self._make_room(self.folder / name)

    @contextmanager
    def _reached(self, name: str = "") -> Iterator[None]:
        """Turn whatever an object store raises into a UserError: each has errors of its own."""
        try:
            yield
        except UserError:
            raise
        except FileNotFoundError as error:
            raise UserError(f"{self.place} has no {name}", "check the address") from error
        except Exception as error:
            raise UserError(
                f"{self.place} cannot be reached: {error or type(error).__name__}", "check the address and who you are"
            ) from error

    def _make_room(self, fresh: Path) -> None:
        """Look how much there is, of all processes, after each share of the limit that this one has added."""
        if fresh.suffix != _SHARD:
            return
        self._added += fresh.stat().st_size
        if self._added < _LOOK_AFTER * self._most_bytes:
            return
        self._added = 0
        kept = sorted(self._kept())
        total = sum(size for _, size, _ in kept)
        for _, size, path in kept if total > self._most_bytes else ():
            if total <= _MAKE_ROOM_TO * self._most_bytes:
                return
            if path != fresh:
                path.unlink(missing_ok=True)
                total -= size

    def _kept(self) -> list[tuple[float, int, Path]]:
        """When each shard was used last, its bytes, its path."""
        found = []
        for path in self.folder.glob(f"*{_SHARD}"):
            try:
                about = path.stat()
            except FileNotFoundError:  # another process made room
                continue
            found.append((about.st_mtime, about.st_size, path))
        return found


def _touched(path: Path) -> bool:
    """Whether a file is there; it then counts as used now."""
    try:
        os.utime(path)
    except FileNotFoundError:  # perhaps another process made room
        return False
    return True


def _connected(address: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        files, root = url_to_fs(address)
    except ImportError as error:
        raise UserError(f"{address} cannot be reached: {error}", "install what it names with pip") from error
    except ValueError as error:
        raise UserError(f"{address} cannot be reached: {error}", "use an address such as s3://bucket/folder") from error
    return files, str(root).rstrip("/")


def _mirror(address: str) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "orchestrion" / "codes" / hashlib.blake2b(address.encode(), digest_size=8).hexdigest()
