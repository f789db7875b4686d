"""Differentially private training of small cards: what is released tells little of any one person.

A person's style is clipped, and the mean over people gets noise; the decoder's adapters are trained
by steps on one clipped gradient a person, with noise. Nothing is validated, chosen or stopped by
what the data shows, and the manifest's numbers that depend on it are fixed.

Source:
    Abadi et al. 2016, Deep learning with differential privacy; by person, not by slice. Gradients
    are clipped by Opacus, the noise is of :func:`prism_mri.training.mechanism.draw_noise`.
"""

import copy
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch.optim.swa_utils import AveragedModel

from prism_mri.data.prepared import PreparedDataset
from prism_mri.errors import ConfigError
from prism_mri.files import write_whole
from prism_mri.models.guarantee import INTENSITY_SCALE
from prism_mri.models.site_model import (
    BASE_STYLE_PREFIX,
    STYLE_PRIOR_PREFIX,
    ModelDescription,
    write_model,
)
from prism_mri.models.translator import Translator
from prism_mri.training.anchored import (
    AnchoredNetworks,
    AnchoredRecipe,
    AnchoredSettings,
    SliceSet,
    copy_networks,
    load_slice_set,
    name_networks,
    read_dataset,
)
from prism_mri.training.loop import CONFIG_NAME, LoopSettings, Outcome, Report, select_device
from prism_mri.training.mechanism import (
    PrivacySettings,
    draw_noise,
    plan_noise,
    release_style,
    state_guarantee,
)
from prism_mri.training.site import (
    check_model_folder,
    describe_model,
    encode_styles,
    mark_complete,
    read_style_slices,
)


def train_private(
    prepared: Path,
    out: Path,
    settings: AnchoredSettings,
    privacy: PrivacySettings,
    *,
    translator: Translator,
    device: str = "auto",
    numbers: np.random.Generator | None = None,
    report: Report,
) -> Outcome:
    """Train a card of kind ``style`` or ``adapter`` with differential privacy; leave a model.

    An interrupted run leaves nothing that was released, and is begun anew.

    Args:
        prepared: dataset that ``prism-mri prepare`` made; its people held out are not touched.
        out: model folder.
        settings: the recipe; ``kind``, ``crop`` and the losses' weights count.
        privacy: budget and bounds.
        translator: where the decoder starts from.
        device: "auto", "cpu" or "cuda".
        numbers: source of the noise, for tests; by default seeded by the operating system, and the
            seed forgotten: who knows it can take the noise off.
        report: gets a line now and then.

    Raises:
        ConfigError: kind ``full``, or Opacus is not installed.
        InputError: ``out`` holds a model already, or the data cannot be used.
        CompatibilityError: the dataset was prepared under another contract than the translator's.
    """
    if settings.kind == "full":
        raise ConfigError(
            "differential privacy is for --kind style and --kind adapter: the noise that a hundred "
            "thousand weights need would leave nothing of them"
        )
    check_model_folder(out, recipe="anchored", resume=False)
    dataset = read_dataset(prepared, translator)
    numbers = numbers or np.random.default_rng()
    noise = plan_noise(privacy, trains=settings.kind == "adapter")
    networks = copy_networks(translator, select_device(device))
    styles = _read_styles(dataset, translator)
    _check_delta(privacy.delta, len(styles))
    mean = release_style(styles, radius=privacy.style_radius, noise=noise.style, numbers=numbers)
    if noise.gradient is not None:
        people = _load_people(dataset, translator, networks)
        networks = _train_adapters(
            networks, people, settings, privacy, noise=noise.gradient, numbers=numbers
        )
    prior = {"mean": mean, "std": torch.zeros_like(mean)}
    tensors = {
        **networks.state_dict(),
        **{STYLE_PRIOR_PREFIX + name: value for name, value in prior.items()},
        **{BASE_STYLE_PREFIX + name: value.clone() for name, value in prior.items()},
    }
    guarantee = state_guarantee(privacy, noise, len(styles))
    description = _describe(dataset, translator, settings)
    write_model(out, description.model_copy(update={"guarantee": guarantee}), tensors)
    configuration = {
        "anchored": settings.model_dump(),
        "privacy": privacy.model_dump(),
        "translator": translator.digest,
        "data": dataset.manifest.model_dump(mode="json"),
    }
    text = json.dumps(configuration, indent=2) + "\n"
    write_whole(out / CONFIG_NAME, text.encode(), overwrite=True)
    report(f"released with {guarantee.describe()}")
    outcome = Outcome(min(guarantee.steps, 1), guarantee.steps, 0, math.nan)
    mark_complete(out, outcome)
    return outcome


