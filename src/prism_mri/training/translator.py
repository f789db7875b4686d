"""Recipe of the translator: the anatomy space itself, from simulated contrasts of public anatomies.

Every anatomy is rendered under two random contrasts. Each is decoded from the *other* image's
anatomy and its own style, and the result is compared with its rendering free of noise and bias
field. So anatomy must be what the two have in common, style what they do not, and named tissue
fractions keep the anatomy from collapsing.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from prism_mri.config import FrozenModel
from prism_mri.losses.kl import compute_kl
from prism_mri.losses.masked import compute_masked_l1
from prism_mri.models.translator import (
    TranslatorDescription,
    TranslatorNetworks,
    build_translator_networks,
    write_translator,
)
from prism_mri.networks.anatomy_encoder import TISSUES
from prism_mri.simulate.anatomy import Anatomy
from prism_mri.simulate.pairs import PairBatch, PairSource
from prism_mri.training.loop import (
    LoopSettings,
    Losses,
    Outcome,
    Recipe,
    Report,
    run_loop,
    select_device,
)


class TranslatorSettings(FrozenModel):
    """Settings of the recipe beside the loop's."""

    loop: LoopSettings
    batch_pairs: Annotated[int, Field(ge=1)] = 8
    crop: Annotated[int, Field(ge=32, multiple_of=16)] = 128
    intensity_weight: Annotated[float, Field(ge=0)] = 5.0
    fractions_weight: Annotated[float, Field(ge=0)] = 1.0
    kl_weight: Annotated[float, Field(ge=0)] = 1e-3


class TranslatorRecipe(Recipe):
    """Cross-contrast decoding."""

    module: TranslatorNetworks

    def __init__(
        self,
        networks: TranslatorNetworks,
        settings: TranslatorSettings,
        source: PairSource,
        validation: Sequence[PairBatch],
    ) -> None:
        """Keep the source of training pairs and fixed validation batches, and the networks."""
        self.module = networks
        self._settings = settings
        self._source = source
        self._device = next(networks.parameters()).device
        self._validation = [batch.to(self._device) for batch in validation]

    def compute_losses(self, generator: torch.Generator) -> Losses:
        """Decode both contrasts of a batch of pairs from each other's anatomy."""
        batch = self._source.draw(self._settings.batch_pairs, generator).to(self._device)
        images, mask = batch.images.flatten(0, 1), batch.mask.repeat(2, 1, 1, 1)
        weight = batch.weight.repeat(2, 1, 1, 1)
        anatomy = self.module.anatomy_encoder(images)
        style = self.module.style_encoder(images, anatomy.detach(), mask)
        sampled = style.sample(generator)
        swapped = anatomy.roll(self._settings.batch_pairs, dims=0)
        decoded = self.module.decoder(swapped, sampled)
        fractions, known = batch.fractions.repeat(2, 1, 1, 1), batch.known.repeat(2, 1, 1, 1)
        settings = self._settings
        return {
            "intensity": settings.intensity_weight
            * compute_masked_l1(decoded, batch.clean.flatten(0, 1), weight),
            "fractions": settings.fractions_weight
            * compute_masked_l1(anatomy[:, : len(TISSUES)], fractions, known),
            "kl": settings.kl_weight * compute_kl(style),
        }

    @torch.no_grad()
    def validate(self, module: nn.Module) -> float:
        """Return the PSNR of cross-contrast decoding against the clean renderings, data range 1.

        It is the mean over images, so that the few whose contrast the other image cannot tell do
        not decide alone.
        """
        if not isinstance(module, TranslatorNetworks):
            raise TypeError(f"expected TranslatorNetworks, got {type(module).__name__}")
        module.eval()
        errors = []
        for batch in self._validation:
            images, mask = batch.images.flatten(0, 1), batch.mask.repeat(2, 1, 1, 1)
            anatomy = module.anatomy_encoder(images)
            style = module.style_encoder(images, anatomy, mask).mean
            decoded = module.decoder(anatomy.roll(batch.images.shape[1], dims=0), style)
            weight = batch.weight.repeat(2, 1, 1, 1)
            squared = (decoded - batch.clean.flatten(0, 1)).square() * weight
            errors.append(squared.sum(dim=(1, 2, 3)) / weight.sum(dim=(1, 2, 3)))
        return float(-10 * torch.log10(torch.cat(errors)).mean())


def train_translator(
    anatomies: Sequence[Anatomy],
    validation_anatomies: Sequence[Anatomy],
    out: Path,
    folder: Path,
    settings: TranslatorSettings,
    *,
    description: TranslatorDescription,
    start: Mapping[str, torch.Tensor] | None = None,
    resume: bool = False,
    report: Report,
) -> Outcome:
    """Train a translator and write its weights.

    Args:
        anatomies: people to render; never people that a site or a test uses.
        validation_anatomies: people to validate on.
        out: safetensors file of the best weights.
        folder: checkpoints and log.
        settings: the recipe.
        description: networks and contracts; its ``training`` notes are kept in the file.
        start: weights of the same networks that training begins with, by name.
        resume: continue an interrupted run.
        report: gets one line an epoch.
    """
    source = PairSource(anatomies, crop=settings.crop)
    held_out = PairSource(validation_anatomies, crop=settings.crop)
    generator = torch.Generator().manual_seed(settings.loop.seed + 1)
    validation = [held_out.draw(16, generator) for _ in range(6)]
    torch.manual_seed(settings.loop.seed)
    device = select_device(settings.loop.device)
    networks = build_translator_networks(description).to(device)
    if start is not None:
        networks.load_state_dict(start)
    networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = TranslatorRecipe(networks, settings, source, validation)

    def save_best(module: nn.Module, epoch: int, score: float) -> None:
        notes = {**description.training, "epoch": epoch, "validation_psnr": round(score, 3)}
        write_translator(out, module, description.model_copy(update={"training": notes}))

    return run_loop(
        recipe,
        settings.loop,
        folder,
        save_best=save_best,
        resume=resume,
        configuration=settings.model_dump(exclude={"loop"}),
        report=report,
    )
