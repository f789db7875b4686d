"""Tissue order: right ones pass, every wrong pairing is told, and the lines between them."""

import itertools
import math

import numpy as np
import pytest
import torch

from prism_mri.config import MODALITIES
from prism_mri.models.tissue_order import TissueMeans, check_tissue_order, measure_tissues
from prism_mri.simulate.physics import interpolate_tissue_properties
from prism_mri.simulate.sequences import (
    InversionRecovery,
    PreparedGradientEcho,
    SpinEcho,
    compute_fluid_null,
)
from prism_mri.simulate.tissues import TISSUE_INDEX

SHARES = (0.15, 0.5, 0.35)
REAL = {
    "T2w": ((1.71, 1.36), (2.13, 1.41)),
    "T1w": ((0.48, 0.85), (0.42, 0.87), (0.72, 0.88)),
    "FLAIR": ((0.27, 1.20), (0.43, 1.21)),
}
"""Fluid over grey and grey over white matter of real scans, as several tissue maps measure them."""


def make_sequences(field_tesla):
    """Return ordinary sequences of each modality."""

    def make_flair(repetition_ms, echo_ms):
        null = compute_fluid_null(field_tesla, repetition_ms)
        return InversionRecovery(repetition_ms=repetition_ms, inversion_ms=null, echo_ms=echo_ms)

    def make_mprage(repetition_ms, inversion_ms):
        return PreparedGradientEcho(
            repetition_ms=repetition_ms,
            inversion_ms=inversion_ms,
            echo_spacing_ms=7,
            pulses=160,
            flip_degrees=9,
        )

    return {
        "T2w": [SpinEcho(repetition_ms=tr, echo_ms=te) for tr, te in ((3000, 80), (8178, 100))],
        "PDw": [SpinEcho(repetition_ms=tr, echo_ms=te) for tr, te in ((2800, 15), (6000, 20))],
        "T1w": [
            SpinEcho(repetition_ms=550, echo_ms=12),
            make_mprage(2300, 900),
            make_mprage(2000, 1000),
        ],
        "FLAIR": [make_flair(9000, 120), make_flair(11000, 140)],
    }


def compute_means(sequence, field_tesla):
    signal = sequence.compute_signal(interpolate_tissue_properties(field_tesla)).abs()
    csf, gm, wm = (float(signal[TISSUE_INDEX[name]]) for name in ("csf", "cortex", "wm"))
    return TissueMeans(csf, gm, wm, SHARES)


def make_means(fluid_over_grey, grey_over_white, shares=SHARES):
    return TissueMeans(fluid_over_grey * grey_over_white, grey_over_white, 1.0, shares)


# --- measuring ------------------------------------------------------------------------------------


def test_means_and_shares_of_pure_voxels_are_theirs():
    slices = np.array([[[9, 4, 2, 2, 77]]], np.float32)
    mask = np.array([[[True, True, True, True, False]]])
    fractions = torch.zeros(1, 5, 1, 5)
    for voxel, tissue in enumerate((0, 1, 2, 2, 0)):
        fractions[0, tissue, 0, voxel] = 1
    fractions[0, 3:] = 0.9
    means = measure_tissues(slices, mask, fractions)
    assert (means.csf, means.gm, means.wm) == (9, 4, 2)
    assert means.shares == (0.25, 0.25, 0.5)
    assert means.missing is None


def test_mixed_voxels_count_for_no_tissue():
    slices = np.array([[[1.0, 50.0, 2.0, 3.0]]], np.float32)
    fractions = torch.tensor([[1.0, 0.65, 0.75, 0.0], [0.0, 0.35, 0.25, 1.0], [0.0] * 4])
    means = measure_tissues(slices, np.ones((1, 1, 4), bool), fractions[None, :, None])
    assert (means.csf, means.gm) == (1.5, 3)
    assert math.isnan(means.wm)
    assert means.shares == (0.5, 0.25, 0)
    assert means.missing == "WM"


def test_a_few_odd_voxels_do_not_move_a_tissue():
    slices = np.full((2, 10, 10), 3, np.float32)
    slices[:, :2, :2] = 1e4
    fractions = torch.zeros(2, 3, 10, 10)
    fractions[:, 1] = 1
    assert measure_tissues(slices, np.ones(slices.shape, bool), fractions).gm == 3


