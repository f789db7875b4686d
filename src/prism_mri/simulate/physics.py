"""MR signal equations."""

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
