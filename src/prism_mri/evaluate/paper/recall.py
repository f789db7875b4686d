"""Table 2: can a network still tell which site an image comes from?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float32, Int64
from torch import nn
from torch.nn import functional

from prism_mri.errors import ConfigError
from prism_mri.evaluate.paper.images import Part, Sites
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import (
    Network,
    PaperSettings,
    RecallRow,
    Spread,
    TrainedOn,
)
from prism_mri.evaluate.paper.settle import ask, keep_level, settle_normalization
from prism_mri.evaluate.paper.workspace import Workspace

NETWORKS: tuple[Network, ...] = ("resnet50", "efficientnet-b2")
_LEARNING_RATE: Final[dict[Network, float]] = {"resnet50": 3e-3, "efficientnet-b2": 1e-3}
_SETTLING = 4
_SHUFFLED_RUNS = 2
"""Enough to see that nothing is learned from shuffled names."""


@dataclass(frozen=True, eq=False)
class LabelledSlices:
    """Slices (N, 1, S, S) of all sites, and the site of each (N,)."""

    images: Float32[np.ndarray, "N 1 S S"]
    sites: Int64[np.ndarray, " N"]


@dataclass(frozen=True, eq=False)
class Experiment:
    """One kind of network, and what it is trained and tested on.

    Attributes:
        network: which.
        trained_on: original, harmonized or shuffled.
        method: applied to the training images.
        tested: methods whose test images it is asked about.
        runs: how often it is trained.
    """

    network: Network
    trained_on: TrainedOn
    method: HarmonizationMethod
    tested: Sequence[HarmonizationMethod]
    runs: int


def score_site_recall(
    sites: Sites,
    methods: Sequence[HarmonizationMethod],
    workspace: Workspace,
    settings: PaperSettings,
    progress: Callable[[int, int], None],
) -> list[RecallRow]:
    """Train classifiers of site on training images and test them on everybody's test images.

    The paper's experiment trains on original images. A corrupted image is not told right either, so
    another network is trained on harmonized images, target's included, and one on shuffled names.

    Args:
        sites: all images.
        methods: the first leaves images as they are.
        workspace: where harmonized images lie; also keeps every trained network's answers.
        settings: runs, steps and sizes.
        progress: called with (networks done, networks in all).
    """
    experiments = list(_plan(methods, settings))
    rows, done = [], 0
    for experiment in experiments:
        answers: list[dict[str, list[int]]] = []
        for run in range(experiment.runs):
            answers.append(_remember_answers(experiment, run, sites, workspace, settings))
            done += 1
            progress(done, sum(one.runs for one in experiments))
        rows += [
            _summarize(experiment, one.name, [found[one.name] for found in answers], sites)
            for one in experiment.tested
        ]
    return rows


def _plan(methods: Sequence[HarmonizationMethod], settings: PaperSettings) -> Iterable[Experiment]:
    before, runs = methods[0], settings.runs
    for network in NETWORKS:
        yield Experiment(network, "original", before, methods, runs)
        for method in methods:
            if method.name in settings.retrained:
                yield Experiment(network, "harmonized", method, [method], runs)
        yield Experiment(network, "shuffled", before, [before], min(runs, _SHUFFLED_RUNS))


def count_shares(sites: Sites) -> dict[str, float]:
    """Return each site's share of all test slices."""
    counts = {
        name: sum(len(image.chosen) for image in sites.select(name, "test")) for name in sites.names
    }
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}


def _remember_answers(
    experiment: Experiment, run: int, sites: Sites, workspace: Workspace, settings: PaperSettings
) -> dict[str, list[int]]:
    """Return, by tested method, what one trained network calls every test slice."""
    method, size = experiment.method, settings.classifier_size
    depends_on = [
        *(experiment.network, experiment.trained_on, method.name, method.version),
        *(run, settings.seed, settings.classifier_steps, size, settings.batch),
        *((one.name, one.version) for one in experiment.tested),
    ]

    def compute() -> dict[str, list[int]]:
        train = stack_slices(sites, method, "train", workspace, size)
        seed = 1000 * settings.seed + run
        if experiment.trained_on == "shuffled":
            shuffled = np.random.default_rng(seed).permutation(train.sites)
            train = LabelledSlices(train.images, shuffled)
        classes = len(sites.names)
        classifier = train_classifier(experiment.network, train, classes, settings, seed)
        return {
            one.name: classify(classifier, stack_slices(sites, one, "test", workspace, size).images)
            for one in experiment.tested
        }

    return workspace.remember("recall", depends_on, dict[str, list[int]], compute)


