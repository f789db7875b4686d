"""Scanners as named, versioned protocols, and random ones from a documented range."""

import hashlib
import math
from collections.abc import Mapping
from typing import Annotated, Final

import torch
from pydantic import Field

from prism_mri.config import Fraction, FrozenModel, Modality, Positive
from prism_mri.errors import ConfigError
from prism_mri.simulate.sequences import (
    InversionRecovery,
    PreparedGradientEcho,
    Sequence,
    SpinEcho,
    draw_sequence,
)


class Scan(FrozenModel):
    """What is scanned for one modality: a sequence, pixels and slices."""

    sequence: Sequence
    in_plane_mm: tuple[Positive, Positive]
    slice_spacing_mm: Positive
    slice_thickness_mm: Positive


class Scanner(FrozenModel):
    """Field strength and the defects of a scanner's images, in every modality alike."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
    version: int = 1
    field_tesla: Annotated[float, Field(ge=1.0, le=3.5)]
    blur_fwhm_mm: Annotated[float, Field(ge=0)]
    """In-plane point-spread function, full width at half maximum, over the pixel's own."""
    sharpening: Fraction = 0.0
    """Amount of unsharp masking in the scanner's reconstruction."""
    bias_std: Fraction
    """Standard deviation of the logarithm of the bias field over the image."""
    noise_std: Fraction
    """Rician noise, relative to the brain's median signal."""
    gamma: Positive = 1.0
    """Exponent of the scanner's intensity curve, 1 at the brain's median."""
    gain: Positive = 1.0
    """Stored intensity of the brain's median signal."""


class Protocol(Scanner, Scan):
    """One scanner's protocol of one modality and the defects of its images."""

    modality: Modality

    def digest(self) -> str:
        """Return a SHA-256 of all settings, so that a result can name what made its images."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


def _scan(sequence: Sequence, slice_mm: float) -> Scan:
    return Scan(
        sequence=sequence,
        in_plane_mm=(0.94, 0.94),
        slice_spacing_mm=slice_mm,
        slice_thickness_mm=slice_mm,
    )


def _spin_echo(repetition_ms: float, echo_ms: float, slice_mm: float) -> Scan:
    return _scan(SpinEcho(repetition_ms=repetition_ms, echo_ms=echo_ms), slice_mm)


def _flair(repetition_ms: float, inversion_ms: float, echo_ms: float, slice_mm: float) -> Scan:
    sequence = InversionRecovery(
        repetition_ms=repetition_ms, inversion_ms=inversion_ms, echo_ms=echo_ms
    )
    return _scan(sequence, slice_mm)


def _gradient_echo(
    repetition_ms: float,
    inversion_ms: float,
    flip_degrees: float,
    *,
    echo_spacing_ms: float,
    pulses: int,
) -> Scan:
    sequence = PreparedGradientEcho(
        repetition_ms=repetition_ms,
        inversion_ms=inversion_ms,
        echo_spacing_ms=echo_spacing_ms,
        pulses=pulses,
        flip_degrees=flip_degrees,
    )
    return _scan(sequence, 1.2)


SCANNERS: Final[Mapping[str, tuple[Scanner, Mapping[Modality, Scan]]]] = {
    "guys": (
        Scanner(
            name="guys", field_tesla=1.5, blur_fwhm_mm=0.9, bias_std=0.08, noise_std=0.03,
            gamma=1.0, gain=320.0,
        ),
        {
            "T2w": _spin_echo(8178, 100, 1.25),
            "PDw": _spin_echo(8178, 8, 1.25),
            "T1w": _gradient_echo(1950, 850, 8, echo_spacing_ms=9.8, pulses=140),
            "FLAIR": _flair(8000, 2260, 140, 5.0),
        },
    ),
    "hh": (
        Scanner(
            name="hh", field_tesla=3.0, blur_fwhm_mm=0.7, sharpening=0.2, bias_std=0.14,
            noise_std=0.04, gamma=0.9, gain=210.0,
        ),
        {
            "T2w": _spin_echo(5726, 100, 1.25),
            "PDw": _spin_echo(5726, 8, 1.25),
            "T1w": _gradient_echo(2400, 1050, 8, echo_spacing_ms=7.0, pulses=180),
            "FLAIR": _flair(10000, 2600, 125, 3.0),
        },
    ),
    "iop": (
        Scanner(
            name="iop", field_tesla=1.5, blur_fwhm_mm=1.1, bias_std=0.10, noise_std=0.05,
            gamma=1.1, gain=900.0,
        ),
        {
            "T2w": _spin_echo(6000, 85, 1.6),
            "PDw": _spin_echo(6000, 17, 1.6),
            "T1w": _spin_echo(600, 12, 4.0),
            "FLAIR": _flair(9000, 2350, 145, 4.0),
        },
    ),
    "adni": (
        Scanner(
            name="adni", field_tesla=3.0, blur_fwhm_mm=1.4, bias_std=0.18, noise_std=0.06,
            gamma=1.25, gain=140.0,
        ),
        {
            "T2w": _spin_echo(3000, 95, 3.0),
            "PDw": _spin_echo(3000, 11, 3.0),
            "T1w": _gradient_echo(2300, 900, 9, echo_spacing_ms=7.2, pulses=170),
            "FLAIR": _flair(9000, 2500, 135, 4.0),
        },
    ),
}  # fmt: skip
"""Field, and TR and TE of the T2w and PD of guys and hh, are as published by IXI.

