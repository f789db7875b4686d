"""The paper's experiments on a set of sites, harmonized to one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import prism_mri
from prism_mri.bids import PREPARED_MANIFEST
from prism_mri.card import SiteCard, check_compatible
from prism_mri.data.prepared import PreparedDataset, read_prepared
from prism_mri.errors import CompatibilityError, ConfigError, InputError
from prism_mri.evaluate.collect import find_versions, record_card
from prism_mri.evaluate.files import check_results_folder
from prism_mri.evaluate.paper.biology import (
    explain_missing_effects,
    measure_effects,
    read_covariate,
    tabulate_volumes,
)
from prism_mri.evaluate.paper.distances import compute_style_energy, list_styles
from prism_mri.evaluate.paper.files import write_paper_results
from prism_mri.evaluate.paper.images import Sites, gather_sites
from prism_mri.evaluate.paper.labels import find_truth
from prism_mri.evaluate.paper.methods import HarmonizationMethod, Prism, build_baselines
from prism_mri.evaluate.paper.panels import cut_panels
from prism_mri.evaluate.paper.recall import count_shares
from prism_mri.evaluate.paper.results import (
    MethodRecord,
    PaperResults,
    PaperSettings,
    SiteRecord,
)
from prism_mri.evaluate.paper.stages import Bench, Findings, Progress
from prism_mri.evaluate.paper.travelling import Traveller, read_travellers
from prism_mri.evaluate.paper.verdict import judge
from prism_mri.evaluate.paper.workspace import WORK_NAME, Workspace, apply_methods, digest
from prism_mri.evaluate.redraw import SiteNetworks, read_site_networks
from prism_mri.evaluate.styles import place_styles
from prism_mri.files import digest_file
from prism_mri.models.site_model import read_model
from prism_mri.models.translator import Translator, compute_digest

Experiment = Literal["recall", "segmentation"]
EXPERIMENTS: tuple[Experiment, ...] = ("recall", "segmentation")
"""What takes long and can be left out: Table 2, and Table 3 with all that is built on it."""
_FEW_PEOPLE = 10


@dataclass(frozen=True)
class PaperInputs:
    """What is evaluated.

    Attributes:
        prepared: folders that ``prism-mri prepare`` made, the target's among them.
        models: folders that ``prism-mri train`` made; their sites' reconstruction is scored.
        participants: participants.tsv by site, for the covariate of the settings.
        travelling: table of people who were scanned at several sites.
        experiments: which long ones to run.
    """

    prepared: tuple[Path, ...]
    models: tuple[Path, ...] = ()
    participants: Mapping[str, Path] = field(default_factory=dict)
    travelling: Path | None = None
    experiments: tuple[Experiment, ...] = EXPERIMENTS


def evaluate_paper(
    inputs: PaperInputs,
    card: SiteCard,
    translator: Translator,
    out: Path,
    *,
    settings: PaperSettings | None = None,
    others: Sequence[HarmonizationMethod] = (),
    overwrite: bool = False,
    progress: Progress = lambda _stage, _done, _total: None,
) -> PaperResults:
    """Run the paper's experiments on a set of sites, harmonized to one of them.

    Everything computed lies under ``OUT/work`` by what it was computed from: an evaluation that was
    killed goes on, and a change of one setting repeats only what depends on it.

    Args:
        inputs: sites, models and tables.
        card: of the target, recipe ``anchored``.
        translator: that the card names.
        out: folder for results.json, tables as TSV, table.md and panels.npz.
        settings: runs, sizes, seed.
        others: more methods to compare, for instance a new one.
        overwrite: replace earlier results.
        progress: called after every step.

    Returns:
        What was written to results.json.

    Raises:
        InputError: a dataset, model or table cannot be used, or results stand there already.
        CompatibilityError: card, datasets and translator do not go together.
        ConfigError: a library is missing, or the settings name a method that there is not.

    Source:
        Galada et al. 2024, arXiv 2411.06513, section 3.
    """
    check_results_folder(out, overwrite=overwrite)
    settings = settings or PaperSettings()
    sites = _read_sites(inputs.prepared, card, translator, settings)
    travellers = read_travellers(inputs.travelling, sites) if inputs.travelling else ()
    covariate = _read_covariate(inputs, sites, settings)
    networks = _read_networks(inputs.models, sites, card, translator)
    bench = _set_up(sites, card, translator, (out, settings, inputs, others), progress)
    findings = _run(bench, inputs, networks, travellers)
    panels, arrays = cut_panels(sites, bench.methods, bench.workspace)
    results = _assemble(bench, findings, covariate, _list_warnings(bench, inputs, covariate))
    results = results.model_copy(update={"panels": panels})
    write_paper_results(out, results, arrays, overwrite=overwrite)
    return results


def _set_up(
    sites: Sites,
    card: SiteCard,
    translator: Translator,
    wanted: tuple[Path, PaperSettings, PaperInputs, Sequence[HarmonizationMethod]],
    progress: Progress,
) -> Bench:
    """Apply all methods, and find or make the tissue labels."""
    out, settings, inputs, others = wanted
    encoder = translator.networks.anatomy_encoder
    modality = card.manifest.modality
    methods = (*build_baselines(modality), Prism(card, encoder), *others)
    _check_methods(methods, settings)
    workspace = Workspace(
        out / WORK_NAME, _digest_sites(sites, inputs.prepared, settings, translator)
    )
    apply_methods(
        sites,
        methods,
        settings.retrained if inputs.experiments else (),
        workspace,
        lambda done, total: progress("harmonize", done, total),
    )
    truth = find_truth(sites, modality, encoder, workspace)
    return Bench(sites, methods, card, translator, truth, workspace, settings, progress)


def _run(
    bench: Bench,
    inputs: PaperInputs,
    networks: Mapping[str, SiteNetworks],
    travellers: tuple[Traveller, ...],
) -> Findings:
    findings = Findings(similarity=bench.score_similarity(networks))
    if "recall" in inputs.experiments:
        findings.recalls = bench.score_recall()
    if "segmentation" in inputs.experiments:
        bench.score_segmentation(findings)
    bench.measure_looks(findings)
    findings.travelling = bench.score_travelling(travellers, findings.volumes)
    return findings


def _assemble(
    bench: Bench, findings: Findings, covariate: Mapping[str, str], warnings: tuple[str, ...]
) -> PaperResults:
    """Put everything together, and judge."""
    sites, settings, volumes = bench.sites, bench.settings, findings.volumes
    points, axes = place_styles(list_styles(findings.styles, sites))
    known = bench.truth.source != "anatomy-encoder"
    return PaperResults(
        target=sites.target,
        sites=tuple(_describe_site(sites, name) for name in sites.names),
        methods=tuple(
            MethodRecord(name=one.name, label=one.label, version=one.version)
            for one in bench.methods
        ),
        labels=bench.truth.source,
        settings=settings,
        contract=bench.card.manifest.contract,
        card=record_card(bench.card),
        similarity=tuple(findings.similarity),
        recalls=tuple(findings.recalls),
        majority_share=count_shares(sites),
        segmentation=tuple(findings.segmentation),
        dice_changes=tuple(findings.dice_changes),
        distances=tuple(findings.distances),
        styles=points,
        style_axes=axes,
        style_energy=tuple(compute_style_energy(findings.styles, sites, bench.methods)),
        checks=tuple(findings.checks),
        volumes=tuple(tabulate_volumes(volumes, settings.seed, labels_known=known))
        if volumes
        else (),
        effects=tuple(measure_effects(volumes, covariate, settings.seed)) if volumes else (),
        travelling=tuple(findings.travelling),
        verdicts=tuple(judge(findings.checks, sites.sources, [one.name for one in bench.methods])),
        panels=(),
        versions=find_versions(),
        warnings=warnings,
    )


def _read_sites(
    folders: Sequence[Path], card: SiteCard, translator: Translator, settings: PaperSettings
) -> Sites:
    manifest = card.manifest
    if manifest.recipe != "anchored":
        raise CompatibilityError(
            f"the card of {manifest.site} is of recipe {manifest.recipe}, whose anatomy stays at"
            " its site: give a card of recipe anchored"
        )
    digest_of_anatomy = compute_digest(translator.networks.anatomy_encoder.state_dict())
    check_compatible(card, digest_of_anatomy, manifest.modality)
    datasets: dict[str, PreparedDataset] = {}
    for folder in folders:
        dataset = read_prepared(folder)
        site = dataset.manifest.site
        if site in datasets:
            raise InputError(
                f"{folder} and {datasets[site].folder} are both of {site}; give one of them"
            )
        if dataset.manifest.contract != manifest.contract:
            raise CompatibilityError(
                f"{folder} is prepared as {dataset.manifest.contract.modality}, otherwise than the"
                f" card of {manifest.site} asks ({manifest.modality}): prepare it again"
            )
        datasets[site] = dataset
    return gather_sites(datasets, manifest.site, settings.slices)


def _check_methods(methods: Sequence[HarmonizationMethod], settings: PaperSettings) -> None:
    names = [method.name for method in methods]
    twice = sorted({name for name in names if names.count(name) > 1})
    unknown = sorted(set(settings.retrained) - set(names))
    if twice or unknown:
        wrong = f"named twice: {', '.join(twice)}" if twice else f"unknown: {', '.join(unknown)}"
        raise ConfigError(f"methods {wrong}; there are {', '.join(dict.fromkeys(names))}")


def _read_covariate(inputs: PaperInputs, sites: Sites, settings: PaperSettings) -> dict[str, str]:
    if settings.covariate is None:
        if inputs.participants:
            raise ConfigError("tables of participants serve a covariate: name one, or leave them")
        return {}
    if "segmentation" not in inputs.experiments:
        raise ConfigError(
            f"covariate {settings.covariate} is followed on volumes, which segmentation networks"
            " measure: do not leave those out"
        )
    if not inputs.participants:
        raise ConfigError(
            f"covariate {settings.covariate} needs tables of participants: give SITE=FILE"
        )
    strangers = sorted(set(inputs.participants) - set(sites.names))
    if strangers:
        raise InputError(
            f"participants of {', '.join(strangers)} were given, sites are"
            f" {', '.join(sites.names)}: correct the names"
        )
    return read_covariate(inputs.participants, settings.covariate)


def _read_networks(
    models: Sequence[Path], sites: Sites, card: SiteCard, translator: Translator
) -> dict[str, SiteNetworks]:
    """Return the networks that draw each site's images again; the target's are the card's."""
    encoder = translator.networks.anatomy_encoder
    networks = {sites.target: SiteNetworks(encoder, card.style_encoder, card.decoder)}
    for model in models:
        site = read_model(model)[0].site
        if site not in sites.names:
            raise InputError(
                f"{model} is a model of {site}, sites are {', '.join(sites.names)}: give models of"
                " those"
            )
        if site != sites.target:
            networks[site] = read_site_networks(model, translator)
    return networks


