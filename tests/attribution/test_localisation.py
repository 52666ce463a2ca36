"""Shares of an attribution inside known regions; planes of the phantom cut as the archive cuts crops."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dgfnet import digests
from dgfnet.attribution.localisation import PictureAttribution, Truth, rows, share, summary, why_not
from dgfnet.cohort.manifest import read_cohort
from dgfnet.phantom import generate
from dgfnet.preprocess.archive import centre
from dgfnet.preprocess.build import build
from dgfnet.settings import load


def square(top, left, side, size=8):
    plane = np.zeros((size, size), dtype=bool)
    plane[top : top + side, left : left + side] = True
    return plane


TRUTH = {"nodule": square(2, 2, 4), "margin": square(1, 1, 6) & ~square(3, 3, 2)}
TRUTH["microcalcifications"] = square(3, 3, 1)


def by_region(attribution, decision, distance=None):
    distance = np.ones((8, 8)) if distance is None else distance
    own = PictureAttribution(attribution.astype(np.float32), distance, decision)
    return {row["region"]: row for row in rows("us", TRUTH, {"multimodal": own})}


def test_an_attribution_that_is_everywhere_alike_has_the_share_of_the_area():
    for row in by_region(np.ones((8, 8)), 1.0).values():
        assert row["multimodal_mass"] == pytest.approx(row["area"])
        assert row["multimodal_contrast"] == pytest.approx(row["area"])


def test_shares_by_hand():
    """3 on the speck, 1 elsewhere in the nodule of 16 pixels, nothing outside."""
    attribution = TRUTH["nodule"] + 2.0 * TRUTH["microcalcifications"]
    shares = by_region(attribution, 1.0)
    assert shares["nodule"]["multimodal_mass"] == pytest.approx(1)
    assert shares["microcalcifications"]["multimodal_mass"] == pytest.approx(3 / 18)
    assert shares["microcalcifications"]["area"] == pytest.approx(1 / 64)
    assert shares["microcalcifications, of the nodule"]["area"] == pytest.approx(1 / 16)
    assert shares["margin"]["multimodal_mass"] == pytest.approx(12 / 18)  # all of the nodule but its middle
    assert shares["all signal"]["area"] == pytest.approx(36 / 64)


def test_only_what_speaks_for_the_decision_counts():
    attribution = np.where(TRUTH["nodule"], -1.0, 2.0)
    assert by_region(attribution, 1.0)["nodule"]["multimodal_mass"] == 0
    assert by_region(attribution, -1.0)["nodule"]["multimodal_mass"] == pytest.approx(1)


def test_contrast_is_where_the_picture_differs_from_its_baseline():
    distance = np.where(TRUTH["microcalcifications"], -30.0, 0.0)
    shares = by_region(np.ones((8, 8)), 1.0, distance)
    assert shares["microcalcifications"]["multimodal_contrast"] == pytest.approx(1)


def test_a_region_that_is_not_there_has_no_row():
    truth = TRUTH | {"microcalcifications": np.zeros((8, 8), bool)}
    names = [row["region"] for row in rows("us", truth, {})]
    assert names == ["all signal", "nodule", "margin"]


def test_what_surrounds_the_nodule_of_ct_is_judged_without_it():
    truth = {"nodule": square(2, 2, 4), "extension": square(1, 1, 1), "nodes": square(7, 7, 1)}
    values = (truth["nodes"] + 5.0 * truth["nodule"]).astype(np.float32)
    row = rows("ct", truth, {"unimodal": PictureAttribution(values, np.ones((8, 8)), 1.0)})[-1]
    assert row["region"] == "extension and nodes, of the rest"
    assert row["area"] == pytest.approx(2 / 48)
    assert row["unimodal_mass"] == pytest.approx(1)


def test_nothing_has_no_share():
    assert np.isnan(share(np.zeros((8, 8), np.float32), TRUTH["nodule"], np.ones((8, 8), bool)))


def test_the_summary_is_paired_over_nodules():
    """Masses are 0.1 above the area in every nodule, though areas differ widely."""
    area = np.linspace(0.1, 0.7, 12)
    table = pd.DataFrame({"patient_id": [f"P{n}" for n in range(12)], "area": area}).assign(
        modality="us", region="nodule", unimodal_mass=np.nan, unimodal_contrast=area
    )
    table = table.assign(multimodal_mass=area + 0.1, multimodal_contrast=area + 0.3)
    (row,) = summary(table, 0.95, 200, 0)
    assert (row["network"], row["n"]) == ("multimodal", 12)
    assert row["mass"] == pytest.approx(0.5)
    for name, expected in (("area", 0.1), ("contrast", -0.2)):
        assert list(row[f"above_{name}"].values()) == pytest.approx([expected] * 3)


@pytest.fixture(scope="module")
def project(tmp_path_factory, params):
    """A small phantom and its archive, as the stages leave them."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "params.yaml").write_text(params.read_text(encoding="utf-8"))
    settings = load(folder / "params.yaml", ["preprocess.us_size=32", "preprocess.ct_size=64"])
    draw(settings, seed=3)
    cohort = read_cohort(settings.data)
    images = [
        (
            n.nodule_id,
            i.modality,
            i.image.relative_to(cohort.root).as_posix(),
            -1 if i.slice is None else i.slice,
        )
        for n in cohort.nodules
        for i in n.images
    ]
    settings.artifacts("cohort").mkdir(parents=True)
    table = pd.DataFrame(images, columns=["nodule_id", "modality", "image", "slice"])
    table.to_parquet(settings.artifacts("cohort", "images.parquet"))
    digests.keep(settings.artifacts("cohort"))
    return settings, build(cohort, settings.preprocess, settings.artifacts("preprocess"), 1)


def draw(settings, seed):
    generate.generate(settings.data, settings.root / settings.base.truth, 8, 3, seed, 1.0, ("us", "ct"))


def masks(archive):
    for modality in ("us", "ct"):
        for nodule_id, row in archive.largest(modality).items():
            planes = centre(archive.planes(modality)[row], archive.size[modality])
            yield nodule_id, modality, planes[1] > 0


def test_the_planes_are_cut_as_the_crops_are_and_none_of_another_phantom_is_taken(project):
    settings, archive = project
    truth, shown = Truth(settings, archive), {"us": 0, "ct": 0}
    for nodule_id, modality, mask in masks(archive):
        planes = truth.of(nodule_id, modality, mask)
        np.testing.assert_array_equal(planes["nodule"], mask)
        shown[modality] += any(
            planes[name].any() for name in ("microcalcifications", "nodes") if name in planes
        )
    assert min(shown.values()) >= 5
    draw(settings, seed=4)  # the same names, other nodules
    planes = [truth.of(*picture) for picture in masks(archive)]
    assert planes == [None] * len(planes)


def test_a_cohort_without_truth_is_passed_over(tiny, tmp_path):
    settings = tiny.changed({"base.truth": str(tmp_path)})
    assert "only phantoms have it" in why_not(settings)
