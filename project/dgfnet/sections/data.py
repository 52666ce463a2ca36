"""Sections of folders, cohorts and their pictures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dgfnet.sections.section import Count, Positive, Section, Share
from dgfnet.vocabulary import Modality, Site


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
