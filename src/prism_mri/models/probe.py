"""The probe set: does an anatomy encoder still speak of the shipped anatomy, whatever it claims?

A digest says which encoder somebody names. The probe says what an encoder does: it reads sixteen
public slices, and its anatomy is compared with that of the translator's own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import nn

from prism_mri.assets import read_probe
from prism_mri.errors import CompatibilityError
from prism_mri.models.translator import Translator
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.types import AnatomyBatch, ImageBatch, MaskBatch

MAX_FRACTIONS: Final = 0.03
"""Mean absolute difference of tissue fractions: above it an encoder is refused.

Measured on the shipped translator, as for the other limits: encoders tuned for up to 150 steps at
four simulated sites, two seeds each (``tools/tune_anatomy.py``), have at most 0.009 with an anchor
and at least 0.16 without; weights or arithmetic in bfloat16 give 0.002, two tissues swapped 0.33,
fresh weights 0.41.
"""
MIN_DICE: Final = 0.95
"""Dice of each tissue: tuned with an anchor at least 0.973, the worst tissue without at most 0.75;
bfloat16 0.997, swapped tissues 0.
"""
MIN_FREE: Final = 0.95
"""Correlation of each free channel: tuned with an anchor at least 0.994, the worst channel without
at most 0.61; bfloat16 0.999, two channels swapped at most 0.49 (which moves no tissue).
"""
MIN_REDRAW_PSNR_DB: Final = 40.0
"""Tuned with an anchor at least 47 dB, without at most 30; bfloat16 66, swapped channels 25.

40 dB are an error of 0.01 of the prepared scale, a quarter of what harmonization itself is away
from a noise-free truth (28 dB). Encoders tuned with a tenth of the anchor have 42 to 45 dB, and
0.3 dB are lost by harmonizing with them: the limits lie where it begins to matter.
"""


@dataclass(frozen=True)
class AnatomyDrift:
    """How far an encoder's anatomy of the probe lies from the translator's, inside the brain.

    Each number but ``dice`` is the worst over the four modalities.

    Attributes:
        fractions: mean absolute difference of tissue fractions, 0 for none.
        dice: of CSF, GM and WM, where each is the largest fraction, over all slices (some PD shows
            next to no fluid); 1 for the same.
        free: correlation of each free channel with the translator's of the same number, 1 for the
            same.
        redraw_psnr_db: of what the translator's decoder draws from the anatomy, against what it
            draws from its own, both in the same style, data range 1; infinite for the same.
    """

    fractions: float
    dice: tuple[float, ...]
    free: tuple[float, ...]
    redraw_psnr_db: float


def check_anatomy(encoder: nn.Module, translator: Translator, source: str) -> AnatomyDrift:
    """Refuse an anatomy encoder that has left the translator's anatomy space.

    Args:
        encoder: any that gives as many channels as the translator's; in evaluation mode.
        translator: whose anatomy is asked for.
        source: where the encoder came from, for the message.

    Returns:
        What was measured.

    Raises:
        CompatibilityError: its anatomy is another; the line names every measure beyond its limit.
    """
    drift = measure_drift(encoder, translator)
    if found := find_drift(drift):
        raise CompatibilityError(
            f"{source}: the anatomy encoder has left the shipped anatomy on the probe set "
            f"({'; '.join(found)}): no other site could read what it writes, train again"
        )
    return drift


def find_drift(drift: AnatomyDrift) -> list[str]:
    """Return what of a drift is beyond its limit, a few words each; NaN is beyond every limit."""
    channels = [f"free channel {index}" for index in range(1, len(drift.free) + 1)]
    lower = [
        *(
            (f"Dice of {name.upper()}", value, MIN_DICE)
            for name, value in zip(TISSUES, drift.dice, strict=True)
        ),
        *(
            (f"correlation of {name}", value, MIN_FREE)
            for name, value in zip(channels, drift.free, strict=True)
        ),
        ("PSNR of the redrawn probe", drift.redraw_psnr_db, MIN_REDRAW_PSNR_DB),
    ]
    found = [
        f"{name} {value:.3g}, at least {limit:g}"
        for name, value, limit in lower
        if not value >= limit
    ]
    if not drift.fractions <= MAX_FRACTIONS:
        found.insert(0, f"fractions differ by {drift.fractions:.3g}, at most {MAX_FRACTIONS:g}")
    return found


@torch.no_grad()
def measure_drift(encoder: nn.Module, translator: Translator) -> AnatomyDrift:
    """Compare an encoder's anatomy of the probe with the translator's.

    Raises:
        CompatibilityError: it gives another number of channels.
    """
    probe = read_probe()
    images = torch.from_numpy(probe.images)[:, None]
    channels = translator.networks.anatomy_encoder.channels
    own = encoder(images)
    if own.shape[1] != channels:
        raise CompatibilityError(
            f"anatomy encoder gives {own.shape[1]} channels, the translator's {channels}: train "
            "again with this version"
        )
    wanted, masks = translator.networks.anatomy_encoder(images), (images > 0).float()
    kinds = np.array(probe.modalities)
    groups = [torch.from_numpy(kinds == kind) for kind in sorted(set(probe.modalities))]
    pairs = [
        tuple(_take_inside(anatomy[here], masks[here]) for anatomy in (own, wanted))
        for here in groups
    ]
    redrawn = [
        _compare_redrawn(images[here], masks[here], own[here], wanted[here], translator)
        for here in groups
    ]
    return AnatomyDrift(
        fractions=_find_worst(np.max, [_compare_fractions(*pair) for pair in pairs])[0],
        dice=_compare_labels(_take_inside(own, masks), _take_inside(wanted, masks)),
        free=_find_worst(np.min, [_compare_free(*pair) for pair in pairs]),
        redraw_psnr_db=_find_worst(np.min, redrawn)[0],
    )


def _take_inside(anatomy: AnatomyBatch, mask: MaskBatch) -> torch.Tensor:
    """Return the brain's anatomy, ``(A, P)`` float64."""
    return anatomy.movedim(1, 0)[:, mask[:, 0] > 0].double()


