"""A card's own networks on slices: one style a volume, and reconstruction at home."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from prism_mri.data.prepared import read_prepared
from prism_mri.evaluate.home import read_style, reconstruct, score_reconstruction
from prism_mri.networks.anatomy_encoder import AnatomyEncoder
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder


class Echo(AnatomyEncoder):
    """Stands for an anatomy encoder: the anatomy is the image."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, image):
        return image


class MeanStyle(StyleEncoder):
    """The style is the mean of the slice in the mask."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, image, anatomy, mask):  # noqa: ARG002 - the signature is the network's
        mean = (image * mask).sum(dim=(1, 2, 3)) / mask.sum(dim=(1, 2, 3))
        return GaussianStyle(mean[:, None], torch.zeros(len(mean), 1))


class AddStyle(Decoder):
    """The image is the anatomy plus the style."""

    def __init__(self):
        nn.Module.__init__(self)

    def forward(self, anatomy, style):
        return anatomy + style[:, :, None, None]


@pytest.fixture
def card(world):
    return replace(world.cards["guys"], style_encoder=MeanStyle(), decoder=AddStyle())


def make_volume(slices=11):
    mask = np.zeros((slices, 40, 36), dtype=bool)
    mask[:, 9:30, 8:27] = True
    levels = np.linspace(0.1, 0.5, slices, dtype=np.float32)
    return np.where(mask, levels[:, None, None], np.float32(0)), mask


def test_style_is_the_mean_over_slices_weighted_by_brain_area(card):
    slices, mask = make_volume(3)
    mask[0, 9:20] = False
    style = read_style(slices * mask, mask, card=card, anatomy_encoder=Echo())
    areas = mask.sum(axis=(1, 2))
    assert style == pytest.approx([np.average([0.1, 0.3, 0.5], weights=areas)], abs=1e-6)


def test_reconstruction_uses_one_style_and_stays_in_the_brain(card):
    slices, mask = make_volume()
    drawn = reconstruct(slices, mask, card=card, anatomy_encoder=Echo())
    assert drawn[mask] == pytest.approx(slices[mask] + 0.3, abs=1e-6)
    assert not drawn[~mask].any()


def test_held_out_images_are_scored(card, world):
    images = read_prepared(world.prepared["guys"]).split("validation")
    scored = score_reconstruction(images, held_out="people", card=card, anatomy_encoder=Echo())
    slices, mask = images[0].load()
    error = slices[mask].mean()  # the style: the mean over slices, weighted by brain area
    assert (scored.site, scored.people, scored.images) == ("guys", 1, 1)
    assert scored.mae == pytest.approx(error, abs=1e-5)
    assert scored.psnr_db == pytest.approx(-20 * np.log10(error), abs=1e-3)
