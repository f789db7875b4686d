"""Recipe ``anchored``: a site keeps the shipped anatomy encoder and fine-tunes the rest.

The anatomy encoder is frozen, so the anatomy of every slice is computed once. Normalization
statistics stay those of the translator: a site's few people change weights, not what the
activations are measured against.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import nn

from prism_mri.config import FrozenModel
from prism_mri.data.prepared import PreparedDataset, PreparedImage, read_prepared
from prism_mri.errors import CompatibilityError
from prism_mri.losses.cycle import compute_style_cycle
from prism_mri.losses.kl import compute_kl
from prism_mri.losses.masked import compute_masked_l1
from prism_mri.losses.perceptual import PerceptualLoss
from prism_mri.metrics import compute_ssim
from prism_mri.models.site_model import (
    BASE_STYLE_PREFIX,
    CardKind,
    ModelNetworks,
    write_model,
)
from prism_mri.models.translator import Translator
from prism_mri.networks.adapter import is_adapter
from prism_mri.networks.decoder import Decoder
from prism_mri.networks.style_encoder import StyleEncoder
from prism_mri.training.loop import (
    LoopSettings,
    Losses,
    Outcome,
    Recipe,
    Report,
    run_loop,
    select_device,
)
from prism_mri.training.site import (
    check_model_folder,
    describe_model,
    export_style_prior,
    mark_complete,
    read_style_slices,
)
from prism_mri.training.slices import draw_window, load_slices

LEARNING_RATES: Final[dict[CardKind, float]] = {"full": 5e-4, "adapter": 5e-3, "style": 5e-4}


class AnchoredSettings(FrozenModel):
    """Settings of the recipe; the loop's length follows from the data unless given."""

    kind: CardKind = "full"
    """What is trained, and so what the card holds: style encoder and decoder, the decoder's
    adapters alone, or nothing but the site's style statistics."""
    epochs: Annotated[int, Field(ge=0, le=10_000)] = 8
    """0 keeps the translator's networks, as kind ``style`` always does."""
    batch: Annotated[int, Field(ge=2, le=256)] = 8
    crop: Annotated[int, Field(ge=32, multiple_of=16)] = 128
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Default: 5e-4, for adapters alone ten times that."""
    patience: Annotated[int, Field(ge=1)] = 4
    intensity_weight: Annotated[float, Field(ge=0)] = 5.0
    perceptual_weight: Annotated[float, Field(ge=0)] = 0.02
    perceptual_images: Annotated[int, Field(ge=1)] = 2
    """Images of a batch that the perceptual loss looks at; it costs ten times the networks."""
    kl_weight: Annotated[float, Field(ge=0)] = 1e-3
    cycle_weight: Annotated[float, Field(ge=0)] = 0.1
    max_steps_per_epoch: Annotated[int, Field(ge=1)] = 80


class AnchoredNetworks(nn.Module):
    """What a site fine-tunes and may send out."""

    def __init__(self, style_encoder: StyleEncoder, decoder: Decoder) -> None:
        """Hold both networks."""
        super().__init__()
        self.style_encoder = style_encoder
        self.decoder = decoder


@dataclass(frozen=True)
class SliceSet:
    """Slices of a split in the brain's box, ``(N, C, H, W)``: images, masks, anatomy."""

    images: torch.Tensor
    masks: torch.Tensor
    anatomy: torch.Tensor

    def crop(self, index: torch.Tensor, size: int, generator: torch.Generator) -> "SliceSet":
        """Cut one random window for all chosen slices, mirrored left to right every other time."""
        height, width = self.images.shape[-2:]
        window = draw_window((height, width), size, generator)
        return SliceSet(
            window.cut(self.images[index]),
            window.cut(self.masks[index]),
            window.cut(self.anatomy[index]),
        )


