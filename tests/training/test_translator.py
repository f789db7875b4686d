"""The translator: what it is asked to learn, and its file."""

import hashlib
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from prism_mri.config import MODALITIES, PreprocessingContract
from prism_mri.errors import InputError
from prism_mri.models.translator import (
    TranslatorDescription,
    TranslatorNetworks,
    compute_digest,
    read_translator,
    write_translator,
)
from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.registry import AnatomyEncoderSpec, DecoderSpec, StyleEncoderSpec
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder
from prism_mri.simulate.anatomy import Anatomy
from prism_mri.simulate.pairs import PairBatch, PairSource
from prism_mri.simulate.tissues import TISSUE_INDEX
from prism_mri.training.loop import LoopSettings
from prism_mri.training.translator import TranslatorRecipe, TranslatorSettings, train_translator

TINY = TranslatorDescription(
    anatomy_encoder=AnatomyEncoderSpec(width=4),
    style_encoder=StyleEncoderSpec(width=4, style_dim=3),
    decoder=DecoderSpec(width=4, style_dim=3),
    contracts=(PreprocessingContract(shape=(64, 64)),),
    training={"people": ["ball"], "seed": 0},
)
SETTINGS = TranslatorSettings(
    loop=LoopSettings(
        epochs=1, steps_per_epoch=2, learning_rate=1e-3, patience=5, weight_averaging=0.5
    ),
    batch_pairs=2,
    crop=32,
)


