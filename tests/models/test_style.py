"""Style of a volume and of a site: which slices, which weights, which statistics."""

import numpy as np
import pytest
import torch

from prism_mri.models.style import (
    compute_style_prior,
    encode_volume_style,
    select_style_slices,
)
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder


def make_mask(areas):
    """Return a mask whose k-th slice holds so many pixels."""
    mask = np.zeros((len(areas), 10, 10), bool)
    for k, area in enumerate(areas):
        mask[k].flat[:area] = True
    return mask


def test_slices_with_less_than_a_third_of_the_largest_area_are_left_out():
    assert select_style_slices(make_mask([0, 29, 30, 100, 60, 10])).tolist() == [2, 3, 4]


def test_at_most_sixteen_slices_evenly_spread():
    chosen = select_style_slices(make_mask([0, 0, *[50] * 46, 0]))
    assert chosen.tolist() == list(range(2, 48, 3))
    assert select_style_slices(make_mask([50] * 16)).tolist() == list(range(16))
    assert select_style_slices(make_mask([0, 7])).tolist() == [1]


class MeanEncoder(StyleEncoder):
    """Reads as style the mean of the image in the mask, and of the first anatomy channel."""

    def forward(self, image, anatomy, mask):
        area = mask.sum(dim=(1, 2, 3))
        means = [(part * mask).sum(dim=(1, 2, 3)) / area for part in (image, anatomy[:, :1])]
        style = torch.stack(means, dim=1)
        return GaussianStyle(style, torch.full_like(style, 1.5))


def test_a_volumes_style_is_the_mean_weighted_by_brain_area():
    mask = make_mask([10, 30])
    slices = np.where(mask, np.array([2.0, 6.0])[:, None, None], 99).astype(np.float32)
    anatomy = torch.tensor([0.5, 0.25])[:, None, None, None].expand(2, 4, 10, 10)
    style = encode_volume_style(slices, mask, anatomy, MeanEncoder(width=4, style_dim=2))
    assert style.tolist() == pytest.approx([5.0, 0.3125])
    assert not style.requires_grad


def test_prior_is_mean_and_sample_deviation_over_volumes():
    mean, deviation = compute_style_prior(
        torch.tensor(style) for style in ([1.0, 0.0], [2.0, 0.0], [6.0, 0.0])
    )
    assert mean.tolist() == [3.0, 0.0]
    assert deviation.tolist() == pytest.approx([7**0.5, 0.0])


def test_one_volume_has_no_spread():
    mean, deviation = compute_style_prior([torch.tensor([1.0, -2.0])])
    assert mean.tolist() == [1.0, -2.0]
    assert deviation.tolist() == [0.0, 0.0]
