"""Hand-made results: two sites, an unseen scanner, two people."""

from itertools import product

import numpy as np
import pytest

from prism_mri.config import PreprocessingContract
from prism_mri.evaluate.files import write_results
from prism_mri.evaluate.results import (
    METHODS,
    TRUTHS,
    CardRecord,
    EvaluationSettings,
    Panel,
    Reconstruction,
    ScoreRow,
    TravellingResults,
)
from prism_mri.evaluate.styles import VolumeStyle, place_styles
from prism_mri.evaluate.summary import compare, summarize

PAIRS = (("guys", "hh"), ("hh", "guys"), ("far", "guys"), ("far", "hh"))
PEOPLE = ("trav01", "trav02")
SSIM = {"none": 0.9, "quantile": 0.93, "prism": 0.96, "oracle": 0.98}


def make_scores() -> list[ScoreRow]:
    return [
        ScoreRow(
            person=person,
            source=source,
            target=target,
            method=method,
            truth=truth,
            ssim=SSIM[method] + 0.001 * len(source) - 0.002 * (person == "trav02"),
            psnr_db=100 * SSIM[method] - 70,
            mae=1 - SSIM[method],
            slices=12,
        )
        for person, (source, target), method, truth in product(PEOPLE, PAIRS, METHODS, TRUTHS)
        if (method, truth) != ("oracle", "clean")
    ]


def make_panels() -> tuple[tuple[Panel, ...], dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    panels, arrays = [], {}
    for number, (source, target) in enumerate(PAIRS):
        key = f"pair{number}"
        panels.append(
            Panel(
                key=key,
                person="trav01",
                source=source,
                target=target,
                slice_index=5,
                pixel_mm=(1.0, 1.5),
            )
        )
        for name in ("source", "quantile", "prism", "truth", "clean"):
            arrays[f"{key}_{name}"] = generator.random((30, 24), dtype=np.float32)
    return tuple(panels), arrays


def make_results() -> TravellingResults:
    scores = make_scores()
    styles = [
        VolumeStyle(card, person, source, stage, (float(number), 2.0, 1.0 + number))
        for number, (card, person, source, stage) in enumerate(
            product(("guys", "hh"), PEOPLE, ("far",), ("before", "after", "truth"))
        )
    ]
    points, axes = place_styles(styles)
    people = {person: person for person in PEOPLE}
    generator = np.random.default_rng(0)
    return TravellingResults(
        dataset="travelling <b>people</b>",
        anatomy="deformed-template",
        people=PEOPLE,
        anatomies=2,
        sites=("guys", "hh"),
        unseen=("far",),
        pairs=PAIRS,
        settings=EvaluationSettings(
            seed=3,
            bootstrap_draws=500,
            data_range=1.0,
            ssim_sigma_pixels=1.5,
            contract=PreprocessingContract(),
        ),
        cards=tuple(
            CardRecord(
                site=site,
                digest=digest * 64,
                signer=None if site == "hh" else "fa" * 32,
                people=11,
                intensity_scale=321.5,
                local_only=False,
            )
            for site, digest in (("guys", "a"), ("hh", "b"))
        ),
        scores=tuple(scores),
        summary=summarize(scores),
        comparisons=compare(scores, anatomy_of=people, draws=500, generator=generator),
        reconstructions=(
            Reconstruction(
                site="guys",
                people=1,
                images=1,
                held_out="slices",
                ssim=0.9712,
                psnr_db=27.31,
                mae=0.0213,
            ),
        ),
        styles=points,
        style_axes=axes,
        panels=make_panels()[0],
        versions={"prism-mri": "9.8.7", "torch": "2.13.0"},
        warnings=("far → hh, 2 people: outside what the card knows",),
    )


@pytest.fixture(scope="session")
def results() -> TravellingResults:
    return make_results()


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    return make_panels()[1]


@pytest.fixture
def results_folder(results, arrays, tmp_path):
    write_results(tmp_path / "results", results, arrays)
    return tmp_path / "results"
