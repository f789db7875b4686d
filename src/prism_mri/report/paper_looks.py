"""Tables beyond the paper's: distances, looks for harm, styles, volumes, effects, travellers."""

from collections.abc import Iterable, Mapping
from typing import Final

from prism_mri.evaluate.paper.results import (
    TISSUES,
    CheckName,
    CheckRow,
    DistanceRow,
    PaperResults,
    TravellingRow,
)
from prism_mri.report.paper_tables import INTERVAL
from prism_mri.report.tables import (
    MISSING,
    PRISM,
    Cell,
    Row,
    Table,
    label_methods,
    name_method,
    show_count,
    show_interval,
    show_number,
    write_bounds,
    write_number,
)

CHECKS: Final[dict[CheckName, str]] = {
    "order": "order of tissues",
    "sharpness": "sharpness of edges",
    "structure": "structure lost",
    "islands": "lesions and vessels kept",
    "shift": "edges moved",
    "distance": "intensity distance, change",
    "dice": "Dice, change",
}
_SIGNED: Final = ("distance", "dice")
_RESULTS: Final = {
    "good": Cell("✓ improves", mark="good"),
    "safe": Cell("within limits", mark="neutral"),
    "none": Cell("not ruled out", mark="unknown"),
    "bad": Cell("✕ harm", mark="bad"),
    "unknown": Cell("? too few people", mark="unknown"),
}
_MEASURES: Final[dict[str, str]] = {
    "intensity tissues": "intensities, by tissue",
    "intensity brain": "intensities, brain",
    "style": "style",
    "gradient SSIM": "gradient SSIM",
}


def build_distance_table(results: PaperResults) -> list[Table]:
    """Return distances that need no truth."""
    if not results.distances:
        return []
    labels = label_methods(results)
    groups: dict[tuple[str, str], dict[str, DistanceRow]] = {}
    for row in results.distances:
        groups.setdefault((row.site, row.method), {})[row.measure] = row
    rows = tuple(
        Row(
            (
                Cell(site),
                name_method(method, labels),
                show_count(next(iter(group.values())).people),
                *(_show_distance(group.get(measure)) for measure in _MEASURES),
            ),
            method == PRISM,
        )
        for (site, method), group in groups.items()
    )
    caption = (
        "Intensities: Wasserstein distance of a test image's intensities to those of the target's"
        " training images, mean of the three tissues or the whole brain. Style: Euclidean distance"
        " to the target's mean style, in units of the target's own mean distance, so that the"
        " target itself is near 1. For these, nearer 0 is closer to the target. Gradient SSIM:"
        " likeness of edges to the image as it was; 1 is unchanged. The target's own rows tell"
        f" what is as near as its own people are. {INTERVAL} “change” is against not harmonized,"
        " paired over the same people."
    )
    head = ("site", "method", "people", *_MEASURES.values())
    return [Table("distances", "Distances without a truth", caption, head, rows)]


def build_check_tables(results: PaperResults) -> list[Table]:
    """Return the looks for harm: PRISM's open, the other methods' folded."""
    labels = label_methods(results)
    caption = (
        "Every look, its mean over people, its limit and what comes of it. Harm is called only"
        f" where the whole interval lies beyond the limit. {INTERVAL}"
    )
    looks = list(CHECKS)
    checks = sorted(results.checks, key=lambda row: (row.method, row.site, looks.index(row.check)))
    parts = (
        ("harm", "Looks for harm, PRISM", [row for row in checks if row.method == PRISM]),
        (
            "harm-others",
            "Looks for harm, other methods",
            [row for row in checks if row.method != PRISM],
        ),
    )
    head = ("site", "method", "look", "people", "value", "result", "limit")
    return [
        Table(
            key,
            title,
            caption,
            head,
            tuple(Row(_show_check(row, labels)) for row in rows),
            folded=key != "harm",
        )
        for key, title, rows in parts
        if rows
    ]


def build_energy_table(results: PaperResults) -> list[Table]:
    """Return energy distances of styles: one row a site, one column a method."""
    if not results.style_energy:
        return []
    labels = label_methods(results)
    found = {(one.site, one.method): one.distance for one in results.style_energy}
    methods = list(dict.fromkeys(method for _, method in found))
    rows = tuple(
        Row((Cell(site), *(show_number(found.get((site, method))) for method in methods)))
        for site in dict.fromkeys(site for site, _ in found)
    )
    caption = (
        "Energy distance (Székely and Rizzo) of the styles of a site's test people to those of the"
        " target's own as they are, seen by the target's style encoder; 0 is the same"
        " distribution. PRISM draws with styles of this very encoder: the measure favours it."
    )
    head = ("site", *(labels.get(method, method) for method in methods))
    return [Table("energy", "Energy distance of styles", caption, head, rows)]


