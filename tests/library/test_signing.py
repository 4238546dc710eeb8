import builtins
from pathlib import Path

import pytest
import torch

from orchestrion.audio import io
from orchestrion.config import plain
from orchestrion.errors import UserError
from orchestrion.library import signing
from orchestrion.library.provenance import Made, SongModel, read_made

needs_c2pa = pytest.mark.skipif(not signing.is_installed(), reason="c2pa-python is not here: the extra `provenance`")

MADE = Made(
    orchestrion="0.1.0",
    model=SongModel(name="tiny", sha256="0" * 64, codec_sha256="1" * 64),
    request={"seconds": 30.0, "artist": "Zoë", "seed": 2**63 - 1, "sampling": [{"temperature": 0.98, "top_k": None}]},
    level=0,
)
DATE = "2026-01-01T00:00:00+00:00"


def signed(suffix: str, credentials: signing.Credentials | None = None) -> Path:
    audio = 0.2 * torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    io.write(Path("a" + suffix), audio, 8000, comment=MADE.tag)
    signing.sign(Path("a" + suffix), Path("b" + suffix), MADE, credentials or signing.self_signed(), DATE)
    return Path("b" + suffix)


@needs_c2pa
@pytest.mark.parametrize("suffix", signing.SUFFIXES)
def test_what_is_signed_is_read_back_and_neither_sound_nor_tags_change(suffix):
    path = signed(suffix)
    found = signing.read_signature(path)
    assert found and found.state == "Valid" and found.made == plain(MADE)
    assert found.problems == ("signingCredential.untrusted",) and "orchestrion" in found.signer
    assert read_made(path) == MADE
    assert torch.equal(io.read(path, 8000, 1), io.read(Path("a" + suffix), 8000, 1))
    assert signing.read_signature(Path("a" + suffix)) is None


@needs_c2pa
@pytest.mark.parametrize("suffix", signing.SUFFIXES)
@pytest.mark.parametrize("content", [b"", b"hello"])
def test_what_is_no_audio_has_no_signature(suffix, content):
    Path("a" + suffix).write_bytes(content)
    assert signing.read_signature(Path("a" + suffix)) is None


@needs_c2pa
@pytest.mark.parametrize("suffix", signing.SUFFIXES)
def test_a_changed_byte_breaks_the_signature(suffix):
    path = signed(suffix)
    unsigned, data = Path("a" + suffix).read_bytes(), bytearray(path.read_bytes())
    place = data.find(unsigned[-600:-500])  # inside the sound
    assert place > 0
    data[place] ^= 1
    path.write_bytes(data)
    found = signing.read_signature(path)
    assert found and found.state == "Invalid" and "assertion.dataHash.mismatch" in found.problems


@needs_c2pa
def test_ones_own_certificate_signs():
    own = signing.self_signed()
    Path("own.pem").write_bytes(own.certificate)
    Path("own.key").write_bytes(own.key)
    assert signing.read_credentials(Path("own.pem"), Path("own.key")) == own
    found = signing.read_signature(signed(".wav", own))
    assert found and found.state == "Valid"


@needs_c2pa
def test_what_cannot_sign_is_refused_and_leaves_nothing():
    one, other = signing.self_signed(), signing.self_signed()
    with pytest.raises(UserError, match="cannot be signed"):
        signed(".wav", signing.Credentials(b"no certificate", other.key, "es256"))
    assert not Path("b.wav").exists() and not list(Path().glob(".*"))
    Path("own.key").write_text("no key")
    Path("own.pem").write_bytes(one.certificate)
    with pytest.raises(UserError, match="not a private key"):
        signing.read_credentials(Path("own.pem"), Path("own.key"))


@needs_c2pa
@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_formats_without_a_place_for_a_signature_are_refused(suffix):
    with pytest.raises(UserError, match="cannot be signed"):
        signed(suffix)


def test_without_the_extra_the_message_says_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **named):
        if name == "c2pa":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert not signing.is_installed()
    with pytest.raises(UserError) as refused:
        signing.self_signed()
    assert 'pip install "orchestrion[provenance]"' in refused.value.hint
