"""The model folder: what was written comes back; anything else is refused."""

import json

import pytest
import torch
from pydantic import ValidationError

from prism_mri.config import PreprocessingContract
from prism_mri.errors import CompatibilityError, InputError
from prism_mri.models.site_model import (
    ModelDescription,
    TrainingSummary,
    read_anatomy_encoder,
    read_model,
    write_model,
)
from prism_mri.models.translator import (
    Translator,
    TranslatorDescription,
    build_translator_networks,
    compute_digest,
)
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    ConditionalDecoderSpec,
    ConvStyleEncoderSpec,
    DecoderSpec,
    LevelAnatomyEncoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
)

VALUES = {
    "site": "guys",
    "contract": PreprocessingContract(spacing_mm=0.9, shape=(64, 96)),
    "anatomy_encoder": AnatomyEncoderSpec(width=4),
    "style_encoder": StyleEncoderSpec(width=4, style_dim=2),
    "decoder": DecoderSpec(width=4, style_dim=2),
    "anatomy_digest": "0f" * 32,
    "people": 3,
    "images": 4,
    "slices": 50,
    "intensity_scale": 812.0625,
    "training": TrainingSummary(
        seed=1, epochs=4, steps=40, best_epoch=2, validation_ssim=0.91, versions={"torch": "2.13.0"}
    ),
}
DESCRIPTION = ModelDescription(**VALUES)
TENSORS = {
    "decoder.head.weight": torch.arange(6.0).reshape(2, 3).T,
    "style_prior.mean": torch.tensor([0.1, -1e-7]),
}


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path / "models" / "guys", DESCRIPTION, TENSORS)
    return tmp_path / "models" / "guys"


def test_what_was_written_comes_back(folder):
    description, tensors = read_model(folder)
    assert description == DESCRIPTION
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())
    assert {path.name for path in folder.iterdir()} == {"model.json", "best.safetensors"}


def test_a_better_model_replaces_an_earlier_one(folder):
    better = DESCRIPTION.model_copy(update={"slices": 51})
    write_model(folder, better, {"style_prior.mean": torch.ones(2)})
    description, tensors = read_model(folder)
    assert description.slices == 51
    assert list(tensors) == ["style_prior.mean"]


def test_the_description_can_be_read_without_this_program(folder):
    content = json.loads((folder / "model.json").read_text())
    assert (content["site"], content["recipe"]) == ("guys", "anchored")
    assert content["schema_version"] == 1
    assert content["contract"]["shape"] == [64, 96]


@pytest.mark.parametrize("name", ["model.json", "best.safetensors"])
def test_a_folder_without_a_model_says_what_to_do(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=r"guys is not a trained model .*run 'prism-mri train'"):
        read_model(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text[: len(text) // 2], "JSON"),
        (lambda text: text.replace('"guys"', '"../guys"'), "site"),
        (lambda text: text.replace('"schema_version": 1', '"schema_version": 2'), "schema_version"),
        (lambda text: text.replace('"people": 3', '"people": 0'), "people"),
        (lambda text: text.replace('"people": 3', '"people": 3, "patient": "x"'), "patient"),
        (lambda text: text.replace("decoder-film-1", "os.system"), "decoder"),
        (lambda text: text.replace("812.0625", "-1"), "intensity_scale"),
    ],
)
def test_a_damaged_description_is_refused_by_field(folder, change, words):
    path = folder / "model.json"
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    with pytest.raises(InputError, match=rf"model\.json: .*{words}"):
        read_model(folder)


@pytest.mark.parametrize("keep", [0, 4, 60, -1])
def test_damaged_weights_are_refused(folder, keep):
    path = folder / "best.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"best\.safetensors is damaged \(.*\): train again"):
        read_model(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"site": "Guy's"},
        {"anatomy_digest": "xy"},
        {"recipe": "paper"},
        {"decoder": ConditionalDecoderSpec()},
        {"decoder": DecoderSpec(width=4, style_dim=3)},
        {"decoder": DecoderSpec(width=4, style_dim=2, free_channels=1)},
        {"anatomy_encoder": LevelAnatomyEncoderSpec(), "style_encoder": ConvStyleEncoderSpec()},
        {"intensity_scale": float("nan")},
        {"extra": 1},
    ],
)
def test_no_impossible_description_is_made(change):
    with pytest.raises(ValidationError):
        ModelDescription(**(VALUES | change))


# --- the anatomy encoder that a model was trained with --------------------------------------------


def make_translator(digest):
    description = TranslatorDescription(anatomy_encoder=AnatomyEncoderSpec(width=4))
    return Translator(build_translator_networks(description), description, digest, "ef" * 32)


@pytest.fixture
def own(tmp_path):
    """A model of recipe paper with its own anatomy encoder; both are returned."""
    specs = {
        "anatomy_encoder": LevelAnatomyEncoderSpec(width=4),
        "style_encoder": ConvStyleEncoderSpec(width=4),
        "decoder": ConditionalDecoderSpec(width=4),
    }
    encoder = build_anatomy_encoder(specs["anatomy_encoder"]).eval()
    digest = compute_digest(encoder.state_dict())
    values = VALUES | specs | {"recipe": "paper", "anatomy_digest": digest}
    description = ModelDescription(**values)
    tensors = {f"anatomy_encoder.{name}": value for name, value in encoder.state_dict().items()}
    write_model(tmp_path / "own", description, tensors | {"decoder.head.bias": torch.ones(1)})
    return tmp_path / "own", encoder


def test_an_anchored_model_has_the_translators_anatomy_encoder(folder):
    translator = make_translator("0f" * 32)
    assert read_anatomy_encoder(folder, translator) is translator.networks.anatomy_encoder
    with pytest.raises(CompatibilityError, match=r"guys was trained on another translator .*train"):
        read_anatomy_encoder(folder, make_translator("00" * 32))


def test_a_paper_model_has_its_own_whatever_the_translator(own):
    (folder, encoder), translator = own, make_translator("00" * 32)
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    read = read_anatomy_encoder(folder, translator)
    assert torch.equal(torch.rand(1), wanted)
    assert not read.training
    assert not any(weight.requires_grad for weight in read.parameters())
    image = torch.rand(1, 1, 20, 33)
    assert torch.equal(read(image), encoder(image))


def test_an_anatomy_encoder_that_is_not_the_one_named_is_refused(own):
    folder, _ = own
    description, tensors = read_model(folder)
    name = "anatomy_encoder.unet.head.bias"
    message = r"best\.safetensors does not hold the anatomy encoder that model\.json names"
    for changed in ({**tensors, name: tensors[name] + 1}, {"decoder.head.bias": torch.ones(1)}):
        write_model(folder, description, changed)
        with pytest.raises(InputError, match=message):
            read_anatomy_encoder(folder, make_translator("00" * 32))


def test_an_anatomy_encoder_of_another_size_is_refused(own):
    folder, _ = own
    description, tensors = read_model(folder)
    wider = description.model_copy(update={"anatomy_encoder": LevelAnatomyEncoderSpec(width=5)})
    write_model(folder, wider, tensors)
    with pytest.raises(InputError, match=r"best\.safetensors is damaged \(.*\): train again"):
        read_anatomy_encoder(folder, make_translator("00" * 32))
