"""The cohort as the stage `cohort` kept it, for the stages after it."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.records import Cohort, Image
from dgfnet.errors import InputError
from dgfnet.results import load_images, required
from dgfnet.settings import Settings


def load_screened(settings: Settings) -> Cohort:
    """Reads the cohort as the stage `cohort` kept it.

    Raises:
        InputError: when the stage has not run, or the cohort folder has changed since.
    """
    table = load_images(settings)
    cohort = read_cohort(settings.data)
    kept = {tuple(row) for row in table[["nodule_id", "image", "slice"]].itertuples(index=False)}
    nodules = []
    for nodule in cohort.nodules:
        images = tuple(image for image in nodule.images if identity(cohort, image) in kept)
        if images:
            nodules.append(replace(nodule, images=images))
    if sum(len(nodule.images) for nodule in nodules) != len(table):
        raise InputError(f"{settings.data}: the cohort has changed since the stage cohort ran; run it again")
    return Cohort(cohort.root, tuple(nodules))


def written_upon(settings: Settings) -> list[str]:
    """Returns the paths of kept pictures with text near the nodule that nobody has decided to keep.

    Raises:
        InputError: when the stage has not run.
    """
    table = pd.read_csv(required(settings, "cohort", "suspicious.csv"), keep_default_na=False)
    kept = set(load_images(settings)["image"])
    rows = table[table["found"].str.contains("text") & (table["decision"] == "") & table["image"].isin(kept)]
    return sorted(set(rows["image"]))


def identity(cohort: Cohort, image: Image) -> tuple[str, str, int]:
    """Returns the values that name an image: nodule, path in the cohort folder, slice (-1 without one)."""
    return (
        image.nodule_id,
        image.image.relative_to(cohort.root).as_posix(),
        -1 if image.slice is None else image.slice,
    )
