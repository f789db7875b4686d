"""Recipe anchored: what a site learns, keeps and may send; and that nothing else moves."""

import copy
import functools
import json
import logging
import shutil

import numpy as np
import pytest
import torch

from prism_mri.card import publish_card, read_card
from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import CompatibilityError, InputError
from prism_mri.metrics import compute_ssim
from prism_mri.models.site_model import read_model
from prism_mri.models.style import encode_volume_style, select_style_slices
from prism_mri.models.translator import seal_translator
from prism_mri.networks.adapter import is_adapter
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder
from prism_mri.preprocessing.conform import brain_box
from prism_mri.training.anchored import (
    AnchoredNetworks,
    AnchoredRecipe,
    AnchoredSettings,
    SliceSet,
    train_anchored,
)
from prism_mri.training.loop import LoopSettings

SHORT = AnchoredSettings(
    epochs=2, batch=2, crop=32, max_steps_per_epoch=2, perceptual_images=1, learning_rate=1e-3
)


@pytest.fixture
def train(prepared, translator, tmp_path):
    """Train on a site; return the outcome and the lines reported."""

    def run(settings=SHORT, *, out="model", data=prepared, start=translator, **options):
        lines = []
        options.setdefault("report", lines.append)
        outcome = train_anchored(data, tmp_path / out, settings, translator=start, **options)
        return outcome, lines

    return run


@pytest.fixture(scope="module")
def trained(prepared, translator, tmp_path_factory):
    """A model that learnt for four times five steps."""
    out = tmp_path_factory.mktemp("trained") / "guys"
    settings = SHORT.model_copy(
        update={"epochs": 4, "max_steps_per_epoch": 9, "learning_rate": 0.04}
    )
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        # From random weights the average over a hundred steps, meant for fine-tuning, lags behind.
        quick = functools.partial(LoopSettings, weight_averaging=0.7)
        patch.setattr("prism_mri.training.anchored.LoopSettings", quick)
        outcome = train_anchored(
            prepared, out, settings, translator=translator, report=lines.append
        )
    return out, outcome, lines


def parameters_of(translator):
    """Return style encoder and decoder as a model stores them."""
    networks = translator.networks
    return {
        f"{prefix}.{name}": tensor
        for prefix in ("style_encoder", "decoder")
        for name, tensor in getattr(networks, prefix).state_dict().items()
    }


# --- what is learnt and left ----------------------------------------------------------------------


def test_training_brings_held_out_slices_nearer(trained):
    _, outcome, lines = trained
    before = float(lines[0].rpartition(" ")[2])
    assert outcome.best_epoch > 0
    assert outcome.best_score > before + 0.1
    assert all(term in lines[1] for term in ("l1 ", "perceptual ", "kl ", "cycle ", "score "))


def test_the_model_says_what_it_was_trained_on(trained, prepared, translator):
    out, outcome, _ = trained
    description, _ = read_model(out)
    manifest = read_prepared(prepared).manifest
    assert (description.site, description.people, description.images) == ("guys", 3, 3)
    assert (description.contract,) == translator.description.contracts
    assert description.anatomy_digest == translator.digest
    assert description.slices == sum(
        len(image.train_slices) + len(image.validation_slices) for image in manifest.images
    )
    scales = [image.scale for image in manifest.images]
    assert description.intensity_scale == pytest.approx(sum(scales) / 3)
    assert max(scales) > 2.5 * min(scales)
    training = description.training
    assert (training.best_epoch, training.validation_ssim) == (
        outcome.best_epoch,
        outcome.best_score,
    )
    assert training.steps == 5 * outcome.best_epoch  # ten slices in batches of two
    assert set(training.versions) == {"prism-mri", "torch", "python"}


def test_nothing_of_the_anatomy_encoder_is_in_the_model(trained, translator):
    out, *_ = trained
    _, tensors = read_model(out)
    prior = {f"{of}.{part}" for of in ("style_prior", "base_style") for part in ("mean", "std")}
    assert tensors.keys() == parameters_of(translator).keys() | prior
    anatomy = list(translator.networks.anatomy_encoder.state_dict().values())
    for name, tensor in tensors.items():
        same = [other for other in anatomy if other.shape == tensor.shape and tensor.numel() > 64]
        assert not any(torch.equal(tensor, other) for other in same), name


def test_weights_change_and_normalization_statistics_stay(trained, translator):
    _, tensors = read_model(trained[0])
    for name, start in parameters_of(translator).items():
        statistic = name.endswith(("running_mean", "running_var"))
        assert torch.equal(tensors[name], start) is statistic, name


