"""Slices as grey pictures, all of a page in one window and one scale."""

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from prism_mri.errors import InputError
from prism_mri.evaluate.files import PANELS_NAME
from prism_mri.evaluate.paper.results import PaperPanel, PaperResults
from prism_mri.report.figures import Slice, turn_front_up
from prism_mri.report.tables import BEFORE, PRISM, label_methods

_PIXELS_PER_MM: Final = 2.0
_WHITE_PERCENTILE: Final = 99.7
_MOST_PIXELS: Final = 1024
_MAIN: Final = (BEFORE, "quantile", PRISM)


@dataclass(frozen=True)
class Picture:
    """One slice with the words below it."""

    label: str
    image: str
    alt: str


@dataclass(frozen=True)
class Gallery:
    """Pictures of one site side by side."""

    title: str
    caption: str
    pictures: tuple[Picture, ...]
    folded: bool = False


@dataclass(frozen=True)
class Window:
    """What all pictures share: the value that is white, and the frame in mm."""

    white: float
    width_mm: float
    height_mm: float


def build_galleries(results: PaperResults, arrays: Mapping[str, Slice]) -> list[Gallery]:
    """Return the main methods' pictures of every site, the other methods' folded below.

    Args:
        results: whose panels are drawn.
        arrays: slices (H, W) by name, ``<key>_<method>``.

    Raises:
        InputError: a slice is missing or is no picture.
    """
    if not results.panels:
        return []
    _check_arrays(results.panels, arrays)
    window = _choose_window(results.panels, arrays)
    home = next((panel for panel in results.panels if panel.site == results.target), None)
    galleries = []
    for panel in sorted(results.panels, key=lambda one: one is home):
        pictures = _draw_methods(panel, _MAIN, results, arrays, window)
        if home is not None and panel is not home and BEFORE in home.methods:
            label = f"{results.target}'s own look (another person)"
            pictures.append(_draw(f"{home.key}_{BEFORE}", home, label, arrays, window))
        galleries.append(_build(panel, pictures, results))
        rest = [name for name in panel.methods if name not in _MAIN]
        if rest:
            others = _draw_methods(panel, rest, results, arrays, window)
            galleries.append(_build(panel, others, results, folded=True))
    return galleries


def _build(
    panel: PaperPanel, pictures: Sequence[Picture], results: PaperResults, *, folded: bool = False
) -> Gallery:
    is_target = panel.site == results.target
    title = f"{panel.site}, the target itself" if is_target else f"{panel.site} to {results.target}"
    about = (
        "Harmonizing the target's own image should leave it alone."
        if is_target
        else "After harmonization contrast should be the target's and every fold, ventricle and"
        " lesion should stand where it stood."
    )
    caption = (
        f"One middle slice of the first test image of {panel.site}. Front of the head up, the"
        f" person's left on the left; one grey window and one scale for all pictures. {about}"
    )
    name = f"{title}, other methods" if folded else title
    return Gallery(name, caption, tuple(pictures), folded)


def _draw_methods(
    panel: PaperPanel,
    methods: Iterable[str],
    results: PaperResults,
    arrays: Mapping[str, Slice],
    window: Window,
) -> list[Picture]:
    labels = label_methods(results)
    return [
        _draw(f"{panel.key}_{name}", panel, labels.get(name, name), arrays, window)
        for name in methods
        if name in panel.methods
    ]


def _draw(
    name: str, panel: PaperPanel, label: str, arrays: Mapping[str, Slice], window: Window
) -> Picture:
    """Return a slice in the middle of the frame that all pictures share."""
    grey = np.clip(turn_front_up(arrays[name]) / window.white, 0.0, 1.0)
    image = Image.fromarray(np.round(255 * grey).astype(np.uint8))
    width_mm, height_mm = _measure(arrays[name], panel)
    scale = min(_PIXELS_PER_MM, _MOST_PIXELS / max(window.width_mm, window.height_mm))
    size = tuple(max(1, round(scale * length)) for length in (width_mm, height_mm))
    frame_size = tuple(
        max(1, round(scale * length)) for length in (window.width_mm, window.height_mm)
    )
    frame = Image.new("L", (frame_size[0], frame_size[1]), 0)
    corner = ((frame_size[0] - size[0]) // 2, (frame_size[1] - size[1]) // 2)
    frame.paste(image.resize((size[0], size[1]), Image.Resampling.BICUBIC), corner)
    stream = io.BytesIO()
    frame.save(stream, format="PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    alt = f"Axial brain slice of {panel.site}: {label}"
    return Picture(label, f"data:image/png;base64,{data}", alt)


def _measure(array: Slice, panel: PaperPanel) -> tuple[float, float]:
    return array.shape[0] * panel.pixel_mm[0], array.shape[1] * panel.pixel_mm[1]


def _choose_window(panels: Sequence[PaperPanel], arrays: Mapping[str, Slice]) -> Window:
    found = [(panel, arrays[f"{panel.key}_{name}"]) for panel in panels for name in panel.methods]
    inside = np.concatenate([array[array > 0] for _, array in found])
    white = float(np.percentile(inside, _WHITE_PERCENTILE)) if inside.size else 1.0
    sizes = [_measure(array, panel) for panel, array in found]
    return Window(white, max(width for width, _ in sizes), max(height for _, height in sizes))


def _check_arrays(panels: Sequence[PaperPanel], arrays: Mapping[str, Slice]) -> None:
    names = [f"{panel.key}_{method}" for panel in panels for method in panel.methods]
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(
            f"{PANELS_NAME} lacks {', '.join(missing)}; run 'prism-mri evaluate' again"
        )
    broken = [
        name
        for name in names
        if arrays[name].ndim != 2 or not arrays[name].size or not np.isfinite(arrays[name]).all()
    ]
    flat = [panel.key for panel in panels if not min(panel.pixel_mm) > 0]
    if broken or flat:
        raise InputError(
            f"{PANELS_NAME} holds no pictures in {', '.join(broken or flat)}: a slice is (H, W),"
            " finite, of pixels with a size; run 'prism-mri evaluate' again"
        )
