"""Audit a trained model: what would each kind of card that it can give tell of its people?"""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field, ValidationError

from prism_mri import __version__
from prism_mri.card import SiteCard, publish_card, read_card
from prism_mri.config import FrozenModel, describe_validation_error
from prism_mri.data.prepared import PreparedDataset, PreparedImage, read_prepared
from prism_mri.errors import InputError, PrivacyError
from prism_mri.files import write_whole
from prism_mri.harmonize.volume import encode_anatomy
from prism_mri.models.site_model import (
    WEIGHTS_NAME,
    CardKind,
    ModelDescription,
    SiteName,
    read_model,
)
from prism_mri.models.style import select_style_slices
from prism_mri.models.translator import Translator
from prism_mri.preprocessing.conform import brain_box
from prism_mri.privacy.attacks import ATTACKS, Knowledge, Person
from prism_mri.privacy.membership import Leak, measure_leak
from prism_mri.training.loop import CONFIG_NAME
from prism_mri.training.site import read_training_data

AUDIT_NAME = "audit.json"
MIN_PEOPLE = 2
"""Members, and others, below which nothing can be measured."""

Progress = Callable[[int, int], None]


class KindAudit(FrozenModel):
    """What a card of one kind gives away."""

    kind: CardKind
    card_bytes: int
    leaks: tuple[Leak, ...]

    @property
    def worst(self) -> Leak:
        """Return the attack that achieves most."""
        return max(self.leaks, key=lambda leak: leak.auc)

    def describe(self) -> str:
        """Return one plain sentence."""
        worst = self.worst
        return (
            f"With a card of kind {self.kind}, somebody who holds the scans of a person trained on "
            f"and of one who was not tells which is which in {worst.auc:.0%} of tries "
            f"({worst.auc_low:.0%} to {worst.auc_high:.0%}; 50% is guessing)."
        )


