"""Anatomies: tissue maps of people, from the embedded template or from a folder of label maps."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from prism_mri.assets import read_tissue_map
from prism_mri.errors import InputError
from prism_mri.simulate.deform import Deformation, draw_deformation, smooth
from prism_mri.simulate.texture import draw_texture
from prism_mri.simulate.tissues import ROLES, TISSUE_INDEX, Role, compute_tissue_indices
from prism_mri.types import Affine
from prism_mri.volume import read_volume, reorient_to_ras, strip_nifti_suffix

_MARGIN_VOXELS = 3
_MAX_LABEL = 2**15 - 1
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Anatomy:
    """One person's tissues on a grid of about 1 mm.

    Attributes:
        tissue: ``(I, J, K)`` uint8 indices into :data:`prism_mri.simulate.tissues.TISSUES`, RAS.
        texture: ``(2, I, J, K)`` patterns within tissue, standard deviation 1.
        affine: world (mm) from voxel.
        person: whom it is of; deformed copies carry the original's name.
    """

    tissue: torch.Tensor
    texture: torch.Tensor
    affine: Affine
    person: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(I, J, K)``."""
        i, j, k = self.tissue.shape
        return i, j, k

    def compute_roles(self) -> torch.Tensor:
        """Return :class:`Role` of every voxel, ``(I, J, K)`` uint8."""
        return ROLES[self.tissue.long()]


@dataclass(frozen=True)
class Population:
    """How the people of a site differ from the anatomy that they are deformed from.

    Attributes:
        ventricle_mm: how far the steepest part of the ventricles' walls moves outward, mean over
            people (the walls as a whole move about a quarter of it); older people have more.
        ventricle_spread_mm: its standard deviation over people.
        size: mean relative head size.
    """

    ventricle_mm: float = 0.0
    ventricle_spread_mm: float = 0.7
    size: float = 1.0


def read_label_map(path: Path) -> tuple[np.ndarray, Affine]:
    """Read a FreeSurfer-style label map as tissue indices ``(I, J, K)`` in RAS and its affine.

    Raises:
        InputError: it holds no white matter, values that are no labels, or voxels far from 1 mm.
    """
    volume, _ = reorient_to_ras(read_volume(path))
    if max(abs(spacing - 1.0) for spacing in volume.spacing_mm) > 0.3:
        raise InputError(
            f"label map {path} has voxels of {volume.spacing_mm} mm: resample it to 1 mm first"
        )
    labels = np.rint(volume.data).astype(np.int32)
    if not np.array_equal(labels, volume.data) or labels.min() < 0 or labels.max() > _MAX_LABEL:
        raise InputError(
            f"label map {path} holds values that are no labels (whole numbers from 0 to "
            f"{_MAX_LABEL}): is it an image?"
        )
    indices, unknown = compute_tissue_indices(labels)
    if unknown:
        _LOGGER.warning("labels without a tissue of their own: %s", ", ".join(map(str, unknown)))
    if not np.isin(indices, np.flatnonzero(ROLES.numpy() == Role.WM)).any():
        raise InputError(
            f"label map {path} holds no white matter (labels 2, 41): is it a FreeSurfer-style map?"
        )
    return indices, volume.affine


def read_anatomy(path: Path, generator: torch.Generator, *, whole_head: bool = False) -> Anatomy:
    """Read one label map as a person.

    Args:
        path: label map at about 1 mm.
        generator: draws the person's texture.
        whole_head: keep skull and scalp; else crop to the brain and drop what lies outside.
    """
    indices, affine = read_label_map(path)
    tissue = torch.from_numpy(indices)
    if not whole_head:
        tissue = torch.where(ROLES[tissue.long()] == Role.OUTSIDE, 0, tissue).to(torch.uint8)
        tissue, affine = _crop_to_content(tissue, affine)
    return Anatomy(
        tissue, draw_texture(tuple(tissue.shape), generator), affine, strip_nifti_suffix(path)
    )


def list_label_maps(folder: Path) -> list[Path]:
    """Return the label maps of a folder, sorted by name.

    Raises:
        InputError: the folder is missing or holds none.
    """
    paths = sorted([*folder.glob("*.nii.gz"), *folder.glob("*.nii")])
    if not paths:
        raise InputError(
            f"no NIfTI label maps in {folder}: give a folder of FreeSurfer-style label maps"
        )
    return paths


