"""params.yaml becomes frozen, validated settings.

params.yaml is the only source of defaults: no field below has one, but for the alternatives of a `Range`.
The text under a field is the only description of a setting: `make docs` copies it to
docs/reference/settings.md.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dgfnet.errors import InputError
from dgfnet.params import advice, assign, explain, read
from dgfnet.vocabulary import (
    RECORD_FUSIONS,
    SITES,
    SPECS,
    Baseline,
    Branch,
    EncoderName,
    Fusion,
    Modality,
    Pictured,
    RecordFusion,
    Registered,
    Scored,
    Site,
    Variant,
    is_stacked,
)

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
# of nodules.csv; a patient with several malignant nodules is excluded when there is metastasis, else kept
NO_CLUES = ("patient_id", "nodule_id", "cohort", "n_malignant_nodules")


# settings in which a fit may not differ from those that it starts from: of shapes and data
FIXED = (
    *("network.width", "network.encoder", "network.pretrained", "network.mask_channel", "network.pooling"),
    *("network.tlr", "training.sampling", "training.schedule", "training.threads"),
)


def check_may_differ(where: str, names: Iterable[str]) -> None:
    """Refuses settings in which a fit may not differ from those that it starts from.

    Raises:
        ValueError: naming the first.
    """
    for name in names:
        if not name.startswith(("network.", "training.")) or name.startswith(FIXED):
            raise ValueError(
                f"{where}.{name} cannot differ from fit to fit; expected a key of training or network other "
                f"than {', '.join(FIXED)}"
            )


class Section(BaseModel):
    """A section of params.yaml: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Base(Section):
    """Shared by every stage. Paths are relative to params.yaml; `Settings` makes them absolute."""

    profile: str
    """`demo` is the file as it is; another name merges that part of `profiles` over it: `paper`, or
    `paper_size`, our way at the paper's sizes and epochs."""
    seed: Count
    """Seed of folds and of every fit."""
    data: str
    """Cohort folder: `nodules.csv`, `images.csv` and the files that they name."""
    truth: str
    """Folder of the phantom's truth: `dgfnet summary` prints its AUC, `dgfnet attribute` holds maps against
    it. Nothing is trained on it, and real cohorts have none."""
    artifacts: str
    """Folder of results."""
    work: str
    """Folder of resumable work, a cache: deleting it costs time, nothing else."""
    confidence: Share
    """Level of every interval."""
    sites: tuple[Site, ...] = Field(strict=False, min_length=1)
    """Sites of metastasis that models are made for."""


class Resources(Section):
    """Resources of the commands that read pictures; they change how long one takes, not what it computes."""

    memory_mb: Annotated[int, Field(ge=600)]
    """Memory of a command, MB: as many processes work on pictures at once as fit into it, at most one per
    core. One takes 200 and the command 400 beside them (for 20,000 pictures; the audit, which compares all
    with all, more); a picture above 4 million pixels and a CT volume add what they take while they are read.
    """


class Phantom(Section):
    """The generated cohort, `dgfnet phantom`."""

    patients: Annotated[int, Field(ge=30)]
    """Patients of the main cohort, before exclusions."""
    external_patients: Annotated[int, Field(ge=10)]
    """Patients of the external cohort, before exclusions."""
    seed: Count
    """Seed of the generator, apart from `base.seed`."""
    signal: Annotated[float, Field(ge=0)]
    """Scales the log odds of the labels; 0 gives labels that no picture can tell."""
    informative: tuple[Modality, ...] = Field(strict=False, min_length=1)
    """Modalities whose factors decide the labels; the pictures of another vary as ever and say nothing of
    them."""
    interaction: Annotated[float, Field(ge=0, le=1)]
    """Share of the log odds that is a product of US and CT; at 1 either alone is at chance."""
    style: Literal["first", "second"]
    """The way pictures show the same factors: other speckle, noise, contours, signs and scanners."""

    @model_validator(mode="after")
    def a_product_needs_both(self) -> Phantom:
        """Refuses an interaction of one informative modality with nothing."""
        if self.interaction > 0 and len(set(self.informative)) == 1:
            raise ValueError(
                f"interaction {self.interaction:g} needs informative: [us, ct], found [{self.informative[0]}]"
            )
        return self