def _digest_sites(
    sites: Sites, folders: Sequence[Path], settings: PaperSettings, translator: Translator
) -> str:
    """Return a digest of every file that is read, of what is chosen of it, and of this version."""
    content = [(folder / PREPARED_MANIFEST).read_text() for folder in folders]
    for image in sites.images:
        entry = image.prepared.entry
        names = (entry.image, entry.mask, entry.labels)
        content += [digest_file(image.prepared.folder / name) for name in names if name]
    content += [translator.digest, prism_mri.__version__]
    return digest([content, sites.target, settings.slices])


def _describe_site(sites: Sites, name: str) -> SiteRecord:
    train, test = sites.select(name, "train"), sites.select(name, "test")
    return SiteRecord(
        site=name,
        people_train=len({image.subject for image in train}),
        people_test=len({image.subject for image in test}),
        images_train=len(train),
        images_test=len(test),
        held_out=sites.held_out[name],
    )


def _list_warnings(
    bench: Bench, inputs: PaperInputs, covariate: Mapping[str, str]
) -> tuple[str, ...]:
    sites, card = bench.sites, bench.card
    warnings = []
    for name in sites.names:
        people = len({image.subject for image in sites.select(name, "test")})
        if people < _FEW_PEOPLE:
            noun = "person" if people == 1 else "people"
            warnings.append(
                f"{name}: {people} test {noun} only; intervals are a rough guide and tend to be too"
                " narrow"
            )
    slices = [name for name, kind in sites.held_out.items() if kind == "slices"]
    if slices:
        warnings.append(f"{', '.join(slices)}: tested on slices of the person trained on")
    chosen_on = [name for name, kind in sites.held_out.items() if kind == "validation"]
    if chosen_on:
        warnings.append(
            f"{', '.join(chosen_on)}: tested on validation people, by whom a training chose its"
            " best epoch; how well a site draws its own images is a little flattered"
        )
    if bench.truth.source == "anatomy-encoder":
        warnings.append(
            "tissue labels are drawn by the shipped anatomy encoder, from the images as they were,"
            " which favours PRISM: the verdict counts neither Table 3 nor intensities by tissue;"
            " prepare every site with --labels, or put FSL FAST on the PATH"
        )
    if settings_covariate := bench.settings.covariate:
        warnings += explain_missing_effects(sites, covariate, settings_covariate)
    if card.signer is None:
        warnings.append(f"the card of {sites.target} is not signed, or its key was not checked")
    missing = [name for name in ("recall", "segmentation") if name not in inputs.experiments]
    if missing:
        warnings.append(f"left out: {', '.join(missing)}")
    return tuple(warnings)
