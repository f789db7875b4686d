"""The probe set: an encoder that has left the shipped anatomy is refused by what it does."""

import copy
import math

import pytest
import torch
from torch import nn

from prism_mri.errors import CompatibilityError
from prism_mri.models.probe import AnatomyDrift, check_anatomy, find_drift, measure_drift
from prism_mri.models.translator import read_translator
from prism_mri.networks.registry import build_anatomy_encoder
from prism_mri.simulate.anatomy import Population, draw_template_person
from prism_mri.simulate.pairs import PairSource

SAME = AnatomyDrift(0.0, (1.0,) * 3, (1.0,) * 4, math.inf)


@pytest.fixture(scope="module")
def shipped():
    return read_translator()


class Changed(nn.Module):
    """The shipped encoder with its anatomy changed."""

    def __init__(self, encoder, change):
        super().__init__()
        self.encoder = encoder
        self.change = change

    def forward(self, image):
        return self.change(self.encoder(image).clone())


def reorder(*order):
    return lambda anatomy: anatomy[:, list(order)]


def assign(channels, function):
    def change(anatomy):
        anatomy[:, channels] = function(anatomy[:, channels])
        return anatomy

    return change


TISSUES, FREE = slice(0, 3), slice(3, 7)


def test_the_shipped_encoder_has_not_drifted(shipped):
    assert check_anatomy(shipped.networks.anatomy_encoder, shipped, "model") == SAME


def test_it_reads_the_probe_as_it_did_when_it_was_shipped(shipped):
    """Means of the seven channels over the probe: what the limits were measured with."""
    seen = []
    measure_drift(Changed(shipped.networks.anatomy_encoder, lambda a: seen.append(a) or a), shipped)
    expected = [0.2688, 0.3851, 0.3461, 0.5392, 0.6483, 0.3771, 0.6600]
    torch.testing.assert_close(
        seen[0].mean(dim=(0, 2, 3)), torch.tensor(expected), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("kind", ["bfloat16 weights", "contiguous"])
def test_rounding_passes(shipped, kind):
    encoder = copy.deepcopy(shipped.networks.anatomy_encoder)
    if kind == "contiguous":
        encoder.to(memory_format=torch.contiguous_format)
    else:
        for weight in encoder.parameters():
            weight.copy_(weight.bfloat16().float())
    drift = check_anatomy(encoder, shipped, "model")
    assert drift.fractions < 0.003
    assert min(drift.free) > 0.999
    assert drift.redraw_psnr_db > 60


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (reorder(1, 0, 2, 3, 4, 5, 6), "fractions differ by 0.358, at most 0.03; Dice of CSF 0,"),
        (reorder(0, 2, 1, 3, 4, 5, 6), "Dice of GM 0, at least 0.95; Dice of WM 0,"),
        (reorder(2, 0, 1, 3, 4, 5, 6), "Dice of CSF 0,"),
        (reorder(0, 1, 2, 4, 3, 5, 6), "correlation of free channel 1 0.487, at least 0.95"),
        (reorder(0, 1, 2, 3, 4, 6, 5), "correlation of free channel 3 -0.309"),
        (assign(FREE, lambda free: 1 - free), "correlation of free channel 4 -1,"),
        (assign(5, lambda free: free.mean()), "correlation of free channel 3 0,"),
    ],
)
def test_other_channels_are_refused_by_name(shipped, change, words):
    encoder = Changed(shipped.networks.anatomy_encoder, change)
    with pytest.raises(CompatibilityError) as error:
        check_anatomy(encoder, shipped, "some/best.safetensors")
    line = str(error.value)
    assert line.startswith("some/best.safetensors: the anatomy encoder has left the shipped")
    assert words in line
    assert "\n" not in line


def test_fractions_are_compared_where_labels_stay_the_same(shipped):
    """Each limit refuses what the others pass."""
    soft = assign(TISSUES, lambda fractions: 0.9 * fractions + 0.1 / 3)
    drift = measure_drift(Changed(shipped.networks.anatomy_encoder, soft), shipped)
    assert drift.dice == (1.0, 1.0, 1.0)
    assert any(line.startswith("fractions differ by 0.0") for line in find_drift(drift))


def test_what_the_decoder_draws_is_compared_where_channels_correlate(shipped):
    half = assign(3, lambda free: 0.5 * free)
    drift = measure_drift(Changed(shipped.networks.anatomy_encoder, half), shipped)
    assert drift.fractions == 0
    assert min(drift.free) == pytest.approx(1)
    (line,) = find_drift(drift)
    assert line.startswith("PSNR of the redrawn probe ")


def test_one_modality_is_enough(shipped):
    """An encoder that is as shipped on all but PD, whose slices come ninth to twelfth."""

    def change(anatomy):
        anatomy[8:12] = anatomy[8:12][:, [0, 2, 1, 3, 4, 5, 6]]
        return anatomy

    with pytest.raises(CompatibilityError, match=r"fractions differ by 0\.\d+, at most 0\.03"):
        check_anatomy(Changed(shipped.networks.anatomy_encoder, change), shipped, "model")


def test_fresh_weights_are_refused(shipped):
    torch.manual_seed(0)
    encoder = build_anatomy_encoder(shipped.description.anatomy_encoder).eval()
    with pytest.raises(CompatibilityError, match="Dice of GM 0, at least"):
        check_anatomy(encoder, shipped, "model")


def test_weights_that_are_not_finite_are_refused(shipped):
    encoder = copy.deepcopy(shipped.networks.anatomy_encoder)
    encoder.head.bias[4] = math.nan
    with pytest.raises(CompatibilityError, match="correlation of free channel 2 nan"):
        check_anatomy(encoder, shipped, "model")


def test_another_number_of_channels_is_refused(shipped):
    encoder = Changed(shipped.networks.anatomy_encoder, lambda anatomy: anatomy[:, :6])
    with pytest.raises(CompatibilityError, match="gives 6 channels, the translator's 7: train"):
        check_anatomy(encoder, shipped, "model")


@pytest.mark.parametrize(("anchor", "refused"), [(0.0, True), (5.0, False)])
def test_tuning_without_an_anchor_drifts_and_is_refused(shipped, anchor, refused):
    """Reconstruction of a few slices through the shipped decoder, all others as they come."""
    encoder = tune(shipped, anchor=anchor, steps=25)
    found = find_drift(measure_drift(encoder, shipped))
    assert bool(found) == refused, found


def tune(shipped, *, anchor, steps):
    """Return the shipped encoder after gradient steps on one batch's reconstruction."""
    generator = torch.Generator().manual_seed(0)
    person = draw_template_person("template-0", generator, Population())
    batch = PairSource([person], crop=64).draw(4, generator)
    images, mask = batch.images.flatten(0, 1), batch.mask.repeat(2, 1, 1, 1)
    networks = shipped.networks
    encoder = copy.deepcopy(networks.anatomy_encoder).requires_grad_(requires_grad=True)
    with torch.no_grad():
        wanted = networks.anatomy_encoder(images)
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=3e-4)
    for _ in range(steps):
        anatomy = encoder(images)
        style = networks.style_encoder(images, anatomy, mask).mean
        drawn = networks.decoder(anatomy, style)
        loss = ((drawn - images).abs() * mask).mean()
        loss = loss + anchor * ((anatomy - wanted).abs() * mask).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return encoder.eval().requires_grad_(requires_grad=False)
