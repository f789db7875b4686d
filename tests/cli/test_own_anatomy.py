"""Models that bring an anatomy encoder of their own: the probe decides, whatever they claim."""

import json

import pytest
import torch

from prism_mri.card.container import parse_container
from prism_mri.models.site_model import ANATOMY_PREFIX, read_model, write_model
from prism_mri.models.translator import read_translator
from prism_mri.networks.registry import build_anatomy_encoder

LEFT = "the anatomy encoder has left the shipped anatomy on the probe set ("


def swap(channels):
    """Give channels of the encoder's last layer other numbers; the rest stays as it is."""

    def change(state):
        for name in ("head.weight", "head.bias"):
            state[name] = state[name][list(channels)]
        return state

    return change


def drift(state):
    """Move every weight by a twentieth of its layer's spread, as too long a training does."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: value + 0.05 * value.std() * torch.randn(value.shape, generator=generator)
        if value.is_floating_point() and value.numel() > 1
        else value
        for name, value in state.items()
    }


def forget(_state):
    torch.manual_seed(0)
    return build_anatomy_encoder(read_translator().description.anatomy_encoder).state_dict()


DRIFTED = {
    "tissues swapped": swap((0, 2, 1, 3, 4, 5, 6)),
    "free channels swapped": swap((0, 1, 2, 3, 4, 6, 5)),
    "drifted": drift,
    "begun anew": forget,
}


@pytest.fixture
def model_with(card_folder, tmp_path):
    """Write the shipped translator's model with an encoder of its own in it."""

    def write(change=lambda state: state):
        description, tensors = read_model(card_folder / "model")
        state = {
            name: value.clone()
            for name, value in read_translator().networks.anatomy_encoder.state_dict().items()
        }
        own = {ANATOMY_PREFIX + name: value for name, value in change(state).items()}
        write_model(tmp_path / "model", description, tensors | own)
        return tmp_path / "model"

    return write


@pytest.fixture
def card(card_folder):
    return ("--card", card_folder / "guys.prism", "--trust", card_folder / "trust")


@pytest.mark.parametrize("kind", DRIFTED)
def test_publish_refuses_an_encoder_that_has_left_whatever_digest_it_claims(
    refused, model_with, tmp_path, kind
):
    model = model_with(DRIFTED[kind])
    claimed = json.loads((model / "model.json").read_text())["anatomy_digest"]
    assert claimed == read_translator().digest
    line = refused("publish", model, "--out", tmp_path / "site.prism")
    assert line.startswith(f"{model / 'best.safetensors'}: {LEFT}")
    assert line.endswith("train again")


@pytest.mark.parametrize("kind", DRIFTED)
def test_harmonize_refuses_it_too(refused, model_with, card, scan, out, kind):
    model = model_with(DRIFTED[kind])
    line = refused("harmonize", scan, *card, "--out", out, "--model", model)
    assert line.startswith(f"{model / 'best.safetensors'}: {LEFT}")


@pytest.mark.parametrize("words", [("publish",), ("harmonize",)])
def test_another_translators_digest_is_still_refused(
    refused, model_with, card, scan, out, tmp_path, words
):
    model = model_with()
    description, tensors = read_model(model)
    write_model(model, description.model_copy(update={"anatomy_digest": "0" * 64}), tensors)
    rest = {
        "publish": (model, "--out", tmp_path / "site.prism"),
        "harmonize": (scan, *card, "--out", out, "--model", model),
    }
    line = refused(*words, *rest[words[0]])
    assert line == f"{model} was trained on another translator than this version ships: train again"


def test_part_of_an_encoder_is_refused(refused, card_folder, tmp_path):
    description, tensors = read_model(card_folder / "model")
    stray = {f"{ANATOMY_PREFIX}head.bias": torch.zeros(7)}
    write_model(tmp_path / "model", description, tensors | stray)
    line = refused("publish", tmp_path / "model", "--out", tmp_path / "site.prism")
    assert "best.safetensors is damaged" in line


def test_an_encoder_that_stayed_is_taken_and_its_digest_written(
    command, model_with, card, scan, out
):
    def nudge(state):
        return {
            name: value * (1 + 1e-3) if name == "head.weight" else value
            for name, value in state.items()
        }

    model = model_with(nudge)
    result = command("harmonize", scan, *card, "--out", out, "--model", model)
    assert result.code == 0, result.err
    prism = json.loads((out / "scan_desc-harmonized.json").read_text())["Prism"]
    assert prism["AnatomyDigest"] == read_translator().digest
    assert prism["AnatomyEncoderDigest"] != read_translator().digest
    command("harmonize", scan, *card, "--out", out / "without")
    name = "scan_desc-harmonized.nii.gz"
    assert (out / name).read_bytes() != (out / "without" / name).read_bytes()
    prism = json.loads((out / "without" / "scan_desc-harmonized.json").read_text())["Prism"]
    assert prism["AnatomyEncoderDigest"] == prism["AnatomyDigest"]


def test_no_card_holds_the_encoder(command, model_with, card_folder, tmp_path):
    model, path = model_with(), tmp_path / "site.prism"
    result = command("publish", model, "--out", path)
    assert result.code == 0, result.err
    names = parse_container(path.read_bytes(), "card").tensors.keys()
    assert "decoder.head.weight" in names
    assert not any(name.startswith("anatomy") for name in names)
    _, tensors = read_model(model)
    content = path.read_bytes()
    for name, value in tensors.items():
        if name.startswith(ANATOMY_PREFIX) and value.numel() > 8:
            assert value.numpy().tobytes() not in content, name
    command("publish", card_folder / "model", "--out", tmp_path / "plain.prism")
    assert content == (tmp_path / "plain.prism").read_bytes()
