"""The stages of an evaluation, each on the results of those before; long ones are remembered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prism_mri.card import SiteCard
from prism_mri.evaluate.paper.biology import Volumes, collect_volumes
from prism_mri.evaluate.paper.checks import judge_checks, measure_harm
from prism_mri.evaluate.paper.distances import (
    PersonStyles,
    PersonValues,
    add_style_distances,
    measure_distances,
    read_styles,
    tabulate_distances,
)
from prism_mri.evaluate.paper.images import Sites
from prism_mri.evaluate.paper.labels import TissueTruth
from prism_mri.evaluate.paper.methods import HarmonizationMethod
from prism_mri.evaluate.paper.recall import score_site_recall
from prism_mri.evaluate.paper.results import (
    CheckRow,
    DiceChange,
    DistanceRow,
    PaperSettings,
    RecallRow,
    SegmentationRow,
    SimilarityRow,
    TravellingRow,
)
from prism_mri.evaluate.paper.segmentation import Segmenters, score_segmentation
from prism_mri.evaluate.paper.similarity import score_preservation, score_reconstructions
from prism_mri.evaluate.paper.travelling import Traveller, score_travellers
from prism_mri.evaluate.paper.workspace import Workspace, digest
from prism_mri.evaluate.redraw import SiteNetworks
from prism_mri.models.translator import Translator, compute_digest

Progress = Callable[[str, int, int], None]
"""Called with the name of a stage, steps done and steps in all."""


@dataclass
class Findings:
    """What the stages found."""

    similarity: list[SimilarityRow] = field(default_factory=list)
    recalls: list[RecallRow] = field(default_factory=list)
    segmentation: list[SegmentationRow] = field(default_factory=list)
    dice_changes: list[DiceChange] = field(default_factory=list)
    volumes: Volumes | None = None
    """None where nothing was segmented."""
    styles: PersonStyles = field(default_factory=dict)
    distances: list[DistanceRow] = field(default_factory=list)
    checks: list[CheckRow] = field(default_factory=list)
    travelling: list[TravellingRow] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Bench:
    """All that the stages work on.

    Attributes:
        sites: all images.
        methods: the first leaves images as they are; all were applied.
        card: the target's.
        translator: that the card names.
        truth: tissue labels.
        workspace: where harmonized images lie and results are kept.
        settings: runs, sizes, seed.
        report: told of progress.
    """

    sites: Sites
    methods: tuple[HarmonizationMethod, ...]
    card: SiteCard
    translator: Translator
    truth: TissueTruth
    workspace: Workspace
    settings: PaperSettings
    report: Progress

    def score_similarity(self, networks: Mapping[str, SiteNetworks]) -> list[SimilarityRow]:
        """Return Table 1; reconstruction of the sites that have networks."""
        seed = self.settings.seed
        identity = {
            site: [compute_digest(part.state_dict()) for part in vars(own).values()]
            for site, own in networks.items()
        }

        def compute() -> list[SimilarityRow]:
            self.report("similarity", 0, 1)
            rows = score_reconstructions(self.sites, networks, seed)
            rows += score_preservation(self.sites, self.methods, self.workspace, seed)
            self.report("similarity", 1, 1)
            return rows

        return self.workspace.remember(
            "similarity",
            [self._versions, identity, seed],
            list[SimilarityRow],
            compute,
        )

    def score_recall(self) -> list[RecallRow]:
        """Return Table 2."""
        return score_site_recall(
            self.sites,
            self.methods,
            self.workspace,
            self.settings,
            lambda done, total: self.report("site classifiers", done, total),
        )

    def score_segmentation(self, findings: Findings) -> None:
        """Find Table 3, and the volumes that its networks measure."""
        segmenters = Segmenters(self.sites, self.truth, self.workspace, self.settings)
        rows, changes, forward = score_segmentation(
            segmenters,
            self.methods,
            lambda done, total: self.report("segmentation networks", done, total),
        )
        findings.segmentation, findings.dice_changes = rows, changes
        findings.volumes = collect_volumes(forward, self.sites, self.methods)

    def measure_looks(self, findings: Findings) -> None:
        """Find distances, styles and the looks for harm, and compare them with their limits."""
        self.report("distances and looks for harm", 0, 1)
        encoder = self.translator.networks.anatomy_encoder
        modality = self.card.manifest.modality
        parts = (self.sites, self.methods, self.truth, self.workspace)
        seed, source = self.settings.seed, self.truth.source
        distances = self.workspace.remember(
            "distances",
            [self._versions, source, seed],
            dict[str, PersonValues],
            lambda: measure_distances(*parts, seed),
        )
        findings.styles = self.workspace.remember(
            "styles",
            [self._versions, self.card.digest],
            dict[str, dict[str, list[float]]],
            lambda: read_styles(self.sites, self.methods, self.workspace, self.card, encoder),
        )
        measures = self.workspace.remember(
            "looks",
            [self._versions, source, modality],
            dict[str, dict[str, dict[str, float]]],
            lambda: measure_harm(*parts, modality),
        )
        add_style_distances(distances, findings.styles, self.sites)
        findings.distances = tabulate_distances(distances, self.sites, self.methods, self.settings)
        findings.checks = judge_checks(
            measures, findings.distances, findings.dice_changes, self.settings, labels=source
        )
        self.report("distances and looks for harm", 1, 1)

    def score_travelling(
        self, travellers: tuple[Traveller, ...], volumes: Volumes | None
    ) -> list[TravellingRow]:
        """Return likeness and agreement of people who were scanned at several sites."""
        if not travellers:
            return []
        people = [[one.person, dict(one.subjects)] for one in travellers]
        found = volumes and {name: shares.tolist() for name, shares in volumes.found.items()}

        def compute() -> list[TravellingRow]:
            self.report("travelling people", 0, 1)
            for method in self.methods:
                method.fit(self.sites.read_target)
            rows = score_travellers(
                travellers, self.sites, self.methods, volumes, self.settings.seed
            )
            self.report("travelling people", 1, 1)
            return rows

        return self.workspace.remember(
            "travelling",
            [self._versions, people, digest(found), self.settings.seed],
            list[TravellingRow],
            compute,
        )

    @property
    def _versions(self) -> list[tuple[str, str]]:
        return [(method.name, method.version) for method in self.methods]
