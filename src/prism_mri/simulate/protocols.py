"""Scanners as named, versioned protocols, and random ones from a documented range."""

import hashlib
import math
from typing import Annotated, Final

import torch
from pydantic import Field

from prism_mri.config import Fraction, FrozenModel, Positive
from prism_mri.errors import ConfigError


class Protocol(FrozenModel):
    """One scanner's T2w protocol and the defects of its images."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]{1,16}$")]
    version: int = 1
    field_tesla: Annotated[float, Field(ge=1.0, le=3.5)]
    repetition_ms: Positive
    echo_ms: Positive
    in_plane_mm: tuple[Positive, Positive]
    slice_spacing_mm: Positive
    slice_thickness_mm: Positive
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

    def digest(self) -> str:
        """Return a SHA-256 of all settings, so that a result can name what made its images."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


PROTOCOLS: Final[dict[str, Protocol]] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="guys", field_tesla=1.5, repetition_ms=8178, echo_ms=100, in_plane_mm=(0.94, 0.94),
            slice_spacing_mm=1.25, slice_thickness_mm=1.25, blur_fwhm_mm=0.9, bias_std=0.08,
            noise_std=0.03, gamma=1.0, gain=320.0,
        ),
        Protocol(
            name="hh", field_tesla=3.0, repetition_ms=5726, echo_ms=100, in_plane_mm=(0.94, 0.94),
            slice_spacing_mm=1.25, slice_thickness_mm=1.25, blur_fwhm_mm=0.7, sharpening=0.2,
            bias_std=0.14, noise_std=0.04, gamma=0.9, gain=210.0,
        ),
        Protocol(
            name="iop", field_tesla=1.5, repetition_ms=6000, echo_ms=85, in_plane_mm=(0.94, 0.94),
            slice_spacing_mm=1.6, slice_thickness_mm=1.6, blur_fwhm_mm=1.1, bias_std=0.10,
            noise_std=0.05, gamma=1.1, gain=900.0,
        ),
        Protocol(
            name="adni", field_tesla=3.0, repetition_ms=3000, echo_ms=95, in_plane_mm=(0.94, 0.94),
            slice_spacing_mm=3.0, slice_thickness_mm=3.0, blur_fwhm_mm=1.4, bias_std=0.18,
            noise_std=0.06, gamma=1.25, gain=140.0,
        ),
    )
}  # fmt: skip
"""Field, TR and TE of guys and hh are as published by IXI.

Those of iop and adni, and all defects, are plausible choices.
"""


def get_protocol(name: str) -> Protocol:
    """Return a named protocol.

    Raises:
        ConfigError: no protocol has that name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"unknown site protocol '{name}': choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def draw_unseen_protocol(name: str, generator: torch.Generator) -> Protocol:
    """Draw a scanner that no site has.

    Ranges: field 1.5 or 3 T, TR 2800–9500 ms, TE 75–125 ms, pixel 0.75–1.1 mm, slice 1.2–4 mm,
    blur 0.5–1.8 mm, sharpening 0–0.4, bias 0.05–0.2, noise 0.02–0.07, γ 0.8–1.3, gain 50–2000.

    Args:
        name: the scanner's name.
        generator: source of randomness.
    """
    uniform: list[float] = torch.rand(11, generator=generator).tolist()

    def between(index: int, low: float, high: float, digits: int = 3) -> float:
        return round(low + (high - low) * uniform[index], digits)

    pixel, thickness = between(3, 0.75, 1.1, 2), between(4, 1.2, 4.0, 1)
    return Protocol(
        name=name,
        field_tesla=1.5 if uniform[0] < 0.5 else 3.0,
        repetition_ms=between(1, 2800, 9500, 0),
        echo_ms=between(2, 75, 125, 0),
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

    Bias and noise vary by ±20 %, gain by ±10 %, blur by ±5 %, the effective TE and γ by ±1.5 %
    (one standard deviation; draws are cut at two). Grid and TR stay.
    """
    draws = torch.randn(6, generator=generator).clamp(-2, 2).tolist()
    return protocol.model_copy(
        update={
            "bias_std": protocol.bias_std * (1 + 0.2 * draws[0]),
            "noise_std": protocol.noise_std * (1 + 0.2 * draws[1]),
            "gain": protocol.gain * (1 + 0.1 * draws[2]),
            "blur_fwhm_mm": protocol.blur_fwhm_mm * (1 + 0.05 * draws[3]),
            "echo_ms": protocol.echo_ms * (1 + 0.015 * draws[4]),
            "gamma": protocol.gamma * (1 + 0.015 * draws[5]),
        }
    )
