"""The page of an evaluation of sites: verdict first, then every table with its figure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prism_mri.evaluate.paper.results import PaperResults
from prism_mri.evaluate.paper.verdict import RULES
from prism_mri.report.figures import Slice, plot_styles
from prism_mri.report.paper_figures import plot_dice, plot_distances, plot_recall
from prism_mri.report.paper_looks import (
    build_check_tables,
    build_distance_table,
    build_effect_table,
    build_energy_table,
    build_travelling_table,
    build_volume_table,
    list_limits,
)
from prism_mri.report.paper_tables import (
    LABELS,
    build_dice_tables,
    build_recall_table,
    build_similarity_tables,
)
from prism_mri.report.paper_verdict import (
    build_summary,
    build_verdict_table,
    judge_prism,
    list_cautions,
)
from prism_mri.report.pictures import Gallery, build_galleries
from prism_mri.report.render import fill_template
from prism_mri.report.tables import Table, list_sources

TEMPLATE_NAME: Final = "paper.html.j2"


@dataclass(frozen=True)
class Chart:
    """A figure with its caption.

    Attributes:
        key: identifier within the page.
        title: short.
        caption: what it shows and how it was computed.
        image: PNG as a data URI.
        alt: what a reader who does not see it should know.
    """

    key: str
    title: str
    caption: str
    image: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A part of the page; one without parts is left out."""

    key: str
    title: str
    parts: tuple[Table | Chart | Gallery, ...]


def render(results: PaperResults, panels: Mapping[str, Slice]) -> str:
    """Return the page as HTML.

    Args:
        results: what an evaluation found.
        panels: slices (H, W) by name.

    Returns:
        HTML without any link, script or file beside it.

    Raises:
        InputError: a slice that the results name is not among the panels.
    """
    sections = _list_sections(results, panels)
    overall, by_site = judge_prism(results)
    return fill_template(
        TEMPLATE_NAME,
        results=results,
        sources=list_sources(results),
        overall=overall,
        by_site=by_site,
        summary=build_summary(results),
        all_verdicts=build_verdict_table(results),
        rules=RULES,
        limits=list_limits(results.checks),
        cautions=list_cautions(results),
        sections=[section for section in sections if section.parts],
        absent=[section.title for section in sections if not section.parts],
        settings=_list_settings(results),
        kind_of=lambda part: type(part).__name__,
    )


def _list_sections(results: PaperResults, panels: Mapping[str, Slice]) -> list[Section]:
    return [
        Section("pictures", "Before and after", tuple(build_galleries(results, panels))),
        Section("table1", "Table 1: similarity", tuple(build_similarity_tables(results))),
        Section(
            "table2",
            "Table 2: which site is it?",
            (*_chart_recall(results), *build_recall_table(results)),
        ),
        Section("table3", "Table 3: tissues", (*_chart_dice(results), *build_dice_tables(results))),
        Section(
            "distance",
            "Distances to the target",
            (*_chart_distances(results), *build_distance_table(results)),
        ),
        Section("looks", "Looks for harm", tuple(build_check_tables(results))),
        Section("styles", "Styles", (*_chart_styles(results), *build_energy_table(results))),
        Section("biology", "Tissue volumes", tuple(build_volume_table(results))),
        Section("covariate", "Effects of a covariate", tuple(build_effect_table(results))),
        Section("travelling", "Travelling people", tuple(build_travelling_table(results))),
    ]


def _chart_recall(results: PaperResults) -> list[Chart]:
    if not results.recalls:
        return []
    caption = (
        "Share of each site's test slices that a network tells right. Dots are means over"
        f" {results.settings.runs} runs, bars one standard deviation. A source should move left,"
        " the target should stay; where the network that was trained on harmonized images still"
        " finds the site, traces are left."
    )
    alt = "Recall of each site before and after harmonization; the numbers are in Table 2 below"
    return [Chart("recall-chart", "Recall before and after", caption, plot_recall(results), alt)]


def _chart_dice(results: PaperResults) -> list[Chart]:
    if not results.segmentation or not list_sources(results):
        return []
    caption = (
        "Dice of the target's network on each source's images, mean over people and runs with 95 %"
        " bootstrap intervals over people. Further right is better; the black stroke is what a"
        " network of the source itself reaches."
    )
    alt = "Dice of each tissue by method and source; the numbers are in Table 3 below"
    return [Chart("dice-chart", "Dice before and after", caption, plot_dice(results), alt)]


def _chart_distances(results: PaperResults) -> list[Chart]:
    if not results.distances or not list_sources(results):
        return []
    caption = (
        "Wasserstein distance of intensities to the target's training images, mean over tissues,"
        " with 95 % bootstrap intervals over people. Further left is closer. Dotted: the source as"
        f" it was. Dashed: {results.target}'s own test people as they are, as near as one can"
        " expect to come."
    )
    alt = "Intensity distance to the target by method and source; the numbers are in the next table"
    title = "Intensity distance by method"
    return [Chart("distance-chart", title, caption, plot_distances(results), alt)]


def _chart_styles(results: PaperResults) -> list[Chart]:
    if not results.styles:
        return []
    caption = (
        "Each dot is the mean style of one person's images, as the target's style encoder sees it;"
        " a line joins the same person before and after PRISM. Crosses: the target's own test"
        " people as they are. After harmonization dots should lie among the crosses."
    )
    own = f"{results.target}'s own people"
    image = plot_styles(results.styles, results.style_axes, own=own)
    alt = "Styles before and after harmonization; their distances are in the next table"
    return [Chart("style-chart", "Styles before and after", caption, image, alt)]


def _list_settings(results: PaperResults) -> list[tuple[str, str]]:
    settings, contract = results.settings, results.contract
    return [
        ("target", results.target),
        ("tissue labels", LABELS[results.labels]),
        ("modality", contract.modality),
        ("conform grid", f"{contract.shape[0]} × {contract.shape[1]}, {contract.spacing_mm} mm"),
        (
            "intensity scale",
            f"{contract.intensity_reference.replace('_', ' ')} of the brain is"
            f" {contract.intensity_value}",
        ),
        ("seed", str(settings.seed)),
        ("runs of each network", str(settings.runs)),
        ("slices an image", str(settings.slices)),
        (
            "classifiers",
            f"{settings.classifier_steps} steps of {settings.batch}, {settings.classifier_size}"
            " pixels",
        ),
        ("segmentation networks", f"{settings.segmenter_steps} steps"),
        ("networks trained on", ", ".join(settings.retrained) or "original images only"),
        ("covariate", settings.covariate or "none"),
        ("bootstrap resamples", str(settings.bootstrap_draws)),
    ]
