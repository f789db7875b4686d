"""Membership attacks on a card, by somebody who holds a person's scan.

Every attack gives a person one number; higher means "was trained on".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from prism_mri.models.style import read_volume_style
from prism_mri.networks.registry import AnyStyleEncoder
from prism_mri.types import MaskStack, SliceStack

Scores = Float64[np.ndarray, " _P"]
_BATCH = 8
_EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class Person:
    """What the attacker has of somebody: prepared slices in the brain's box, and their anatomy."""

    slices: SliceStack
    mask: MaskStack
    anatomy: torch.Tensor


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What the attacker can compute with.

    Attributes:
        anatomy_encoder: what everybody has.
        style_encoder: of the card under attack.
        decoder: of the card under attack.
        style_mean: ``(Z,)`` of the card under attack.
        shipped_style_encoder: what everybody has.
        shipped_decoder: what everybody has.
    """

    anatomy_encoder: nn.Module
    style_encoder: AnyStyleEncoder
    decoder: nn.Module
    style_mean: torch.Tensor
    shipped_style_encoder: AnyStyleEncoder
    shipped_decoder: nn.Module


def attack_error(known: Knowledge, members: Sequence[Person], others: Sequence[Person]) -> Scores:
    """Score everybody by how well the card draws them, under their own style.

    Returns:
        One score a person, members first.

    Source:
        Yeom et al. 2018, Privacy risk in machine learning: a loss threshold. Hilprecht et al. 2019
        for reconstruction error.
    """
    return np.array(
        [
            -_compute_error(person, known.style_encoder, known.decoder)
            for person in (*members, *others)
        ]
    )


def attack_calibrated(
    known: Knowledge, members: Sequence[Person], others: Sequence[Person]
) -> Scores:
    """Score everybody by how much better the card draws them than the shipped networks do.

    Returns:
        One score a person, members first.

    Source:
        Watson et al. 2022, On the importance of difficulty calibration in membership inference:
        some people are easier to draw, trained on or not.
    """
    scores = []
    for person in (*members, *others):
        shipped = _compute_error(person, known.shipped_style_encoder, known.shipped_decoder)
        own = _compute_error(person, known.style_encoder, known.decoder)
        scores.append(np.log(shipped + _EPSILON) - np.log(own + _EPSILON))
    return np.array(scores)


def attack_style(known: Knowledge, members: Sequence[Person], others: Sequence[Person]) -> Scores:
    """Score everybody by how far their style pulls the card's mean away from other people's.

    The attacker knows the styles of people of the same site who were not trained on; a person's own
    never counts among them.

    Returns:
        One score a person, members first.

    Source:
        Dwork et al. 2015, Robust traceability from trace amounts: the inner product of a person's
        and the released deviation from the population.
    """
    styles = np.array([_read_style(person, known.style_encoder) for person in (*members, *others)])
    return trace_styles(styles, len(members), known.style_mean.numpy().astype(np.float64))


def trace_styles(
    styles: Float64[np.ndarray, "P Z"], members: int, released: Float64[np.ndarray, " Z"]
) -> Scores:
    """Score everybody by the inner product of their own and the released deviation.

    Args:
        styles: everybody's, members first.
        members: how many of them were trained on; the others are the attacker's population.
        released: the mean style that a card states.

    Returns:
        One score a person; see :func:`attack_style`.
    """
    scores = []
    for index, style in enumerate(styles):
        population = [i for i in range(members, len(styles)) if i != index]
        centre, spread = styles[population].mean(axis=0), styles[population].std(axis=0)
        scale = np.maximum(spread, _EPSILON)
        scores.append(((style - centre) / scale) @ ((released - centre) / scale))
    return np.array(scores)


@torch.no_grad()
def _compute_error(person: Person, style_encoder: AnyStyleEncoder, decoder: nn.Module) -> float:
    """Return the mean absolute error in the brain of a person decoded under their own style."""
    style = read_volume_style(person.slices, person.mask, person.anatomy, style_encoder)
    parts = [decoder(part, style[None])[:, 0] for part in person.anatomy.split(_BATCH)]
    difference = np.abs(torch.cat(parts).numpy() - person.slices)
    return float(difference[person.mask].mean())


def _read_style(person: Person, style_encoder: AnyStyleEncoder) -> Float64[np.ndarray, " Z"]:
    style = read_volume_style(person.slices, person.mask, person.anatomy, style_encoder)
    return style.numpy().astype(np.float64)