class AuditResults(FrozenModel):
    """Results of an audit; numbers only, nobody is named."""

    schema_version: Literal[1] = 1
    site: SiteName
    model_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the model's weights, so that an audit is not taken for another model's."""
    members: int
    others: int
    seed: int
    software: str
    kinds: tuple[KindAudit, ...]


def audit_model(
    model: Path,
    prepared: Path,
    held_out: Sequence[Path],
    *,
    translator: Translator,
    seed: int = 0,
    progress: Progress = lambda _done, _total: None,
) -> AuditResults:
    """Attack the cards that a model can give, and leave ``audit.json`` in its folder.

    Members are the people that it was trained on; others are those whom ``prepared`` held out, and
    everybody of ``held_out`` who is not in ``prepared``.

    Args:
        model: folder that ``prism-mri train`` left, recipe ``anchored``.
        prepared: what it was trained on.
        held_out: prepared datasets of other people of the same site.
        translator: the shipped networks, which the attacker has too.
        seed: of the bootstrap.
        progress: called with attacks done and attacks in all.

    Raises:
        InputError: the model cannot be read or is of recipe ``paper``, the data is not what it was
            trained on or otherwise prepared, or there are too few people.
    """
    description, _ = read_model(model)
    members, others = _read_people(model, description, prepared, held_out)
    encoder = translator.networks.anatomy_encoder
    known = tuple([read_person(images, encoder) for images in part] for part in (members, others))
    kinds: tuple[CardKind, ...] = (description.kind,)
    if description.kind != "style":
        kinds += ("style",)
    total = len(kinds) * len(ATTACKS)
    audits = []
    for done, kind in enumerate(kinds):
        card, size = _make_card(model, kind, translator)
        shipped = translator.networks
        knowledge = Knowledge(
            card.style_encoder,
            card.decoder,
            card.style_mean,
            shipped.style_encoder,
            shipped.decoder,
        )
        leaks = attack_card(knowledge, *known, seed=seed)
        audits.append(KindAudit(kind=kind, card_bytes=size, leaks=leaks))
        progress((done + 1) * len(ATTACKS), total)
    results = AuditResults(
        site=description.site,
        model_sha256=_digest_weights(model),
        members=len(members),
        others=len(others),
        seed=seed,
        software=f"prism-mri {__version__}",
        kinds=tuple(audits),
    )
    text = results.model_dump_json(indent=2) + "\n"
    write_whole(model / AUDIT_NAME, text.encode("utf-8"), overwrite=True)
    return results


def attack_card(
    knowledge: Knowledge, members: Sequence[Person], others: Sequence[Person], *, seed: int
) -> tuple[Leak, ...]:
    """Run every attack on one card."""
    leaks = []
    for name, attack in ATTACKS.items():
        scores = attack(knowledge, members, others)
        split = scores[: len(members)], scores[len(members) :]
        leaks.append(measure_leak(name, *split, np.random.default_rng(seed)))
    return tuple(leaks)


def check_leakage(model: Path, kind: CardKind | None, limit: float) -> None:
    """Refuse a card that its model's audit finds to give away more than a limit.

    Args:
        model: folder of an audited model.
        kind: of the card; None for what the model was trained as.
        limit: AUC that no attack's upper bound may exceed, 0.5 to 1.

    Raises:
        InputError: the model was not audited, or trained again since.
        PrivacyError: an attack may exceed the limit.
    """
    wanted = kind or read_model(model)[0].kind
    results = read_audit(model)
    audit = next((audit for audit in results.kinds if audit.kind == wanted), None)
    if audit is None or results.model_sha256 != _digest_weights(model):
        raise InputError(
            f"{model / AUDIT_NAME} is of another model, or does not have cards of kind {wanted}: "
            "run 'prism-mri audit' again"
        )
    worst = max(audit.leaks, key=lambda leak: leak.auc_high)
    if worst.auc_high > limit:
        raise PrivacyError(
            f"{model}: a card of kind {wanted} may give away who was trained on: attack "
            f"'{worst.attack}' has AUC {worst.auc:.2f}, upper bound {worst.auc_high:.2f}, above "
            f"--max-leakage {limit:g}: publish a smaller --kind, train on more people, or audit "
            "with more held-out people for a tighter bound"
        )


def read_audit(model: Path) -> AuditResults:
    """Read what :func:`audit_model` left.

    Raises:
        InputError: there is no audit, or a damaged one.
    """
    path = model / AUDIT_NAME
    try:
        return AuditResults.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{model} was not audited ({error.strerror}): run 'prism-mri audit' first"
        ) from error
    except ValidationError as error:
        raise InputError(f"{path}: {describe_validation_error(error)}: audit again") from error


People = list[list[PreparedImage]]
"""Images by person."""


def _read_people(
    model: Path, description: ModelDescription, prepared: Path, held_out: Sequence[Path]
) -> tuple[People, People]:
    if description.recipe != "anchored":
        raise InputError(f"{model} is of recipe {description.recipe}: audits are for anchored")
    dataset = read_prepared(prepared)
    if read_training_data(model) != dataset.manifest.model_dump(mode="json"):
        raise InputError(
            f"{model / CONFIG_NAME} says that the model was not trained on {prepared}: give the "
            "prepared dataset that it was trained on"
        )
    members = group_people(dataset.split("train"))
    others = (
        group_people(dataset.split("validation")) if dataset.manifest.held_out == "people" else []
    )
    present = {image.subject for image in dataset.items}
    for folder in held_out:
        others += _read_others(folder, dataset, present)
    if min(len(members), len(others)) < MIN_PEOPLE:
        raise InputError(
            f"an audit compares people, and there are {len(members)} trained on and {len(others)} "
            "others: give prepared scans of more people with --held-out"
        )
    return members, others


def _read_others(folder: Path, dataset: PreparedDataset, present: set[str]) -> People:
    other = read_prepared(folder)
    if (other.manifest.site, other.manifest.contract) != (
        dataset.manifest.site,
        dataset.manifest.contract,
    ):
        raise InputError(
            f"{folder} is of site {other.manifest.site} or prepared otherwise than the training "
            f"data of {dataset.manifest.site}: prepare held-out people as those trained on"
        )
    return group_people(image for image in other.items if image.subject not in present)


def group_people(images: Iterable[PreparedImage]) -> People:
    """Gather images by person, in their order."""
    people: dict[str, list[PreparedImage]] = {}
    for image in images:
        people.setdefault(image.subject, []).append(image)
    return list(people.values())


def read_person(images: Sequence[PreparedImage], encoder: torch.nn.Module) -> Person:
    """Read the slices that a person's style would be read from, of all their images."""
    loaded = [image.load() for image in images]
    chosen = [select_style_slices(mask) for _, mask in loaded]
    slices, mask = (
        np.concatenate([part[at] for part, at in zip(parts, chosen, strict=True)])
        for parts in zip(*loaded, strict=True)
    )
    rows, columns = brain_box(mask)
    cut, inside = (np.ascontiguousarray(stack[:, rows, columns]) for stack in (slices, mask))
    return Person(cut, inside, encode_anatomy(cut, encoder))


def _make_card(model: Path, kind: CardKind, translator: Translator) -> tuple[SiteCard, int]:
    """Publish and read back: what is attacked is what would travel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "card.prism"
        publish_card(
            model, path, private_key=None, kind=kind, local_only=True, translator=translator
        )
        return (
            read_card(path, allow_unsigned=True, translator=translator),
            path.stat().st_size,
        )


def _digest_weights(model: Path) -> str:
    return hashlib.sha256((model / WEIGHTS_NAME).read_bytes()).hexdigest()
