"""A small head of nested ellipsoids, as an anatomy and as a label map: cheap to render."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from prism_mri.assets import TissueMap, read_tissue_map
from prism_mri.simulate.anatomy import Anatomy
from prism_mri.simulate.cohort import CohortPlan
from prism_mri.simulate.scanner import Grid
from prism_mri.simulate.texture import draw_texture
from prism_mri.simulate.tissues import TISSUE_INDEX
from prism_mri.volume import Volume, write_volume

SHAPE = (62, 66, 48)
SHELLS = (("csf", 24, 1.0), ("cortex", 3, 0.9), ("wm", 2, 0.75), ("csf", 4, 0.3))
"""Tissue, FreeSurfer-style label and outer radius relative to the brain's, from outside inwards."""
SCALP, FAT_LABEL = 1.08, 511


def relative_radius() -> np.ndarray:
    """1 on the brain's surface, which has half axes of 26, 28 and 20 voxels."""
    axes = [np.arange(size) - (size - 1) / 2 for size in SHAPE]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    return np.sqrt((i / 26) ** 2 + (j / 28) ** 2 + (k / 20) ** 2)


def centred_affine() -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = -(np.array(SHAPE) - 1) / 2
    return affine


@pytest.fixture(scope="session")
def ball() -> Anatomy:
    """CSF around cortex around white matter around a ventricle; 1 mm voxels, centred at 0 mm."""
    radius = relative_radius()
    tissue = np.zeros(SHAPE, np.uint8)
    for name, _, outer in SHELLS:
        tissue[radius < outer] = TISSUE_INDEX[name]
    texture = draw_texture(SHAPE, torch.Generator().manual_seed(5))
    return Anatomy(torch.from_numpy(tissue), texture, centred_affine(), "ball")


@pytest.fixture(scope="session")
def ball_grid(ball: Anatomy) -> Grid:
    """The ball's own voxels."""
    return Grid(ball.shape, ball.affine)


@pytest.fixture(scope="session")
def half_template() -> TissueMap:
    """The embedded template at 2 mm: an eighth of the work."""
    template = read_tissue_map()
    fractions = functional.avg_pool3d(torch.from_numpy(template.fractions), 2)
    half = np.diag([2.0, 2.0, 2.0, 1.0])
    half[:3, 3] = 0.5
    return TissueMap(fractions=fractions.numpy(), affine=template.affine @ half)


@pytest.fixture
def write_label_map(tmp_path: Path) -> Callable[..., Path]:
    """Write the ball with a rim of fat as a FreeSurfer-style label map into ``tmp_path/maps``."""

    def write(name: str, *, spacing_mm: float = 1.0, white_matter: int = 2) -> Path:
        radius = relative_radius()
        labels = np.where(radius < SCALP, FAT_LABEL, 0).astype(np.float32)
        for _, label, outer in SHELLS:
            labels[radius < outer] = label
        labels[labels == 2] = white_matter
        affine = centred_affine() @ np.diag([spacing_mm] * 3 + [1.0])
        path = tmp_path / "maps" / name
        write_volume(path, labels, Volume(labels, affine), dtype=np.int16)
        return path

    return write


@pytest.fixture
def label_maps(write_label_map: Callable[..., Path]) -> Path:
    """Four tiny heads."""
    for name in ("head-01_labels", "head-02_labels", "head-03_labels", "head-04_labels"):
        path = write_label_map(f"{name}.nii.gz")
    return path.parent


@pytest.fixture
def label_plan(label_maps: Path) -> CohortPlan:
    return CohortPlan(
        sites=("guys",), subjects=3, travelling=0, anatomies=label_maps, slice_spacing_mm=6.0
    )
