"""The paper's three tables, with the published numbers beside ours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from prism_mri.evaluate.paper.results import (
    TISSUES,
    DiceChange,
    LabelSource,
    Network,
    PaperResults,
    RecallRow,
    Region,
    SegmentationRow,
    SimilarityRow,
    TrainedOn,
)
from prism_mri.evaluate.paper.table import (
    PUBLISHED_DICE,
    PUBLISHED_RECALL,
    PUBLISHED_SIMILARITY,
)
from prism_mri.report.tables import (
    BEFORE,
    MISSING,
    PRISM,
    Cell,
    Row,
    Table,
    label_methods,
    list_sources,
    name_method,
    show_count,
    show_interval,
    show_number,
    show_spread,
)

NETWORKS: Final[dict[Network, str]] = {
    "resnet50": "ResNet-50",
    "efficientnet-b2": "EfficientNet-B2",
}
TRAINED_ON: Final[dict[TrainedOn, str]] = {
    "original": "originals",
    "harmonized": "harmonized alike",
    "shuffled": "originals, shuffled",
}
ROLES: Final = {
    "target on source": "target's network, source's images",
    "source on itself": "source's own network (ceiling)",
    "source on target": "source's network, target's images (reverse)",
}
LABELS: Final[dict[LabelSource, str]] = {
    "given": "those that came with the data",
    "fast": "FSL FAST's",
    "anatomy-encoder": "PRISM's own anatomy encoder's, which favours PRISM",
}
INTERVAL: Final = "The smaller line is the 95 % bootstrap interval over people."
_REGIONS: Final[dict[Region, str]] = {"whole": "whole slice", "brain": "brain"}
_METRICS: Final = {"SSIM": ("ssim", 4), "PSNR (dB)": ("psnr_db", 1), "MSE": ("mse", 5)}
_RECONSTRUCTION: Final = (
    "How well a site's own networks give back its own test images: it shows that a card can draw"
    " its site, and says nothing of harmonization."
)
_PRESERVATION: Final = (
    "How alike test images and what a method made of them are. High is not simply good: doing"
    " nothing scores 1 (so that row is left out); it tells how much was changed."
)
_PAPER_SITES: Final = {"guys", "hh", "adni"}
_PUBLISHED: Final = (
    " “paper” is what Galada et al. 2024 print for a site of that name, from their people and"
    " networks: a landmark, not a number of these data."
)


def build_similarity_tables(results: PaperResults) -> list[Table]:
    """Return Table 1: images drawn again at home, and likeness to the source."""
    labels = label_methods(results)
    groups: dict[tuple[str, str, str], dict[Region, SimilarityRow]] = {}
    for row in results.similarity:
        if row.kind == "reconstruction" or row.method != BEFORE:
            groups.setdefault((row.kind, row.site, row.method), {})[row.region] = row
    parts = (
        ("reconstruction", "Table 1, reconstruction", _RECONSTRUCTION),
        ("preservation", "Table 1, likeness to the source", _PRESERVATION),
    )
    scores = (
        "Means over people of the means over their test slices; data range 1; over the whole slice"
        f" as in the paper, and inside the brain. {INTERVAL}"
    )
    head = ("site", "method", "people", *(f"{m}, {r}" for m in _METRICS for r in _REGIONS.values()))
    tables = []
    for kind, title, caption in parts:
        rows = tuple(
            Row(
                (Cell(site), name_method(method, labels), *_show_scores(group)),
                kind == "preservation" and method == PRISM,
            )
            for (found, site, method), group in groups.items()
            if found == kind
        )
        if rows:
            words = f"{caption} {scores}{_note_published(results)}"
            tables.append(Table(kind, title, words, head, rows))
    return tables


def build_recall_table(results: PaperResults) -> list[Table]:
    """Return Table 2 with its controls, or nothing where it was left out."""
    if not results.recalls:
        return []
    sites, sources = [record.site for record in results.sites], list_sources(results)
    labels, shares = label_methods(results), results.majority_share
    rows = [_build_recall_row(row, sites, sources, labels) for row in results.recalls]
    if shares:
        guess = [show_number(shares.get(site)) for site in sites]
        called = [show_number(shares.get(results.target)) for _ in sources]
        rows.append(
            Row((Cell("a guess"), Cell("share of slices"), MISSING, *guess, *called, MISSING))
        )
    settings = results.settings
    caption = (
        f"Networks that learned to name the site of a slice are asked about test slices;"
        f" {settings.classifier_steps} steps of {settings.batch} slices of"
        f" {settings.classifier_size} pixels, mean and (±) standard deviation over"
        f" {settings.runs} runs."
        " Recall is the share of a site's slices that are told right; “called"
        f" {results.target}” is the share of a source's slices that are taken for the target's: a"
        " method that works lowers the one and raises the other. Controls: networks trained on"
        " images that were harmonized alike find traces that the first ones never learned; networks"
        " trained under shuffled site names, and a guess by each site's share of slices, show what"
        " comes of knowing nothing: where originals are told no better, the networks have not"
        f" learned sites and the table says nothing. {_name_majority(shares)}"
    )
    head = (
        *("network", "trained on", "tested on"),
        *(f"recall {site}" for site in sites),
        *(f"{site} called {results.target}" for site in sources),
        "weighted F1",
    )
    title = "Table 2, which site is it?"
    return [Table("recall", title, caption + _note_published(results), head, tuple(rows))]


def build_dice_tables(results: PaperResults) -> list[Table]:
    """Return Table 3 and the changes of Dice, or nothing where segmentation was left out."""
    labels, settings = label_methods(results), results.settings
    groups = _group_tissues(results.segmentation).values()
    tables = []
    if groups:
        caption = (
            f"A U-Net that names tissues, {settings.segmenter_steps} steps, means over people and"
            f" {settings.runs} runs; “runs ±” is the standard deviation over runs. The paper's"
            " experiment trains at the target and tests on a source's images. The ceiling is a"
            " network trained at the source itself; the reverse direction trains at the source on"
            " harmonized images and tests on the target's own. Labels:"
            f" {LABELS[results.labels]}. {INTERVAL}"
        )
        head = ("source", "network", "images", "people")
        rows = tuple(_build_overlap_row(group, labels, _show_dice) for group in groups)
        title = "Table 3, tissues by a network of another site"
        words = caption + _note_published(results)
        tables.append(Table("dice", title, words, (*head, *_name_tissues("Dice")), rows))
        rows = tuple(_build_overlap_row(group, labels, _show_iou) for group in groups)
        title = "Table 3, intersection over union"
        tables.append(Table("iou", title, caption, (*head, *_name_tissues("IoU")), rows, True))
    return [*tables, *_build_change_tables(results, labels)]


def find_published_recall(row: RecallRow, site: str) -> tuple[str, ...]:
    """Return the paper's recall of a site, as a line below ours."""
    known = PUBLISHED_RECALL.get((row.network, row.method))
    if known is None or row.trained_on != "original" or site not in known:
        return ()
    return (f"paper {known[site]:.4f}",)


