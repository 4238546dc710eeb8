"""Writing so that a file is whole or absent, and saying plainly why it could not be written."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrion.errors import UserError

_REASONS = {
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EROFS: "the file system is read-only",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EISDIR: "it is a folder",
    errno.ENOENT: "its folder does not exist",
    errno.ENAMETOOLONG: "the name is too long",
}

_SHOWN = 32  # letters of a file's name in that of its part
_PART = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.part(\.[^.]+)?")


def explanation(error: OSError, path: Path | str, act: str) -> UserError:
    """What to tell of an OSError about `path`; `act` is what was tried, such as "write"."""
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    if act != "read":
        return UserError(f"cannot {act} {path}: {reason}", "choose another place, or make room there")
    if error.errno == errno.ENOENT:
        reason = "there is no such file"
    return UserError(f"cannot read {path}: {reason}", "check the path and its permissions")


@contextmanager
def explained(path: Path, act: str) -> Iterator[None]:
    """Turn an OSError about `path` into a UserError (`explanation`)."""
    try:
        yield
    except OSError as error:
        raise explanation(error, path, act) from error


def _token() -> str:
    """For the name of a file that no other process may write, on this machine or on another that sees the folder."""
    return f"{os.getpid()}-{secrets.token_hex(4)}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write to the yielded path; `path` then appears whole, or is left as it was.

    Raises UserError where the disk is full or the place cannot be written.
    """
    # However long a name is that the file system takes, this one is no longer.
    part = path.with_name(f".{path.name[:_SHOWN]}.{_token()}.part{path.suffix}")
    with explained(path, "write"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.touch()
            permissions = part.stat().st_mode  # of any new file here; some writers put one of their own in its place
            yield part
            part.chmod(permissions)
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def is_part(path: Path) -> bool:
    """Whether `path` has the name of a file that `replacing` was writing, which a machine without power leaves."""
    return bool(_PART.fullmatch(path.name))


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes; UserError if it cannot be read."""
    with explained(path, "read"), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def read_text(path: Path, kind: str) -> str:
    """The text in `path`, a file of this `kind`; UserError if it is missing or not text in UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read the {kind} in {path}: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the {kind} in {path} are not text in UTF-8", "save them anew, as text in UTF-8") from error


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, kind: str) -> Any:
    """The JSON value in `path`; `kind` names the file in the UserError for one that is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"there is no {kind} at {path}", "check the path") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a {kind}: it is damaged or something else", "make it anew") from error


def refuse_overwrite(path: Path, force: bool, *, by: str = "add --force") -> None:
    """Raise UserError if the file `path` exists, unless `force`; and if it is a folder, which no file replaces.

    `by` is how a person says `force`.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder", "choose another name")
    if path.exists() and not force:
        raise UserError(f"{path} exists already", f"choose another name, or {by} to replace it")


def check_writable(folder: Path) -> None:
    """Raise UserError now rather than after hours of work if files cannot be made in `folder`.

    Where it is not there yet, in the nearest folder above it that is: nothing is left behind.
    """
    with explained(folder, "write into"):
        probe = existing(folder) / f".probe-{_token()}"
        probe.write_bytes(b"")
        probe.unlink()


def make_writable(folder: Path) -> None:
    """Make `folder`; UserError where that cannot be, or no files in it."""
    with explained(folder, "write into"):
        folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder)


def existing(folder: Path) -> Path:
    """The folder, or where it is not there yet the nearest above it that is."""
    return folder if folder.exists() else existing(folder.parent)


def check_space(folder: Path, num_bytes: int) -> None:
    """Raise UserError if fewer than `num_bytes` are free where `folder` is or will be."""
    free = shutil.disk_usage(existing(folder)).free
    if free < num_bytes:
        raise UserError(
            f"{folder} needs about {num_bytes / 1e6:.0f} MB and {free / 1e6:.0f} MB are free there",
            "make room, or choose another place",
        )
