"""What a person reads before they use or send a card."""

import math
from dataclasses import dataclass
from pathlib import Path

from prism_mri.card.manifest import CardManifest
from prism_mri.card.read import SiteCard, decode_card, read_card_bytes
from prism_mri.card.tensors import expect_card_tensors
from prism_mri.models.site_model import RecipeName

DISCLAIMER = "For research, not for diagnosis."

_OWNERS: dict[RecipeName, str] = {
    "anchored": "the translator's, common to all sites",
    "paper": "the site's own, which no other site has",
}
_REGIONS: dict[RecipeName, str] = {"anchored": "inside the brain", "paper": "whole slices"}


@dataclass(frozen=True, eq=False)
class CardSummary:
    """A card and its size; ``str()`` gives the text that ``prism-mri inspect`` prints."""

    card: SiteCard
    file_bytes: int
    numbers: int
    """Numbers that it holds: weights, normalization statistics and style statistics."""

    def __str__(self) -> str:
        """Return aligned lines, one a fact."""
        rows = [*_describe_origin(self.card), *self._describe_content(), *_describe_use(self.card)]
        width = max(len(label) for label, _ in rows)
        lines = [f"{label:<{width}}  {value}" for label, value in rows]
        return "\n".join([*lines, "", self.card.manifest.privacy, DISCLAIMER])

    def _describe_content(self) -> list[tuple[str, str]]:
        card = self.card
        return [
            ("networks", f"{card.manifest.style_encoder.name}, {card.manifest.decoder.name}"),
            ("numbers", f"{self.numbers:,}"),
            ("bytes", f"{self.file_bytes:,}"),
            ("digest", card.digest),
            ("signer", _describe_signer(card)),
        ]


def inspect_card(path: Path, trust: Path | None = None) -> CardSummary:
    """Read a card through every check and sum it up.

    Args:
        path: the card's file.
        trust: folder of public keys; if given, the card must be signed by one of them, exactly as
            harmonizing asks. Without it, unsigned cards and unknown signers are shown as what they
            are.

    Returns:
        The summary.

    Raises:
        InputError: the file or the folder cannot be read.
        CardError: the card is refused.
    """
    content = read_card_bytes(path)
    card = decode_card(content, source=str(path), trust=trust, allow_unsigned=trust is None)
    manifest = card.manifest
    table = expect_card_tensors(manifest.style_encoder, manifest.decoder, manifest.kind)
    numbers = sum(math.prod(entry.shape) for entry in table.values())
    return CardSummary(card, len(content), numbers)


def _describe_signer(card: SiteCard) -> str:
    if card.signed_by is None:
        return "not signed: nothing proves where it comes from"
    if card.signed_by.trusted_as is None:
        return f"{card.signed_by.fingerprint} (not compared with any trusted key: give --trust)"
    return f"{card.signed_by.fingerprint} (trusted: {card.signed_by.trusted_as})"


def _describe_origin(card: SiteCard) -> list[tuple[str, str]]:
    manifest = card.manifest
    local = "yes: it must not leave the site" if manifest.local_only else "no"
    return [
        ("site", manifest.site),
        ("modality", manifest.modality),
        ("kind", manifest.kind),
        ("recipe", manifest.recipe),
        ("people", str(manifest.people)),
        ("local-only", local),
        (
            "privacy",
            "not differentially private"
            if manifest.guarantee is None
            else manifest.guarantee.describe(),
        ),
        ("created by", manifest.created_by),
    ]


def _describe_validation(manifest: CardManifest) -> str:
    ssim = manifest.training.validation_ssim
    if ssim is None:
        return "not stated"
    return f"{ssim:.4f} (reconstruction, people held out; {_REGIONS[manifest.recipe]})"


def _describe_use(card: SiteCard) -> list[tuple[str, str]]:
    manifest, contract = card.manifest, card.manifest.contract
    training = manifest.training
    reference = contract.intensity_reference.replace("_", " ")
    grid = " × ".join(str(side) for side in contract.shape)
    versions = ", ".join(f"{name} {version}" for name, version in sorted(training.versions.items()))
    return [
        (
            "contract",
            f"version {contract.version}: {grid} pixels of {contract.spacing_mm:g} mm in plane",
        ),
        (
            "intensity",
            f"{reference} of the brain = {contract.intensity_value:g}; "
            f"1.0 = {manifest.intensity_scale:.6g} units of the site",
        ),
        ("anatomy encoder", f"{manifest.anatomy_digest} ({_OWNERS[manifest.recipe]})"),
        ("validation SSIM", _describe_validation(manifest)),
        (
            "training",
            f"seed {training.seed}, {training.epochs} epochs, {training.steps} steps, "
            f"best epoch {training.best_epoch}",
        ),
        ("versions", versions or "not stated"),
    ]
