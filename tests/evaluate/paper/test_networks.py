"""The networks of Tables 2 and 3 learn what can be learned, and nothing else."""

import numpy as np
import pytest
import torch

from prism_mri.evaluate.paper.recall import (
    NETWORKS,
    LabelledSlices,
    build_classifier,
    classify,
    train_classifier,
)
from prism_mri.evaluate.paper.results import PaperSettings
from prism_mri.evaluate.paper.segmentation import segment, train_segmenter

SETTINGS = PaperSettings(classifier_steps=3, classifier_size=32, batch=8)


def make_sites(seed, shift=0.3, size=32):
    """Noise at two levels."""
    generator = np.random.default_rng(seed)
    sites = np.repeat([0, 1], 12).astype(np.int64)
    images = generator.normal(0.5, 0.1, (24, 1, size, size)) + shift * sites[:, None, None, None]
    return LabelledSlices(images.astype(np.float32), sites)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_classifier_learns_a_difference_of_level(network):
    settings = SETTINGS.model_copy(update={"classifier_steps": 60, "batch": 16})
    model = train_classifier(network, make_sites(0, size=64), 2, settings, seed=1)
    test = make_sites(1, size=64)
    assert np.mean(np.array(classify(model, test.images)) == test.sites) > 0.8


def test_the_same_seed_gives_the_same_answers_and_leaves_the_callers_random_state():
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second = (
        classify(
            train_classifier("efficientnet-b2", make_sites(0), 2, SETTINGS, seed=4),
            make_sites(2, 0).images,
        )
        for _ in range(2)
    )
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)


def test_resnet50_has_the_strides_of_its_paper():
    """A sixteenth of the stem's area before the first stage, as He et al. have it."""
    model = build_classifier("resnet50", 2)
    stem = model.maxpool(model.act(model.bn1(model.conv1(torch.zeros(1, 1, 64, 64)))))
    assert stem.shape[-2:] == (16, 16)


def make_image(seed):
    generator = np.random.default_rng(seed)
    labels = np.kron(generator.integers(1, 4, (3, 8, 8)), np.ones((1, 8, 8))).astype(np.uint8)
    mask = np.ones(labels.shape, bool)
    mask[:, :4] = False
    levels = np.array([0.0, 0.9, 0.5, 0.2])[labels]
    slices = (levels + generator.normal(0, 0.03, labels.shape)) * mask
    return slices.astype(np.float32), mask, np.where(mask, labels, 0).astype(np.uint8)


def test_a_segmenter_learns_tissues_of_different_levels():
    network = train_segmenter([make_image(seed) for seed in range(3)], steps=40, seed=0)
    slices, mask, truth = make_image(9)
    found = segment(network, slices, mask)
    assert (found[~mask] == 0).all()
    assert (found == truth)[mask].mean() > 0.9


def test_any_size_can_be_segmented():
    network = train_segmenter([make_image(0)], steps=1, seed=0)
    slices = np.random.default_rng(0).random((2, 37, 51)).astype(np.float32)
    mask = np.ones(slices.shape, bool)
    found = segment(network, slices, mask)
    assert found.shape == slices.shape
    assert set(np.unique(found)) <= {1, 2, 3}
