"""A prepared dataset of three people."""

from pathlib import Path

import numpy as np
import pytest

from prism_mri.config import PreprocessingContract
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.volume import Volume, write_volume

CONTRACT = PreprocessingContract(shape=(48, 64), spacing_mm=2.0, min_brain_area_mm2=1000)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Three people, the one held out included, each a bright ball with texture."""
    axes = np.meshgrid(*(np.arange(40.0) - 19.5 for _ in range(3)), indexing="ij")
    ball = sum(axis**2 for axis in axes) < 18**2
    for person in range(3):
        noise = np.random.default_rng(person).uniform(100, 200, (40, 40, 40))
        image = np.where(ball, noise, 0).astype(np.float32)
        name = f"sub-{person}/anat/sub-{person}_T2w.nii.gz"
        write_volume(tmp_path / "raw" / name, image, Volume(image, np.diag([2.0, 2.0, 2.0, 1.0])))
    prepare_site([tmp_path / "raw"], tmp_path / "site", site="guys", contract=CONTRACT)
    return tmp_path / "site"