Everything else is a plausible choice: PD is the T2w's first echo, T1w a prepared gradient echo of
thin slices but at iop, which has a spin echo of thick ones, and FLAIR nulls fluid within 3 %.
"""

VISITED_SCANNERS: Final[Mapping[str, tuple[Scanner, Mapping[Modality, Scan]]]] = {
    "north": (
        Scanner(
            name="north", field_tesla=1.0, blur_fwhm_mm=1.2, bias_std=0.10, noise_std=0.055,
            gamma=0.72, gain=520.0,
        ),
        {
            "T2w": _spin_echo(10800, 146, 2.0),
            "PDw": _spin_echo(9400, 28, 2.0),
            "T1w": _gradient_echo(1900, 640, 13, echo_spacing_ms=9.0, pulses=120),
            "FLAIR": _flair(13000, 2650, 150, 4.0),
        },
    ),
    "south": (
        Scanner(
            name="south", field_tesla=3.4, blur_fwhm_mm=0.6, sharpening=0.3, bias_std=0.20,
            noise_std=0.035, gamma=1.36, gain=1500.0,
        ),
        {
            "T2w": _spin_echo(4300, 78, 1.5),
            "PDw": _spin_echo(4300, 14, 1.5),
            "T1w": _gradient_echo(2900, 1240, 7, echo_spacing_ms=6.6, pulses=200),
            "FLAIR": _flair(11000, 2750, 120, 3.0),
        },
    ),
}  # fmt: skip
"""Scanners that nobody trains at: sources of the travelling benchmark.

