"""Files of the published layout, opened without reading the weights: every tensor is a view of the mapped file."""

import mmap
import pickle
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch._weights_only_unpickler import Unpickler, get_globals_in_pkl
from torch.storage import TypedStorage

from orchestrion.errors import UserError
from orchestrion.files import explained

_ZIP = b"PK\x03\x04"
# What a file begins with in torch's serialisation before it wrote zip archives: its mark and its version.
_OLD = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2) + pickle.dumps(1001, protocol=2)
_OF_WEIGHTS = {
    f"torch.{kind}Storage" for kind in ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Byte", "Bool")
}
_OF_WEIGHTS |= {"collections.OrderedDict", "torch._utils._rebuild_tensor_v2"}
"""All that an old file of weights names; torch's `weights_only` allows more."""
_AGAIN = "get the file again from where it was published"

StorageOf = Callable[[str, torch.dtype, int], UntypedStorage]
"""The memory of a piece of the file, from its key, type and number of elements."""


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
    tensors = {
        key.removeprefix("module."): tensor.detach()
        for key, tensor in model.items()
        if isinstance(key, str) and key.isprintable() and _is_weight(tensor)
    }
    if len(tensors) < len(model):
        raise UserError(f"{path} has entries that are not tensors, or the same twice", _AGAIN)
    step = content.get("step")
    return Checkpoint(path, hyperparameters, tensors, step if isinstance(step, int) else None)


def _is_weight(tensor: Any) -> bool:
    """Whether this is a plain tensor that repeats nothing, of which a small file could claim any size."""
    return (
        type(tensor) in (Tensor, nn.Parameter)
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and not (tensor.is_nested or tensor.is_quantized)
        and tensor.numel() * tensor.itemsize <= tensor.untyped_storage().nbytes()
    )


def _open_zip(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _more_than_weights(path, "things that torch does not load as weights") from error
    except Exception as error:  # there is no end to what a damaged archive may raise
        raise _damaged(path) from error


def _open_old(path: Path) -> Any:
    """What `torch.load` would give, which can only read such a file whole.

    After its mark there are pickles of the writing machine's integer widths, of the content with a reference in place
    of each stored piece, and of the order in which the pieces follow. The content is unpickled twice: where a piece
    lies follows from the types of those before it, and only the content tells these.
    """
    if sys.byteorder != "little":
        raise UserError(f"{path} has its bytes in another order than this machine", "import it on another machine")
    try:
        with path.open("rb") as file:
            if file.read(len(_OLD)) != _OLD:
                raise _damaged(path)
            # Private to this process, and writable only because torch complains about memory that is not.
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            _unpickle(file)
            start = file.tell()
            pieces: dict[str, tuple[torch.dtype, int]] = {}

            def note(key: str, dtype: torch.dtype, num_elements: int) -> UntypedStorage:
                if pieces.setdefault(key, (dtype, num_elements)) != (dtype, num_elements):
                    raise ValueError(f"two sizes of {key}")
                return UntypedStorage(num_elements * dtype.itemsize, device="meta")  # type: ignore[no-untyped-call]

            _unpickle(file, note)
            places = _places(file, _unpickle(file), pieces, len(mapped))

            def place(key: str, dtype: torch.dtype, num_elements: int) -> UntypedStorage:
                num_bytes = num_elements * dtype.itemsize
                # torch refuses a view that reaches beyond it, and cannot make it larger.
                return torch.frombuffer(
                    mapped, dtype=torch.uint8, count=num_bytes, offset=places[key]
                ).untyped_storage()

            file.seek(start)
            return _unpickle(file, place)
    except pickle.UnpicklingError as error:
        raise _more_than_weights(path, str(error)) from error
    except UserError:
        raise
    except Exception as error:  # nor to what a damaged pickle may raise
        raise _damaged(path) from error


def _unpickle(file: IO[bytes], storage_of: StorageOf | None = None) -> Any:
    """The next pickle in `file`, read by what torch reads weights with; it refers to pieces only with `storage_of`."""
    start = file.tell()
    named: set[str] = get_globals_in_pkl(file)
    if forbidden := named - (_OF_WEIGHTS if storage_of else set()):
        raise pickle.UnpicklingError(", ".join(repr(name) for name in sorted(forbidden)))
    file.seek(start)
    unpickler: Any = Unpickler(file, encoding="utf-8")

    def load(reference: Any) -> TypedStorage:
        assert storage_of is not None
        _, kind, key, _, num_elements, part = reference
        dtype = kind.dtype
        if type(key) is not str or type(num_elements) is not int or num_elements < 1 or part is not None:
            raise ValueError("a reference that no file of weights has")
        storage = storage_of(key, dtype, num_elements)
        return TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)  # type: ignore[no-untyped-call]

    if storage_of:
        unpickler.persistent_load = load
    return unpickler.load()


def _places(file: IO[bytes], keys: Any, pieces: dict[str, tuple[torch.dtype, int]], size: int) -> dict[str, int]:
    """Where in the file every piece is: each stands after its length, in the order of `keys`."""
    if not isinstance(keys, list) or len(keys) != len(pieces):
        raise ValueError(f"{len(pieces)} pieces, not as listed")
    places: dict[str, int] = {}
    position = file.tell()
    for key in keys:
        dtype, num_elements = pieces.pop(key)
        file.seek(position)
        if struct.unpack("<q", file.read(8)) != (num_elements,):
            raise ValueError(f"another length of {key}")
        places[key] = position + 8
        position += 8 + num_elements * dtype.itemsize
        if position > size:
            raise ValueError(f"{position} bytes of {size}")
    return places


def _more_than_weights(path: Path, what: str) -> UserError:
    return UserError(f"{path} is refused, it asks for more than weights: {what}", _AGAIN)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is cut short, damaged, or not a checkpoint of torch", _AGAIN)