class AnchoredRecipe(Recipe):
    """Reconstruction of a site's own slices through the frozen anatomy."""

    module: AnchoredNetworks

    def __init__(
        self,
        networks: AnchoredNetworks,
        settings: AnchoredSettings,
        train: SliceSet,
        validation: SliceSet,
    ) -> None:
        """Keep the data; networks are on the device that the data is on."""
        self.module = networks
        self._settings = settings
        self._train = train
        self._validation = validation
        self._perceptual = PerceptualLoss().to(train.images.device)
        if settings.kind != "full":
            networks.style_encoder.requires_grad_(requires_grad=False)
            for name, parameter in networks.decoder.named_parameters():
                parameter.requires_grad_(is_adapter(name))

    def set_training(self) -> None:
        """Keep normalization statistics fixed."""
        self.module.eval()

    def compute_losses(self, generator: torch.Generator) -> Losses:
        """Reconstruct a batch of crops; decode it under each other's style; read that back."""
        return self.compute_losses_of(self._train, generator)

    def compute_losses_of(self, slices: SliceSet, generator: torch.Generator) -> Losses:
        """Return the losses of a batch out of some slices."""
        settings = self._settings
        index = torch.randint(len(slices.images), (settings.batch,), generator=generator)
        batch = slices.crop(index, settings.crop, generator)
        style = self.module.style_encoder(batch.images, batch.anatomy, batch.masks)
        sampled = style.sample(generator)
        decoded = self.module.decoder(batch.anatomy, sampled) * batch.masks
        swapped = sampled.detach().roll(1, dims=0)
        foreign = self.module.decoder(batch.anatomy, swapped) * batch.masks
        read = self.module.style_encoder(foreign, batch.anatomy, batch.masks).mean
        few = settings.perceptual_images
        return {
            "l1": settings.intensity_weight * compute_masked_l1(decoded, batch.images, batch.masks),
            "perceptual": settings.perceptual_weight
            * self._perceptual(decoded[:few], batch.images[:few]),
            "kl": settings.kl_weight * compute_kl(style),
            "cycle": settings.cycle_weight * compute_style_cycle(read, swapped),
        }

    @torch.no_grad()
    def validate(self, module: nn.Module) -> float:
        """Return mean SSIM inside the brain of reconstructed held-out slices, data range 1."""
        networks = _expect_networks(module).eval()
        held = self._validation
        decoded = torch.cat(
            [
                networks.decoder(
                    anatomy.float(), networks.style_encoder(images, anatomy.float(), masks).mean
                )
                for images, masks, anatomy in zip(
                    held.images.split(8), held.masks.split(8), held.anatomy.split(8), strict=True
                )
            ]
        )
        mask = held.masks[:, 0].cpu().numpy() > 0.5
        return compute_ssim(
            (decoded * held.masks)[:, 0].cpu().numpy(), held.images[:, 0].cpu().numpy(), mask
        )


