"""A card and an anatomy encoder with small random weights, and brains to put through them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from prism_mri.card import CardManifest, SiteCard
from prism_mri.config import PreprocessingContract
from prism_mri.models.site_model import TrainingSummary
from prism_mri.models.translator import (
    Translator,
    TranslatorDescription,
    TranslatorNetworks,
    seal_translator,
)
from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    DecoderSpec,
    StyleEncoderSpec,
    build_decoder,
    build_style_encoder,
)
from prism_mri.volume import Volume

CONTRACT = PreprocessingContract(shape=(64, 48), min_brain_area_mm2=150.0)
DESCRIPTION = TranslatorDescription(
    anatomy_encoder=AnatomyEncoderSpec(width=4, free_channels=1),
    style_encoder=StyleEncoderSpec(width=4, style_dim=3),
    decoder=DecoderSpec(width=4, free_channels=1, style_dim=3),
    contracts=(CONTRACT,),
)
SCALE = 200.0


class ShellEncoder(AnatomyEncoder):
    """Tells the tissues of :func:`make_brain` by where they lie, whatever their intensities."""

    def forward(self, image):
        """Return fractions of a slice's shells, and free channels of random weights."""
        free = super().forward(image)[:, 3:]
        fractions = torch.stack([find_shells(slice_[0] > 0) for slice_ in image])
        return torch.cat([fractions, free], dim=1)


def find_shells(inside):
    """Return CSF, GM and WM of one slice, ``(3, H, W)``: rings of the box around what is inside."""
    rows, columns = (torch.nonzero(inside.any(dim=axis)).flatten().float() for axis in (1, 0))
    if len(rows) == 0:
        return torch.ones(3, *inside.shape) / 3
    h, w = (torch.arange(length).float() for length in inside.shape)
    radius = torch.hypot(
        ((h - rows.mean()) / (len(rows) / 2))[:, None], (w - columns.mean()) / (len(columns) / 2)
    )
    ring = (radius > 0.66).long() + (radius > 0.86).long()
    return torch.stack([ring == 2, ring == 1, ring == 0]).float()


@pytest.fixture(scope="session")
def translator() -> Translator:
    torch.manual_seed(0)
    anatomy = DESCRIPTION.anatomy_encoder
    networks = TranslatorNetworks(
        ShellEncoder(width=anatomy.width, free_channels=anatomy.free_channels),
        build_style_encoder(DESCRIPTION.style_encoder),
        build_decoder(DESCRIPTION.decoder),
    )
    networks.eval().requires_grad_(requires_grad=False)
    return seal_translator(networks, DESCRIPTION)


def make_card(translator, **changes) -> SiteCard:
    """Return a card of the translator's style encoder and decoder; manifest fields can differ."""
    values = {
        "site": "guys",
        "modality": "T2w",
        "contract": CONTRACT,
        "anatomy_encoder": DESCRIPTION.anatomy_encoder,
        "style_encoder": DESCRIPTION.style_encoder,
        "decoder": DESCRIPTION.decoder,
        "anatomy_digest": translator.digest,
        "intensity_scale": SCALE,
        "people": 12,
        "local_only": False,
        "training": TrainingSummary(
            seed=0, epochs=1, steps=1, best_epoch=1, validation_ssim=0.9, versions={}
        ),
        "tensors_sha256": "cd" * 32,
        "created_by": "prism-mri 0.1.0",
    }
    return SiteCard(
        CardManifest(**(values | changes)),
        translator.networks.style_encoder,
        translator.networks.decoder,
        torch.tensor([0.5, -1.0, 2.0]),
        torch.tensor([0.1, 1.0, 0.0]),
        "ef" * 32,
        None,
    )


@pytest.fixture(scope="session")
def card(translator) -> SiteCard:
    return make_card(translator)


@pytest.fixture(scope="session")
def card_with(translator):
    """Make a card with other manifest fields."""
    return lambda **changes: make_card(translator, **changes)


LEVELS = {
    "T1w": (200, 500, 700),
    "T2w": (900, 400, 250),
    "PDw": (500, 520, 440),
    "FLAIR": (120, 500, 410),
}
"""Intensities of CSF, GM and WM on an ordinary image of each modality."""


def make_brain(shape=(36, 40, 5), spacing_mm=(1.0, 1.0, 4.0), *, seed=0, gain=1.0, modality="T2w"):
    """Return a stripped brain of shells, RAS: volume, and mask (I, J, K)."""
    numbers = np.random.default_rng(seed)
    axes = [(np.arange(length) + 0.5) / length - 0.5 for length in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x / 0.4) ** 2 + (y / 0.42) ** 2 + (z / 0.9) ** 2)
    labels = np.array([3, 2, 1, 0])[np.digitize(radius, [0.7, 0.88, 1.0])]
    levels = np.array([0, *LEVELS[modality]]) * gain
    data = (levels[labels] * numbers.normal(1, 0.03, shape)).astype(np.float32)
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = numbers.uniform(-50, 50, 3)
    return SimpleNamespace(volume=Volume(data, affine), mask=labels > 0)


@pytest.fixture(scope="session")
def brain_with():
    """Make a brain of any shape and spacing."""
    return make_brain


@pytest.fixture(scope="session")
def brain():
    return make_brain()
