"""The model folder: what was written comes back; anything else is refused."""

import json

import pytest
import torch
from pydantic import ValidationError

from prism_mri.config import PreprocessingContract
from prism_mri.errors import InputError
from prism_mri.networks.registry import AnatomyEncoderSpec, DecoderSpec, StyleEncoderSpec
from prism_mri.training.model import ModelDescription, TrainingSummary, read_model, write_model

VALUES = {
    "site": "guys",
    "contract": PreprocessingContract(spacing_mm=0.9, shape=(64, 96)),
    "anatomy_encoder": AnatomyEncoderSpec(width=4),
    "style_encoder": StyleEncoderSpec(width=4, style_dim=2),
    "decoder": DecoderSpec(width=4, style_dim=2),
    "translator_digest": "0f" * 32,
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
        {"translator_digest": "xy"},
        {"intensity_scale": float("nan")},
        {"extra": 1},
    ],
)
def test_no_impossible_description_is_made(change):
    with pytest.raises(ValidationError):
        ModelDescription(**(VALUES | change))
