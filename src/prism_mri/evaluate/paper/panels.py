"""Slices kept for pictures: a test person of every site, before and after every method."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32

from prism_mri.evaluate.paper.images import Sites
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import PaperPanel
from prism_mri.evaluate.paper.workspace import Workspace

PanelArrays = Mapping[str, Float32[np.ndarray, "_H _W"]]
_MARGIN = 6


def cut_panels(
    sites: Sites, methods: Sequence[HarmonizationMethod], workspace: Workspace
) -> tuple[tuple[PaperPanel, ...], PanelArrays]:
    """Cut the middle one of the chosen slices of each site's first test image, around the brain.

    Returns:
        Panels, and arrays ``<key>_<method>``.
    """
    panels, arrays = [], {}
    for site in sites.names:
        image = sites.select(site, "test")[0]
        _, mask = image.load()
        index = round(0.6 * (len(mask) - 1))
        box = tuple(_with_margin(mask[index].any(axis=axis)) for axis in (1, 0))
        key = f"site_{site}"
        for method in methods:
            slices = workspace.read_slices(method, image)
            arrays[f"{key}_{method.name}"] = np.ascontiguousarray(slices[index][box])
        panels.append(
            PaperPanel(
                key=key,
                site=site,
                methods=tuple(method.name for method in methods),
                pixel_mm=(image.spacing_mm[0], image.spacing_mm[1]),
            )
        )
    return tuple(panels), arrays


def _with_margin(occupied: np.ndarray) -> slice:
    where = np.flatnonzero(occupied)
    return slice(max(int(where[0]) - _MARGIN, 0), int(where[-1]) + 1 + _MARGIN)
