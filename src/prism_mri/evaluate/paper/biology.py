"""Biology: tissue volumes before and after, effects of a covariate on them, and ComBat."""

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from prism_mri.errors import ConfigError, InputError
from prism_mri.evaluate.bootstrap import DRAWS, estimate_mean, resample_people
from prism_mri.evaluate.paper.images import Sites
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.results import TISSUES, EffectRow, VolumeRow
from prism_mri.evaluate.paper.segmentation import Overlaps, get_people
from prism_mri.evaluate.results import Interval

COMBAT = "combat"
_COUNT = len(TISSUES)
_LEAST_PEOPLE = 5
_MISSING = frozenset({"", "n/a", "na", "nan"})

Shares = Float64[np.ndarray, "people 3"]


@dataclass(frozen=True, eq=False)
class Volumes:
    """Tissue shares of the brain of all test people, mean over runs.

    Attributes:
        people: ``site/subject``.
        sites: of the same people.
        found: (people, 3) by method.
        true: (people, 3) by the labels.
    """

    people: tuple[str, ...]
    sites: tuple[str, ...]
    found: Mapping[str, Shares]
    true: Shares


def collect_volumes(
    forward: Mapping[str, Overlaps], sites: Sites, methods: Sequence[HarmonizationMethod]
) -> Volumes:
    """Gather what the target's networks measured at all sites; ComBat works on the unharmonized."""
    by_method: dict[str, Shares] = {}
    for method in methods:
        parts = [get_people(forward[f"{site}/{method.name}"]).mean(axis=1) for site in sites.names]
        by_method[method.name] = np.concatenate(parts)[:, 2 * _COUNT : 3 * _COUNT].astype(float)
    first = [get_people(forward[f"{site}/{methods[0].name}"]) for site in sites.names]
    people = [person for site in sites.names for person in sorted(forward[f"{site}/none"])]
    places = [person.split("/")[0] for person in people]
    by_method[COMBAT] = apply_combat(by_method["none"], places)
    true = np.concatenate(first).mean(axis=1)[:, 3 * _COUNT :].astype(float)
    return Volumes(tuple(people), tuple(places), by_method, true)


def apply_combat(shares: Shares, sites: Sequence[str]) -> Shares:
    """Return tissue shares without additive and multiplicative effects of site.

    Args:
        shares: (people, 3).
        sites: of the same people, each with two people at least; else the shares return unchanged.

    Raises:
        ConfigError: neuroCombat is not installed.

    Source:
        Johnson et al. 2007, Biostatistics 8(1), by neuroCombat, without covariates. It needs
        everybody's volumes in one place, which PRISM does not.
    """
    try:
        import pandas as pd
        from neuroCombat import neuroCombat
    except ImportError as error:
        raise ConfigError(
            "ComBat needs neuroCombat, which is not installed: pip install 'prism-mri[evaluate]'"
        ) from error
    if min(sites.count(site) for site in set(sites)) < 2:
        return shares
    batches = pd.DataFrame({"site": list(sites)})
    with contextlib.redirect_stdout(io.StringIO()):  # it tells its steps there
        harmonized: Shares = neuroCombat(shares.T, batches, "site")["data"].T
    return harmonized


def tabulate_volumes(volumes: Volumes, seed: int, *, labels_known: bool) -> list[VolumeRow]:
    """Return how much site explains of every tissue's share, and how far it is from the labels.

    Args:
        volumes: of everybody.
        seed: of the bootstrap.
        labels_known: whether the labels are true ones.
    """
    return [
        VolumeRow(
            method=method,
            tissue=tissue,
            people=len(shares),
            between_sites=compute_eta_squared(shares[:, index], volumes.sites),
            error=estimate_mean(100 * np.abs(shares[:, index] - volumes.true[:, index]), seed)
            if labels_known
            else None,
        )
        for method, shares in volumes.found.items()
        for index, tissue in enumerate(TISSUES)
    ]


def compute_eta_squared(values: Float64[np.ndarray, " P"], groups: Sequence[str]) -> float:
    """Return the share of the variance of values that their groups explain, 0 to 1."""
    total = float(((values - values.mean()) ** 2).sum())
    names = np.array(groups)
    between = sum(
        int((names == name).sum()) * float(values[names == name].mean() - values.mean()) ** 2
        for name in sorted(set(groups))
    )
    return between / total if total > 0 else 0.0


def read_covariate(tables: Mapping[str, Path], name: str) -> dict[str, str]:
    """Read one column of every site's participants.tsv, by ``site/subject``.

    Args:
        tables: by site.
        name: of the column.

    Raises:
        InputError: a table cannot be read, lacks the column or ``participant_id``, or holds a value
            that is not finite, a participant without a name or one with two values.
    """
    values: dict[str, str] = {}
    for site, path in tables.items():
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as problem:
            raise InputError(f"cannot read {path}: {problem}; give a participants.tsv") from problem
        reader = csv.DictReader(text.splitlines(), delimiter="\t")
        columns = reader.fieldnames or ()
        if "participant_id" not in columns or name not in columns:
            raise InputError(
                f"{path} has columns {', '.join(columns) or 'none'}, expected participant_id and"
                f" {name}: choose another with --covariate"
            )
        for line, row in enumerate(reader, start=2):
            label, word = row["participant_id"], (row[name] or "").strip()
            if word.lower() in _MISSING:
                continue
            person = f"{site}/{(label or '').removeprefix('sub-')}"
            if not label or not _is_finite(word) or values.get(person, word) != word:
                raise InputError(
                    f"{path}, line {line}: participant {label or 'without a name'} has {name}"
                    f" {word}, expected one finite value a participant; correct the table"
                )
            values[person] = word
    return values


