"""Checkpoints of a run: whole or absent, checked when they are read, the one before kept (docs/formats.md).

Tensors that are whole on every rank are written by rank 0; sharded ones by all, each its own shards, with
`torch.distributed.checkpoint` as safetensors. Either is read on any number of ranks. `Saver` writes them, if asked
while the training goes on.
"""

import logging
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed import ProcessGroup
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor

from orchestrion.errors import UserError
from orchestrion.files import explained, file_sha256, read_json, write_json
from orchestrion.nn.ranks import num_ranks, rank, wait_for_all
from orchestrion.train.parallel import PATIENCE, like

logger = logging.getLogger(__name__)

CHECKPOINT_FORMAT = 2
DESCRIPTION = "checkpoint.json"
_SHARDS = "shards"

State = dict[str, dict[str, Tensor]]
"""Named tensors, by what they belong to: model, average, optimizer, recipe."""


class Saver:
    """Saves one checkpoint of a run after another, on all ranks together.

    With `behind` the tensors are copied to the processor's memory, and a thread writes them while the training goes on;
    it has a process group of its own. Where that fails, the next call says so.
    """

    def __init__(self, folder: Path, *, behind: bool) -> None:
        self.folder = folder
        self._group: ProcessGroup | None = None
        self._mesh: DeviceMesh | None = None
        self._thread = ThreadPoolExecutor(1) if behind else None
        self._writing: Future[None] | None = None
        if behind and num_ranks() > 1:
            self._group = dist.new_group(backend="gloo", timeout=PATIENCE)
            self._mesh = init_device_mesh("cpu", (num_ranks(),))

    def save(self, step: int, state: State) -> None:
        """Begin to save, after the one before is written; UserError where that or this cannot be written."""
        self.wait()
        if self._thread is None:
            save(self.folder, step, state)
        else:
            self._writing = self._thread.submit(save, self.folder, step, self._copy(state), self._group)

    def look(self) -> None:
        """UserError where the last checkpoint could not be written; does not wait."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Return when all is written; UserError where it cannot be."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait, and end the thread."""
        try:
            self.wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()

    def _copy(self, state: State) -> State:
        """What this rank may have to write of `state`, as it is now."""
        if rank() > 0 and not _is_sharded(state):
            return state  # rank 0 writes all of it
        return {kind: {name: self._copied(tensor) for name, tensor in own.items()} for kind, own in state.items()}

    def _copied(self, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, DTensor):
            return tensor.detach().to("cpu", copy=True)
        assert self._mesh is not None, "a sharded tensor of one process"
        local = tensor.to_local().detach().to("cpu", copy=True)
        return DTensor.from_local(
            local, self._mesh, tensor.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
        )


def save(folder: Path, step: int, state: State, group: ProcessGroup | None = None) -> None:
    """Write `checkpoint/` whole: beside the old one first, which then becomes `checkpoint.old/`.

    The ranks meet in `group`. UserError where it cannot be written; what stood there before stands then.
    """
    fresh, current, old = (folder / name for name in ("checkpoint.new", "checkpoint", "checkpoint.old"))
    with explained(folder, "save the checkpoint in"):
        try:
            if rank() == 0:
                shutil.rmtree(fresh, ignore_errors=True)
                fresh.mkdir(parents=True)
            wait_for_all(group)
            hashes = _write(fresh, {kind: tensors for kind, tensors in state.items() if tensors}, group)
        except (
            SafetensorError,
            CheckpointException,
        ) as error:  # how a full disk is reported
            raise UserError(f"cannot save the checkpoint in {folder}: {error}", "make room there") from error
        if rank() == 0:
            write_json(
                fresh / DESCRIPTION,
                {"format": CHECKPOINT_FORMAT, "step": step, "ranks": num_ranks(), "sha256": hashes},
            )
            if (current / DESCRIPTION).exists():
                shutil.rmtree(old, ignore_errors=True)
                current.rename(old)
            shutil.rmtree(current, ignore_errors=True)
            fresh.rename(current)
        wait_for_all(group)


def _write(folder: Path, state: State, group: ProcessGroup | None) -> dict[str, str]:
    """Write all tensors; gives the hash of every file, on rank 0."""
    if not _is_sharded(state):
        if rank() > 0:
            return {}
        for kind, tensors in state.items():
            save_file({k: v.contiguous() for k, v in tensors.items()}, folder / f"{kind}.safetensors")
        return {f"{kind}.safetensors": file_sha256(folder / f"{kind}.safetensors") for kind in state}
    flat = {f"{kind}/{name}": tensor for kind, tensors in state.items() for name, tensor in tensors.items()}
    with _quiet():
        writer = HuggingFaceStorageWriter(str(folder / _SHARDS), save_distributed=True)
        save_shards(flat, storage_writer=writer, process_group=group)
    mine = sorted((folder / _SHARDS).glob(f"shard-{rank() + 1:05d}-*.safetensors"))
    own = {f"{_SHARDS}/{path.name}": file_sha256(path) for path in mine}
    found: list[Any] = [None] * num_ranks()
    dist.all_gather_object(found, own, group=group)
    return {name: sha256 for one in found for name, sha256 in one.items()}


