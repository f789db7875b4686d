"""Ed25519 keys, signatures over stored bytes, and the folder of public keys that a site trusts."""

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from prism_mri.card.limits import MAX_KEY_FILE_BYTES, MAX_TRUSTED_KEYS
from prism_mri.errors import InputError, SignatureError
from prism_mri.files import explain_os_error

PRIVATE_SUFFIX = "-private.pem"
PUBLIC_SUFFIX = "-public.pem"
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

_logger = logging.getLogger(__name__)


def generate_key_pair(out: Path) -> tuple[Path, Path]:
    """Make a signing key pair; nothing is ever overwritten.

    Args:
        out: folder and stem: ``keys/guys`` gives ``keys/guys-private.pem`` and
            ``keys/guys-public.pem``. The public file's name is the site's own, so that many sites'
            files fit in one trust folder.

    Returns:
        Path of the private key (PKCS8 PEM, mode 0600) and of the public key (SubjectPublicKeyInfo
        PEM).

    Raises:
        InputError: one of the files exists, or cannot be written.
    """
    if not out.name or out.is_dir():
        raise InputError(f"{out} is a folder: give folder and name, such as keys/guys")
    private_path = out.with_name(out.name + PRIVATE_SUFFIX)
    public_path = out.with_name(out.name + PUBLIC_SUFFIX)
    for path in (private_path, public_path):
        if path.exists():
            raise InputError(f"{path} exists and a key is never overwritten: choose another name")
    key = Ed25519PrivateKey.generate()
    private_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write_new(private_path, private_pem, mode=0o600)
    try:
        _write_new(public_path, public_pem, mode=0o644)
    except InputError:
        private_path.unlink()
        raise
    return private_path, public_path


def read_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a private key that :func:`generate_key_pair` wrote.

    Raises:
        InputError: missing, no PEM, behind a passphrase, or no Ed25519 private key.
    """
    content = _read_key_file(path)
    if path.stat().st_mode & 0o077:
        _logger.warning("the private key can be read by other users: run chmod 600 on it")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except TypeError as error:
        raise InputError(
            f"{path} is protected by a passphrase: give an unprotected key of 'prism-mri keygen'"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} holds no private key in PEM: make one with 'prism-mri keygen'"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is no Ed25519 key: make one with 'prism-mri keygen'")
    return key


def read_trust_folder(folder: Path) -> dict[bytes, str]:
    """Read every ``*.pem`` in a folder of public keys; one unusable file spoils the folder.

    Args:
        folder: the keys that the site's own people have put there.

    Returns:
        File name by the key's 32 raw bytes.

    Raises:
        InputError: no such folder, no key in it, a file that is no Ed25519 public key, or a private
            key.
    """
    if not folder.is_dir():
        raise InputError(
            f"trust folder {folder} does not exist or is a file: give a folder of public keys"
            " (*.pem)"
        )
    paths = sorted(path for path in folder.glob("*.pem") if not path.name.startswith("."))
    if not 1 <= len(paths) <= MAX_TRUSTED_KEYS:
        raise InputError(
            f"trust folder {folder} holds {len(paths)} keys (*.pem), expected 1 to "
            f"{MAX_TRUSTED_KEYS}: "
            "put the public keys of the sites in it that you trust"
        )
    return {export_public_key(_read_public_key(path)): path.name for path in paths}


def export_public_key(key: Ed25519PublicKey) -> bytes:
    """Return the 32 raw bytes of a public key (RFC 8032)."""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def compute_fingerprint(public_key: bytes) -> str:
    """Return the SHA-256 of a public key's SubjectPublicKeyInfo, in hexadecimal.

    The same number comes from ``openssl pkey -pubin -in KEY.pem -outform DER | sha256sum``, so two
    people can compare it by telephone.

    Args:
        public_key: 32 raw bytes.
    """
    key = Ed25519PublicKey.from_public_bytes(public_key)
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).hexdigest()


def verify_signature(manifest: bytes, *, signature: bytes, public_key: bytes, source: str) -> None:
    """Verify that the holder of a key signed exactly these bytes.

    Args:
        manifest: the manifest as stored, never re-serialized.
        signature: 64 bytes.
        public_key: 32 raw bytes.
        source: file name, for the message.

    Raises:
        SignatureError: wrong sizes, or the signature does not fit.
    """
    sizes = (len(signature), len(public_key))
    if sizes != (SIGNATURE_BYTES, PUBLIC_KEY_BYTES):
        raise SignatureError(
            f"{source}: signature and key of {sizes} bytes, expected "
            f"{(SIGNATURE_BYTES, PUBLIC_KEY_BYTES)}: "
            "get the card again"
        )
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, manifest)
    except InvalidSignature as error:
        raise SignatureError(
            f"{source}: the signature does not fit the manifest (altered, or taken from another "
            "card): "
            "get the card again from its site"
        ) from error


def describe_keys(trusted: Mapping[bytes, str]) -> str:
    """Return the file names of trusted keys as one short text."""
    names = list(trusted.values())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _read_public_key(path: Path) -> Ed25519PublicKey:
    content = _read_key_file(path)
    if b"PRIVATE KEY" in content:
        raise InputError(
            f"{path} is a private key, a trust folder holds public keys only: move it away"
        )
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"{path} holds no public key in PEM: remove it from the trust folder"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise InputError(f"{path} is no Ed25519 public key: remove it from the trust folder")
    return key


def _read_key_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_KEY_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read key {path}: {error.strerror}") from error
    if len(content) > MAX_KEY_FILE_BYTES:
        raise InputError(
            f"{path} is larger than the {MAX_KEY_FILE_BYTES} bytes a key may have: give a PEM key"
        )
    return content


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Create a file that must not exist; the permissions hold from its first moment on."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise InputError(f"cannot write key {path}: {explain_os_error(error)}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        path.unlink()
        raise InputError(f"cannot write key {path}: {explain_os_error(error)}") from error
