"""A source is cleaned before its anatomy is read, as far as is asked for."""

import json
from dataclasses import replace

import numpy as np
import pytest

from prism_mri.harmonize import (
    HarmonizeOptions,
    SourceCleaning,
    clean_source,
    harmonize_inputs,
    harmonize_volume,
)
from prism_mri.preprocessing.bias_field import correct_bias_field
from prism_mri.preprocessing.noise import denoise_slices
from prism_mri.preprocessing.orient import orient_brain
from prism_mri.volume import write_volume

NOTHING = SourceCleaning(bias_field=False, noise=False)
SPACING = (1.0, 1.0, 4.0)


@pytest.fixture
def shaded(brain_with):
    """Return a noisy brain, large enough for a bias field, that is brighter to one side."""
    brain = brain_with((52, 44, 24), SPACING)
    gain = np.exp(np.linspace(-0.4, 0.4, 52, dtype=np.float32))[:, None, None]
    brain.volume = replace(brain.volume, data=brain.volume.data * gain)
    return brain


def test_each_step_is_taken_as_asked(shaded):
    brain = orient_brain(shaded.volume, shaded.mask)
    data = brain.volume.data
    assert np.array_equal(clean_source(brain, NOTHING).volume.data, data)
    level = clean_source(brain, SourceCleaning(noise=False)).volume
    assert np.array_equal(level.data, correct_bias_field(brain.volume, brain.mask))
    assert not np.allclose(level.data, data, rtol=0.05)
    slices, mask = (
        np.ascontiguousarray(array.transpose(2, 0, 1)) for array in (level.data, brain.mask)
    )
    both = clean_source(brain, SourceCleaning())
    assert np.array_equal(both.volume.data.transpose(2, 0, 1), denoise_slices(slices, mask))
    assert both.mask is brain.mask
    assert np.array_equal(both.volume.affine, brain.volume.affine)


def test_harmonizing_begins_with_it_unless_told_otherwise(shaded, card, translator):
    encoder = translator.networks.anatomy_encoder
    whole = harmonize_volume(shaded.volume, shaded.mask, card, encoder)
    clean = clean_source(orient_brain(shaded.volume, shaded.mask), SourceCleaning())
    again = harmonize_volume(clean.volume, clean.mask, card, encoder, cleaning=None)
    assert np.array_equal(whole.data, again.data)
    raw = harmonize_volume(shaded.volume, shaded.mask, card, encoder, cleaning=NOTHING)
    bare = harmonize_volume(shaded.volume, shaded.mask, card, encoder, cleaning=None)
    assert np.array_equal(raw.data, bare.data)
    assert not np.allclose(raw.data, whole.data, rtol=0.01)


@pytest.mark.parametrize(
    ("cleaning", "said"),
    [(SourceCleaning(), ("n4", "nlm")), (SourceCleaning(bias_field=False), ("none", "nlm"))],
)
def test_the_sidecar_says_what_was_done(shaded, card, translator, tmp_path, cleaning, said):
    scan = tmp_path / "scan.nii.gz"
    write_volume(scan, np.where(shaded.mask, shaded.volume.data, 0), shaded.volume)
    options = HarmonizeOptions(cleaning=cleaning)
    (path,) = harmonize_inputs(
        [scan], tmp_path / "out", card=card, translator=translator, options=options
    )
    prism = json.loads((path.parent / "scan_desc-harmonized.json").read_text())["Prism"]
    assert (prism["BiasCorrection"], prism["Denoising"]) == said
