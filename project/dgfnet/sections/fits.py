"""Sections of searches and cross-validation: the fits that are trained, and where."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dgfnet.sections.section import Count, Positive, Section
from dgfnet.vocabulary import SITES, SPECS, Baseline, Pictured, Variant

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