class CohortSettings(Section):
    """Screening and folds."""

    modalities: tuple[Modality, ...] = Field(strict=False, min_length=1)
    """Modalities that every nodule needs; one without is excluded."""
    undecided: Literal["keep", "set_aside"]
    """The fate of US pictures that look drawn upon, until `decisions.csv` decides."""
    spellings: Literal["stop", "apart"]
    """Patient ids that differ in case, invisible characters or leading zeros alone: `stop`, or `apart` where
    they are different people."""
    centre: str | None
    """Column of `nodules.csv` that names the centre a nodule comes from; null where there is one."""
    split: Literal["patients", "centres"]
    """`patients`: folds over patients; `centres`: every centre of `cohort.centre` is held out once, a fold
    each."""
    folds: Annotated[int, Field(ge=2)]
    """Number of folds, made over patients and stratified on the labels of both sites; centres are as many as
    they are."""
    minimum_per_class: Positive
    """Nodules of each class that every fold must have, per labelled site."""


class Audit(Section):
    """Leaks between patients, and shortcuts."""

    same_picture: Annotated[float, Field(gt=0.5, lt=1)]
    """Correlation of structure, one picture laid on the other, above which pictures of two patients are one
    picture, and the audit fails."""
    column_auc: Annotated[float, Field(ge=0.5, le=1)]
    """Out-of-fold AUC of one column of `nodules.csv` by itself above which the audit warns: it may have been
    derived from the label."""


class Preprocess(Section):
    """Regions of interest and targets (paper section 2)."""

    us_size: Positive
    """Side of the network's US input, pixels; a multiple of 32."""
    ct_size: Positive
    """Side of the network's CT input, pixels; a multiple of 32."""
    us_dilations: Count
    """3x3 dilations of a US mask before its bounding box is taken: a margin in image pixels."""
    ct_dilations: Count
    """3x3 dilations of a CT mask before its bounding box is taken: a margin in image pixels."""
    boundary_fraction: Share
    """The paper's f: the US boundary target is f times the side of the region wide."""
    bilateral_diameter: Positive
    """Diameter of the bilateral filter before the CT edges are detected, pixels."""
    bilateral_sigma: Positive
    """Standard deviation of that filter, in grey levels and in pixels."""
    canny_low: int
    """Lower threshold of the Canny edges that are the CT boundary target."""
    canny_high: int
    """Upper threshold of the Canny edges that are the CT boundary target."""
    window_level: float
    """Centre of the window that turns CT into 8 bit, HU; a column of `images.csv` wins."""
    window_width: Annotated[float, Field(gt=0)]
    """Width of the window that turns CT into 8 bit, HU; a column of `images.csv` wins."""
    margin: Annotated[float, Field(ge=0, le=1)]
    """Real tissue stored around each crop for rotation, as a share of its side."""

    @model_validator(mode="after")
    def sizes_fit_the_encoder(self) -> Preprocess:
        """Refuses a side that a ResNet cannot halve five times."""
        for name in ("us_size", "ct_size"):
            if getattr(self, name) % 32:
                raise ValueError(f"{name} must be a multiple of 32, found {getattr(self, name)}")
        return self

    def size(self, modality: Modality) -> int:
        """Returns the side of the network's input, pixels."""
        return self.us_size if modality == "us" else self.ct_size

    def dilations(self, modality: Modality) -> int:
        """Returns the iterations of the 3x3 dilation that widens the mask before its bounding box."""
        return self.us_dilations if modality == "us" else self.ct_dilations


class Encoders(Section):
    """The ResNet of each site."""

    central: EncoderName
    """Encoder of the models for the central site."""
    lateral: EncoderName
    """Encoder of the models for the lateral site."""


class Dgf(Section):
    """Diverse granularity fusion."""

    branches: tuple[Branch, ...] = Field(strict=False, min_length=1)
    """Levels that are fused."""
    combiner: Literal["product", "sum", "concat"]
    """Combination of the branches; `product` is the paper's."""
    scale_dimension_attention: bool
    """Divide by the root of the number of dimensions in equation 5."""
    nodule_level: Literal["bank", "batch"]
    """Evaluation attends over the reference `bank`, or over the `batch` (the paper)."""


