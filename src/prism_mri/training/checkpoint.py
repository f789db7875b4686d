"""Checkpoints: everything a run needs to go on bit for bit, as safetensors with JSON metadata."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from prism_mri.errors import InputError
from prism_mri.files import write_whole

_STATE = "state"


def write_checkpoint(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    progress: Mapping[str, Any],
) -> None:
    """Write weights, optimizer, random state and progress, atomically.

    Args:
        path: file to write.
        modules: networks by name.
        optimizer: its per-parameter tensors are kept.
        generator: the run's source of randomness.
        progress: JSON-able numbers (epoch, step, best so far, configuration digest).
    """
    tensors = {
        f"{name}/{key}": tensor
        for name, module in modules.items()
        for key, tensor in module.state_dict().items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {
            f"optimizer/{index}/{key}": torch.as_tensor(value) for key, value in state.items()
        }
    tensors["generator"] = generator.get_state()
    contiguous = {
        name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()
    }
    metadata = {_STATE: json.dumps(dict(progress), sort_keys=True)}
    write_whole(path, safetensors.torch.save(contiguous, metadata), overwrite=True)


def read_checkpoint(
    path: Path,
    *,
    modules: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> dict[str, Any]:
    """Restore what :func:`write_checkpoint` wrote into the given objects and return the progress.

    Raises:
        InputError: the checkpoint is missing, damaged, or of other networks.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as stored:
            progress: dict[str, Any] = json.loads((stored.metadata() or {})[_STATE])
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        for name, module in modules.items():
            module.load_state_dict(_select(tensors, f"{name}/"))
        _restore_optimizer(optimizer, _select(tensors, "optimizer/"))
        generator.set_state(tensors["generator"])
    except (
        OSError,
        safetensors.SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"cannot resume from {path}: {reason}: train anew without --resume"
        ) from error
    return progress


def _select(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _restore_optimizer(
    optimizer: torch.optim.Optimizer, stored: Mapping[str, torch.Tensor]
) -> None:
    content = optimizer.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in stored.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**content, "state": state})