def test_the_translator_itself_is_not_changed(train, translator):
    before = {name: t.clone() for name, t in translator.networks.state_dict().items()}
    train()
    after = translator.networks.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(weight.requires_grad for weight in translator.networks.parameters())


def test_the_prior_is_of_the_training_peoples_styles_under_the_new_encoder(
    trained, prepared, translator
):
    _, tensors = read_model(trained[0])
    encoder = make_style_encoder(translator, tensors)
    styles = []
    for image in read_prepared(prepared).split("train"):
        slices, mask = image.load()
        chosen = select_style_slices(mask)
        rows, columns = brain_box(mask[chosen])
        cut, inside = slices[chosen][:, rows, columns], mask[chosen][:, rows, columns]
        with torch.no_grad():
            anatomy = translator.networks.anatomy_encoder(torch.from_numpy(cut.copy())[:, None])
        styles.append(encode_volume_style(cut.copy(), inside.copy(), anatomy, encoder).numpy())
    assert len(styles) == 2
    mean, spread = np.mean(styles, axis=0), np.std(styles, axis=0, ddof=1)
    np.testing.assert_allclose(tensors["style_prior.mean"].numpy(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tensors["style_prior.std"].numpy(), spread, rtol=1e-3, atol=1e-5)


def make_style_encoder(translator, tensors):
    networks = AnchoredNetworks(translator.networks.style_encoder, translator.networks.decoder)
    state = {name: tensors[name] for name in networks.state_dict()}
    copied = AnchoredNetworks(
        type(networks.style_encoder)(width=4, style_dim=3),
        type(networks.decoder)(anatomy_channels=4, style_dim=3, width=4),
    )
    copied.load_state_dict(state)
    return copied.eval().style_encoder


def test_the_model_can_be_published(trained, tmp_path):
    publish_card(trained[0], tmp_path / "guys.prism", private_key=None, local_only=True)
    card = read_card(tmp_path / "guys.prism", allow_unsigned=True)
    _, tensors = read_model(trained[0])
    assert (card.manifest.people, card.manifest.local_only) == (3, True)
    assert torch.equal(card.style_mean, tensors["style_prior.mean"])
    assert torch.equal(card.decoder.head.weight, tensors["decoder.head.weight"])


def test_no_epochs_leave_the_shipped_networks_and_the_sites_own_style(train, translator, tmp_path):
    outcome, _ = train(SHORT.model_copy(update={"epochs": 0}))
    assert (outcome.epochs, outcome.steps, outcome.best_epoch) == (0, 0, 0)
    description, tensors = read_model(tmp_path / "model")
    assert description.complete
    for name, tensor in parameters_of(translator).items():
        assert torch.equal(tensors[name], tensor), name
    assert torch.isfinite(tensors["style_prior.mean"]).all()
    publish_card(tmp_path / "model", tmp_path / "style.prism", private_key=None, local_only=True)


def test_kind_adapter_moves_the_adapters_and_nothing_else(train, translator, tmp_path):
    outcome, _ = train(SHORT.model_copy(update={"kind": "adapter", "learning_rate": 0.02}))
    description, tensors = read_model(tmp_path / "model")
    assert (description.kind, description.base_digest) == ("adapter", translator.base_digest)
    assert outcome.best_epoch > 0
    moved = {
        name
        for name, tensor in parameters_of(translator).items()
        if not torch.equal(tensors[name], tensor)
    }
    adapters = {
        name
        for name in parameters_of(translator)
        if name.startswith("decoder.") and is_adapter(name)
    }
    assert moved == adapters
    card = tmp_path / "site.prism"
    publish_card(tmp_path / "model", card, private_key=None, local_only=True, translator=translator)
    assert read_card(card, allow_unsigned=True, translator=translator).manifest.kind == "adapter"


def test_kind_style_trains_nothing(train, translator, tmp_path):
    outcome, _ = train(SHORT.model_copy(update={"kind": "style"}))
    description, tensors = read_model(tmp_path / "model")
    assert (outcome.epochs, description.kind, description.complete) == (0, "style", True)
    for name, tensor in parameters_of(translator).items():
        assert torch.equal(tensors[name], tensor), name


def test_every_model_keeps_the_styles_that_the_shipped_encoder_reads(
    trained, train, translator, tmp_path
):
    """What a style card of a fine-tuned model says is what one of an untrained model says."""
    train(SHORT.model_copy(update={"epochs": 0}))
    _, untrained = read_model(tmp_path / "model")
    _, tensors = read_model(trained[0])
    for part in ("mean", "std"):
        assert torch.equal(untrained[f"style_prior.{part}"], untrained[f"base_style.{part}"])
        assert torch.equal(tensors[f"base_style.{part}"], untrained[f"base_style.{part}"])
    assert not torch.equal(tensors["style_prior.mean"], tensors["base_style.mean"])


def test_training_that_only_harms_leaves_the_translators_weights(
    trained, train, translator, tmp_path
):
    _, tensors = read_model(trained[0])
    networks = copy.deepcopy(translator.networks)
    for prefix in ("style_encoder", "decoder"):
        part = getattr(networks, prefix)
        part.load_state_dict({name: tensors[f"{prefix}.{name}"] for name in part.state_dict()})
    good = seal_translator(networks, translator.description)
    settings = SHORT.model_copy(update={"learning_rate": 5.0, "max_steps_per_epoch": 1})
    outcome, lines = train(settings, start=good)
    assert (outcome.best_epoch, outcome.epochs) == (0, 2)
    assert outcome.best_score == pytest.approx(trained[1].best_score, abs=1e-3)
    assert float(lines[1].split("score ")[1].split(" ")[0]) < outcome.best_score - 0.1
    description, kept = read_model(tmp_path / "model")
    assert (description.training.best_epoch, description.training.steps) == (0, 2)
    start = parameters_of(good)
    assert all(torch.equal(kept[name], tensor) for name, tensor in start.items())


def test_one_person_is_enough_with_a_warning(make_prepared, train, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        alone = make_prepared(1)
    assert "one person only: validating on held-out slices" in caplog.text
    outcome, _ = train(data=alone)
    description, tensors = read_model(tmp_path / "model")
    assert (description.people, description.images, outcome.epochs) == (1, 1, 2)
    assert tensors["style_prior.std"].tolist() == [0.0] * 3


# --- repeatable, and going on after an interruption -----------------------------------------------


def read_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_training_goes_on_bit_for_bit(train, tmp_path):
    settings = SHORT.model_copy(update={"epochs": 3})
    train(settings, out="once", seed=4)

    def interrupt(line):
        if line.startswith("epoch 1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, seed=4, report=interrupt)
    assert "model.json" in read_files(tmp_path / "model")
    train(settings, seed=4, resume=True)
    assert read_files(tmp_path / "model") == read_files(tmp_path / "once")
    train(settings, out="other", seed=5)
    assert (tmp_path / "other" / "last.safetensors").read_bytes() != (
        tmp_path / "once" / "last.safetensors"
    ).read_bytes()


def test_resuming_on_other_data_or_settings_is_refused(train, prepared, tmp_path):
    train()
    with pytest.raises(InputError, match="under other settings or data"):
        train(SHORT.model_copy(update={"cycle_weight": 0.2}), resume=True)
    shutil.copytree(prepared, tmp_path / "changed")
    manifest = json.loads((prepared / "prepared.json").read_text())
    manifest["images"][0]["scale"] *= 2
    (tmp_path / "changed" / "prepared.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="under other settings or data"):
        train(data=tmp_path / "changed", resume=True)


# --- refusals -------------------------------------------------------------------------------------


def test_a_model_is_not_trained_over(train, tmp_path):
    train()
    before = read_files(tmp_path / "model")
    with pytest.raises(InputError, match=r"model holds a model already: .*with --resume"):
        train(seed=7)
    assert read_files(tmp_path / "model") == before


def test_data_prepared_under_another_contract_is_refused(make_prepared, train, tmp_path):
    contract = PreprocessingContract(shape=(64, 48), min_brain_area_mm2=150.0)
    with pytest.raises(CompatibilityError, match=r"prepared under another contract .*prepare it"):
        train(data=make_prepared(2, contract))
    assert not (tmp_path / "model").exists()


def test_a_folder_that_is_no_prepared_dataset_is_refused(train, tmp_path):
    with pytest.raises(InputError, match=r"no prepared dataset.*prism-mri prepare"):
        train(data=tmp_path)
    assert not (tmp_path / "model").exists()


# --- parts ----------------------------------------------------------------------------------------


def make_slices(count=6, height=40, width=24):
    """Return slices whose anatomy and mask repeat the image, so that a crop can be compared."""
    image = torch.arange(count * height * width, dtype=torch.float32)
    image = image.reshape(count, 1, height, width) / 2048
    return SliceSet(image, image.clone(), image.expand(-1, 3, -1, -1).clone())


def test_crops_cut_image_mask_and_anatomy_alike_and_mirror_left_and_right():
    slices, generator = make_slices(), torch.Generator().manual_seed(0)
    index, mirrored, corners = torch.tensor([4, 1]), 0, set()
    for _ in range(60):
        crop = slices.crop(index, 32, generator)
        assert crop.images.shape == (2, 1, 32, 24)
        assert torch.equal(crop.images, crop.masks)
        assert torch.equal(crop.images.expand(-1, 3, -1, -1), crop.anatomy)
        flipped = bool(crop.images[0, 0, 0, 0] > crop.images[0, 0, 1, 0])
        window = crop.images.flip(2) if flipped else crop.images
        top = next(
            row for row in range(9) if torch.equal(window, slices.images[index, :, row : row + 32])
        )
        mirrored, corners = mirrored + flipped, corners | {top}
    assert 15 < mirrored < 45
    assert {0, 8} <= corners


class OneStyle(StyleEncoder):
    """Reads the same style off every image."""

    def forward(self, image, *_):
        style = torch.tensor([0.3, -1.0, 2.0]).expand(len(image), 3)
        return GaussianStyle(style, style * 0)


def test_validation_is_of_reconstructions_inside_the_brain(translator):
    decoder = translator.networks.decoder
    networks = AnchoredNetworks(OneStyle(width=4, style_dim=3), decoder)
    generator = torch.Generator().manual_seed(2)
    mask = torch.zeros(9, 1, 32, 32)
    mask[:, :, 4:28, 6:30] = 1
    anatomy = torch.rand(9, 4, 32, 32, generator=generator)
    with torch.no_grad():
        decoded = decoder(anatomy, torch.tensor([[0.3, -1.0, 2.0]]).expand(9, 3)) * mask
    noisy = decoded + 0.1 * torch.rand(9, 1, 32, 32, generator=generator) * mask

    def validate(images):
        held = SliceSet(images, mask, anatomy.half())
        return AnchoredRecipe(networks, SHORT, held, held).validate(networks)

    assert validate(decoded) == pytest.approx(1, abs=1e-4)
    arrays = (part[:, 0].numpy() for part in (decoded, noisy, mask > 0.5))
    assert validate(noisy) == pytest.approx(compute_ssim(*arrays), abs=1e-4)
    assert validate(noisy) < 0.9
    recipe = AnchoredRecipe(networks, SHORT, *[SliceSet(noisy, mask, anatomy)] * 2)
    with pytest.raises(TypeError, match="expected AnchoredNetworks, got Linear"):
        recipe.validate(torch.nn.Linear(1, 1))


def test_losses_are_the_four_terms_and_reach_every_weight(translator):
    networks = make_networks(translator)
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(4, 1, 32, 32, generator=generator)
    anatomy = torch.rand(4, 4, 32, 32, generator=generator)
    slices = SliceSet(images, torch.ones_like(images), anatomy)
    recipe = AnchoredRecipe(networks, SHORT, slices, slices)
    losses = recipe.compute_losses(generator)
    assert losses.keys() == {"l1", "perceptual", "kl", "cycle"}
    assert all(term.item() > 0 for term in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for name, weight in networks.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_the_cycle_decodes_every_image_under_its_neighbours_style(translator, monkeypatch):
    networks, styles = make_networks(translator), []
    forward = type(networks.decoder).forward

    def note(self, anatomy, style):
        styles.append(style)
        return forward(self, anatomy, style)

    monkeypatch.setattr(type(networks.decoder), "forward", note)
    images = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    slices = SliceSet(images, torch.ones_like(images), images.expand(-1, 4, -1, -1))
    settings = SHORT.model_copy(update={"batch": 4})
    AnchoredRecipe(networks, settings, slices, slices).compute_losses(torch.Generator())
    own, foreign = styles
    assert torch.equal(foreign, own.roll(1, dims=0))
    assert not torch.equal(foreign, own)
    assert own.requires_grad
    assert not foreign.requires_grad


def make_networks(translator):
    networks = AnchoredNetworks(
        type(translator.networks.style_encoder)(width=4, style_dim=3),
        type(translator.networks.decoder)(anatomy_channels=4, style_dim=3, width=4),
    )
    return networks.eval()
