"""What each kind of card gives away with twenty people a site, and whether the attacks work at all.

    python tools/audit_kinds.py --out AUDITS [--people 20] [--others 40] [--shadow-models 8]

Simulates one site of people who are deformed copies of the embedded template (a different anatomy,
texture and noise each), trains every kind of card on some of them, and audits it with the others.
Controls: a model of kind full trained for long on five people must be caught; the same card
attacked with five people who were not trained on either must not.

Everything is cached under AUDITS; the table goes to stdout, ``audits.json`` holds its numbers.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from recipe_study import Study, is_complete

from prism_mri.data.prepared import PreparedImage, read_prepared
from prism_mri.data.subset import write_subset
from prism_mri.files import write_whole
from prism_mri.models.site_model import CardKind
from prism_mri.models.translator import Translator, read_translator
from prism_mri.privacy.audit import attack_card, audit_model, know_card, make_card
from prism_mri.privacy.people import group_people, read_person
from prism_mri.privacy.results import AUDIT_NAME, AuditResults, read_audit
from prism_mri.simulate.cohort import CohortPlan
from prism_mri.training.anchored import AnchoredSettings, train_anchored
from prism_mri.training.mechanism import PrivacySettings
from prism_mri.training.private import train_private

SITE = "guys"
MEMORIZED = 5


@dataclass(frozen=True)
class Run:
    """A model to audit."""

    name: str
    settings: AnchoredSettings
    members: int
    epsilon: float | None = None
    shadowed: bool = False
    """Also attacked by the likelihood ratio; its shadow models train as long as it did."""


def plan_runs(people: int) -> list[Run]:
    """Return the kinds, private ones, and last the positive control."""
    kinds: tuple[CardKind, ...] = ("full", "adapter", "style")
    runs = [Run(kind, AnchoredSettings(kind=kind), people) for kind in kinds]
    runs += [
        Run(f"{kind}, ε = {epsilon:g}", AnchoredSettings(kind=kind), people, epsilon)
        for kind in ("adapter", "style")
        for epsilon in (1.0, 8.0)
    ]
    # Of the kind that holds most; short, since every shadow model trains as long.
    short = AnchoredSettings(epochs=4, max_steps_per_epoch=40)
    runs.append(Run("full, 160 steps", short, people, shadowed=True))
    long = AnchoredSettings(epochs=60, patience=60, learning_rate=2e-3)
    return [*runs, Run("memorizing control", long, MEMORIZED)]


def make_site(out: Path, count: int, spacing_mm: float) -> list[list[PreparedImage]]:
    """Simulate and prepare a site, unless that was done; return images by person."""
    plan = CohortPlan(
        sites=(SITE,), subjects=count, travelling=0, seed=0, slice_spacing_mm=spacing_mm
    )
    study = Study(plan, out)
    study.simulate()
    return group_people(read_prepared(study.prepared(SITE)).items)


def split_site(out: Path, people: Sequence[Sequence[PreparedImage]], run: Run) -> tuple[Path, Path]:
    """Write members with two others to validate on, and the rest, as prepared datasets."""
    manifest = read_prepared(people[0][0].folder).manifest
    inside, outside = out / f"members-{run.members}", out / f"others-{run.members}"
    if not outside.exists():
        inside.mkdir()
        first = run.members
        write_subset(
            inside,
            manifest,
            train={i: people[i] for i in range(first)},
            validation={i: people[i] for i in (first, first + 1)},
        )
        outside.mkdir()
        rest = {i: people[i] for i in range(first + 2, len(people))}
        write_subset(outside, manifest, train=rest, validation={})
    return inside, outside


def train(run: Run, prepared: Path, model: Path, translator: Translator) -> None:
    """Train a run's model, unless it was."""
    if is_complete(model):
        return
    if run.epsilon is None:
        train_anchored(
            prepared,
            model,
            run.settings,
            translator=translator,
            resume=model.exists(),
            report=_say,
        )
    else:
        privacy = PrivacySettings(epsilon=run.epsilon)
        train_private(prepared, model, run.settings, privacy, translator=translator, report=_say)


def audit_run(
    run: Run,
    people: Sequence[Sequence[PreparedImage]],
    out: Path,
    translator: Translator,
    shadow_models: int,
) -> AuditResults:
    """Train and audit a run's model, unless that was done."""
    prepared, others = split_site(out, people, run)
    model = locate_model(run, out, translator)
    train(run, prepared, model, translator)
    if not (model / AUDIT_NAME).exists():
        asked = shadow_models if run.shadowed else 0
        audit_model(
            model, prepared, [others], translator=translator, shadow_models=asked, progress=_count
        )
    return read_audit(model)


def locate_model(run: Run, out: Path, translator: Translator) -> Path:
    """Return a run's model folder."""
    slug = run.name.replace(" ", "").replace(",", "-").replace("=", "")
    return out / f"model-{slug}-{run.members}-{translator.digest[:8]}"


def attack_strangers(
    people: Sequence[Sequence[PreparedImage]], model: Path, translator: Translator
) -> dict[str, list[float]]:
    """Return the AUC of every attack on a memorizing card for people whom it has never seen."""
    encoder = translator.networks.anatomy_encoder
    rest = [read_person(images, encoder) for images in people[MEMORIZED + 2 :]]
    card, _ = make_card(model, "full", translator)
    leaks = attack_card(know_card(card, translator), rest[:MEMORIZED], rest[MEMORIZED:], seed=0)
    return {leak.attack: [leak.auc, leak.auc_low, leak.auc_high] for leak in leaks}


def main() -> None:
    """Parse arguments, simulate, train, audit, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=20, help="trained on")
    parser.add_argument("--others", type=int, default=40, help="held out, two of them validated on")
    parser.add_argument("--shadow-models", type=int, default=8)
    parser.add_argument("--slice-spacing", type=float, default=5.0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    translator = read_translator()
    count = arguments.people + arguments.others
    people = make_site(arguments.out, count, arguments.slice_spacing)
    runs = plan_runs(arguments.people)
    results = {
        run.name: audit_run(run, people, arguments.out, translator, arguments.shadow_models)
        for run in runs
    }
    control = locate_model(runs[-1], arguments.out, translator)
    strangers = attack_strangers(people, control, translator)
    content = {
        "audits": {name: audit.model_dump(mode="json") for name, audit in results.items()},
        "negative control": strangers,
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write_whole(arguments.out / "audits.json", text.encode(), overwrite=True)
    sys.stdout.write(format_table(results, strangers))


def format_table(results: dict[str, AuditResults], strangers: dict[str, list[float]]) -> str:
    """Return AUC by card and attack as Markdown; every model's own kind alone."""
    attacks = list(
        dict.fromkeys(leak.attack for r in results.values() for leak in r.kinds[0].leaks)
    )
    lines = [
        f"| card | bytes | people | {' | '.join(attacks)} |",
        "|---" * (3 + len(attacks)) + "|",
    ]
    for name, audit in results.items():
        found = {
            leak.attack: (leak.auc, leak.auc_low, leak.auc_high) for leak in audit.kinds[0].leaks
        }
        cells = [_format(found[attack]) if attack in found else "–" for attack in attacks]
        size = f"{audit.kinds[0].card_bytes:,}"
        lines.append(
            f"| {name} | {size} | {audit.members} / {audit.others} | {' | '.join(cells)} |"
        )
    cells = [_format(strangers[a]) if a in strangers else "–" for a in attacks]
    lines.append(f"| negative control | – | {MEMORIZED} strangers | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _format(found: Sequence[float]) -> str:
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def _count(done: int, total: int) -> None:
    sys.stderr.write(f"audit: {done} of {total}\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