class Tlr(Section):
    """The baseline `us_tlr`: Inception V3 on the rectangle around the nodule (network/tlr.py)."""

    size: Annotated[int, Field(ge=75)]
    """Side of Inception V3's input, pixels."""
    box: Annotated[float, Field(ge=1, le=2)]
    """Side of the rectangle as a multiple of the nodule's bounding box."""
    finetune: Annotated[float, Field(ge=0, le=1)]
    """Learning rate of Mixed_7 as a share of the head's."""
    annealing: Positive
    """Heads tried by simulated annealing in the training part of each fold."""


class Network(Section):
    """Architecture."""

    encoder: Encoders
    width: Annotated[float, Field(gt=0, le=2)]
    """Factor on every channel count; 1 is the paper's network."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Dropout of decoders and classifier."""
    pretrained: str
    """`off`, `imagenet` (torchvision's published weights) or the path of a checkpoint, in which `{encoder}`
    stands for `resnet18`, `resnet34` or `inception_v3`; needs width 1. See docs/how-to/pretrained.md."""
    mask_channel: bool
    """Whether an encoder sees the nodule's mask as a second channel. Its segmentation of the nodule, with
    which training helps it, is then a copy."""
    pooling: Literal["global", "regions"]
    """Of an encoder's maps: the mean of the last over all pixels, the paper's; or the means of the last three
    over nodule, rim and outside, by the mask, brought back to as many values."""
    images: Scored
    """Images of a nodule that are scored: `all`, the mean of the log odds over pairs in which each image
    stands; or `largest`, the pair of the largest nodule areas, the paper's."""
    dgf: Dgf
    tlr: Tlr

    def encoder_of(self, site: Site) -> EncoderName:
        """Returns the encoder of a site."""
        return self.encoder.central if site == "central" else self.encoder.lateral


class Augment(Section):
    """Random changes of a training picture (paper section 2)."""

    probability: Annotated[float, Field(ge=0, le=1)]
    """Probability with which each transform is applied."""
    rotation_degrees: Annotated[float, Field(ge=0, le=180)]
    """Largest rotation to either side, degrees."""
    smallest_crop: Annotated[float, Field(gt=0, le=1)]
    """Area of the smallest random crop, as a share of the input's."""
    brightness: Annotated[float, Field(ge=0, le=1)]
    """Largest change of brightness, as a share of full scale."""
    contrast: Annotated[float, Field(ge=0, le=1)]
    """Largest change of contrast, as a share."""
    elastic_displacement: Annotated[float, Field(ge=0, le=0.1)]
    """Standard deviation of a pixel's elastic displacement, as a share of the side."""
    elastic_smoothness: Annotated[float, Field(gt=0, le=1)]
    """Standard deviation of the Gaussian that makes it smooth, as a share of the side."""


class Training(Section):
    """Optimisation shared by every fit (paper section 4): Adam with a cosine schedule per epoch."""

    batch: Annotated[int, Field(ge=2)]
    """Nodules per step."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Learning rate at the start of a schedule."""
    schedule: Literal["restarted", "joined"]
    """`restarted` begins the schedule, and Adam, again with every fit. `joined` is the paper's: a multi-task
    network of one modality goes on in the schedule of its segmentation-only phase, over `pretrain.epochs` and
    `crossval.unimodal_epochs`, with Adam's moments; a fusion has a schedule of its own."""
    weight_decay: Annotated[float, Field(ge=0)]
    """Weight decay."""
    segmentation_weight: Annotated[float, Field(ge=0)]
    """Weight of the masks' losses beside the label's."""
    sampling: Literal["train_only", "paper", "none"]
    """`train_only` undersamples inside training folds, anew each epoch, and corrects the probabilities;
    `paper` undersamples the cohort first."""
    augment: Augment
    precision: Literal["auto", "float32"]
    """`auto` is mixed precision on GPUs."""
    threads: Positive
    """CPU threads of one fit, which gets as many cores. They change its last digits, and so its key."""
    compile: Literal["auto", "on", "off"]
    """`torch.compile`: `auto` compiles on a GPU, for fits of 5,000 steps and more. A compiled fit draws other
    random numbers for dropout."""


