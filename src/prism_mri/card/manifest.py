"""The manifest: what a card says about itself, and all that it may say."""

import json
import re
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from prism_mri.card.limits import MIN_PEOPLE
from prism_mri.card.strict_json import parse_strict_object, shorten
from prism_mri.config import (
    Modality,
    Positive,
    PreprocessingContract,
    describe_validation_error,
)
from prism_mri.errors import FormatError, PrivacyError
from prism_mri.models.guarantee import INTENSITY_SCALE, PrivacyGuarantee
from prism_mri.models.site_model import (
    CardKind,
    ModelDescription,
    ModelNetworks,
    Sha256,
    SiteName,
    TrainingSummary,
)

SCHEMA_VERSION = 3

_HELD: Final[dict[CardKind, str]] = {
    "full": "the weights of a style encoder and a decoder, style statistics",
    "adapter": "the weights of adapters to the shipped decoder, style statistics",
    "style": "style statistics",
}
PRIVACY_STATEMENTS: Final[dict[CardKind, str]] = {
    kind: f"Holds {held}, and the numbers of this manifest. "
    "Holds no image, no anatomy encoder, no subject identifier, no file name and no header text. "
    "Numbers that come from few people can tell of them: a card from fewer than 10 people is "
    "local-only."
    for kind, held in _HELD.items()
}
"""Fixed texts, so that a manifest has no room for any other."""

_PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+_-]{0,39}")
_MAX_VERSIONS = 16
_MAX_SEED = 2**64


class CardManifest(ModelNetworks):
    """What a site card says about itself; no field takes free text."""

    format: Literal["prism-mri site card"] = "prism-mri site card"
    """Bound by the signature: a signature made for anything else cannot serve a card."""
    schema_version: Literal[3] = 3
    site: SiteName
    modality: Modality
    contract: PreprocessingContract
    intensity_scale: Positive
    """Native intensity units of the site per 1.0 of the prepared scale."""
    people: Annotated[int, Field(ge=1, le=10_000_000)]
    """All prepared people of the site."""
    local_only: bool
    training: TrainingSummary
    guarantee: PrivacyGuarantee | None = None
    """Differential privacy; it holds for the manifest's own numbers as well."""
    tensors_sha256: Sha256
    """SHA-256 of the file's bytes behind the header."""
    privacy: str = Field(default_factory=lambda data: PRIVACY_STATEMENTS[data.get("kind", "full")])
    created_by: Annotated[str, Field(pattern=r"^prism-mri [0-9][0-9A-Za-z.+_-]{0,39}$")]

    @model_validator(mode="after")
    def _fixed_text(self) -> "CardManifest":
        if self.privacy != PRIVACY_STATEMENTS[self.kind]:
            raise ValueError("not the privacy statement of this schema version and kind")
        return self

    @field_validator("training")
    @classmethod
    def _no_free_text(cls, training: TrainingSummary) -> TrainingSummary:
        if len(training.versions) > _MAX_VERSIONS or abs(training.seed) > _MAX_SEED:
            raise ValueError(f"more than {_MAX_VERSIONS} versions, or a seed beyond 64 bits")
        for package, version in training.versions.items():
            if not _PACKAGE.fullmatch(package) or not _VERSION.fullmatch(version):
                raise ValueError(
                    f"versions hold {package!r}: {version!r}, which is no package and version"
                )
        return training

    @model_validator(mode="after")
    def _private_says_nothing_else(self) -> "CardManifest":
        if self.guarantee is None:
            return self
        told = (self.intensity_scale, self.training.validation_ssim, self.training.seed)
        if self.kind == "full" or told != (INTENSITY_SCALE, None, 0):
            raise ValueError("a differentially private card of full weights, units, score or seed")
        return self

    @model_validator(mode="after")
    def _contract_fits(self) -> "CardManifest":
        if self.contract.modality != self.modality:
            raise ValueError(
                f"modality {self.modality}, but its contract is for {self.contract.modality}"
            )
        return self


def build_manifest(
    description: ModelDescription,
    *,
    kind: CardKind,
    tensors_sha256: str,
    local_only: bool,
    version: str,
    source: str,
) -> CardManifest:
    """Take from a model's description what a card may say, field by field.

    Args:
        description: of the trained model.
        kind: of the card.
        tensors_sha256: digest of the tensors' bytes, hexadecimal.
        local_only: whether the card is to stay at its site.
        version: of this package.
        source: the model's folder, for messages.

    Raises:
        PrivacyError: the description holds something that a card has no room for.
    """
    try:
        return CardManifest(
            recipe=description.recipe,
            kind=kind,
            base_digest=None if kind == "full" else description.base_digest,
            site=description.site,
            modality=description.modality,
            contract=description.contract,
            anatomy_encoder=description.anatomy_encoder,
            style_encoder=description.style_encoder,
            decoder=description.decoder,
            anatomy_digest=description.anatomy_digest,
            intensity_scale=description.intensity_scale,
            people=description.people,
            local_only=local_only,
            training=_describe_training(description, kind),
            guarantee=description.guarantee,
            tensors_sha256=tensors_sha256,
            created_by=f"prism-mri {version}",
        )
    except ValidationError as error:
        raise PrivacyError(
            f"{source}: the model's description does not fit into a card "
            f"({shorten(describe_validation_error(error))}): train it again"
        ) from error


def _describe_training(description: ModelDescription, kind: CardKind) -> TrainingSummary:
    """Leave out what a style card does not hold: nothing of it was trained."""
    if kind != "style" or description.kind == "style":
        return description.training
    untrained = {"epochs": 0, "steps": 0, "best_epoch": 0, "validation_ssim": None}
    return description.training.model_copy(update=untrained)


def encode_manifest(manifest: CardManifest) -> bytes:
    """Return the bytes to be stored and signed: ASCII JSON, keys sorted, the same on every run."""
    content = manifest.model_dump(mode="json")
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode(
        "ascii"
    )


def parse_manifest(stored: bytes, source: str) -> CardManifest:
    """Parse a manifest whose signature has been dealt with.

    Args:
        stored: the manifest's bytes, size-limited.
        source: the card's file, for messages.

    Raises:
        FormatError: no strict JSON, an unknown schema version, or a field that is missing, unknown
            or out of range.
    """
    content = parse_strict_object(stored, "manifest", source)
    version = content.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise FormatError(
            f"{source}: card of unknown schema version {shorten(repr(version))}, this program "
            f"reads {SCHEMA_VERSION}: "
            "update prism-mri, or ask the site for a card of this version"
        )
    try:
        manifest = CardManifest.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise FormatError(
            f"{source}: manifest refused ({shorten(describe_validation_error(error))}): "
            "update prism-mri, or get the card again from its site"
        ) from error
    # A field left out would be filled with this program's default: not what the site meant.
    if manifest.model_dump(mode="json") != content:
        raise FormatError(
            f"{source}: the manifest leaves out fields: get the card again from its site"
        )
    return manifest


def check_people(*, people: int, local_only: bool, source: str) -> None:
    """Check the ten-person rule: a card from fewer people must be marked local-only.

    Raises:
        PrivacyError: too few people, and not marked.
    """
    if people < MIN_PEOPLE and not local_only:
        raise PrivacyError(
            f"{source}: trained on {people} people, fewer than {MIN_PEOPLE}, and so could tell of "
            "one of them: "
            "prepare more people, or publish with --local-only and keep the card at this site"
        )