def stack_slices(
    sites: Sites, method: HarmonizationMethod, part: Part, workspace: Workspace, size: int
) -> LabelledSlices:
    """Return everybody's chosen slices after a method, averaged to ``size`` pixels a side."""
    images, labels = [], []
    for index, name in enumerate(sites.names):
        for image in sites.select(name, part):
            slices = workspace.read_slices(method, image)
            small = functional.interpolate(
                torch.from_numpy(slices)[:, None], size=(size, size), mode="area"
            )
            images.append(small.numpy())
            labels += [index] * len(slices)
    return LabelledSlices(np.concatenate(images), np.array(labels, dtype=np.int64))


def build_classifier(network: Network, classes: int) -> nn.Module:
    """Return an untrained network of MONAI's for one channel.

    Raises:
        ConfigError: MONAI is not installed.
    """
    try:
        from monai.networks.nets.efficientnet import EfficientNetBN
        from monai.networks.nets.resnet import resnet50
    except ImportError as error:
        raise ConfigError(
            "Tables 2 and 3 need MONAI, which is not installed: pip install 'prism-mri[evaluate]'"
        ) from error
    if network == "resnet50":
        model: nn.Module = resnet50(
            spatial_dims=2, n_input_channels=1, num_classes=classes, conv1_t_stride=2
        )
        return model
    return EfficientNetBN(
        "efficientnet-b2", pretrained=False, spatial_dims=2, in_channels=1, num_classes=classes
    )


def train_classifier(
    network: Network, train: LabelledSlices, classes: int, settings: PaperSettings, seed: int
) -> nn.Module:
    """Train a network to name sites; every site is drawn as often as every other.

    Args:
        network: which.
        train: slices and their sites.
        classes: number of sites.
        settings: steps and batch.
        seed: of weights and order.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_classifier(network, classes).train()
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        generator = torch.Generator().manual_seed(seed)
        images, labels = torch.from_numpy(train.images), torch.from_numpy(train.sites)
        keep_level(model, images.mean(), images.std())
        rarity = 1.0 / torch.bincount(labels, minlength=classes).clamp(min=1)[labels].double()
        rate = _LEARNING_RATE[network]
        optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=settings.classifier_steps
        )

        def draw(count: int) -> torch.Tensor:
            return torch.multinomial(rarity, count, True, generator=generator)

        for _ in range(settings.classifier_steps):
            chosen = draw(settings.batch)
            loss = functional.cross_entropy(ask(model, images[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        # Batches of all sites, as in training: within one site intensities vary too little.
        settle_normalization(model, (ask(model, images[draw(64)]) for _ in range(_SETTLING)))
    return model


@torch.no_grad()
def classify(model: nn.Module, images: Float32[np.ndarray, "N 1 S S"]) -> list[int]:
    """Return the site that a network names for every slice."""
    parts = torch.from_numpy(images).split(32)
    return [int(site) for part in parts for site in ask(model, part).argmax(dim=1)]


def _list_truth(sites: Sites) -> list[int]:
    return [
        index
        for index, name in enumerate(sites.names)
        for image in sites.select(name, "test")
        for _ in image.chosen
    ]


def _summarize(
    experiment: Experiment, method: str, answers: Sequence[Sequence[int]], sites: Sites
) -> RecallRow:
    from sklearn.metrics import f1_score, recall_score

    truth = _list_truth(sites)
    classes = list(range(len(sites.names)))
    recalls = [
        recall_score(truth, one, labels=classes, average=None, zero_division=0) for one in answers
    ]
    f1 = [
        f1_score(truth, one, labels=classes, average="weighted", zero_division=0) for one in answers
    ]
    target = sites.names.index(sites.target)
    called = {
        name: [
            float(np.mean([a == target for a, t in zip(one, truth, strict=True) if t == index]))
            for one in answers
        ]
        for index, name in enumerate(sites.names)
        if name != sites.target
    }
    return RecallRow(
        network=experiment.network,
        trained_on=experiment.trained_on,
        method=method,
        recall={
            name: spread([float(run[index]) for run in recalls])
            for index, name in enumerate(sites.names)
        },
        called_target=_spread_all(called),
        weighted_f1=spread([float(value) for value in f1]),
    )


def _spread_all(values: Mapping[str, Sequence[float]]) -> dict[str, Spread]:
    return {name: spread(runs) for name, runs in values.items()}


def spread(values: Iterable[float]) -> Spread:
    """Return mean and standard deviation over runs."""
    runs = list(values)
    return Spread(
        mean=float(np.mean(runs)), sd=float(np.std(runs, ddof=1)) if len(runs) > 1 else None
    )
