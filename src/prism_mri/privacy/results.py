"""What an audit found, the file that it is kept in, and the limit that publishing holds it to."""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from prism_mri.config import FrozenModel, describe_validation_error
from prism_mri.errors import InputError, PrivacyError
from prism_mri.models.site_model import WEIGHTS_NAME, CardKind, SiteName, read_model
from prism_mri.privacy.membership import Leak

AUDIT_NAME = "audit.json"


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
    if audit is None or results.model_sha256 != digest_weights(model):
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


def digest_weights(model: Path) -> str:
    """Return the SHA-256 of a model's weights, hexadecimal."""
    return hashlib.sha256((model / WEIGHTS_NAME).read_bytes()).hexdigest()
