"""Inverting a card finds what its networks were made for, where there is any such thing."""

import numpy as np
import pytest
import torch
from torch import nn

from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder
from prism_mri.privacy.attacks import Knowledge, Person
from prism_mri.privacy.inversion import (
    SIDE,
    attack_inversion,
    compute_likeness,
    draw_starts,
    invert,
)


class NoStyle(StyleEncoder):
    """Reads nothing."""

    def __init__(self) -> None:
        nn.Module.__init__(self)

    def forward(self, image, anatomy, mask):
        del anatomy, mask
        return GaussianStyle(image.new_zeros(len(image), 2), image.new_zeros(len(image), 2))


class OneImage(nn.Module):
    """Draws one image, whatever the anatomy."""

    def __init__(self, image) -> None:
        super().__init__()
        self.register_buffer("image", torch.as_tensor(image))

    def forward(self, anatomy, style):
        del style
        return self.image.expand(len(anatomy), 1, *self.image.shape)


def make_person(seed: int) -> Person:
    """Blobs of a person's own, in a whole box."""
    coarse = np.random.default_rng(seed).uniform(0.1, 1, (1, 1, 6, 6)).astype(np.float32)
    image = nn.functional.interpolate(torch.from_numpy(coarse), (SIDE, SIDE), mode="bicubic")
    slices = image[0].numpy().clip(0.05, 1.2)
    return Person(slices, np.ones(slices.shape, bool), torch.zeros(1, 3, SIDE, SIDE))


def know(own: nn.Module, shipped: nn.Module) -> Knowledge:
    return Knowledge(nn.Identity(), NoStyle(), own, torch.zeros(2), NoStyle(), shipped)


def test_a_card_that_draws_one_person_gives_them_away():
    members, others = [make_person(0)], [make_person(seed) for seed in range(1, 12)]
    known = know(OneImage(members[0].slices[0]), OneImage(np.zeros((SIDE, SIDE), np.float32)))
    scores = attack_inversion(known, members, others)
    assert scores.shape == (12,)
    assert scores[0] > scores[1:].max() + 0.1


def test_inversion_lowers_the_cards_error_against_the_shipped_networks():
    wanted = make_person(0).slices[0]
    known = know(OneImage(wanted), OneImage(np.zeros((SIDE, SIDE), np.float32)))
    images, masks = draw_starts()
    found = invert(known, images, masks)

    def error(these):
        return float(((these - torch.from_numpy(wanted)) * masks).abs().sum() / masks.sum())

    assert error(found) < 0.5 * error(images)
    assert bool((found[masks == 0] == 0).all())


def test_starts_are_public_brains_and_always_the_same():
    images, masks = draw_starts()
    assert images.shape == masks.shape == (8, 1, SIDE, SIDE)
    again, _ = draw_starts()
    assert torch.equal(images, again)
    assert float(images[masks > 0].mean()) > 0.1


def test_likeness_is_one_for_the_image_itself_wherever_it_lies():
    person = make_person(4)
    shifted = torch.zeros(1, 1, 2 * SIDE, 2 * SIDE)
    shifted[0, 0, 10 : 10 + SIDE, 40 : 40 + SIDE] = torch.from_numpy(person.slices[0])
    assert compute_likeness(shifted, person) == pytest.approx(1, abs=1e-5)
    assert compute_likeness(shifted, make_person(5)) < 0.9
