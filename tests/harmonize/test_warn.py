"""Every warning on its cause, and none on a good image."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from prism_mri.harmonize.volume import redraw_source
from prism_mri.harmonize.warn import (
    MIN_CORRELATION,
    check_tissues,
    compute_self_correlation,
    find_warnings,
)
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.style_encoder import GaussianStyle, StyleEncoder

LEVELS = (1.0, 0.5, 0.25)
SPACING_MM = (0.9, 0.9, 5.0)


class NoStyle(StyleEncoder):
    """Reads zeros."""

    def forward(self, image, *_):
        return GaussianStyle(torch.zeros(len(image), 3), torch.zeros(len(image), 3))


class TissueDecoder(Decoder):
    """Draws each tissue in its level; what else the networks could draw is not the matter here."""

    levels = LEVELS

    def forward(self, anatomy, *_):
        weights = torch.tensor(self.levels)[:, None, None]
        return (anatomy[:, :3] * weights).sum(1, keepdim=True)


@pytest.fixture(scope="module")
def good():
    """A brain of 1.4 litres whose anatomy explains it: slices, mask, anatomy."""
    numbers = np.random.default_rng(0)
    _, h, w = np.indices((22, 140, 128))
    radius = np.hypot((h - 70) / 66, (w - 64) / 62)
    labels = np.digitize(radius, [0.2, 0.7, 0.85, 1.0])
    tissues = np.array([0, 2, 1, 0, 3])[labels]
    mask = tissues < 3
    anatomy = np.zeros((22, 4, 140, 128), np.float32)
    for tissue in range(3):
        anatomy[:, tissue] = tissues == tissue
    anatomy[:, 0] += ~mask
    slices = np.array([*LEVELS, 0])[tissues] * numbers.normal(1, 0.05, mask.shape)
    return SimpleNamespace(
        slices=slices.astype(np.float32), mask=mask, anatomy=torch.from_numpy(anatomy)
    )


@pytest.fixture
def card_of(card):
    """Make a card whose decoder draws tissues in given levels."""

    def make(levels=LEVELS):
        decoder = TissueDecoder(anatomy_channels=4, style_dim=3, width=4)
        decoder.levels = levels
        style_encoder = NoStyle(width=4, style_dim=3)
        return dataclasses.replace(card, style_encoder=style_encoder, decoder=decoder)

    return make


@pytest.fixture
def warn(good, card_of):
    def run(slices=None, mask=None, anatomy=None, *, spacing_mm=SPACING_MM, levels=LEVELS):
        slices = good.slices if slices is None else slices
        mask = good.mask if mask is None else mask
        anatomy = good.anatomy if anatomy is None else anatomy
        card = card_of(levels)
        own = redraw_source(slices, mask, anatomy, card)
        return find_warnings(slices, mask, own, spacing_mm, card.manifest.contract)

    return run


def test_a_good_image_is_not_warned_of(warn, good):
    assert 1350 < good.mask.sum() * 5 / 1000 < 1450
    assert warn() == ()
    assert warn(spacing_mm=(1.6, 1.6, 6.0)) == ()
    assert warn(spacing_mm=(1.6 + 1e-8, 1.6, 6.0 + 1e-8)) == ()


def test_coarse_pixels(warn):
    (line,) = warn(spacing_mm=(0.9, 1.75, 5.0))
    assert line == "pixels of 1.75 mm are coarser than the 1.6 mm that were tried"


def test_slices_far_apart(warn):
    (line,) = warn(spacing_mm=(0.9, 0.9, 7.25))
    assert line == "slices lie 7.2 mm apart, more than the 6.0 mm that were tried"


def test_too_little_and_too_much_brain(warn, good):
    (line,) = warn(spacing_mm=(0.9, 0.9, 2.5))
    litres = good.mask.sum() * 2.5 / 1000
    assert line.startswith(f"the brain mask holds {litres:.0f} ml, expected 800 to 2300: part of")
    (line,) = warn(good.slices[:4], good.mask[:4], good.anatomy[:4])
    assert line.startswith("the brain mask holds 25")
    twice = (np.repeat(part, 2, axis=0) for part in (good.slices, good.mask))
    (line,) = warn(*twice, good.anatomy.repeat_interleave(2, dim=0))
    assert line.startswith("the brain mask holds 28")


def test_the_brain_is_measured_in_pixels_of_the_conform_grid(warn):
    assert warn(spacing_mm=(0.3, 0.3, 5.0)) == ()


@pytest.fixture
def check(good):
    """Check tissues; the result is the source unless given."""

    def run(slices=None, drawn=None, fractions=None, modality="T2w"):
        source = good.slices if slices is None else slices
        return check_tissues(
            source,
            source if drawn is None else drawn,
            good.mask,
            good.anatomy if fractions is None else fractions,
            modality,
        )

    return run


def paint(good, levels):
    """Return slices with each tissue in its level."""
    tissues = good.anatomy[:, :3].numpy() * good.mask[:, None]
    return (tissues * np.array(levels, np.float32)[:, None, None]).sum(1)


def test_tissues_in_order_are_not_warned_of(check):
    findings = check()
    assert (findings.other_modality, findings.warnings) == (None, ())


@pytest.mark.parametrize(("tissue", "name"), [(0, "CSF"), (1, "GM"), (2, "WM")])
def test_a_tissue_that_is_missing_is_warned_of_and_not_refused(check, good, tissue, name):
    anatomy = good.anatomy.clone()
    other = (tissue + 1) % 3
    anatomy[:, other] += anatomy[:, tissue]
    anatomy[:, tissue] = 0
    slices = paint(SimpleNamespace(anatomy=anatomy, mask=good.mask), LEVELS)
    findings = check(slices=slices, fractions=anatomy)
    assert findings.other_modality is None
    assert findings.warnings == (
        f"hardly any {name} was found (0.0% of the brain): is it a T2w image?",
    )


def test_tissue_outside_the_brain_does_not_count(check, good):
    anatomy = good.anatomy.clone()
    inside = torch.from_numpy(good.mask)
    anatomy[:, 1] += anatomy[:, 0] * inside
    anatomy[:, 0] *= ~inside
    slices = paint(SimpleNamespace(anatomy=anatomy, mask=good.mask), LEVELS)
    (line,) = check(slices=slices, fractions=anatomy, modality="T2w").warnings
    assert line.startswith("hardly any CSF was found (0.0%")


def test_an_input_of_another_order_is_told_apart_from_its_result(check, good):
    source, drawn = paint(good, (0.25, 0.5, 1.0)), paint(good, LEVELS)
    findings = check(slices=source, drawn=drawn)
    assert findings.warnings == (findings.other_modality,)
    assert findings.other_modality == (
        "tissues are not in the order of T2w (CSF 0.25, GM 0.50, WM 1.00); it looks like T1w"
    )
    assert check(slices=source, drawn=source, modality="T1w").warnings == ()


def test_an_inverted_result_of_a_good_input_is_warned_of(check, good):
    findings = check(drawn=paint(good, (0.25, 0.5, 1.0)))
    assert findings.other_modality is None
    assert findings.warnings == (
        "the result's contrast is broken or inverted: tissues are not in the order of T2w "
        "(CSF 0.25, GM 0.50, WM 1.00); it looks like T1w; do not use it",
    )


def test_an_anatomy_of_levels_names_no_tissues_and_is_not_checked(check, good):
    findings = check(slices=1 - good.slices, fractions=good.anatomy[:, :1])
    assert (findings.other_modality, findings.warnings) == (None, ())


def test_where_there_is_no_own_decoding_none_is_asked_to_explain_the_image(good, card):
    contract = card.manifest.contract
    flat = np.full_like(good.slices, 0.5)
    for own, count in ((flat, 1), (None, 0)):
        assert len(find_warnings(good.slices, good.mask, own, SPACING_MM, contract)) == count


def test_an_image_that_its_anatomy_does_not_explain(warn, good, card_of):
    numbers = np.random.default_rng(1)
    unknown = numbers.uniform(0, 1, good.slices.shape).astype(np.float32) * good.mask
    slices = 0.4 * good.slices + 0.6 * unknown
    (line,) = warn(slices=slices)
    own = redraw_source(slices, good.mask, good.anatomy, card_of())
    found = compute_self_correlation(slices, own, good.mask)
    assert 0.2 < found < MIN_CORRELATION
    assert line.startswith(f"anatomy and style explain the image poorly (correlation {found:.2f},")


def test_a_card_that_draws_nothing_is_warned_of(warn, good):
    (line,) = warn(levels=(0.5, 0.5, 0.5))
    assert line.startswith("anatomy and style explain the image poorly")
    assert compute_self_correlation(good.slices, np.ones_like(good.slices), good.mask) == 0


def test_correlation_is_of_source_and_its_own_decoding_in_the_brain(good):
    own = np.array([0.9, 0.3, 0.3])[good.anatomy[:, :3].argmax(1)].astype(np.float32)
    shifted = (good.slices + np.float32(3)) * good.mask + 50 * ~good.mask
    found = compute_self_correlation(shifted.astype(np.float32), own, good.mask)
    expected = np.corrcoef(own[good.mask], good.slices[good.mask])[0, 1]
    assert found == pytest.approx(expected, abs=1e-4)
    assert 0.5 < found < 0.99


def test_several_causes_give_several_lines(warn):
    lines = warn(spacing_mm=(2.0, 2.0, 9.0))
    assert [line.split(" ")[0] for line in lines] == ["pixels", "slices", "the"]
    assert all("\n" not in line for line in lines)
