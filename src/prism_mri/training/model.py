"""The folder that a training leaves: a description (JSON) and the best weights (safetensors)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import safetensors
import safetensors.torch
import torch
from pydantic import Field, ValidationError

from prism_mri.config import (
    FrozenModel,
    Modality,
    Positive,
    PreprocessingContract,
    describe_validation_error,
)
from prism_mri.errors import InputError
from prism_mri.files import write_whole
from prism_mri.networks.registry import AnatomyEncoderSpec, DecoderSpec, StyleEncoderSpec

DESCRIPTION_NAME = "model.json"
WEIGHTS_NAME = "best.safetensors"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SiteName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Count = Annotated[int, Field(ge=0, le=10_000_000)]


class TrainingSummary(FrozenModel):
    """How a model came about; nothing in it tells of a single person."""

    seed: int
    epochs: Count
    steps: Count
    best_epoch: Count
    validation_ssim: Annotated[float, Field(ge=-1, le=1)]
    """Mean SSIM of reconstruction inside the brain of the validation slices, data range 1."""
    versions: dict[Annotated[str, Field(max_length=32)], Annotated[str, Field(max_length=64)]]


class ModelDescription(FrozenModel):
    """What a trained model is and fits to."""

    schema_version: Literal[1] = 1
    recipe: Literal["anchored"] = "anchored"
    complete: bool = True
    """False while a training runs, and after one that was cut short."""
    site: SiteName
    modality: Modality = "T2w"
    contract: PreprocessingContract
    anatomy_encoder: AnatomyEncoderSpec
    style_encoder: StyleEncoderSpec
    decoder: DecoderSpec
    translator_digest: Sha256
    """Digest of the translator that defines the anatomy space."""
    people: Annotated[int, Field(ge=1, le=10_000_000)]
    images: Count
    slices: Count
    intensity_scale: Positive
    """Native intensity units per 1.0 of the prepared scale, mean over images."""
    training: TrainingSummary


def write_model(
    folder: Path, description: ModelDescription, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Write description and best weights, each atomically.

    Args:
        folder: the model's folder, made if missing.
        description: what the model is.
        tensors: ``style_encoder.*``, ``decoder.*``, ``style_prior.mean`` and ``style_prior.std``.
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
