"""The scanner: an anatomy and a protocol → an image on a grid, with defects or without."""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from prism_mri.simulate.anatomy import Anatomy, label_largest
from prism_mri.simulate.deform import smooth
from prism_mri.simulate.physics import interpolate_tissue_properties
from prism_mri.simulate.protocols import Protocol
from prism_mri.simulate.texture import FIELDS
from prism_mri.simulate.tissues import TISSUE_INDEX, Role
from prism_mri.types import Affine

_PARTIAL_VOLUME_MM = 0.4
_FWHM_PER_SIGMA = 2.3548
_MAX_SUBSLICES = 4


@dataclass(frozen=True)
class Grid:
    """Where an image's voxels lie: ``(I, J, K)`` and world (mm) from voxel."""

    shape: tuple[int, int, int]
    affine: Affine


@dataclass(frozen=True)
class TissueMaps:
    """Truth, ``(I, J, K)``: what fills the larger part of each voxel.

    Attributes:
        brain: bool.
        segmentation: uint8: 1 CSF, 2 GM, 3 WM, 0 elsewhere.
        lesion: bool, within the brain.
    """

    brain: torch.Tensor
    segmentation: torch.Tensor
    lesion: torch.Tensor


def place_grid(
    anatomy: Anatomy, protocol: Protocol, generator: torch.Generator, *, margin_mm: float
) -> Grid:
    """Lay a protocol's grid over a head as a technician would: centred to ±3 mm, tilted to ±4°.

    Args:
        anatomy: whose head.
        protocol: pixel size and slice distance.
        generator: source of randomness.
        margin_mm: free space around the anatomy's content.
    """
    occupied = torch.nonzero(anatomy.tissue).double()
    corners = torch.stack([occupied.amin(0), occupied.amax(0)]).numpy()
    centre = (anatomy.affine @ np.append(corners.mean(0), 1.0))[:3]
    extent = np.abs(anatomy.affine[:3, :3]) @ (corners[1] - corners[0]) + 2 * margin_mm
    spacing = np.array([*protocol.in_plane_mm, protocol.slice_spacing_mm])
    i, j, k = (int(size) for size in np.ceil(extent / spacing))
    draws = torch.rand(6, generator=generator).double().numpy() * 2 - 1
    linear = _rotation(np.deg2rad(4 * draws[:3])) @ np.diag(spacing)
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = centre + 3 * draws[3:] - linear @ ((np.array([i, j, k]) - 1) / 2)
    return Grid((i, j, k), affine)


def render_clean(
    anatomy: Anatomy, protocol: Protocol, grid: Grid, *, thickness_mm: float, person_seed: int
) -> torch.Tensor:
    """Render what the protocol shows of an anatomy without noise and bias field.

    Args:
        anatomy: whose head.
        protocol: contrast, in-plane blur, sharpening, intensity curve.
        grid: where to sample; it may be another scanner's.
        thickness_mm: slice thickness, which belongs to the grid.
        person_seed: fixes how this person's tissues respond to texture, the same for all protocols.

    Returns:
        ``(I, J, K)`` magnitude, at least 0, in units of the brain's median.
    """
    signal = _compute_signal(anatomy, protocol, person_seed)[None]
    blur_mm = float(np.hypot(_PARTIAL_VOLUME_MM, protocol.blur_fwhm_mm / _FWHM_PER_SIGMA))
    image = _image_on_grid(signal, anatomy, grid, thickness_mm=thickness_mm, blur_mm=blur_mm)[0]
    # Magnitude after blurring: opposed signals cancel where they share a voxel.
    image = image.abs()
    if protocol.sharpening:
        soft = smooth(image[None], (1.0, 1.0, 0.0))[0]
        image = (image + protocol.sharpening * (image - soft)).clamp(min=0)
    inside = (anatomy.compute_roles() != Role.OUTSIDE).float()[None]
    brain = _image_on_grid(inside, anatomy, grid, thickness_mm=thickness_mm)[0] > 0.5
    median = image[brain].median().clamp(min=1e-6)
    return (image / median).pow(protocol.gamma)


def add_scanner_defects(
    clean: torch.Tensor, protocol: Protocol, grid: Grid, generator: torch.Generator
) -> torch.Tensor:
    """Apply bias field, Rician noise and gain to a clean image.

    Args:
        clean: ``(I, J, K)`` from :func:`render_clean`.
        protocol: strengths of the defects.
        grid: the image's grid, for the bias field's smoothness in mm.
        generator: source of randomness.

    Returns:
        ``(I, J, K)`` in stored units, at least 0.
    """
    biased = clean * draw_bias_field(grid, protocol.bias_std, generator)
    noise = torch.randn(2, *clean.shape, generator=generator) * protocol.noise_std
    return torch.hypot(biased + noise[0], noise[1]) * protocol.gain