def draw_template_person(
    person: str, generator: torch.Generator, population: Population
) -> Anatomy:
    """Make a person by deforming the embedded ICBM152 tissue map.

    Such people share one brain's topology: good for running the whole path, weak as scientific
    evidence.
    """
    template = read_tissue_map()
    fractions = torch.as_tensor(template.fractions)
    deformation = _draw_person_deformation(
        label_largest(fractions) == Role.CSF, generator, population
    )
    roles = label_largest(deformation.apply(fractions))
    classes = [TISSUE_INDEX[name] for name in ("air", "csf", "cortex", "wm")]
    tissue = torch.tensor(classes, dtype=torch.uint8)[roles.long()]
    tissue, affine = _crop_to_content(tissue, np.asarray(template.affine, dtype=np.float64))
    affine = _scale_affine(affine, population, generator)
    return Anatomy(tissue, draw_texture(tuple(tissue.shape), generator), affine, person)


def label_largest(fractions: torch.Tensor) -> torch.Tensor:
    """Return the role of the largest of ``(3, I, J, K)`` fractions where they fill half a voxel."""
    csf, gm, wm = fractions
    label = torch.where(gm >= csf, Role.GM, Role.CSF)
    label = torch.where(wm > torch.maximum(csf, gm), Role.WM, label)
    return torch.where(csf + gm + wm > 0.5, label, Role.OUTSIDE).to(torch.uint8)


def deform_anatomy(anatomy: Anatomy, generator: torch.Generator, population: Population) -> Anatomy:
    """Return a deformed copy with its own texture; it counts as the same person."""
    roles = anatomy.compute_roles()
    deformation = _draw_person_deformation(roles == Role.CSF, generator, population)
    tissue = deformation.apply(anatomy.tissue[None].float(), mode="nearest")[0].to(torch.uint8)
    affine = _scale_affine(anatomy.affine, population, generator)
    return replace(
        anatomy, tissue=tissue, texture=draw_texture(anatomy.shape, generator), affine=affine
    )


def _draw_person_deformation(
    csf: torch.Tensor, generator: torch.Generator, population: Population
) -> Deformation:
    """Draw a smooth deformation that also moves the walls of the (central) ventricles."""
    growth = population.ventricle_mm + population.ventricle_spread_mm * float(
        torch.randn(1, generator=generator).clamp(-2, 2)
    )
    axes = [torch.linspace(-1, 1, size) for size in csf.shape]
    radius = sum(axis.square() for axis in torch.meshgrid(*axes, indexing="ij"))
    ventricles = torch.nn.functional.avg_pool3d((csf & (radius < 0.16)).float()[None], 4)
    potential = smooth(ventricles, 2.0)[0]
    gradient = torch.stack(torch.gradient(potential))
    steepest = gradient.square().sum(0).sqrt().max().clamp(min=1e-6)
    shape = (csf.shape[0], csf.shape[1], csf.shape[2])
    return draw_deformation(shape, generator, amplitude=2.2, drift=gradient / steepest * growth)


def _scale_affine(affine: Affine, population: Population, generator: torch.Generator) -> Affine:
    """Scale each axis: the site's mean size, ±3 % from person to person."""
    factors = population.size * (
        1 + 0.03 * torch.randn(3, generator=generator).clamp(-2, 2).numpy()
    )
    return affine @ np.diag([*factors.astype(np.float64), 1.0])


def _crop_to_content(tissue: torch.Tensor, affine: Affine) -> tuple[torch.Tensor, Affine]:
    occupied = torch.nonzero(tissue)
    low = (occupied.amin(0) - _MARGIN_VOXELS).clamp(min=0)
    high = torch.minimum(occupied.amax(0) + _MARGIN_VOXELS + 1, torch.tensor(tissue.shape))
    window = tuple(slice(int(start), int(stop)) for start, stop in zip(low, high, strict=True))
    shift = np.eye(4)
    shift[:3, 3] = low.numpy()
    return tissue[window].clone(), affine @ shift
