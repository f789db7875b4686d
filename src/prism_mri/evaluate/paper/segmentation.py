"""Table 3: a U-Net that learned tissues at one site, on the images of another."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import nn
from torch.nn import functional

from prism_mri.errors import ConfigError
from prism_mri.evaluate.bootstrap import estimate_difference, estimate_mean
from prism_mri.evaluate.paper.images import SiteImage, Sites
from prism_mri.evaluate.paper.labels import TissueTruth
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import (
    TISSUES,
    DiceChange,
    PaperSettings,
    SegmentationRow,
)
from prism_mri.evaluate.paper.settle import ask, keep_level, settle_normalization
from prism_mri.evaluate.paper.workspace import Workspace
from prism_mri.metrics.overlap import compute_dice, compute_iou
from prism_mri.types import LabelStack, MaskStack, SliceStack

_LEARNING_RATE = 3e-3
_CROP = 96
_BATCH = 8
_SETTLING = 16
_CHANNELS = (16, 32, 64, 128)

Tested = dict[str, list[float]]
"""By person: Dice of CSF, GM, WM; IoU of the three; their shares of the brain, found and true."""

LabelledImage = tuple[
    Float32[np.ndarray, "_N _H _W"], Bool[np.ndarray, "_N _H _W"], UInt8[np.ndarray, "_N _H _W"]
]
"""Slices of one image, their brain, their tissues."""
Overlaps = dict[str, list[list[float]]]
"""By person, the same for every run."""


@dataclass(frozen=True, eq=False)
class Segmenters:
    """What is needed to train and test: images, their truth, where results are kept.

    Attributes:
        sites: all images.
        truth: tissue labels.
        workspace: where harmonized images lie and answers are kept.
        settings: runs, steps.
    """

    sites: Sites
    truth: TissueTruth
    workspace: Workspace
    settings: PaperSettings

    def load(self, image: SiteImage, method: HarmonizationMethod) -> tuple[SliceStack, MaskStack]:
        """Return an image's chosen slices after a method, and their brain."""
        return self.workspace.read_slices(method, image), image.load()[1]

    def test(
        self,
        trained: tuple[str, HarmonizationMethod],
        tested: Sequence[tuple[str, HarmonizationMethod]],
        run: int,
    ) -> dict[str, Tested]:
        """Train one network at a site on images after a method; test it at others, after others.

        Returns:
            By ``site/method`` of the tested: every person's overlaps and tissue shares.
        """
        names = [(site, one.name, one.version) for site, one in (trained, *tested)]
        settings = self.settings
        depends_on = [names, run, settings.seed, settings.segmenter_steps, self.truth.source]

        def compute() -> dict[str, Tested]:
            images = self.sites.select(trained[0], "train")
            network = train_segmenter(
                [(*self.load(image, trained[1]), self.truth.load(image)) for image in images],
                steps=settings.segmenter_steps,
                seed=1000 * settings.seed + run,
            )
            return {
                f"{site}/{method.name}": self._test(network, site, method)
                for site, method in tested
            }

        return self.workspace.remember("segmentation", depends_on, dict[str, Tested], compute)

    def _test(self, network: nn.Module, site: str, method: HarmonizationMethod) -> Tested:
        found: dict[str, list[tuple[LabelStack, LabelStack]]] = defaultdict(list)
        for image in self.sites.select(site, "test"):
            slices, mask = self.load(image, method)
            labels = segment(network, slices, mask)
            found[image.person].append((labels, np.where(mask, self.truth.load(image), 0)))
        return {
            person: _compare(*(np.concatenate(part) for part in zip(*pairs, strict=True)))
            for person, pairs in found.items()
        }


