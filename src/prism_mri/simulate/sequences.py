"""Pulse sequences: what a scanner is told to do, and the signal that tissues give for it."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator

from prism_mri.config import FrozenModel, Modality, Positive
from prism_mri.simulate.physics import (
    compute_inversion_recovery,
    compute_prepared_gradient_echo,
    compute_spin_echo,
    interpolate_tissue_properties,
)
from prism_mri.simulate.tissues import TISSUE_INDEX


class SpinEcho(FrozenModel):
    """Spin echo or turbo spin echo: T2w, PD, and T1w as thick slices."""

    kind: Literal["spin-echo"] = "spin-echo"
    repetition_ms: Positive
    echo_ms: Positive

    def compute_signal(self, properties: torch.Tensor) -> torch.Tensor:
        """Return the signal of ``(3, …)`` proton density, T1 and T2 (ms), relative to water."""
        density, t1, t2 = properties
        return compute_spin_echo(
            density, t1, t2, repetition_ms=self.repetition_ms, echo_ms=self.echo_ms
        )


class InversionRecovery(FrozenModel):
    """Turbo spin echo after an inversion: FLAIR, where the inversion time nulls fluid."""

    kind: Literal["inversion-recovery"] = "inversion-recovery"
    repetition_ms: Positive
    inversion_ms: Positive
    echo_ms: Positive

    def compute_signal(self, properties: torch.Tensor) -> torch.Tensor:
        """Return the signed signal of ``(3, …)`` proton density, T1 and T2 (ms)."""
        density, t1, t2 = properties
        return compute_inversion_recovery(
            density,
            t1,
            t2,
            repetition_ms=self.repetition_ms,
            inversion_ms=self.inversion_ms,
            echo_ms=self.echo_ms,
        )


class PreparedGradientEcho(FrozenModel):
    """Train of small flip angles after an inversion: T1w (MPRAGE and its relatives)."""

    kind: Literal["prepared-gradient-echo"] = "prepared-gradient-echo"
    repetition_ms: Positive
    """From inversion to inversion."""
    inversion_ms: Positive
    """From the inversion to the centre of k-space, the middle of the train."""
    echo_spacing_ms: Positive
    pulses: Annotated[int, Field(ge=1, le=1024)]
    flip_degrees: Annotated[float, Field(gt=0, le=90)]
    echo_ms: Positive = 3.5
    """Stands in the sidecar only: at a few ms, T2* weighting is left out."""

    @model_validator(mode="after")
    def _train_fits(self) -> "PreparedGradientEcho":
        half = self.pulses * self.echo_spacing_ms / 2
        if half > self.inversion_ms or self.inversion_ms + half > self.repetition_ms:
            raise ValueError(
                f"a train of {2 * half:g} ms does not fit around TI {self.inversion_ms:g} ms "
                f"within TR {self.repetition_ms:g} ms"
            )
        return self

    def compute_signal(self, properties: torch.Tensor) -> torch.Tensor:
        """Return the signed signal of ``(3, …)`` proton density, T1 and T2 (ms)."""
        density, t1, _ = properties
        return compute_prepared_gradient_echo(
            density,
            t1,
            repetition_ms=self.repetition_ms,
            inversion_ms=self.inversion_ms,
            echo_spacing_ms=self.echo_spacing_ms,
            pulses=self.pulses,
            flip_degrees=self.flip_degrees,
        )


Sequence = Annotated[
    SpinEcho | InversionRecovery | PreparedGradientEcho, Field(discriminator="kind")
]

_SPIN_ECHO_SHARE = 0.35


def compute_fluid_null(field_tesla: float, repetition_ms: float) -> float:
    """Return the inversion time (ms) that nulls cerebrospinal fluid."""
    t1 = float(interpolate_tissue_properties(field_tesla)[1, TISSUE_INDEX["csf"]])
    return t1 * math.log(2 / (1 + math.exp(-repetition_ms / t1)))


def draw_sequence(modality: Modality, field_tesla: float, generator: torch.Generator) -> Sequence:
    """Draw a sequence of a modality.

    Ranges: T2w TR 2500–10000 ms, TE 60–140 ms · PDw TR 1800–9000, TE 8–25 · FLAIR TR 6000–12000,
    TE 80–160, TI 0.94–1.06 of what nulls fluid · T1w, two of three times a prepared gradient echo
    of TI 700–1200, 100–180 pulses 6–10 ms apart at 6–12° and 100–1000 ms of rest, else a spin echo
    of TR 350–900, TE 8–20.

    Args:
        modality: which of the four.
        field_tesla: field strength.
        generator: source of randomness.
    """
    u: list[float] = torch.rand(6, generator=generator).tolist()

    def between(index: int, low: float, high: float) -> float:
        return low + (high - low) * u[index]

    match modality:
        case "T2w":
            return SpinEcho(repetition_ms=between(0, 2500, 10000), echo_ms=between(1, 60, 140))
        case "PDw":
            return SpinEcho(repetition_ms=between(0, 1800, 9000), echo_ms=between(1, 8, 25))
        case "FLAIR":
            repetition = between(0, 6000, 12000)
            return InversionRecovery(
                repetition_ms=repetition,
                inversion_ms=compute_fluid_null(field_tesla, repetition) * between(1, 0.94, 1.06),
                echo_ms=between(2, 80, 160),
            )
        case "T1w":
            if u[5] < _SPIN_ECHO_SHARE:
                return SpinEcho(repetition_ms=between(0, 350, 900), echo_ms=between(1, 8, 20))
            spacing, inversion = between(1, 6, 10), between(0, 700, 1200)
            pulses = min(round(between(2, 100, 180)), int(2 * inversion / spacing))
            return PreparedGradientEcho(
                repetition_ms=inversion + pulses * spacing / 2 + between(3, 100, 1000),
                inversion_ms=inversion,
                echo_spacing_ms=spacing,
                pulses=pulses,
                flip_degrees=between(4, 6, 12),
            )
