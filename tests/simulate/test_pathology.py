"""Lesions and atrophy: exact amounts, where they go, and what stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from prism_mri.errors import InputError
from prism_mri.simulate.anatomy import Anatomy
from prism_mri.simulate.pathology import (
    VENTRICLE_GROWTH,
    apply_atrophy,
    compute_lesion_ml,
    compute_voxel_ml,
    place_lesions,
)
from prism_mri.simulate.tissues import TISSUE_INDEX, Role

CSF, CORTEX, WM, LESION = (TISSUE_INDEX[name] for name in ("csf", "cortex", "wm", "lesion"))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def touches(region: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Voxels of a region with one of the other within the 26 about it."""
    return region & (functional.max_pool3d(other.float()[None], 3, 1, 1)[0] > 0)


@pytest.fixture(scope="module")
def radius(ball: Anatomy) -> torch.Tensor:
    """Relative to the brain's surface; the ventricle ends at 0.3, white matter at 0.75."""
    axes = [torch.arange(size) - (size - 1) / 2 for size in ball.shape]
    i, j, k = torch.meshgrid(*axes, indexing="ij")
    return ((i / 26) ** 2 + (j / 28) ** 2 + (k / 20) ** 2).sqrt()


@pytest.fixture(scope="module")
def ill(ball: Anatomy) -> Anatomy:
    return place_lesions(ball, seeded(1), 2.0)


@pytest.fixture(scope="module")
def shrunken(ball: Anatomy) -> Anatomy:
    return apply_atrophy(ball, seeded(2), 0.2)


# Lesions


@pytest.mark.parametrize("volume_ml", [0.0, 0.5, 2.0])
def test_lesions_have_the_volume_to_a_voxel_and_took_it_from_white_matter(
    ball: Anatomy, volume_ml: float
) -> None:
    ill = place_lesions(ball, seeded(1), volume_ml)
    changed = ill.tissue != ball.tissue
    assert int(changed.sum()) == round(1000 * volume_ml)
    assert bool((ball.tissue[changed] == WM).all())
    assert bool((ill.tissue[changed] == LESION).all())
    assert compute_lesion_ml(ill) == pytest.approx(volume_ml, abs=1e-9)


def test_volume_is_in_the_affines_millimetres(ball: Anatomy) -> None:
    larger = replace(ball, affine=ball.affine @ np.diag([2.0, 1.0, 1.0, 1.0]))
    assert compute_voxel_ml(larger) == pytest.approx(0.002)
    ill = place_lesions(larger, seeded(1), 2.0)
    assert int((ill.tissue == LESION).sum()) == 1000


def test_lesions_lie_about_the_ventricle_and_deep(
    ball: Anatomy, ill: Anatomy, radius: torch.Tensor
) -> None:
    """Uniform ones would have white matter's own median radius, 0.61, and 5 % beside fluid."""
    lesion = ill.tissue == LESION
    assert float(radius[ball.tissue == WM].median()) > 0.58
    assert float(radius[lesion].median()) < 0.45
    assert float(touches(lesion, ball.tissue == CSF).sum() / lesion.sum()) > 0.2
    assert int(touches(lesion, ball.tissue == CORTEX).sum()) == 0


def test_lesions_are_blobs(ill: Anatomy) -> None:
    lesion = (ill.tissue == LESION).float()
    neighbours = 27 * functional.avg_pool3d(lesion[None], 3, 1, 1)[0][lesion > 0] - 1
    # As many voxels strewn over the white matter would have 2 of 26 neighbours.
    assert float(neighbours.mean()) > 10


def test_other_seed_other_lesions_same_seed_same(ball: Anatomy, ill: Anatomy) -> None:
    assert torch.equal(place_lesions(ball, seeded(1), 2.0).tissue, ill.tissue)
    assert not torch.equal(place_lesions(ball, seeded(3), 2.0).tissue, ill.tissue)


def test_lesions_of_the_map_stay_and_count(ball: Anatomy, ill: Anatomy) -> None:
    more = place_lesions(ill, seeded(4), 1.0)
    assert bool((more.tissue[ill.tissue == LESION] == LESION).all())
    assert compute_lesion_ml(more) == pytest.approx(3.0, abs=1e-9)


def test_more_lesions_than_white_matter_are_refused(ball: Anatomy) -> None:
    with pytest.raises(InputError, match=r"cannot place 500 ml .* in the 2\d ml .* of ball"):
        place_lesions(ball, seeded(1), 500.0)
    with pytest.raises(InputError, match="cannot place -1 ml"):
        place_lesions(ball, seeded(1), -1.0)


# Atrophy


def test_atrophy_takes_exactly_its_share_of_the_cortex(ball: Anatomy, shrunken: Anatomy) -> None:
    cortex = ball.tissue == CORTEX
    lost = cortex & (shrunken.tissue != CORTEX)
    assert int(lost.sum()) == round(0.2 * int(cortex.sum()))
    assert bool((shrunken.tissue[lost] == CSF).all())


def test_ventricle_grows_by_its_factor_into_white_matter_beside_it(
    ball: Anatomy, shrunken: Anatomy, radius: torch.Tensor
) -> None:
    ventricle = (ball.tissue == CSF) & (radius < 0.5)
    gained = (ball.tissue == WM) & (shrunken.tissue != WM)
    assert int(gained.sum()) == round(VENTRICLE_GROWTH * 0.2 * int(ventricle.sum()))
    assert bool((shrunken.tissue[gained] == CSF).all())
    # Twice the volume is 1.26 times the radius; the wall moves outward evenly.
    assert float(radius[gained].max()) == pytest.approx(0.3 * 2 ** (1 / 3), abs=0.04)


def test_sulci_widen_from_fluid_inwards_and_unevenly(
    ball: Anatomy, shrunken: Anatomy, radius: torch.Tensor
) -> None:
    lost = (ball.tissue == CORTEX) & (shrunken.tissue == CSF)
    kept = shrunken.tissue == CORTEX
    assert float(radius[lost].mean()) > float(radius[kept].mean()) + 0.03
    halves = [float(lost[:31].sum()), float(lost[31:].sum())]
    assert halves[0] != pytest.approx(halves[1], rel=0.01)


def test_brain_mask_and_everything_else_stay(ball: Anatomy, shrunken: Anatomy) -> None:
    before, after = ball.compute_roles(), shrunken.compute_roles()
    assert torch.equal(before == Role.OUTSIDE, after == Role.OUTSIDE)
    assert bool((shrunken.tissue[ball.tissue == CSF] == CSF).all())
    changed = shrunken.tissue != ball.tissue
    assert bool(torch.isin(ball.tissue[changed], torch.tensor([CORTEX, WM])).all())


def test_no_atrophy_changes_nothing_and_more_takes_more(ball: Anatomy, shrunken: Anatomy) -> None:
    assert torch.equal(apply_atrophy(ball, seeded(2), 0.0).tissue, ball.tissue)
    half = apply_atrophy(ball, seeded(2), 0.1)
    lost = (half.tissue == CSF) & (ball.tissue != CSF)
    assert bool((shrunken.tissue[lost] == CSF).all())


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_impossible_fraction_is_refused(ball: Anatomy, fraction: float) -> None:
    with pytest.raises(InputError, match="atrophy must take 0 to 1 of the cortex, got"):
        apply_atrophy(ball, seeded(2), fraction)