def score_segmentation(
    segmenters: Segmenters,
    methods: Sequence[HarmonizationMethod],
    progress: Callable[[int, int], None],
) -> tuple[list[SegmentationRow], list[DiceChange], dict[str, Overlaps]]:
    """Train and test all networks of Table 3.

    Args:
        segmenters: images, truth and settings.
        methods: the first leaves images as they are.
        progress: called with (networks done, networks in all).

    Returns:
        Rows; changes of Dice against no harmonization and against quantile matching; and, by
        ``site/method``, what the target's networks found at every site.
    """
    sites, settings = segmenters.sites, segmenters.settings
    before = methods[0]
    retrained = [method for method in methods if method.name in settings.retrained]
    total = settings.runs * (1 + len(sites.sources) * (1 + len(retrained)))
    done = 0
    forward: dict[str, Overlaps] = {}
    other: dict[tuple[str, str, str], Overlaps] = {}

    def gather(into: Overlaps, tested: Tested) -> None:
        for person, values in tested.items():
            into.setdefault(person, []).append(values)

    for run in range(settings.runs):
        everywhere = [(site, method) for site in sites.names for method in methods]
        for key, tested in segmenters.test((sites.target, before), everywhere, run).items():
            gather(forward.setdefault(key, {}), tested)
        progress(done := done + 1, total)
        for site in sites.sources:
            home, away = (site, before), (sites.target, before)
            answers = segmenters.test(home, [home, away], run)
            gather(
                other.setdefault(("source on itself", site, before.name), {}),
                answers[f"{site}/{before.name}"],
            )
            gather(
                other.setdefault(("source on target", site, before.name), {}),
                answers[f"{sites.target}/{before.name}"],
            )
            progress(done := done + 1, total)
            for method in retrained:
                answers = segmenters.test((site, method), [away], run)
                gather(
                    other.setdefault(("source on target", site, method.name), {}),
                    answers[f"{sites.target}/{before.name}"],
                )
                progress(done := done + 1, total)
    rows = [
        row
        for site in sites.sources
        for method in methods
        for row in _tabulate(
            "target on source", site, method.name, forward[f"{site}/{method.name}"], settings.seed
        )
    ]
    for (role, site, name), overlaps in other.items():
        rows += _tabulate(role, site, name, overlaps, settings.seed)
    return rows, _compare_methods(forward, sites, methods, settings), forward


