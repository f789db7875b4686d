"""The paper's three tables, with the published numbers beside ours."""

from collections.abc import Mapping
from typing import Final

from prism_mri.evaluate.paper.results import (
    TISSUES,
    DiceChange,
    Network,
    PaperResults,
    RecallRow,
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
    "original": "original images",
    "harmonized": "images harmonized the same way",
    "shuffled": "original images, site names shuffled",
}
ROLES: Final = {
    "target on source": "target's network, source's images",
    "source on itself": "source's own network (ceiling)",
    "source on target": "source's network, target's images (reverse)",
}
INTERVAL: Final = "The smaller line is the 95 % bootstrap interval over people."
_PAPER_SITES: Final = {"guys", "hh", "adni"}
_PUBLISHED: Final = (
    " “paper” is what Galada et al. 2024 print for a site of that name, from their people and"
    " networks: a landmark, not a number of these data."
)


def build_similarity_tables(results: PaperResults) -> list[Table]:
    """Return Table 1: images drawn again at home, and likeness to the source."""
    labels = label_methods(results)
    drawn = [row for row in results.similarity if row.kind == "reconstruction"]
    kept = [
        row for row in results.similarity if row.kind == "preservation" and row.method != BEFORE
    ]
    scores = "SSIM, PSNR and squared error (data range 1) of test slices, averaged over a person."
    head = ("people", "SSIM", "PSNR (dB)", "MSE × 1000")
    tables = []
    if drawn:
        caption = (
            "How well a site's own networks give back its own test images: it shows that a card can"
            f" draw its site, and nothing of harmonization. {scores} {INTERVAL}"
        )
        rows = tuple(
            Row((Cell(row.site), Cell(_name_region(row)), *_show_scores(row))) for row in drawn
        )
        tables.append(
            Table(
                "reconstruction",
                "Table 1, reconstruction",
                caption + _note_published(results),
                ("site", "region", *head),
                rows,
            )
        )
    if kept:
        caption = (
            "How alike test images and what a method made of them are. High is not simply good: a"
            " method that does nothing scores 1, so that row is left out. It tells how much was"
            f" changed. {scores} {INTERVAL}"
        )
        rows = tuple(
            Row(
                (
                    Cell(row.site),
                    name_method(row.method, labels),
                    Cell(_name_region(row)),
                    *_show_scores(row),
                ),
                row.method == PRISM,
            )
            for row in kept
        )
        tables.append(
            Table(
                "preservation",
                "Table 1, likeness to the source",
                caption + _note_published(results),
                ("site", "method", "region", *head),
                rows,
            )
        )
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
        f" {settings.classifier_size} pixels, mean ± standard deviation over {settings.runs} runs."
        " Recall is the share of a site's slices that are told right; “called"
        f" {results.target}” is the share of a source's slices that are taken for the target's: a"
        " method that works lowers the one and raises the other. Controls: networks trained on"
        " images harmonized the same way look for traces that the first ones never learned; names"
        f" shuffled and a guess show what no knowledge of sites gives. {_name_majority(shares)}"
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
    labels = label_methods(results)
    tables = []
    if results.segmentation:
        rows = [
            _build_dice_row(group, labels) for group in _group_tissues(results.segmentation).values()
        ]
        caption = (
            "Dice and intersection over union of a U-Net that names tissues,"
            f" {results.settings.segmenter_steps} steps, mean over people and"
            f" {results.settings.runs} runs; ± is the standard deviation over runs. The paper's"
            " experiment trains at the target and tests on a source's images. The ceiling is a"
            " network trained at the source itself; the reverse direction trains at the source on"
            f" harmonized images and tests on the target's own. Labels: {results.labels}."
            f" {INTERVAL}"
        )
        head = (
            *("source", "network", "images", "people"),
            *(f"Dice {tissue}" for tissue in TISSUES),
            *(f"IoU {tissue}" for tissue in TISSUES),
        )
        title = "Table 3, tissues by a network of another site"
        tables.append(Table("dice", title, caption + _note_published(results), head, tuple(rows)))
    if results.dice_changes:
        caption = (
            "How much a method changes Dice of the target's network on the same people, over not"
            " harmonizing and over quantile matching; “mean” is over the people of all sources."
            f" Above 0 is better. {INTERVAL} Paired,"
            f" {results.settings.bootstrap_draws} resamples."
        )
        tables.append(
            Table(
                "dice-changes",
                "Change of Dice",
                caption,
                ("source", "method", "against", *TISSUES, "mean of tissues"),
                tuple(_list_change_rows(results.dice_changes, labels)),
            )
        )
    return tables


def find_published_recall(row: RecallRow, site: str) -> tuple[str, ...]:
    """Return the paper's recall of a site, as a line below ours."""
    known = PUBLISHED_RECALL.get((row.network, row.method))
    if known is None or row.trained_on != "original" or site not in known:
        return ()
    return (f"paper {known[site]:.4f}",)


def _note_published(results: PaperResults) -> str:
    return _PUBLISHED if _PAPER_SITES & {record.site for record in results.sites} else ""


def _name_region(row: SimilarityRow) -> str:
    return "whole slice" if row.region == "whole" else "brain"


def _show_scores(row: SimilarityRow) -> tuple[Cell, ...]:
    printed = row.method == PRISM and row.region == "whole"
    known = PUBLISHED_SIMILARITY.get((row.kind, row.site)) if printed else None
    mse = row.mse.model_copy(
        update={
            name: None if bound is None else 1000 * bound
            for name, bound in row.mse.model_dump().items()
        }
    )
    lines = (
        (f"paper {known[0]:.4f}", f"paper {known[1]:.1f}", f"paper {1000 * known[2]:.1f}")
        if known
        else ()
    )
    ssim, psnr, error = [(line,) for line in lines] or [(), (), ()]
    return (
        show_count(row.people),
        show_interval(row.ssim, 4, below=ssim),
        show_interval(row.psnr_db, 1, below=psnr),
        show_interval(mse, 2, below=error),
    )


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


def _build_dice_row(group: Mapping[str, SegmentationRow], labels: Mapping[str, str]) -> Row:
    first = next(iter(group.values()))
    forward = first.role == "target on source"
    known = PUBLISHED_DICE.get((first.site, first.method), {}) if forward else {}
    dice = []
    for tissue in TISSUES:
        row = group.get(tissue)
        if row is None:
            dice.append(MISSING)
            continue
        printed = (f"paper {known[tissue]:.4f}",) if tissue in known else ()
        runs = () if row.dice_sd is None else (f"runs ± {row.dice_sd:.3f}",)
        dice.append(show_interval(row.dice, below=(*runs, *printed)))
    cells = (
        Cell(first.site),
        Cell(ROLES[first.role]),
        name_method(first.method, labels),
        show_count(first.people),
        *dice,
        *(show_interval(group[tissue].iou) if tissue in group else MISSING for tissue in TISSUES),
    )
    return Row(cells, first.method == PRISM)


def _list_change_rows(changes: tuple[DiceChange, ...], labels: Mapping[str, str]) -> list[Row]:
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
            ),
            method == PRISM,
        )
        for (site, method, versus), group in groups.items()
    ]
