"""What the outer layer of WAV and Ogg files tells, which the decoders keep silent about."""

import struct
import zlib
from pathlib import Path

_UNKNOWN_LENGTH = (0, 0xFFFFFFFF)  # what programs writing into a pipe leave as the length
_MAYBE_UNKNOWN = 0x7FFF0000  # from here on it is the most that some of them dare to say, in whole blocks
_OGG_PAGE = struct.Struct("<4sBBQIIIB")  # magic, version, flags, position, serial, number, checksum, segments
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_LARGEST_PAGE = _OGG_PAGE.size + 255 + 255 * 255


def is_cut_short(path: Path) -> bool:
    """Whether a WAV or Ogg file ends inside a piece that it has begun; other files are not judged here."""
    with path.open("rb") as file:
        magic = file.read(4)
        size = path.stat().st_size
        if magic == b"RIFF":
            position = 12
            while position + 8 <= size:
                file.seek(position)
                name, length = struct.unpack("<4sI", file.read(8))
                if name == b"data":
                    known = length not in _UNKNOWN_LENGTH and (length < _MAYBE_UNKNOWN or size > length // 2)
                    return known and position + 8 + length > size
                position += 8 + length + length % 2
            return True
        if magic == b"OggS":
            file.seek(max(0, size - 2 * _LARGEST_PAGE))
            return not _ends_with_a_page(file.read())
    return False


def set_ogg_serial(path: Path, serial: int) -> None:
    """Give the one stream of an Ogg file this serial number: encoders draw it by chance."""
    data = bytearray(path.read_bytes())
    position = 0
    while position < len(data):
        stop = position + _page_length(data, position)
        struct.pack_into("<I", data, position + 14, serial)
        struct.pack_into("<I", data, position + 22, 0)
        struct.pack_into("<I", data, position + 22, _ogg_checksum(bytes(data[position:stop])))
        position = stop
    path.write_bytes(data)


def _ends_with_a_page(tail: bytes) -> bool:
    position = tail.rfind(b"OggS")
    while position >= 0:
        if len(tail) >= position + _OGG_PAGE.size and position + _page_length(tail, position) == len(tail):
            return True
        position = tail.rfind(b"OggS", 0, position)
    return False


def _page_length(data: bytes | bytearray, position: int) -> int:
    segments = data[position + _OGG_PAGE.size - 1]
    lengths = data[position + _OGG_PAGE.size : position + _OGG_PAGE.size + segments]
    return _OGG_PAGE.size + segments + sum(lengths)


def _ogg_checksum(page: bytes) -> int:
    """CRC-32 as Ogg has it (RFC 3533): the polynomial of zlib, but most significant bit first, starting from
    0.

    Reversing the bits of every byte and of the answer makes one into the other.
    """
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
