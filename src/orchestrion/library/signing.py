"""Signed manifests of provenance inside audio files: C2PA 2.x, through c2pa-python (the extra `provenance`).

Nothing here uses the network: no time stamp is asked for, no manifest is fetched.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrion.config import plain
from orchestrion.errors import UserError
from orchestrion.files import explained, replacing
from orchestrion.library.provenance import Made

SUFFIXES = (".wav", ".flac", ".mp3")
"""What can be signed of the formats that we write."""

_MADE_LABEL = "orchestrion.made"
_OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
_YEARS = 10


@dataclass(frozen=True)
class Credentials:
    """A certificate chain and its private key, both as PEM, and the algorithm that they are for (C2PA's name)."""

    certificate: bytes
    key: bytes
    algorithm: str


@dataclass(frozen=True)
class Signature:
    """What the manifest of a file says. `state` is C2PA's: Valid (by someone unknown), Trusted or Invalid."""

    state: str
    problems: tuple[str, ...]
    signer: str
    made: dict[str, Any] | None


def self_signed() -> Credentials:
    """A new key, certified by itself: who reads the signature sees that nothing was changed, not who signed."""
    _c2pa()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key, start = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC) - timedelta(minutes=5)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "orchestrion"),
            x509.NameAttribute(NameOID.COMMON_NAME, "self-signed"),
        ]
    )
    refused = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign")
    usage = dict.fromkeys((*refused, "crl_sign", "encipher_only", "decipher_only"), False)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Credentials(certificate.public_bytes(pem), private, "es256")


def read_credentials(certificate: Path, key: Path) -> Credentials:
    """Someone's own certificate chain and private key from PEM files; UserError for what cannot sign."""
    _c2pa()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    with explained(certificate, "read"):
        chain = certificate.read_bytes()
    with explained(key, "read"):
        private = key.read_bytes()
    try:
        loaded = serialization.load_pem_private_key(private, None)
    except (ValueError, TypeError) as error:
        raise UserError(f"{key} is not a private key in PEM without a password", "give another file") from error
    if isinstance(loaded, ec.EllipticCurvePrivateKey):
        algorithm = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}.get(loaded.curve.name)
    elif isinstance(loaded, rsa.RSAPrivateKey):
        algorithm = "ps256"
    else:
        algorithm = "ed25519" if isinstance(loaded, ed25519.Ed25519PrivateKey) else None
    if algorithm is None:
        raise UserError(f"C2PA has no signature for the key in {key}", "use one of P-256, Ed25519 or RSA")
    return Credentials(chain, private, algorithm)


def check_suffix(path: Path) -> None:
    """Raise UserError for a format that has no place for a manifest."""
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{str(path)!r} cannot be signed", f"C2PA knows {', '.join(SUFFIXES)} of what is written here")


def sign(audio: Path, output: Path, made: Made, credentials: Credentials, date: str) -> None:
    """Write `audio` to `output` with a signed manifest that says what made it, on `date`; the music stays as it is.

    UserError for credentials that do not fit together and for formats without a place for a manifest.
    """
    check_suffix(output)
    c2pa = _c2pa()
    created = {
        "action": "c2pa.created",
        "when": date,
        "digitalSourceType": made.digitalSourceType,
        "softwareAgent": {"name": "orchestrion", "version": made.orchestrion},
    }
    manifest = {
        "claim_generator_info": [{"name": "orchestrion", "version": made.orchestrion}],
        "title": output.name,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
            {"label": _MADE_LABEL, "data": plain(made)},
        ],
    }
    with replacing(output) as part:
        part.unlink()  # the library makes it itself
        info = c2pa.C2paSignerInfo(credentials.algorithm, credentials.certificate, credentials.key, None)
        try:
            with (
                c2pa.Signer.from_info(info) as signer,
                c2pa.Context(c2pa.Settings.from_dict(_OFFLINE)) as context,
                c2pa.Builder(manifest, context) as builder,
            ):
                builder.sign_file(str(audio), str(part), signer)
        except c2pa.C2paError as error:
            raise UserError(f"{audio} cannot be signed: {error}", "check the certificate and its key") from error


def read_signature(audio: Path) -> Signature | None:
    """The manifest in a file, checked against its bytes; None for a file without one."""
    if audio.suffix.lower() not in SUFFIXES:
        return None
    c2pa = _c2pa()
    try:
        with c2pa.Context(c2pa.Settings.from_dict(_OFFLINE)) as context:
            reader = c2pa.Reader.try_create(str(audio), context=context)
            if reader is None:
                return None
            with reader:
                manifest, state = reader.get_active_manifest() or {}, str(reader.get_validation_state())
                failures = (reader.get_validation_results() or {}).get("activeManifest", {}).get("failure", [])
    except c2pa.C2paError.Io:  # no file of its format: nothing that could be signed
        return None
    except c2pa.C2paError as error:
        return Signature("Invalid", (str(error),), "", None)
    about = {assertion["label"]: assertion.get("data") for assertion in manifest.get("assertions", [])}
    return Signature(
        state,
        tuple(str(failure.get("code")) for failure in failures),
        str(manifest.get("signature_info", {}).get("issuer", "")),
        about.get(_MADE_LABEL),
    )


def is_installed() -> bool:
    """Whether signatures can be made and read here."""
    try:
        _c2pa()
    except UserError:
        return False
    return True


def _c2pa() -> Any:
    try:
        import c2pa  # an extra: everything else works without it
    except ImportError as error:
        raise UserError("signatures need c2pa-python", 'install it: pip install "orchestrion[provenance]"') from error
    return c2pa
