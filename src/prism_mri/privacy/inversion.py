"""Inversion of a card: images that its networks were made for, and whom they resemble.

The attacker has the card and the shipped networks, and no scan. From public anatomies they change
images until the card draws them much better than the shipped networks do, which is what training
did for the people trained on; then they look who is like the result.
"""

import functools
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32, Float64
from torch.nn import functional

from prism_mri.privacy.attacks import Knowledge, Person
from prism_mri.simulate.anatomy import Population, draw_template_person
from prism_mri.simulate.pairs import PairSource

Images = Float32[torch.Tensor, "B 1 S S"]
Scores = Float64[np.ndarray, " _P"]

SIDE: Final = 96
"""Pixels of an inverted image, and of people's slices when they are compared with it."""
_STARTS = 8
_STEPS = 60
_RATE = 0.02
_SMOOTHNESS = 0.05
_SEED = 0


def attack_inversion(
    known: Knowledge, members: Sequence[Person], others: Sequence[Person]
) -> Scores:
    """Score everybody by how much they resemble what the card gives when it is inverted.

    Returns:
        One score a person, members first: the highest correlation between one of their slices and
        one of the inverted images.

    Source:
        After Fredrikson et al. 2015, Model inversion attacks. The objective is ours: likeness to
        the site's look alone, which the card is meant to hold, is no objective.
    """
    images, masks = draw_starts()
    inverted = invert(known, images, masks)
    return np.array([compute_likeness(inverted, person) for person in (*members, *others)])


@functools.cache
def draw_starts() -> tuple[Images, Images]:
    """Return images of public anatomies to begin with, and their masks, ``(B, 1, S, S)`` each."""
    generator = torch.Generator().manual_seed(_SEED)
    person = draw_template_person("start", generator, Population())
    batch = PairSource([person], crop=SIDE).draw(_STARTS, generator)
    return batch.images[0], batch.mask


def invert(known: Knowledge, images: Images, masks: Images) -> Images:
    """Change images until the card draws them better than the shipped networks, by gradient."""
    current = images.clone().requires_grad_()
    optimizer = torch.optim.Adam([current], lr=_RATE)
    for _ in range(_STEPS):
        shown = current * masks
        anatomy = known.anatomy_encoder(shown)
        errors = []
        for style_encoder, decoder in (
            (known.style_encoder, known.decoder),
            (known.shipped_style_encoder, known.shipped_decoder),
        ):
            drawn = decoder(anatomy, style_encoder(shown, anatomy, masks).mean) * masks
            errors.append((drawn - shown).abs().sum(dim=(1, 2, 3)) / masks.sum(dim=(1, 2, 3)))
        own, shipped = errors
        rough = (shown.diff(dim=2).abs().mean() + shown.diff(dim=3).abs().mean()) * _SMOOTHNESS
        loss = (own.log() - shipped.log()).sum() + rough
        (gradient,) = torch.autograd.grad(loss, current)
        current.grad = gradient
        optimizer.step()
    return (current * masks).detach()


def compute_likeness(inverted: Images, person: Person) -> float:
    """Return the highest correlation between a person's slices and inverted images.

    Slices are brought to one size, so that a brain's box lies on another's.
    """
    slices = torch.from_numpy(person.slices * person.mask)[:, None]
    scaled = functional.interpolate(slices, (SIDE, SIDE), mode="bilinear", align_corners=False)
    boxes = torch.stack([_fill(image) for image in inverted[:, 0]])
    return float((_standardize(scaled[:, 0]) @ _standardize(boxes).T).max())


def _fill(image: Float32[torch.Tensor, "R R"]) -> Float32[torch.Tensor, "S S"]:
    """Stretch what is not zero over the whole image."""
    rows, columns = (image.abs().sum(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    box = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    filled = functional.interpolate(
        box[None, None], (SIDE, SIDE), mode="bilinear", align_corners=False
    )
    stretched: torch.Tensor = filled[0, 0]
    return stretched


def _standardize(images: Float32[torch.Tensor, "B S S"]) -> Float32[torch.Tensor, "B _P"]:
    flat = images.flatten(1)
    centred = flat - flat.mean(dim=1, keepdim=True)
    scaled: torch.Tensor = centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return scaled
