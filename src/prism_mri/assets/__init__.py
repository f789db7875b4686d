"""What ships: the template's tissue map, VGG16 layers, the translator's weights, the probe set.

``tools/build_assets.py`` made all but the weights; NOTICE holds the licences.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from safetensors.torch import load_file
from torch import Tensor

from prism_mri.errors import PrismError
from prism_mri.types import Affine

TissueFractions = Float32[np.ndarray, "3 I J K"]
"""Fractions of CSF, grey and white matter, in this order, 0 to 1; zero outside the brain."""


@dataclass(frozen=True, eq=False)
class TissueMap:
    """Tissue fractions of a template brain.

    Attributes:
        fractions: ``(3, I, J, K)`` CSF, grey matter, white matter; RAS+; their sum is one inside
            the brain and zero outside.
        affine: world_from_voxel, in mm.
    """

    fractions: TissueFractions
    affine: Affine


@dataclass(frozen=True, eq=False)
class ProbeSet:
    """Public slices that tell what an anatomy encoder does.

    Attributes:
        images: ``(N, H, W)`` the template under named protocols, prepared scale, 0 outside the
            brain.
        modalities: what each slice is an image of, N names.
    """

    images: Float32[np.ndarray, "N H W"]
    modalities: tuple[str, ...]


def asset_path(name: str) -> Path:
    """Return the path of a shipped file.

    Args:
        name: file name inside the package's ``assets`` folder.

    Raises:
        PrismError: the file is not there.
    """
    path = Path(str(files(__name__))) / name
    if not path.is_file():
        raise PrismError(f"shipped file {name} is missing from {path.parent}: reinstall prism-mri")
    return path


def translator_path() -> Path:
    """Return the path of the shipped translator's weights (safetensors)."""
    return asset_path("translator.safetensors")


def read_tissue_map() -> TissueMap:
    """Read the ICBM152 2009a tissue map: 1 mm voxels, a margin of 12 around the brain.

    Grey and white matter are stored in 32 levels; what they leave of a brain voxel is CSF.

    Source: ICBM152 nonlinear symmetric 2009a probability maps (Fonov et al., NeuroImage 54:313,
    2011).
    """
    with np.load(asset_path("tissue_map.npz"), allow_pickle=False) as stored:
        grey, white = stored["grey_matter"], stored["white_matter"]
        brain, affine, top = stored["brain"], stored["affine"], stored["levels"] - 1
    fluid = np.where(brain, top - grey - white, 0)
    fractions = np.stack([fluid, grey, white]).astype(np.float32) / np.float32(top)
    return TissueMap(fractions=fractions, affine=affine)


def read_vgg16_layers() -> dict[str, Tensor]:
    """Read the ImageNet VGG16 convolutions conv1_1 to conv3_2.

    Returns:
        ``conv1_1.weight`` (out, in, 3, 3), ``conv1_1.bias`` (out,) and so on, float32 (stored as
        float16).

    Source: Simonyan & Zisserman, "Very deep convolutional networks", 2015 (configuration D).
    """
    stored = load_file(asset_path("vgg16_conv3_2.safetensors"))
    return {name: tensor.float() for name, tensor in stored.items()}


def read_probe() -> ProbeSet:
    """Read the probe set: two slices of the template at two scanners in each modality.

    They are stored in steps of 0.01.
    """
    with np.load(asset_path("probe.npz"), allow_pickle=False) as stored:
        images = stored["images"].astype(np.float32) / np.float32(stored["levels"])
        return ProbeSet(images, tuple(str(name) for name in stored["modality"]))
