"""Recipe ``paper``: each site trains all three networks on its own images, as the paper does.

It is here to be compared with. Nothing ties one site's anatomy levels to another's, so what one
site's decoder makes of another's anatomy is left to chance.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from prism_mri.config import FrozenModel, Positive
from prism_mri.data.prepared import PreparedDataset, read_prepared
from prism_mri.losses.cycle import compute_anatomy_cycle, compute_style_cycle
from prism_mri.losses.kl import compute_kl
from prism_mri.losses.perceptual import PerceptualLoss
from prism_mri.metrics.slice_scores import compute_whole_slice_scores
from prism_mri.models.site_model import ModelNetworks, write_model
from prism_mri.models.translator import compute_digest
from prism_mri.networks.conditional_decoder import ConditionalDecoder
from prism_mri.networks.conv_style import ConvStyleEncoder
from prism_mri.networks.level_anatomy import LevelAnatomyEncoder
from prism_mri.networks.patch_projector import PatchProjector
from prism_mri.networks.registry import (
    PAPER_SIZES,
    build_anatomy_encoder,
    build_decoder,
    build_style_encoder,
)
from prism_mri.training.contrast import Objective, compute_contrast, draw_places
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

_VALIDATION_BATCH = 8

Weight = Annotated[float, Field(ge=0)]
Temperature = Annotated[float, Field(ge=0.01, le=100)]
Gamma = Annotated[float, Field(ge=0.1, le=10)]


class PaperSettings(FrozenModel):
    """Settings of the recipe."""

    size: Literal["small", "published"] = "small"
    objective: Objective = "paper"
    """``published-code`` is wrong on purpose: see
    :func:`prism_mri.losses.patch_nce.compute_published_nce`."""
    initialization: Literal["site", "common"] = "site"
    """Initial weights from seed and site name, or from the seed alone: the same at every site."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 20
    batch: Annotated[int, Field(ge=2, le=256)] = 4
    crop: Annotated[int, Field(ge=32, multiple_of=16)] | None = 96
    """Side of the windows that are trained on, in pixels; whole slices, in the box of the brain,
    where that is smaller, or for None."""
    learning_rate: Positive = 4e-3
    patience: Annotated[int, Field(ge=1)] = 8
    intensity_weight: Weight = 20.0
    perceptual_weight: Weight = 0.05
    perceptual_images: Annotated[int, Field(ge=1)] = 1
    """Images of a batch that the perceptual loss looks at; it costs more than the networks."""
    kl_weight: Weight = 1e-3
    nce_weight: Weight = 0.3
    anatomy_cycle_weight: Weight = 0.5
    style_cycle_weight: Weight = 0.1
    patches: Annotated[int, Field(ge=1, le=1024)] = 32
    """Places an image that the contrastive loss asks for."""
    nce_temperature: Temperature = 0.07
    gumbel_temperature: Temperature = 1.0
    gammas: Annotated[tuple[Gamma, ...], Field(min_length=1, max_length=8)] = (0.5, 1.5)
    """Exponents of the altered copies."""
    max_steps_per_epoch: Annotated[int, Field(ge=1)] = 25
    validation_slices: Annotated[int, Field(ge=1)] = 64
    """Held-out slices to score after an epoch, evenly spread over all there are."""
    stop_at_ssim: Annotated[float, Field(gt=0, le=1)] | None = None
    """Whole-slice SSIM of held-out slices with which training ends."""


class PaperNetworks(nn.Module):
    """What a site trains; the projector serves the contrastive loss and is not kept."""

    def __init__(
        self,
        anatomy_encoder: LevelAnatomyEncoder,
        style_encoder: ConvStyleEncoder,
        decoder: ConditionalDecoder,
    ) -> None:
        """Hold the networks of a model, and a fresh projector."""
        super().__init__()
        self.anatomy_encoder = anatomy_encoder
        self.style_encoder = style_encoder
        self.decoder = decoder
        self.projector = PatchProjector()

    def collect_model_tensors(self) -> dict[str, Tensor]:
        """Return the tensors of the three networks by name."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith("projector.")
        }

    @torch.no_grad()
    def reconstruct(self, images: Tensor, masks: Tensor) -> Tensor:
        """Encode ``(B, 1, H, W)`` by most likely levels and mean style, and decode again."""
        anatomy = self.anatomy_encoder(images)
        reconstructed: Tensor = self.decoder(
            anatomy, self.style_encoder(images, anatomy, masks).mean
        )
        return reconstructed


@dataclass(frozen=True)
class ImageSet:
    """Slices of a split in the brain's box and their masks, ``(N, 1, H, W)`` each."""

    images: Tensor
    masks: Tensor

    def draw(self, count: int, size: int | None, generator: torch.Generator) -> "ImageSet":
        """Draw slices, with replacement, and of each a window of its own."""
        index = torch.randint(len(self.images), (count,), generator=generator)
        height, width = self.images.shape[-2:]
        cuts = []
        for chosen in index.tolist():
            window = draw_window((height, width), size, generator)
            cuts.append((window.cut(self.images[chosen]), window.cut(self.masks[chosen])))
        images, masks = (torch.stack(part) for part in zip(*cuts, strict=True))
        return ImageSet(images, masks)

    def thin(self, count: int) -> "ImageSet":
        """Return at most ``count`` slices, evenly spread."""
        index = np.linspace(0, len(self.images) - 1, min(count, len(self.images))).round()
        chosen = torch.from_numpy(index.astype(np.int64)).to(self.images.device)
        return ImageSet(self.images[chosen], self.masks[chosen])


