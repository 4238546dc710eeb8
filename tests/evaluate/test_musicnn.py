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


def weights_by_chance(rng):
    """What the network reads, of a few channels and in few numbers, by the names of the checkpoint."""
    fronts, middle, width = ((7, 86, 2), (7, 38, 3), (12, 1, 2), (6, 1, 2), (3, 1, 2)), 4, 5
    heard = sum(channels for _, _, channels in fronts)
    kernels = [(frames, bands, 1, channels) for frames, bands, channels in fronts]
    kernels += [(7, heard, 1, middle), (7, middle, 1, middle), (7, middle, 1, middle)]
    pooled = 2 * (heard + 3 * middle)
    found = {"dense/kernel": (pooled, width), "dense/bias": (width,)}
    for number, shape in enumerate(kernels):
        name = f"conv2d_{number}" if number else "conv2d"
        found |= {f"{name}/kernel": shape, f"{name}/bias": shape[3:]}
    for number, size in enumerate((1, *(shape[3] for shape in kernels), pooled, width)):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        found |= {f"{name}/{part}": (size,) for part in ("gamma", "beta", "moving_mean", "moving_variance")}
    return {name: 0.1 + 0.3 * torch.rand(shape, generator=rng) for name, shape in found.items()}


@pytest.fixture(params=["by chance", "installed"])
def network(request, tmp_path, rng):
    if request.param == "by chance":
        write_checkpoint(tmp_path, weights_by_chance(rng))
        return musicnn.open_musicnn(tmp_path)
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


# From librosa 0.11.0, filters.mel(sr=16000, n_fft=512, n_mels=96): some bands, each from the first bin that is not 0.
LIBROSA = {
    0: (1, (0.03199922,)),
    5: (5, (0.0007928621, 0.03120636)),
    20: (20, (0.003171448, 0.02882777)),
    40: (42, (0.01487791, 0.0148537)),
    60: (79, (0.004132087, 0.008986572, 0.01093231, 0.006231039, 0.001529766)),
    80: (149, (0.0007898785, 0.002135872, 0.003481866, 0.004827859, 0.006173853, 0.005532193, 0.00422868, 0.002925167,
               0.001621653, 0.0003181401)),
    95: (241, (0.0004649186, 0.0009792201, 0.001493522, 0.002007823, 0.002522125, 0.003036427, 0.003550728, 0.00398456,
               0.00348649, 0.00298842, 0.00249035, 0.00199228, 0.00149421, 0.0009961401, 0.00049807)),
}  # fmt: skip


def test_mel_bands_are_those_of_librosa():
    bands = musicnn.mel_bands()
    for number, (first, values) in LIBROSA.items():
        expected = torch.zeros(bands.shape[1])
        expected[first : first + len(values)] = torch.tensor(values)
        torch.testing.assert_close(bands[number], expected, rtol=0, atol=1e-7)
    assert float(bands.sum()) == pytest.approx(3.071914, abs=1e-5)


def test_every_three_seconds_become_a_vector(network, rng):
    audio = 0.1 * torch.randn(1, 10 * musicnn.SAMPLE_RATE, generator=rng)
    found = musicnn.embed(network, audio, musicnn.SAMPLE_RATE)
    assert found.shape == (3, network.width) and found.isfinite().all()
    longer = musicnn.embed(network, torch.cat([audio, audio], 1), musicnn.SAMPLE_RATE)
    torch.testing.assert_close(longer[:3], found, rtol=1e-5, atol=1e-4)
    assert not torch.allclose(found[0], found[1], rtol=1e-5, atol=1e-4), "each is of its own 3 seconds"


def same(image, kernel, bias):
    """A convolution as TensorFlow's "same" in time and "valid" over bands, frame by frame."""
    frames, bands = kernel.shape[:2]
    before = (frames - 1) // 2
    made = torch.zeros(image.shape[0], image.shape[1] - bands + 1, kernel.shape[3])
    for frame in range(len(made)):
        for tap in range(frames):
            place = frame + tap - before
            if 0 <= place < len(image):
                windows = image[place].unfold(0, bands, 1)
                made[frame] += windows @ kernel[tap, :, 0]
    return (made + bias).relu()


def test_the_network_is_what_its_weights_say(tmp_path, rng):
    weights = weights_by_chance(rng)
    write_checkpoint(tmp_path, weights)
    mel = torch.rand(1, 20, musicnn.NUM_BANDS, generator=rng)

    def normed(values, number):  # of the last axis
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        gamma, beta, mean, variance = (
            weights[f"{name}/{part}"] for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (values - mean) / (variance + 1e-3).sqrt() + beta

    def heard(image, number):
        name = f"conv2d_{number}" if number else "conv2d"
        return normed(same(image, weights[f"{name}/kernel"], weights[f"{name}/bias"]), number + 1)

    image = normed(mel[0][..., None], 0)[..., 0]
    here = torch.cat([heard(image, number).amax(1) for number in range(5)], 1)
    kept = [here]
    for number in range(5, 8):
        found = heard(here, number)[:, 0]
        here = found if number == 5 else found + here
        kept.append(here)
    whole = torch.cat(kept, 1)
    pooled = normed(torch.stack((whole.amax(0), whole.mean(0)), 1).flatten(), 9)
    expected = normed((pooled @ weights["dense/kernel"] + weights["dense/bias"]).relu(), 10)
    torch.testing.assert_close(musicnn.open_musicnn(tmp_path)(mel)[0], expected, rtol=1e-4, atol=1e-4)


def test_what_is_too_short_is_refused(network):
    with pytest.raises(UserError, match="3 seconds"):
        musicnn.embed(network, torch.zeros(1, 1000), musicnn.SAMPLE_RATE)
