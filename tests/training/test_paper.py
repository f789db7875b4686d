"""Recipe paper: what it trains on, what it leaves, and that a run can be had again."""

import functools
import shutil

import numpy as np
import pytest
import torch

from prism_mri.card import publish_card, read_card
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import InputError
from prism_mri.metrics.slice_scores import compute_whole_slice_scores
from prism_mri.models.site_model import read_anatomy_encoder, read_model
from prism_mri.models.style import encode_volume_style, select_style_slices
from prism_mri.models.translator import compute_digest
from prism_mri.networks.registry import PAPER_SIZES
from prism_mri.preprocessing.conform import brain_box
from prism_mri.training.anchored import AnchoredSettings, train_anchored
from prism_mri.training.loop import LoopSettings
from prism_mri.training.paper import (
    ImageSet,
    PaperNetworks,
    PaperRecipe,
    PaperSettings,
    build_paper_networks,
    train_paper,
)

SHORT = PaperSettings(epochs=2, batch=2, crop=32, max_steps_per_epoch=1, patches=4)
LONGER = {"epochs": 4, "max_steps_per_epoch": 9, "learning_rate": 5e-3}
TERMS = {"l1", "perceptual", "kl", "nce", "anatomy_cycle", "style_cycle"}


@pytest.fixture
def train(prepared, tmp_path):
    """Train on a site; return the outcome and the lines reported."""

    def run(settings=SHORT, *, out="model", **options):
        lines = []
        options.setdefault("report", lines.append)
        outcome = train_paper(prepared, tmp_path / out, settings, device="cpu", **options)
        return outcome, lines

    return run


def average_quickly(patch):
    """Shorten the average over a hundred steps, which would hardly leave the initial weights."""
    quick = functools.partial(LoopSettings, weight_averaging=0.5)
    patch.setattr("prism_mri.training.paper.LoopSettings", quick)


@pytest.fixture
def quick_average(monkeypatch):
    average_quickly(monkeypatch)


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """A model that learnt for four times five steps."""
    out = tmp_path_factory.mktemp("trained") / "guys"
    settings = SHORT.model_copy(update=LONGER)
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        average_quickly(patch)
        outcome = train_paper(prepared, out, settings, seed=3, device="cpu", report=lines.append)
    return out, outcome, lines


# --- what is learnt and left ----------------------------------------------------------------------


def test_training_brings_held_out_slices_nearer(trained):
    _, outcome, lines = trained
    before = float(lines[0].rpartition(" ")[2])
    assert (outcome.epochs, outcome.steps) == (4, 20)
    assert outcome.best_score > before + 0.05
    assert all(f"{term} " in lines[1] for term in TERMS)


def test_the_model_says_its_recipe_its_networks_and_its_own_anatomy(trained):
    description, tensors = read_model(trained[0])
    size = PAPER_SIZES["small"]
    assert (description.recipe, description.site, description.people) == ("paper", "guys", 3)
    assert description.complete
    assert description.anatomy_encoder == size.anatomy_encoder
    assert description.style_encoder == size.style_encoder
    assert description.decoder == size.decoder
    assert description.training.seed == 3
    assert description.training.validation_ssim == trained[1].best_score
    own = {
        name.removeprefix("anatomy_encoder."): tensor
        for name, tensor in tensors.items()
        if name.startswith("anatomy_encoder.")
    }
    assert description.anatomy_digest == compute_digest(own)


def test_the_model_holds_three_networks_and_the_prior_and_no_projector(trained):
    _, tensors = read_model(trained[0])
    networks = build_paper_networks(SHORT, site="guys", seed=3)
    assert any(name.startswith("projector.") for name in networks.state_dict())
    parts = ("anatomy_encoder.", "style_encoder.", "decoder.")
    names = {name for name in networks.state_dict() if name.startswith(parts)}
    assert tensors.keys() == names | {"style_prior.mean", "style_prior.std"}


def test_its_anatomy_encoder_is_read_back_ready_to_use(trained, translator):
    encoder = read_anatomy_encoder(trained[0], translator)
    _, tensors = read_model(trained[0])
    assert not encoder.training
    assert not any(weight.requires_grad for weight in encoder.parameters())
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, tensors[f"anatomy_encoder.{name}"]), name
    image = torch.rand(1, 1, 37, 20, generator=torch.Generator().manual_seed(0))
    anatomy = encoder(image)
    assert torch.equal(anatomy, encoder(image))
    assert anatomy.shape == image.shape


