"""The page of travelling people."""

from collections.abc import Mapping
from dataclasses import dataclass

from prism_mri.errors import InputError
from prism_mri.evaluate.files import PANELS_NAME
from prism_mri.evaluate.results import (
    MEAN,
    METHODS,
    TRUTHS,
    Comparison,
    Method,
    Panel,
    ScoreRow,
    SummaryRow,
    TravellingResults,
    Truth,
)
from prism_mri.evaluate.table import (
    FEW_PEOPLE,
    METHOD_NAMES,
    describe_pair,
    describe_people,
    describe_verdict,
    find_comparison,
    format_interval,
    format_percent,
)
from prism_mri.report.figures import (
    COLUMNS,
    DIFFERENCES,
    Slice,
    plot_panel,
    plot_scores,
    plot_styles,
)
from prism_mri.report.render import fill_template

TEMPLATE_NAME = "travelling.html.j2"
TRUTH_NAMES: dict[Truth, str] = {
    "acquired": "truth as acquired",
    "clean": "clean truth",
    "resampled": "target's own scan, resampled",
}
CONTRAST_NAMES = {
    "prism-none": "PRISM − not harmonized",
    "prism-quantile": "PRISM − quantile matching",
    "share": "share of the distance quantile matching → oracle",
}


@dataclass(frozen=True)
class Cell:
    """One number of a table, as text; best says whether it is the best of its row."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Line:
    """One line of a table."""

    name: str
    cells: tuple[Cell, ...]
    emphasized: bool = False


@dataclass(frozen=True)
class PanelFigure:
    """One picture row of the page."""

    title: str
    caption: str
    image: str


def render(results: TravellingResults, panels: Mapping[str, Slice]) -> str:
    """Return the page as HTML.

    Args:
        results: what an evaluation found.
        panels: slices (H, W) by name.

    Returns:
        HTML without any link, script or file beside it.

    Raises:
        InputError: a slice that the results name is not among the panels.
    """
    verdict, _, rest = describe_verdict(results).partition(": ")
    return fill_template(
        TEMPLATE_NAME,
        results=results,
        verdict=verdict,
        verdict_numbers=rest,
        verdict_good=verdict == "PRISM beats quantile matching on the mean",
        people=describe_people(results),
        few_people=results.anatomies < FEW_PEOPLE,
        methods=[METHOD_NAMES[method] for method in METHODS],
        tables=[(TRUTH_NAMES[truth], *_score_tables(results, truth)) for truth in TRUTHS],
        comparisons=_comparison_lines(results),
        scores_figure=plot_scores(results),
        styles_figure=plot_styles(results.styles, results.style_axes) if results.styles else None,
        panels=[_panel_figure(panel, results, panels) for panel in results.panels],
    )


def _score_tables(
    results: TravellingResults, truth: Truth
) -> tuple[list[Line], list[Line], list[Line]]:
    rows = {
        ((row.source, row.target), row.method): row for row in results.summary if row.truth == truth
    }
    pairs = [pair for pair in (*results.pairs, (MEAN, MEAN)) if (pair, "none") in rows]

    def lines(metric: str, digits: int, *, lowest: bool = False) -> list[Line]:
        return [
            Line(
                name=describe_pair(pair, results),
                cells=_cells(
                    {method: rows.get((pair, method)) for method in METHODS}, metric, digits, lowest
                ),
                emphasized=pair == (MEAN, MEAN),
            )
            for pair in pairs
        ]

    return lines("ssim", 3), lines("psnr_db", 1), lines("mae", 4, lowest=True)


def _cells(
    rows: Mapping[Method, SummaryRow | None], metric: str, digits: int, lowest: bool
) -> tuple[Cell, ...]:
    values = {method: None if row is None else getattr(row, metric) for method, row in rows.items()}
    # The oracle knows the truth: it is no competitor.
    competing = [
        value for method, value in values.items() if method != "oracle" and value is not None
    ]
    best = (min if lowest else max)(competing, default=None)
    return tuple(
        Cell("–")
        if value is None
        else Cell(f"{value:.{digits}f}", method != "oracle" and value == best)
        for method, value in values.items()
    )


def _comparison_lines(results: TravellingResults) -> list[Line]:
    lines = []
    for contrast, name in CONTRAST_NAMES.items():
        found = [find_comparison(results, contrast, metric) for metric in ("ssim", "psnr_db")]  # type: ignore[arg-type]
        lines.append(Line(name, tuple(Cell(_describe(one)) for one in found)))
    return lines


def _describe(comparison: Comparison | None) -> str:
    if comparison is None:
        return "–"
    if comparison.interval is None:
        return "not defined: the oracle is not above quantile matching"
    if comparison.contrast == "share":
        return format_percent(comparison.interval)
    if comparison.metric == "ssim":
        return format_interval(comparison.interval, digits=3)
    return format_interval(comparison.interval, digits=2, unit=" dB")


def _panel_figure(
    panel: Panel, results: TravellingResults, arrays: Mapping[str, Slice]
) -> PanelFigure:
    names = dict.fromkeys(name for name, _ in (*COLUMNS, *DIFFERENCES))
    missing = [name for name in names if f"{panel.key}_{name}" not in arrays]
    if missing:
        raise InputError(
            f"{PANELS_NAME} lacks {', '.join(missing)} of panel {panel.key}; "
            "run 'prism-mri evaluate' again"
        )
    scores = {
        row.method: row
        for row in results.scores
        if (row.person, row.source, row.target, row.truth)
        == (panel.person, panel.source, panel.target, "acquired")
    }
    return PanelFigure(
        title=describe_pair((panel.source, panel.target), results),
        caption="; ".join(
            _describe_score(METHOD_NAMES[method], scores[method]) for method in scores
        ),
        image=plot_panel(panel, arrays),
    )


def _describe_score(name: str, row: ScoreRow) -> str:
    return f"{name} {row.ssim:.3f} / {row.psnr_db:.1f} dB"
