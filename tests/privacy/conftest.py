"""Prepared sites of shell-like brains, a translator nobody trained, and models of both."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prism_mri.config import PreprocessingContract
from prism_mri.models.translator import (
    Translator,
    TranslatorDescription,
    build_translator_networks,
    seal_translator,
)
from prism_mri.networks.registry import AnatomyEncoderSpec, DecoderSpec, StyleEncoderSpec
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.training.anchored import AnchoredSettings, train_anchored
from prism_mri.volume import Volume, write_volume

CONTRACT = PreprocessingContract(shape=(48, 48), min_brain_area_mm2=150.0)
LEVELS = np.array([0, 900, 400, 250], np.float32)
SHORT = AnchoredSettings(
    epochs=2, batch=2, crop=32, max_steps_per_epoch=2, perceptual_images=1, learning_rate=1e-3
)


@pytest.fixture(scope="session")
def translator() -> Translator:
    description = TranslatorDescription(
        anatomy_encoder=AnatomyEncoderSpec(width=4, free_channels=1),
        style_encoder=StyleEncoderSpec(width=4, style_dim=3),
        decoder=DecoderSpec(width=4, free_channels=1, style_dim=3),
        contracts=(CONTRACT,),
    )
    torch.manual_seed(0)
    networks = build_translator_networks(description)
    networks.eval().requires_grad_(requires_grad=False)
    return seal_translator(networks, description)


def write_person(path: Path, seed: int) -> None:
    """Write a stripped brain of shells: white matter in grey matter in fluid."""
    numbers = np.random.default_rng(seed)
    i, j, k = np.indices((32, 36, 5))
    radius = np.hypot((i - 16) / numbers.uniform(12, 14), (j - 18) / 14) + 0.05 * abs(k - 2)
    labels = np.array([3, 2, 1, 0])[np.digitize(radius, [0.7, 0.88, 1.0])]
    data = (LEVELS[labels] * numbers.normal(1, 0.03, labels.shape)).astype(np.float32)
    write_volume(path, data, Volume(data, np.diag([1.0, 1.0, 4.0, 1.0])))


@pytest.fixture(scope="session")
def make_prepared(tmp_path_factory: pytest.TempPathFactory):
    """Prepare people by number at a site."""

    def make(people: range, site: str = "guys") -> Path:
        folder = tmp_path_factory.mktemp("site")
        for person in people:
            name = f"sub-secret{person:02d}"
            write_person(folder / "raw" / name / "anat" / f"{name}_T2w.nii.gz", person)
        prepare_site([folder / "raw"], folder / "prepared", site=site, contract=CONTRACT)
        return folder / "prepared"

    return make


@pytest.fixture(scope="session")
def prepared(make_prepared) -> Path:
    """Five people, one of them held out."""
    return make_prepared(range(5))


@pytest.fixture(scope="session")
def strangers(make_prepared) -> Path:
    """Four other people of the same site."""
    return make_prepared(range(10, 14))


@pytest.fixture
def make_model(prepared, translator, tmp_path):
    """Train on :func:`prepared` for four steps; return the model's folder."""

    def make(**changes) -> Path:
        out = tmp_path / "model"
        settings = SHORT.model_copy(update=changes)
        train_anchored(prepared, out, settings, translator=translator, report=lambda _line: None)
        return out

    return make
