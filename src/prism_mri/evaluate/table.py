"""Results in words: the verdict and a table that can be read in a terminal or pasted in a page."""

from prism_mri.evaluate.results import (
    MEAN,
    Comparison,
    Contrast,
    Interval,
    Method,
    Metric,
    SummaryRow,
    TravellingResults,
)

METHOD_NAMES: dict[Method, str] = {
    "none": "not harmonized",
    "quantile": "quantile matching",
    "prism": "PRISM",
    "oracle": "oracle",
}
FEW_PEOPLE = 10
"""Below this many people an interval is called a rough guide."""


def find_comparison(
    results: TravellingResults, contrast: Contrast, metric: Metric
) -> Comparison | None:
    """Return one comparison against the as-acquired truth, or None."""
    for comparison in results.comparisons:
        if (comparison.contrast, comparison.metric, comparison.truth) == (
            contrast,
            metric,
            "acquired",
        ):
            return comparison
    return None


def format_interval(interval: Interval, *, digits: int, unit: str = "", signed: bool = True) -> str:
    """Return an estimate with its 95 % interval, as in ``+0.031 (95 % +0.020 to +0.042)``."""
    sign = "+" if signed else ""
    value = f"{interval.estimate:{sign}.{digits}f}{unit}"
    bounds = "no interval"
    if interval.low is not None and interval.high is not None:
        bounds = f"95 % {interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f}"
    return f"{value} ({bounds})".replace("-", "−")


def format_percent(interval: Interval) -> str:
    """Return a share with its 95 % interval in percent."""
    bounds = (interval.low, interval.high)
    scaled = Interval(
        estimate=100 * interval.estimate,
        low=None if bounds[0] is None else 100 * bounds[0],
        high=None if bounds[1] is None else 100 * bounds[1],
    )
    return format_interval(scaled, digits=0, unit=" %", signed=False)


def describe_people(results: TravellingResults) -> str:
    """Return how many people there are and what they are, as in ``4 deformed-template people``."""
    kind = {"deformed-template": "deformed-template ", "label-maps": "label-map "}.get(
        results.anatomy, ""
    )
    count = len(results.people)
    text = f"{count} {kind}{'person' if count == 1 else 'people'}"
    noun = "anatomy" if results.anatomies == 1 else "anatomies"
    return text if results.anatomies == count else f"{text} of {results.anatomies} {noun}"


def describe_verdict(results: TravellingResults) -> str:
    """Say in a sentence or two whether PRISM beats quantile matching, and how sure that is."""
    ssim = find_comparison(results, "prism-quantile", "ssim")
    psnr = find_comparison(results, "prism-quantile", "psnr_db")
    if ssim is None or psnr is None or ssim.interval is None or psnr.interval is None:
        return "These results hold no comparison of PRISM with quantile matching."
    numbers = (
        f"SSIM {format_interval(ssim.interval, digits=3)}, "
        f"PSNR {format_interval(psnr.interval, digits=2, unit=' dB')}"
    )
    people = describe_people(results)
    scope = f"{len(results.pairs)} ordered pairs, {people}, against the truth as acquired"
    return f"{_judge(ssim.interval, psnr.interval)}: {numbers}; {scope}.{_describe_share(results)}"


def format_table(results: TravellingResults) -> str:
    """Return the table of pairs and methods as Markdown, with the verdict above it."""
    methods = tuple(METHOD_NAMES)
    lines = [
        describe_verdict(results),
        "",
        "SSIM / PSNR (dB) in the brain against the truth as acquired, "
        f"mean over {describe_people(results)}.",
        "",
        "| pair | " + " | ".join(METHOD_NAMES[method] for method in methods) + " |",
        "|---|" + "---|" * len(methods),
    ]
    for pair in (*results.pairs, (MEAN, MEAN)):
        cells = [_format_cell(find_summary(results, pair, method)) for method in methods]
        lines.append(f"| {describe_pair(pair, results)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def find_summary(
    results: TravellingResults, pair: tuple[str, str], method: Method
) -> SummaryRow | None:
    """Return the mean scores of a pair and method against the as-acquired truth, or None."""
    for row in results.summary:
        if ((row.source, row.target), row.method, row.truth) == (pair, method, "acquired"):
            return row
    return None


def describe_pair(pair: tuple[str, str], results: TravellingResults) -> str:
    """Return ``source → target``, saying where the source is a scanner without a card."""
    if pair == (MEAN, MEAN):
        return "mean of pairs"
    told = pair[0].startswith("unseen")  # as the simulator names scanners that no site has
    unseen = " (unseen)" if pair[0] in results.unseen and not told else ""
    return f"{pair[0]}{unseen} → {pair[1]}"


def _format_cell(row: SummaryRow | None) -> str:
    return "–" if row is None else f"{row.ssim:.3f} / {row.psnr_db:.1f}"


def _judge(ssim: Interval, psnr: Interval) -> str:
    intervals = (ssim, psnr)
    if all(interval.low is not None and interval.low > 0 for interval in intervals):
        return "PRISM beats quantile matching on the mean"
    if all(interval.high is not None and interval.high < 0 for interval in intervals):
        return "PRISM is worse than quantile matching on the mean"
    if all(interval.estimate > 0 for interval in intervals):
        return "PRISM is above quantile matching on the mean, but not beyond doubt"
    if any(interval.estimate > 0 for interval in intervals):
        return "PRISM does not beat quantile matching on every score"
    return "PRISM does not beat quantile matching on the mean"


def _describe_share(results: TravellingResults) -> str:
    found = [find_comparison(results, "share", metric) for metric in ("ssim", "psnr_db")]
    texts = [
        f"{format_percent(one.interval)} in {'SSIM' if one.metric == 'ssim' else 'PSNR'}"
        for one in found
        if one is not None and one.interval is not None and one.interval.estimate > 0
    ]
    if not texts:
        return ""
    return f" Of the distance from quantile matching to the oracle it covers {' and '.join(texts)}."
