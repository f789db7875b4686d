"""Which patches the contrastive term compares: drawn places, own place, right order."""

import math

import pytest
import torch
from torch.nn import functional

from prism_mri.losses.patch_nce import compute_patch_nce, compute_published_nce
from prism_mri.networks.patch_projector import PatchProjector
from prism_mri.training.contrast import compute_contrast, draw_places


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def make_masks():
    """Two images of 40×32: brain left of column 16 in the first, everywhere in the second."""
    masks = torch.ones(2, 1, 40, 32)
    masks[0, :, :, 16:] = 0
    return masks


# A patch starts every 8 pixels: 4 rows of 3 places an image.
HALF_FILLED = {row * 3 + column for row in range(4) for column in (0, 1)}


def test_only_patches_that_are_mostly_brain_are_drawn():
    places = draw_places(make_masks(), 100, seeded()).tolist()
    assert places == sorted(HALF_FILLED) + list(range(12, 24))


def test_at_most_so_many_an_image_other_ones_each_time():
    drawn = [draw_places(make_masks(), 5, seeded(seed)).tolist() for seed in range(60)]
    for places in drawn:
        assert sum(place < 12 for place in places) == sum(place >= 12 for place in places) == 5
        assert places == sorted(set(places))
    assert {place for places in drawn for place in places} == HALF_FILLED | set(range(12, 24))
    assert drawn[3] == draw_places(make_masks(), 5, seeded(3)).tolist()


def test_an_image_with_little_brain_gives_few_places_and_one_without_none():
    masks = make_masks()
    masks[0] = 0
    masks[0, :, :9, :16] = 1
    assert draw_places(masks, 5, seeded())[0] == 0
    assert (draw_places(masks, 5, seeded()) < 12).sum() == 1
    masks[0] = 0
    assert (draw_places(masks, 5, seeded()) >= 12).all()


def test_where_nothing_is_mostly_brain_the_fullest_patches_are_drawn():
    masks = torch.zeros(2, 1, 40, 32)
    masks[1, :, 16:18, 8:24] = 1
    assert draw_places(masks, 9, seeded()).tolist() == [12 + 4, 12 + 7]
    assert len(draw_places(masks * 0, 9, seeded())) > 0


def embed(projector, images, places):
    """Return embeddings at places, one place at a time, out of its own 256 pixels."""
    found = []
    for place in places.tolist():
        image, within = divmod(place, 12)
        top, left = (8 * step for step in divmod(within, 3))
        patch = images[image : image + 1, :, top : top + 16, left : left + 16]
        found.append(projector(patch).flatten())
    return torch.stack(found)


@pytest.mark.parametrize(
    ("objective", "loss"), [("paper", compute_patch_nce), ("published-code", compute_published_nce)]
)
def test_queries_positives_and_negatives_are_of_the_same_places(objective, loss):
    torch.manual_seed(1)
    projector = PatchProjector(dim=8)
    anatomies = torch.rand(3, 2, 1, 40, 32, generator=seeded(2))
    images = torch.rand(2, 1, 40, 32, generator=seeded(3))
    places = draw_places(make_masks(), 4, seeded(4))
    found = compute_contrast(
        projector, anatomies, images, places, objective=objective, temperature=0.2
    )
    queries, first, second = (embed(projector, anatomy, places) for anatomy in anatomies)
    negatives = embed(projector, images, places)
    wanted = loss(queries, torch.stack([first, second]), negatives, temperature=0.2)
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4)


def test_copies_that_agree_score_low_and_copies_of_other_places_high():
    torch.manual_seed(1)
    projector = PatchProjector(dim=32)
    # Blobs of a patch's size, and an image that shows none of them.
    coarse = torch.rand(2, 1, 10, 8, generator=seeded(5)).round()
    anatomy = functional.interpolate(coarse, scale_factor=4.0)
    images = torch.full_like(anatomy, 0.5)
    places = draw_places(torch.ones(2, 1, 40, 32), 100, seeded())

    def score(copy):
        anatomies = torch.stack([anatomy, copy])
        return compute_contrast(
            projector, anatomies, images, places, objective="paper", temperature=0.005
        ).item()

    chance = math.log(2 * len(places))
    assert score(anatomy) < 0.5 * chance
    assert score(anatomy.roll(8, dims=2)) > chance
    assert score(anatomy.flip(0)) > chance


def test_autocast_does_not_coarsen_it():
    torch.manual_seed(1)
    projector = PatchProjector(dim=8)
    anatomies, images = torch.rand(3, 2, 1, 40, 32, generator=seeded(2)), torch.rand(2, 1, 40, 32)
    places = draw_places(make_masks(), 4, seeded(4))

    def score():
        return compute_contrast(
            projector, anatomies, images, places, objective="paper", temperature=0.07
        )

    with torch.autocast("cpu", torch.bfloat16):
        under = score()
    assert torch.equal(under, score())
