"""Protocols: named, digested, drawn and varied within documented ranges."""

import math
import statistics
from typing import Final

import pytest
import torch
from pydantic import ValidationError

from prism_mri.config import MODALITIES, Modality
from prism_mri.errors import ConfigError
from prism_mri.simulate.physics import interpolate_tissue_properties
from prism_mri.simulate.protocols import (
    SCANNERS,
    VISITED_SCANNERS,
    Protocol,
    draw_unseen_protocol,
    get_protocol,
    get_visited_protocol,
    vary_protocol,
)
from prism_mri.simulate.sequences import (
    InversionRecovery,
    PreparedGradientEcho,
    SpinEcho,
    compute_fluid_null,
)
from prism_mri.simulate.tissues import TISSUE_INDEX

CHANGED = {
    "name": "other",
    "version": 2,
    "field_tesla": 2.0,
    "modality": "PDw",
    "sequence": SpinEcho(repetition_ms=8178, echo_ms=101),
    "in_plane_mm": (0.94, 0.95),
    "slice_spacing_mm": 1.3,
    "slice_thickness_mm": 1.2,
    "blur_fwhm_mm": 0.91,
    "sharpening": 0.1,
    "bias_std": 0.09,
    "noise_std": 0.031,
    "gamma": 1.01,
    "gain": 321.0,
}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def unseen() -> list[Protocol]:
    return [draw_unseen_protocol(f"unseen{seed}", seeded(seed)) for seed in range(300)]


@pytest.fixture(scope="module")
def sessions() -> list[Protocol]:
    return [vary_protocol(get_protocol("adni"), seeded(seed)) for seed in range(300)]


def read_setting(protocol: Protocol, field: str) -> float:
    """Return a setting of the scanner or of its sequence."""
    holder = protocol if field in Protocol.model_fields else protocol.sequence
    value: float = getattr(holder, field)
    return value


@pytest.mark.parametrize(("modality", "echo_ms"), [("T2w", 100), ("PDw", 8)])
def test_what_ixi_published(modality: Modality, echo_ms: float) -> None:
    guys, hh = get_protocol("guys", modality), get_protocol("hh", modality)
    assert (guys.field_tesla, hh.field_tesla) == (1.5, 3.0)
    assert guys.sequence == SpinEcho(repetition_ms=8178, echo_ms=echo_ms)
    assert hh.sequence == SpinEcho(repetition_ms=5726, echo_ms=echo_ms)


def test_names_lead_to_their_protocol() -> None:
    assert list(SCANNERS) == ["guys", "hh", "iop", "adni"]
    for name in SCANNERS:
        assert get_protocol(name) == get_protocol(name, "T2w")
        for modality in MODALITIES:
            protocol = get_protocol(name, modality)
            assert (protocol.name, protocol.modality) == (name, modality)


def test_a_scanners_defects_are_its_own_in_every_modality() -> None:
    shared = ("field_tesla", "blur_fwhm_mm", "sharpening", "bias_std", "noise_std", "gamma", "gain")
    for name in SCANNERS:
        for field in shared:
            values = {getattr(get_protocol(name, modality), field) for modality in MODALITIES}
            assert len(values) == 1, (name, field)


@pytest.mark.parametrize("modality", MODALITIES)
def test_sites_differ_in_contrast_in_every_modality(modality: Modality) -> None:
    """Fluid, grey matter or lesions over white matter are 5 % apart or more for any two sites."""
    contrasts = []
    for name in SCANNERS:
        protocol = get_protocol(name, modality)
        signal = protocol.sequence.compute_signal(
            interpolate_tissue_properties(protocol.field_tesla)
        )
        stored = signal.abs().pow(protocol.gamma)
        shown = [TISSUE_INDEX[tissue] for tissue in ("csf", "cortex", "lesion")]
        contrasts.append((stored[shown] / stored[TISSUE_INDEX["wm"]]).tolist())
    for index, one in enumerate(contrasts):
        for other in contrasts[:index]:
            assert max(abs(a / b - 1) for a, b in zip(one, other, strict=True)) > 0.05


def test_flair_nulls_fluid_and_has_thick_slices() -> None:
    for name in SCANNERS:
        protocol = get_protocol(name, "FLAIR")
        assert isinstance(protocol.sequence, InversionRecovery)
        null = compute_fluid_null(protocol.field_tesla, protocol.sequence.repetition_ms)
        assert protocol.sequence.inversion_ms == pytest.approx(null, rel=0.03)
        assert 3 <= protocol.slice_thickness_mm <= 5


def test_t1w_is_a_thin_gradient_echo_but_at_iop() -> None:
    for name in SCANNERS:
        protocol = get_protocol(name, "T1w")
        thin = isinstance(protocol.sequence, PreparedGradientEcho)
        assert thin == (name != "iop")
        assert protocol.slice_thickness_mm == (1.2 if thin else 4.0)


