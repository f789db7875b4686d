"""Figures of the report, each as a PNG in a data URI."""

import base64
import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from prism_mri.evaluate.results import MEAN, Method, Panel, StyleAxes, StylePoint, TravellingResults
from prism_mri.evaluate.table import METHOD_NAMES, describe_pair, find_summary

COLUMNS: tuple[tuple[str, str], ...] = (
    ("source", "source, not harmonized"),
    ("quantile", "quantile matching"),
    ("prism", "PRISM"),
    ("truth", "truth, as acquired"),
)
"""Names of the arrays of a panel, and their titles."""
DIFFERENCES: tuple[tuple[str, str], ...] = (
    ("source", "source − truth"),
    ("quantile", "quantile matching − truth"),
    ("prism", "PRISM − truth"),
    ("clean", "clean truth − truth: noise and bias field"),
)
"""Arrays from which the truth is taken away, and the titles of the differences."""
METHOD_COLORS: dict[Method, str] = {
    "none": "#9aa0a6",
    "quantile": "#d9822b",
    "prism": "#1f5fbf",
    "oracle": "#2e7d4f",
}
_MARKERS: dict[Method, str] = {"none": "o", "quantile": "s", "prism": "D", "oracle": "|"}
_SOURCE_COLORS = ("#1f5fbf", "#d9822b", "#2e7d4f", "#8e44ad", "#c0392b", "#16808a", "#7f6000")
_DPI = 110
INK = "#20242a"

Slice = Float32[np.ndarray, "_H _W"]
Picture = Float32[np.ndarray, "_W _H"]


def turn_front_up(data: Slice) -> Picture:
    """Turn a slice for the eye: front of the head up, the person's left on the left.

    Args:
        data: axial slice (H, W), left to right and posterior to anterior.

    Returns:
        Picture (W, H), first row most anterior, first column most left.
    """
    return np.ascontiguousarray(np.rot90(data))


def plot_panel(panel: Panel, arrays: Mapping[str, Slice]) -> str:
    """Draw source, quantile matching, PRISM and truth, and how far each is from the truth.

    The images share one grey window and the differences share one colour window.

    Args:
        panel: which slice it is.
        arrays: slices (H, W) by name, `<key>_<column>`.

    Returns:
        PNG as a data URI.
    """
    images = [turn_front_up(arrays[f"{panel.key}_{name}"]) for name, _ in COLUMNS]
    truth = images[-1]
    differences = [turn_front_up(arrays[f"{panel.key}_{name}"]) - truth for name, _ in DIFFERENCES]
    height, width = images[0].shape
    aspect = panel.pixel_mm[1] / panel.pixel_mm[0]
    cell = 2.45
    row = cell * height * aspect / width
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.01, hspace=0.01)
    figure = Figure(figsize=(4 * cell + 0.85, 2 * row + 0.5), layout=layout, facecolor="white")
    axes = figure.subplots(2, 4, squeeze=False)
    top = float(np.percentile(np.concatenate([image[image > 0] for image in images]), 99.7))
    limit = max(float(np.percentile(np.abs(np.stack(differences)), 99.5)), 1e-6)
    for axis, image, (_, title) in zip(axes[0], images, COLUMNS, strict=True):
        grey = axis.imshow(
            image, cmap="gray", vmin=0, vmax=top, aspect=aspect, interpolation="nearest"
        )
        axis.set_title(title, fontsize=9, color=INK, pad=4)
    for axis, difference, (_, title) in zip(axes[1], differences, DIFFERENCES, strict=True):
        colored = axis.imshow(
            difference,
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            aspect=aspect,
            interpolation="nearest",
        )
        axis.set_xlabel(title, fontsize=8, color=INK, labelpad=2)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for mappable, cells in ((grey, axes[0]), (colored, axes[1])):
        bar = figure.colorbar(mappable, ax=list(cells), fraction=0.02, pad=0.008, aspect=28)
        bar.ax.tick_params(labelsize=7, colors=INK, length=2)
        bar.outline.set_visible(False)
    return encode_figure(figure)


