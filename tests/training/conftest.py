"""A translator with random weights and small prepared sites."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prism_mri.config import PreprocessingContract
from prism_mri.models.translator import (
    Translator,
    TranslatorDescription,
    TranslatorNetworks,
    seal_translator,
)
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    DecoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
)
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.volume import Volume, write_volume

CONTRACT = PreprocessingContract(shape=(48, 48), min_brain_area_mm2=150.0)
LEVELS = np.array([0, 900, 400, 250], np.float32)


def make_translator(*, contract: PreprocessingContract = CONTRACT, seed: int = 0) -> Translator:
    """Return a small translator that nobody trained."""
    description = TranslatorDescription(
        anatomy_encoder=AnatomyEncoderSpec(width=4, free_channels=1),
        style_encoder=StyleEncoderSpec(width=4, style_dim=3),
        decoder=DecoderSpec(width=4, free_channels=1, style_dim=3),
        contracts=(contract,),
    )
    torch.manual_seed(seed)
    networks = TranslatorNetworks(
        build_anatomy_encoder(description.anatomy_encoder),
        build_style_encoder(description.style_encoder),
        build_decoder(description.decoder),
    )
    networks.eval().requires_grad_(requires_grad=False)
    return seal_translator(networks, description)


def write_person(path: Path, seed: int, *, gain: float = 1.0) -> None:
    """Write a stripped T2w brain of shells: white matter in grey matter in fluid."""
    numbers = np.random.default_rng(seed)
    i, j, k = np.indices((32, 36, 5))
    radius = np.hypot((i - 16) / numbers.uniform(12, 14), (j - 18) / 14) + 0.05 * abs(k - 2)
    labels = np.array([3, 2, 1, 0])[np.digitize(radius, [0.7, 0.88, 1.0])]
    noise = numbers.normal(1, 0.03, labels.shape)
    data = (LEVELS[labels] * noise * gain).astype(np.float32)
    write_volume(path, data, Volume(data, np.diag([1.0, 1.0, 4.0, 1.0])))


@pytest.fixture(scope="session")
def translator() -> Translator:
    return make_translator()


@pytest.fixture(scope="session")
def make_prepared(tmp_path_factory):
    """Prepare a site of so many people; the n-th has n+1 times the first one's intensities."""

    def make(people: int, contract: PreprocessingContract = CONTRACT) -> Path:
        folder = tmp_path_factory.mktemp("site")
        for person in range(people):
            name = f"sub-{person:02d}"
            path = folder / "raw" / name / "anat" / f"{name}_T2w.nii.gz"
            write_person(path, person, gain=person + 1)
        prepare_site([folder / "raw"], folder / "prepared", site="guys", contract=contract)
        return folder / "prepared"

    return make


@pytest.fixture(scope="session")
def prepared(make_prepared) -> Path:
    """A site of three people, one of them held out."""
    return make_prepared(3)
