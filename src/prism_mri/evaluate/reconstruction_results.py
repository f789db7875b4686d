"""What an evaluation of reconstruction found, and its table."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from prism_mri.config import FrozenModel, Modality, PreprocessingContract
from prism_mri.models.site_model import RecipeName, Sha256

Region = Literal["whole", "background", "brain"]
"""Whole slices, zero outside the mask; whole slices as the decoder draws them; inside the brain."""
ScoredSplit = Literal["validation", "test"]

REGIONS: tuple[Region, ...] = ("whole", "background", "brain")
REGION_NAMES: dict[Region, str] = {
    "whole": "whole slice, zero outside the brain",
    "background": "whole slice, decoder's own background",
    "brain": "inside the brain",
}

Count = Annotated[int, Field(ge=0)]


class ReconstructionScore(FrozenModel):
    """Scores of one person in one region: means over the person's slices."""

    person: str
    region: Region
    slices: Count
    ssim: float
    psnr_db: float
    mse: float


class ReconstructionSummary(FrozenModel):
    """Mean and standard deviation over people; the latter is None for one person."""

    region: Region
    people: Count
    slices: Count
    ssim: float
    ssim_sd: float | None
    psnr_db: float
    psnr_db_sd: float | None
    mse: float
    mse_sd: float | None


class ReconstructionResults(FrozenModel):
    """How well a site's own networks give back slices of people they were not trained on."""

    schema_version: Literal[1] = 1
    kind: Literal["reconstruction"] = "reconstruction"
    site: str
    model_site: str
    recipe: RecipeName
    modality: Modality
    anatomy_digest: Sha256
    best_epoch: Count
    split: ScoredSplit
    held_out: Literal["people", "slices"]
    """Slices: of one person, some of whose other slices were trained on."""
    data_range: float
    psnr_limit_db: float
    ssim_sigma_pixels: float
    contract: PreprocessingContract
    scores: tuple[ReconstructionScore, ...]
    summary: tuple[ReconstructionSummary, ...]
    versions: dict[str, str]
    warnings: tuple[str, ...]


def summarize(scores: Sequence[ReconstructionScore]) -> tuple[ReconstructionSummary, ...]:
    """Return mean and standard deviation (of the sample) over people, region by region."""
    return tuple(_summarize_region(scores, region) for region in REGIONS)


def format_reconstruction(results: ReconstructionResults) -> str:
    """Return the table that the command prints, as Markdown."""
    first = results.summary[0]
    people = "1 person" if first.people == 1 else f"{first.people} people"
    slices = "1 slice" if first.slices == 1 else f"{first.slices} slices"
    lines = [
        f"Reconstruction at {results.site}, recipe {results.recipe}: {people}, {slices} of split"
        f" {results.split}; mean ± standard deviation over people, data range"
        f" {results.data_range:g}.",
        "",
        "| region | SSIM | PSNR (dB) | MSE |",
        "|---|---|---|---|",
    ]
    for row in results.summary:
        cells = [
            _format_cell(row.ssim, row.ssim_sd, 4),
            _format_cell(row.psnr_db, row.psnr_db_sd, 2),
            _format_cell(row.mse, row.mse_sd, 5),
        ]
        lines.append(f"| {REGION_NAMES[row.region]} | {' | '.join(cells)} |")
    if results.warnings:
        lines += ["", *(f"Note: {warning}." for warning in results.warnings)]
    return "\n".join(lines) + "\n"


def _summarize_region(
    scores: Sequence[ReconstructionScore], region: Region
) -> ReconstructionSummary:
    rows = [row for row in scores if row.region == region]
    ssim, psnr, mse = (
        np.array([getattr(row, metric) for row in rows]) for metric in ("ssim", "psnr_db", "mse")
    )
    return ReconstructionSummary(
        region=region,
        people=len(rows),
        slices=sum(row.slices for row in rows),
        ssim=float(ssim.mean()),
        ssim_sd=_deviation(ssim),
        psnr_db=float(psnr.mean()),
        psnr_db_sd=_deviation(psnr),
        mse=float(mse.mean()),
        mse_sd=_deviation(mse),
    )


def _deviation(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1)) if len(values) > 1 else None


def _format_cell(mean: float, deviation: float | None, digits: int) -> str:
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")