def draw_bias_field(grid: Grid, std: float, generator: torch.Generator) -> torch.Tensor:
    """Draw a multiplicative field, ``(I, J, K)``, smooth over about 80 mm.

    Its logarithm has mean 0 and standard deviation ``std`` over the grid.
    """
    extent = np.linalg.norm(grid.affine[:3, :3], axis=0) * np.array(grid.shape)
    knots = tuple(max(2, round(float(size) / 80) + 2) for size in extent)
    field = functional.interpolate(
        torch.randn(1, 1, *knots, generator=generator),
        size=grid.shape,
        mode="trilinear",
        align_corners=True,
    )[0, 0]
    field = field - field.mean()
    return (field / field.std().clamp(min=1e-6) * std).exp()


def compute_truth(anatomy: Anatomy, grid: Grid, *, thickness_mm: float) -> TissueMaps:
    """Return brain mask, segmentation and lesions of an anatomy on a grid, by majority in a voxel.

    A voxel of the brain that holds none of the three tissues (a lesion, a vessel) stays 0 in the
    segmentation.
    """
    roles = anatomy.compute_roles()
    present = [roles != Role.OUTSIDE, roles == Role.CSF, roles == Role.GM, roles == Role.WM]
    maps = torch.stack([*present, anatomy.tissue == TISSUE_INDEX["lesion"]]).float()
    inside, csf, gm, wm, lesion = _image_on_grid(maps, anatomy, grid, thickness_mm=thickness_mm)
    brain = inside > 0.5
    label = label_largest(torch.stack([csf, gm, wm]))
    segmentation = torch.where(brain, label, Role.OUTSIDE).to(torch.uint8)
    return TissueMaps(brain, segmentation, brain & (lesion > 0.5))


def _compute_signal(anatomy: Anatomy, protocol: Protocol, person_seed: int) -> torch.Tensor:
    properties = interpolate_tissue_properties(protocol.field_tesla)
    # A person's tissues deviate from the table by a few per cent, at every scanner alike.
    person = torch.Generator().manual_seed(person_seed)
    deviation = 1 + 0.03 * torch.randn(properties.shape, generator=person).clamp(-2, 2)
    response = 0.03 * torch.randn(FIELDS, properties.shape[1], generator=person)
    response[:, [TISSUE_INDEX["csf"], TISSUE_INDEX["air"]]] = 0
    signal = protocol.sequence.compute_signal(properties * deviation)
    index = anatomy.tissue.long()
    modulation = sum(response[field][index] * anatomy.texture[field] for field in range(FIELDS))
    return signal[index] * (1 + modulation)


def _image_on_grid(
    volumes: torch.Tensor,
    anatomy: Anatomy,
    grid: Grid,
    *,
    thickness_mm: float,
    blur_mm: float = _PARTIAL_VOLUME_MM,
) -> torch.Tensor:
    """Sample ``(C, I', J', K')`` volumes on a grid: box over the slice, Gaussian within it."""
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    parts = min(max(1, round(thickness_mm)), _MAX_SUBSLICES)
    offsets = ((np.arange(parts) + 0.5) / parts - 0.5) * thickness_mm / spacing[2]
    samples = (_sample(volumes, anatomy, grid, float(offset)) for offset in offsets)
    slab = sum(samples, start=torch.zeros(())) / parts
    return smooth(slab, (blur_mm / float(spacing[0]), blur_mm / float(spacing[1]), 0.0))


def _sample(
    volumes: torch.Tensor, anatomy: Anatomy, grid: Grid, slice_offset: float
) -> torch.Tensor:
    voxel_from_grid = torch.from_numpy(np.linalg.inv(anatomy.affine) @ grid.affine).float()
    axes = [torch.arange(size, dtype=torch.float32) for size in grid.shape]
    axes[2] = axes[2] + slice_offset
    index = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    position = index @ voxel_from_grid[:3, :3].T + voxel_from_grid[:3, 3]
    normalized = position * (2 / (torch.tensor(volumes.shape[1:]) - 1)) - 1
    return functional.grid_sample(volumes[None], normalized.flip(-1)[None], align_corners=True)[0]


def _rotation(angles: np.ndarray) -> np.ndarray:
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result
