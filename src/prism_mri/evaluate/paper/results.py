"""What an evaluation of sites found: frozen models, written as results.json, read by the report."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError

from prism_mri.config import FrozenModel, PreprocessingContract, describe_validation_error
from prism_mri.errors import ConfigError
from prism_mri.evaluate.results import CardRecord, Interval, StyleAxes, StylePoint

Count = Annotated[int, Field(ge=0)]
Region = Literal["whole", "brain"]
Tissue = Literal["CSF", "GM", "WM"]
TISSUES: tuple[Tissue, ...] = ("CSF", "GM", "WM")
Network = Literal["resnet50", "efficientnet-b2"]
TrainedOn = Literal["original", "harmonized", "shuffled"]
LabelSource = Literal["given", "fast", "anatomy-encoder"]
Judgement = Literal["improved", "no effect", "harmful", "undecided"]
CheckName = Literal["order", "sharpness", "structure", "islands", "shift", "distance", "dice"]


class MethodRecord(FrozenModel):
    """A method that was compared."""

    name: str
    label: str
    version: str


class SiteRecord(FrozenModel):
    """What was looked at of one site."""

    site: str
    people_train: Count
    people_test: Count
    images_train: Count
    images_test: Count
    held_out: str
    """What the test images are: "test" or "validation" people, or only "slices" of one person."""


class PaperSettings(FrozenModel):
    """Everything that fixes the numbers besides data, cards and models."""

    seed: int = 0
    runs: Annotated[int, Field(ge=1, le=50)] = 5
    """Networks of Tables 2 and 3 are trained so many times."""
    slices: Annotated[int, Field(ge=1, le=200)] = 8
    """Slices of an image that networks and distances look at, evenly spread over the brain."""
    classifier_steps: Annotated[int, Field(ge=1)] = 100
    classifier_size: Annotated[int, Field(ge=32, le=1024)] = 96
    """Slices are averaged to so many pixels a side before a classifier sees them."""
    segmenter_steps: Annotated[int, Field(ge=1)] = 300
    batch: Annotated[int, Field(ge=1)] = 16
    retrained: tuple[str, ...] = ("prism",)
    """Methods whose harmonized training images new networks are trained on."""
    covariate: str | None = None
    """Column of participants.tsv whose effect on volumes is followed."""
    bootstrap_draws: Annotated[int, Field(ge=100)] = 2000


def build_settings(**values: object) -> PaperSettings:
    """Return settings from what a user asked for.

    Raises:
        ConfigError: a value is out of range.
    """
    try:
        return PaperSettings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(
            f"settings of the evaluation: {describe_validation_error(error)}; correct the options"
        ) from error


class SimilarityRow(FrozenModel):
    """Table 1: a site's test images drawn again at home, or against what harmonizing made of them.

    MSE is in squared units of the prepared scale; the data range is 1.
    """

    kind: Literal["reconstruction", "preservation"]
    site: str
    method: str
    region: Region
    people: Count
    ssim: Interval
    psnr_db: Interval
    mse: Interval


class Spread(FrozenModel):
    """Mean and standard deviation over runs; no deviation of one run."""

    mean: float
    sd: float | None


class RecallRow(FrozenModel):
    """Table 2: a classifier of site on test images."""

    network: Network
    trained_on: TrainedOn
    """Original training images; those of one method, harmonized; or original ones under shuffled
    names."""
    method: str
    """What was done to the test images, and, where trained on harmonized ones, to those."""
    recall: dict[str, Spread]
    """By site, the share of its test slices that are told right."""
    called_target: dict[str, Spread]
    """By source site, the share of its test slices that are called the target."""
    weighted_f1: Spread


class SegmentationRow(FrozenModel):
    """Table 3: a U-Net trained at one site, tested at another; means over people and runs."""

    role: Literal["target on source", "source on itself", "source on target"]
    """The paper's; its ceiling; and the reverse direction, where the training images are changed.
    """
    site: str
    """The source."""
    method: str
    tissue: Tissue
    people: Count
    dice: Interval
    dice_sd: float | None
    """Over runs."""
    iou: Interval


class DiceChange(FrozenModel):
    """How much a method changes Dice, over people; the target's network on source images."""

    site: str
    """A source, or "mean" over sources."""
    tissue: Literal["CSF", "GM", "WM", "mean"]
    method: str
    versus: str
    difference: Interval