class PaperRecipe(Recipe):
    """Reconstruction, contrast between gamma copies, and cycles, on a site's own slices.

    Source:
        Galada et al. 2024, section 2.2. We sample anatomy and style in training only.
    """

    module: PaperNetworks

    def __init__(
        self,
        networks: PaperNetworks,
        settings: PaperSettings,
        train: ImageSet,
        validation: ImageSet,
        *,
        grid: tuple[int, int],
    ) -> None:
        """Keep the data; ``grid`` is the size of the slices that validation counts as whole."""
        self.module = networks
        self._settings = settings
        self._train = train
        self._validation = validation.thin(settings.validation_slices)
        self._grid = grid
        self._perceptual = PerceptualLoss().to(train.images.device)

    def compute_losses(self, generator: torch.Generator) -> Losses:
        """Reconstruct a batch of windows and compare its patches with those of gamma copies."""
        settings, networks = self._settings, self.module
        batch = self._train.draw(settings.batch, settings.crop, generator)
        # The prepared scale puts the brightest tissue near 1, which a power leaves in place, as
        # the paper's own gamma copies of images in [0, 1] do; the background stays 0.
        copies = [batch.images, *(batch.images**gamma for gamma in settings.gammas)]
        anatomies = self._sample_anatomy(torch.cat(copies), generator)
        anatomies = anatomies.unflatten(0, (len(copies), settings.batch))
        style = networks.style_encoder(batch.images, anatomies[0], batch.masks)
        sampled = style.sample(generator)
        decoded = networks.decoder(anatomies[0], sampled)
        places = draw_places(batch.masks, settings.patches, generator)
        contrast = compute_contrast(
            networks.projector,
            anatomies,
            batch.images,
            places,
            objective=settings.objective,
            temperature=settings.nce_temperature,
        )
        few = settings.perceptual_images
        return {
            "l1": settings.intensity_weight * (decoded - batch.images).abs().mean(),
            "perceptual": settings.perceptual_weight
            * self._perceptual(decoded[:few], batch.images[:few]),
            "kl": settings.kl_weight * compute_kl(style),
            "nce": settings.nce_weight * contrast,
            **self._compute_cycles(decoded, anatomies[0], sampled, batch.masks, generator),
        }

    def _compute_cycles(
        self,
        decoded: Tensor,
        anatomy: Tensor,
        style: Tensor,
        masks: Tensor,
        generator: torch.Generator,
    ) -> Losses:
        """Read the decoded image again and compare with what it was decoded from.

        What it was decoded from is held fixed: else the encoders could agree by saying nothing.
        """
        settings = self._settings
        read_anatomy = self._sample_anatomy(decoded, generator)
        read_style = self.module.style_encoder(decoded, read_anatomy, masks).mean
        return {
            "anatomy_cycle": settings.anatomy_cycle_weight
            * compute_anatomy_cycle(read_anatomy, anatomy.detach()),
            "style_cycle": settings.style_cycle_weight
            * compute_style_cycle(read_style, style.detach()),
        }

    def _sample_anatomy(self, images: Tensor, generator: torch.Generator) -> Tensor:
        return self.module.anatomy_encoder.sample(
            images, temperature=self._settings.gumbel_temperature, generator=generator
        )

    def validate(self, module: nn.Module) -> float:
        """Return mean SSIM over whole held-out slices, background included, data range 1."""
        networks, held = _expect_networks(module).eval(), self._validation
        pairs = zip(
            held.images.split(_VALIDATION_BATCH), held.masks.split(_VALIDATION_BATCH), strict=True
        )
        decoded = torch.cat([networks.reconstruct(images, masks) for images, masks in pairs])
        return float(
            compute_whole_slice_scores(self._embed(decoded), self._embed(held.images)).ssim.mean()
        )

    def _embed(self, slices: Tensor) -> np.ndarray:
        """Put ``(N, 1, H, W)`` of the brain's box on the whole grid, zero around it."""
        whole = np.zeros((len(slices), *self._grid), dtype=np.float32)
        height, width = slices.shape[-2:]
        whole[:, :height, :width] = slices[:, 0].cpu().numpy()
        return whole


