"""MR signal equations."""

import math
from collections.abc import Sequence

import torch

from prism_mri.simulate.tissues import TISSUES


def compute_spin_echo(
    proton_density: torch.Tensor,
    t1_ms: torch.Tensor,
    t2_ms: torch.Tensor,
    *,
    repetition_ms: float,
    echo_ms: float,
) -> torch.Tensor:
    """Signal of a spin echo, ``PD (1 − e^(−TR/T1)) e^(−TE/T2)``.

    Args:
        proton_density: relative to water, any shape.
        t1_ms: longitudinal relaxation time, broadcastable.
        t2_ms: transverse relaxation time, broadcastable.
        repetition_ms: TR.
        echo_ms: TE (effective, for a turbo spin echo).

    Returns:
        Signal relative to fully relaxed water at TE 0, in [0, 1].
    """
    recovery = -torch.expm1(-repetition_ms / t1_ms)
    return proton_density * recovery * torch.exp(-echo_ms / t2_ms)


def compute_inversion_recovery(
    proton_density: torch.Tensor,
    t1_ms: torch.Tensor,
    t2_ms: torch.Tensor,
    *,
    repetition_ms: float,
    inversion_ms: float,
    echo_ms: float,
) -> torch.Tensor:
    """Signal of an inversion-prepared spin echo, ``PD (1 − 2 e^(−TI/T1) + e^(−TR/T1)) e^(−TE/T2)``.

    The echo is taken to be short against TR, and the inversion to be perfect.

    Args:
        proton_density: relative to water, any shape.
        t1_ms: longitudinal relaxation time, broadcastable.
        t2_ms: transverse relaxation time, broadcastable.
        repetition_ms: TR.
        inversion_ms: TI.
        echo_ms: TE (effective).

    Returns:
        Signed signal in [−1, 1]; negative where a tissue has not recovered through zero by TI.

    Source:
        Bydder & Young 1985, MR imaging: clinical use of the inversion recovery sequence.
    """
    recovery = 1 - 2 * torch.exp(-inversion_ms / t1_ms) + torch.exp(-repetition_ms / t1_ms)
    return proton_density * recovery * torch.exp(-echo_ms / t2_ms)


def compute_prepared_gradient_echo(
    proton_density: torch.Tensor,
    t1_ms: torch.Tensor,
    *,
    repetition_ms: float,
    inversion_ms: float,
    echo_spacing_ms: float,
    pulses: int,
    flip_degrees: float,
) -> torch.Tensor:
    """Signal at the centre of k-space of an inversion-prepared train of small flip angles.

    The magnetization is followed through one period of its steady state: perfect inversion, free
    recovery, ``pulses`` excitations, free recovery. Every part is an affine map of the longitudinal
    magnetization, so the steady state is that map's fixed point. Transverse magnetization is
    spoiled, T2* decay is left out.

    Args:
        proton_density: relative to water, any shape.
        t1_ms: longitudinal relaxation time, broadcastable.
        repetition_ms: from inversion to inversion.
        inversion_ms: from inversion to the middle of the train.
        echo_spacing_ms: between excitations.
        pulses: excitations in the train.
        flip_degrees: of each excitation.

    Returns:
        Signed signal in [−1, 1].

    Source:
        Mugler & Brookeman 1990 (MP-RAGE); Look & Locker 1970 for the train's approach to its own
        steady state.
    """
    flip = math.radians(flip_degrees)
    between = torch.exp(-echo_spacing_ms / t1_ms)
    decay = between * math.cos(flip)
    driven = (1 - between) / (1 - decay)
    half = pulses / 2
    before = torch.exp(-(inversion_ms - half * echo_spacing_ms) / t1_ms)
    after = torch.exp(-(repetition_ms - inversion_ms - half * echo_spacing_ms) / t1_ms)
    train = decay**pulses
    # From m just before an inversion to the same point one period on: slope · m + offset.
    slope = -before * train * after
    offset = ((1 - before) * train + driven * (1 - train)) * after + 1 - after
    steady = offset / (1 - slope)
    start = 1 - before - before * steady
    middle = driven + (start - driven) * decay**half
    return proton_density * middle * math.sin(flip)


def interpolate_tissue_properties(field_tesla: float) -> torch.Tensor:
    """Return PD, T1 and T2 of all tissues at a field strength, ``(3, tissues)``.

    Between and a little beyond 1.5 T and 3 T the relaxation times are interpolated linearly.
    """
    position = (field_tesla - 1.5) / 1.5

    def mix(low: Sequence[float], high: Sequence[float]) -> torch.Tensor:
        return torch.lerp(
            torch.tensor(low, dtype=torch.float32),
            torch.tensor(high, dtype=torch.float32),
            position,
        )

    density = torch.tensor([tissue.proton_density for tissue in TISSUES])
    t1 = mix([t.at_1_5_tesla.t1_ms for t in TISSUES], [t.at_3_tesla.t1_ms for t in TISSUES])
    t2 = mix([t.at_1_5_tesla.t2_ms for t in TISSUES], [t.at_3_tesla.t2_ms for t in TISSUES])
    return torch.stack([density, t1, t2])
