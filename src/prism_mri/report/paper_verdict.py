"""The card at the top: what came of harmonizing, and what must not be read into it."""

import re
from dataclasses import dataclass
from typing import Final

from prism_mri.evaluate.paper.results import (
    DistanceRow,
    Judgement,
    LabelSource,
    Network,
    PaperResults,
    Spread,
    Verdict,
)
from prism_mri.evaluate.paper.verdict import OVERALL
from prism_mri.evaluate.table import FEW_PEOPLE
from prism_mri.report.paper_tables import NETWORKS
from prism_mri.report.tables import (
    BEFORE,
    MISSING,
    PRISM,
    Cell,
    Row,
    Table,
    label_methods,
    list_sources,
    show_interval,
    write_number,
)

MARKS: Final[dict[Judgement, str]] = {
    "improved": "good",
    "no effect": "neutral",
    "harmful": "bad",
    "undecided": "unknown",
}
_SIGNS: Final[dict[Judgement, str]] = {
    "improved": "✓",
    "no effect": "=",
    "harmful": "✕",
    "undecided": "?",
}
_MEANINGS: Final[dict[Judgement, str]] = {
    "improved": "closer to the target, and no look for harm failed",
    "no effect": "neither improvement nor harm beyond doubt",
    "harmful": "do not use it on these data before the reasons below are understood",
    "undecided": "too few people to tell",
}
_MINUS: Final = re.compile(r"(?<=[\s(])-(?=\d)")
_LABELS: Final[dict[LabelSource, str]] = {
    "given": "The tissue labels came with the data. Whatever made them decides what counts as right"
    " in Table 3, in distances by tissue and in the looks for harm.",
    "fast": "The tissue labels are FSL FAST's, from the images as they were: its errors differ"
    " between sites, and count as truth here.",
    "anatomy-encoder": "The tissue labels were drawn by PRISM's own anatomy encoder from the images"
    " as they were. They favour what is drawn from that anatomy: Table 3 is no independent"
    " evidence for PRISM, and the verdict leaves it out.",
}


@dataclass(frozen=True)
class Judged:
    """One verdict as a reader sees it."""

    where: str
    judgement: Judgement
    sign: str
    mark: str
    meaning: str
    reasons: tuple[str, ...]


def judge_prism(results: PaperResults) -> tuple[Judged | None, list[Judged]]:
    """Return PRISM's verdict over all sources, and the one of every source."""
    own = [_read(verdict) for verdict in results.verdicts if verdict.method == PRISM]
    overall = next((one for one in own if one.where == OVERALL), None)
    return overall, [one for one in own if one.where != OVERALL]


def build_verdict_table(results: PaperResults) -> Table | None:
    """Return all methods' verdicts, a column a source; PRISM's first, for comparison."""
    labels, columns = label_methods(results), (OVERALL, *list_sources(results))
    found = {(one.method, one.site): _read(one) for one in results.verdicts}
    methods = [name for name in dict.fromkeys(name for name, _ in found) if name != BEFORE]
    if not methods:
        return None
    methods.sort(key=lambda name: name != PRISM)
    rows = tuple(
        Row(
            (
                Cell(labels.get(name, name)),
                *(_show(found.get((name, column))) for column in columns),
            ),
            name == PRISM,
        )
        for name in methods
    )
    caption = (
        "The same rules for every method. Two that improve are not thereby equally good: compare"
        " their distances and Dice; every look at every method is below, under looks for harm."
    )
    return Table("all-verdicts", "Verdicts of all methods", caption, ("method", *columns), rows)


def build_summary(results: PaperResults) -> Table | None:
    """Return the few numbers that tell most, a row a source."""
    sources = list_sources(results)
    if not sources:
        return None
    network = _choose_network(results)
    rows = tuple(
        Row(
            (
                Cell(site),
                _show_distance(results, site),
                _show_recall(results, site, "recall"),
                _show_recall(results, site, "called_target"),
                _show_dice(results, site),
            )
        )
        for site in sources
    )
    name = "a network" if network is None else NETWORKS[network]
    caption = (
        "Not harmonized → PRISM. Distance: of intensities to the target, mean over tissues; with"
        f" the change below. Recall: test slices that {name}, trained on original images, gives to"
        " their own site, and those it gives to the target; of the two networks the one that knows"
        " untouched images better. Dice: how much the target's tissue"
        " network changes. 95 % bootstrap intervals over people below."
    )
    head = ("source", "distance", "recall of its site", f"called {results.target}", "Dice, change")
    return Table("summary", "At a glance", caption, head, rows)