def build_volume_table(results: PaperResults) -> list[Table]:
    """Return how much site explains of tissue volumes, ComBat's too."""
    if not results.volumes:
        return []
    labels = label_methods(results)
    found = {(row.method, row.tissue): row for row in results.volumes}
    rows = []
    for method in dict.fromkeys(row.method for row in results.volumes):
        tissues = [found.get((method, tissue)) for tissue in TISSUES]
        people = next(row.people for row in tissues if row is not None)
        rows.append(
            Row(
                (
                    name_method(method, labels),
                    show_count(people),
                    *(show_number(row.between_sites) if row else MISSING for row in tissues),
                    *(show_interval(row.error if row else None, 2) for row in tissues),
                ),
                method == PRISM,
            )
        )
    caption = (
        "Tissue shares of the brain as the target's network of Table 3 measures them at all sites."
        " Site's share: how much of the variance between people their site explains (eta squared,"
        " 0 to 1); sites whose people differ keep some of it. Error: mean absolute difference from"
        " the labels, in percent of the brain; missing where labels are not true ones. ComBat works"
        f" on volumes, not images, and needs everybody's in one place. {INTERVAL}"
    )
    head = (
        *("method", "people"),
        *(f"site's share, {tissue}" for tissue in TISSUES),
        *(f"error, {tissue} (%)" for tissue in TISSUES),
    )
    return [Table("volumes", "Tissue volumes between sites", caption, head, tuple(rows))]


def build_effect_table(results: PaperResults) -> list[Table]:
    """Return the effect of the covariate on volumes."""
    if not results.effects:
        return []
    labels = label_methods(results)
    found = {(row.site, row.method, row.tissue): row for row in results.effects}
    rows = []
    for site, method in dict.fromkeys((row.site, row.method) for row in results.effects):
        tissues = [found.get((site, method, tissue)) for tissue in TISSUES]
        first = next(row for row in tissues if row is not None)
        rows.append(
            Row(
                (
                    Cell(site),
                    name_method(method, labels),
                    Cell(first.measure),
                    show_count(first.people),
                    *(
                        show_interval(row.effect if row else None, 2, signed=True)
                        for row in tissues
                    ),
                ),
                method == PRISM,
            )
        )
    caption = (
        f"What {results.settings.covariate or 'the covariate'} does to tissue shares of the brain"
        " within a site: Pearson's correlation, or Cohen's d between two groups in alphabetical"
        " order. Harmonizing should leave an effect as it was: one that shrinks or grows is"
        f" biology lost or invented. {INTERVAL}"
    )
    head = ("site", "method", "measure", "people", *TISSUES)
    return [Table("effects", "Effect of the covariate", caption, head, tuple(rows))]


def build_travelling_table(results: PaperResults) -> list[Table]:
    """Return likeness and agreement of people who were scanned at several sites."""
    if not results.travelling:
        return []
    labels = label_methods(results)
    caption = (
        "The same people at several scanners. SSIM and PSNR: a harmonized image against the"
        " person's own at the target, rigidly registered. ICC(2,1), absolute agreement between"
        " scanners (1 is best), and variation within a person (coefficient of variation): of tissue"
        f" shares by the target's network, over the sites that everybody visited. {INTERVAL}"
    )
    head = (
        *("method", "people", "scans", "SSIM", "PSNR (dB)"),
        *(f"ICC {tissue}" for tissue in TISSUES),
        *(f"within a person, {tissue} (%)" for tissue in TISSUES),
    )
    rows = tuple(_build_traveller_row(row, labels) for row in results.travelling)
    return [Table("travellers", "Travelling people", caption, head, rows)]


def _show_distance(row: DistanceRow | None) -> Cell:
    if row is None:
        return MISSING
    if row.change is None:
        return show_interval(row.value)
    change = write_number(row.change.estimate, signed=True)
    return show_interval(
        row.value, below=(f"change {change}", f"({write_bounds(row.change, signed=True)})")
    )


def _show_check(row: CheckRow, labels: Mapping[str, str]) -> tuple[Cell, ...]:
    return (
        Cell(row.site),
        name_method(row.method, labels),
        Cell(CHECKS[row.check]),
        show_count(row.people),
        show_interval(row.value, signed=row.check in _SIGNED),
        _RESULTS[row.result],
        Cell(row.limit, mark="rule"),
    )


def _build_traveller_row(row: TravellingRow, labels: Mapping[str, str]) -> Row:
    return Row(
        (
            name_method(row.method, labels),
            show_count(row.people),
            show_count(row.scans),
            show_interval(row.ssim),
            show_interval(row.psnr_db, 1),
            *(show_number(row.icc.get(tissue)) for tissue in TISSUES),
            *(_show_percent(row.within_cv.get(tissue)) for tissue in TISSUES),
        ),
        row.method == PRISM,
    )


def _show_percent(share: float | None) -> Cell:
    return show_number(None if share is None else 100 * share, 2)


def list_limits(checks: Iterable[CheckRow]) -> list[tuple[str, str]]:
    """Return the looks that were taken, each with its rule."""
    return list(dict.fromkeys((CHECKS[row.check], row.limit) for row in checks))
