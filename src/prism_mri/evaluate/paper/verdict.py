"""The plain answer: improved, no effect, or harmful, by stated rules on intervals."""

from collections.abc import Sequence

from prism_mri.evaluate.paper.results import CheckRow, Judgement, Verdict

OVERALL = "overall"
RULES = (
    "Harmful: one look for harm fails, or the distance of intensities to the target grows, or"
    " the target's segmentation network gets worse, each beyond its limit with the whole 95 %"
    " interval.",
    "Improved: nothing is harmful, and the intensity distance falls or Dice rises with the whole"
    " interval.",
    "No effect: neither. Undecided: fewer than two people, so that there are no intervals.",
    "An improvement says by which looks harm is not ruled out, where an interval reaches beyond its"
    " limit. Intervals are of single looks, over people, widened for few of them (Student's t).",
    "Overall: harmful if any source site is; improved if one is and none is harmful.",
)
"""How verdicts come about, for the reader of a report."""
_NAMES = {
    "order": "the order of tissues is not the modality's",
    "sharpness": "edges are blurred",
    "structure": "structure is lost",
    "islands": "spots in white matter fade",
    "shift": "edges have moved",
}


def judge(
    checks: Sequence[CheckRow], sites: Sequence[str], methods: Sequence[str]
) -> list[Verdict]:
    """Return a verdict for every method at every source site, and overall.

    Args:
        checks: all of them.
        sites: the sources.
        methods: names.
    """
    verdicts = []
    for method in methods:
        own = [
            _judge_site(site, method, [c for c in checks if (c.site, c.method) == (site, method)])
            for site in sites
        ]
        verdicts += [*own, _judge_overall(method, own)]
    return verdicts


def _judge_site(site: str, method: str, checks: Sequence[CheckRow]) -> Verdict:
    bad = [check for check in checks if check.result == "bad"]
    good = [check for check in checks if check.result == "good"]
    unknown = [check for check in checks if check.result == "unknown"]
    judgement: Judgement
    if bad:
        judgement, told = "harmful", bad
    elif good:
        judgement, told = "improved", good
    elif unknown and len(unknown) == len(checks):
        return Verdict(
            site=site,
            method=method,
            judgement="undecided",
            reasons=("too few people for an interval",),
        )
    else:
        judgement, told = "no effect", []
    reasons = tuple(_explain(check) for check in told)
    open_questions = [
        c.check for c in checks if c.result in ("none", "unknown") and c.check in _NAMES
    ]
    if judgement == "improved" and open_questions:
        reasons += (f"too few people to rule out harm by {', '.join(open_questions)}",)
    return Verdict(site=site, method=method, judgement=judgement, reasons=reasons)


def _judge_overall(method: str, verdicts: Sequence[Verdict]) -> Verdict:
    found = [verdict.judgement for verdict in verdicts]
    judgement: Judgement = "no effect"
    for one in ("harmful", "improved", "undecided"):
        if one in found:
            judgement = one
            break
    sites = [verdict.site for verdict in verdicts if verdict.judgement == judgement]
    return Verdict(
        site=OVERALL,
        method=method,
        judgement=judgement,
        reasons=(f"{judgement} at {', '.join(sites)}",),
    )


def _explain(check: CheckRow) -> str:
    value = check.value
    bounds = "" if value.low is None else f" (95 % {value.low:+.3f} to {value.high:+.3f})"
    if check.check == "distance":
        return f"intensity distance to the target changes by {value.estimate:+.3f}{bounds}"
    if check.check == "dice":
        return f"Dice of the target's network changes by {value.estimate:+.3f}{bounds}"
    return f"{_NAMES[check.check]}: {value.estimate:.3f}{bounds.replace('+', '')}"
