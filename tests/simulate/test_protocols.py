"""Protocols: named, digested, drawn and varied within documented ranges."""

import math
import statistics

import pytest
import torch
from pydantic import ValidationError

from prism_mri.errors import ConfigError
from prism_mri.simulate.protocols import (
    PROTOCOLS,
    Protocol,
    draw_unseen_protocol,
    get_protocol,
    vary_protocol,
)

CHANGED = {
    "name": "other",
    "version": 2,
    "field_tesla": 2.0,
    "repetition_ms": 8179.0,
    "echo_ms": 101.0,
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


def test_what_ixi_published() -> None:
    guys, hh = get_protocol("guys"), get_protocol("hh")
    assert (guys.field_tesla, guys.repetition_ms, guys.echo_ms) == (1.5, 8178, 100)
    assert (hh.field_tesla, hh.repetition_ms, hh.echo_ms) == (3.0, 5726, 100)


def test_names_lead_to_their_protocol() -> None:
    assert list(PROTOCOLS) == ["guys", "hh", "iop", "adni"]
    assert all(get_protocol(name).name == name for name in PROTOCOLS)


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
    "change", [{"noise_std": -0.1}, {"field_tesla": 7.0}, {"name": "Guy's"}, {"echo_ms": 0}]
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
    values = [getattr(protocol, field) for protocol in unseen]
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


def test_unseen_settings_do_not_go_together(unseen: list[Protocol]) -> None:
    """Each comes from a draw of its own: one must not tell another."""
    columns = [
        [getattr(p, field) for p in unseen]
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
    nominal = getattr(get_protocol("adni"), field)
    ratios = [getattr(session, field) / nominal for session in sessions]
    assert max(abs(ratio - 1) for ratio in ratios) <= 2 * spread + 1e-9
    assert statistics.mean(ratios) == pytest.approx(1, abs=0.2 * spread)
    # Cutting at two standard deviations leaves 96 % of the spread.
    assert statistics.stdev(ratios) == pytest.approx(0.96 * spread, rel=0.15)


def test_sessions_keep_grid_and_repetition(sessions: list[Protocol]) -> None:
    kept = (
        "name", "version", "field_tesla", "repetition_ms", "in_plane_mm", "slice_spacing_mm",
        "slice_thickness_mm", "sharpening",
    )  # fmt: skip
    nominal = get_protocol("adni")
    for session in sessions:
        assert all(getattr(session, field) == getattr(nominal, field) for field in kept)
