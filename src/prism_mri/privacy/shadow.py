"""Membership by likelihood ratio: what would the card do had this person been trained on, or not?

Shadow models are trained as the audited one was, each on a random half of everybody whom the
auditor has. So every person is in about half of them, and their score under the audited card is
compared with what it is under models that know them and models that do not.

Source:
    Carlini et al. 2022, Membership inference attacks from first principles (LiRA), online, with one
    variance for all people, as the paper advises for few shadow models.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64
from scipy.stats import norm

from prism_mri.data.prepared import PreparedDataset, PreparedImage
from prism_mri.data.subset import write_subset
from prism_mri.errors import InputError
from prism_mri.files import write_whole
from prism_mri.models.translator import Translator
from prism_mri.training.anchored import AnchoredSettings, train_anchored
from prism_mri.training.loop import CONFIG_NAME
from prism_mri.training.mechanism import PrivacySettings
from prism_mri.training.private import train_private

ATTACK_NAME = "likelihood ratio"
FOLDER_NAME = "audit-shadows"
MIN_SHADOWS = 8
"""Fewer leave some people in all or in none of them."""

Scores = Float64[np.ndarray, "_N _P"]
Inside = Bool[np.ndarray, "_N _P"]
Statistic = Callable[[Path], Float64[np.ndarray, " _P"]]
"""From a model's folder to one number a person: how well its card draws them."""


@dataclass(frozen=True)
class Shadows:
    """How to train a model as the audited one was.

    Attributes:
        dataset: that it was trained on: site and contract.
        people: images of everybody, members first, by person.
        anchored: the recipe's settings.
        privacy: of a differentially private training, else None.
        translator: the shipped networks.
    """

    dataset: PreparedDataset
    people: Sequence[Sequence[PreparedImage]]
    anchored: AnchoredSettings
    privacy: PrivacySettings | None
    translator: Translator

    def compute_key(self) -> str:
        """Return a digest of all that the scores depend on; images are told by their own scale."""
        content = [
            [[image.entry.model_dump(mode="json") for image in images] for images in self.people],
            self.anchored.model_dump(),
            None if self.privacy is None else self.privacy.model_dump(),
            [self.translator.digest, self.translator.base_digest],
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def train(self, inside: Bool[np.ndarray, " _P"], out: Path, *, seed: int) -> None:
        """Train on the people inside; one of the others is validated on."""
        spare = int(np.flatnonzero(~inside)[seed % int((~inside).sum())])
        with tempfile.TemporaryDirectory() as folder:
            prepared = write_subset(
                Path(folder),
                self.dataset.manifest,
                train={person: self.people[person] for person in map(int, np.flatnonzero(inside))},
                validation={spare: self.people[spare]},
            )
            if self.privacy is not None:
                train_private(
                    prepared,
                    out,
                    self.anchored,
                    self.privacy,
                    translator=self.translator,
                    report=_be_silent,
                )
            else:
                train_anchored(
                    prepared,
                    out,
                    self.anchored,
                    translator=self.translator,
                    seed=seed,
                    report=_be_silent,
                )


def read_shadow_settings(model: Path) -> tuple[AnchoredSettings, PrivacySettings | None]:
    """Return the settings that a model was trained with.

    Raises:
        InputError: the model's folder does not say.
    """
    path = model / CONFIG_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        privacy = content.get("privacy")
        return (
            AnchoredSettings.model_validate(content["anchored"]),
            None if privacy is None else PrivacySettings.model_validate(privacy),
        )
    except (OSError, ValueError, KeyError) as problem:
        raise InputError(f"{path} does not say how the model was trained: train again") from problem


def score_shadows(
    model: Path,
    shadows: Shadows,
    count: int,
    statistic: Statistic,
    *,
    seed: int,
    progress: Callable[[int], None],
) -> tuple[Scores, Inside]:
    """Train shadow models and take everybody's statistic under each.

    What was computed is kept in the model's folder, and an interrupted audit goes on from there.

    Args:
        model: the audited model's folder.
        shadows: how to train.
        count: of models.
        statistic: of a model.
        seed: of who is inside which model, and of the trainings.
        progress: called with the models done.

    Returns:
        Statistics ``(N, P)``, and who was inside ``(N, P)``.
    """
    folder = model / FOLDER_NAME
    folder.mkdir(exist_ok=True)
    inside = split_people(len(shadows.people), count, seed)
    key = shadows.compute_key()
    scores = []
    for number, row in enumerate(inside):
        path = folder / f"{seed}-{number:03d}-of-{count}.json"
        stored = _read_scores(path, key)
        if stored is None:
            with tempfile.TemporaryDirectory() as place:
                out = Path(place) / "model"
                shadows.train(row, out, seed=seed + number + 1)
                stored = statistic(out).tolist()
            content = json.dumps({"key": key, "scores": stored})
            write_whole(path, content.encode(), overwrite=True)
        scores.append(stored)
        progress(number + 1)
    return np.array(scores), inside


def split_people(people: int, count: int, seed: int) -> Inside:
    """Return who is inside which of ``count`` models: everybody in half of them.

    Models come in pairs of opposites, so that each person is in exactly half of an even count.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(0, count, 2):
        row = np.zeros(people, bool)
        row[generator.permutation(people)[: people // 2]] = True
        rows += [row, ~row]
    return np.array(rows[:count])


def compute_likelihood_ratios(
    target: Float64[np.ndarray, " _P"], scores: Scores, inside: Inside
) -> Float64[np.ndarray, " _P"]:
    """Return the log of how much likelier a person's statistic is from inside than from outside.

    Args:
        target: statistic under the audited model, one a person.
        scores: under the shadow models.
        inside: who was inside which.
    """
    means = [np.nanmean(np.where(chosen, scores, np.nan), axis=0) for chosen in (inside, ~inside)]
    residuals = np.where(inside, scores - means[0], scores - means[1])
    deviation = max(float(residuals.std()), 1e-12)
    with_person, without = (norm.logpdf(target, mean, deviation) for mean in means)
    ratios: Float64[np.ndarray, " _P"] = with_person - without
    return ratios


def _read_scores(path: Path, key: str) -> list[float] | None:
    """Return what an earlier audit kept of the same people and settings, unless damaged."""
    try:
        content = json.loads(path.read_text())
        return list(content["scores"]) if content["key"] == key else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _be_silent(_line: str) -> None:
    return None