Each lies outside at least two of the ranges that the translator is trained on
(:class:`prism_mri.simulate.pairs.PairSource`): north by γ and, on T2w, by TR and TE; south by field
and γ. They are fixed: a test holds their digests.
"""


def get_visited_protocol(name: str, modality: Modality = "T2w") -> Protocol:
    """Return the protocol of a scanner that nobody trains at.

    Raises:
        ConfigError: no such scanner has that name.
    """
    if name not in VISITED_SCANNERS:
        known = ", ".join(VISITED_SCANNERS)
        raise ConfigError(f"unknown visited scanner '{name}': choose from {known}")
    scanner, scans = VISITED_SCANNERS[name]
    return Protocol(modality=modality, **dict(scanner), **dict(scans[modality]))


def get_protocol(name: str, modality: Modality = "T2w") -> Protocol:
    """Return a named scanner's protocol of a modality.

    Raises:
        ConfigError: no scanner has that name.
    """
    if name not in SCANNERS:
        raise ConfigError(f"unknown site protocol '{name}': choose from {', '.join(SCANNERS)}")
    scanner, scans = SCANNERS[name]
    return Protocol(modality=modality, **dict(scanner), **dict(scans[modality]))


def draw_unseen_protocol(
    name: str, generator: torch.Generator, modality: Modality = "T2w"
) -> Protocol:
    """Draw a scanner that no site has.

    Ranges: field 1.5 or 3 T, pixel 0.75–1.1 mm, blur 0.5–1.8 mm, sharpening 0–0.4, bias 0.05–0.2,
    noise 0.02–0.07, γ 0.8–1.3, gain 50–2000. T2w has TR 2800–9500 ms and TE 75–125 ms, the others
    what :func:`prism_mri.simulate.sequences.draw_sequence` draws. Slices: T2w and PD 1.2–4 mm,
    FLAIR and spin-echo T1w 3–5 mm, other T1w 1–1.5 mm.

    Args:
        name: the scanner's name.
        generator: source of randomness.
        modality: of its protocol.
    """
    uniform: list[float] = torch.rand(11, generator=generator).tolist()

    def between(index: int, low: float, high: float, digits: int = 3) -> float:
        return round(low + (high - low) * uniform[index], digits)

    field = 1.5 if uniform[0] < 0.5 else 3.0
    sequence: Sequence = (
        SpinEcho(repetition_ms=between(1, 2800, 9500, 0), echo_ms=between(2, 75, 125, 0))
        if modality == "T2w"
        else draw_sequence(modality, field, generator)
    )
    pixel = between(3, 0.75, 1.1, 2)
    thickness = between(4, *_slice_range(modality, sequence), 1)
    return Protocol(
        name=name,
        modality=modality,
        field_tesla=field,
        sequence=sequence,
        in_plane_mm=(pixel, pixel),
        slice_spacing_mm=thickness,
        slice_thickness_mm=thickness,
        blur_fwhm_mm=between(5, 0.5, 1.8, 2),
        sharpening=between(6, 0.0, 0.4, 2),
        bias_std=between(7, 0.05, 0.2),
        noise_std=between(8, 0.02, 0.07),
        gamma=between(9, 0.8, 1.3, 2),
        gain=round(math.exp(between(10, math.log(50), math.log(2000))), 0),
    )


def vary_protocol(protocol: Protocol, generator: torch.Generator) -> Protocol:
    """Return the protocol as one session of that scanner realizes it.

    Bias and noise vary by ±20 %, gain by ±10 %, blur by ±5 %, the effective TE, the flip angle and
    γ by ±1.5 %, TI by ±0.5 % (one standard deviation; draws are cut at two, and TI where the train
    would not fit). Grid and TR stay.
    """
    draws = torch.randn(6, generator=generator).clamp(-2, 2).tolist()
    return protocol.model_copy(
        update={
            "bias_std": protocol.bias_std * (1 + 0.2 * draws[0]),
            "noise_std": protocol.noise_std * (1 + 0.2 * draws[1]),
            "gain": protocol.gain * (1 + 0.1 * draws[2]),
            "blur_fwhm_mm": protocol.blur_fwhm_mm * (1 + 0.05 * draws[3]),
            "sequence": _vary_sequence(protocol.sequence, draws[4], generator),
            "gamma": protocol.gamma * (1 + 0.015 * draws[5]),
        }
    )


def _slice_range(modality: Modality, sequence: Sequence) -> tuple[float, float]:
    if isinstance(sequence, PreparedGradientEcho):
        return 1.0, 1.5
    return (3.0, 5.0) if modality in ("FLAIR", "T1w") else (1.2, 4.0)


def _vary_sequence(sequence: Sequence, echo: float, generator: torch.Generator) -> Sequence:
    """Vary what times the echo, by ``echo`` standard deviations, and what prepares it."""
    changes = {"echo_ms": sequence.echo_ms * (1 + 0.015 * echo)}
    if isinstance(sequence, SpinEcho):
        return sequence.model_copy(update=changes)
    inversion, flip = torch.randn(2, generator=generator).clamp(-2, 2).tolist()
    changes["inversion_ms"] = sequence.inversion_ms * (1 + 0.005 * inversion)
    if isinstance(sequence, PreparedGradientEcho):
        half = sequence.pulses * sequence.echo_spacing_ms / 2
        latest = sequence.repetition_ms - half
        changes["inversion_ms"] = min(max(changes["inversion_ms"], half), latest)
        changes["flip_degrees"] = min(sequence.flip_degrees * (1 + 0.015 * flip), 90.0)
    return sequence.model_copy(update=changes)