def test_the_prior_is_of_the_training_peoples_styles(trained, prepared):
    _, tensors = read_model(trained[0])
    networks = build_paper_networks(SHORT, site="guys", seed=0).eval()
    own = {name: value for name, value in tensors.items() if not name.startswith("style_prior.")}
    networks.load_state_dict(own, strict=False)
    styles = []
    for image in read_prepared(prepared).split("train"):
        slices, mask = image.load()
        chosen = select_style_slices(mask)
        rows, columns = brain_box(mask[chosen])
        cut, inside = slices[chosen][:, rows, columns], mask[chosen][:, rows, columns]
        anatomy = networks.anatomy_encoder(torch.from_numpy(cut.copy())[:, None])
        style = encode_volume_style(cut.copy(), inside.copy(), anatomy, networks.style_encoder)
        styles.append(style.numpy())
    mean, spread = np.mean(styles, axis=0), np.std(styles, axis=0, ddof=1)
    np.testing.assert_allclose(tensors["style_prior.mean"].numpy(), mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tensors["style_prior.std"].numpy(), spread, rtol=1e-3, atol=1e-5)


def test_a_card_of_it_leaves_the_anatomy_encoder_at_home(trained, tmp_path):
    path = tmp_path / "guys.prism"
    publish_card(trained[0], path, private_key=None, local_only=True)
    card = read_card(path, allow_unsigned=True)
    description, tensors = read_model(trained[0])
    assert card.manifest.recipe == "paper"
    assert card.manifest.anatomy_digest == description.anatomy_digest
    for part in ("style_encoder", "decoder"):
        for name, tensor in getattr(card, part).state_dict().items():
            assert torch.equal(tensor, tensors[f"{part}.{name}"]), name
    content = path.read_bytes()
    assert b"anatomy_encoder." not in content
    kept = tensors["anatomy_encoder.unet.encode.1.0.0.weight"]
    assert kept.numpy().tobytes()[:64] not in content


# --- repeatable, and going on after an interruption -----------------------------------------------


