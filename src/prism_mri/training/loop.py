"""The one training loop: recipes say what to train on and how to score it, it does the rest."""

import hashlib
import json
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.optim.swa_utils import AveragedModel

from prism_mri.config import Fraction, FrozenModel, Positive
from prism_mri.errors import ConfigError, InputError
from prism_mri.files import write_whole
from prism_mri.training.checkpoint import read_checkpoint, write_checkpoint

_LOGGER = logging.getLogger(__name__)

CHECKPOINT_NAME = "last.safetensors"
CONFIG_NAME = "config.json"
LOG_NAME = "log.jsonl"

Losses = dict[str, torch.Tensor]


class LoopSettings(FrozenModel):
    """Settings of the loop that every recipe shares."""

    epochs: Annotated[int, Field(ge=0)]
    steps_per_epoch: Annotated[int, Field(ge=1)]
    learning_rate: Positive
    patience: Annotated[int, Field(ge=1)]
    """Epochs without a better validation score after which training stops."""
    stop_at_score: float | None = None
    """Validation score that is good enough: training ends with the epoch that reaches it."""
    seed: int = 0
    weight_averaging: Fraction = 0.99
    """Decay of the weights' exponential moving average, which is what is validated and kept."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    bfloat16: Literal["auto", "on", "off"] = "auto"


class Recipe(ABC):
    """What is trained on what.

    Attributes:
        module: everything that a gradient step changes.
    """

    module: nn.Module

    @abstractmethod
    def compute_losses(self, generator: torch.Generator) -> Losses:
        """Draw a batch and return the weighted loss terms by name; their sum is minimized."""

    @abstractmethod
    def validate(self, module: nn.Module) -> float:
        """Score averaged weights on held-out data; higher is better."""

    def set_training(self) -> None:
        """Put the module into the mode that gradient steps want."""
        self.module.train()


@dataclass(frozen=True)
class Outcome:
    """How a run went."""

    epochs: int
    steps: int
    best_epoch: int
    best_score: float


@dataclass
class _Progress:
    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf


SaveBest = Callable[[nn.Module, int, float], None]
Report = Callable[[str], None]


def select_device(name: str) -> torch.device:
    """Turn "auto", "cpu" or "cuda" into a device.

    Raises:
        ConfigError: CUDA is asked for and absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' asked for, but no GPU is usable: use --device auto or cpu")
    return torch.device(name)