def train_paper(
    prepared: Path,
    out: Path,
    settings: PaperSettings,
    *,
    seed: int = 0,
    device: str = "auto",
    resume: bool = False,
    report: Report,
) -> Outcome:
    """Train anatomy encoder, style encoder and decoder on a prepared site, from nothing.

    Args:
        prepared: dataset that ``prism-mri prepare`` made.
        out: model folder; with ``resume`` an interrupted run in it goes on, bit for bit on the
            same machine.
        settings: the recipe.
        seed: of initial weights, batches, windows and samples.
        device: "auto", "cpu" or "cuda".
        resume: continue from the last checkpoint.
        report: gets one line an epoch.

    Returns:
        Length of the run and its best epoch; epoch 0 is the initial weights.

    Raises:
        InputError: ``out`` holds a model already, or the data cannot be used.
    """
    check_model_folder(out, recipe="paper", resume=resume)
    dataset = read_prepared(prepared)
    place = select_device(device)
    networks = build_paper_networks(settings, site=dataset.manifest.site, seed=seed).to(place)
    networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train, validation = (_load(dataset, split, place) for split in ("train", "validation"))
    people = read_style_slices(dataset)
    recipe = PaperRecipe(
        networks, settings, train, validation, grid=dataset.manifest.contract.shape
    )
    loop = _plan_loop(settings, len(train.images), seed, place)

    def save_best(module: nn.Module, epoch: int, score: float) -> None:
        trained = _expect_networks(module)
        # This style encoder looks at the image alone: no anatomy needs to be encoded for it.
        prior = export_style_prior(people, nn.Identity(), trained.style_encoder, place)
        description = describe_model(
            dataset, _name_networks(settings, trained), loop, epoch=epoch, score=score
        )
        write_model(out, description, {**trained.collect_model_tensors(), **prior})

    outcome = run_loop(
        recipe,
        loop,
        out,
        save_best=save_best,
        resume=resume,
        configuration={
            "paper": settings.model_dump(),
            "data": dataset.manifest.model_dump(mode="json"),
        },
        report=report,
    )
    mark_complete(out, outcome)
    return outcome


def build_paper_networks(settings: PaperSettings, *, site: str, seed: int) -> PaperNetworks:
    """Return networks with initial weights drawn for a seed and, unless common, a site.

    The caller's random state does not move.
    """
    of_site = f"/{site}" if settings.initialization == "site" else ""
    digest = hashlib.sha256(f"{seed}{of_site}".encode()).digest()
    size = PAPER_SIZES[settings.size]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        return PaperNetworks(
            build_anatomy_encoder(size.anatomy_encoder),
            build_style_encoder(size.style_encoder),
            build_decoder(size.decoder),
        )


def _load(
    dataset: PreparedDataset, split: Literal["train", "validation"], device: torch.device
) -> ImageSet:
    return ImageSet(*load_slices(dataset.split(split), device))


def _plan_loop(
    settings: PaperSettings, slices: int, seed: int, device: torch.device
) -> LoopSettings:
    """Let an epoch see every slice about once, up to the recipe's limit of steps."""
    steps = max(1, min(settings.max_steps_per_epoch, -(-slices // settings.batch)))
    return LoopSettings(
        epochs=settings.epochs,
        steps_per_epoch=steps,
        learning_rate=settings.learning_rate,
        patience=settings.patience,
        stop_at_score=settings.stop_at_ssim,
        seed=seed,
        device="cuda" if device.type == "cuda" else "cpu",
    )


def _expect_networks(module: nn.Module) -> PaperNetworks:
    if not isinstance(module, PaperNetworks):
        raise TypeError(f"expected PaperNetworks, got {type(module).__name__}")
    return module


def _name_networks(settings: PaperSettings, networks: PaperNetworks) -> ModelNetworks:
    size = PAPER_SIZES[settings.size]
    return ModelNetworks(
        recipe="paper",
        anatomy_encoder=size.anatomy_encoder,
        style_encoder=size.style_encoder,
        decoder=size.decoder,
        anatomy_digest=compute_digest(networks.anatomy_encoder.state_dict()),
    )