def train_segmenter(images: Sequence[LabelledImage], *, steps: int, seed: int) -> nn.Module:
    """Train a U-Net to name tissues in windows of 96 pixels.

    Args:
        images: slices (N, H, W), brain and tissues of every training image.
        steps: of 8 windows each.
        seed: of weights and windows.

    Raises:
        ConfigError: MONAI is not installed.
    """
    try:
        from monai.losses.dice import DiceCELoss
        from monai.networks.nets.unet import UNet
    except ImportError as error:
        raise ConfigError(
            "Tables 2 and 3 need MONAI, which is not installed: pip install 'prism-mri[evaluate]'"
        ) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: nn.Module = UNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1 + len(TISSUES),
            channels=_CHANNELS,
            strides=(2,) * (len(_CHANNELS) - 1),
            norm="batch",
        )
        brain = np.concatenate([slices[mask] for slices, mask, _ in images])
        keep_level(network, torch.tensor(brain.mean()), torch.tensor(brain.std()))
        loss_of = DiceCELoss(to_onehot_y=True, softmax=True)
        optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
        generator = np.random.default_rng(seed)
        for _ in range(steps):
            values, labels = _draw_batch(images, generator)
            loss = loss_of(ask(network, values), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        settle_normalization(
            network, (ask(network, _draw_batch(images, generator)[0]) for _ in range(_SETTLING))
        )
    return network


@torch.no_grad()
def segment(network: nn.Module, slices: SliceStack, mask: MaskStack) -> LabelStack:
    """Return the tissue that a network gives every voxel of the brain, (N, H, W)."""
    multiple = 2 ** (len(_CHANNELS) - 1)
    height, width = slices.shape[1:]
    padded = functional.pad(
        torch.from_numpy(slices)[:, None], (0, -width % multiple, 0, -height % multiple)
    )
    logits = torch.cat([ask(network, part) for part in padded.split(8)])[..., :height, :width]
    tissues = logits[:, 1:].argmax(dim=1).numpy() + 1
    return np.where(mask, tissues, 0).astype(np.uint8)


def _draw_batch(
    images: Sequence[LabelledImage], generator: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut windows around random voxels of the brain."""
    values = np.zeros((_BATCH, 1, _CROP, _CROP), np.float32)
    labels = np.zeros((_BATCH, 1, _CROP, _CROP), np.uint8)
    for index in range(_BATCH):
        slices, mask, tissues = images[int(generator.integers(len(images)))]
        number = generator.integers(len(slices))
        inside = np.argwhere(mask[number])
        centre = inside[generator.integers(len(inside))] if len(inside) else np.zeros(2, int)
        first = [
            int(np.clip(middle - _CROP // 2, 0, max(length - _CROP, 0)))
            for middle, length in zip(centre, slices.shape[1:], strict=True)
        ]
        box = tuple(slice(start, start + _CROP) for start in first)
        for array, stack in ((values, slices), (labels, np.where(mask, tissues, 0))):
            cut = stack[number][box]
            array[index, 0, : cut.shape[0], : cut.shape[1]] = cut
    return torch.from_numpy(values), torch.from_numpy(labels)


def _compare(labels: UInt8[np.ndarray, "N H W"], truth: UInt8[np.ndarray, "N H W"]) -> list[float]:
    tissues = range(1, 1 + len(TISSUES))
    brain = labels > 0
    return [
        *(compute_dice(labels, truth, tissue) for tissue in tissues),
        *(compute_iou(labels, truth, tissue) for tissue in tissues),
        *(float((labels[brain] == tissue).mean()) for tissue in tissues),
        *(float((truth[brain] == tissue).mean()) for tissue in tissues),
    ]


def get_people(overlaps: Overlaps) -> Float32[np.ndarray, "people runs values"]:
    """Return the values of everybody and every run, people in a fixed order."""
    return np.array([overlaps[person] for person in sorted(overlaps)], dtype=np.float32)


def _tabulate(
    role: str, site: str, method: str, overlaps: Overlaps, seed: int
) -> Iterable[SegmentationRow]:
    values = get_people(overlaps).astype(np.float64)
    for index, tissue in enumerate(TISSUES):
        dice, iou = values[..., index], values[..., len(TISSUES) + index]
        runs = dice.mean(axis=0)
        yield SegmentationRow.model_validate(
            {
                "role": role,
                "site": site,
                "method": method,
                "tissue": tissue,
                "people": len(values),
                "dice": estimate_mean(dice.mean(axis=1), seed),
                "dice_sd": float(runs.std(ddof=1)) if len(runs) > 1 else None,
                "iou": estimate_mean(iou.mean(axis=1), seed),
            }
        )


def _compare_methods(
    forward: dict[str, Overlaps],
    sites: Sites,
    methods: Sequence[HarmonizationMethod],
    settings: PaperSettings,
) -> list[DiceChange]:
    """Return differences of Dice between methods, for every source and over all sources' people."""
    changes = []
    by_site = {
        method.name: {
            site: get_people(forward[f"{site}/{method.name}"]).mean(axis=1).astype(np.float64)
            for site in sites.sources
        }
        for method in methods
    }
    baselines = [name for name in ("none", "quantile") if name in by_site]
    for method in methods:
        for versus in baselines:
            if method.name == versus:
                continue
            for site in (*sites.sources, "mean"):
                own, base = (
                    np.concatenate(list(by_site[name].values()))
                    if site == "mean"
                    else by_site[name][site]
                    for name in (method.name, versus)
                )
                changes += _list_changes(site, method.name, versus, own, base, settings)
    return changes


def _list_changes(
    site: str,
    method: str,
    versus: str,
    own: np.ndarray,
    base: np.ndarray,
    settings: PaperSettings,
) -> list[DiceChange]:
    count = len(TISSUES)
    columns = {tissue: (own[:, i], base[:, i]) for i, tissue in enumerate(TISSUES)}
    columns["mean"] = (own[:, :count].mean(axis=1), base[:, :count].mean(axis=1))  # type: ignore[index]
    return [
        DiceChange.model_validate(
            {
                "site": site,
                "tissue": tissue,
                "method": method,
                "versus": versus,
                "difference": estimate_difference(
                    first, second, settings.seed, draws=settings.bootstrap_draws
                ),
            }
        )
        for tissue, (first, second) in columns.items()
    ]
