"""Reading the tensors of a TensorFlow checkpoint without TensorFlow.

A checkpoint is a file of plain numbers, `NAME.data-00000-of-00001`, and a table that says what lies where,
`NAME.index`: blocks of keys and values as in LevelDB, the values protocol buffers (`BundleEntryProto`).
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from orchestrion.errors import UserError
from orchestrion.files import explained

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_FLOAT32 = 1  # TensorFlow's number for the type
# Fields of BundleEntryProto, of the shape in it, and of a dimension of the shape.
_DTYPE, _SHAPE, _SHARD, _OFFSET, _SIZE = 1, 2, 3, 4, 5
_DIMENSION, _DIMENSION_SIZE = 2, 1

_Fields = dict[int, list[int | bytes]]


def read_checkpoint(folder: Path, name: str = "") -> dict[str, Tensor]:
    """The float32 tensors of a checkpoint in one shard, by their names; others, such as counters, are left out.

    Raises UserError for files that are missing, cut short or packed in a way that is not read here.
    """
    index, data = folder / f"{name}.index", folder / f"{name}.data-00000-of-00001"
    with explained(index, "read"):
        table, numbers = index.read_bytes(), data.read_bytes()
    try:
        return _tensors(table, numbers)
    except (IndexError, struct.error, ValueError, KeyError) as error:
        raise UserError(f"{index} is no checkpoint that can be read: {error}", "install it anew") from error


def _tensors(table: bytes, numbers: bytes) -> dict[str, Tensor]:
    footer = table[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("its end is missing")
    place = _varint(footer, _varint(footer, 0)[1])[1]  # the first two numbers place the unused meta block
    tensors = {}
    for _, handle in _entries(table, *_handle(footer, place)):
        for name, value in _entries(table, *_handle(handle, 0)):
            entry = _fields(value)
            if not name or _number(entry, _DTYPE) != _FLOAT32:  # the entry without a name describes the whole
                continue
            if _number(entry, _SHARD):
                raise ValueError("it is in several shards")
            start, size = _number(entry, _OFFSET), _number(entry, _SIZE)
            values = np.frombuffer(numbers, "<f4", size // 4, start)
            tensors[name.decode()] = torch.from_numpy(values.astype(np.float32).reshape(_shape(entry)))
    return tensors


def _shape(entry: _Fields) -> list[int]:
    (shape,) = entry.get(_SHAPE, [b""])
    assert isinstance(shape, bytes)
    dimensions = _fields(shape).get(_DIMENSION, [])
    return [_number(_fields(each), _DIMENSION_SIZE) for each in dimensions if isinstance(each, bytes)]


def _number(fields: _Fields, field: int) -> int:
    (value,) = fields.get(field, [0])
    if isinstance(value, bytes):
        raise ValueError(f"field {field} is not a number")
    return value


def _handle(data: bytes, place: int) -> tuple[int, int]:
    """Where a block lies: offset and size."""
    offset, place = _varint(data, place)
    return offset, _varint(data, place)[0]


def _entries(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; a key is kept as what differs from the key before it."""
    if table[offset + size]:
        raise ValueError("it is compressed")
    block = table[offset : offset + size]
    (num_restarts,) = struct.unpack("<I", block[-4:])
    end, place, key = size - 4 - 4 * num_restarts, 0, b""
    while place < end:
        shared, place = _varint(block, place)
        added, place = _varint(block, place)
        length, place = _varint(block, place)
        key = key[:shared] + block[place : place + added]
        place += added
        yield key, block[place : place + length]
        place += length


def _fields(message: bytes) -> _Fields:
    """The fields of a protocol buffer by number, messages within it as bytes."""
    found: _Fields = {}
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        field, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value, place = _varint(message, place)
        elif wire == 2:
            length, place = _varint(message, place)
            value, place = message[place : place + length], place + length
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            value, place = message[place : place + length], place + length
        else:
            raise ValueError(f"wire type {wire}")
        found.setdefault(field, []).append(value)
    return found


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place after it."""
    number = shift = 0
    while True:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, place