def _is_sharded(state: State) -> bool:
    return any(isinstance(tensor, DTensor) for tensors in state.values() for tensor in tensors.values())


def restore(folder: Path, state: State) -> tuple[int, State, list[str]] | None:
    """The last checkpoint in `folder` that is as it was written: its step, its tensors, and what was wrong with others.

    Where that is `checkpoint.old/`, what stands in the way is moved to `checkpoint.damaged/`: what is saved next would
    take the place of the only good one otherwise.
    `state` shows for each tensor how it is sharded; tensors that it lacks, such as those of an optimizer that has not
    stepped, follow the parameter in their name. None where there is no checkpoint; UserError where there are some and
    all are damaged.
    """
    problems: list[str] = []
    last, old = folder / "checkpoint", folder / "checkpoint.old"
    for current in (last, old):
        if not current.exists():
            continue
        problem = _damage(current)
        if problem is None:
            try:
                found = _read(current, state)
            except (SafetensorError, CheckpointException, OSError, RuntimeError, KeyError, ValueError) as error:
                problem = f"{current} cannot be read: {error}"
            else:
                if problems:
                    _put_aside(last)
                return (*found, problems)
        problems.append(problem)
    if problems:
        raise UserError(
            f"the checkpoint in {folder} is damaged or belongs to another configuration ({'; '.join(problems)})",
            f"move {folder} away to start anew",
        )
    return None


def steps_done(folder: Path) -> int:
    """The steps after which the checkpoint was written that a run in `folder` goes on from; 0 where none is whole."""
    for current in (folder / "checkpoint", folder / "checkpoint.old"):
        if _seen_damage(current) is None:
            return int(read_json(current / DESCRIPTION, "checkpoint")["step"])
    return 0


def _put_aside(damaged: Path) -> None:
    """On rank 0, when no rank reads it any more."""
    wait_for_all()
    if rank() == 0:
        aside = damaged.with_name("checkpoint.damaged")
        with explained(damaged, "move"):
            shutil.rmtree(aside, ignore_errors=True)
            damaged.rename(aside)


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, seen by its hashes; the same on every rank."""
    found: list[Any] = [None]
    if rank() == 0:
        found = [_seen_damage(folder)]
    if num_ranks() > 1:
        dist.broadcast_object_list(found, src=0)
    return None if found[0] is None else str(found[0])


def _seen_damage(folder: Path) -> str | None:
    try:
        about = read_json(folder / DESCRIPTION, "checkpoint")
        if about["format"] not in (1, CHECKPOINT_FORMAT):
            return f"{folder} is of format {about['format']}, which this program does not read"
        for name, sha256 in about.get("sha256", {}).items():
            if not (folder / name).is_file():
                return f"{folder / name} is missing"
            if file_sha256(folder / name) != sha256:
                return f"{folder / name} is not what was written"
        int(about["step"])
    except (UserError, KeyError, TypeError, ValueError, AttributeError) as error:
        return f"{folder / DESCRIPTION} cannot be used: {error}"
    return None


def _read(folder: Path, state: State) -> tuple[int, State]:
    step = int(read_json(folder / DESCRIPTION, "checkpoint")["step"])
    if (folder / _SHARDS).is_dir():
        return step, _read_shards(folder / _SHARDS, state)
    found: State = {kind: {} for kind in state}
    for path in sorted(folder.glob("*.safetensors")):
        tensors = load_file(path)
        found[path.stem] = {
            name: like(tensor, _example(path.stem, name, tensor, state)) for name, tensor in tensors.items()
        }
    return step, found


def _read_shards(folder: Path, state: State) -> State:
    """Each rank reads of all shards what it is to hold."""
    with _quiet():
        about = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
        flat: dict[str, Any] = {}
        for key, one in about.items():
            assert isinstance(one, TensorStorageMetadata), f"{key} is no tensor"
            kind, _, name = key.partition("/")
            example = _example(kind, name, torch.empty(one.size, dtype=one.properties.dtype), state)
            flat[key] = torch.empty_like(example, dtype=one.properties.dtype)
        load_shards(flat, storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=num_ranks() == 1)
    found: State = {kind: {} for kind in state}
    for key, tensor in flat.items():
        kind, _, name = key.partition("/")
        found.setdefault(kind, {})[name] = tensor
    return found


def _example(kind: str, name: str, tensor: Tensor, state: State) -> Tensor:
    """A tensor that shows how this one is held: itself in `state`, the parameter in its name, or as it is."""
    if kind == "optimizer":
        name = name.partition(".")[2].rpartition(".")[0]
        own = state["model"].get(name)
        return tensor if own is None or own.shape != tensor.shape else own
    return state.get(kind, {}).get(name, tensor)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says about a checkpoint that one process writes or reads."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
