"""Bad cards: refused by every command that reads one, by the name of what failed."""

import json

import pytest


def flip(content, at):
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


def add_tensor(forger):
    end = forger.data_bytes
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [end, end + 8]}
    return forger.rewrite(tensors={"anatomy_encoder.head.bias": entry}, more=b"\0" * 8)


CARDS = {
    "truncated": (lambda forger: forger.content[:-100], "truncated", "get the file again"),
    "truncated-header": (lambda forger: forger.content[:500], "truncated", "get the file again"),
    "tampered": (
        lambda forger: flip(forger.content, -9),
        "tensors were altered",
        "get the card again from its site",
    ),
    "tampered-manifest": (
        lambda forger: forger.content.replace(b'\\"people\\":12', b'\\"people\\":99'),
        "signature does not fit",
        "get the card again from its site",
    ),
    "extra-tensor": (
        add_tensor,
        "anatomy_encoder.head.bias (1 such) is not part of the card's networks",
        "do not use this file",
    ),
    "unknown-version": (
        lambda forger: forger.rewrite(manifest={"schema_version": 4}),
        "unknown schema version 4",
        "update prism-mri",
    ),
    "unsigned": (
        lambda forger: forger.rewrite(signer=None),
        "not signed",
        "ask the site for a signed one, or accept it with --allow-unsigned",
    ),
    "unknown-key": (
        lambda forger: forger.rewrite(signer="stranger"),
        "not in the trust folder",
        "compare the fingerprint with the site, then add its public key",
    ),
    "another-anatomy-space": (
        lambda forger: forger.rewrite(manifest={"anatomy_digest": "0" * 64}),
        "is for anatomy encoder 000000000000…",
        "ask the site for a new card",
    ),
    "few-people": (
        lambda forger: forger.rewrite(manifest={"people": 9}),
        "trained on 9 people, fewer than 10",
        "publish with --local-only",
    ),
    "empty": (lambda _: b"", "no site card", "give a file that 'prism-mri publish' wrote"),
    "zip": (lambda _: b"PK\x03\x04" + bytes(999), "no site card", "prism-mri publish"),
}


@pytest.mark.parametrize("case", CARDS)
def test_a_bad_card_is_refused(scan, refused, forger, card_folder, out, tmp_path, case):
    forge, fault, remedy = CARDS[case]
    card = tmp_path / "bad.prism"
    card.write_bytes(forge(forger))
    assert card.read_bytes() != forger.content
    trust = ("--trust", card_folder / "trust")
    line = refused("harmonize", scan, "--card", card, *trust, "--out", out)
    assert fault in line
    assert remedy in line
    if case != "another-anatomy-space":
        assert line.startswith(str(card))
        assert fault in refused("inspect", card, *trust)


def test_the_forger_can_forge_a_card_that_is_accepted(forger, command, card_folder, tmp_path):
    card = tmp_path / "same.prism"
    card.write_bytes(forger.rewrite())
    assert command("inspect", card, "--trust", card_folder / "trust").code == 0


def test_a_missing_card_and_a_missing_trust_folder(scan, refused, card_folder, out, tmp_path):
    line = refused("harmonize", scan, "--card", tmp_path / "no.prism", "--out", out)
    assert f"{tmp_path / 'no.prism'} does not exist" in line
    card = card_folder / "guys.prism"
    line = refused("harmonize", scan, "--card", card, "--trust", tmp_path / "no", "--out", out)
    assert str(tmp_path / "no") in line
    line = refused("harmonize", scan, "--card", card, "--out", out)
    assert "no key is trusted: give --trust FOLDER" in line


def test_a_model_of_another_translator(scan, refused, card_folder, out, tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    content = json.loads((card_folder / "model" / "model.json").read_text())
    content["anatomy_digest"] = "0" * 64
    (model / "model.json").write_text(json.dumps(content))
    weights = (card_folder / "model" / "best.safetensors").read_bytes()
    (model / "best.safetensors").write_bytes(weights)
    card = ("--card", card_folder / "guys.prism", "--allow-unsigned")
    line = refused("harmonize", scan, *card, "--out", out, "--model", model)
    assert f"{model} was trained on another translator" in line
    assert line.endswith("train again")
    line = refused("harmonize", scan, *card, "--out", out, "--model", tmp_path)
    assert f"{tmp_path} is not a trained model" in line
