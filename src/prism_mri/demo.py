"""The whole path on simulated sites: from simulating over training and harmonizing to a report."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from prism_mri.card import SiteCard, generate_key_pair, publish_card, read_card
from prism_mri.config import PreprocessingContract
from prism_mri.errors import InputError
from prism_mri.evaluate.results import TravellingResults
from prism_mri.evaluate.travelling import evaluate_travelling
from prism_mri.files import write_whole
from prism_mri.harmonize import harmonize_inputs
from prism_mri.models.translator import Translator
from prism_mri.preprocessing.prepare import prepare_site
from prism_mri.report import write_report
from prism_mri.simulate.cohort import CohortPlan, simulate_cohort
from prism_mri.training.anchored import AnchoredSettings, train_anchored

Say = Callable[[str], None]
Stage = Callable[[str, str], AbstractContextManager[Callable[[int, int], None]]]
"""Opens a progress display for (title, unit)."""

_KEYS, _TRUST = "keys", "trust"


@dataclass(frozen=True)
class StudyPlan:
    """What to run.

    Attributes:
        cohort: whom and what to simulate.
        training: settings of the sites' training.
        harmonize_to: site whose card the others use on all of their own scans; None to skip that.
        local_only: mark the cards, where a site has fewer than ten people.
    """

    cohort: CohortPlan = field(default_factory=CohortPlan)
    training: AnchoredSettings = field(default_factory=AnchoredSettings)
    harmonize_to: str | None = None
    local_only: bool = False


def plan_demo(*, quick: bool, seed: int = 0) -> StudyPlan:
    """Return the demo's plan: three sites of ten people and four travellers, all of the template.

    Args:
        quick: four people a site (so the cards are local-only), fewer slices and the shortest
            training, to see the path rather than the quality.
        seed: of everything.
    """
    cohort = CohortPlan(
        subjects=4 if quick else 10,
        travelling=2 if quick else 4,
        seed=seed,
        slice_spacing_mm=12.0 if quick else 6.0,
    )
    training = (
        AnchoredSettings(epochs=1, max_steps_per_epoch=8) if quick else AnchoredSettings(epochs=2)
    )
    return StudyPlan(cohort, training, harmonize_to=cohort.sites[0], local_only=quick)


def run_study(
    plan: StudyPlan, out: Path, *, translator: Translator, stage: Stage, say: Say
) -> TravellingResults:
    """Run the plan and leave every intermediate result in a folder.

    Args:
        plan: what to run.
        out: folder to make: ``data/``, ``prepared/``, ``models/``, ``keys/``, ``trust/``,
            ``SITE.prism``, ``harmonized/``, ``results.json`` and tables, ``report.html``.
        translator: the shipped one.
        stage: opens progress displays.
        say: gets lines to show.

    Returns:
        The scores, as in ``results.json``.

    Raises:
        InputError: ``out`` exists.
    """
    if out.exists():
        raise InputError(f"{out} exists already: remove it or choose another folder with --out")
    out.mkdir(parents=True)
    with stage("simulate", "scan") as progress:
        simulate_cohort(plan.cohort, out / "data", progress=progress)
    cards = {
        site: _make_card(site, plan, out, translator, stage, say) for site in plan.cohort.sites
    }
    if plan.harmonize_to is not None:
        sources = [out / "data" / site for site in plan.cohort.sites if site != plan.harmonize_to]
        for source in sources:
            with stage(f"harmonize {source.name} to {plan.harmonize_to}", "image") as progress:
                harmonize_inputs(
                    [source],
                    out / "harmonized" / f"{source.name}-to-{plan.harmonize_to}",
                    card=cards[plan.harmonize_to],
                    translator=translator,
                    progress=progress,
                )
    with stage("score", "pair") as progress:
        results = evaluate_travelling(
            out / "data" / "travelling",
            cards=cards,
            prepared={site: out / "prepared" / site for site in cards},
            anatomy_encoder=translator.networks.anatomy_encoder,
            out=out,
            seed=plan.cohort.seed,
            progress=progress,
        )
    write_report(out, out / "report.html")
    return results


def _make_card(
    site: str, plan: StudyPlan, out: Path, translator: Translator, stage: Stage, say: Say
) -> SiteCard:
    """Prepare, train and publish one site; read the card back as another site would."""
    with stage(f"prepare {site}", "image") as progress:
        prepare_site(
            [out / "data" / site],
            out / "prepared" / site,
            site=site,
            contract=PreprocessingContract.for_modality(plan.cohort.modality),
            seed=plan.cohort.seed,
            progress=progress,
        )
    train_anchored(
        out / "prepared" / site,
        out / "models" / site,
        plan.training,
        translator=translator,
        seed=plan.cohort.seed,
        report=lambda line: say(f"train {site}: {line}"),
    )
    private, public = generate_key_pair(out / _KEYS / site)
    write_whole(out / _TRUST / f"{site}.pem", public.read_bytes())
    path = out / f"{site}.prism"
    publish_card(out / "models" / site, path, private_key=private, local_only=plan.local_only)
    return read_card(path, trust=out / _TRUST)