def test_the_masks_rim_counts_only_where_a_tissue_would_be_missing_without():
    mask = np.zeros((2, 34, 34), bool)
    mask[:, 2:-2, 2:-2] = True
    core = np.zeros_like(mask)
    core[:, 5:-5, 5:-5] = True
    fluid = mask & ~core
    fluid[:, 15:19, 10:24] = True
    slices = np.where(core, np.float32(9), np.float32(1))
    fractions = torch.zeros(2, 3, 34, 34)
    fractions[:, 0] = torch.from_numpy(fluid)
    fractions[:, 1] = torch.from_numpy(mask & ~fluid)
    means = measure_tissues(slices, mask, fractions)
    assert means.csf == 9
    assert means.shares[0] == fluid.sum() / mask.sum()
    fractions[:, 0] = torch.from_numpy(mask & ~core)
    assert measure_tissues(slices, mask, fractions).csf == 1


def test_gain_changes_nothing():
    numbers = np.random.default_rng(0)
    slices = numbers.uniform(0.1, 1, (3, 8, 9)).astype(np.float32)
    mask = numbers.uniform(size=slices.shape) < 0.8
    logits = 9 * torch.randn(3, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    one, other = (measure_tissues(gain * slices, mask, logits.softmax(1)) for gain in (1, 512))
    assert other.csf / other.gm == one.csf / one.gm
    assert other.gm / other.wm == one.gm / one.wm
    assert other.shares == one.shares


# --- checking -------------------------------------------------------------------------------------


@pytest.mark.parametrize("field_tesla", [1.5, 3.0])
@pytest.mark.parametrize("modality", MODALITIES)
def test_ordinary_sequences_suit_their_own_modality_alone(modality, field_tesla):
    for sequence in make_sequences(field_tesla)[modality]:
        means = compute_means(sequence, field_tesla)
        assert check_tissue_order(means, modality) is None
        for other in set(MODALITIES) - {modality}:
            line = check_tissue_order(means, other)
            assert line is not None
            assert line.startswith(f"tissues are not in the order of {other} (CSF {means.csf:.2f},")
            assert line.endswith(f"; it looks like {modality}")
            assert "\n" not in line


@pytest.mark.parametrize("modality", REAL)
def test_real_scans_suit_their_own_modality_alone(modality):
    for ratios in REAL[modality]:
        suited = [
            each for each in MODALITIES if check_tissue_order(make_means(*ratios), each) is None
        ]
        assert suited == [modality]


@pytest.mark.parametrize(
    ("line", "grey_over_white", "above", "below"),
    [(1.35, 1.2, "T2w", "PDw"), (0.6, 1.2, "PDw", "FLAIR")],
)
def test_lines_of_fluid_have_a_margin_on_both_sides(line, grey_over_white, above, below):
    for factor, suited in ((0.95, {below}), (0.97, {above, below}), (1.05, {above})):
        means = make_means(factor * line, grey_over_white)
        assert {each for each in MODALITIES if check_tissue_order(means, each) is None} == suited


def test_the_line_between_t1w_and_flair_is_equal_grey_and_white():
    for grey_over_white, suited in ((0.95, {"T1w"}), (1.0, {"T1w", "FLAIR"}), (1.05, {"FLAIR"})):
        means = make_means(0.4, grey_over_white)
        assert {each for each in MODALITIES if check_tissue_order(means, each) is None} == suited


@pytest.mark.parametrize("levels", list(itertools.permutations((1.0, 0.5, 0.25))))
def test_an_order_that_no_image_has_suits_none(levels):
    csf, gm, wm = levels
    suited = [e for e in MODALITIES if check_tissue_order(TissueMeans(*levels, SHARES), e) is None]
    expected = {
        (1.0, 0.5, 0.25): ["T2w"],
        (0.25, 0.5, 1.0): ["T1w"],
        (0.25, 1.0, 0.5): ["FLAIR"],
        (0.5, 1.0, 0.25): ["FLAIR"],
    }
    assert suited == expected.get((csf, gm, wm), [])
    if not suited:
        line = check_tissue_order(TissueMeans(*levels, SHARES), "T2w")
        assert line is not None
        assert line.endswith(")")


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_tissue_that_is_hardly_there_is_not_compared(missing):
    shares = [0.495] * 3
    shares[missing] = 0.01
    levels = [1.0, 0.5, 0.25]
    levels[missing] = math.nan
    means = TissueMeans(*levels, tuple(shares))
    assert means.missing == ("CSF", "GM", "WM")[missing]
    assert check_tissue_order(means, "T2w") is None
    if missing != 2:
        assert (check_tissue_order(means, "T1w") is None) == (missing == 1)


def test_what_lies_outside_the_brain_does_not_count():
    slices = np.array([[[9.0, 4.0, 2.0, 1e6]]], np.float32)
    fractions = torch.eye(4)[:3][None, :, None]
    fractions[0, 0, 0, 3] = 1
    means = measure_tissues(slices, np.array([[[True, True, True, False]]]), fractions)
    assert means.csf == 9
