"""A tiny travelling dataset: three tissues, scanners that order them differently, known answers."""

import json
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from prism_mri.card import CardManifest, SiteCard
from prism_mri.config import PreprocessingContract
from prism_mri.evaluate.redraw import SiteNetworks
from prism_mri.evaluate.scans import Scan
from prism_mri.models.site_model import ModelDescription, TrainingSummary, write_model
from prism_mri.models.translator import (
    Translator,
    TranslatorDescription,
    TranslatorNetworks,
    compute_digest,
    seal_translator,
)
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    ConditionalDecoderSpec,
    ConvStyleEncoderSpec,
    DecoderSpec,
    LevelAnatomyEncoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
)
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.volume import Volume, write_volume

CONTRACT = PreprocessingContract(shape=(48, 48), min_brain_area_mm2=150.0)
# Intensity of CSF, GM and WM. Half of the brain is WM, darkest everywhere, so that its level is
# what the scale goes by; CSF and GM change places at hh, so no monotone mapping helps there.
TISSUES = {"guys": (900.0, 400.0, 250.0), "hh": (50.0, 80.0, 30.0), "far": (7.0, 4.0, 2.0)}
BUILDERS = (build_anatomy_encoder, build_style_encoder, build_decoder)
SPECS = {
    "anatomy_encoder": AnatomyEncoderSpec(width=4, free_channels=1),
    "style_encoder": StyleEncoderSpec(width=4, style_dim=3),
    "decoder": DecoderSpec(width=4, free_channels=1, style_dim=3),
}
PAPER_SPECS = {
    "anatomy_encoder": LevelAnatomyEncoderSpec(width=4),
    "style_encoder": ConvStyleEncoderSpec(width=4),
    "decoder": ConditionalDecoderSpec(width=4),
}
CARDS = ("guys", "hh")
PEOPLE = ("trav01", "trav02", "trav03")
NOISE = 0.04


@dataclass(frozen=True)
class World:
    """Where everything is."""

    dataset: Path
    prepared: dict[str, Path]
    cards: dict[str, SiteCard]
    anatomy_encoder: torch.nn.Module


def make_labels(seed: int) -> np.ndarray:
    """Return labels (I, J, K): 0 outside, 1 CSF, 2 GM, 3 WM, differing from person to person."""
    generator = np.random.default_rng(seed)
    shape, radii = (36, 40, 5), generator.uniform(12, 14, 2)
    i, j, k = np.indices(shape)
    radius = np.hypot((i - 18) / radii[0], (j - 20) / radii[1]) + 0.12 * abs(k - 2)
    labels = np.digitize(radius, (0.76, 0.9, 1.0))
    inner = np.array([3, 2, 1, 0])[labels]
    speckle = generator.random(shape) < 0.1
    return np.where(speckle & (inner > 0), generator.integers(1, 4, shape), inner)


def render(labels: np.ndarray, scanner: str, *, noise_seed: int | None) -> np.ndarray:
    """Return intensities (I, J, K) under a scanner, with noise where a seed is given."""
    levels = np.array([0.0, *TISSUES[scanner]])
    data = levels[labels]
    if noise_seed is not None:
        noise = np.random.default_rng(noise_seed).standard_normal(labels.shape)
        data = np.abs(data + NOISE * levels[3] * noise * (labels > 0))
    return data.astype(np.float32)


def save(path: Path, data: np.ndarray, *, flipped: bool = False, dtype=np.float32) -> None:
    """Write RAS data, optionally in left-posterior-superior voxel order."""
    affine = np.eye(4)
    if flipped:
        data = data[::-1, ::-1]
        affine = np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[:2, 3] = np.array(data.shape[:2]) - 1
    array = np.ascontiguousarray(data).astype(np.float32)
    write_volume(path, array, Volume(array, affine), dtype=dtype)


def write_travelling(folder: Path) -> None:
    """Write the travelling people; guys is stored flipped, and sources carry no noise."""
    for number, person in enumerate(PEOPLE):
        labels = make_labels(number)
        for scanner in TISSUES:
            flipped = scanner == "guys"
            stem = f"sub-{person}_ses-{scanner}"
            inside = Path(f"sub-{person}") / f"ses-{scanner}" / "anat"
            truth = folder / "derivatives" / "truth" / inside
            image = render(labels, scanner, noise_seed=None)
            save(folder / inside / f"{stem}_T2w.nii.gz", image, flipped=flipped)
            mask = truth / f"{stem}_desc-brain_mask.nii.gz"
            save(mask, labels > 0, flipped=flipped, dtype=np.uint8)
            for target in CARDS:
                if target != scanner:
                    for kind, seed in (("acquired", 100 + number), ("clean", None)):
                        name = f"{stem}_acq-{target}_desc-{kind}_T2w.nii.gz"
                        save(truth / name, render(labels, target, noise_seed=seed), flipped=flipped)
    (folder / "simulation.json").write_text(json.dumps({"anatomy": "deformed-template"}))


def write_prepared(folder: Path, site: str) -> None:
    """Prepare three people of a site."""
    raw = folder.parent / f"{site}-raw"
    for number in range(3):
        name = f"sub-{site}{number}"
        image = render(make_labels(20 + number), site, noise_seed=number)
        save(raw / name / "anat" / f"{name}_T2w.nii.gz", image)
    prepare_site([raw], folder, site=site, contract=CONTRACT)


