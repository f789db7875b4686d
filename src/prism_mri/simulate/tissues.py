"""Tissue properties and the label numbers that mean them."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import torch


@dataclass(frozen=True)
class Relaxation:
    """Relaxation times at one field strength, in ms."""

    t1_ms: float
    t2_ms: float


@dataclass(frozen=True)
class Tissue:
    """One tissue: proton density relative to water, and relaxation at 1.5 T and 3 T."""

    name: str
    proton_density: float
    at_1_5_tesla: Relaxation
    at_3_tesla: Relaxation
    role: "Role"
    labels: tuple[int, ...]
    """FreeSurfer-style label numbers (SynthSeg's for 500 and above)."""


class Role(IntEnum):
    """What a tissue counts as in three-class segmentations (the values are BIDS dseg labels)."""

    OUTSIDE = 0
    CSF = 1
    GM = 2
    WM = 3
    OTHER = 4
    """Inside the brain but none of the three: lesions, choroid plexus, vessels."""


def _tissue(
    name: str,
    density: float,
    relaxation_1_5: tuple[float, float],
    relaxation_3: tuple[float, float],
    role: Role,
    labels: tuple[int, ...],
) -> Tissue:
    return Tissue(
        name, density, Relaxation(*relaxation_1_5), Relaxation(*relaxation_3), role, labels
    )


_C, _G, _W, _X, _O = Role.CSF, Role.GM, Role.WM, Role.OTHER, Role.OUTSIDE

TISSUES: Final[tuple[Tissue, ...]] = (
    _tissue("air", 0.0, (1000, 10), (1000, 10), _O, (0,)),
    _tissue("csf", 1.00, (4000, 1800), (4200, 1600), _C, (4, 5, 14, 15, 24, 43, 44, 72)),
    _tissue("cortex", 0.82, (1150, 95), (1450, 85), _G, (3, 42)),
    _tissue("wm", 0.70, (770, 80), (850, 70), _W, (2, 41, 85)),
    _tissue("cerebellar_cortex", 0.82, (1100, 95), (1400, 85), _G, (8, 47)),
    _tissue("cerebellar_wm", 0.71, (790, 82), (870, 71), _W, (7, 46)),
    _tissue("striatum", 0.80, (1080, 84), (1370, 74), _G, (11, 12, 26, 50, 51, 58)),
    _tissue("thalamus", 0.77, (980, 82), (1250, 72), _G, (10, 49)),
    _tissue("pallidum", 0.75, (880, 68), (1100, 55), _G, (13, 52)),
    _tissue("hippocampus", 0.83, (1180, 98), (1480, 88), _G, (17, 18, 53, 54)),
    _tissue("brain_stem", 0.72, (830, 84), (950, 73), _W, (16, 28, 60)),
    _tissue("lesion", 0.82, (1150, 125), (1400, 110), _X, (25, 57, 77)),
    _tissue("choroid_plexus", 0.90, (1500, 180), (1700, 160), _X, (31, 63, 136, 137, 163, 164)),
    _tissue("vessel", 0.15, (1400, 60), (1600, 50), _X, (30, 62)),
    _tissue("muscle", 0.75, (900, 40), (1200, 33), _O, (507, 508)),
    _tissue("fat", 0.90, (350, 70), (380, 68), _O, (511,)),
    _tissue("cortical_bone", 0.10, (200, 2), (200, 2), _O, (515,)),
    _tissue("marrow", 0.60, (500, 55), (550, 48), _O, (516,)),
    _tissue("eye_fluid", 1.00, (4000, 1500), (4200, 1400), _O, (506,)),
    _tissue("mucosa", 0.80, (1200, 120), (1400, 100), _O, (509,)),
    _tissue("blood", 0.15, (1400, 60), (1600, 50), _O, (502, 514)),
    _tissue("nerve", 0.70, (800, 80), (900, 70), _O, (512, 530)),
)
"""Relaxation of CSF, cortex and white matter: values in the range of published ones at each field.

Deep structures are set relative to them: more iron, shorter T2.
"""

TISSUE_INDEX: Final = {tissue.name: index for index, tissue in enumerate(TISSUES)}
ROLES: Final = torch.tensor([int(tissue.role) for tissue in TISSUES], dtype=torch.uint8)


def compute_tissue_indices(labels: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Translate FreeSurfer-style labels to indices into :data:`TISSUES`.

    Args:
        labels: integer label map of any shape.

    Returns:
        ``uint8`` indices of the same shape, and the labels that no tissue names (they become air
        outside the brain's range 1–499 and grey matter within it).
    """
    table = np.zeros(int(max(labels.max(), 600)) + 1, dtype=np.uint8)
    table[1:500] = TISSUE_INDEX["cortex"]
    known = {label for tissue in TISSUES for label in tissue.labels}
    for index, tissue in enumerate(TISSUES):
        table[list(tissue.labels)] = index
    unknown = tuple(int(label) for label in np.unique(labels) if int(label) not in known)
    return table[labels], unknown
