"""A run folder that explains itself: configuration, data, versions."""

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from orchestrion.audio.io import SUFFIXES_READ
from orchestrion.config import Settings, as_read_now, plain
from orchestrion.config.training import HOW_SHARED, WHEN_LOOKED_AT
from orchestrion.errors import UserError
from orchestrion.files import check_writable, explained, read_json, write_json
from orchestrion.nn.ranks import rank
from orchestrion.processes import locked
from orchestrion.train.checkpoint import steps_done
from orchestrion.train.log import FINDINGS, METRICS
from orchestrion.version import __version__

RUN, RUN_FORMAT = "run.json", 1
WRITTEN = (
    "checkpoint",
    "checkpoint.old",
    METRICS,
    FINDINGS,
    "tensorboard",
    "samples",
    "model",
    "before.json",
    "prior.json",
    "prior.safetensors",
    "recognizer.json",
    "recognizer.safetensors",
)
"""What runs of any kind write beside it."""

_LOCK = "run.lock"


def digest(items: Iterable[str]) -> str:
    """A short fingerprint of a list of strings, in any order."""
    hasher = hashlib.blake2b(digest_size=8)
    for item in sorted(items):
        hasher.update(item.encode() + b"\n")
    return hasher.hexdigest()


def weights_digest(model: nn.Module) -> str:
    """A short fingerprint of a model's weights."""
    hasher = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        hasher.update(name.encode() + tensor.float().cpu().numpy().tobytes())
    return hasher.hexdigest()


def check_run(
    folder: Path, kind: str, config: Settings, data: dict[str, Any] | None = None, *, new_end: bool = False
) -> None:
    """Raise UserError for a folder that cannot be written, or holds another run or what one would replace.

    Without the `data` as far as that shows: before the music is decoded it spares hours that would be for nothing.
    With `new_end` the run may have been begun with another number of steps, unless it is finished.
    Nothing is left behind.
    """
    _moved(folder, kind, config, data, new_end=new_end)


def _moved(
    folder: Path, kind: str, config: Settings, data: dict[str, Any] | None, *, new_end: bool
) -> dict[str, int] | None:
    """How the end of the run in `folder` is moved, None where it is not; UserError as by `check_run`."""
    check_writable(folder)
    moved: dict[str, int] | None = None
    path = folder / RUN
    if path.exists():
        before = read_run(folder)
        before["config"] = as_read_now(type(config), before["config"], str(path))
        for part, asked in _described(kind, config, data).items():
            now, then = json.loads(json.dumps(asked)), before.get(part)
            if part == "config":
                now, then = _what(now), _what(before[part])
                steps = then["training"].get("steps")
                if new_end and now["training"]["steps"] != steps:
                    then["training"]["steps"] = now["training"]["steps"]
                    moved = _end(folder, steps, now["training"]["steps"])
            if then != now:
                raise UserError(
                    f"{folder} holds a run with another {part}{_first_difference(then, now)}",
                    "choose another folder, or the settings in its run.json (--steps moves its end)",
                )
        return moved
    music = next((file for file in folder.glob("*") if file.suffix.lower() in SUFFIXES_READ), None)
    if music:
        raise UserError(f"{folder} is a folder of music, with {music.name}", "choose a new folder for the run")
    for name in WRITTEN:
        if (folder / name).exists():
            raise UserError(f"{folder} is not the folder of a run, and holds {name} already", "choose another folder")
    return None


def _end(folder: Path, before: Any, steps: int) -> dict[str, int]:
    """The end of the run in `folder` after so many steps in place of those `before`; UserError where it cannot be.

    A finished run stays what it is: others may have begun with it, or know its codes.
    """
    done = steps_done(folder)
    if done == before:
        raise UserError(
            f"the run in {folder} is finished, after {done} steps",
            f"leave --steps as it was, or begin another run with its weights (--begin {folder})",
        )
    if done >= steps:
        raise UserError(f"the run in {folder} has taken {done} steps already", "give more --steps")
    return {"at": done, "from": before, "to": steps}


def begin_run(folder: Path, kind: str, config: Settings, data: dict[str, Any], *, new_end: bool = False) -> None:
    """Write `run.json`, or check that the run already in `folder` is this very one, so that it can go on.

    `data` describes the music by content, such as its digest. With `new_end` a run that is not finished ends after as
    many steps as are wanted now, its rates follow from there on, and `run.json` tells of it. UserError as by
    `check_run`.
    """
    moved = _moved(folder, kind, config, data, new_end=new_end)
    path = folder / RUN
    if path.exists():
        if moved:
            about = read_run(folder)
            about["config"]["training"]["steps"] = moved["to"]
            with held(folder):
                write_json(path, about | {"ends_moved": [*about.get("ends_moved", []), moved]})
        return
    versions = {
        "orchestrion": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    write_json(path, _described(kind, config, data) | {"versions": versions})


def _described(kind: str, config: Settings, data: dict[str, Any] | None) -> dict[str, Any]:
    described = {"format": RUN_FORMAT, "kind": kind, "config": plain(config)}
    return described if data is None else {**described, "data": data}


def read_run(folder: Path) -> dict[str, Any]:
    """What the run in `folder` is said to be; UserError unless that has settings, those of a training among them."""
    path = folder / RUN
    about = read_json(path, "run description")
    config = about.get("config") if isinstance(about, dict) else None
    if not isinstance(config, dict) or not isinstance(config.get("training"), dict):
        raise UserError(f"{path} describes no run: it is damaged or something else", "choose another folder")
    return dict(about)


def _what(config: dict[str, Any]) -> dict[str, Any]:
    """Settings without those of how the work is shared and looked at, which may change while a run goes on."""
    free = {*HOW_SHARED, *WHEN_LOOKED_AT}
    training = {name: value for name, value in config["training"].items() if name not in free}
    return {**config, "training": training}


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Rank 0 keeps other processes from training in `folder` meanwhile; UserError where one trains there already.

    The lock goes with the process that holds it, however that ends; its file stays.
    """
    if rank() > 0:
        yield
        return
    with explained(folder, "write into"):
        lock = locked(
            folder / _LOCK, f"another process trains in {folder}", "wait for its end, or give another folder with --run"
        )
    try:
        yield
    finally:
        lock.release()


def begun_with(folder: Path) -> dict[str, Any]:
    """The configuration of the run in `folder`, as plain data; empty where there is none yet."""
    return dict(read_run(folder)["config"]) if (folder / RUN).exists() else {}


def _first_difference(before: Any, now: Any, where: str = "") -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                return _first_difference(before.get(key), now.get(key), f"{where}.{key}".lstrip("."))
    return f" ({where}: {str(before)[:60]} there, {str(now)[:60]} here)" if where else ""