def train_anchored(
    prepared: Path,
    out: Path,
    settings: AnchoredSettings,
    *,
    translator: Translator,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    report: Report,
) -> Outcome:
    """Fine-tune style encoder and decoder on a prepared site and leave a model folder.

    Args:
        prepared: dataset that ``prism-mri prepare`` made.
        out: model folder; with ``resume`` an interrupted run in it goes on, bit for bit on the
            same machine.
        settings: the recipe.
        translator: where style encoder and decoder start from, and the anatomy encoder that stays.
        seed: of batches, crops and style samples.
        device: "auto", "cpu" or "cuda".
        resume: continue from the last checkpoint.
        report: gets one line an epoch.

    Returns:
        Length of the run and its best epoch; epoch 0 is the translator as shipped.

    Raises:
        InputError: ``out`` holds a model already, or the data cannot be used.
        CompatibilityError: the dataset was prepared under another contract than the translator's.
    """
    check_model_folder(out, recipe="anchored", resume=resume)
    dataset = read_dataset(prepared, translator)
    place = select_device(device)
    networks = copy_networks(translator, place)
    anatomy_encoder = copy.deepcopy(translator.networks.anatomy_encoder).to(place)
    train = load_slice_set(dataset.split("train"), anatomy_encoder, place)
    validation = load_slice_set(dataset.split("validation"), anatomy_encoder, place)
    people = read_style_slices(dataset)
    shipped = copy.deepcopy(networks.style_encoder).eval()
    base = export_style_prior(people, anatomy_encoder, shipped, place, prefix=BASE_STYLE_PREFIX)
    recipe = AnchoredRecipe(networks, settings, train, validation)
    loop = _plan_loop(settings, len(train.images), seed, place)

    def save_best(module: nn.Module, epoch: int, score: float) -> None:
        trained = _expect_networks(module)
        prior = export_style_prior(people, anatomy_encoder, trained.style_encoder, place)
        description = describe_model(
            dataset, name_networks(translator, settings.kind), loop, epoch=epoch, score=score
        )
        write_model(out, description, {**trained.state_dict(), **prior, **base})

    configuration = {
        "anchored": settings.model_dump(),
        "translator": translator.digest,
        "data": dataset.manifest.model_dump(mode="json"),
    }
    outcome = run_loop(
        recipe,
        loop,
        out,
        save_best=save_best,
        resume=resume,
        configuration=configuration,
        report=report,
    )
    mark_complete(out, outcome)
    return outcome


def read_dataset(prepared: Path, translator: Translator) -> PreparedDataset:
    """Open a prepared dataset that a translator can be fine-tuned on.

    Raises:
        InputError: it cannot be read.
        CompatibilityError: it was prepared under another contract than the translator's.
    """
    dataset = read_prepared(prepared)
    if dataset.manifest.contract not in translator.description.contracts:
        raise CompatibilityError(
            f"{prepared} was prepared under another contract than the translator's: prepare it "
            "again"
        )
    return dataset


def _expect_networks(module: nn.Module) -> AnchoredNetworks:
    if not isinstance(module, AnchoredNetworks):
        raise TypeError(f"expected AnchoredNetworks, got {type(module).__name__}")
    return module


def name_networks(translator: Translator, kind: CardKind) -> ModelNetworks:
    """Return what a model of this recipe says of its networks."""
    networks = translator.description
    return ModelNetworks(
        recipe="anchored",
        kind=kind,
        base_digest=translator.base_digest,
        anatomy_encoder=networks.anatomy_encoder,
        style_encoder=networks.style_encoder,
        decoder=networks.decoder,
        anatomy_digest=translator.digest,
    )


def copy_networks(translator: Translator, device: torch.device) -> AnchoredNetworks:
    """Return the translator's style encoder and decoder, ready to be trained."""
    networks = AnchoredNetworks(
        copy.deepcopy(translator.networks.style_encoder), copy.deepcopy(translator.networks.decoder)
    )
    networks.to(device).requires_grad_(requires_grad=True)
    networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return networks


def _plan_loop(
    settings: AnchoredSettings, slices: int, seed: int, device: torch.device
) -> LoopSettings:
    """Let an epoch see every slice about once, up to the recipe's limit of steps."""
    steps = max(1, min(settings.max_steps_per_epoch, -(-slices // settings.batch)))
    return LoopSettings(
        epochs=0 if settings.kind == "style" else settings.epochs,
        steps_per_epoch=steps,
        learning_rate=settings.learning_rate or LEARNING_RATES[settings.kind],
        patience=settings.patience,
        seed=seed,
        device="cuda" if device.type == "cuda" else "cpu",
    )


@torch.no_grad()
def load_slice_set(
    images: tuple[PreparedImage, ...], anatomy_encoder: nn.Module, device: torch.device
) -> SliceSet:
    """Read the slices of a split and encode their anatomy."""
    pixels, inside = load_slices(images, device)
    anatomy = torch.cat([anatomy_encoder(part).half() for part in pixels.split(8)])
    return SliceSet(pixels, inside, anatomy)
