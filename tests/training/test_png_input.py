"""A folder of PNG slices is trained on as any prepared site."""

import numpy as np
import pytest
import torch
from PIL import Image

from prism_mri.data.prepared import read_prepared
from prism_mri.models.site_model import read_model
from prism_mri.preprocessing.prepare_png import prepare_png_site
from prism_mri.training.anchored import AnchoredSettings, train_anchored

SHORT = AnchoredSettings(epochs=1, batch=2, crop=32, max_steps_per_epoch=1, perceptual_images=1)


def write_slice(path, seed):
    """Write a brain of shells: white matter in grey matter in fluid."""
    row, column = np.indices((47, 39))
    radius = np.hypot((row - 23) / 15, (column - 19) / 13)
    levels = np.array([60, 100, 220, 0])[np.digitize(radius, [0.7, 0.88, 1.0])]
    noise = np.random.default_rng(seed).normal(1, 0.03, levels.shape)
    path.parent.mkdir(parents=True)
    Image.fromarray(np.clip(levels * noise, 0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def site(tmp_path, translator):
    """Four people to train on, one of them to validate on, and one to test on."""
    for person in range(5):
        split = "test" if person == 4 else "train"
        name = f"IXI-Guys-{person:03d}-T2_stripped.png"
        write_slice(tmp_path / "png" / split / f"{person:03d}" / name, person)
    contract = translator.description.contracts[0]
    prepare_png_site(tmp_path / "png", tmp_path / "site", site="guys", contract=contract)
    return tmp_path / "site"


def test_slices_are_trained_on_and_those_for_testing_change_nothing(site, translator, tmp_path):
    def train(name):
        train_anchored(site, tmp_path / name, SHORT, translator=translator, report=[].append)
        return read_model(tmp_path / name)

    description, tensors = train("first")
    assert (description.people, description.images, description.slices) == (5, 5, 5)
    tested = read_prepared(site).split("test")
    assert [item.subject for item in tested] == ["004"]
    for path in ("image", "mask"):
        (site / getattr(tested[0].entry, path)).unlink()  # nobody looks at it
    _, again = train("second")
    assert all(torch.equal(tensor, again[name]) for name, tensor in tensors.items())
