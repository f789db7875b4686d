"""Hand-made results of an evaluation of sites: all sections filled, one name hostile."""

from itertools import product

import numpy as np
import pytest

from prism_mri.config import PreprocessingContract
from prism_mri.evaluate.paper.checks import LIMITS
from prism_mri.evaluate.paper.files import write_paper_results
from prism_mri.evaluate.paper.results import (
    TISSUES,
    CheckRow,
    DiceChange,
    DistanceRow,
    EffectRow,
    MethodRecord,
    PaperPanel,
    PaperResults,
    PaperSettings,
    RecallRow,
    SegmentationRow,
    SimilarityRow,
    SiteRecord,
    Spread,
    StyleEnergy,
    TravellingRow,
    VolumeRow,
)
from prism_mri.evaluate.paper.verdict import judge
from prism_mri.evaluate.results import CardRecord, Interval
from prism_mri.evaluate.styles import VolumeStyle, place_styles

HOSTILE = "</script><img src=x onerror=alert(1)>$\\frac"
SITES = ("guys", "hh", HOSTILE)
SOURCES = SITES[1:]
METHODS = {
    "none": "not harmonized",
    "zscore": "z-score",
    "quantile": "quantile matching",
    "n4quantile": "N4 + quantile matching",
    "histogram": "histogram matching",
    "whitestripe": "WhiteStripe",
    "prism": "PRISM",
}
GAIN = dict(zip(METHODS, (0.0, -0.2, 0.5, 0.55, 0.6, 0.3, 0.8), strict=True))
"""How much of the distance to the target a method takes away."""


def around(value, half=0.02):
    return Interval(estimate=value, low=value - half, high=value + half)


def make_similarity():
    scores = {"psnr_db": around(31.25, 0.5), "mse": around(0.00123, 0.0002), "people": 12}
    drawn = [
        SimilarityRow(
            kind="reconstruction", site=s, method="prism", region=r, ssim=around(0.9712), **scores
        )
        for s, r in product(SITES[:2], ("whole", "brain"))
    ]
    kept = [
        SimilarityRow(kind="preservation", site=s, method=m, region=r, ssim=around(0.95), **scores)
        for s, m, r in product(SITES, METHODS, ("whole", "brain"))
    ]
    return (*drawn, *kept)


def make_recalls():
    def row(network, trained_on, method, right):
        return RecallRow(
            network=network,
            trained_on=trained_on,
            method=method,
            recall={site: Spread(mean=1.0 if site == "guys" else right, sd=0.03) for site in SITES},
            called_target={site: Spread(mean=0.9 * (1 - right), sd=0.02) for site in SOURCES},
            weighted_f1=Spread(mean=0.3 + 0.6 * right, sd=None),
        )

    rows = []
    for network in ("resnet50", "efficientnet-b2"):
        rows += [row(network, "original", m, 0.9 * (1 - max(GAIN[m], 0))) for m in METHODS]
        rows += [row(network, "harmonized", "prism", 0.6), row(network, "shuffled", "none", 0.31)]
    return tuple(rows)


def make_segmentation():
    wanted = [("target on source", m, 0.7 + 0.15 * GAIN[m]) for m in METHODS]
    wanted += [("source on itself", "none", 0.88), ("source on target", "prism", 0.84)]
    return tuple(
        SegmentationRow(
            role=role,
            site=site,
            method=method,
            tissue=tissue,
            people=12,
            dice=around(dice + 0.01 * index),
            dice_sd=0.004,
            iou=around(dice - 0.1),
        )
        for site, (role, method, dice) in product(SOURCES, wanted)
        for index, tissue in enumerate(TISSUES)
    )


def make_changes():
    return tuple(
        DiceChange(
            site=site,
            tissue=tissue,
            method=method,
            versus=versus,
            difference=around(0.15 * (GAIN[method] - GAIN[versus])),
        )
        for site, method, versus, tissue in product(
            (*SOURCES, "mean"), METHODS, ("none", "quantile"), (*TISSUES, "mean")
        )
        if method != versus
    )


def make_distances():
    scales = {"intensity brain": 0.1, "intensity tissues": 0.12, "style": 6.0, "gradient SSIM": 1.0}
    return tuple(
        DistanceRow(
            site=site,
            method=method,
            measure=measure,
            people=12,
            value=around(scale * (0.1 if site == "guys" else 1 - 0.9 * GAIN[method]), 0.01),
            change=None if method == "none" else around(-0.9 * scale * GAIN[method], 0.01),
        )
        for site, method, (measure, scale) in product(SITES, METHODS, scales.items())
    )


def make_checks():
    values = {"order": 0.0, "sharpness": 0.95, "structure": 0.01, "islands": 0.9, "shift": 0.02}
    rows = []
    for site, method in product(SOURCES, METHODS):
        for check, limit in LIMITS.items():
            value, result = values.get(check), "none"
            if check == "distance":
                value, result = -0.12 * GAIN[method], "good" if GAIN[method] > 0 else "none"
            if check == "dice":
                value = 0.15 * GAIN[method]
            if (method, check) == ("zscore", "sharpness"):
                value, result = 0.4, "bad"
            rows.append(
                CheckRow(
                    site=site,
                    method=method,
                    check=check,
                    people=12,
                    value=around(value),
                    limit=limit,
                    result=result,
                )
            )
    return tuple(rows)