BENCHMARK_DIGESTS: Final[dict[tuple[str, Modality], str]] = {
    ("guys", "T2w"): "d5ab3a3e3b09",
    ("guys", "T1w"): "8fe3154c4d1e",
    ("hh", "T2w"): "4ffe4cb34a73",
    ("hh", "T1w"): "c287f80e910d",
    ("iop", "T2w"): "48b109e63d54",
    ("iop", "T1w"): "2c88e82f1cf2",
    ("adni", "T2w"): "195b33e6a70e",
    ("adni", "T1w"): "f3b4bc9dc57e",
    ("north", "T2w"): "b340921f3504",
    ("north", "T1w"): "aee4d0a8b908",
    ("south", "T2w"): "e56c9cae3a6c",
    ("south", "T1w"): "187ae7c9bacf",
}
"""Of the T2w and T1w protocols of the travelling benchmark, first twelve digits."""


@pytest.mark.parametrize("key", BENCHMARK_DIGESTS)
def test_the_benchmarks_protocols_are_frozen(key: tuple[str, Modality]) -> None:
    """Who changes one makes older results incomparable: then the benchmark's VERSION goes up."""
    name, modality = key
    get = get_visited_protocol if name in VISITED_SCANNERS else get_protocol
    assert get(name, modality).digest()[:12] == BENCHMARK_DIGESTS[key]


def test_visited_scanners_lie_outside_what_the_translator_is_trained_on() -> None:
    """Ranges of the translator's pairs on T2w: see PairSource and draw_sequence."""
    ranges = {
        "field_tesla": (1.0, 3.2), "gamma": (0.75, 1.3), "repetition_ms": (2500, 10000),
        "echo_ms": (60, 140), "noise_std": (0, 0.09), "bias_std": (0, 0.3), "sharpening": (0, 0.6),
    }  # fmt: skip
    for name in VISITED_SCANNERS:
        protocol = get_visited_protocol(name)
        outside = [
            field
            for field, (low, high) in ranges.items()
            if not low <= read_setting(protocol, field) <= high
        ]
        assert len(outside) >= 2, (name, outside)


def test_unknown_visited_scanner_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"visited scanner 'guys': choose from north, south"):
        get_visited_protocol("guys")


def test_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match=r"protocol 'oasis': choose from guys, hh, iop, adni"):
        get_protocol("oasis")


def test_digest_changes_with_any_field_and_with_nothing_else() -> None:
    guys = get_protocol("guys")
    assert set(CHANGED) == set(Protocol.model_fields)
    digests = {guys.model_copy(update={key: value}).digest() for key, value in CHANGED.items()}
    assert len(digests | {guys.digest()}) == len(CHANGED) + 1
    assert guys.model_copy().digest() == guys.digest()
    assert len(guys.digest()) == 64


@pytest.mark.parametrize(
    "change", [{"noise_std": -0.1}, {"field_tesla": 7.0}, {"name": "Guy's"}, {"modality": "bold"}]
)
def test_impossible_settings_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(change))):
        Protocol.model_validate({**get_protocol("guys").model_dump(), **change})


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        ("repetition_ms", 2800, 9500),
        ("echo_ms", 75, 125),
        ("slice_spacing_mm", 1.2, 4.0),
        ("blur_fwhm_mm", 0.5, 1.8),
        ("sharpening", 0.0, 0.4),
        ("bias_std", 0.05, 0.2),
        ("noise_std", 0.02, 0.07),
        ("gamma", 0.8, 1.3),
        ("gain", 50, 2000),
    ],
)
def test_unseen_scanners_fill_their_documented_ranges(
    unseen: list[Protocol], field: str, low: float, high: float
) -> None:
    values = [read_setting(protocol, field) for protocol in unseen]
    assert low <= min(values) <= low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) <= max(values) <= high


def test_unseen_scanners_have_square_pixels_whole_slices_and_either_field(
    unseen: list[Protocol],
) -> None:
    assert all(0.75 <= p.in_plane_mm[0] == p.in_plane_mm[1] <= 1.1 for p in unseen)
    assert all(p.slice_thickness_mm == p.slice_spacing_mm for p in unseen)
    high_field = sum(p.field_tesla == 3.0 for p in unseen)
    assert {p.field_tesla for p in unseen} == {1.5, 3.0}
    assert 110 < high_field < 190


