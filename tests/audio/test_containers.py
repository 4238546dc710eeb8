"""What WAV and Ogg files tell about themselves."""

import struct

import pytest
import torch

from orchestrion.audio import containers, io


def test_a_whole_file_is_not_cut_short_and_its_parts_are(tmp_path):
    for suffix in (".wav", ".ogg"):
        path = tmp_path / f"sound{suffix}"
        io.write(path, torch.rand(1, 20_000, generator=torch.Generator().manual_seed(0)) - 0.5, 22_050)
        assert not containers.is_cut_short(path)
        whole = path.read_bytes()
        for length in (40, len(whole) // 2, len(whole) - 2):
            path.write_bytes(whole[:length])
            assert containers.is_cut_short(path)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 0x7FFFF000, 0x7FFF0000])
def test_a_wav_written_into_a_pipe_does_not_know_its_length(tmp_path, length):
    path = tmp_path / "piped.wav"
    io.write(path, torch.full((1, 100), 0.5), 22_050)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"data") + 4, length)
    path.write_bytes(data)
    assert not containers.is_cut_short(path)
    assert io.read(path, 22_050, 1).shape == (1, 100)


def test_a_great_wav_that_lacks_its_end_is_cut_short(tmp_path):
    path = tmp_path / "great.wav"
    io.write(path, torch.zeros(1, 100), 22_050)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"data") + 4, 0x7FFFF000)
    path.write_bytes(data)
    with path.open("rb+") as file:
        file.truncate(0x7FFF0000)  # sparse: it takes no room
    assert containers.is_cut_short(path)


def test_a_new_serial_keeps_the_checksums_right(tmp_path):
    """libvorbis drops pages whose checksum is wrong, so the sound would be gone."""
    path = tmp_path / "sound.ogg"
    io.write(path, torch.sin(torch.arange(44_100) * 0.05)[None] / 2, 22_050)
    containers.set_ogg_serial(path, serial=77)
    assert struct.unpack_from("<I", path.read_bytes(), 14) == (77,)
    assert io.read(path, 22_050, 1).abs().max() > 0.4
