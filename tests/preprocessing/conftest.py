"""Brains of shells that both NIfTI and PNG tests are made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from prism_mri.volume import Volume, write_volume

# Voxels run to left, inferior, anterior.
_AFFINE = np.array([[-2.0, 0, 0, 40], [0, 0, 4.0, -60], [0, -2.5, 0, 60], [0, 0, 0, 1]])


def _make_brain(seed: int) -> np.ndarray:
    """Stripped brain (40, 40, 30), 74 × 110 × 92 mm, a bright spot in front on the right."""
    axes = [(np.arange(n) - (n - 1) / 2) / (0.46 * n) for n in (40, 40, 30)]
    left, inferior, anterior = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(left**2 + inferior**2 + anterior**2)
    noise = np.random.default_rng(seed).normal(0, 20, radius.shape)
    image = np.where(radius < 0.6, 300, 420) + noise
    image[(left + 0.3) ** 2 + (anterior - 0.5) ** 2 < 0.04] = 900
    return np.where(radius <= 1, image, 0).astype(np.float32)


@pytest.fixture
def write_people(tmp_path: Path) -> Callable[..., Path]:
    """Write a BIDS dataset with so many people, the first of them scanned twice."""

    def write(people: int, modality: str = "T2w", folder: str = "raw") -> Path:
        for person in range(people):
            name = f"sub-{person:02d}"
            scans = [f"{name}/anat/{name}"]
            scans += [f"{name}/ses-b/anat/{name}_ses-b"] if person == 0 else []
            for number, stem in enumerate(scans):
                brain = _make_brain(100 * number + person)
                path = tmp_path / folder / f"{stem}_{modality}.nii.gz"
                write_volume(path, brain, Volume(brain, _AFFINE))
        return tmp_path / folder

    return write
