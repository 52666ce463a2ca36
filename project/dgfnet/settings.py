"""params.yaml becomes frozen, validated settings.

params.yaml is the only source of defaults: no field below has one, but for the alternatives of a `Range`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from dgfnet.errors import InputError
from dgfnet.params import assign, explain, read
from dgfnet.vocabulary import Branch, EncoderName, Modality, Site, Variant

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """A section of params.yaml: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Base(Section):
    """What every stage shares. Paths are relative to params.yaml; `Settings` makes them absolute."""

    profile: str
    seed: Count
    data: str
    truth: str
    artifacts: str
    work: str
    confidence: Share
    sites: tuple[Site, ...] = Field(strict=False, min_length=1)


class Phantom(Section):
    """The generated cohort: enrolled patients, before exclusions; whose factors decide the labels."""

    patients: Annotated[int, Field(ge=30)]
    external_patients: Annotated[int, Field(ge=10)]
    seed: Count
    signal: Annotated[float, Field(ge=0)]
    informative: tuple[Modality, ...] = Field(strict=False, min_length=1)


class Cohort(Section):
    """Screening and folds.

    Every nodule needs images of `modalities`. A US picture in which something seems to be drawn is kept or
    set aside as `undecided` says until a person decides.
    """

    modalities: tuple[Modality, ...] = Field(strict=False, min_length=1)
    undecided: Literal["keep", "set_aside"]
    folds: Annotated[int, Field(ge=2)]
    minimum_per_class: Positive


class Audit(Section):
    """Two pictures whose fine structure correlates above `same_picture` are one picture."""

    same_picture: Annotated[float, Field(gt=0.5, lt=1)]


class Preprocess(Section):
    """Regions of interest and targets; sizes in pixels, dilations in 3x3 iterations (paper section 2)."""

    us_size: Positive
    ct_size: Positive
    us_dilations: Count
    ct_dilations: Count
    boundary_fraction: Share
    bilateral_diameter: Positive
    bilateral_sigma: Positive
    canny_low: int
    canny_high: int
    window_level: float
    window_width: Annotated[float, Field(gt=0)]
    margin: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def sizes_fit_the_encoder(self) -> Preprocess:
        """ResNets halve the image five times."""
        for name in ("us_size", "ct_size"):
            if getattr(self, name) % 32:
                raise ValueError(f"{name} must be a multiple of 32, found {getattr(self, name)}")
        return self

    def size(self, modality: Modality) -> int:
        """Side of the network's input, pixels."""
        return self.us_size if modality == "us" else self.ct_size

    def dilations(self, modality: Modality) -> int:
        """Iterations of the 3x3 dilation that widens the mask before its bounding box is taken."""
        return self.us_dilations if modality == "us" else self.ct_dilations


class Encoders(Section):
    """Which ResNet each site uses."""

    central: EncoderName
    lateral: EncoderName


class Dgf(Section):
    """Diverse granularity fusion: its branches, their combination, what the nodule level attends over."""

    branches: tuple[Branch, ...] = Field(strict=False, min_length=1)
    combiner: Literal["product", "sum", "concat"]
    scale_dimension_attention: bool
    nodule_level: Literal["bank", "batch"]


class Tlr(Section):
    """The baseline `us_tlr`: Inception V3 on the rectangle around the nodule (network/tlr.py)."""

    size: Annotated[int, Field(ge=75)]
    box: Annotated[float, Field(ge=1, le=2)]
    finetune: Annotated[float, Field(ge=0, le=1)]
    annealing: Positive


