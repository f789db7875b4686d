"""What an evaluation found: frozen models that are written as JSON and read by the report."""

from typing import Annotated, Literal

from pydantic import Field

from prism_mri.config import FrozenModel, PreprocessingContract

Method = Literal["none", "quantile", "prism", "oracle"]
"""Not harmonized, quantile matching, PRISM, and the clean truth scored as if it were a method."""
Truth = Literal["acquired", "clean", "resampled"]
"""The target's protocol on the source's grid, with and without its own noise and bias field; and
the target session's own scan resampled onto the source's grid."""
Metric = Literal["ssim", "psnr_db", "mae"]
Contrast = Literal["prism-none", "prism-quantile", "share"]
"""Two differences of means, and the share of the distance from quantile matching to the oracle."""
StyleStage = Literal["before", "after", "truth"]

METHODS: tuple[Method, ...] = ("none", "quantile", "prism", "oracle")
TRUTHS: tuple[Truth, ...] = ("acquired", "clean", "resampled")
MEAN = "mean"
"""Stands for source and target in the summary rows that average over all pairs."""

Count = Annotated[int, Field(ge=0)]


class ScoreRow(FrozenModel):
    """Scores of one method for one person and one ordered pair of scanners."""

    person: str
    source: str
    target: str
    method: Method
    truth: Truth
    ssim: float
    psnr_db: float
    mae: float
    slices: Count


class SummaryRow(FrozenModel):
    """Mean scores of one method over people, for one pair or over all pairs."""

    source: str
    target: str
    method: Method
    truth: Truth
    people: Count
    ssim: float
    psnr_db: float
    mae: float


class Interval(FrozenModel):
    """An estimate with its 95 % bootstrap interval over people; no bounds from fewer than two."""

    estimate: float
    low: float | None = None
    high: float | None = None


class Comparison(FrozenModel):
    """A contrast between methods, each person averaged over pairs first."""

    contrast: Contrast
    metric: Metric
    truth: Truth
    people: Count
    """Units of resampling: people, deformed copies of one anatomy counting as one."""
    interval: Interval | None
    """None where the oracle is not above quantile matching, so that no share is defined."""


class Reconstruction(FrozenModel):
    """How well a site's own networks give back its own held-out images."""

    site: str
    people: Count
    images: Count
    held_out: Literal["people", "slices"]
    ssim: float
    psnr_db: float
    mae: float


class StylePoint(FrozenModel):
    """Mean style of one volume, as the style encoder of one card sees it."""

    card: str
    person: str
    source: str
    stage: StyleStage
    style: tuple[float, ...]
    x: float
    """First coordinate for drawing; see `StyleAxes`."""
    y: float


class StyleAxes(FrozenModel):
    """What the drawn coordinates of one card's styles are."""

    card: str
    projection: Literal["style", "principal components"]
    explained: float
    """Fraction of the variance that the two coordinates hold."""


class Panel(FrozenModel):
    """One slice kept for pictures; arrays `<key>_<column>` lie in panels.npz as (H, W)."""

    key: str
    person: str
    source: str
    target: str
    slice_index: Count
    pixel_mm: tuple[float, float]


class CardRecord(FrozenModel):
    """Which card was evaluated."""

    site: str
    digest: str
    signer: str | None
    people: Count
    intensity_scale: float
    local_only: bool


class EvaluationSettings(FrozenModel):
    """Everything that fixes the numbers besides the data and the cards."""

    seed: int
    bootstrap_draws: Count
    data_range: float
    ssim_sigma_pixels: float
    contract: PreprocessingContract
    style: Literal["uniform"] = "uniform"


class TravellingResults(FrozenModel):
    """Scores of travelling people: the same person under every scanner."""

    schema_version: Literal[1] = 1
    kind: Literal["travelling"] = "travelling"
    dataset: str
    anatomy: str
    """What the people are, as the dataset says: deformed-template, label-maps or unknown."""
    people: tuple[str, ...]
    anatomies: Count
    """How many different anatomies the people have; the bootstrap resamples these."""
    sites: tuple[str, ...]
    """Sites with a card: targets, and sources where the people have a session there."""
    unseen: tuple[str, ...]
    """Scanners without a card: sources only."""
    pairs: tuple[tuple[str, str], ...]
    settings: EvaluationSettings
    cards: tuple[CardRecord, ...]
    scores: tuple[ScoreRow, ...]
    summary: tuple[SummaryRow, ...]
    comparisons: tuple[Comparison, ...]
    reconstructions: tuple[Reconstruction, ...]
    styles: tuple[StylePoint, ...]
    style_axes: tuple[StyleAxes, ...]
    panels: tuple[Panel, ...]
    versions: dict[str, str]
    warnings: tuple[str, ...]