def make_card(site: str, seed: int, anatomy_digest: str) -> SiteCard:
    """Return a card with small random networks; its intensity scale is the site's clean one."""
    torch.manual_seed(seed)
    specs = {
        "anatomy_encoder": AnatomyEncoderSpec(width=4, free_channels=1),
        "style_encoder": StyleEncoderSpec(width=4, style_dim=3),
        "decoder": DecoderSpec(width=4, free_channels=1, style_dim=3),
    }
    manifest = CardManifest(
        site=site,
        modality="T2w",
        contract=CONTRACT,
        **specs,
        anatomy_digest=anatomy_digest,
        intensity_scale=TISSUES[site][2] / CONTRACT.intensity_value,
        people=12,
        local_only=False,
        training=TrainingSummary(
            seed=0, epochs=1, steps=1, best_epoch=1, validation_ssim=0.9, versions={}
        ),
        tensors_sha256="cd" * 32,
        created_by="prism-mri 0.1.0",
    )
    style_encoder = build_style_encoder(specs["style_encoder"]).eval()
    decoder = build_decoder(specs["decoder"]).eval()
    digest = f"{seed:02d}" * 32
    return SiteCard(manifest, style_encoder, decoder, torch.zeros(3), torch.ones(3), digest, None)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_travelling(folder / "travelling")
    for site in CARDS:
        write_prepared(folder / site, site)
    torch.manual_seed(0)
    encoder = build_anatomy_encoder(AnatomyEncoderSpec(width=4, free_channels=1)).eval()
    digest = compute_digest(encoder.state_dict())
    return World(
        dataset=folder / "travelling",
        prepared={site: folder / site for site in CARDS},
        cards={site: make_card(site, seed, digest) for seed, site in enumerate(CARDS, start=1)},
        anatomy_encoder=encoder,
    )


@pytest.fixture(scope="session")
def make_harmonizer():
    """Return a stand-in for PRISM: a function of volume (I, J, K), mask and site; or the truth."""

    def make(method=harmonize_perfectly):
        numbers = count(1)

        def harmonize_volume(volume, mask, card, anatomy_encoder, **options):
            data = method(volume.data, mask, card.manifest.site)
            doubtful = volume.data.max() < 8  # far
            warnings = (f"3.{next(numbers)} is unlike the card",) if doubtful else ()
            return SimpleNamespace(data=data.astype(np.float32), warnings=warnings)

        return harmonize_volume

    return make


@pytest.fixture
def harmonize_by(make_harmonizer, monkeypatch):
    """Replace PRISM in a test."""

    def replace(*method) -> None:
        stand_in = make_harmonizer(*method)
        monkeypatch.setattr("prism_mri.evaluate.pairs.harmonize_volume", stand_in)
        monkeypatch.setattr(Scan, "cleaned", property(lambda scan: scan.brain))

    return replace


def harmonize_perfectly(data, mask, site):
    """Recognize the source's tissues by their intensities and give them the target's."""
    values = np.unique(data[mask])
    source = next(name for name, levels in TISSUES.items() if set(levels) == set(values.tolist()))
    table = dict(zip(TISSUES[source], TISSUES[site], strict=True))
    result = np.zeros_like(data)
    for before, after in table.items():
        result[data == before] = after
    return result


@pytest.fixture
def perfect():
    """Return the harmonizer that knows the answer."""
    return harmonize_perfectly


@pytest.fixture(scope="session")
def make_translator():
    """Return a maker of small translators that nobody trained."""

    def make(*, seed: int = 0) -> Translator:
        description = TranslatorDescription(**SPECS, contracts=(CONTRACT,))
        torch.manual_seed(seed)
        networks = TranslatorNetworks(
            *(build(spec) for build, spec in zip(BUILDERS, SPECS.values(), strict=True))
        )
        networks.eval().requires_grad_(requires_grad=False)
        return seal_translator(networks, description)

    return make


@pytest.fixture(scope="session")
def translator(make_translator) -> Translator:
    return make_translator()


@pytest.fixture
def make_model(tmp_path, translator):
    """Write an untrained model of a recipe; return its folder and its networks."""

    def make(recipe: str, *, contract=CONTRACT, **changes):
        torch.manual_seed(5)
        specs = SPECS if recipe == "anchored" else PAPER_SPECS
        built = [build(spec).eval() for build, spec in zip(BUILDERS, specs.values(), strict=True)]
        tensors = {"style_prior.mean": torch.zeros(2), "style_prior.std": torch.ones(2)}
        kept = dict(zip(specs, built, strict=True))
        digest = compute_digest(built[0].state_dict())
        if recipe == "anchored":
            built[0], digest = translator.networks.anatomy_encoder, translator.digest
            del kept["anatomy_encoder"]
        for name, network in kept.items():
            tensors |= {f"{name}.{key}": value for key, value in network.state_dict().items()}
        description = ModelDescription(
            **({"site": "guys"} | changes),
            recipe=recipe,
            contract=contract,
            **specs,
            anatomy_digest=digest,
            people=12,
            images=12,
            slices=60,
            intensity_scale=1000.0,
            training=TrainingSummary(
                seed=0, epochs=3, steps=9, best_epoch=2, validation_ssim=0.9, versions={}
            ),
        )
        folder = tmp_path / f"model-{recipe}"
        write_model(folder, description, tensors)
        return folder, SiteNetworks(*built)

    return make
