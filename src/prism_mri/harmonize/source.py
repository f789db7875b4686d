"""Whose anatomy encoder reads the source, and whether a card can go with it."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from prism_mri.card import SiteCard, check_compatible
from prism_mri.config import Modality, PreprocessingContract
from prism_mri.errors import CompatibilityError
from prism_mri.models.site_model import RecipeName, find_anatomy_encoder, read_model
from prism_mri.models.translator import Translator, compute_digest


@dataclass(frozen=True, eq=False)
class SourceAnatomy:
    """What turns the source's images into anatomy.

    Attributes:
        encoder: in evaluation mode.
        digest: SHA-256 that names the anatomy space: of the translator's encoder for "anchored",
            of the site's own for "paper".
        encoder_digest: SHA-256 of the encoder's tensors, another where a site tuned the
            translator's.
        recipe: "anchored" for the translator's anatomy, "paper" for a site's own.
        contract: how images must be prepared for a site's own; None for the translator's, which
            takes them as the card says.
    """

    encoder: nn.Module
    digest: str
    encoder_digest: str
    recipe: RecipeName
    contract: PreprocessingContract | None = None


def read_source_anatomy(model: Path | None, translator: Translator) -> SourceAnatomy:
    """Return the anatomy encoder of the source's model, or the translator's where there is none.

    Raises:
        InputError: the folder holds no trained model, or a damaged one.
        CompatibilityError: the model is of another translator, or its own encoder has left the
            translator's anatomy space.
    """
    digest = translator.digest
    if model is None:
        return SourceAnatomy(translator.networks.anatomy_encoder, digest, digest, "anchored")
    description, tensors = read_model(model)
    encoder = find_anatomy_encoder(description, tensors, translator, model)
    own = description.contract if description.recipe == "paper" else None
    used = compute_digest(encoder.state_dict())
    return SourceAnatomy(encoder, description.anatomy_digest, used, description.recipe, own)


def check_source(
    card: SiteCard, source: SourceAnatomy, modality: Modality, *, any_modality: bool
) -> tuple[str, ...]:
    """Refuse a card that the source's anatomy or modality does not go with.

    Args:
        card: the target's.
        source: what reads the source's images.
        modality: of the source's images.
        any_modality: warn of another modality instead of refusing it.

    Returns:
        What makes every result doubtful, one line each.

    Raises:
        CompatibilityError: other recipe, anatomy space, preparation or modality.
    """
    _check_recipe(card, source)
    manifest = card.manifest
    check_compatible(card, source.digest, manifest.modality)
    warnings = []
    own = source.contract
    for named in sorted({modality, own.modality if own else modality} - {manifest.modality}):
        line = f"card of {manifest.site} is for {manifest.modality}, images or model are {named}"
        if not any_modality:
            raise CompatibilityError(
                f"{line}: take a card of that modality, or pass --any-modality"
            )
        warnings.append(line)
    if own is not None and own.modality == manifest.modality and own != manifest.contract:
        raise CompatibilityError(
            f"the card of {manifest.site} asks for images prepared otherwise than those that "
            "--model was trained on: prepare and train again under the card's contract"
        )
    if source.digest != manifest.anatomy_digest:
        warnings.append(
            f"this site's anatomy encoder and that of {manifest.site} were trained independently: "
            "they may number tissues in another order, and the contrast may come out inverted"
        )
    return tuple(warnings)


def _check_recipe(card: SiteCard, source: SourceAnatomy) -> None:
    manifest = card.manifest
    if manifest.recipe == source.recipe:
        return
    if manifest.recipe == "paper":
        raise CompatibilityError(
            f"the card of {manifest.site} is of recipe paper, which reads anatomy from the "
            f"source's own encoder, not from one of recipe {source.recipe}: train with "
            "'prism-mri train --recipe paper' and give that model with --model"
        )
    raise CompatibilityError(
        f"--model is of recipe {source.recipe}, the card of {manifest.site} of recipe "
        f"{manifest.recipe}: leave --model out"
    )