def make_styles():
    generator = np.random.default_rng(1)
    centres = {"guys": (0.0, 0.0), "hh": (3.0, 1.0), HOSTILE: (-2.0, 2.5)}
    styles = []
    for number in range(12):
        noise = generator.normal(0, 0.3, 2)
        for site, centre in centres.items():
            before = (centre[0] + noise[0], centre[1] + noise[1])
            person = f"{site}/{number}"
            if site == "guys":
                styles.append(VolumeStyle("guys", person, site, "truth", before))
            else:
                after = (0.1 * before[0], 0.1 * before[1])
                styles.append(VolumeStyle("guys", person, site, "before", before))
                styles.append(VolumeStyle("guys", person, site, "after", after))
    return place_styles(styles)


def make_panels():
    panels, arrays = [], {}
    for number, site in enumerate(SITES):
        key = f"site_{number}"
        height, width = 90 + 6 * number, 110
        x, y = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
        brain = x**2 + y**2 < 0.85
        rings = 0.5 + 0.3 * np.cos(12 * np.hypot(x, 0.8 * y)) - 0.15 * (y > 0)
        for method, gain in GAIN.items():
            level = 1.0 if site == "guys" else 1.0 + 0.3 * number * (1 - gain)
            arrays[f"{key}_{method}"] = (brain * rings * level).astype(np.float32)
        panels.append(PaperPanel(key=key, site=site, methods=tuple(METHODS), pixel_mm=(1.5, 1.5)))
    return tuple(panels), arrays


def make_results():
    checks = make_checks()
    points, axes = make_styles()
    return PaperResults(
        target="guys",
        sites=tuple(
            SiteRecord(
                site=site,
                people_train=20 + number,
                people_test=12 - 4 * number,
                images_train=21 + number,
                images_test=12,
                held_out="test",
            )
            for number, site in enumerate(SITES)
        ),
        methods=tuple(
            MethodRecord(name=name, label=label, version="c" * 64 if name == "prism" else "1")
            for name, label in METHODS.items()
        ),
        labels="given",
        settings=PaperSettings(seed=7, runs=3, covariate="age"),
        contract=PreprocessingContract(),
        card=CardRecord(
            site="guys",
            digest="c" * 64,
            signer=None,
            people=20,
            intensity_scale=321.5,
            local_only=False,
        ),
        similarity=make_similarity(),
        recalls=make_recalls(),
        majority_share={"guys": 0.5, "hh": 0.3, HOSTILE: 0.2},
        segmentation=make_segmentation(),
        dice_changes=make_changes(),
        distances=make_distances(),
        styles=points,
        style_axes=axes,
        style_energy=tuple(
            StyleEnergy(site=s, method=m, distance=0.0 if s == "guys" else 2 - 1.9 * GAIN[m])
            for s, m in product(SITES, METHODS)
        ),
        checks=checks,
        volumes=tuple(
            VolumeRow(
                method=method,
                tissue=tissue,
                people=28,
                between_sites=0.5,
                error=None if method == "combat" else around(2.5, 0.3),
            )
            for method, tissue in product((*METHODS, "combat"), TISSUES)
        ),
        effects=tuple(
            EffectRow(
                site=s, method=m, tissue=t, measure="correlation", people=12, effect=around(-0.4)
            )
            for s, m, t in product(SITES, METHODS, TISSUES)
        ),
        travelling=tuple(
            TravellingRow(
                method=method,
                people=4,
                scans=12,
                ssim=around(0.9),
                psnr_db=around(28.0, 1.0),
                icc={"CSF": 0.8, "GM": 0.7, "WM": None},
                within_cv=dict.fromkeys(TISSUES, 0.034),
            )
            for method in METHODS
        ),
        verdicts=tuple(judge(checks, SOURCES, tuple(METHODS))),
        panels=make_panels()[0],
        versions={"prism-mri": "9.8.7", "torch": "2.13.0"},
        warnings=("hh: 8 test people only <b>bold</b>",),
    )


def make_bare(results):
    """Return the same with every table empty."""
    empty = dict.fromkeys(
        (
            *("similarity", "recalls", "segmentation", "dice_changes", "distances", "styles"),
            *("style_axes", "style_energy", "checks", "volumes", "effects", "travelling"),
            *("verdicts", "panels", "warnings"),
        ),
        (),
    )
    return results.model_copy(update=empty)


@pytest.fixture(scope="session")
def results():
    return make_results()


@pytest.fixture(scope="session")
def bare(results):
    return make_bare(results)


@pytest.fixture(scope="session")
def arrays():
    return make_panels()[1]


@pytest.fixture
def results_folder(results, arrays, tmp_path):
    write_paper_results(tmp_path / "results", results, arrays)
    return tmp_path / "results"
