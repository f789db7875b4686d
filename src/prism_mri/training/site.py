"""What every recipe leaves at a site: the model's description, its style statistics, its end."""

import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import nn

import prism_mri
from prism_mri.data.prepared import PreparedDataset
from prism_mri.errors import InputError
from prism_mri.models.site_model import (
    DESCRIPTION_NAME,
    STYLE_PRIOR_PREFIX,
    ModelDescription,
    ModelNetworks,
    RecipeName,
    TrainingSummary,
    read_model,
    write_model,
)
from prism_mri.models.style import compute_style_prior, encode_volume_style, select_style_slices
from prism_mri.networks.registry import AnyStyleEncoder
from prism_mri.preprocessing.conform import brain_box
from prism_mri.training.loop import CHECKPOINT_NAME, CONFIG_NAME, LoopSettings, Outcome

StyleSlices = tuple[Float32[np.ndarray, "_K _H _W"], Bool[np.ndarray, "_K _H _W"]]
"""Slices ``(K, H, W)`` of one image, at most 16, in the box of its brain, and their masks."""


def check_model_folder(out: Path, *, recipe: RecipeName, resume: bool) -> None:
    """Refuse to train over a model.

    Raises:
        InputError: the folder holds one and no run is to be resumed, or it cannot be resumed: the
            model is of another recipe, or whole and without a checkpoint.
    """
    if not (out / DESCRIPTION_NAME).exists():
        return
    if not resume:
        raise InputError(
            f"{out} holds a model already: choose another --out, or go on with --resume"
        )
    description, _ = read_model(out)
    if description.recipe != recipe:
        raise InputError(
            f"{out} holds a model of recipe {description.recipe}, not {recipe}: choose another "
            "--out"
        )
    if description.complete and not (out / CHECKPOINT_NAME).exists():
        raise InputError(
            f"{out} holds a whole model without a checkpoint ({CHECKPOINT_NAME}) to go on from: "
            "choose another --out"
        )


def describe_model(
    dataset: PreparedDataset,
    networks: ModelNetworks,
    loop: LoopSettings,
    *,
    epoch: int,
    score: float | None,
) -> ModelDescription:
    """Return the description of a model in training.

    Args:
        dataset: what it is trained on.
        networks: recipe, specifications of the networks, digest of the anatomy encoder.
        loop: seed and length of an epoch.
        epoch: that the weights are of.
        score: of that epoch; None where nobody was validated on.
    """
    manifest = dataset.manifest
    return ModelDescription(
        **dict(networks),
        complete=False,
        site=manifest.site,
        modality=manifest.contract.modality,
        contract=manifest.contract,
        people=manifest.people,
        images=len(manifest.images),
        slices=sum(len(item.slices) for item in dataset.items),
        intensity_scale=float(np.mean([image.scale for image in manifest.images])),
        training=TrainingSummary(
            seed=loop.seed,
            epochs=epoch,
            steps=epoch * loop.steps_per_epoch,
            best_epoch=epoch,
            validation_ssim=score,
            versions={
                "prism-mri": prism_mri.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        ),
    )


def read_style_slices(dataset: PreparedDataset) -> list[StyleSlices]:
    """Read, of each image trained on, the slices that its style is read from."""
    read = []
    for image in dataset.split("train"):
        slices, mask = image.load()
        chosen = select_style_slices(mask)
        rows, columns = brain_box(mask[chosen])
        cut, inside = (
            np.ascontiguousarray(stack[chosen][:, rows, columns]) for stack in (slices, mask)
        )
        read.append((cut, inside))
    return read


@torch.no_grad()
def encode_styles(
    people: list[StyleSlices],
    anatomy_encoder: nn.Module,
    style_encoder: AnyStyleEncoder,
    device: torch.device,
) -> list[torch.Tensor]:
    """Return the style ``(Z,)`` of every image, on the CPU; see :func:`export_style_prior`."""
    styles = []
    for cut, inside in people:
        anatomy = anatomy_encoder(torch.from_numpy(cut)[:, None].to(device))
        styles.append(encode_volume_style(cut, inside, anatomy, style_encoder).cpu())
    return styles


def export_style_prior(
    people: list[StyleSlices],
    anatomy_encoder: nn.Module,
    style_encoder: AnyStyleEncoder,
    device: torch.device,
    *,
    prefix: str = STYLE_PRIOR_PREFIX,
) -> dict[str, torch.Tensor]:
    """Return ``style_prior.mean`` and ``style_prior.std``, ``(Z,)`` each.

    Args:
        people: of :func:`read_style_slices`.
        anatomy_encoder: gives the style encoder the anatomy of ``(K, 1, H, W)`` slices.
        style_encoder: in evaluation mode.
        device: of both.
        prefix: of the names.
    """
    styles = encode_styles(people, anatomy_encoder, style_encoder, device)
    mean, deviation = compute_style_prior(styles)
    return {f"{prefix}mean": mean, f"{prefix}std": deviation}


def read_training_data(model: Path) -> dict[str, Any]:
    """Return the manifest of the prepared dataset that a model was trained on, as JSON.

    Raises:
        InputError: the folder does not say, or is damaged.
    """
    path = model / CONFIG_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{model} is not a trained model ({error.strerror}): run 'prism-mri train' first"
        ) from error
    except ValueError as error:
        raise InputError(f"{path} is no valid JSON ({error}): train again") from error
    data = content.get("data") if isinstance(content, dict) else None
    if not isinstance(data, dict):
        raise InputError(f"{path} does not say what data the model was trained on: train again")
    return data


def mark_complete(out: Path, outcome: Outcome) -> None:
    """Say in the model's description that training ended, and after how much of it."""
    description, tensors = read_model(out)
    ran = {"epochs": outcome.epochs, "steps": outcome.steps}
    summary = description.training.model_copy(update=ran)
    complete = description.model_copy(update={"complete": True, "training": summary})
    write_model(out, complete, tensors)