def _note_published(results: PaperResults) -> str:
    return _PUBLISHED if _PAPER_SITES & {record.site for record in results.sites} else ""


def _show_scores(group: Mapping[Region, SimilarityRow]) -> tuple[Cell, ...]:
    first = next(iter(group.values()))
    printed = PUBLISHED_SIMILARITY.get((first.kind, first.site)) if first.method == PRISM else None
    cells = [show_count(first.people)]
    for index, (metric, digits) in enumerate(_METRICS.values()):
        for region in _REGIONS:
            row = group.get(region)
            known = printed is not None and region == "whole"
            below = (f"paper {printed[index]:g}",) if printed and known else ()
            interval = None if row is None else getattr(row, metric)
            cells.append(show_interval(interval, digits, below=below))
    return tuple(cells)


def _build_recall_row(
    row: RecallRow, sites: list[str], sources: tuple[str, ...], labels: Mapping[str, str]
) -> Row:
    f1 = find_published_recall(row, "f1") if set(sites) == _PAPER_SITES else ()
    cells = (
        Cell(NETWORKS[row.network]),
        Cell(TRAINED_ON[row.trained_on]),
        name_method(row.method, labels),
        *(show_spread(row.recall.get(site), find_published_recall(row, site)) for site in sites),
        *(show_spread(row.called_target.get(site)) for site in sources),
        show_spread(row.weighted_f1, f1),
    )
    return Row(cells, row.method == PRISM)


