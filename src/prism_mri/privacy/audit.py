"""Audit a trained model: what would each kind of card that it can give tell of its people?"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float64

from prism_mri import __version__
from prism_mri.card import SiteCard, publish_card, read_card
from prism_mri.data.prepared import read_prepared
from prism_mri.errors import ConfigError
from prism_mri.files import write_whole
from prism_mri.models.site_model import CardKind, read_model
from prism_mri.models.translator import Translator
from prism_mri.privacy.attacks import (
    Knowledge,
    Person,
    attack_calibrated,
    attack_error,
    attack_style,
)
from prism_mri.privacy.inversion import attack_inversion
from prism_mri.privacy.membership import Leak, measure_leak
from prism_mri.privacy.people import read_people, read_person
from prism_mri.privacy.results import AUDIT_NAME, AuditResults, KindAudit, digest_weights
from prism_mri.privacy.shadow import (
    ATTACK_NAME,
    MIN_SHADOWS,
    Shadows,
    compute_likelihood_ratios,
    read_shadow_settings,
    score_shadows,
)

Progress = Callable[[int, int], None]
Attack = Callable[[Knowledge, Sequence[Person], Sequence[Person]], Float64[np.ndarray, " _P"]]

ATTACKS: Final[Mapping[str, Attack]] = {
    "reconstruction error": attack_error,
    "reconstruction error, calibrated": attack_calibrated,
    "style mean": attack_style,
    "inversion": attack_inversion,
}
"""Each gives a person one number; higher means "was trained on"."""


def audit_model(
    model: Path,
    prepared: Path,
    held_out: Sequence[Path],
    *,
    translator: Translator,
    shadow_models: int = 0,
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
        shadow_models: to train for the likelihood ratio on what is trained; 0 leaves it out. Each
            takes as long as the model did; they are kept, and an interrupted audit goes on.
        seed: of the bootstrap and the shadow models.
        progress: called with attacks and shadow models done, and in all.

    Raises:
        ConfigError: a number of shadow models that says nothing.
        InputError: the model cannot be read or is of recipe ``paper``, the data is not what it was
            trained on or otherwise prepared, or there are too few people.
    """
    if 0 < shadow_models < MIN_SHADOWS or shadow_models < 0:
        raise ConfigError(
            f"{shadow_models} shadow models say nothing of a person: give none, or {MIN_SHADOWS} "
            "or more"
        )
    description, _ = read_model(model)
    members, others = read_people(model, description, prepared, held_out)
    encoder = translator.networks.anatomy_encoder
    known = tuple([read_person(images, encoder) for images in part] for part in (members, others))
    kinds: tuple[CardKind, ...] = (description.kind,)
    if description.kind == "style":
        shadow_models = 0
    else:
        kinds += ("style",)
    total = len(kinds) * len(ATTACKS) + shadow_models
    audits = []
    for done, kind in enumerate(kinds):
        card, size = make_card(model, kind, translator)
        leaks = attack_card(know_card(card, translator), *known, seed=seed)
        audits.append(KindAudit(kind=kind, card_bytes=size, leaks=leaks))
        progress((done + 1) * len(ATTACKS), total)
    if shadow_models:
        leak = _attack_by_shadows(
            model,
            Shadows(
                read_prepared(prepared),
                [*members, *others],
                *read_shadow_settings(model),
                translator,
            ),
            known,
            count=shadow_models,
            seed=seed,
            progress=lambda done: progress(total - shadow_models + done, total),
        )
        audits[0] = audits[0].model_copy(update={"leaks": (*audits[0].leaks, leak)})
    results = AuditResults(
        site=description.site,
        model_sha256=digest_weights(model),
        members=len(members),
        others=len(others),
        seed=seed,
        software=f"prism-mri {__version__}",
        kinds=tuple(audits),
    )
    text = results.model_dump_json(indent=2) + "\n"
    write_whole(model / AUDIT_NAME, text.encode("utf-8"), overwrite=True)
    return results


def know_card(card: SiteCard, translator: Translator) -> Knowledge:
    """Return what an attacker who has a card can compute with."""
    shipped = translator.networks
    return Knowledge(
        shipped.anatomy_encoder,
        card.style_encoder,
        card.decoder,
        card.style_mean,
        shipped.style_encoder,
        shipped.decoder,
    )


def list_attacks(knowledge: Knowledge) -> tuple[str, ...]:
    """Return the attacks that say something of a card."""
    own, shipped = knowledge.decoder.state_dict(), knowledge.shipped_decoder.state_dict()
    if all(torch.equal(tensor, shipped[name]) for name, tensor in own.items()):
        return ("style mean",)
    return tuple(ATTACKS)


def attack_card(
    knowledge: Knowledge, members: Sequence[Person], others: Sequence[Person], *, seed: int
) -> tuple[Leak, ...]:
    """Run every attack that says something of a card."""
    leaks = []
    for name in list_attacks(knowledge):
        attack = ATTACKS[name]
        scores = attack(knowledge, members, others)
        split = scores[: len(members)], scores[len(members) :]
        leaks.append(measure_leak(name, *split, np.random.default_rng(seed)))
    return tuple(leaks)


def _attack_by_shadows(
    model: Path,
    shadows: Shadows,
    known: tuple[Sequence[Person], ...],
    *,
    count: int,
    seed: int,
    progress: Callable[[int], None],
) -> Leak:
    """Measure the likelihood ratio of everybody under a model's own kind of card."""
    everybody = [person for part in known for person in part]

    def take_statistic(folder: Path) -> Float64[np.ndarray, " _P"]:
        card, _ = make_card(folder, shadows.anchored.kind, shadows.translator)
        return attack_calibrated(know_card(card, shadows.translator), everybody, [])

    scores, inside = score_shadows(
        model, shadows, count, take_statistic, seed=seed, progress=progress
    )
    ratios = compute_likelihood_ratios(take_statistic(model), scores, inside)
    members = len(known[0])
    return measure_leak(
        ATTACK_NAME, ratios[:members], ratios[members:], np.random.default_rng(seed)
    )


def make_card(model: Path, kind: CardKind, translator: Translator) -> tuple[SiteCard, int]:
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