def read_files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_training_goes_on_bit_for_bit(train, tmp_path):
    train(out="once", seed=4)

    def interrupt(line):
        if line.startswith("epoch 1/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(seed=4, report=interrupt)
    with pytest.raises(InputError, match="cut short"):
        publish_card(tmp_path / "model", tmp_path / "c", private_key=None, local_only=True)
    torch.rand(3)  # what else the process draws does not matter
    train(seed=4, resume=True)
    once = read_files(tmp_path / "once")
    assert read_files(tmp_path / "model") == once
    train(SHORT.model_copy(update={"epochs": 1}), out="other", seed=5)
    assert read_files(tmp_path / "other")["best.safetensors"] != once["best.safetensors"]


def test_training_ends_with_the_epoch_that_is_good_enough(trained, train, quick_average):
    scores = [float(line.split("score ")[1].split()[0]) for line in trained[2]]
    reached = next(epoch for epoch in (1, 2, 3) if scores[epoch] > max(scores[:epoch]) + 0.01)
    enough = {**LONGER, "stop_at_ssim": scores[reached] - 0.005}
    outcome, _ = train(SHORT.model_copy(update=enough), seed=3)
    # As far as it goes it is the longer run: what was to come does not shape what was.
    assert (outcome.epochs, outcome.best_epoch) == (reached, reached)
    assert outcome.best_score == pytest.approx(scores[reached], abs=1e-4)


def test_a_model_is_not_trained_over(trained, train):
    before = read_files(trained[0])
    with pytest.raises(InputError, match=r"guys holds a model already: .*with --resume"):
        train(out=trained[0], seed=7)
    assert read_files(trained[0]) == before


# --- initial weights ------------------------------------------------------------------------------


def initial_weights(site, *, seed=0, **settings):
    networks = build_paper_networks(SHORT.model_copy(update=settings), site=site, seed=seed)
    return torch.cat([weight.flatten() for weight in networks.parameters()])


def test_sites_start_from_weights_of_their_own_unless_common():
    own = initial_weights("guys")
    assert torch.equal(own, initial_weights("guys"))
    assert not torch.equal(own, initial_weights("hh"))
    assert not torch.equal(own, initial_weights("guys", seed=1))
    common = initial_weights("guys", initialization="common")
    assert torch.equal(common, initial_weights("hh", initialization="common"))
    assert not torch.equal(common, initial_weights("hh", initialization="common", seed=1))
    assert not torch.equal(common, own)


def test_building_leaves_the_callers_random_state_alone():
    torch.manual_seed(8)
    wanted = torch.rand(1)
    torch.manual_seed(8)
    build_paper_networks(SHORT, site="guys", seed=0)
    assert torch.equal(torch.rand(1), wanted)


def test_the_published_size_is_what_the_registry_says():
    networks = build_paper_networks(PaperSettings(size="published"), site="guys", seed=0)
    size = PAPER_SIZES["published"]
    assert networks.decoder.unet.head.in_channels == size.decoder.width
    assert networks.anatomy_encoder.unet.head.in_channels == size.anatomy_encoder.width


# --- a step ---------------------------------------------------------------------------------------


def make_data(count=4, side=32):
    """Return noise in a brain that leaves a rim of eight pixels."""
    masks = torch.zeros(count, 1, side, side)
    masks[..., 8:-8, 8:-8] = 1
    images = torch.rand(masks.shape, generator=torch.Generator().manual_seed(2)) * masks
    return ImageSet(images, masks)


def make_recipe(networks=None, **settings):
    networks = networks or build_paper_networks(SHORT, site="guys", seed=0)
    data = make_data()
    chosen = SHORT.model_copy(update=settings)
    return PaperRecipe(networks.train(), chosen, data, data, grid=(48, 40))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_losses_are_the_six_terms_and_reach_every_weight():
    recipe = make_recipe()
    losses = recipe.compute_losses(seeded())
    assert losses.keys() == TERMS
    assert all(term.item() > 0 for term in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for name, weight in recipe.module.named_parameters():
        assert weight.grad is not None, name
        # The normalization behind the head takes its bias out again.
        assert weight.grad.abs().sum() > 0 or name == "anatomy_encoder.unet.head.bias", name


@pytest.mark.parametrize(
    ("weight", "term"),
    [
        ("intensity_weight", "l1"),
        ("perceptual_weight", "perceptual"),
        ("kl_weight", "kl"),
        ("nce_weight", "nce"),
        ("anatomy_cycle_weight", "anatomy_cycle"),
        ("style_cycle_weight", "style_cycle"),
    ],
)
def test_each_weight_scales_its_term_alone(weight, term):
    networks = build_paper_networks(SHORT, site="guys", seed=0)
    plain = make_recipe(networks).compute_losses(seeded())
    doubled = make_recipe(networks, **{weight: 2 * getattr(SHORT, weight)})
    for name, value in doubled.compute_losses(seeded()).items():
        factor = 2 if name == term else 1
        assert value.item() == pytest.approx(factor * plain[name].item(), rel=1e-5), name


@pytest.fixture
def calls(monkeypatch):
    """Note what is encoded to anatomy, and what is decoded to what."""
    noted = {"sampled": [], "anatomies": [], "decoded": [], "styles": []}
    networks = build_paper_networks(SHORT, site="guys", seed=0)
    sample, decode = networks.anatomy_encoder.sample, networks.decoder.forward

    def note_sample(image, **options):
        noted["sampled"].append(image)
        noted["anatomies"].append(sample(image, **options))
        return noted["anatomies"][-1]

    def note_decode(anatomy, style):
        noted["styles"].append((anatomy, style))
        noted["decoded"].append(decode(anatomy, style))
        return noted["decoded"][-1]

    monkeypatch.setattr(networks.anatomy_encoder, "sample", note_sample)
    monkeypatch.setattr(networks.decoder, "forward", note_decode)
    return networks, noted


def test_images_and_their_gamma_copies_are_encoded_together_then_what_was_decoded(calls):
    networks, noted = calls
    make_recipe(networks).compute_losses(seeded())
    copies, again = noted["sampled"]
    image, half, more = copies.split(2)
    assert torch.equal(half, image.sqrt())
    torch.testing.assert_close(more, image * image.sqrt())
    assert (copies[image.repeat(3, 1, 1, 1) == 0] == 0).all()
    assert torch.equal(again, noted["decoded"][0])
    anatomy, style = noted["styles"][0]
    assert torch.equal(anatomy, noted["anatomies"][0][:2])
    assert style.shape == (2, 2)


def test_reconstruction_counts_the_background(calls):
    networks, noted = calls
    losses = make_recipe(networks).compute_losses(seeded())
    image, decoded = noted["sampled"][0][:2], noted["decoded"][0]
    assert (image == 0).float().mean() > 0.5
    error = (decoded - image).abs().mean().item()
    assert losses["l1"].item() == pytest.approx(SHORT.intensity_weight * error, rel=1e-5)


def test_the_cycle_asks_the_decoded_image_for_the_anatomy_and_style_it_came_from(calls):
    networks, noted = calls
    losses = make_recipe(networks).compute_losses(seeded())
    first, again = noted["anatomies"]
    distance = (again - first[:2]).abs().mean().item()
    weight = SHORT.anatomy_cycle_weight
    assert losses["anatomy_cycle"].item() == pytest.approx(weight * distance, rel=1e-5)
    # The first anatomy is a target and gets no gradient but through the image decoded from it.
    (gradient,) = torch.autograd.grad(losses["anatomy_cycle"], again, retain_graph=True)
    torch.testing.assert_close(gradient, weight * (again - first[:2]).sign() / again.numel())
    through = torch.autograd.grad(losses["anatomy_cycle"], noted["decoded"][0], retain_graph=True)
    (beyond,) = torch.autograd.grad(losses["anatomy_cycle"], first, retain_graph=True)
    decoded = noted["decoded"][0]
    (wanted,) = torch.autograd.grad(decoded, first, through[0], retain_graph=True)
    torch.testing.assert_close(beyond, wanted)


def test_the_published_objective_is_another_one():
    networks = build_paper_networks(SHORT, site="guys", seed=0)
    ours = make_recipe(networks).compute_losses(seeded())
    published = make_recipe(networks, objective="published-code").compute_losses(seeded())
    differing = {name for name in TERMS if ours[name].item() != published[name].item()}
    assert differing == {"nce"}


def test_slices_are_drawn_with_windows_of_their_own_and_cut_alike():
    image = torch.arange(3 * 64 * 48, dtype=torch.float32).reshape(3, 1, 64, 48)
    batch = ImageSet(image, image.clone()).draw(40, 32, seeded())
    assert batch.images.shape == (40, 1, 32, 32)
    assert torch.equal(batch.images, batch.masks)
    corners = batch.images[:, 0].flatten(1).min(dim=1).values
    assert len(corners.unique()) > 30
    assert {int(corner) // (64 * 48) for corner in corners} == {0, 1, 2}
    whole = ImageSet(image, image).draw(2, None, seeded())
    assert whole.images.shape == (2, 1, 64, 48)


def test_slices_to_validate_on_are_thinned_evenly():
    image = torch.arange(9.0).reshape(9, 1, 1, 1)
    thin = ImageSet(image, image).thin(3)
    assert thin.images.flatten().tolist() == thin.masks.flatten().tolist() == [0.0, 4.0, 8.0]
    assert torch.equal(ImageSet(image, image).thin(20).images, image)


def test_validation_is_of_whole_slices_with_the_background_as_it_is_drawn():
    networks = build_paper_networks(SHORT, site="guys", seed=0).eval()
    recipe, held = make_recipe(networks), make_data()
    score = recipe.validate(networks)
    anatomy = networks.anatomy_encoder(held.images)
    with torch.no_grad():
        style = networks.style_encoder(held.images, anatomy, held.masks).mean
        decoded = networks.decoder(anatomy, style)
    drawn, true = (np.zeros((4, 48, 40), np.float32) for _ in range(2))
    drawn[:, :32, :32], true[:, :32, :32] = decoded[:, 0], held.images[:, 0]
    assert score == pytest.approx(compute_whole_slice_scores(drawn, true).ssim.mean(), abs=1e-6)
    assert score == recipe.validate(networks)
    with pytest.raises(TypeError, match="expected PaperNetworks, got Linear"):
        recipe.validate(torch.nn.Linear(1, 1))


def test_networks_are_only_these():
    assert {name for name, _ in PaperNetworks.named_children(make_recipe().module)} == {
        "anatomy_encoder", "style_encoder", "decoder", "projector",
    }  # fmt: skip


def test_a_whole_model_without_a_checkpoint_is_not_resumed_into(trained, prepared, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    (copy / "last.safetensors").unlink()
    before = (copy / "best.safetensors").read_bytes()
    with pytest.raises(InputError, match="whole model without a checkpoint"):
        train_paper(prepared, copy, SHORT, resume=True, device="cpu", report=print)
    assert (copy / "best.safetensors").read_bytes() == before


def test_a_model_of_another_recipe_is_not_resumed_into(trained, prepared, translator):
    with pytest.raises(InputError, match="of recipe paper, not anchored: choose another --out"):
        train_anchored(
            prepared,
            trained[0],
            AnchoredSettings(),
            translator=translator,
            resume=True,
            report=print,
        )