def explain_missing_effects(sites: Sites, covariate: Mapping[str, str], name: str) -> list[str]:
    """Return a line for every site whose effects cannot be measured, and why."""
    lines = []
    for site in sites.names:
        people = {image.person for image in sites.select(site, "test")}
        words = [covariate[person] for person in sorted(people & set(covariate))]
        reason = _tell_unusable(words)
        if reason:
            lines.append(f"{site}: no effect of {name}, since {reason}")
    return lines


def _tell_unusable(words: Sequence[str]) -> str | None:
    """Return why a covariate's values allow no effect, or None where they do."""
    if len(words) < _LEAST_PEOPLE:
        return f"{len(words)} test people have a value and {_LEAST_PEOPLE} are needed"
    numbers = _to_numbers(words)
    if numbers is not None:
        return None if np.ptp(numbers) > 0 else "all have the same"
    kinds = sorted(set(words))
    if len(kinds) == 2:
        return None
    return f"{len(kinds)} different words are neither numbers nor two groups"


def _is_finite(word: str) -> bool:
    try:
        return bool(np.isfinite(float(word)))
    except ValueError:
        return True  # a word


def measure_effects(volumes: Volumes, covariate: Mapping[str, str], seed: int) -> list[EffectRow]:
    """Return the effect of a covariate on tissue shares, at every site, after every method.

    A covariate of numbers gives Pearson's correlation, one of two words Cohen's d between the two,
    in alphabetical order. A site where fewer than five people have a value, or all have the same,
    is left out.

    Args:
        volumes: of everybody.
        covariate: by ``site/subject``.
        seed: of the bootstrap.
    """
    rows = []
    for site in dict.fromkeys(volumes.sites):
        chosen = [
            index
            for index, person in enumerate(volumes.people)
            if volumes.sites[index] == site and person in covariate
        ]
        words = [covariate[volumes.people[index]] for index in chosen]
        if _tell_unusable(words):
            continue
        numbers = _to_numbers(words)
        for method, shares in volumes.found.items():
            for column, tissue in enumerate(TISSUES):
                values = shares[chosen, column]
                effect = (
                    estimate_d(values, words, seed)
                    if numbers is None
                    else estimate_correlation(values, numbers, seed)
                )
                rows.append(
                    EffectRow(
                        site=site,
                        method=method,
                        tissue=tissue,
                        measure="Cohen's d" if numbers is None else "correlation",
                        people=len(chosen),
                        effect=effect,
                    )
                )
    return rows


def estimate_correlation(
    values: Float64[np.ndarray, " P"], covariate: Float64[np.ndarray, " P"], seed: int
) -> Interval:
    """Return Pearson's correlation over people, with its bootstrap interval."""
    generator = np.random.default_rng(seed)
    draws = resample_people(len(values), draws=DRAWS, generator=generator)
    x, y = values[draws], covariate[draws]
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    below = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    usable = below > 0
    resampled = np.clip((x * y).sum(axis=1)[usable] / below[usable], -1, 1)
    low, high = np.percentile(resampled, (2.5, 97.5))
    estimate = float(np.corrcoef(values, covariate)[0, 1]) if np.ptp(values) > 0 else 0.0
    return Interval(estimate=estimate, low=float(low), high=float(high))


def estimate_d(values: Float64[np.ndarray, " P"], groups: Sequence[str], seed: int) -> Interval:
    """Return Cohen's d of the first group against the second, with its bootstrap interval.

    Source:
        Cohen 1988, with the pooled standard deviation; people are drawn within their groups.
    """
    names = np.array(groups)
    first, second = (values[names == name] for name in sorted(set(groups)))
    generator = np.random.default_rng(seed)
    resampled = [
        _compute_d(generator.choice(first, len(first)), generator.choice(second, len(second)))
        for _ in range(DRAWS)
    ]
    known = [value for value in resampled if np.isfinite(value)]
    estimate = _compute_d(first, second)
    if not known or not np.isfinite(estimate):
        return Interval(estimate=0.0)
    low, high = np.percentile(known, (2.5, 97.5))
    return Interval(estimate=estimate, low=float(low), high=float(high))


def _compute_d(first: np.ndarray, second: np.ndarray) -> float:
    below = len(first) + len(second) - 2
    squares = ((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum()
    pooled = np.sqrt(squares / below) if below > 0 else 0.0
    return float((first.mean() - second.mean()) / pooled) if pooled > 0 else float("nan")


def _to_numbers(words: Sequence[str]) -> Float64[np.ndarray, " P"] | None:
    try:
        return np.array([float(word) for word in words], dtype=np.float64)
    except ValueError:
        return None
