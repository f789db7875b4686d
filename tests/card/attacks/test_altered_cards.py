"""Somebody between the sites alters a signed card, or replaces it by one of their own."""

import base64
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prism_mri.card.publish import publish_card
from prism_mri.card.read import decode_card, read_card
from prism_mri.errors import FormatError, PrismError, SignatureError


def flip_bit(content: bytes, position: int, bit: int = 0) -> bytes:
    return content[:position] + bytes([content[position] ^ (1 << bit)]) + content[position + 1 :]


def test_the_forge_rebuilds_the_very_card(forge, card_path, read):
    # Without this, every refusal below could be the forge's own mistake.
    assert forge.build() == card_path.read_bytes()
    assert read(forge.with_manifest(forge.manifest)).manifest.site == "guys"


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), in_header=st.booleans())
def test_no_bit_of_a_signed_card_can_change(card_path, trust, where, bit, in_header):
    content = card_path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    start, stop = (0, 8 + length) if in_header else (8 + length, len(content))
    altered = flip_bit(content, start + int(where * (stop - start)), bit)
    for options in ({"trust": trust}, {"allow_unsigned": True}):
        with pytest.raises(PrismError):
            decode_card(altered, source="card.prism", **options)


def test_altered_tensor_is_named_by_its_digest(forge, read):
    position = int(np.random.default_rng(0).integers(len(forge.data)))
    with pytest.raises(FormatError, match=r"the tensors were altered \(SHA-256"):
        read(forge.build(data=flip_bit(forge.data, position)))


@pytest.mark.parametrize("options", [{}, {"trust": None, "allow_unsigned": True}])
def test_altered_manifest_is_named_by_its_signature(forge, read, options):
    stored = forge.metadata["prism_manifest"].replace('"people":12', '"people":99')
    assert stored != forge.metadata["prism_manifest"]
    with pytest.raises(SignatureError, match="signature does not fit the manifest"):
        read(forge.build(forge.metadata | {"prism_manifest": stored}), **options)


def test_manifest_is_verified_as_stored_not_as_understood(forge, read):
    """The same JSON with other white space is another manifest."""
    stored = json.dumps(forge.manifest, indent=1)
    with pytest.raises(SignatureError, match="signature does not fit the manifest"):
        read(forge.build(forge.metadata | {"prism_manifest": stored}))


def test_altered_signature_is_refused_with_consent_to_unsigned_cards_too(forge, read, trust):
    signature = bytearray(base64.b64decode(forge.metadata["prism_signature"]))
    signature[10] ^= 4
    forged = forge.build(forge.metadata | {"prism_signature": base64.b64encode(signature).decode()})
    for options in ({}, {"allow_unsigned": True}, {"trust": None, "allow_unsigned": True}):
        with pytest.raises(SignatureError, match="signature does not fit the manifest"):
            read(forged, **options)


def test_signature_of_another_card_is_refused(forge, read, make_model, keys, tmp_path):
    publish_card(make_model(people=50), tmp_path / "b.prism", private_key=keys / "guys-private.pem")
    other = type(forge)((tmp_path / "b.prism").read_bytes(), keys)
    swapped = forge.metadata | {"prism_signature": other.metadata["prism_signature"]}
    with pytest.raises(SignatureError, match="taken from another card"):
        read(forge.build(swapped))


def test_manifest_and_signature_of_another_card_do_not_cover_these_tensors(
    forge, read, make_model, keys, tmp_path
):
    import torch

    model = make_model(tensors={"style_prior.mean": torch.tensor([9.0, 9.0])})
    publish_card(model, tmp_path / "b.prism", private_key=keys / "guys-private.pem")
    other = type(forge)((tmp_path / "b.prism").read_bytes(), keys)
    with pytest.raises(FormatError, match="the tensors were altered"):
        read(forge.build(other.metadata))


def test_stripped_signature_makes_an_unsigned_card(forge, read):
    stripped = forge.build({"prism_manifest": forge.metadata["prism_manifest"]})
    with pytest.raises(SignatureError, match="the card is not signed"):
        read(stripped)


@pytest.mark.parametrize("missing", ["prism_signature", "prism_public_key"])
def test_half_a_signature_is_no_unsigned_card(forge, read, missing):
    del forge.metadata[missing]
    with pytest.raises(SignatureError, match="without"):
        read(forge.build(), trust=None, allow_unsigned=True)


@pytest.mark.parametrize("key", ["prism_signature", "prism_public_key"])
@pytest.mark.parametrize("text", ["", "AAAA", "no base64 !", "ü" * 8, "A" * 100_000])
def test_nonsense_signatures_and_keys_are_refused(forge, read, key, text):
    with pytest.raises(SignatureError):
        read(forge.build(forge.metadata | {key: text}), trust=None, allow_unsigned=True)


@pytest.mark.parametrize("options", [{}, {"allow_unsigned": True}])
def test_card_signed_by_an_unknown_key_is_refused(forge, read, options):
    with pytest.raises(SignatureError, match=r"not in the trust folder \(guys-public\.pem\)"):
        read(forge.with_manifest(forge.manifest, signer="mallory"), **options)


def test_key_of_the_trusted_site_with_the_signature_of_another(forge, read):
    forged = forge.sign(json.dumps(forge.manifest), "mallory")
    forged["prism_public_key"] = forge.metadata["prism_public_key"]
    with pytest.raises(SignatureError, match="signature does not fit the manifest"):
        read(forge.build(forged))


@pytest.mark.parametrize(
    "public_key",
    [
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    ],
    ids=["order 4", "neutral element", "order 2"],
)
def test_keys_of_small_order_are_never_trusted(forge, read, public_key):
    """For such keys, signatures can be made that fit many messages; only listed keys count."""
    forged = forge.metadata | {
        "prism_public_key": base64.b64encode(public_key).decode(),
        "prism_signature": base64.b64encode(b"\x01" + bytes(63)).decode(),
    }
    with pytest.raises(SignatureError):
        read(forge.build(forged))


def test_one_content_has_one_file(forge, read, card_path):
    """Padding, key order, escapes and loose base64 would give the same card another digest."""
    content = card_path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    loose = forge.metadata["prism_signature"]
    assert loose.endswith("==")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    loose = loose[:-3] + last[last.index(loose[-3]) + 1] + "=="
    assert base64.b64decode(loose) == base64.b64decode(forge.metadata["prism_signature"])
    variants = [
        (length + 8).to_bytes(8, "little") + header + b" " * 8 + data,
        length.to_bytes(8, "little") + header.replace(b'"decoder.', b'"\\u0064ecoder.', 1) + data,
        forge.build(tensors=dict(reversed(forge.header.items()))),
        forge.build(forge.metadata | {"prism_signature": loose}),
    ]
    variants[1] = forge.wrap(header.decode().replace('"decoder.', '"\\u0064ecoder.', 1), data)
    for variant in variants:
        assert variant != content
        with pytest.raises(FormatError, match="the header is not written as a card's is"):
            read(variant)


def test_file_that_changes_while_it_is_read_is_read_once(card_path, trust, monkeypatch):
    """Checks and networks come from the same bytes: there is no second look at the file."""
    from pathlib import Path

    opened = []
    real_open = Path.open

    def counting(self, *args, **kwargs):
        opened.append(self.name)
        return real_open(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counting)
    read_card(card_path, trust=trust)
    assert opened.count("guys.prism") == 1
