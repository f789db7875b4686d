"""The signal equation against numbers worked out by hand, and the table of tissues."""

import math

import pytest
import torch

from prism_mri.simulate.physics import compute_spin_echo, interpolate_tissue_properties
from prism_mri.simulate.tissues import TISSUE_INDEX


def signal(density: float, t1_ms: float, t2_ms: float, tr_ms: float, te_ms: float) -> float:
    tensors = (torch.tensor(value) for value in (density, t1_ms, t2_ms))
    return float(compute_spin_echo(*tensors, repetition_ms=tr_ms, echo_ms=te_ms))


@pytest.mark.parametrize(
    ("tissue", "expected"),
    [
        # IXI Guys, 1.5 T, TR 8178, TE 100: PD (1 - exp(-TR/T1)) exp(-TE/T2) on a pocket calculator.
        ((1.00, 4000.0, 1800.0), 0.870558 * 0.945959),
        ((0.82, 1150.0, 95.0), 0.82 * 0.999184 * 0.349018),
        ((0.70, 770.0, 80.0), 0.70 * 0.999976 * 0.286505),
    ],
)
def test_guys_signals_as_by_hand(tissue: tuple[float, float, float], expected: float) -> None:
    assert signal(*tissue, 8178.0, 100.0) == pytest.approx(expected, rel=1e-5)


def test_signal_recovers_by_half_after_t1_ln_2_and_decays_by_half_after_t2_ln_2() -> None:
    assert signal(1.0, 1000.0, 100.0, 1000 * math.log(2), 0.0) == pytest.approx(0.5, rel=1e-6)
    assert signal(1.0, 1.0, 100.0, 1e6, 100 * math.log(2)) == pytest.approx(0.5, rel=1e-6)


def test_fully_relaxed_signal_at_echo_zero_is_the_proton_density() -> None:
    assert signal(0.83, 900.0, 80.0, 1e9, 0.0) == pytest.approx(0.83, rel=1e-6)


def test_short_repetition_keeps_its_digits() -> None:
    """1 - exp(-x) in float32 would lose four of them at x = 1e-4."""
    assert signal(1.0, 10_000.0, 1e9, 1.0, 0.0) == pytest.approx(9.9995e-5, rel=1e-5)


@pytest.mark.parametrize(
    ("field_tesla", "name", "expected"),
    [
        (1.5, "csf", (1.0, 4000.0, 1800.0)),
        (3.0, "csf", (1.0, 4200.0, 1600.0)),
        (1.5, "cortex", (0.82, 1150.0, 95.0)),
        (3.0, "cortex", (0.82, 1450.0, 85.0)),
        (1.5, "wm", (0.70, 770.0, 80.0)),
        (3.0, "wm", (0.70, 850.0, 70.0)),
        (2.25, "wm", (0.70, 810.0, 75.0)),
        (1.2, "wm", (0.70, 754.0, 82.0)),
    ],
)
def test_tissue_properties(
    field_tesla: float, name: str, expected: tuple[float, float, float]
) -> None:
    properties = interpolate_tissue_properties(field_tesla)[:, TISSUE_INDEX[name]]
    assert properties.tolist() == pytest.approx(expected, rel=1e-6)
