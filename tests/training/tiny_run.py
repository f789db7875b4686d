"""A training of a few weights that the tests run, interrupt, and kill when it runs as a script."""

import sys
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional

from prism_mri.files import write_whole
from prism_mri.networks.blocks import ConvBlock
from prism_mri.training.loop import LoopSettings, Losses, Outcome, Recipe, run_loop

EPOCHS = 4


def nothing(*_: object) -> None:
    """Stand for a hook that is not used."""


class TinyRecipe(Recipe):
    """Doubles noise images; batch normalization and an averaged copy are part of its state."""

    def __init__(self, on_step: Callable[[], None], on_validate: Callable[[], None]) -> None:
        torch.manual_seed(3)
        self.module = nn.Sequential(ConvBlock(1, 3), nn.Conv2d(3, 1, 1))
        self._on_step = on_step
        self._on_validate = on_validate

    def compute_losses(self, generator: torch.Generator) -> Losses:
        self._on_step()
        image = torch.randn(2, 1, 6, 6, generator=generator)
        output = self.module(image)
        return {
            "fit": functional.mse_loss(output, 2 * image),
            "size": 0.01 * output.square().mean(),
        }

    def validate(self, module: nn.Module) -> float:
        self._on_validate()
        module.eval()
        image = torch.linspace(-1, 1, 36).reshape(1, 1, 6, 6)
        with torch.no_grad():
            return -float(functional.mse_loss(module(image), 2 * image))


def run(
    folder: Path,
    *,
    resume: bool = False,
    report: Callable[[str], None] = nothing,
    on_step: Callable[[], None] = nothing,
    on_validate: Callable[[], None] = nothing,
    **changes: object,
) -> Outcome:
    """Train, and keep the best weights beside the checkpoint."""
    values = {"epochs": EPOCHS, "steps_per_epoch": 3, "learning_rate": 0.01, "patience": 1000}
    settings = LoopSettings.model_validate(
        {**values, "weight_averaging": 0.5, "bfloat16": "off", **changes}
    )

    def save_best(module: nn.Module, epoch: int, score: float) -> None:
        tensors = {**module.state_dict(), "epoch": torch.tensor(epoch)}
        write_whole(folder / "best.safetensors", safetensors.torch.save(tensors), overwrite=True)

    return run_loop(
        TinyRecipe(on_step, on_validate),
        settings,
        folder,
        save_best=save_best,
        resume=resume,
        configuration={"data": "noise"},
        report=report,
    )


def tell(line: str) -> None:
    """Write a line that the test sees at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(Path(sys.argv[1]), resume=True, report=tell, epochs=int(sys.argv[2]))
