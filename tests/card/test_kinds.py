"""Small cards: what they hold, and that they draw what the model drew."""

import json

import pytest
import torch

from prism_mri.card.publish import publish_card
from prism_mri.card.read import read_card
from prism_mri.card.summary import inspect_card
from prism_mri.errors import CompatibilityError, FormatError, InputError
from prism_mri.models.site_model import read_model
from prism_mri.models.translator import (
    TranslatorDescription,
    build_translator_networks,
    seal_translator,
)
from prism_mri.networks.adapter import is_adapter
from prism_mri.networks.registry import AnatomyEncoderSpec, DecoderSpec, StyleEncoderSpec

DESCRIPTION = TranslatorDescription(
    anatomy_encoder=AnatomyEncoderSpec(width=4, free_channels=1),
    style_encoder=StyleEncoderSpec(width=4, style_dim=2),
    decoder=DecoderSpec(width=4, free_channels=1, style_dim=2),
)


def build_translator(seed: int):
    torch.manual_seed(seed)
    networks = build_translator_networks(DESCRIPTION)
    networks.eval().requires_grad_(requires_grad=False)
    return seal_translator(networks, DESCRIPTION)


@pytest.fixture(scope="module")
def translator():
    return build_translator(0)


@pytest.fixture
def model(make_model, translator):
    """A model of kind adapter: shipped networks, all that is adapter changed."""
    state = translator.networks.state_dict()
    tensors = {
        name: tensor + 0.5 if name.startswith("decoder.") and is_adapter(name) else tensor
        for name, tensor in state.items()
        if not name.startswith("anatomy_encoder.")
    }
    return make_model(
        tensors=tensors,
        kind="adapter",
        anatomy_digest=translator.digest,
        base_digest=translator.base_digest,
    )


def header_of(path) -> dict:
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def test_adapter_card_holds_modulation_and_last_layer_alone(model, translator, tmp_path):
    out = tmp_path / "guys.prism"
    publish_card(model, out, private_key=None, translator=translator)
    names = header_of(out).keys() - {"__metadata__"}
    layers = ("encode.0", "encode.1", "encode.2", "bottom", "decode.0", "decode.1", "final")
    films = {f"decoder.{layer}.film.{part}" for layer in layers for part in ("weight", "bias")}
    heads = {"decoder.head.weight", "decoder.head.bias"}
    assert names == films | heads | {"style_prior.mean", "style_prior.std"}


def test_adapter_card_draws_what_the_model_draws(model, translator, tmp_path):
    out = tmp_path / "guys.prism"
    publish_card(model, out, private_key=None, translator=translator)
    card = read_card(out, allow_unsigned=True, translator=translator)
    _, tensors = read_model(model)
    for name, tensor in card.decoder.state_dict().items():
        assert torch.equal(tensor, tensors[f"decoder.{name}"]), name
    for name, tensor in card.style_encoder.state_dict().items():
        assert torch.equal(tensor, tensors[f"style_encoder.{name}"]), name
    shipped = translator.networks.decoder.state_dict()
    assert not torch.equal(card.decoder.head.bias, shipped["head.bias"])
    assert torch.equal(card.decoder.bottom.conv.weight, shipped["bottom.conv.weight"])
    assert torch.equal(card.style_mean, tensors["style_prior.mean"])
    assert card.manifest.kind == "adapter"


def test_style_card_holds_two_vectors_on_shipped_networks(model, translator, tmp_path):
    out = tmp_path / "guys.prism"
    publish_card(model, out, private_key=None, kind="style", translator=translator)
    assert list(header_of(out)) == ["__metadata__", "style_prior.mean", "style_prior.std"]
    card = read_card(out, allow_unsigned=True, translator=translator)
    for name, tensor in translator.networks.decoder.state_dict().items():
        assert torch.equal(card.decoder.state_dict()[name], tensor), name
    # The shipped style encoder's reading, not that of the site's own.
    assert card.style_mean.tolist() == [0.75, -0.5]
    assert card.style_std.tolist() == [0.25, 1.0]
    assert len(out.read_bytes()) < 4096


def test_style_card_can_be_had_of_a_full_model(make_model, translator, tmp_path):
    full = make_model(anatomy_digest=translator.digest, base_digest=translator.base_digest)
    out = tmp_path / "guys.prism"
    publish_card(full, out, private_key=None, kind="style", translator=translator)
    card = read_card(out, allow_unsigned=True, translator=translator)
    assert (card.manifest.kind, card.style_mean.tolist()) == ("style", [0.75, -0.5])


@pytest.mark.parametrize(("trained", "asked"), [("full", "adapter"), ("style", "full")])
def test_a_kind_that_was_not_trained_is_refused(make_model, translator, tmp_path, trained, asked):
    folder = make_model(kind=trained, base_digest=translator.base_digest)
    with pytest.raises(InputError, match=rf"kind {trained}, not {asked}: .*--kind {asked}"):
        publish_card(folder, tmp_path / "guys.prism", private_key=None, kind=asked)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_shipped_styles_gives_no_style_card(make_model, paper_parts, tmp_path):
    with pytest.raises(InputError, match="train again with recipe anchored"):
        publish_card(
            make_model(**paper_parts), tmp_path / "guys.prism", private_key=None, kind="style"
        )


def test_a_card_on_other_networks_is_refused(model, translator, tmp_path):
    out = tmp_path / "guys.prism"
    publish_card(model, out, private_key=None, translator=translator)
    with pytest.raises(CompatibilityError, match="kind adapter builds on networks"):
        read_card(out, allow_unsigned=True, translator=build_translator(1))
    with pytest.raises(CompatibilityError, match="this version ships"):
        read_card(out, allow_unsigned=True)


def test_a_card_of_other_networks_than_its_base_is_refused(make_model, translator, tmp_path):
    """The digest is right, the specification is not: no network could be filled."""
    other = make_model(
        kind="style",
        base_digest=translator.base_digest,
        decoder=DecoderSpec(width=8, free_channels=1, style_dim=2),
    )
    with pytest.raises(FormatError, match="names other networks"):
        publish_card(other, tmp_path / "guys.prism", private_key=None, translator=translator)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "numbers"), [("adapter", None), ("style", 4)])
def test_summary_says_kind_and_numbers(model, translator, tmp_path, monkeypatch, kind, numbers):
    out = tmp_path / "guys.prism"
    publish_card(model, out, private_key=None, kind=kind, translator=translator)
    monkeypatch.setattr("prism_mri.card.read.read_translator", lambda: translator)
    summary = inspect_card(out)
    # Seven blocks of 4, 8, 16, 16, 4, 8, 4 channels, a style of 2; a last layer of 4 + 1.
    adapters = (2 + 1) * 2 * (4 + 8 + 16 + 16 + 4 + 8 + 4) + 5
    assert summary.numbers == (numbers or adapters + 4)
    assert summary.card.manifest.kind == kind
    assert f"{summary.numbers:,}" in str(summary)