class OutlineSettings(Section):
    """The network that outlines a nodule in a box, for cases that come without a mask."""

    steps: Count
    """Steps of its training, per modality and fold; 0: none, and a nodule in a box is taken for the ellipse
    in it."""
    batch: Annotated[int, Field(ge=2)]
    """Pictures per step."""
    width: Positive
    """Channels of its convolutions."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Learning rate at the start of its cosine."""
    box_jitter: Annotated[float, Field(ge=0, le=0.3)]
    """Edges of boxes are moved in training by at most this share of the side, uniformly: no two people draw
    the same."""


class Pretrain(Section):
    """The phase that knows no label."""

    epochs: Positive
    """Epochs of the phase."""
    measured_weight: Annotated[float, Field(ge=0)]
    """Weight, beside the masks' losses, of telling the measured features of a picture
    (docs/reference/measured-features.md): their mean squared error, standardised. 0: they are not learned."""


class Range(Section):
    """Values a search may try: between two limits, or one of a list."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = Field(default=None, strict=False, min_length=1)

    @model_validator(mode="after")
    def limits_or_choices(self) -> Range:
        """Refuses limits beside choices, neither of them, and limits out of order."""
        limits = self.low is not None and self.high is not None
        if limits == (self.choices is not None) or (self.low is None) != (self.high is None):
            raise ValueError("give either low and high, or choices")
        if self.low is not None and self.high is not None:
            if not self.low < self.high:
                raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
            if self.log and self.low <= 0:
                raise ValueError(f"a logarithmic range must be above 0, found low {self.low:g}")
        return self

    def whole(self, present: Any) -> bool:
        """Returns True when a setting, of which this is the present value, takes whole numbers alone."""
        return self.choices is None and isinstance(present, int) and not isinstance(present, bool)


class Tune(Section):
    """The nested search, `dgfnet tune`: it sees only the training part of a fold."""

    variants: tuple[Variant, ...] = Field(strict=False, min_length=1)
    """Variants that settings are searched for; not `us_tlr`, which anneals its own."""
    trials: Count
    """Trials per site, variant and fold; 0 switches the search off."""
    inner_folds: Annotated[int, Field(ge=2)]
    """The training part of a fold is cut into so many; one of them scores the trials."""
    grace_epochs: Positive
    """Epochs before ASHA may stop a trial."""
    reduction: Annotated[int, Field(ge=2)]
    """One trial in so many goes on at each of ASHA's rungs."""
    space: dict[str, Range] = Field(min_length=1)
    """Key of `training` or `network` to `{low, high}`, `{low, high, log: true}` or `{choices: [...]}`;
    `network.dgf.*` is searched for `dgf` and `dgf_record` only."""

    @model_validator(mode="after")
    def only_what_fits_may_differ(self) -> Tune:
        """Refuses keys of shape and data: fusions start from their parents' streams, which fix both."""
        check_may_differ("space", self.space)
        if "us_tlr" in self.variants:
            raise ValueError("variants: us_tlr has a search of its own, the annealing of its head")
        return self

    def space_of(self, variant: Variant) -> dict[str, Range]:
        """Returns the ranges to search for a variant; those of `network.dgf` are for what fuses by it."""
        return {
            name: limits
            for name, limits in self.space.items()
            if SPECS[variant].fusion == "dgf" or not name.startswith("network.dgf.")
        }