def _name_majority(shares: Mapping[str, float]) -> str:
    if not shares:
        return ""
    best = max(shares, key=lambda name: shares[name])
    return f"Always naming {best} is right for {shares[best]:.0%} of all test slices."


def _group_tissues(
    rows: tuple[SegmentationRow, ...],
) -> dict[tuple[str, str, str], dict[str, SegmentationRow]]:
    groups: dict[tuple[str, str, str], dict[str, SegmentationRow]] = {}
    for row in rows:
        groups.setdefault((row.site, row.role, row.method), {})[row.tissue] = row
    return groups


def _build_overlap_row(
    group: Mapping[str, SegmentationRow],
    labels: Mapping[str, str],
    show: Callable[[SegmentationRow], Cell],
) -> Row:
    first = next(iter(group.values()))
    cells = (
        Cell(first.site),
        Cell(ROLES[first.role]),
        name_method(first.method, labels),
        show_count(first.people),
        *(show(group[tissue]) if tissue in group else MISSING for tissue in TISSUES),
    )
    return Row(cells, first.method == PRISM)


def _show_dice(row: SegmentationRow) -> Cell:
    forward = row.role == "target on source"
    known = PUBLISHED_DICE.get((row.site, row.method), {}) if forward else {}
    printed = (f"paper {known[row.tissue]:.4f}",) if row.tissue in known else ()
    runs = () if row.dice_sd is None else (f"runs ± {row.dice_sd:.3f}",)
    return show_interval(row.dice, below=(*runs, *printed))


def _show_iou(row: SegmentationRow) -> Cell:
    return show_interval(row.iou)


def _name_tissues(measure: str) -> tuple[str, ...]:
    return tuple(f"{measure} {tissue}" for tissue in TISSUES)


def _build_change_tables(results: PaperResults, labels: Mapping[str, str]) -> list[Table]:
    """Return PRISM's changes, and the other methods' folded."""
    caption = (
        "How much a method changes Dice of the target's network on the same people, over not"
        " harmonizing and over quantile matching; source “mean” is over the people of all sources."
        f" Above 0 is better. {INTERVAL} Paired, {results.settings.bootstrap_draws} resamples."
    )
    head = ("source", "method", "against", *TISSUES, "mean of tissues")
    parts = (
        ("dice-changes", "Change of Dice, PRISM", True),
        ("dice-changes-others", "Change of Dice, other methods", False),
    )
    tables = []
    for key, title, own in parts:
        changes = [one for one in results.dice_changes if (one.method == PRISM) == own]
        if changes:
            rows = tuple(_list_change_rows(changes, labels))
            tables.append(Table(key, title, caption, head, rows, folded=not own))
    return tables


def _list_change_rows(changes: Sequence[DiceChange], labels: Mapping[str, str]) -> list[Row]:
    groups: dict[tuple[str, str, str], dict[str, DiceChange]] = {}
    for one in changes:
        groups.setdefault((one.site, one.method, one.versus), {})[one.tissue] = one
    return [
        Row(
            (
                Cell(site),
                name_method(method, labels),
                name_method(versus, labels),
                *(
                    show_interval(group[name].difference, signed=True) if name in group else MISSING
                    for name in (*TISSUES, "mean")
                ),
            )
        )
        for (site, method, versus), group in groups.items()
    ]