def gains_from_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def run_loop(
    recipe: Recipe,
    settings: LoopSettings,
    folder: Path,
    *,
    save_best: SaveBest,
    resume: bool = False,
    configuration: Mapping[str, Any] | None = None,
    report: Report = _LOGGER.info,
) -> Outcome:
    """Train, validate after each epoch, keep the best, stop early, leave a checkpoint to resume.

    Args:
        recipe: what to train on what; already on its device.
        settings: length, rate, patience, what is good enough, seed.
        folder: gets ``last.safetensors``, ``log.jsonl`` and ``config.json``.
        save_best: called with the averaged module, epoch and score whenever the score is the best
            so far.
        resume: go on from ``last.safetensors`` if it is there.
        configuration: resolved configuration to save; a resumed run must have the same.
        report: gets one line an epoch.

    Returns:
        Length of the run and its best epoch.

    Raises:
        InputError: the checkpoint is of another configuration, or the loss is no longer finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {"loop": settings.model_dump(), **(configuration or {})}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    averaged = AveragedModel(
        recipe.module,
        avg_fn=partial(_average, limit=settings.weight_averaging),
        use_buffers=True,
    )
    optimizer = torch.optim.AdamW(
        recipe.module.parameters(), lr=settings.learning_rate, weight_decay=1e-4
    )
    generator = torch.Generator().manual_seed(settings.seed)
    state = {"module": recipe.module, "averaged": averaged}
    checkpoint, progress = folder / CHECKPOINT_NAME, _Progress()
    if resume and checkpoint.exists():
        progress = _resume(checkpoint, digest, state, optimizer, generator)
        _trim_log(folder / LOG_NAME, progress.epoch)
    else:
        # An earlier run's checkpoint must not be what this run is resumed from.
        checkpoint.unlink(missing_ok=True)
        (folder / LOG_NAME).unlink(missing_ok=True)
        # What the run starts from is a candidate too: training can never end below it.
        progress.best_score = recipe.validate(averaged.module)
        save_best(averaged.module, 0, progress.best_score)
        report(f"before training: score {progress.best_score:.4f}")
    write_whole(
        folder / CONFIG_NAME, (json.dumps(config, indent=2) + "\n").encode(), overwrite=True
    )
    started, first = time.monotonic(), progress.epoch
    while _goes_on(progress, settings):
        terms = _run_epoch(recipe, settings, averaged, optimizer, generator, progress.epoch)
        progress.epoch += 1
        score = recipe.validate(averaged.module)
        if score > progress.best_score:
            progress.best_epoch, progress.best_score = progress.epoch, score
            save_best(averaged.module, progress.epoch, score)
        _append_log(folder / LOG_NAME, {"epoch": progress.epoch, "score": score, **terms})
        write_checkpoint(
            checkpoint,
            modules=state,
            optimizer=optimizer,
            generator=generator,
            progress={**vars(progress), "configuration": digest},
        )
        report(_describe_epoch(progress, settings, terms, score, time.monotonic() - started, first))
    return Outcome(
        progress.epoch,
        progress.epoch * settings.steps_per_epoch,
        progress.best_epoch,
        progress.best_score,
    )


def _goes_on(progress: _Progress, settings: LoopSettings) -> bool:
    """Return whether there are epochs left, hope for a better score, and need of one."""
    enough = settings.stop_at_score is not None and progress.best_score >= settings.stop_at_score
    waited = progress.epoch - progress.best_epoch
    return progress.epoch < settings.epochs and waited < settings.patience and not enough


def _run_epoch(
    recipe: Recipe,
    settings: LoopSettings,
    averaged: AveragedModel,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    epoch: int,
) -> dict[str, float]:
    """Take an epoch's gradient steps and return the mean of every loss term."""
    device = next(recipe.module.parameters()).device
    use_bfloat16 = settings.bfloat16 == "on" or (
        settings.bfloat16 == "auto" and gains_from_bfloat16(device)
    )
    total_steps = settings.epochs * settings.steps_per_epoch
    sums: dict[str, float] = {}
    recipe.set_training()
    for step in range(settings.steps_per_epoch):
        rate = settings.learning_rate * one_cycle(
            epoch * settings.steps_per_epoch + step, total_steps
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        # The cache of cast weights lives as long as the context: entered per step, or the weights
        # go stale.
        with torch.autocast(device.type, torch.bfloat16, enabled=use_bfloat16):
            losses = recipe.compute_losses(generator)
        total = torch.stack(list(losses.values())).sum()
        if not torch.isfinite(total):
            raise InputError(
                f"the loss is no longer finite in epoch {epoch + 1}: lower the learning rate and "
                "train into another folder"
            )
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(recipe.module.parameters(), 1.0)
        optimizer.step()
        averaged.update_parameters(recipe.module)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
    return {name: value / settings.steps_per_epoch for name, value in sums.items()}


def _average(
    averaged: torch.Tensor, current: torch.Tensor, seen: torch.Tensor | int, *, limit: float
) -> torch.Tensor:
    """Move an average towards the current value, by a decay that grows with ``seen`` steps."""
    if not averaged.is_floating_point():
        return current
    decay = min(limit, (1 + int(seen)) / (10 + int(seen)))
    return torch.lerp(averaged, current, 1 - decay)


def one_cycle(step: int, total: int, *, warm_up: float = 0.15) -> float:
    """Return the learning rate's factor at a step: cosine rise from 1/25, cosine fall to 1e-3.

    Source:
        Smith & Topin 2018, Super-convergence.
    """
    position = step / max(1, total - 1)
    if position < warm_up:
        low, high, part = 0.04, 1.0, position / warm_up
    else:
        low, high, part = 1.0, 1e-3, (position - warm_up) / (1 - warm_up)
    return low + (high - low) * (1 - math.cos(math.pi * min(1.0, part))) / 2


def _resume(
    checkpoint: Path,
    digest: str,
    state: Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> _Progress:
    stored = read_checkpoint(checkpoint, modules=state, optimizer=optimizer, generator=generator)
    if stored.pop("configuration") != digest:
        raise InputError(
            f"cannot resume from {checkpoint}: it was written under other settings or data: use "
            "the same, or train anew without --resume"
        )
    return _Progress(**stored)


def _append_log(path: Path, entry: Mapping[str, float]) -> None:
    earlier = path.read_bytes() if path.exists() else b""
    line = json.dumps({key: round(value, 6) for key, value in entry.items()}) + "\n"
    write_whole(path, earlier + line.encode(), overwrite=True)


def _trim_log(path: Path, epochs: int) -> None:
    """Drop what an interrupted run logged after its last checkpoint: it is trained again."""
    if path.exists():
        lines = path.read_bytes().splitlines(keepends=True)
        write_whole(path, b"".join(lines[:epochs]), overwrite=True)


def _describe_epoch(
    progress: _Progress,
    settings: LoopSettings,
    terms: Mapping[str, float],
    score: float,
    seconds: float,
    first: int,
) -> str:
    left = seconds / (progress.epoch - first) * (settings.epochs - progress.epoch)
    losses = " ".join(f"{name} {value:.4f}" for name, value in terms.items())
    mark = " *" if progress.best_epoch == progress.epoch else ""
    epoch = f"epoch {progress.epoch}/{settings.epochs}"
    return f"{epoch}: {losses} | score {score:.4f}{mark} | {left:.0f} s left"