class DistanceRow(FrozenModel):
    """Distances that need no travelling people."""

    site: str
    method: str
    measure: Literal["intensity brain", "intensity tissues", "gradient SSIM", "style"]
    """Wasserstein distance to the target's training images, in the brain or the mean of the three
    tissues; SSIM of gradients against the source; Euclidean distance of styles to the target's
    mean, in units of the target's own mean distance."""
    people: Count
    value: Interval
    change: Interval | None
    """Against the image as it was; None for that itself."""


class StyleEnergy(FrozenModel):
    """Energy distance of a site's styles to the target's, as the target's encoder sees them."""

    site: str
    method: str
    distance: float


class CheckRow(FrozenModel):
    """One look for harm: a measure of every person, its mean, and whether it passes."""

    site: str
    method: str
    check: CheckName
    people: Count
    value: Interval
    """Mean over people; its interval is widened for few of them."""
    limit: str
    """The rule, in words."""
    result: Literal["good", "safe", "none", "bad", "unknown"]
    """Speaks for improvement; excludes harm; tells neither; speaks for harm; or there are too few
    people to tell."""


class EffectRow(FrozenModel):
    """Biology: what a covariate does to a tissue's share of the brain."""

    site: str
    method: str
    tissue: Tissue
    measure: Literal["correlation", "Cohen's d"]
    people: Count
    effect: Interval


class VolumeRow(FrozenModel):
    """Tissue shares of the brain by the target's network."""

    method: str
    tissue: Tissue
    people: Count
    between_sites: float
    """Share of the variance between people that site explains, 0 to 1 (eta squared)."""
    error: Interval | None
    """Mean absolute error against the labels, in percent of the brain; None without labels."""


class TravellingRow(FrozenModel):
    """People who were scanned at several sites."""

    method: str
    people: Count
    scans: Count
    ssim: Interval | None
    """Source's image against the person's own at the target, registered; None where nobody has
    one there."""
    psnr_db: Interval | None
    icc: dict[Tissue, float | None]
    within_cv: dict[Tissue, float]


class Verdict(FrozenModel):
    """What came of a method at a site, or at all of them ("overall")."""

    site: str
    method: str
    judgement: Judgement
    reasons: tuple[str, ...]


class PaperPanel(FrozenModel):
    """One slice of a person, before and after; arrays ``<key>_<method>`` in panels.npz."""

    key: str
    site: str
    methods: tuple[str, ...]
    pixel_mm: tuple[float, float]


class PaperResults(FrozenModel):
    """The paper's experiments on a set of sites."""

    schema_version: Literal[1] = 1
    kind: Literal["paper"] = "paper"
    target: str
    sites: tuple[SiteRecord, ...]
    methods: tuple[MethodRecord, ...]
    labels: LabelSource
    settings: PaperSettings
    contract: PreprocessingContract
    card: CardRecord
    similarity: tuple[SimilarityRow, ...]
    recalls: tuple[RecallRow, ...]
    majority_share: dict[str, float]
    """By site, its share of all test slices: recall of a guess weighted so; the largest is the
    accuracy of always naming that site."""
    segmentation: tuple[SegmentationRow, ...]
    dice_changes: tuple[DiceChange, ...]
    distances: tuple[DistanceRow, ...]
    styles: tuple[StylePoint, ...]
    style_axes: tuple[StyleAxes, ...]
    style_energy: tuple[StyleEnergy, ...]
    checks: tuple[CheckRow, ...]
    volumes: tuple[VolumeRow, ...]
    effects: tuple[EffectRow, ...]
    travelling: tuple[TravellingRow, ...]
    verdicts: tuple[Verdict, ...]
    panels: tuple[PaperPanel, ...]
    versions: dict[str, str]
    warnings: tuple[str, ...]
