"""The folder that a training leaves: a description (JSON) and the best weights (safetensors)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError, model_validator
from torch import nn

from prism_mri.config import (
    FrozenModel,
    Modality,
    Positive,
    PreprocessingContract,
    describe_validation_error,
)
from prism_mri.errors import CompatibilityError, InputError
from prism_mri.files import write_whole
from prism_mri.models.guarantee import PrivacyGuarantee
from prism_mri.models.probe import check_anatomy
from prism_mri.models.translator import Translator, compute_digest
from prism_mri.networks.registry import (
    AnatomyEncoderSpec,
    AnyAnatomySpec,
    AnyDecoderSpec,
    AnyStyleSpec,
    ConditionalDecoderSpec,
    ConvStyleEncoderSpec,
    DecoderSpec,
    LevelAnatomyEncoderSpec,
    StyleEncoderSpec,
    build_anatomy_encoder,
    freeze,
)

DESCRIPTION_NAME = "model.json"
WEIGHTS_NAME = "best.safetensors"

ANATOMY_PREFIX = "anatomy_encoder."
"""How the names begin of the site's own anatomy encoder: in every model of recipe ``paper``, in one
of recipe ``anchored`` where the site tuned it, in no card."""

STYLE_PRIOR_PREFIX = "style_prior."
"""``style_prior.mean`` and ``.std``: the site's styles as its own style encoder reads them."""
BASE_STYLE_PREFIX = "base_style."
"""``base_style.mean`` and ``.std``: the site's styles as the shipped style encoder reads them."""

RecipeName = Literal["anchored", "paper"]
CardKind = Literal["full", "adapter", "style"]
"""What of a site's networks is its own: both, adapters in the decoder, or only its styles."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Count = Annotated[int, Field(ge=0, le=10_000_000)]


class TrainingSummary(FrozenModel):
    """How a model came about; nothing in it tells of a single person."""

    seed: int
    epochs: Count
    steps: Count
    best_epoch: Count
    validation_ssim: Annotated[float, Field(ge=-1, le=1)] | None
    """Mean SSIM of reconstructed validation slices, data range 1.

    Inside the brain for recipe ``anchored``, over whole slices for ``paper``; None for a
    differentially private training, which validates on nobody.
    """
    versions: dict[Annotated[str, Field(max_length=32)], Annotated[str, Field(max_length=64)]]


class ModelNetworks(FrozenModel):
    """Networks that were trained together, and the anatomy that they speak of."""

    recipe: RecipeName = "anchored"
    anatomy_encoder: AnyAnatomySpec
    style_encoder: AnyStyleSpec
    decoder: AnyDecoderSpec
    anatomy_digest: Sha256
    """Digest of the anatomy encoder that the decoder was trained with.

    The translator's for recipe ``anchored``, which names the anatomy space also where a site tuned
    its encoder; the site's own for ``paper``.
    """
    kind: CardKind = "full"
    """What is the site's own; always ``full`` for recipe ``paper``."""
    base_digest: Sha256 | None = None
    """Digest of the shipped style encoder and decoder, which a smaller kind builds on."""

    @model_validator(mode="after")
    def _parts_fit_together(self) -> "ModelNetworks":
        anatomy, style, decoder = self.anatomy_encoder, self.style_encoder, self.decoder
        kinds = _NETWORKS_OF_RECIPE[self.recipe]
        if (type(anatomy), type(style), type(decoder)) != kinds:
            raise ValueError(
                f"recipe {self.recipe} does not train {anatomy.name}, {style.name} and "
                f"{decoder.name}"
            )
        if style.style_dim != decoder.style_dim:
            raise ValueError(
                f"style encoder gives {style.style_dim} numbers, decoder takes {decoder.style_dim}"
            )
        given, taken = (getattr(part, "free_channels", 0) for part in (anatomy, decoder))
        if given != taken:
            raise ValueError(f"anatomy encoder gives {given} free channels, decoder takes {taken}")
        if self.kind != "full" and (self.recipe == "paper" or self.base_digest is None):
            raise ValueError(
                f"kind {self.kind} builds on shipped networks: it needs recipe anchored and their "
                "digest"
            )
        return self


_NETWORKS_OF_RECIPE: dict[RecipeName, tuple[type[FrozenModel], ...]] = {
    "anchored": (AnatomyEncoderSpec, StyleEncoderSpec, DecoderSpec),
    "paper": (LevelAnatomyEncoderSpec, ConvStyleEncoderSpec, ConditionalDecoderSpec),
}


class ModelDescription(ModelNetworks):
    """What a trained model is and fits to."""

    schema_version: Literal[1] = 1
    complete: bool = True
    """False while a training runs, and after one that was cut short."""
    site: SiteName
    modality: Modality = "T2w"
    contract: PreprocessingContract
    people: Annotated[int, Field(ge=1, le=10_000_000)]
    images: Count
    slices: Count
    intensity_scale: Positive
    """Native intensity units per 1.0 of the prepared scale, mean over images."""
    training: TrainingSummary
    guarantee: PrivacyGuarantee | None = None
    """Differential privacy, where the training gave any."""


