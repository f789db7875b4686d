"""Differentially private training: what is released, and what of it depends on one person."""

import json

import numpy as np
import pytest
import torch
from opacus.optimizers import DPOptimizer

from prism_mri.data.prepared import read_prepared
from prism_mri.errors import ConfigError, InputError
from prism_mri.models.guarantee import INTENSITY_SCALE
from prism_mri.models.site_model import read_model
from prism_mri.networks.adapter import is_adapter
from prism_mri.training import private
from prism_mri.training.anchored import AnchoredSettings
from prism_mri.training.mechanism import PrivacySettings
from prism_mri.training.private import train_private

PRIVACY = PrivacySettings(epsilon=8.0, steps=2, slices=2)


def settings(kind: str) -> AnchoredSettings:
    return AnchoredSettings(kind=kind, crop=32, perceptual_images=1)


@pytest.fixture(scope="module")
def train(make_prepared, translator, tmp_path_factory):
    site = make_prepared(4)

    def run(kind="adapter", seed=0, privacy=PRIVACY):
        out = tmp_path_factory.mktemp("model") / "model"
        lines = []
        train_private(
            site,
            out,
            settings(kind),
            privacy,
            translator=translator,
            device="cpu",
            numbers=np.random.default_rng(seed),
            report=lines.append,
        )
        return out, lines

    return run


def test_only_adapters_and_styles_are_trained(train, translator):
    out, lines = train()
    _, tensors = read_model(out)
    shipped = translator.networks.decoder.state_dict()
    for name, tensor in shipped.items():
        assert torch.equal(tensors[f"decoder.{name}"], tensor) != is_adapter(name), name
    for name, tensor in translator.networks.style_encoder.state_dict().items():
        assert torch.equal(tensors[f"style_encoder.{name}"], tensor), name
    # Released once, and used for every kind.
    assert torch.equal(tensors["style_prior.mean"], tensors["base_style.mean"])
    assert tensors["style_prior.std"].tolist() == [0.0, 0.0, 0.0]
    assert lines[-1].startswith("released with ε = 8, δ = 1e-05, for every person of 3 (opacus ")


def test_description_tells_the_number_of_people_and_the_guarantee(train):
    description, _ = read_model(train()[0])
    assert description.complete
    assert (description.people, description.images, description.slices) == (4, 4, 4)
    assert description.intensity_scale == INTENSITY_SCALE
    assert (description.training.validation_ssim, description.training.seed) == (None, 0)
    guarantee = description.guarantee
    assert guarantee is not None
    assert guarantee.epsilon == pytest.approx(8.0, abs=1e-9)
    assert (guarantee.steps, guarantee.unit) == (2, "person")


def test_same_noise_same_model_other_noise_another(train):
    first, again, other = (read_model(train(seed=seed)[0])[1] for seed in (0, 0, 1))
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name]), name
    assert not torch.equal(first["decoder.head.bias"], other["decoder.head.bias"])
    assert not torch.equal(first["style_prior.mean"], other["style_prior.mean"])


def test_noise_is_the_operating_systems_by_default(make_prepared, translator, tmp_path):
    """Two runs differ: a seed that a card could tell would take the noise off."""
    site = make_prepared(2)
    means = []
    for name in ("a", "b"):
        train_private(
            site,
            tmp_path / name,
            settings("style"),
            PRIVACY,
            translator=translator,
            report=lambda _line: None,
        )
        means.append(read_model(tmp_path / name)[1]["style_prior.mean"])
    assert not torch.equal(*means)


def test_kind_style_trains_nothing_and_spends_all_on_the_styles(train, translator):
    out, _ = train("style")
    description, tensors = read_model(out)
    for name, tensor in translator.networks.decoder.state_dict().items():
        assert torch.equal(tensors[f"decoder.{name}"], tensor), name
    assert description.guarantee is not None
    assert description.guarantee.steps == 0
    adapter = read_model(train()[0])[0].guarantee
    assert adapter is not None
    assert description.guarantee.style_noise < adapter.style_noise


def test_with_little_noise_the_styles_mean_comes_out(train, make_prepared, translator):
    quiet = PrivacySettings(epsilon=50.0, delta=0.3, style_radius=20.0)
    out, _ = train("style", privacy=quiet)
    styles = private._read_styles(read_prepared(make_prepared(4)), translator)
    released = read_model(out)[1]["style_prior.mean"]
    guarantee = read_model(out)[0].guarantee
    assert guarantee is not None
    deviation = guarantee.style_noise * 20.0 / len(styles)
    assert float((released - styles.mean(0)).abs().max()) < 5 * deviation


def test_a_step_sums_one_clipped_gradient_a_person(train, monkeypatch):
    """Before noise: a sample a person, each no longer than the bound, whatever they show."""
    seen = []

    def record(self):
        together = torch.cat([p.summed_grad.flatten() for p in self.params])
        samples = {len(p.grad_sample) for p in self.params}
        lengths = torch.cat([p.grad_sample.flatten(1) for p in self.params], dim=1).norm(dim=1)
        seen.append((samples, float(together.norm()), lengths))
        add_noise(self)

    add_noise = DPOptimizer.add_noise
    monkeypatch.setattr(DPOptimizer, "add_noise", record)
    bound = 0.01
    train(privacy=PRIVACY.model_copy(update={"gradient_norm": bound}))
    people = 3  # of four, one is held out
    assert [samples for samples, _, _ in seen] == [{people}, {people}]
    for _, length, lengths in seen:
        assert length <= people * bound * (1 + 1e-5)
        assert bool((lengths > bound).all())  # the bound was needed


def test_full_cards_and_second_runs_are_refused(make_prepared, translator, tmp_path, train):
    with pytest.raises(ConfigError, match="kind style and --kind adapter"):
        train_private(
            make_prepared(2),
            tmp_path / "model",
            settings("full"),
            PRIVACY,
            translator=translator,
            report=lambda _line: None,
        )
    assert not (tmp_path / "model").exists()
    out, _ = train("style")
    with pytest.raises(InputError, match="holds a model already"):
        train_private(
            make_prepared(2), out, settings("style"), PRIVACY,
            translator=translator, report=lambda _line: None,
        )  # fmt: skip


def test_a_delta_that_could_give_one_away_whole_is_refused(train):
    with pytest.raises(ConfigError, match=r"--delta 0.4 promises nothing to 3 people"):
        train("style", privacy=PRIVACY.model_copy(update={"delta": 0.4}))


def test_configuration_is_saved_and_holds_no_seed(train):
    out, _ = train()
    config = json.loads((out / "config.json").read_text())
    assert config["privacy"]["epsilon"] == 8.0
    assert "seed" not in config["privacy"]
    assert config["data"]["site"] == "guys"