class Crossval(Section):
    """The matrix of variants and folds."""

    variants: tuple[Variant, ...] = Field(strict=False, min_length=1)
    """Variants that are cross-validated; those they start from are added as needed. `us_continued` and
    `ct_continued` train a stream on for `multimodal_epochs` as a fusion does, but alone. `concat_record`,
    `sum_record` and `dgf_record` fuse a third stream, of the columns that `record` names."""
    ablations: dict[str, dict[str, Any]]
    """Names to keys of `network` or `training` and their values: `dgf` is cross-validated once more with
    these, from the same parents on the same folds, as `dgf-<name>` in every table and figure and in MLflow.
    Ablations are not registered, explained or validated outside."""
    unimodal_epochs: Positive
    """Epochs of a unimodal variant with classification."""
    multimodal_epochs: Positive
    """Epochs of a fusion, which starts from its trained parents."""
    validate_every: Positive
    """Epochs between looks at the held-out fold; they select nothing."""
    baselines: tuple[Baseline, ...] = Field(strict=False)
    """Models without a network of their own that are cross-validated on the same folds and stand below the
    variants in every table; empty, there are none. See docs/explanation/baselines.md."""
    stacked: Pictured | None
    """The variant whose log odds `stack` joins with what was measured on its modalities; of a fusion
    `us_stack` and `ct_stack` do the same with the variants it starts from. null: none of them."""
    clinical: tuple[str, ...] = Field(strict=False)
    """Columns of `nodules.csv` that the baseline `clinical` reads: numbers, or texts as categories; absent
    ones are passed over."""
    record: tuple[str, ...] = Field(strict=False)
    """Columns of `nodules.csv` that `record_stack` joins to all that `stack` joins, and that `concat_record`,
    `sum_record` and `dgf_record` read; absent ones are passed over; empty: no such stack and none of these.
    Only what is known before surgery and can be asked for whenever the model is: it is asked for with every
    nodule. Texts that stand in them, and their lowest and highest numbers, travel with a registered model."""

    @model_validator(mode="after")
    def ablations_change_what_a_fusion_may(self) -> Crossval:
        """Refuses keys of shape and data, as a search does, and an ablation of nothing."""
        for title, values in self.ablations.items():
            if not re.fullmatch("[a-z0-9_]+", title):
                raise ValueError(f"ablations.{title}: a name has small letters, digits and _ alone")
            check_may_differ(f"ablations.{title}", values)
            if not values:
                raise ValueError(f"ablations.{title}: changes nothing; expected keys of network or training")
        return self

    @field_validator("clinical", "record")
    @classmethod
    def columns_tell_no_label(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Refuses columns that hold the label, or that the screening ties to it."""
        for name in names:
            if name in (*(f"lnm_{site}" for site in SITES), *NO_CLUES):
                raise ValueError(f"{name} tells the label or who somebody is; name what a clinician knows")
        return names


class Sweep(Section):
    """Resources of Ray trials; they change how long a run takes, not what it computes."""

    cpus_per_trial: Annotated[float, Field(gt=0)]
    """CPU cores of a trial, fractions allowed."""
    gpus_per_trial: Literal["auto"] | Annotated[float, Field(ge=0)]
    """GPUs of a trial, fractions allowed; `auto`: one where Ray and torch see GPUs, else none; 0: fits are
    trained on the CPU."""
    checkpoint_every: Positive
    """Epochs between checkpoints."""
    retries: Count
    """Restarts of a crashed trial."""


class Compare(Section):
    """Differences between variants."""

    reference: Variant
    """The variant that every other is compared with."""
    replicates: Annotated[int, Field(ge=100)]
    """Resamples of whole patients in the bootstrap of AUC differences."""


class Register(Section):
    """The model that becomes the product, by internal validation only; its gate: docs/how-to/promote.md."""

    variant: Literal[Registered, RecordFusion]
    """The variant that becomes the registered model, not `us_tlr`; `stack`, the networks of
    `crossval.stacked` joined with the measured features; or `record_stack`, with `crossval.record` too."""
    scoring: Literal["ensemble", "best_fold"]
    """Networks of the registered model: `ensemble`, the mean log odds of those of all folds; or `best_fold`,
    the one that `criterion` chooses, the paper's rule."""
    criterion: Literal["accuracy", "auc"]
    """Score of the held-out fold that chooses the fold's network, which stands first in an ensemble;
    `accuracy` is the paper's."""
    coverage: Annotated[float, Field(gt=0, lt=1)]
    """Of prediction sets: the share of the nodules of either class whose set holds that class."""
    false_alarms: Annotated[float, Field(gt=0, lt=1)]
    """Share of held-out nodules that are answered with caution because their pictures are unlike the others;
    a nodule beyond twice that limit is not answered."""
    minimum_auc_lower_bound: Annotated[float, Field(ge=0, le=1)]
    """Gate: least lower limit of the pooled out-of-fold AUC."""
    minimum_gain: Annotated[float, Field(ge=-1, le=1)]
    """Gate: least gain in AUC over the champion's, on the nodules that both were validated on."""
    minimum_gain_over_unimodal: Annotated[float, Field(ge=-1, le=1)]
    """Gate: least gain in out-of-fold AUC of a fusion over the better of its models of one modality."""
    minimum_gain_over_simpler: Annotated[float, Field(ge=-1, le=1)]
    """Gate: least gain in out-of-fold AUC of `dgf`, or a stack of it, over the best of the basic fusions that
    were cross-validated with it, of `dgf_record` over the best of those with the record; -1: told, not asked
    for."""
    minimum_gain_over_baselines: Annotated[float, Field(ge=-1, le=1)]
    """Gate: least gain in out-of-fold AUC over the best of `crossval.baselines`; -1: told, not asked for."""
    minimum_per_class: Positive
    """Gate: nodules of each class, with one label in both tables, that version and champion must share to be
    compared."""
    calibration_slope: tuple[float, float] = Field(strict=False)
    """Gate: lowest and highest calibration slope out of fold."""
    groups: tuple[str, ...] = Field(strict=False)
    """Gate: columns of `nodules.csv` to group by, numbers with more than six values by tertiles; absent ones
    are passed over. Where no group is large enough the gate stays shut; empty, it asks for none."""
    smallest_group: Positive
    """Gate: nodules that a group needs to count."""
    minimum_group_accuracy: Annotated[float, Field(ge=0, le=1)]
    """Gate: least share of right calls in the weakest group."""
    tolerance: Annotated[float, Field(gt=0)]
    """Gate: largest difference between a nodule's probability by itself, in a batch, and in cross-validation.
    `dgfnet reproduce`: largest difference between then and now."""
    require_lineage: bool
    """Gate: a clean commit, and the cohort under DVC."""

    @model_validator(mode="after")
    def rectangle_is_no_product(self) -> Register:
        """Refuses `us_tlr`, which cuts a rectangle of its own: the product scores regions of interest."""
        if self.variant == "us_tlr":
            raise ValueError("variant us_tlr is a baseline for comparison and cannot be registered")
        return self


class External(Section):
    """External validation."""

    minimum_per_class: Positive
    """A site with fewer external nodules of a class is skipped."""


class Holdout(Section):
    """The paper's protocol of its Table 4: one split, the epoch chosen on its validation part."""

    variant: Variant | None
    """The variant that is trained so, not `us_tlr`; null: none, and nothing is written."""
    fold: Count
    """Fold of `cohort.folds` that is the validation part."""
    criterion: Literal["accuracy", "auc"]
    """Score of the validation part that chooses the epoch; `accuracy` is the paper's."""

    @model_validator(mode="after")
    def rectangle_is_left_out(self) -> Holdout:
        """Refuses `us_tlr`, whose head is searched inside its training part already."""
        if self.variant == "us_tlr":
            raise ValueError("variant us_tlr is a baseline for comparison; name another")
        return self


class Attribute(Section):
    """Explanations of a fusion and of the unimodal variants that it starts from."""

    variant: Literal[Fusion, RecordFusion]
    """The fusion that is explained."""
    baselines: tuple[Literal["blurred", "mean", "grey", "black"], ...] = Field(strict=False, min_length=1)
    """Pictures where the line starts on which an undecided baseline is searched; the first is reported, the
    others say how stable that is."""
    tolerance: Annotated[float, Field(gt=0)]
    """Completeness error that no nodule may exceed, log odds."""
    rows: Annotated[int, Field(ge=8)]
    """Pictures of a modality that go through a network at once: bounds memory."""
    subset: Positive
    """Nodules per fold explained from the other baselines and in the unimodal networks too."""
    cases: Positive
    """Nodules in the figure of saliency maps."""
    checks: Annotated[int, Field(ge=2)]
    """Nodules of the first fold for the sanity checks."""
    random_labels: bool
    """Train fusion and parents of the first fold once more, on labels exchanged between patients: maps must
    not stay alike, and on external nodules those of the folds must be more alike than with it. Three fits per
    site."""
    repeat: Count
    """Nodules of the external cohort that the network of every fold explains, to see how alike the networks
    are; 0 leaves it out."""
    replicates: Annotated[int, Field(ge=100)]
    """Resamples of whole patients in the bootstrap of shares and differences."""

    @model_validator(mode="after")
    def baselines_differ(self) -> Attribute:
        """Refuses a baseline that stands twice: it would count as agreement with itself."""
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines must differ, found {', '.join(self.baselines)}")
        return self


class Applicability(Section):
    """Groups of nodules, and the rule for who gets CT."""

    us: Literal[Pictured, "us_stack"]
    """The variant or stack that stands for US."""
    ct: Literal[Pictured, "ct_stack"]
    """The variant or stack that stands for CT."""
    both: Literal[Registered, RecordFusion]
    """The variant or stack that stands for US and CT together."""
    columns: tuple[str, ...] = Field(strict=False)
    """Columns of `nodules.csv` to group by, beside diameter, aspect ratio, margin and location."""
    smallest: Positive
    """Groups with fewer nodules of a class are shown, marked and not tested."""
    ct_share: Share
    """Share of the nodules that may get CT."""
    permutations: Annotated[int, Field(ge=100)]
    """Permutations of the test of the rule."""


class Report(Section):
    """The page."""

    title: str
    """Title of the page."""


class Settings(Section):
    """All of params.yaml, with the folder its paths are relative to."""

    root: Path
    overrides: tuple[str, ...]
    base: Base
    resources: Resources
    phantom: Phantom
    cohort: CohortSettings
    audit: Audit
    preprocess: Preprocess
    network: Network
    training: Training
    outline: OutlineSettings
    pretrain: Pretrain
    tune: Tune
    crossval: Crossval
    sweep: Sweep
    compare: Compare
    register_: Register = Field(alias="register")
    external: External
    holdout: Holdout
    attribute: Attribute
    applicability: Applicability
    report: Report

    @property
    def reads_masks(self) -> bool:
        """True where an answer depends on the nodule's outline, and not only on the square around it."""
        network = self.network
        return network.mask_channel or network.pooling == "regions" or self.crossval.stacked is not None

    @model_validator(mode="after")
    def centres_are_named(self) -> Settings:
        """Refuses leave-one-centre-out without a column that tells the centre."""
        if self.cohort.split == "centres" and self.cohort.centre is None:
            raise ValueError("cohort.split: centres needs the column in cohort.centre, found null")
        return self

    @model_validator(mode="after")
    def stack_is_cross_validated(self) -> Settings:
        """Refuses to register a stack of no network, or one that reads the record of no column."""
        variant = self.register_.variant
        if is_stacked(variant) and self.crossval.stacked is None:
            raise ValueError(f"register.variant: {variant} needs a variant in crossval.stacked, found null")
        if variant == "record_stack" and not self.crossval.record:
            raise ValueError("register.variant: record_stack needs columns in crossval.record, found []")
        return self

    @model_validator(mode="after")
    def record_is_named(self) -> Settings:
        """Refuses networks that read the record of no column."""
        named: dict[str, Sequence[str | None]] = {
            "crossval.variants": self.crossval.variants,
            "tune.variants": self.tune.variants,
            "register.variant": (self.register_.variant,),
            "holdout.variant": (self.holdout.variant,),
            "attribute.variant": (self.attribute.variant,),
        }
        for key, variants in named.items():
            wanting = [name for name in variants if name in RECORD_FUSIONS and not self.crossval.record]
            if wanting:
                raise ValueError(f"{key}: {wanting[0]} needs columns in crossval.record, found []")
        return self

    @model_validator(mode="after")
    def holdout_is_a_fold(self) -> Settings:
        """Refuses a validation part that is no fold, before anything is trained."""
        of_patients = self.cohort.split == "patients"  # how many centres there are, only the cohort tells
        if self.holdout.variant is not None and of_patients and self.holdout.fold >= self.cohort.folds:
            raise ValueError(
                f"holdout.fold: the folds are 0 to {self.cohort.folds - 1}, found {self.holdout.fold}"
            )
        return self

    @model_validator(mode="after")
    def search_finds_settings(self) -> Settings:
        """Refuses a search space that names no setting, or holds a value that a setting does not take."""
        for name, limits in self.tune.space.items():
            self._check_change("tune.space", name, limits.choices or (limits.low, limits.high))
        return self

    @model_validator(mode="after")
    def ablations_find_settings(self) -> Settings:
        """Refuses the same of ablations."""
        for title, values in self.crossval.ablations.items():
            for name, value in values.items():
                self._check_change(f"crossval.ablations.{title}", name, (value,))
        return self

    def _check_change(self, where: str, name: str, values: Sequence[Any]) -> None:
        known = known_settings()
        if name not in known:
            raise ValueError(f"{where}.{name}: no such setting; {advice(name, known)}")
        if any(other.startswith(f"{name}.") for other in known):
            raise ValueError(f"{where}.{name}: a section, and no setting; name one of its settings")
        section, *keys = name.split(".")
        model: BaseModel = getattr(self, section)
        for value in values:
            tree = model.model_dump(by_alias=True)
            assign(tree, keys, list(value) if isinstance(value, tuple) else value)
            try:
                type(model).model_validate(tree)
            except ValidationError as error:
                why = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
                raise ValueError(f"{where}.{name}: {value!r} cannot be tried: {why}") from None

    def artifacts(self, *parts: str) -> Path:
        """Returns an absolute path below the artifacts folder."""
        return self.root / self.base.artifacts / Path(*parts)

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """Returns a copy with some settings changed, `section.key` to value, validated like the file.

        Raises:
            InputError: for an unknown key or a value out of range.
        """
        tree = self.model_dump(by_alias=True)
        for name, value in values.items():
            assign(tree, name.split("."), value)
        try:
            return Settings.model_validate(tree)
        except ValidationError as error:
            raise InputError(explain("search", error, known_settings())) from None

    @property
    def registered_network(self) -> Variant:
        """Returns the variant whose networks are in the registered model."""
        if not is_stacked(self.register_.variant):
            return cast("Variant", self.register_.variant)
        assert self.crossval.stacked is not None  # checked above
        return self.crossval.stacked

    @property
    def data(self) -> Path:
        """Returns the absolute path of the cohort folder."""
        return self.root / self.base.data

    @property
    def home(self) -> Path:
        """Returns the project folder, where store, key and resumable work lie.

        It is `root` but in the temporary copy of a project in which DVC runs an experiment: there it is the
        folder that was copied.
        """
        return _copied_from(self.root) or self.root

    @property
    def work(self) -> Path:
        """Returns the absolute path of the folder of resumable work."""
        return self.home / self.base.work


def _copied_from(root: Path) -> Path | None:
    """Returns the project folder of which DVC made a temporary copy for an experiment, or None elsewhere."""
    for copies in root.parents:
        if copies.parts[-3:] == (".dvc", "tmp", "exps"):
            top = next(
                (place for place in (root, *root.parents) if (place / ".git").exists() or place == copies),
                root,
            )
            project, inside = copies.parents[2], root.relative_to(top)
            # DVC may have been set up below the top of the repository, which is what is copied
            places = (place / inside for place in (project, *project.parents))
            return next((place for place in places if (place / "params.yaml").is_file()), None)
    return None


def known_settings(section: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Returns the names of all sections and settings, `section.key`."""
    names = []
    for field_name, entry in section.model_fields.items():
        if section is Settings and field_name in ("root", "overrides"):
            continue
        name = prefix + (entry.alias or field_name)
        names.append(name)
        if isinstance(entry.annotation, type) and issubclass(entry.annotation, BaseModel):
            names += known_settings(entry.annotation, f"{name}.")
    return names


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
        raise InputError(explain(path.name, error, known_settings())) from None


def fingerprint(*parts: Any) -> str:
    """Returns the sha256 of settings, numbers and strings in a canonical JSON form."""
    plain = [part.model_dump(mode="json") if isinstance(part, BaseModel) else part for part in parts]
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