def write_model(
    folder: Path, description: ModelDescription, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write description and best weights, each atomically.

    Args:
        folder: the model's folder, made if missing.
        description: what the model is.
        tensors: ``style_encoder.*``, ``decoder.*``, ``style_prior.mean`` and ``style_prior.std``;
            of recipe ``paper`` also ``anatomy_encoder.*``, of ``anchored`` ``base_style.mean``
            and ``base_style.std``, and ``anatomy_encoder.*`` where the site tuned it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_whole(folder / WEIGHTS_NAME, safetensors.torch.save(contiguous), overwrite=True)
    text = description.model_dump_json(indent=2) + "\n"
    write_whole(folder / DESCRIPTION_NAME, text.encode("utf-8"), overwrite=True)


def read_model(folder: Path) -> tuple[ModelDescription, dict[str, torch.Tensor]]:
    """Read what :func:`write_model` wrote.

    Raises:
        InputError: the folder holds no trained model, or a damaged one.
    """
    try:
        description = ModelDescription.model_validate_json((folder / DESCRIPTION_NAME).read_bytes())
        tensors = safetensors.torch.load((folder / WEIGHTS_NAME).read_bytes())
    except OSError as error:
        raise InputError(
            f"{folder} is not a trained model ({error.strerror}): run 'prism-mri train' first"
        ) from error
    except ValidationError as error:
        raise InputError(
            f"{folder / DESCRIPTION_NAME}: {describe_validation_error(error)}"
        ) from error
    except safetensors.SafetensorError as error:
        raise InputError(f"{folder / WEIGHTS_NAME} is damaged ({error}): train again") from error
    return description, tensors


def read_anatomy_encoder(folder: Path, translator: Translator) -> nn.Module:
    """Return the anatomy encoder that a model was trained with, in evaluation mode and frozen.

    Args:
        folder: the model.
        translator: whose anatomy a model of recipe ``anchored`` must speak of.

    Raises:
        InputError: the folder holds no trained model, or a damaged one.
        CompatibilityError: the model is of recipe ``anchored`` and of another translator, or brings
            an encoder of its own that has left the translator's anatomy space.
    """
    return find_anatomy_encoder(*read_model(folder), translator, folder)


def find_anatomy_encoder(
    description: ModelDescription,
    tensors: Mapping[str, torch.Tensor],
    translator: Translator,
    folder: Path,
) -> nn.Module:
    """Return the anatomy encoder of a model that has been read; see :func:`read_anatomy_encoder`.

    Args:
        description: the model's.
        tensors: the model's.
        translator: whose anatomy a model of recipe ``anchored`` must speak of.
        folder: where it was read from, for messages.
    """
    if description.recipe == "anchored":
        if description.anatomy_digest != translator.digest:
            raise CompatibilityError(
                f"{folder} was trained on another translator than this version ships: train again"
            )
        if not has_own_anatomy(tensors):
            return translator.networks.anatomy_encoder
        # The digest names the anatomy space. Only the probe says that the encoder lies in it.
        own = _build_own(description, tensors, folder)
        check_anatomy(own, translator, str(folder / WEIGHTS_NAME))
        return own
    if compute_digest(_select(tensors, ANATOMY_PREFIX)) != description.anatomy_digest:
        raise InputError(
            f"{folder / WEIGHTS_NAME} does not hold the anatomy encoder that {DESCRIPTION_NAME} "
            "names: train again"
        )
    return _build_own(description, tensors, folder)


def has_own_anatomy(tensors: Mapping[str, torch.Tensor]) -> bool:
    """Return whether a model brings an anatomy encoder of its own."""
    return any(name.startswith(ANATOMY_PREFIX) for name in tensors)


def _build_own(
    description: ModelDescription, tensors: Mapping[str, torch.Tensor], folder: Path
) -> nn.Module:
    # Fresh weights are drawn before they are replaced: the caller's random state must not move.
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = build_anatomy_encoder(description.anatomy_encoder)
    load_part(network, ANATOMY_PREFIX, tensors, folder)
    return network


def load_part(
    network: nn.Module, prefix: str, tensors: Mapping[str, torch.Tensor], folder: Path
) -> None:
    """Fill one network of a model with its tensors; then it is in evaluation mode and frozen.

    Args:
        network: of the model's specification.
        prefix: how the names of its tensors begin, ``decoder.`` for instance.
        tensors: the model's.
        folder: where they were read from, for messages.

    Raises:
        InputError: the tensors are not those of the network.
    """
    try:
        network.load_state_dict(_select(tensors, prefix))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{folder / WEIGHTS_NAME} is damaged ({reason}): train again") from error
    freeze(network)


def _select(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
