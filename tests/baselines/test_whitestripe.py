"""WhiteStripe brings white matter's peak to the site's."""

import numpy as np
import pytest

from prism_mri.baselines import WhiteStripe
from prism_mri.errors import ImageError


def make_brain(white, grey, fluid, *, wet=0.1, seed=0):
    """A brain of three tissues with narrow peaks, half of it white, ``wet`` of it fluid."""
    generator = np.random.default_rng(seed)
    count = 24_000
    parts = [(white, 0.5), (grey, 0.5 - wet), (fluid, wet)]
    values = [generator.normal(level, 0.02, int(share * count)) for level, share in parts]
    data = np.concatenate(values).astype(np.float32)[: count - 1]
    return data, np.ones(len(data), bool)


@pytest.mark.parametrize(
    ("modality", "levels"), [("T2w", (0.3, 0.6, 0.9)), ("T1w", (0.9, 0.6, 0.2))]
)
def test_white_matter_comes_to_the_sites(modality, levels):
    fitted = WhiteStripe.fit([make_brain(*levels, seed=1)], modality=modality)
    other = tuple(0.2 + 0.5 * level for level in levels)
    data, mask = make_brain(*other, seed=2)
    matched = fitted.transform(data, mask)
    assert np.median(matched[:12_000]) == pytest.approx(levels[0], abs=0.02)


def test_the_amount_of_fluid_does_not_move_white_matter():
    """Where quantiles would follow the amounts."""
    fitted = WhiteStripe.fit([make_brain(0.3, 0.6, 0.9)])
    data, mask = make_brain(0.3, 0.6, 0.9, wet=0.3)
    assert np.median(fitted.transform(data, mask)[:10_000]) == pytest.approx(0.3, abs=0.015)


def test_nothing_outside_the_mask_and_nothing_negative():
    data, mask = make_brain(0.3, 0.6, 0.9)
    mask[:100] = False
    fitted = WhiteStripe(mean=0.0, std=0.5, modality="T2w")
    result = fitted.transform(data, mask)
    assert (result[~mask] == 0).all()
    assert result.min() == 0


def test_bad_images_are_refused():
    flat = np.full(100, 0.5, np.float32), np.ones(100, bool)
    with pytest.raises(ImageError, match="needs contrast"):
        WhiteStripe.fit([flat])
    with pytest.raises(ImageError, match="got 0 training images"):
        WhiteStripe.fit([])
    with pytest.raises(ImageError, match="0 are set"):
        WhiteStripe(0.3, 0.1, "T2w").transform(flat[0], np.zeros(100, bool))
