"""The paper's whole protocol, from the downloads of IXI and ADNI to its tables."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prism_mri.bids import PREPARED_MANIFEST
from prism_mri.card import publish_card, read_card
from prism_mri.card.limits import MIN_PEOPLE
from prism_mri.config import PreprocessingContract
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import ConfigError
from prism_mri.evaluate.files import check_results_folder
from prism_mri.evaluate.paper.results import PaperResults, PaperSettings
from prism_mri.evaluate.paper.run import PaperInputs, evaluate_paper
from prism_mri.evaluate.paper.stages import Progress as StageProgress
from prism_mri.files import write_whole
from prism_mri.layouts import Layout, compare_counts
from prism_mri.models.site_model import DESCRIPTION_NAME, read_model
from prism_mri.models.translator import Translator
from prism_mri.preprocessing.brain_extraction import Extraction
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.report import write_report
from prism_mri.training.anchored import AnchoredSettings, train_anchored

Say = Callable[[str], None]
Stage = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
"""Opens a progress display for (title, unit)."""

TARGET: Final = "guys"
"""As in the paper, "due to its higher SNR"."""
REPORT_NAME: Final = "report.html"
OPTIONS_NAME: Final = "reproduce.json"
_TEST_FRACTION = 0.1
_LAYOUTS: Final[dict[str, Layout]] = {"guys": "ixi", "hh": "ixi", "adni": "adni"}


@dataclass(frozen=True)
class RawData:
    """The downloads.

    Attributes:
        ixi: folder of IXI's T2 archive.
        adni: folder of the ADNI archive.
        brain_mask: pattern of brain masks; None for stripped images.
        labels: pattern of tissue labels, for Table 3; None leaves them to FSL FAST, or else to the
            shipped anatomy encoder.
        extraction: how heads without a mask are stripped.
    """

    ixi: Path
    adni: Path
    brain_mask: str | None = None
    labels: str | None = None
    extraction: Extraction = "none"


def reproduce(
    raw: RawData,
    out: Path,
    *,
    translator: Translator,
    training: AnchoredSettings,
    settings: PaperSettings,
    stage: Stage,
    stages: StageProgress,
    say: Say,
    overwrite: bool = False,
) -> PaperResults:
    """Prepare guys, hh and adni, train each, harmonize to guys, and compute the paper's tables.

    Whole volumes are prepared and harmonized where the paper took one slice of each; networks and
    distances look at as many slices as ``settings`` says. Nine tenths of the people are trained on,
    the others tested, as there. What is finished stays, and a run that was killed goes on.

    Args:
        raw: the downloads.
        out: folder for ``prepared/``, ``models/``, ``guys.prism``, results and ``report.html``.
        translator: the shipped one.
        training: settings of the sites' training.
        settings: of the tables.
        stage: opens progress displays of preparing.
        stages: told of the evaluation's progress.
        say: gets lines to show: counts beside the paper's, images that were left out.
        overwrite: replace earlier results.

    Returns:
        What was written to results.json.

    Raises:
        InputError: a download cannot be used, a site has no usable image, or results stand there.
        ConfigError: the folder was begun with other options.

    Source:
        Galada et al. 2024, arXiv 2411.06513, sections 2.1 and 3.
    """
    check_results_folder(out, overwrite=overwrite)
    _check_options(out, raw, training, settings.seed)
    prepared = {
        site: _prepare(site, layout, raw, out, seed=settings.seed, stage=stage, say=say)
        for site, layout in _LAYOUTS.items()
    }
    counts = {site: read_prepared(folder).manifest.people for site, folder in prepared.items()}
    for line in compare_counts(counts):
        say(line)
    models = {
        site: _train(site, folder, out, translator, training, seed=settings.seed, say=say)
        for site, folder in prepared.items()
    }
    card_file = out / f"{TARGET}.prism"
    small = counts[TARGET] < MIN_PEOPLE
    publish_card(models[TARGET], card_file, private_key=None, local_only=small, overwrite=True)
    inputs = PaperInputs(tuple(prepared.values()), models=tuple(models.values()))
    card = read_card(card_file, allow_unsigned=True)
    results = evaluate_paper(
        inputs, card, translator, out, settings=settings, overwrite=overwrite, progress=stages
    )
    write_report(out, out / REPORT_NAME, overwrite=True)
    return results


def _check_options(out: Path, raw: RawData, training: AnchoredSettings, seed: int) -> None:
    """Refuse to go on with sites that other options made; note the options where there are none."""
    asked = {
        "ixi": str(raw.ixi),
        "adni": str(raw.adni),
        "brain mask": raw.brain_mask,
        "labels": raw.labels,
        "training": training.model_dump(mode="json"),
        "seed": seed,
    }
    path = out / OPTIONS_NAME
    if not path.exists():
        write_whole(path, (json.dumps(asked, indent=1) + "\n").encode())
        return
    stood = json.loads(path.read_text())
    changed = [name for name, value in asked.items() if stood.get(name) != value]
    if changed:
        raise ConfigError(
            f"{out} was begun with other options ({', '.join(changed)}): give another --out, or the"
            f" options that {path} names"
        )


def _prepare(
    site: str, layout: Layout, raw: RawData, out: Path, *, seed: int, stage: Stage, say: Say
) -> Path:
    """Prepare a site, unless it has been; images that cannot be used are named and left out."""
    folder = out / "prepared" / site
    if (folder / PREPARED_MANIFEST).exists():
        say(f"{site}: prepared already, in {folder}")
        return folder
    skipped: list[str] = []
    with stage(f"prepare {site}", "image") as progress:
        prepare_site(
            [raw.ixi if layout == "ixi" else raw.adni],
            folder,
            site=site,
            layout=layout,
            contract=PreprocessingContract.for_modality("T2w"),
            brain_mask=raw.brain_mask,
            extraction=raw.extraction,
            labels=raw.labels,
            validation_fraction=_TEST_FRACTION,
            seed=seed,
            skip=skipped.append,
            progress=progress,
        )
    for text in skipped:
        say(f"left out: {text}")
    return folder


def _train(
    site: str,
    prepared: Path,
    out: Path,
    translator: Translator,
    training: AnchoredSettings,
    *,
    seed: int,
    say: Say,
) -> Path:
    """Train a site, unless it has been; a training that was killed goes on."""
    model = out / "models" / site
    if (model / DESCRIPTION_NAME).exists() and read_model(model)[0].complete:
        return model
    train_anchored(
        prepared,
        model,
        training,
        translator=translator,
        seed=seed,
        resume=model.exists(),
        report=lambda line: say(f"train {site}: {line}"),
    )
    return model
