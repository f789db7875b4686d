"""Signal equations against numbers worked out otherwise, and the table of tissues."""

import math

import pytest
import torch

from prism_mri.simulate.physics import (
    compute_inversion_recovery,
    compute_prepared_gradient_echo,
    compute_spin_echo,
    interpolate_tissue_properties,
)
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


def inversion_recovery(t1_ms: float, tr_ms: float, ti_ms: float, te_ms: float = 0.0) -> float:
    density, t1, t2 = torch.tensor([1.0, t1_ms, 100.0], dtype=torch.float64)
    times = {"repetition_ms": tr_ms, "inversion_ms": ti_ms, "echo_ms": te_ms}
    return float(compute_inversion_recovery(density, t1, t2, **times))


def test_inversion_recovery_as_by_hand() -> None:
    """Right after the inversion −1, at T1 ln 2 zero, at 2 T1 ln 2 a half; TE as in a spin echo."""
    assert inversion_recovery(1000, 1e6, 1e-9) == pytest.approx(-1, abs=1e-6)
    assert inversion_recovery(1000, 1e6, 1000 * math.log(2)) == pytest.approx(0, abs=1e-9)
    assert inversion_recovery(1000, 1e6, 2000 * math.log(2)) == pytest.approx(0.5, abs=1e-9)
    late = inversion_recovery(1000, 1e6, 1e5, te_ms=100 * math.log(2))
    assert late == pytest.approx(0.5, abs=1e-9)


def test_inversion_recovery_is_what_a_90_degree_echo_a_period_leads_to() -> None:
    t1, repetition, inversion, longitudinal = 900.0, 2500.0, 700.0, 1.0
    for _ in range(5):
        at_echo = recover(-longitudinal, inversion, t1)
        longitudinal = recover(0.0, repetition - inversion, t1)
    assert inversion_recovery(t1, repetition, inversion) == pytest.approx(at_echo, abs=1e-9)


def recover(longitudinal: float, milliseconds: float, t1_ms: float) -> float:
    return 1 - (1 - longitudinal) * math.exp(-milliseconds / t1_ms)


def iterate_gradient_echo(t1_ms: float, train: dict[str, float], pulses: int) -> float:
    """Follow the magnetization pulse by pulse until periods repeat; signal of the middle pulse."""
    flip, spacing = math.radians(train["flip_degrees"]), train["echo_spacing_ms"]
    half = pulses * spacing / 2
    longitudinal, middle = 1.0, 0.0
    for _ in range(200):
        longitudinal = recover(-longitudinal, train["inversion_ms"] - half, t1_ms)
        for pulse in range(pulses):
            if pulse == pulses // 2:
                middle = longitudinal * math.sin(flip)
            longitudinal = recover(longitudinal * math.cos(flip), spacing, t1_ms)
        rest = train["repetition_ms"] - train["inversion_ms"] - half
        longitudinal = recover(longitudinal, rest, t1_ms)
    return middle


@pytest.mark.parametrize("t1_ms", [350.0, 850.0, 1450.0, 4200.0])
@pytest.mark.parametrize(
    ("repetition_ms", "inversion_ms", "echo_spacing_ms", "pulses", "flip_degrees"),
    [(2300, 900, 7.2, 170, 9), (1950, 850, 9.8, 140, 8), (1200, 700, 8.0, 2, 60)],
)
def test_gradient_echo_is_the_steady_state_of_iterated_pulses(
    t1_ms: float,
    repetition_ms: float,
    inversion_ms: float,
    echo_spacing_ms: float,
    pulses: int,
    flip_degrees: float,
) -> None:
    train = {
        "repetition_ms": repetition_ms,
        "inversion_ms": inversion_ms,
        "echo_spacing_ms": echo_spacing_ms,
        "flip_degrees": flip_degrees,
    }
    density = torch.tensor(0.7, dtype=torch.float64)
    t1 = torch.tensor(t1_ms, dtype=torch.float64)
    computed = float(compute_prepared_gradient_echo(density, t1, pulses=pulses, **train))
    assert computed == pytest.approx(0.7 * iterate_gradient_echo(t1_ms, train, pulses), abs=1e-5)


@pytest.mark.parametrize("t1_ms", [500.0, 1100.0, 4000.0])
def test_one_pulse_of_tiny_flip_only_looks_at_the_recovery(t1_ms: float) -> None:
    """Nothing but inversions disturbs it: 1 − 2 e^(−TI/T1) / (1 + e^(−TR/T1))."""
    t1 = torch.tensor(t1_ms, dtype=torch.float64)
    for repetition in (1500.0, 60_000.0):
        train = {"repetition_ms": repetition, "inversion_ms": 900.0, "echo_spacing_ms": 1e-3}
        signal = compute_prepared_gradient_echo(
            torch.ones_like(t1), t1, pulses=1, flip_degrees=0.01, **train
        )
        seen = float(signal) / math.sin(math.radians(0.01))
        expected = 1 - 2 * math.exp(-900 / t1_ms) / (1 + math.exp(-repetition / t1_ms))
        assert seen == pytest.approx(expected, abs=1e-5)
    # With time to relax fully it makes no difference that an echo disturbs it too.
    assert seen == pytest.approx(inversion_recovery(t1_ms, 60_000.0, 900.0), abs=1e-5)


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
