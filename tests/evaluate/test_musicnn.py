"""The weights are read and the network computes; what needs the package `musicnn` is left out where it is absent."""

import struct

import pytest
import torch

from orchestrion.errors import UserError
from orchestrion.evaluate import musicnn
from orchestrion.evaluate.tensorflow import read_checkpoint


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def block(entries):
    """Entries as a block without shared beginnings, and the byte that says it is not compressed."""
    body = b"".join(varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    return body + struct.pack("<II", 0, 1), b"\0" + bytes(4)


def write_checkpoint(folder, tensors):
    """A checkpoint of float32 tensors as TensorFlow lays it out."""
    data, entries = b"", [(b"", b"\x08\x01")]
    for name, values in sorted(tensors.items()):
        raw = values.numpy().tobytes()
        shape = b"".join(b"\x12" + varint(len(size)) + size for size in (b"\x08" + varint(n) for n in values.shape))
        entry = b"\x08\x01\x12" + varint(len(shape)) + shape + b"\x20" + varint(len(data)) + b"\x28" + varint(len(raw))
        entries.append((name.encode(), entry))
        data += raw
    body, tail = block(entries)
    index, index_tail = block([(b"z", varint(0) + varint(len(body)))])
    start = len(body + tail)
    footer = varint(0) * 2 + varint(start) + varint(len(index))
    table = body + tail + index + index_tail + footer.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    (folder / ".index").write_bytes(table)
    (folder / ".data-00000-of-00001").write_bytes(data)


@pytest.fixture
def network():
    try:
        return musicnn.open_musicnn()
    except UserError as error:
        pytest.skip(str(error))


def test_a_checkpoint_is_read_as_it_was_written(tmp_path, rng):
    tensors = {"dense/kernel": torch.randn(3, 200, generator=rng), "dense/bias": torch.randn(7, generator=rng)}
    write_checkpoint(tmp_path, tensors)
    found = read_checkpoint(tmp_path)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("kept", [0, 10, 60])
def test_a_checkpoint_cut_short_is_refused(tmp_path, kept):
    write_checkpoint(tmp_path, {"dense/bias": torch.ones(4)})
    index = tmp_path / ".index"
    index.write_bytes(index.read_bytes()[:kept])
    with pytest.raises(UserError, match="install it anew"):
        read_checkpoint(tmp_path)


def test_numbers_that_are_missing_are_noticed(tmp_path):
    write_checkpoint(tmp_path, {"dense/bias": torch.ones(4)})
    (tmp_path / ".data-00000-of-00001").write_bytes(bytes(8))
    with pytest.raises(UserError, match="install it anew"):
        read_checkpoint(tmp_path)


def test_a_folder_without_weights_says_so(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        musicnn.open_musicnn(tmp_path)


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch):
    def absent(name):
        raise musicnn.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(musicnn.importlib.metadata, "files", absent)
    with pytest.raises(UserError, match="pip install --no-deps musicnn"):
        musicnn.installed()


def test_mel_bands_have_equal_area_and_stand_in_order():
    bands = musicnn.mel_bands()
    wide = bands[50:]  # narrower triangles are sampled too coarsely to show their area
    spacing = musicnn.SAMPLE_RATE / musicnn.N_FFT
    torch.testing.assert_close(wide.sum(1) * spacing, torch.ones(len(wide)), rtol=0, atol=0.05)
    assert (bands.argmax(1).diff() >= 0).all()


def test_mel_bands_are_those_of_librosa():
    librosa = pytest.importorskip("librosa")
    other = librosa.filters.mel(sr=musicnn.SAMPLE_RATE, n_fft=musicnn.N_FFT, n_mels=musicnn.NUM_BANDS)
    torch.testing.assert_close(musicnn.mel_bands(), torch.from_numpy(other), rtol=0, atol=1e-7)


def test_every_three_seconds_become_a_vector(network, rng):
    audio = 0.1 * torch.randn(1, 10 * musicnn.SAMPLE_RATE, generator=rng)
    found = musicnn.embed(network, audio, musicnn.SAMPLE_RATE)
    assert found.shape == (3, network.width) and found.isfinite().all()
    longer = musicnn.embed(network, torch.cat([audio, audio], 1), musicnn.SAMPLE_RATE)
    torch.testing.assert_close(longer[:3], found, rtol=0, atol=1e-4)


def test_what_is_too_short_is_refused(network):
    with pytest.raises(UserError, match="3 seconds"):
        musicnn.embed(network, torch.zeros(1, 1000), musicnn.SAMPLE_RATE)
