"""Score reconstruction as the paper's Table 1 does, for a model of either recipe."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from prism_mri.data.prepared import PreparedDataset, PreparedImage, read_prepared
from prism_mri.errors import CompatibilityError, InputError
from prism_mri.evaluate.collect import find_versions
from prism_mri.evaluate.files import (
    RESULTS_NAME,
    SCORES_NAME,
    SUMMARY_NAME,
    TABLE_NAME,
    check_results_folder,
    write_files,
)
from prism_mri.evaluate.reconstruction_results import (
    REGIONS,
    ReconstructionResults,
    ReconstructionScore,
    ReconstructionSummary,
    Region,
    ScoredSplit,
    format_reconstruction,
    summarize,
)
from prism_mri.evaluate.redraw import (
    SiteNetworks,
    read_site_networks,
    redraw_brain,
    redraw_whole,
)
from prism_mri.evaluate.tsv import format_tsv
from prism_mri.metrics import (
    DATA_RANGE,
    PSNR_LIMIT_DB,
    SSIM_SIGMA,
    SliceScores,
    compute_brain_slice_scores,
    compute_whole_slice_scores,
)
from prism_mri.models.site_model import ModelDescription, read_model
from prism_mri.models.translator import Translator
from prism_mri.types import MaskStack, SliceStack

SplitChoice = Literal["auto", "validation", "test"]
Progress = Callable[[int, int], None]


def evaluate_reconstruction(
    prepared: Path,
    model: Path,
    *,
    translator: Translator,
    split: SplitChoice = "auto",
    out: Path | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ReconstructionResults:
    """Draw held-out slices again with a model's own networks and score them against themselves.

    Every volume is drawn with the one mean style that its own slices are read with. Scores are
    taken slice by slice, averaged over the slices of a person, then over people.

    Args:
        prepared: dataset that ``prism-mri prepare`` made.
        model: folder that ``prism-mri train`` made.
        translator: whose anatomy encoder models of recipe ``anchored`` use.
        split: "auto" takes the test people where the dataset has some, else the validation ones.
        out: folder for results.json, scores.tsv, summary.tsv and table.md; None writes nothing.
        overwrite: replace earlier results.
        progress: called with (images done, images in all).

    Returns:
        Scores of every person, their means and what they came from.

    Raises:
        InputError: dataset or model cannot be used, the split is empty, or results stand there.
        CompatibilityError: the model takes slices of another preparation, or is of another
            translator.

    Source:
        Table 1 of the paper (arXiv 2411.06513). It does not say its data range or region; its
        published code takes the range of each image, and slices masked by value. Here the range is
        1.0 of the prepared scale for every image, and three regions stand side by side.
    """
    if out is not None:
        check_results_folder(out, overwrite=overwrite)
    dataset = read_prepared(prepared)
    description, _ = read_model(model)
    if description.contract != dataset.manifest.contract:
        raise CompatibilityError(
            f"{model} was trained on slices of another preparation than {prepared}: prepare the "
            "images again, or train again"
        )
    networks = read_site_networks(model, translator)
    chosen = _choose_split(dataset, split)
    scores = _score_people(dataset.split(chosen), networks, progress)
    results = ReconstructionResults(
        site=dataset.manifest.site,
        model_site=description.site,
        recipe=description.recipe,
        modality=description.modality,
        anatomy_digest=description.anatomy_digest,
        best_epoch=description.training.best_epoch,
        split=chosen,
        held_out="people" if chosen == "test" else dataset.manifest.held_out,
        data_range=DATA_RANGE,
        psnr_limit_db=PSNR_LIMIT_DB,
        ssim_sigma_pixels=SSIM_SIGMA,
        contract=dataset.manifest.contract,
        scores=scores,
        summary=summarize(scores),
        versions=find_versions(),
        warnings=_list_warnings(dataset, description, chosen),
    )
    if out is not None:
        _write(out, results)
    return results


def score_slices(
    slices: SliceStack, mask: MaskStack, networks: SiteNetworks
) -> Mapping[Region, SliceScores]:
    """Draw the slices of a volume again and score them in every region.

    Args:
        slices: (K, H, W) in the prepared scale, zero outside the brain.
        mask: brain (K, H, W).
        networks: of the site.
    """
    drawn = redraw_brain(slices, mask, networks)
    return {
        "whole": compute_whole_slice_scores(drawn, slices),
        "background": compute_whole_slice_scores(redraw_whole(slices, mask, networks), slices),
        "brain": compute_brain_slice_scores(drawn, slices, mask),
    }


def _choose_split(dataset: PreparedDataset, split: SplitChoice) -> ScoredSplit:
    if split == "auto":
        return "test" if dataset.split("test") else "validation"
    if not dataset.split(split):
        raise InputError(
            f"{dataset.folder} has nobody in split {split}; choose another with --split"
        )
    return split


def _score_people(
    images: tuple[PreparedImage, ...], networks: SiteNetworks, progress: Progress | None
) -> tuple[ReconstructionScore, ...]:
    by_person: dict[str, list[Mapping[Region, SliceScores]]] = defaultdict(list)
    for done, image in enumerate(images, start=1):
        by_person[image.subject].append(score_slices(*image.load(), networks))
        if progress is not None:
            progress(done, len(images))
    return tuple(
        _average(person, region, [scored[region] for scored in found])
        for person, found in by_person.items()
        for region in REGIONS
    )


def _average(person: str, region: Region, scored: list[SliceScores]) -> ReconstructionScore:
    ssim, psnr, mse = (
        np.concatenate([getattr(scores, metric) for scores in scored])
        for metric in ("ssim", "psnr_db", "mse")
    )
    return ReconstructionScore(
        person=person,
        region=region,
        slices=len(ssim),
        ssim=float(ssim.mean()),
        psnr_db=float(psnr.mean()),
        mse=float(mse.mean()),
    )


def _list_warnings(
    dataset: PreparedDataset, description: ModelDescription, split: ScoredSplit
) -> tuple[str, ...]:
    warnings = []
    if description.site != dataset.manifest.site:
        warnings.append(f"the model is of {description.site}, not of this site")
    if not description.complete:
        warnings.append("the model's training was cut short")
    shared = dataset.manifest.validated_on_training
    if split == "validation" and shared:
        slices = "the slice that it trains on" if shared == 1 else f"{shared} slices it trains on"
        warnings.append(f"the model is validated on {slices}, which says nothing of any other")
    elif split == "validation" and dataset.manifest.held_out == "slices":
        warnings.append("the slices are of the one person that the model was trained on")
    elif split == "validation":
        warnings.append("validation people were not trained on, but chose the best epoch")
    return tuple(warnings)


def _write(out: Path, results: ReconstructionResults) -> None:
    """Write all files; results.json last, so where it stands the rest stands too."""
    write_files(
        out,
        {
            SCORES_NAME: format_tsv(ReconstructionScore, results.scores),
            SUMMARY_NAME: format_tsv(ReconstructionSummary, results.summary),
            TABLE_NAME: format_reconstruction(results).encode(),
            RESULTS_NAME: (results.model_dump_json(indent=1) + "\n").encode(),
        },
    )
