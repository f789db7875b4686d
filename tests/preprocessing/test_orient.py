"""Image and mask turn together."""

import numpy as np

from prism_mri.preprocessing.orient import orient_brain
from prism_mri.volume import Volume


def test_image_and_mask_turn_together_and_back() -> None:
    data = np.random.default_rng(0).uniform(1, 2, (5, 7, 3)).astype(np.float32)
    mask = data > 1.5
    affine = np.array(
        [[0, 0, -3.0, 9], [-1.0, 0, 0, 4], [0, 1.5, 0, -2], [0, 0, 0, 1]], dtype=np.float64
    )
    brain = orient_brain(Volume(data, affine), mask)
    assert brain.volume.data.shape == (3, 5, 7)
    assert brain.volume.spacing_mm == (3.0, 1.0, 1.5)
    assert np.array_equal(brain.volume.data > 1.5, brain.mask)
    assert np.array_equal(brain.reorientation.invert(brain.mask), mask)
    # Native (i, j, k) runs to posterior, superior, left.
    assert brain.volume.data[0, 0, 0] == data[4, 0, 2]
