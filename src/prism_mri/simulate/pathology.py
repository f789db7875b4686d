"""White-matter lesions and atrophy: what age and disease do to an anatomy, by exact amounts."""

from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from prism_mri.errors import InputError
from prism_mri.simulate.anatomy import Anatomy
from prism_mri.simulate.deform import smooth
from prism_mri.simulate.tissues import TISSUE_INDEX, TISSUES, Role

VENTRICLE_GROWTH = 5.0
"""Relative growth of the ventricles per fraction of cortex lost.

Ventricles are small and show a loss of tissue several times over: the factor is a choice.
"""

_WALLS = tuple(TISSUE_INDEX[name] for name in ("wm", "striatum", "thalamus", "hippocampus"))
_BETWEEN = tuple(
    TISSUE_INDEX[name] for name in ("csf", "pallidum", "lesion", "choroid_plexus", "vessel")
)
_SURROUNDINGS_VOXELS = 4.0
_BLOB_VOXELS = 2.0
_REACH_VOXELS = 5.0
_DEPTH_VOXELS = 4.0
_WALL_VOXELS = 2.0
_SULCUS_VOXELS = 1.5
_UNEVENNESS_VOXELS = 5.0


def place_lesions(anatomy: Anatomy, generator: torch.Generator, volume_ml: float) -> Anatomy:
    """Turn white matter into lesions: blobs, most of them beside the ventricles, others deep.

    Voxels turn in the order of smooth noise plus their closeness to the ventricles and their depth
    in white matter, until the volume is met to a voxel.

    Args:
        anatomy: whose head.
        generator: source of randomness.
        volume_ml: in mm of the anatomy's affine, 0 or more; lesions of its own come on top.

    Raises:
        InputError: there is less white matter than that.
    """
    white = anatomy.tissue == TISSUE_INDEX["wm"]
    voxel_ml = compute_voxel_ml(anatomy)
    count, available = round(volume_ml / voxel_ml), int(white.sum())
    if not 0 <= count <= available:
        raise InputError(
            f"cannot place {volume_ml:g} ml of lesions in the {available * voxel_ml:.0f} ml of "
            f"white matter of {anatomy.person}: ask for less"
        )
    close = smooth(_find_ventricles(anatomy).float()[None], _REACH_VOXELS)[0]
    deep = smooth(white.float()[None], _DEPTH_VOXELS)[0]
    order = _draw_unit_noise(anatomy, generator, _BLOB_VOXELS)
    # Cut, or the septum between the ventricles, close to both, would turn before anything else.
    order = order + 8 * (close / close.max().clamp(min=1e-6)).clamp(max=0.3) + 3 * deep
    return _turn(anatomy, white, order, count, "lesion")


def apply_atrophy(anatomy: Anatomy, generator: torch.Generator, fraction: float) -> Anatomy:
    """Turn tissue into fluid: ventricles and sulci widen, the whole within the mask stays.

    A ``fraction`` of the cortex's voxels, those nearest to fluid, become CSF, unevenly over the
    brain; the ventricles grow by five times that fraction of their volume into what surrounds
    them. Both counts are exact.

    Args:
        anatomy: whose head.
        generator: source of randomness.
        fraction: of the cortex, 0 to 1.

    Raises:
        InputError: the fraction is outside its range.
    """
    if not 0 <= fraction <= 1:
        raise InputError(f"atrophy must take 0 to 1 of the cortex, got {fraction:g}")
    ventricles = _find_ventricles(anatomy)
    roles = anatomy.compute_roles()
    cortex = anatomy.tissue == TISSUE_INDEX["cortex"]
    walls = torch.isin(anatomy.tissue, torch.tensor(_WALLS, dtype=torch.uint8))
    growth = min(round(VENTRICLE_GROWTH * fraction * int(ventricles.sum())), int(walls.sum()))
    pressure = smooth(ventricles.float()[None], _WALL_VOXELS)[0]
    fluid = smooth((roles == Role.CSF).float()[None], _SULCUS_VOXELS)[0]
    uneven = 0.1 * _draw_unit_noise(anatomy, generator, _UNEVENNESS_VOXELS)
    widened = _turn(anatomy, walls, pressure, growth, "csf")
    return _turn(widened, cortex, fluid + uneven, round(fraction * int(cortex.sum())), "csf")


def compute_voxel_ml(anatomy: Anatomy) -> float:
    """Return the volume of one voxel."""
    return abs(float(np.linalg.det(anatomy.affine[:3, :3]))) / 1000


def compute_lesion_ml(anatomy: Anatomy) -> float:
    """Return the volume of all lesions, those of the label map included."""
    return int((anatomy.tissue == TISSUE_INDEX["lesion"]).sum()) * compute_voxel_ml(anatomy)


def _find_ventricles(anatomy: Anatomy) -> torch.Tensor:
    """Return the fluid between white matter and deep grey nuclei, ``(I, J, K)`` bool.

    Sulci and cisterns have cortex, brain stem or skull about them, ventricles have not.
    """
    weights = torch.full((len(TISSUES),), -2.0)
    weights[list(_WALLS)] = 1.0
    weights[list(_BETWEEN)] = 0.0
    coarse = functional.avg_pool3d(weights[anatomy.tissue.long()][None], 2, ceil_mode=True)
    surroundings = functional.interpolate(
        smooth(coarse, _SURROUNDINGS_VOXELS / 2)[None], size=anatomy.shape, mode="trilinear"
    )[0, 0]
    return (anatomy.tissue == TISSUE_INDEX["csf"]) & (surroundings > 0)


def _draw_unit_noise(anatomy: Anatomy, generator: torch.Generator, sigma: float) -> torch.Tensor:
    noise = smooth(torch.randn(1, *anatomy.shape, generator=generator), sigma)[0]
    return noise / noise.std()


def _turn(
    anatomy: Anatomy, candidates: torch.Tensor, order: torch.Tensor, count: int, tissue: str
) -> Anatomy:
    """Turn the ``count`` candidates that come first, highest values first, into a tissue."""
    ranked = torch.where(candidates, order, -torch.inf).flatten().argsort(descending=True)
    changed = anatomy.tissue.flatten().clone()
    changed[ranked[:count]] = TISSUE_INDEX[tissue]
    return replace(anatomy, tissue=changed.view(anatomy.shape))