class Network(Section):
    """Architecture; width multiplies every channel count of the paper's networks."""

    encoder: Encoders
    width: Annotated[float, Field(gt=0, le=2)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    pretrained: str
    dgf: Dgf
    tlr: Tlr

    def encoder_of(self, site: Site) -> EncoderName:
        """Encoder of one site."""
        return self.encoder.central if site == "central" else self.encoder.lateral


class Augment(Section):
    """Each transform is applied with this probability (paper section 2)."""

    probability: Annotated[float, Field(ge=0, le=1)]
    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    smallest_crop: Annotated[float, Field(gt=0, le=1)]
    brightness: Annotated[float, Field(ge=0, le=1)]
    contrast: Annotated[float, Field(ge=0, le=1)]
    elastic_alpha: Annotated[float, Field(ge=0)]
    elastic_sigma: Annotated[float, Field(gt=0)]


class Training(Section):
    """Optimisation shared by every fit (paper section 4)."""

    batch: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    segmentation_weight: Annotated[float, Field(ge=0)]
    sampling: Literal["train_only", "paper", "none"]
    augment: Augment
    precision: Literal["auto", "float32"]
    compile: Literal["auto", "on", "off"]


class Pretrain(Section):
    """The segmentation-only phase."""

    epochs: Positive


class Range(Section):
    """Values a search may try: between two limits, or one of a list."""

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = Field(default=None, strict=False, min_length=1)

    @model_validator(mode="after")
    def one_or_the_other(self) -> Range:
        """Either limits or choices, and limits in order."""
        limits = self.low is not None and self.high is not None
        if limits == (self.choices is not None) or (self.low is None) != (self.high is None):
            raise ValueError("give either low and high, or choices")
        if self.low is not None and self.high is not None:
            if not self.low < self.high:
                raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
            if self.log and self.low <= 0:
                raise ValueError(f"a logarithmic range must be above 0, found low {self.low:g}")
        return self


class Tune(Section):
    """The nested search: it sees only the training part of a fold. No trials, no search."""

    variants: tuple[Variant, ...] = Field(strict=False, min_length=1)
    trials: Count
    inner_folds: Annotated[int, Field(ge=2)]
    grace_epochs: Positive
    reduction: Annotated[int, Field(ge=2)]
    space: dict[str, Range] = Field(min_length=1)

    @model_validator(mode="after")
    def only_what_fits_may_differ(self) -> Tune:
        """Fusions start from their parents' streams: shape and data are no choice of a search."""
        fixed = ("network.width", "network.encoder", "network.pretrained", "training.sampling")
        for name in self.space:
            if not name.startswith(("network.", "training.")) or name.startswith(fixed):
                raise ValueError(
                    f"space.{name} cannot be searched; expected a key of training or network "
                    f"other than {', '.join(fixed)}"
                )
        if "us_tlr" in self.variants:
            raise ValueError("variants: us_tlr has a search of its own, the annealing of its head")
        return self

    def space_of(self, variant: Variant) -> dict[str, Range]:
        """What a variant can be searched for: the fusion's settings belong to `dgf` alone."""
        return {
            name: limits
            for name, limits in self.space.items()
            if variant == "dgf" or not name.startswith("network.dgf.")
        }


class Crossval(Section):
    """The matrix of variants and folds."""

    variants: tuple[Variant, ...] = Field(strict=False, min_length=1)
    unimodal_epochs: Positive
    multimodal_epochs: Positive
    validate_every: Positive


class Sweep(Section):
    """Resources of one Ray trial; they change how long a run takes, not what it computes."""

    cpus_per_trial: Annotated[float, Field(gt=0)]
    gpus_per_trial: Annotated[float, Field(ge=0)]
    checkpoint_every: Positive
    retries: Count


class Compare(Section):
    """Which variant the others are compared with, and resamples of the bootstrap."""

    reference: Variant
    replicates: Annotated[int, Field(ge=100)]


class Register(Section):
    """Which model becomes the product; only internal validation is ever looked at."""

    variant: Variant
    criterion: Literal["accuracy", "auc"]
    minimum_auc_lower_bound: Annotated[float, Field(ge=0, le=1)]
    minimum_gain: Annotated[float, Field(ge=-1, le=1)]
    minimum_per_class: Positive
    calibration_slope: tuple[float, float] = Field(strict=False)
    groups: tuple[str, ...] = Field(strict=False)
    smallest_group: Positive
    minimum_group_accuracy: Annotated[float, Field(ge=0, le=1)]
    tolerance: Annotated[float, Field(gt=0)]
    require_lineage: bool

    @model_validator(mode="after")
    def baseline_is_no_product(self) -> Register:
        """A registered model scores regions of interest; `us_tlr` cuts a rectangle of its own."""
        if self.variant == "us_tlr":
            raise ValueError("variant us_tlr is a baseline for comparison and cannot be registered")
        return self


class External(Section):
    """External validation; a site with fewer nodules of a class than this is skipped."""

    minimum_per_class: Positive


class Attribute(Section):
    """Explaining a fusion and the unimodal variants it starts from.

    `baselines[0]` is reported; the others say how stable that is. `tolerance` bounds the completeness error,
    log odds; `rows` bounds memory: pictures of a modality that go through a network at once. `random_labels`
    trains a network on labels without meaning, whose maps must differ. `repeat`
    nodules of the external cohort are explained by the network of every fold; 0 leaves that out.
    """

    variant: Literal["concat", "sum", "product", "dgf"]
    baselines: tuple[Literal["blurred", "mean", "grey", "black"], ...] = Field(strict=False, min_length=1)
    tolerance: Annotated[float, Field(gt=0)]
    rows: Annotated[int, Field(ge=8)]
    subset: Positive
    cases: Positive
    checks: Annotated[int, Field(ge=2)]
    random_labels: bool
    repeat: Count
    replicates: Annotated[int, Field(ge=100)]

    @model_validator(mode="after")
    def baselines_differ(self) -> Attribute:
        """A baseline twice would count as agreement with itself."""
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines must differ, found {', '.join(self.baselines)}")
        return self


class Applicability(Section):
    """Which variants stand for US, CT and both, groups of nodules, and the rule for who gets CT."""

    us: Variant
    ct: Variant
    both: Variant
    columns: tuple[str, ...] = Field(strict=False)
    smallest: Positive
    ct_share: Share
    permutations: Annotated[int, Field(ge=100)]


class Report(Section):
    """The page."""

    title: str


class Settings(Section):
    """All of params.yaml, with the folder its paths are relative to."""

    root: Path
    overrides: tuple[str, ...]
    base: Base
    phantom: Phantom
    cohort: Cohort
    audit: Audit
    preprocess: Preprocess
    network: Network
    training: Training
    pretrain: Pretrain
    tune: Tune
    crossval: Crossval
    sweep: Sweep
    compare: Compare
    register_: Register = Field(alias="register")
    external: External
    attribute: Attribute
    applicability: Applicability
    report: Report

    def artifacts(self, *parts: str) -> Path:
        """Absolute path below the artifacts folder."""
        return self.root / self.base.artifacts / Path(*parts)

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """A copy with some settings changed, `section.key` to value, validated like the file.

        Raises:
            InputError: for an unknown key or a value out of range.
        """
        tree = self.model_dump(by_alias=True)
        for name, value in values.items():
            assign(tree, name.split("."), value)
        try:
            return Settings.model_validate(tree)
        except ValidationError as error:
            raise InputError(explain("search", error)) from None

    @property
    def data(self) -> Path:
        """Absolute path of the cohort folder."""
        return self.root / self.base.data

    @property
    def work(self) -> Path:
        """Absolute path of the folder of resumable work."""
        return self.root / self.base.work


def load(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Reads params.yaml, merges its profile and the overrides, and validates the result.

    Args:
        path: params.yaml.
        overrides: `section.key=value` strings; the value is read as YAML.

    Raises:
        InputError: for a missing file, an unknown key, a value out of range or an unknown profile.
    """
    path = path.resolve()
    merged = read(path, overrides)
    try:
        return Settings.model_validate({**merged, "root": path.parent, "overrides": tuple(overrides)})
    except ValidationError as error:
        raise InputError(explain(path.name, error)) from None


def fingerprint(*parts: Any) -> str:
    """sha256 of settings, numbers and strings in a canonical JSON form: equal for equal content."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
