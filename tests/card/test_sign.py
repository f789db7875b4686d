"""Keys, fingerprints, signatures and the trust folder."""

import hashlib
import os
import shutil
import stat

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from prism_mri.card.sign import (
    compute_fingerprint,
    generate_key_pair,
    read_private_key,
    read_trust_folder,
    verify_signature,
)
from prism_mri.errors import InputError, SignatureError

# RFC 8032, section 7.1, test 2.
RFC_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
RFC_MESSAGE = bytes.fromhex("72")
RFC_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def pem_of(key, *, encryption=None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        encryption or serialization.NoEncryption(),
    )


def public_pem_of(key) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def test_signature_of_the_standard_verifies():
    verify_signature(
        RFC_MESSAGE, signature=RFC_SIGNATURE, public_key=RFC_PUBLIC, source="card.prism"
    )


@pytest.mark.parametrize(
    ("message", "signature", "public_key"),
    [
        (b"\x73", RFC_SIGNATURE, RFC_PUBLIC),
        (RFC_MESSAGE, bytes([RFC_SIGNATURE[0] ^ 1]) + RFC_SIGNATURE[1:], RFC_PUBLIC),
        (RFC_MESSAGE, RFC_SIGNATURE, bytes([RFC_PUBLIC[0] ^ 1]) + RFC_PUBLIC[1:]),
        (RFC_MESSAGE, bytes(64), RFC_PUBLIC),
        (RFC_MESSAGE, b"", RFC_PUBLIC),
        (RFC_MESSAGE, RFC_SIGNATURE, b"short"),
    ],
)
def test_any_other_message_signature_or_key_is_refused(message, signature, public_key):
    with pytest.raises(SignatureError, match=r"card\.prism: "):
        verify_signature(message, signature=signature, public_key=public_key, source="card.prism")


def test_fingerprint_is_the_digest_of_the_public_key_info():
    # RFC 8410, section 4: this prefix and the 32 raw bytes are the SubjectPublicKeyInfo in DER.
    der = bytes.fromhex("302a300506032b6570032100") + RFC_PUBLIC
    assert compute_fingerprint(RFC_PUBLIC) == hashlib.sha256(der).hexdigest()


def test_key_pair_is_standard_pem_and_belongs_together(tmp_path):
    private_path, public_path = generate_key_pair(tmp_path / "new" / "hh")
    assert (private_path.name, public_path.name) == ("hh-private.pem", "hh-public.pem")
    assert private_path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert public_path.read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----\n")
    private = serialization.load_pem_private_key(private_path.read_bytes(), None)
    public = serialization.load_pem_public_key(public_path.read_bytes())
    assert isinstance(private, ed25519.Ed25519PrivateKey)
    assert private.public_key() == public


def test_private_key_is_for_its_owner_alone_under_any_umask(tmp_path):
    previous = os.umask(0)
    try:
        private_path, _ = generate_key_pair(tmp_path / "hh")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(private_path.stat().st_mode) == 0o600


@pytest.mark.parametrize("existing", ["hh-private.pem", "hh-public.pem"])
def test_keys_are_never_overwritten(tmp_path, existing):
    (tmp_path / existing).write_text("mine")
    with pytest.raises(InputError, match="exists and a key is never overwritten"):
        generate_key_pair(tmp_path / "hh")
    assert [path.name for path in tmp_path.iterdir()] == [existing]
    assert (tmp_path / existing).read_text() == "mine"


def test_no_private_key_is_left_when_the_public_one_cannot_be_written(tmp_path, monkeypatch):
    real_open = os.open

    def full_disk(path, flags, mode=0o777):
        if str(path).endswith("-public.pem"):
            raise OSError(28, "No space left on device")
        return real_open(path, flags, mode)

    monkeypatch.setattr(os, "open", full_disk)
    with pytest.raises(InputError, match="the disk is full"):
        generate_key_pair(tmp_path / "hh")
    assert list(tmp_path.iterdir()) == []


def test_private_key_that_others_can_read_is_warned_about(tmp_path, caplog):
    private_path, _ = generate_key_pair(tmp_path / "hh")
    read_private_key(private_path)
    assert caplog.text == ""
    private_path.chmod(0o644)
    read_private_key(private_path)
    assert "can be read by other users" in caplog.text
    assert str(tmp_path) not in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no private key in PEM"),
        (b"x" * 20_000, "larger than the 16384 bytes"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "is no Ed25519 key"),
        (public_pem_of(ed25519.Ed25519PrivateKey.generate()), "holds no private key in PEM"),
        (
            pem_of(
                ed25519.Ed25519PrivateKey.generate(),
                encryption=serialization.BestAvailableEncryption(b"secret"),
            ),
            "protected by a passphrase",
        ),
    ],
)
def test_other_files_are_no_private_key(tmp_path, content, message):
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(InputError, match=message):
        read_private_key(path)


def test_missing_private_key_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read key .*nowhere\.pem: No such file"):
        read_private_key(tmp_path / "nowhere.pem")


def test_trust_folder_gives_every_key_by_its_file(keys, tmp_path):
    for name in ("guys-public.pem", "mallory-public.pem"):
        shutil.copy(keys / name, tmp_path)
    (tmp_path / "README.txt").write_text("not a key")
    (tmp_path / "._guys-public.pem").write_text("a file that some systems leave")
    trusted = read_trust_folder(tmp_path)
    raw = serialization.load_pem_public_key((keys / "guys-public.pem").read_bytes())
    assert sorted(trusted.values()) == ["guys-public.pem", "mallory-public.pem"]
    assert trusted[raw.public_bytes_raw()] == "guys-public.pem"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pem_of(ed25519.Ed25519PrivateKey.generate()), "is a private key"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no public key"),
        (public_pem_of(ec.generate_private_key(ec.SECP256R1())), "is no Ed25519 public key"),
        (b"x" * 20_000, "larger than"),
    ],
)
def test_one_unusable_file_spoils_a_trust_folder(keys, tmp_path, content, message):
    shutil.copy(keys / "guys-public.pem", tmp_path)
    (tmp_path / "other.pem").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_trust_folder(tmp_path)


def test_trust_folder_must_exist_and_hold_a_key(tmp_path):
    with pytest.raises(InputError, match="holds 0 keys"):
        read_trust_folder(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        read_trust_folder(tmp_path / "nowhere")
