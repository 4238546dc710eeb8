"""Files of the published layout, opened without reading the weights: every tensor is a view of the mapped file."""

import mmap
import pickle
import struct
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from orchestrion.errors import UserError
from orchestrion.files import explained

_ZIP = b"PK\x03\x04"
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of torch's serialisation before it wrote zip archives
_AGAIN = "get the file again from where it was published"


@dataclass(frozen=True)
class Checkpoint:
    """One published file: its hyperparameters, and its tensors by their published names, without "module."."""

    path: Path
    hyperparameters: dict[str, Any]
    tensors: dict[str, Tensor]
    step: int | None


def open_checkpoint(path: Path) -> Checkpoint:
    """Map a `.pth.tar` file of torch's old or new (zip) serialisation.

    UserError for a file that is missing, cut short or something else, and for one that asks for more than weights and
    plain values: nothing that such a file names is ever run.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}", "check the path")
    with explained(path, "read"), path.open("rb") as file:
        zipped = file.read(len(_ZIP)) == _ZIP
    content = _open_zip(path) if zipped else _open_old(path)
    model, hyperparameters = (content.get(name) if isinstance(content, dict) else None for name in ("model", "hps"))
    if not isinstance(model, dict) or not isinstance(hyperparameters, dict):
        raise UserError(f"{path} is not a published checkpoint: it has no 'model' and 'hps'", "give another file")
    tensors = {str(key).removeprefix("module."): tensor for key, tensor in model.items()}
    strange = [key for key, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if strange or len(tensors) < len(model):
        raise UserError(f"{path} has entries that are not tensors, or the same twice: {strange[:5]}", _AGAIN)
    step = content.get("step")
    return Checkpoint(path, hyperparameters, tensors, step if isinstance(step, int) else None)


def _open_zip(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _more_than_weights(path, "things that torch does not load as weights") from error
    except Exception as error:  # there is no end to what a damaged archive may raise
        raise _damaged(path) from error


class _Forbidden(Exception):
    """The file names something that is not on the list."""


@dataclass(frozen=True)
class _Storage:
    key: str
    dtype: torch.dtype
    first: int = 0
    """Elements of the stored piece before this one."""


@dataclass(frozen=True)
class _View:
    """A tensor as the file describes it."""

    storage: _Storage
    first: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def _view(storage: Any, first: Any, shape: Any, stride: Any, *_: Any) -> _View:
    return _View(storage, first, shape, stride)


_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _view,
    ("torch", "FloatStorage"): torch.float32,
    ("torch", "HalfStorage"): torch.float16,
    ("torch", "BFloat16Storage"): torch.bfloat16,
    ("torch", "DoubleStorage"): torch.float64,
    ("torch", "LongStorage"): torch.int64,
    ("torch", "IntStorage"): torch.int32,
    ("torch", "ByteStorage"): torch.uint8,
    ("torch", "BoolStorage"): torch.bool,
}


class _Unpickler(pickle.Unpickler):
    """Lets through what a file of weights is made of and refuses the rest, as torch does with `weights_only`.

    torch itself can only read such a file whole; this one puts a description in place of each tensor.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise _Forbidden(f"{module}.{name}")
        return _ALLOWED[module, name]

    def persistent_load(self, saved: Any) -> _Storage:
        kind, dtype, key, _device, _num_elements, part = saved
        if kind != "storage":
            raise _Forbidden(str(kind))
        return _Storage(key, dtype, part[1] if part else 0)


def _open_old(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            # Private to this process, and writable only because torch complains about memory that is not.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            if _Unpickler(file).load() != _MAGIC or _Unpickler(file).load() != _PROTOCOL:
                raise _damaged(path)
            _Unpickler(file).load()  # widths of integers on the machine that wrote it
            content = _Unpickler(file).load()
            places = _places(file, _Unpickler(file).load(), _dtypes(content), len(mapped))
        model = content.get("model") if isinstance(content, dict) else None
        if isinstance(model, dict):
            for key, view in model.items():
                model[key] = _mapped(view, mapped, places) if isinstance(view, _View) else view
    except _Forbidden as error:
        raise _more_than_weights(path, str(error)) from error
    except UserError:
        raise
    except Exception as error:  # nor to what a damaged pickle may raise
        raise _damaged(path) from error
    return content


def _dtypes(content: Any) -> dict[str, torch.dtype]:
    """The type of every stored piece that a tensor anywhere in `content` is a view of."""
    found: dict[str, torch.dtype] = {}
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if isinstance(item, _View):
            found[item.storage.key] = item.storage.dtype
        elif isinstance(item, dict):
            waiting += item.values()
        elif isinstance(item, (list, tuple)):
            waiting += item
    return found


def _places(file: IO[bytes], keys: Any, dtypes: dict[str, torch.dtype], size: int) -> dict[str, tuple[int, int]]:
    """Offset in bytes and number of elements of every piece: each stands after its length, in the order of `keys`."""
    places: dict[str, tuple[int, int]] = {}
    position = file.tell()
    for key in keys:
        file.seek(position)
        (num_elements,) = struct.unpack("<q", file.read(8))
        places[key] = (position + 8, num_elements)
        position += 8 + num_elements * dtypes[key].itemsize
        if num_elements < 0 or position > size:
            raise ValueError(f"{position} bytes of {size}")
    return places


def _mapped(view: _View, mapped: mmap.mmap, places: dict[str, tuple[int, int]]) -> Tensor:
    offset, num_elements = places[view.storage.key]
    if not num_elements:
        return torch.empty(view.shape, dtype=view.storage.dtype)
    piece = torch.frombuffer(mapped, dtype=view.storage.dtype, count=num_elements, offset=offset)
    return piece.as_strided(view.shape, view.stride, view.storage.first + view.first)


def _more_than_weights(path: Path, what: str) -> UserError:
    return UserError(f"{path} is refused, it asks for more than weights: {what}", _AGAIN)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is cut short, damaged, or not a checkpoint of torch", _AGAIN)