def plot_scores(results: TravellingResults) -> str:
    """Draw SSIM and PSNR of every pair and method as dots.

    Args:
        results: what was found.

    Returns:
        PNG as a data URI.
    """
    pairs = [*results.pairs, (MEAN, MEAN)]
    figure = Figure(figsize=(10.4, 0.9 + 0.3 * len(pairs)), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    for axis, metric, label in ((left, "ssim", "SSIM"), (right, "psnr_db", "PSNR (dB)")):
        for method, name in METHOD_NAMES.items():
            rows = [find_summary(results, pair, method) for pair in pairs]
            points = [(getattr(row, metric), y) for y, row in enumerate(rows) if row is not None]
            if points:
                x, y = zip(*points, strict=True)
                color, marker = METHOD_COLORS[method], _MARKERS[method]
                size = 110 if marker == "|" else 30
                axis.scatter(x, y, s=size, c=color, marker=marker, label=name, zorder=3)
        axis.set_xlabel(label, fontsize=9)
        axis.grid(axis="both", color="#e3e6ea", linewidth=0.7)
        clean_axis(axis)
    left.set_yticks(range(len(pairs)), [describe_pair(pair, results) for pair in pairs], fontsize=9)
    left.invert_yaxis()
    left.axhline(len(pairs) - 1.5, color="#9aa0a6", linewidth=0.8)
    right.axhline(len(pairs) - 1.5, color="#9aa0a6", linewidth=0.8)
    figure.legend(
        *left.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=4,
        frameon=False,
        fontsize=9,
    )
    return encode_figure(figure)


@matplotlib.rc_context({"text.parse_math": False})
def plot_styles(
    styles: Sequence[StylePoint],
    style_axes: Sequence[StyleAxes],
    *,
    own: str = "the target's own scan",
) -> str:
    """Draw the styles that each card's encoder sees, before and after harmonization.

    Args:
        styles: at least one point.
        style_axes: what the coordinates of each card are.
        own: what the points of stage "truth" are called.

    Returns:
        PNG as a data URI.
    """
    cards = list(dict.fromkeys(point.card for point in styles))
    sources = sorted({point.source for point in styles})
    colors = dict(zip(sources, _SOURCE_COLORS * len(sources), strict=False))
    columns = min(len(cards), 3)
    rows = -(-len(cards) // columns)
    figure = Figure(
        figsize=(max(3.5 * columns, 6.4), 3.3 * rows + 0.4), layout="constrained", facecolor="white"
    )
    grid = figure.subplots(rows, columns, squeeze=False)
    for axis in grid.flat[len(cards) :]:
        axis.set_visible(False)
    for axis, card in zip(grid.flat, cards, strict=False):
        _plot_card(axis, [point for point in styles if point.card == card], colors, own)
        kind = next((one for one in style_axes if one.card == card), None)
        axis.set_title(f"as the encoder of {card} sees it", fontsize=9, color=INK)
        if kind is not None and kind.projection == "principal components":
            axis.set_xlabel(
                f"first of 2 components ({100 * kind.explained:.0f} % together)", fontsize=8
            )
        else:
            axis.set_xlabel("style, first number", fontsize=8)
    handles = dict(
        pair
        for axis in grid.flat
        for pair in zip(*reversed(axis.get_legend_handles_labels()), strict=True)
    )
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=min(len(handles), 3 if columns == 1 else 4),
        frameon=False,
        fontsize=8,
    )
    return encode_figure(figure)


def _plot_card(axis: Axes, points: list[StylePoint], colors: Mapping[str, str], own: str) -> None:
    after = {(point.person, point.source): point for point in points if point.stage == "after"}
    for point in points:
        color = colors[point.source]
        if point.stage == "truth":
            axis.scatter(
                point.x,
                point.y,
                c="black",
                marker="x",
                s=36,
                label=own,
                zorder=4,
            )
        elif point.stage == "before":
            label = f"{point.source}, before"
            axis.scatter(
                point.x, point.y, facecolors="white", edgecolors=color, s=30, label=label, zorder=3
            )
            if (end := after.get((point.person, point.source))) is not None:
                axis.plot([point.x, end.x], [point.y, end.y], color=color, linewidth=0.6, alpha=0.6)
        else:
            axis.scatter(point.x, point.y, c=color, s=30, label=f"{point.source}, after", zorder=3)
    axis.grid(color="#e3e6ea", linewidth=0.7)
    clean_axis(axis)


def clean_axis(axis: Axes) -> None:
    """Take frame and tick marks off an axis."""
    axis.spines[:].set_visible(False)
    axis.tick_params(labelsize=8, length=0, colors=INK)
    axis.set_axisbelow(True)


def encode_figure(figure: Figure) -> str:
    """Return a figure as PNG in a data URI, the same bytes every time."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI, metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