def list_cautions(results: PaperResults) -> list[tuple[str, str]]:
    """Return what must not be concluded, as pairs of a short and a longer sentence."""
    fewest = min(results.sites, key=lambda record: record.people_test, default=None)
    few = (
        ""
        if fewest is None
        else f" The fewest test people here are {fewest.people_test}, at {fewest.site}."
    )
    return [
        (
            "A fooled classifier does not prove anatomy right.",
            "A blurred, erased or invented image fools a network that names sites just as well."
            " Recall counts only together with the looks for harm, and with the network that was"
            " trained on harmonized images.",
        ),
        ("Labels are not truth.", _LABELS[results.labels]),
        (
            "Simulated is not real.",
            "These results do not record where the images come from. Simulated scanners differ in"
            " what their simulator knows; real ones also in coils, motion, distortion and people."
            " A verdict on the ones says little of the others.",
        ),
        (
            "Few people are few.",
            f"With fewer than {FEW_PEOPLE} people a bootstrap interval is a rough guide and tends"
            f" to be too narrow.{few} “No effect” then means “not seen”, not “not there”.",
        ),
        (
            "Intervals are over people, not over scanners.",
            "They tell what to expect of other people at these very scanners with these very"
            " models; nothing of another hospital, and no spread between trainings.",
        ),
        (
            "Closer to the target is not better for a study.",
            "Whether an effect of age or disease survives has to be looked at in the study's own"
            " data; people differ between sites, and harmonizing must not take that away.",
        ),
    ]


def _read(verdict: Verdict) -> Judged:
    one = verdict.judgement
    reasons = tuple(_MINUS.sub("−", reason) for reason in verdict.reasons)
    return Judged(verdict.site, one, _SIGNS[one], MARKS[one], _MEANINGS[one], reasons)


def _show(judged: Judged | None) -> Cell:
    if judged is None:
        return MISSING
    return Cell(f"{judged.sign} {judged.judgement}", mark=judged.mark)


def _show_distance(results: PaperResults, site: str) -> Cell:
    rows: dict[str, DistanceRow] = {
        row.method: row
        for row in results.distances
        if (row.site, row.measure) == (site, "intensity tissues")
    }
    before, after = rows.get(BEFORE), rows.get(PRISM)
    if before is None or after is None:
        return MISSING
    change = show_interval(after.change, signed=True)
    text = f"{write_number(before.value.estimate)} → {write_number(after.value.estimate)}"
    return Cell(text, after.value.estimate, (f"change {change.text}", *change.below))


def _choose_network(results: PaperResults) -> Network | None:
    """Return the classifier that knows the sites of untouched images best."""
    known = [row for row in results.recalls if (row.trained_on, row.method) == ("original", BEFORE)]
    best = max(known, key=lambda row: row.weighted_f1.mean, default=None)
    return None if best is None else best.network


def _show_recall(results: PaperResults, site: str, kind: str) -> Cell:
    network = _choose_network(results)
    rows = {
        row.method: row
        for row in results.recalls
        if (row.network, row.trained_on) == (network, "original")
    }
    found: dict[str, Spread | None] = {
        method: getattr(row, kind).get(site) for method, row in rows.items()
    }
    before, after = found.get(BEFORE), found.get(PRISM)
    if before is None or after is None:
        return MISSING
    text = f"{write_number(before.mean, 2)} → {write_number(after.mean, 2)}"
    share = results.majority_share.get(site, 0.0)
    unlearned = kind == "recall" and before.mean <= share
    note = ("no better than a guess before: says nothing",) if unlearned else ()
    return Cell(text, after.mean, note)


def _show_dice(results: PaperResults, site: str) -> Cell:
    for one in results.dice_changes:
        if (one.site, one.tissue, one.method, one.versus) == (site, "mean", PRISM, BEFORE):
            return show_interval(one.difference, signed=True)
    return MISSING
