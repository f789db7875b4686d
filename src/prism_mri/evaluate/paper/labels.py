"""True tissues of the evaluated images: given ones, else FSL FAST's, else the anatomy encoder's."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from torch import nn

from prism_mri.config import Modality
from prism_mri.errors import InputError
from prism_mri.evaluate.paper.images import SiteImage, Sites
from prism_mri.evaluate.paper.methods import to_volume
from prism_mri.evaluate.paper.results import LabelSource
from prism_mri.evaluate.paper.workspace import Workspace
from prism_mri.harmonize.volume import encode_anatomy
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.types import LabelStack, MaskStack, SliceStack
from prism_mri.volume import Volume, read_volume, write_volume

_FAST_TYPE: Final[dict[Modality, str]] = {"T1w": "1", "T2w": "2", "PDw": "3", "FLAIR": "2"}
_ORDER: Final[dict[Modality, tuple[int, int, int]]] = {
    "T1w": (1, 2, 3),
    "T2w": (3, 2, 1),
    "PDw": (3, 2, 1),
    "FLAIR": (1, 3, 2),
}
"""Labels from the darkest tissue to the brightest."""
_FAST_SECONDS = 3600


@dataclass(frozen=True, eq=False)
class TissueTruth:
    """Where tissue labels come from, and a way to read them.

    Attributes:
        source: of the labels.
        load: returns the labels (N, H, W) of an image's chosen slices.
    """

    source: LabelSource
    load: Callable[[SiteImage], LabelStack]


def find_truth(
    sites: Sites, modality: Modality, anatomy_encoder: nn.Module, workspace: Workspace
) -> TissueTruth:
    """Choose where tissue labels come from, the same for all images, and make them where missing.

    No segmentation of the libraries within reach (Gaussian mixtures, k-means) came to a Dice of
    0.85 on simulated T2w images of 5 mm slices (0.73 and 0.64; the shipped anatomy encoder has
    0.85), so the encoder itself is the last resort. What it labels favours images that are drawn
    from its anatomy, and a result says so.

    Args:
        sites: all images.
        modality: of the images.
        anatomy_encoder: the translator's.
        workspace: keeps labels that take long.

    Raises:
        InputError: some images have labels and others have none, or FAST fails.
    """
    without = [image.site for image in sites.images if image.prepared.entry.labels is None]
    if not without:
        return TissueTruth("given", _load_given)
    if len(without) < len(sites.images):
        counts = ", ".join(f"{without.count(name)} of {name}" for name in dict.fromkeys(without))
        raise InputError(
            f"some images have tissue labels and {counts} have none: prepare those with --labels as"
            " well, or all without"
        )
    fast = shutil.which("fast")
    source: LabelSource = "fast" if fast else "anatomy-encoder"
    for image in sites.images:
        path = _locate(workspace, source, image)
        if path.exists():
            continue
        slices, mask = image.load_all()
        labels = (
            segment_with_fast(slices, mask, image.spacing_mm, modality, program=fast)
            if fast
            else name_tissues(slices, mask, anatomy_encoder)
        )
        workspace.write_array(path, labels[list(image.chosen)])
    return TissueTruth(
        source, lambda image: workspace.read_array(_locate(workspace, source, image))
    )


def name_tissues(slices: SliceStack, mask: MaskStack, anatomy_encoder: nn.Module) -> LabelStack:
    """Return the tissue with the largest fraction in the translator's anatomy, (K, H, W)."""
    fractions = encode_anatomy(slices, anatomy_encoder)[:, : len(TISSUES)].numpy()
    labels: LabelStack = np.where(mask, fractions.argmax(axis=1) + 1, 0).astype(np.uint8)
    return labels


def segment_with_fast(
    slices: SliceStack,
    mask: MaskStack,
    spacing_mm: tuple[float, float, float],
    modality: Modality,
    *,
    program: str,
) -> LabelStack:
    """Return FSL FAST's tissues, (K, H, W): 1 CSF, 2 GM, 3 WM.

    Args:
        slices: (K, H, W) zero outside the brain.
        mask: (K, H, W) brain.
        spacing_mm: voxel size left-right, posterior-anterior, inferior-superior.
        modality: tells which tissue is darker than which.
        program: path of ``fast``.

    Raises:
        InputError: FAST fails or leaves no segmentation.

    Source:
        Zhang et al. 2001, IEEE TMI 20(1), as the paper uses it.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.nii.gz"
        write_volume(
            image, to_volume(slices), Volume(to_volume(slices), np.diag([*spacing_mm, 1.0]))
        )
        command = [
            program,
            "-n",
            "3",
            "-t",
            _FAST_TYPE[modality],
            "-o",
            f"{folder}/out",
            str(image),
        ]
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_FAST_SECONDS, check=False
        )
        found = sorted(Path(folder).glob("out_seg.nii*"))
        if done.returncode or not found:
            reason = (done.stderr.strip().splitlines() or ["no segmentation was written"])[-1]
            raise InputError(
                f"{program} failed on an image ({reason}): mend FSL, take it off the PATH, or"
                " prepare the images with --labels"
            )
        classes = np.ascontiguousarray(read_volume(found[0]).data.transpose(2, 0, 1))
    return _order_classes(classes.round().astype(np.uint8), slices, mask, modality)


def _order_classes(
    classes: LabelStack, slices: SliceStack, mask: MaskStack, modality: Modality
) -> LabelStack:
    """Name classes by how bright they are."""
    means = [
        float(slices[mask & (classes == one)].mean()) if (mask & (classes == one)).any() else np.inf
        for one in (1, 2, 3)
    ]
    labels = np.zeros_like(classes)
    for rank, index in enumerate(np.argsort(means)):
        labels[mask & (classes == index + 1)] = _ORDER[modality][rank]
    return labels


def _load_given(image: SiteImage) -> LabelStack:
    labels = image.load_labels()
    if labels is None:
        raise InputError(f"{image.prepared.folder} has an image without labels; prepare it again")
    return labels


def _locate(workspace: Workspace, source: LabelSource, image: SiteImage) -> Path:
    return workspace.folder / f"labels-{source}-{workspace.data}" / f"{image.key}.npy"
