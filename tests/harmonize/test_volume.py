"""Harmonizing a volume in memory: grid, scale, style; and nothing is left to chance."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prism_mri.errors import ImageError
from prism_mri.harmonize import harmonize_volume
from prism_mri.harmonize.source_detail import add_source_detail
from prism_mri.models.style import encode_volume_style, select_style_slices
from prism_mri.preprocessing.conform import conform
from prism_mri.preprocessing.intensity import compute_intensity_scale
from prism_mri.volume import Volume


@pytest.fixture
def harmonize(card, translator):
    """Harmonize with the small card, the source as it is."""

    def run(volume, mask, use=card, **options):
        encoder = translator.networks.anatomy_encoder
        return harmonize_volume(volume, mask, use, encoder, **{"cleaning": None, **options})

    return run


def reorient(volume, mask, axes, flips):
    """Return the same brain with its voxel axes permuted and flipped, the affine saying so."""
    affine = volume.affine[:, [*axes, 3]].copy()
    data, inside = volume.data.transpose(axes), mask.transpose(axes)
    for axis in np.flatnonzero(flips):
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
        affine[:3, axis] *= -1
        data, inside = np.flip(data, axis), np.flip(inside, axis)
    return Volume(np.ascontiguousarray(data), affine), np.ascontiguousarray(inside)


# --- grid and scale -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        ((36, 40, 5), (1.0, 1.0, 4.0)),
        ((71, 65, 3), (0.5, 0.6, 4.0)),
        ((19, 23, 2), (2.0, 1.6, 3.0)),
    ],
)
def test_the_output_has_the_inputs_grid_and_is_zero_outside_the_brain_alone(
    harmonize, brain_with, shape, spacing_mm
):
    brain = brain_with(shape, spacing_mm)
    result = harmonize(brain.volume, brain.mask)
    assert result.data.shape == brain.volume.data.shape
    assert result.data.dtype == np.float32
    assert np.isfinite(result.data).all()
    assert (result.data[~brain.mask] == 0).all()
    assert (result.data[brain.mask] > 0).all()


def test_the_output_is_the_decoded_anatomy_and_the_sources_detail_times_the_cards_scale(
    harmonize, brain, card, translator
):
    conformed = conform(brain.volume.data, brain.mask, (1.0, 1.0, 4.0), card.manifest.contract)
    result = harmonize(brain.volume, brain.mask)
    box = (slice(None), slice(16, 48), slice(0, 48))
    assert conformed.mask.sum() == conformed.mask[box].sum()
    with torch.no_grad():
        images = torch.from_numpy(conformed.slices[box].copy())[:, None]
        anatomy = translator.networks.anatomy_encoder(images)
        decoded = card.decoder(anatomy, card.style_mean.expand(5, 3))[:, 0].numpy()
        style = read_own_style(brain, card, translator)
        own = card.decoder(anatomy, style.expand(5, 3))[:, 0].numpy()
    inside = conformed.mask[box]
    drawn = add_source_detail(
        decoded * inside, own * inside, conformed.slices[box], inside, slice_mm=4.0
    )
    assert np.abs(drawn - decoded * inside).max() > 0.01 * decoded.max()
    expected = np.zeros_like(conformed.slices)
    expected[box] = 200.0 * drawn
    native = np.where(brain.mask, conformed.transform.restore(expected), 0)
    np.testing.assert_allclose(result.data, native, rtol=1e-4, atol=1e-3)


def test_intensities_are_in_the_cards_units_whatever_those_of_the_input(
    harmonize, brain, card_with
):
    first = harmonize(brain.volume, brain.mask)
    louder = harmonize(Volume(brain.volume.data * 8, brain.volume.affine), brain.mask)
    np.testing.assert_allclose(louder.data, first.data, rtol=1e-4, atol=1e-3)
    twice = harmonize(brain.volume, brain.mask, use=card_with(intensity_scale=400.0))
    np.testing.assert_allclose(twice.data, 2 * first.data, rtol=1e-6)


def test_the_scale_is_that_of_the_input(harmonize, brain, card):
    result = harmonize(brain.volume, brain.mask)
    expected = compute_intensity_scale(brain.volume.data, brain.mask, card.manifest.contract)
    assert (
        result.scale
        == expected
        == pytest.approx(4 * np.percentile(brain.volume.data[brain.mask], 25))
    )


def test_what_lies_outside_the_mask_does_not_matter(harmonize, brain):
    scalp = np.where(brain.mask, brain.volume.data, 5000).astype(np.float32)
    result = harmonize(Volume(scalp, brain.volume.affine), brain.mask)
    np.testing.assert_array_equal(result.data, harmonize(brain.volume, brain.mask).data)


def test_two_runs_give_the_same_bytes_and_move_no_random_state(harmonize, brain_with):
    brain = brain_with((30, 33, 4), (0.8, 0.8, 5.0))
    torch.manual_seed(5)
    first = harmonize(brain.volume, brain.mask)
    assert torch.rand(1).item() == torch.rand(1, generator=torch.Generator().manual_seed(5)).item()
    second = harmonize(brain.volume, brain.mask)
    assert first.data.tobytes() == second.data.tobytes()
    assert first.style.tobytes() == second.style.tobytes()
    assert first.warnings == second.warnings


# --- orientation ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    axes=st.sampled_from(list(itertools.permutations(range(3)))),
    flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    shape=st.tuples(st.integers(17, 41), st.integers(17, 41), st.integers(1, 4)),
    pixel=st.sampled_from([(1.0, 1.0), (0.7, 1.1)]),
)
def test_a_reoriented_input_gives_the_reoriented_result(
    card, translator, brain_with, axes, flips, shape, pixel
):
    brain = brain_with(shape, (*pixel, 4.0))
    encoder = translator.networks.anatomy_encoder
    result = harmonize_volume(brain.volume, brain.mask, card, encoder)
    turned, mask = reorient(brain.volume, brain.mask, axes, flips)
    expected, _ = reorient(
        Volume(result.data, brain.volume.affine), mask=brain.mask, axes=axes, flips=flips
    )
    again = harmonize_volume(turned, mask, card, encoder)
    assert again.data.shape == turned.data.shape
    assert (again.data[~mask] == 0).all()
    np.testing.assert_allclose(again.data, expected.data, rtol=1e-4, atol=1e-3)
    assert again.scale == pytest.approx(result.scale)
    assert again.warnings == result.warnings


def test_an_oblique_input_keeps_its_grid(harmonize, brain):
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    oblique = Volume(brain.volume.data, turn @ brain.volume.affine)
    result = harmonize(oblique, brain.mask)
    straight = harmonize(brain.volume, brain.mask)
    np.testing.assert_allclose(result.data, straight.data, rtol=1e-4, atol=1e-3)


# --- style ----------------------------------------------------------------------------------------


def test_uniform_is_the_cards_mean_style_for_every_image(harmonize, brain, brain_with, card):
    other = brain_with(seed=4)
    for each in (brain, other):
        result = harmonize(each.volume, each.mask)
        assert result.style.tolist() == card.style_mean.tolist()


def read_own_style(brain, card, translator):
    conformed = conform(brain.volume.data, brain.mask, (1.0, 1.0, 4.0), card.manifest.contract)
    chosen = select_style_slices(conformed.mask)
    with torch.no_grad():
        anatomy = translator.networks.anatomy_encoder(
            torch.from_numpy(conformed.slices[chosen])[:, None]
        )
    return encode_volume_style(
        conformed.slices[chosen], conformed.mask[chosen], anatomy, card.style_encoder
    )


def test_image_is_the_images_own_style_within_two_deviations(harmonize, brain, card, translator):
    own = read_own_style(brain, card, translator)
    result = harmonize(brain.volume, brain.mask, style="image")
    low, high = card.style_mean - 2 * card.style_std, card.style_mean + 2 * card.style_std
    np.testing.assert_allclose(result.style, own.clamp(low, high).numpy(), atol=0.02)
    assert not torch.equal(own.clamp(low, high), own)
    assert result.style[0] in (pytest.approx(low[0].item()), pytest.approx(high[0].item()))
    assert low[1] < result.style[1] < high[1]
    assert result.style[2] == card.style_mean[2]
    assert not np.allclose(result.data, harmonize(brain.volume, brain.mask).data)


def test_a_sample_is_drawn_from_the_cards_styles_and_repeats_with_its_seed(harmonize, brain, card):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return harmonize(brain.volume, brain.mask, style="sample", generator=generator)

    first, again, other = draw(1), draw(1), draw(2)
    noise = torch.randn(3, generator=torch.Generator().manual_seed(1))
    expected = card.style_mean + card.style_std * noise
    assert first.style.tolist() == expected.tolist()
    assert first.data.tobytes() == again.data.tobytes()
    assert first.data.tobytes() != other.data.tobytes()
    assert first.style[2] == card.style_mean[2]


@pytest.mark.parametrize("mode", ["uniform", "image", "sample"])
def test_one_style_decodes_every_slice_and_one_redraws_the_source(
    harmonize, brain_with, card, monkeypatch, mode
):
    seen = []
    forward = type(card.decoder).forward

    def note(self, anatomy, style):
        seen.append(style.expand(len(anatomy), -1))
        return forward(self, anatomy, style)

    brain = brain_with((30, 30, 11))
    monkeypatch.setattr(type(card.decoder), "forward", note)
    result = harmonize(
        brain.volume, brain.mask, style=mode, generator=torch.Generator().manual_seed(3)
    )
    styles = torch.cat(seen)
    assert len(styles) == 22
    assert (styles[:11] == torch.from_numpy(result.style)).all()
    assert (styles[11:] == styles[11]).all()
    assert not torch.equal(styles[11], styles[0])


def test_the_networks_drawing_can_be_had_alone(harmonize, brain, card, translator):
    conformed = conform(brain.volume.data, brain.mask, (1.0, 1.0, 4.0), card.manifest.contract)
    alone = harmonize(brain.volume, brain.mask, source_detail=False)
    with torch.no_grad():
        anatomy = translator.networks.anatomy_encoder(torch.from_numpy(conformed.slices)[:, None])
        decoded = card.decoder(anatomy, card.style_mean.expand(5, 3))[:, 0].numpy()
    expected = np.where(brain.mask, conformed.transform.restore(200.0 * decoded), 0)
    middle = np.zeros_like(brain.mask)
    middle[12:24, 12:28] = True
    np.testing.assert_allclose(alone.data[middle], expected[middle], rtol=1e-3)
    assert not np.allclose(alone.data, harmonize(brain.volume, brain.mask).data, rtol=1e-3)


def test_a_card_of_recipe_paper_draws_without_the_sources_detail(
    harmonize, brain, card, monkeypatch
):
    """Its decoder need not know the source's anatomy, so what that leaves out says nothing."""
    seen = []
    forward = type(card.decoder).forward

    def note(self, anatomy, style):
        seen.append(len(anatomy))
        return forward(self, anatomy, style)

    monkeypatch.setattr(type(card.decoder), "forward", note)
    manifest = card.manifest.model_copy(update={"recipe": "paper"})
    harmonize(brain.volume, brain.mask, use=dataclasses.replace(card, manifest=manifest))
    assert sum(seen) == 5


def test_the_number_of_slices_at_a_time_does_not_matter(harmonize, brain_with, monkeypatch):
    brain = brain_with((30, 30, 11))
    whole = harmonize(brain.volume, brain.mask).data
    monkeypatch.setattr("prism_mri.harmonize.volume._BATCH", 1)
    single = harmonize(brain.volume, brain.mask).data
    np.testing.assert_allclose(single, whole, rtol=1e-5, atol=1e-4)


# --- refusals -------------------------------------------------------------------------------------


def test_a_brain_wider_than_the_grid_is_refused(harmonize, brain_with):
    brain = brain_with((36, 40, 3), (2.0, 2.0, 4.0))
    with pytest.raises(ImageError, match=r"the brain is 6\d mm wide along axis J, the grid 48 mm"):
        harmonize(brain.volume, brain.mask)


def test_a_brain_without_contrast_is_refused(harmonize, brain):
    flat = Volume(brain.mask.astype(np.float32), brain.volume.affine)
    with pytest.raises(ImageError, match="the brain is constant, 1 everywhere"):
        harmonize(flat, brain.mask)
