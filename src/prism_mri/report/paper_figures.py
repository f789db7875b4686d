"""Charts of an evaluation of sites: points with their intervals, each a PNG in a data URI.

Names of sites may hold a dollar; it stands for itself, not for mathematics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from prism_mri.evaluate.paper.results import (
    TISSUES,
    Network,
    PaperResults,
    RecallRow,
    Spread,
    TrainedOn,
)
from prism_mri.evaluate.results import Interval
from prism_mri.report.figures import INK, clean_axis, encode_figure
from prism_mri.report.paper_tables import NETWORKS
from prism_mri.report.tables import BEFORE, PRISM, label_methods, list_sources

QUANTILE: Final = "quantile"
_GRID: Final = "#e3e6ea"
_WIDTH: Final = 8.6


@dataclass(frozen=True)
class Look:
    """Colour and marker of one series; no two share either, so that neither is needed alone."""

    color: str
    marker: str


_METHOD_LOOKS: Final = {
    BEFORE: Look("#6b7280", "o"),
    QUANTILE: Look("#c8650a", "s"),
    PRISM: Look("#1f5fbf", "D"),
}
_OTHER: Final = Look("#8a93a0", "v")
_CEILING: Final = Look("#000000", "|")
_RETRAINED: Final = Look("#9c4dcc", "^")

Role = Literal["target on source", "source on itself", "source on target"]
Point = tuple[float, float | None, float | None]
"""Estimate, lower and upper end of its bar."""
Series = tuple[str, Look, list[Point | None]]
"""Name, look, and a point or nothing for every line of the chart."""


@matplotlib.rc_context({"text.parse_math": False})
def plot_distances(results: PaperResults) -> str:
    """Draw the intensity distance of every source after every method.

    Args:
        results: with distances.

    Returns:
        PNG as a data URI.
    """
    sources, labels = list_sources(results), label_methods(results)
    rows = {
        (row.site, row.method): row.value
        for row in results.distances
        if row.measure == "intensity tissues"
    }
    methods = [method.name for method in results.methods]
    columns = min(len(sources), 3)
    lines = -(-len(sources) // columns)
    height = (0.8 + 0.27 * len(methods)) * lines + 0.3
    figure, grid = _start_figure(lines, columns, height)
    home = rows.get((results.target, BEFORE))
    for axis, site in zip(grid, sources, strict=False):
        for line, method in enumerate(methods):
            look = _METHOD_LOOKS.get(method, _OTHER)
            if (value := rows.get((site, method))) is not None:
                _draw_point(axis, _read_interval(value), line, look)
        if (before := rows.get((site, BEFORE))) is not None:
            axis.axvline(before.estimate, color=_METHOD_LOOKS[BEFORE].color, lw=0.9, ls=":")
        if home is not None:
            axis.axvline(home.estimate, color="#000000", lw=0.9, ls="--")
        axis.set_title(f"{site} to {results.target}", fontsize=9, color=INK)
        axis.set_xlabel("intensity distance to the target", fontsize=8)
        _name_lines(axis, [labels.get(name, name) for name in methods])
        axis.set_xlim(left=0)
    return encode_figure(figure)


@matplotlib.rc_context({"text.parse_math": False})
def plot_recall(results: PaperResults) -> str:
    """Draw how often each site is told right, before and after, with the controls.

    Args:
        results: with recalls.

    Returns:
        PNG as a data URI.
    """
    sites = [record.site for record in results.sites]
    networks = list(dict.fromkeys(row.network for row in results.recalls))
    figure, grid = _start_figure(1, len(networks), 1.3 + 0.5 * len(sites))

    def find(network: Network, trained_on: TrainedOn, method: str) -> RecallRow | None:
        for row in results.recalls:
            if (row.network, row.trained_on, row.method) == (network, trained_on, method):
                return row
        return None

    wanted: tuple[tuple[str, Look, TrainedOn, str], ...] = (
        ("not harmonized", _METHOD_LOOKS[BEFORE], "original", BEFORE),
        ("quantile matching", _METHOD_LOOKS[QUANTILE], "original", QUANTILE),
        ("PRISM", _METHOD_LOOKS[PRISM], "original", PRISM),
        ("PRISM, network trained on it", _RETRAINED, "harmonized", PRISM),
        ("site names shuffled", _CEILING, "shuffled", BEFORE),
    )
    for axis, network in zip(grid, networks, strict=False):
        series: list[Series] = []
        for name, look, trained_on, method in wanted:
            row = find(network, trained_on, method)
            if row is not None:
                points = [_read_spread(row.recall.get(site)) for site in sites]
                series.append((name, look, points))
        _draw_series(axis, series)
        axis.set_title(NETWORKS[network], fontsize=9, color=INK)
        axis.set_xlabel("recall", fontsize=8)
        axis.set_xlim(-0.03, 1.03)
        _name_lines(axis, [f"{s} (target)" if s == results.target else s for s in sites])
    _add_legend(figure, grid[0])
    return encode_figure(figure)


@matplotlib.rc_context({"text.parse_math": False})
def plot_dice(results: PaperResults) -> str:
    """Draw Dice of every source's images under the target's network, and the ceiling.

    Args:
        results: with segmentation.

    Returns:
        PNG as a data URI.
    """
    sources = list_sources(results)
    figure, grid = _start_figure(1, len(TISSUES), 1.3 + 0.45 * len(sources))
    found = {(r.role, r.site, r.method, r.tissue): r for r in results.segmentation}

    wanted: tuple[tuple[str, Look, Role, str], ...] = (
        ("not harmonized", _METHOD_LOOKS[BEFORE], "target on source", BEFORE),
        ("quantile matching", _METHOD_LOOKS[QUANTILE], "target on source", QUANTILE),
        ("PRISM", _METHOD_LOOKS[PRISM], "target on source", PRISM),
        ("source's own network: ceiling", _CEILING, "source on itself", BEFORE),
    )
    for axis, tissue in zip(grid, TISSUES, strict=True):
        series: list[Series] = []
        for name, look, role, method in wanted:
            rows = [found.get((role, site, method, tissue)) for site in sources]
            points = [None if row is None else _read_interval(row.dice) for row in rows]
            series.append((name, look, points))
        _draw_series(axis, series)
        axis.set_title(tissue, fontsize=9, color=INK)
        axis.set_xlabel("Dice", fontsize=8)
        _name_lines(axis, sources)
    _add_legend(figure, grid[0])
    return encode_figure(figure)


def _start_figure(lines: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="white")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    return figure, list(grid.flat)


def _read_interval(value: Interval) -> Point:
    return value.estimate, value.low, value.high


def _read_spread(value: Spread | None) -> Point | None:
    if value is None:
        return None
    sd = value.sd or 0.0
    return value.mean, value.mean - sd, value.mean + sd


def _draw_series(axis: Axes, series: Sequence[Series]) -> None:
    """Draw every series' points a little below the last one's."""
    step = 0.7 / max(len(series), 1)
    for number, (name, look, points) in enumerate(series):
        shift = (number - (len(series) - 1) / 2) * step
        axis.scatter([], [], c=look.color, marker=look.marker, s=_size(look), label=name)
        for line, point in enumerate(points):
            if point is not None:
                _draw_point(axis, point, line + shift, look)


def _draw_point(axis: Axes, point: Point, y: float, look: Look) -> None:
    estimate, low, high = point
    if low is not None and high is not None:
        axis.plot([low, high], [y, y], color=look.color, lw=1.6, solid_capstyle="butt", zorder=2)
    axis.scatter([estimate], [y], c=look.color, marker=look.marker, s=_size(look), zorder=3)


def _size(look: Look) -> float:
    return 90 if look.marker == "|" else 28


def _name_lines(axis: Axes, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), names, fontsize=8)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(axis="x", color=_GRID, linewidth=0.7)
    axis.locator_params(axis="x", nbins=5)
    clean_axis(axis)


def _add_legend(figure: Figure, axis: Axes) -> None:
    figure.legend(
        *axis.get_legend_handles_labels(),
        loc="outside upper center",
        ncols=3,
        frameon=False,
        fontsize=8,
    )