def test_first_unseen_scanner_is_the_one_that_results_were_made_with() -> None:
    protocol = draw_unseen_protocol("unseen1", seeded(1))
    assert protocol.sequence == SpinEcho(repetition_ms=4671, echo_ms=95)
    assert (protocol.field_tesla, protocol.in_plane_mm, protocol.gain) == (3.0, (1.01, 1.01), 527)
    assert (protocol.slice_spacing_mm, protocol.slice_thickness_mm) == (1.3, 1.3)
    assert (protocol.blur_fwhm_mm, protocol.sharpening, protocol.gamma) == (1.54, 0.16, 1.02)
    assert (protocol.bias_std, protocol.noise_std) == (0.163, 0.048)


@pytest.mark.parametrize(
    ("modality", "low", "high"), [("PDw", 1.2, 4.0), ("FLAIR", 3.0, 5.0), ("T1w", 1.0, 5.0)]
)
def test_unseen_scanners_of_other_modalities(modality: Modality, low: float, high: float) -> None:
    drawn = [draw_unseen_protocol("new", seeded(seed), modality) for seed in range(100)]
    assert {protocol.modality for protocol in drawn} == {modality}
    slices = [protocol.slice_thickness_mm for protocol in drawn]
    assert low <= min(slices) <= low + 0.1
    assert high - 0.1 <= max(slices) <= high
    for seed, protocol in enumerate(drawn):
        assert protocol.gain == draw_unseen_protocol("new", seeded(seed)).gain
        if isinstance(protocol.sequence, PreparedGradientEcho):
            assert protocol.slice_thickness_mm <= 1.5


def test_unseen_settings_do_not_go_together(unseen: list[Protocol]) -> None:
    """Each comes from a draw of its own: one must not tell another."""
    columns = [
        [read_setting(p, field) for p in unseen]
        for field in ("field_tesla", "repetition_ms", "echo_ms", "slice_spacing_mm")
    ]
    columns += [
        [getattr(p, field) for p in unseen]
        for field in ("blur_fwhm_mm", "sharpening", "bias_std", "noise_std", "gamma")
    ]
    columns += [[p.in_plane_mm[0] for p in unseen], [math.log(p.gain) for p in unseen]]
    correlation = torch.corrcoef(torch.tensor(columns)).fill_diagonal_(0)
    assert float(correlation.abs().max()) < 0.25


@pytest.mark.parametrize(
    ("field", "spread"),
    [
        ("bias_std", 0.2),
        ("noise_std", 0.2),
        ("gain", 0.1),
        ("blur_fwhm_mm", 0.05),
        ("echo_ms", 0.015),
        ("gamma", 0.015),
    ],
)
def test_sessions_vary_as_documented(sessions: list[Protocol], field: str, spread: float) -> None:
    check_spread(get_protocol("adni"), sessions, field, spread)


def check_spread(protocol: Protocol, sessions: list[Protocol], field: str, spread: float) -> None:
    nominal = read_setting(protocol, field)
    ratios = [read_setting(session, field) / nominal for session in sessions]
    assert max(abs(ratio - 1) for ratio in ratios) <= 2 * spread + 1e-9
    assert statistics.mean(ratios) == pytest.approx(1, abs=0.2 * spread)
    # Cutting at two standard deviations leaves 96 % of the spread.
    assert statistics.stdev(ratios) == pytest.approx(0.96 * spread, rel=0.15)


@pytest.mark.parametrize(
    ("modality", "field", "spread"),
    [
        ("FLAIR", "echo_ms", 0.015),
        ("FLAIR", "inversion_ms", 0.005),
        ("T1w", "inversion_ms", 0.005),
        ("T1w", "flip_degrees", 0.015),
    ],
)
def test_sessions_vary_what_prepares_the_echo(
    modality: Modality, field: str, spread: float
) -> None:
    protocol = get_protocol("adni", modality)
    sessions = [vary_protocol(protocol, seeded(seed)) for seed in range(300)]
    check_spread(protocol, sessions, field, spread)


def test_sessions_never_move_a_train_to_where_it_does_not_fit() -> None:
    tight = PreparedGradientEcho(
        repetition_ms=1600, inversion_ms=800, echo_spacing_ms=8, pulses=199, flip_degrees=90
    )
    protocol = get_protocol("guys", "T1w").model_copy(update={"sequence": tight})
    for seed in range(50):
        sequence = vary_protocol(protocol, seeded(seed)).sequence
        assert PreparedGradientEcho.model_validate(sequence.model_dump()) == sequence


def test_sessions_keep_grid_and_repetition(sessions: list[Protocol]) -> None:
    kept = (
        "name", "version", "modality", "field_tesla", "repetition_ms", "in_plane_mm",
        "slice_spacing_mm", "slice_thickness_mm", "sharpening",
    )  # fmt: skip
    nominal = get_protocol("adni")
    for session in sessions:
        assert all(read_setting(session, field) == read_setting(nominal, field) for field in kept)
