"""Pulse sequences: the order of tissues that makes a modality, and what cannot be scanned."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from prism_mri.config import MODALITIES, Modality
from prism_mri.simulate.physics import (
    compute_inversion_recovery,
    compute_prepared_gradient_echo,
    compute_spin_echo,
    interpolate_tissue_properties,
)
from prism_mri.simulate.sequences import (
    InversionRecovery,
    PreparedGradientEcho,
    Sequence,
    SpinEcho,
    compute_fluid_null,
    draw_sequence,
)
from prism_mri.simulate.tissues import TISSUE_INDEX

DRAWS = 200
ORDERS: dict[Modality, tuple[str, ...]] = {
    "T1w": ("wm", "cortex", "csf"),
    "T2w": ("csf", "cortex", "wm"),
    "FLAIR": ("cortex", "wm", "csf"),
    "PDw": ("cortex", "wm"),
}


def draw_many(modality: Modality, field_tesla: float) -> list[Sequence]:
    generator = torch.Generator().manual_seed(1)
    return [draw_sequence(modality, field_tesla, generator) for _ in range(DRAWS)]


def order_tissues(modality: Modality, field_tesla: float) -> list[list[float]]:
    """Return the magnitudes of the tissues of ``ORDERS``, a list a draw."""
    properties = interpolate_tissue_properties(field_tesla)
    index = [TISSUE_INDEX[name] for name in ORDERS[modality]]
    drawn = draw_many(modality, field_tesla)
    return [sequence.compute_signal(properties).abs()[index].tolist() for sequence in drawn]


@pytest.mark.parametrize("field_tesla", [1.0, 1.5])
@pytest.mark.parametrize("modality", MODALITIES)
def test_tissues_stand_in_the_modalitys_order(modality: Modality, field_tesla: float) -> None:
    for levels in order_tissues(modality, field_tesla):
        assert levels == sorted(levels, reverse=True)


@pytest.mark.parametrize("modality", MODALITIES)
def test_at_3_tesla_grey_and_white_may_come_to_the_same_on_short_flair_and_pd(
    modality: Modality,
) -> None:
    """Grey matter's T1 nears half of TI or of TR there; then it falls a little below white."""
    levels = order_tissues(modality, 3.0)
    ordered = sum(values == sorted(values, reverse=True) for values in levels) / DRAWS
    assert ordered == 1 if modality in ("T1w", "T2w") else ordered > 0.8
    first_over_second = min(values[0] / values[1] for values in levels)
    assert first_over_second > {"T1w": 1, "T2w": 1, "PDw": 0.97, "FLAIR": 0.9}[modality]
    if modality == "FLAIR":
        assert max(values[2] / values[1] for values in levels) < 0.6


def test_lesions_are_bright_on_flair_and_not_on_t1w() -> None:
    properties = interpolate_tissue_properties(1.5)
    lesion, white = TISSUE_INDEX["lesion"], TISSUE_INDEX["wm"]
    for sequence in draw_many("FLAIR", 1.5):
        signal = sequence.compute_signal(properties)
        assert float(signal[lesion]) > 1.2 * float(signal[white])
    for sequence in draw_many("T1w", 1.5):
        signal = sequence.compute_signal(properties)
        assert float(signal[lesion]) < float(signal[white])


@pytest.mark.parametrize("repetition_ms", [6000.0, 9000.0, 12000.0])
@pytest.mark.parametrize("field_tesla", [1.5, 3.0])
def test_fluid_null_nulls_fluid(field_tesla: float, repetition_ms: float) -> None:
    null = compute_fluid_null(field_tesla, repetition_ms)
    sequence = InversionRecovery(repetition_ms=repetition_ms, inversion_ms=null, echo_ms=100)
    signal = sequence.compute_signal(interpolate_tissue_properties(field_tesla))
    assert abs(float(signal[TISSUE_INDEX["csf"]])) < 1e-6
    assert float(signal[TISSUE_INDEX["wm"]]) > 0.05


def test_fluid_is_negative_before_the_null_and_positive_after() -> None:
    null = compute_fluid_null(3.0, 9000.0)
    early, late = (
        InversionRecovery(repetition_ms=9000, inversion_ms=null * factor, echo_ms=100)
        .compute_signal(interpolate_tissue_properties(3.0))[TISSUE_INDEX["csf"]]
        .item()
        for factor in (0.95, 1.05)
    )
    assert early < -0.01
    assert late > 0.01


def test_sequences_pass_their_numbers_to_the_equations() -> None:
    properties = interpolate_tissue_properties(1.5)
    density, t1, t2 = properties
    spin = {"repetition_ms": 4000.0, "echo_ms": 90.0}
    assert torch.equal(
        SpinEcho(**spin).compute_signal(properties), compute_spin_echo(density, t1, t2, **spin)
    )
    inversion = spin | {"inversion_ms": 1300.0}
    assert torch.equal(
        InversionRecovery(**inversion).compute_signal(properties),
        compute_inversion_recovery(density, t1, t2, **inversion),
    )
    train = {
        "repetition_ms": 2000.0, "inversion_ms": 900.0, "echo_spacing_ms": 7.0, "flip_degrees": 9.0,
    }  # fmt: skip
    assert torch.equal(
        PreparedGradientEcho(pulses=120, **train).compute_signal(properties),
        compute_prepared_gradient_echo(density, t1, pulses=120, **train),
    )


def gradient_echo(**changes: float) -> PreparedGradientEcho:
    settings = {
        "repetition_ms": 1600.0, "inversion_ms": 800.0, "echo_spacing_ms": 8.0, "pulses": 200,
        "flip_degrees": 8.0,
    }  # fmt: skip
    return PreparedGradientEcho.model_validate(settings | changes)


def test_train_that_just_fits_is_taken_and_a_longer_one_refused() -> None:
    assert gradient_echo().pulses == 200
    for change in ({"pulses": 201}, {"inversion_ms": 790}, {"repetition_ms": 1590}):
        with pytest.raises(ValidationError, match=r"a train of 160\d ms does not fit around TI"):
            gradient_echo(**change)


@pytest.mark.parametrize("change", [{"flip_degrees": 0}, {"flip_degrees": 91}, {"pulses": 0}])
def test_impossible_excitations_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        gradient_echo(**change)


def test_kind_tells_sequences_apart_when_read_again() -> None:
    adapter: TypeAdapter[Sequence] = TypeAdapter(Sequence)
    inversion = InversionRecovery(repetition_ms=9000, inversion_ms=2400, echo_ms=100)
    for sequence in (SpinEcho(repetition_ms=500, echo_ms=10), inversion, gradient_echo()):
        assert adapter.validate_json(sequence.model_dump_json()) == sequence


def test_t1w_is_drawn_as_both_kinds_by_their_shares() -> None:
    kinds = [sequence.kind for sequence in draw_many("T1w", 1.5)]
    assert set(kinds) == {"spin-echo", "prepared-gradient-echo"}
    assert kinds.count("spin-echo") / DRAWS == pytest.approx(0.35, abs=0.1)