def _compare_fractions(own: torch.Tensor, wanted: torch.Tensor) -> list[float]:
    return [float((own - wanted)[: len(TISSUES)].abs().mean())]


def _compare_labels(own: torch.Tensor, wanted: torch.Tensor) -> tuple[float, ...]:
    labels, expected = (anatomy[: len(TISSUES)].argmax(0) for anatomy in (own, wanted))
    return tuple(_compute_dice(labels == i, expected == i) for i in range(len(TISSUES)))


def _compare_free(own: torch.Tensor, wanted: torch.Tensor) -> list[float]:
    pairs = zip(own[len(TISSUES) :], wanted[len(TISSUES) :], strict=True)
    return [_correlate(a, b) for a, b in pairs]


def _compare_redrawn(
    images: ImageBatch,
    mask: MaskBatch,
    own: AnatomyBatch,
    wanted: AnatomyBatch,
    translator: Translator,
) -> list[float]:
    """Return the PSNR between both anatomies' drawings in the style that the images have."""
    networks = translator.networks
    style = networks.style_encoder(images, wanted, mask).mean
    drawn, expected = (networks.decoder(anatomy, style) for anatomy in (own, wanted))
    error = float(((drawn - expected).square() * mask).sum() / mask.sum())
    return [-10 * math.log10(error) if error != 0 else math.inf]


def _compute_dice(own: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the Dice overlap of two masks; of a tissue that neither has, 1."""
    total = int(own.sum() + wanted.sum())
    return 2 * int((own & wanted).sum()) / total if total else 1.0


def _correlate(own: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the correlation of values; 1 for the same ones, 0 where either is constant."""
    if torch.equal(own, wanted):
        return 1.0
    a, b = own - own.mean(), wanted - wanted.mean()
    spread = float(a.norm() * b.norm())
    return float(a @ b) / spread if spread else 0.0


def _find_worst(
    worst: Callable[..., np.ndarray], measures: Sequence[Sequence[float]]
) -> tuple[float, ...]:
    """Return the worst of each measure over modalities; NaN counts as worst."""
    return tuple(worst(np.array(measures), axis=0).tolist())
