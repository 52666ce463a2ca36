"""Sections of what is made of finished fits: comparison, product, explanations, report."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dgfnet.sections.section import Count, Positive, Section, Share
from dgfnet.vocabulary import Fusion, Pictured, RecordFusion, Registered, Variant


class Compare(Section):
    """Differences between variants."""

    reference: Variant
    """The variant that every other is compared with."""
    replicates: Annotated[int, Field(ge=100)]
    """Resamples of whole patients in the bootstrap of AUC differences."""


class Register(Section):
    """The model that becomes the product, by internal validation only; its gate: docs/how-to/promote.md."""

    variant: Registered
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
    both: Registered
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