def make_ball(person):
    """Return a person of shells: white matter in grey matter in fluid."""
    i, j, k = np.indices((64, 64, 9))
    radius = np.hypot(i - 32, j - 32) + abs(k - 4)
    names = ["wm", "cortex", "csf", "air"]
    tissue = np.array([TISSUE_INDEX[name] for name in names])[np.digitize(radius, [18, 26, 30])]
    labels = torch.from_numpy(tissue.astype(np.uint8))
    return Anatomy(labels, torch.zeros(2, *labels.shape), np.eye(4), person)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two steps on a ball: outcome, file, folder, and lines reported."""
    folder, lines = tmp_path_factory.mktemp("translator"), []
    outcome = train_translator(
        [make_ball("ball")],
        [make_ball("other")],
        folder / "translator.safetensors",
        folder / "run",
        SETTINGS,
        description=TINY,
        report=lines.append,
    )
    return outcome, folder / "translator.safetensors", folder / "run", lines


@pytest.fixture
def translator(trained):
    return read_translator(trained[1])


def test_two_steps_leave_a_translator_that_says_how_it_came_about(trained):
    outcome, path, folder, lines = trained
    translator = read_translator(path)
    assert outcome.steps == 2
    notes = translator.description.training
    assert {name: notes[name] for name in TINY.training} == TINY.training
    assert notes["epoch"] == outcome.best_epoch
    assert notes["validation_psnr"] == round(outcome.best_score, 3)
    assert translator.description.contracts == TINY.contracts
    assert len(lines) == 2
    assert all(term in lines[1] for term in ("intensity", "fractions", "kl", "score"))
    config = json.loads((folder / "config.json").read_text())
    assert (config["crop"], config["loop"]["steps_per_epoch"]) == (32, 2)


def test_a_translator_that_was_read_is_frozen_and_in_evaluation_mode(translator):
    assert not any(module.training for module in translator.networks.modules())
    assert not any(weight.requires_grad for weight in translator.networks.parameters())


def test_what_was_written_comes_back(translator, tmp_path):
    path = tmp_path / "copy.safetensors"
    write_translator(path, translator.networks, translator.description)
    again = read_translator(path)
    assert again.description == translator.description
    assert again.digest == translator.digest
    before, after = (part.networks.state_dict() for part in (translator, again))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


# --- the digest that says which anatomy space it is -----------------------------------------------


def test_the_digest_is_of_names_types_shapes_and_values():
    tensors = {"b": torch.tensor([[1.0, 2.0]]), "a": torch.tensor([3.0])}
    stored = b'["a", "torch.float32", [1]]' + np.array([3], "<f4").tobytes()
    stored += b'["b", "torch.float32", [1, 2]]' + np.array([1, 2], "<f4").tobytes()
    assert compute_digest(tensors) == hashlib.sha256(stored).hexdigest()
    strided = {"a": tensors["a"], "b": torch.tensor([[1.0], [2.0]]).T}
    assert compute_digest(strided) == compute_digest(tensors)


@pytest.mark.parametrize(
    ("network", "changes"),
    [("anatomy_encoder", True), ("style_encoder", False), ("decoder", False)],
)
def test_the_digest_follows_the_anatomy_encoder_alone(translator, tmp_path, network, changes):
    tensors = list(getattr(translator.networks, network).state_dict().items())
    for name, tensor in [*tensors[:5], *tensors[-2:]]:
        with torch.no_grad():
            tensor[(-1,) * tensor.ndim] += 1e-3
        path = tmp_path / f"{name}.safetensors"
        write_translator(path, translator.networks, translator.description)
        assert (read_translator(path).digest != translator.digest) is changes, name
        with torch.no_grad():
            tensor[(-1,) * tensor.ndim] -= 1e-3


def test_the_shipped_translator_is_sound():
    shipped = read_translator()
    assert len(shipped.digest) == 64
    assert shipped.digest == compute_digest(shipped.networks.anatomy_encoder.state_dict())
    known = tuple(PreprocessingContract.for_modality(modality) for modality in MODALITIES)
    assert shipped.description.contracts == known
    assert shipped.description.training["people"]
    for name, tensor in shipped.networks.state_dict().items():
        assert tensor.dtype == torch.float32, name
        assert tensor.isfinite().all(), name


# --- files that are none --------------------------------------------------------------------------


def rewrite(content, *, drop=(), metadata=None):
    tensors = safetensors.torch.load(content)
    kept = {name: value for name, value in tensors.items() if name not in drop}
    length = int.from_bytes(content[:8], "little")
    stored = json.loads(content[8 : 8 + length])["__metadata__"]
    return safetensors.torch.save(kept, stored if metadata is None else metadata)


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"\x80\x04." + content,
        lambda content: rewrite(content, metadata={}),
        lambda content: rewrite(content, metadata={"translator": "{"}),
        lambda content: rewrite(content, metadata={"translator": '{"code": "x"}'}),
        lambda content: rewrite(content, metadata={"translator": "{}"}),
        lambda content: rewrite(content, drop=["decoder.head.weight"]),
        lambda content: safetensors.torch.save(safetensors.torch.load(content)),
    ],
)
def test_a_damaged_file_is_refused_by_name(trained, tmp_path, damage):
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(damage(trained[1].read_bytes()))
    with pytest.raises(InputError, match=r"cannot read translator .*damaged\.safetensors: .") as e:
        read_translator(path)
    assert "\n" not in str(e.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"cannot read translator .*none"):
        read_translator(tmp_path / "none")


# --- what it is asked to learn -------------------------------------------------------------------


class ShowImage(AnatomyEncoder):
    """Takes the image itself for anatomy."""

    def forward(self, image):
        return image.expand(-1, 5, -1, -1) * (1 + 0 * self.head.bias.sum())


class NoStyle(StyleEncoder):
    """Reads the same style off every image."""

    def forward(self, image, *_):
        zeros = torch.zeros(len(image), 3)
        return GaussianStyle(zeros, zeros - 8)


class ShowAnatomy(Decoder):
    """Decodes to the first channel of the anatomy."""

    def forward(self, anatomy, *_):
        return anatomy[:, :1]


class OneBatch(PairSource):
    """A source that always draws the same pairs."""

    def __init__(self, batch):
        self._batch = batch

    def draw(self, *_):
        return self._batch


def make_recipe(batch):
    networks = TranslatorNetworks(
        ShowImage(width=4, free_channels=2),
        NoStyle(width=4, style_dim=3),
        ShowAnatomy(anatomy_channels=5, style_dim=3, width=4),
    )
    return TranslatorRecipe(networks, SETTINGS, OneBatch(batch), [batch])


@pytest.fixture
def pairs():
    """Two pairs whose contrasts differ, masks that leave out a corner, fractions 0.2 everywhere."""
    clean = torch.rand(2, 2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 1, 16, 16)
    mask[:, :, :4, :4] = 0
    return PairBatch(clean.flip(0), clean, torch.full((2, 3, 16, 16), 0.2), mask, mask, mask)


def test_each_contrast_is_decoded_from_the_anatomy_of_the_other_image(pairs):
    recipe = make_recipe(pairs)
    losses = recipe.compute_losses(torch.Generator())
    assert losses.keys() == {"intensity", "fractions", "kl"}
    assert losses["intensity"].item() == 0
    assert recipe.validate(recipe.module) == math.inf
    straight = replace(pairs, images=pairs.clean)
    inside = pairs.mask.bool()
    gap = (pairs.clean[0] - pairs.clean[1])[inside]
    losses = make_recipe(straight).compute_losses(torch.Generator())
    assert losses["intensity"].item() == pytest.approx(5 * gap.abs().mean().item(), rel=1e-5)
    # The gap is the same both ways, so two images stand for four.
    of_images = gap.square().unflatten(0, (2, -1)).mean(dim=1)
    psnr = (-10 * torch.log10(of_images)).mean().item()
    assert make_recipe(straight).validate(recipe.module) == pytest.approx(psnr, rel=1e-5)


def test_fractions_are_held_to_the_truth_where_it_is_known(pairs):
    known = torch.zeros_like(pairs.mask)
    known[:, :, 8:, 8:] = 1
    batch = replace(pairs, known=known)
    gap = (pairs.images[:, :, :, 8:, 8:] - 0.2).abs().mean().item()
    losses = make_recipe(batch).compute_losses(torch.Generator())
    assert losses["fractions"].item() == pytest.approx(gap, rel=1e-5)


def test_what_is_drawn_counts_as_much_as_its_weight(pairs):
    weight = pairs.mask.clone()
    weight[:, :, 8:] = 0.1
    straight = replace(pairs, images=pairs.clean, weight=weight)
    gap = (pairs.clean[0] - pairs.clean[1]).abs()
    expected = (gap * weight).sum() / weight.sum()
    losses = make_recipe(straight).compute_losses(torch.Generator())
    assert losses["intensity"].item() == pytest.approx(5 * expected.item(), rel=1e-5)


def test_a_style_costs_what_it_tells_summed_over_its_numbers(pairs):
    per_number = 0.5 * (math.exp(-8) - 1 + 8)
    losses = make_recipe(pairs).compute_losses(torch.Generator())
    assert losses["kl"].item() == pytest.approx(1e-3 * 3 * per_number, rel=1e-5)


def test_only_translator_networks_are_validated(pairs):
    with pytest.raises(TypeError, match="expected TranslatorNetworks, got Linear"):
        make_recipe(pairs).validate(torch.nn.Linear(1, 1))


def test_training_begins_with_the_weights_that_are_given(trained, tmp_path):
    start = safetensors.torch.load_file(trained[1])
    still = SETTINGS.loop.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    train_translator(
        [make_ball("ball")],
        [make_ball("other")],
        tmp_path / "translator.safetensors",
        tmp_path / "run",
        SETTINGS.model_copy(update={"loop": still}),
        description=TINY,
        start=start,
        report=lambda _: None,
    )
    written = safetensors.torch.load_file(tmp_path / "translator.safetensors")
    for name, value in start.items():
        if not name.endswith(("running_mean", "running_var")):
            torch.testing.assert_close(written[name], value, rtol=0, atol=1e-9)
