"""Networks read from a model folder, of either recipe, and what they draw."""

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from prism_mri.errors import CompatibilityError, InputError
from prism_mri.evaluate.redraw import (
    SiteNetworks,
    read_site_networks,
    redraw_brain,
    redraw_whole,
)
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder


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


ECHO = SiteNetworks(nn.Identity(), MeanStyle(), AddStyle())


def make_slices():
    mask = np.zeros((3, 48, 40), dtype=bool)
    mask[:, 9:30, 8:27] = True
    levels = np.array([0.1, 0.2, 0.6], dtype=np.float32)
    return np.where(mask, levels[:, None, None], np.float32(0)), mask


def test_one_style_for_all_slices_and_nothing_outside_the_brain():
    slices, mask = make_slices()
    drawn = redraw_brain(slices, mask, ECHO)
    assert drawn[mask] == pytest.approx(slices[mask] + 0.3, abs=1e-6)
    assert not drawn[~mask].any()


def test_the_whole_grid_is_drawn_with_the_decoders_own_background():
    slices, mask = make_slices()
    drawn = redraw_whole(slices, mask, ECHO)
    assert drawn.shape == slices.shape
    assert drawn == pytest.approx(slices + 0.3, abs=1e-6)


@pytest.mark.parametrize("recipe", ["anchored", "paper"])
def test_networks_are_read_as_they_were_written(make_model, translator, recipe):
    folder, written = make_model(recipe)
    networks = read_site_networks(folder, translator)
    slices, mask = make_slices()
    drawn, expected = (redraw_brain(slices, mask, nets) for nets in (networks, written))
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-6)  # another memory layout
    assert not any(part.training for part in (networks.style_encoder, networks.decoder))
    if recipe == "anchored":
        assert networks.anatomy_encoder is translator.networks.anatomy_encoder


def test_models_that_do_not_fit(make_model, make_translator, translator, tmp_path):
    folder, _ = make_model("anchored")
    with pytest.raises(CompatibilityError, match="trained on another translator"):
        read_site_networks(folder, make_translator(seed=9))
    with pytest.raises(InputError, match="is not a trained model"):
        read_site_networks(tmp_path / "nowhere", translator)
    path = folder / "best.safetensors"
    tensors = safetensors.torch.load(path.read_bytes())
    name = next(name for name in tensors if name.startswith("decoder."))
    del tensors[name]
    path.write_bytes(safetensors.torch.save(tensors))
    with pytest.raises(InputError, match=r"best\.safetensors is damaged .*: train again"):
        read_site_networks(folder, translator)