def _train_adapters(
    networks: AnchoredNetworks,
    people: Sequence[SliceSet],
    settings: AnchoredSettings,
    privacy: PrivacySettings,
    *,
    noise: float,
    numbers: np.random.Generator,
) -> AnchoredNetworks:
    """Take the steps; return the weights' average over the second half of them."""
    from opacus.optimizers import DPOptimizer

    by_person = settings.model_copy(update={"batch": privacy.slices})
    recipe = AnchoredRecipe(networks, by_person, people[0], people[0])
    trained = [parameter for parameter in networks.parameters() if parameter.requires_grad]
    optimizer = DPOptimizer(
        torch.optim.Adam(trained, lr=privacy.learning_rate),
        noise_multiplier=0.0,  # added by the hook, from a generator that cannot be tried out
        max_grad_norm=privacy.gradient_norm,
        expected_batch_size=len(people),
    )

    scale = noise * privacy.gradient_norm / len(people)

    def add_noise(_optimizer: object) -> None:
        for parameter in trained:
            drawn = scale * draw_noise(parameter.shape, numbers)
            if parameter.grad is not None:
                parameter.grad += drawn.to(parameter.device)

    optimizer.attach_step_hook(add_noise)
    # Which slices a step sees is independent of anybody else's and need not be secret.
    generator = torch.Generator().manual_seed(int(numbers.integers(2**31)))
    networks.eval()
    averaged = AveragedModel(networks)
    for step in range(privacy.steps):
        optimizer.zero_grad()
        gradients = []
        for slices in people:
            losses = recipe.compute_losses_of(slices, generator)
            loss = torch.stack(list(losses.values())).sum()
            gradients.append(torch.autograd.grad(loss, trained))
        for parameter, samples in zip(trained, zip(*gradients, strict=True), strict=True):
            # What Opacus takes a batch's gradients from; here every sample is a person.
            setattr(parameter, "grad_sample", torch.stack(samples))  # noqa: B010
        optimizer.step()
        if step >= privacy.steps // 2:
            averaged.update_parameters(networks)
    networks.load_state_dict(averaged.module.state_dict())
    return networks


def _check_delta(delta: float, people: int) -> None:
    if delta >= 1 / people:
        raise ConfigError(
            f"--delta {delta:g} promises nothing to {people} people: one could be given away "
            f"whole; choose it well below 1/{people}"
        )


def _read_styles(dataset: PreparedDataset, translator: Translator) -> Float[torch.Tensor, "P Z"]:
    """Return one style a person, as the shipped networks read it: the mean over their images."""
    networks = translator.networks
    read = encode_styles(
        read_style_slices(dataset),
        networks.anatomy_encoder,
        networks.style_encoder,
        torch.device("cpu"),
    )
    styles: dict[str, list[torch.Tensor]] = {}
    for image, style in zip(dataset.split("train"), read, strict=True):
        styles.setdefault(image.subject, []).append(style)
    return torch.stack([torch.stack(of_person).mean(0) for of_person in styles.values()])


def _load_people(
    dataset: PreparedDataset, translator: Translator, networks: AnchoredNetworks
) -> list[SliceSet]:
    """Read the training slices of every person."""
    images = dataset.split("train")
    device = next(networks.parameters()).device
    encoder = copy.deepcopy(translator.networks.anatomy_encoder).to(device)
    return [
        load_slice_set(tuple(i for i in images if i.subject == subject), encoder, device)
        for subject in dict.fromkeys(image.subject for image in images)
    ]


def _describe(
    dataset: PreparedDataset, translator: Translator, settings: AnchoredSettings
) -> ModelDescription:
    """Describe the model by what may be told: of the people, their number alone."""
    loop = LoopSettings(epochs=0, steps_per_epoch=1, learning_rate=1.0, patience=1)
    description = describe_model(
        dataset, name_networks(translator, settings.kind), loop, epoch=0, score=None
    )
    fixed = {
        "images": description.people,
        "slices": description.people,
        "intensity_scale": INTENSITY_SCALE,
    }
    return description.model_copy(update=fixed)
