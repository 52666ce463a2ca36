"""The phantom: repeatable to the byte, screened as planned, and true to its own table of truth."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_image, read_mask
from dgfnet.cohort.screening.criteria import screen
from dgfnet.errors import InputError
from dgfnet.phantom import enrolment, generate, latents, tomography, ultrasound
from dgfnet.phantom.signal import path_of

PATIENTS, EXTERNAL, SEED = 30, 8, 7
BOTH = ("us", "ct")
FEW = {
    "patients": 8,
    "external_patients": 3,
    "seed": 3,
    "signal": 1.0,
    "informative": BOTH,
}  # two chunks of work
FEWER = {**FEW, "patients": 3, "external_patients": 1}  # for what only compares two cohorts


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    """A small phantom: the folder of the cohort and that of the truth."""
    folder = tmp_path_factory.mktemp("phantom")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "ProcessPoolExecutor", here)
        generate.generate(folder / "data", folder / "truth", PATIENTS, EXTERNAL, SEED, 1.0, BOTH)
    return folder / "data", folder / "truth"


@pytest.fixture(scope="session")
def cohort(phantom):
    return read_cohort(phantom[0])


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """What a very small phantom consists of, made by two processes."""

    def two(_, **options):
        return ProcessPoolExecutor(2, **options)

    return made(tmp_path_factory.mktemp("few"), two, **FEW)


@pytest.fixture(scope="session")
def fewer(tmp_path_factory):
    """What three patients and an external one consist of."""
    return made(tmp_path_factory.mktemp("fewer"), here, **FEWER)


def here(*_, **__):
    """In place of a pool of processes, which take longer to start than small cohorts to draw."""
    return ThreadPoolExecutor(1)


def made(folder, pool, **facts):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "ProcessPoolExecutor", pool)
        generate.generate(folder / "data", folder / "truth", **facts)
    return contents(folder)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_number_of_processes_changes_no_byte(few, tmp_path):
    assert made(tmp_path, here, **FEW) == few


def test_the_cohort_is_the_one_it_has_always_been(few):
    """data.dvc names the bytes of the demo; a change of these is a change of those."""
    total = hashlib.md5(usedforsecurity=False)
    names = sorted(Path(name) for name in few if name.startswith("data/"))
    for name in names:
        digest = hashlib.md5(few[name.as_posix()], usedforsecurity=False).hexdigest()
        total.update(name.relative_to("data").as_posix().encode() + b"\0" + digest.encode())
    assert (len(names), total.hexdigest()) == (131, "82031cce37a85b451d5f2706bbac59b5")


def planes_of(cohort, truth):
    """Every image of the cohort with its mask and its plane of signal."""
    for nodule in cohort.nodules:
        for image in nodule.images:
            name = image.image.relative_to(cohort.root).as_posix()
            plane = cv2.imread(str(path_of(truth, name, image.slice)), cv2.IMREAD_UNCHANGED)
            yield image, read_mask(image) > 0, plane


def test_the_truth_of_every_picture_has_its_nodule_where_the_mask_has_it(phantom, cohort):
    count = 0
    for _, mask, plane in planes_of(cohort, phantom[1]):
        np.testing.assert_array_equal((plane & 1) > 0, mask)
        count += 1
    assert count == len(list((phantom[1] / "signal").rglob("*.png")))


def test_nodes_stand_out_where_the_truth_says(phantom, cohort):
    """A rim of 135 HU around 70 HU, blurred into fat at the edge."""
    values = [
        read_image(image).values[plane & 4 > 0].mean()
        for image, _, plane in planes_of(cohort, phantom[1])
        if image.modality == "ct" and (plane & 4).any()
    ]
    assert len(values) > 30
    assert 70 < np.median(values) < 135
    assert min(values) > 0  # small ones in fat of -95 HU


def test_growth_beyond_the_capsule_is_where_it_changes_the_picture():
    """The same random stream with and without it."""

    def drawn(extension):
        lesion = tomography.CtLesion(16, 16, 16, 100.0, extension, np.zeros(6), (), 1)
        values, masks, planes = tomography.draw(lesion, (0.0,), tomography.MAIN, np.random.default_rng(1))
        return values[0].astype(int), masks[0] > 0, planes[0]

    (grown, mask, plane), (plain, _, nothing) = drawn(0.8), drawn(0.0)
    assert not (nothing & 2).any()
    assert not ((plane & 2 > 0) & mask).any()
    changed = np.abs(grown - plain)
    near = cv2.dilate((plane & 2), np.ones((7, 7), np.uint8)) > 0  # the kernel blurs by a pixel or two
    assert changed[~near].max() < 5
    assert changed[plane & 2 > 0].mean() > 20


def us_lesion(dots, waves=0.0):
    return ultrasound.UsLesion(14, 10, 14, -8.5, waves, np.zeros(6), np.array(dots).reshape(-1, 2), 1)


def test_microcalcifications_are_bright_where_the_truth_says():
    rng = np.random.default_rng(4)
    picture, mask, plane = ultrasound.draw(
        us_lesion([(0.0, 0.0), (0.5, 0.3)]), "transverse", False, ultrasound.MAIN, rng
    )
    spots = (plane & 4) > 0
    labels, _ = cv2.connectedComponents(spots.astype(np.uint8))
    assert labels == 3  # background and two
    radius = np.sqrt(spots.sum() / 2 / np.pi) * ultrasound.MAIN.spacing_mm
    assert radius == pytest.approx(0.56 * np.sqrt(7 / 5), abs=0.03)  # they are as wide as the nodule is
    rest = (mask > 0) & ~spots & ((plane & 2) == 0)
    assert picture[spots].mean() > picture[rest].mean() + 40


def test_without_calcifications_the_truth_shows_none_and_the_margin_is_a_band_on_the_contour():
    rng = np.random.default_rng(4)
    _, mask, plane = ultrasound.draw(us_lesion([]), "transverse", False, ultrasound.MAIN, rng)
    assert not (plane & 4).any()
    band = (plane & 2) > 0
    outside, inside = (
        cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) for m in (mask == 0, mask > 0)
    )
    distance = (outside + inside) * ultrasound.MAIN.spacing_mm
    assert distance[band].max() < 0.6 * 7 / 5 + 0.3  # along the long axis a share of the radius is longer
    assert band[(mask > 0) & (inside == 1)].all()


def test_another_seed_changes_every_picture(fewer, tmp_path):
    other = made(tmp_path, here, **FEWER | {"seed": 4})
    same = [name for name in fewer if name.endswith((".png", ".nii")) and fewer[name] == other.get(name)]
    assert len(fewer) > 50
    assert not same


def features_to_disable():
    """CPU features numpy found here and would dispatch to."""
    from numpy._core import _multiarray_umath as umath

    return [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]


SCRIPT = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from numpy._core import _multiarray_umath as umath
from dgfnet.phantom import generate

if __name__ == "__main__":
    assert not [name for name in sys.argv[2].split() if umath.__cpu_features__[name]]
    generate.ProcessPoolExecutor = lambda *_, **__: ThreadPoolExecutor(1)
    generate.generate(Path(sys.argv[1]) / "data", Path(sys.argv[1]) / "truth", **%r)
"""


@pytest.mark.skipif(not features_to_disable(), reason="this CPU has nothing beyond numpy's baseline")
def test_the_cpus_vector_units_change_no_byte(fewer, tmp_path):
    features = " ".join(features_to_disable())
    script = tmp_path / "script.py"
    script.write_text(SCRIPT % FEWER)
    out = tmp_path / "out"
    subprocess.run(
        [sys.executable, str(script), str(out), features],
        env={**os.environ, "NPY_DISABLE_CPU_FEATURES": features},
        check=True,
        capture_output=True,
    )
    assert contents(out) == fewer


def test_the_planned_exclusions_are_what_screening_finds(cohort):
    flow = screen(cohort).flow
    planned = max(1, round(0.04 * PATIENTS))
    main = {reason: counts["patients"] for reason, counts in flow["main"]["excluded"].items()}
    assert main == {
        "missing_modality": planned,
        "measurement_lines": planned,
        "several_malignant": planned,
        "no_label": 0,
    }
    assert flow["main"]["enrolled"]["patients"] == PATIENTS
    assert flow["main"]["kept"]["patients"] == PATIENTS - 3 * planned
    assert flow["main"]["images_set_aside"] == 0
    assert flow["external"]["kept"] == flow["external"]["enrolled"]
    assert flow["external"]["kept"]["patients"] == EXTERNAL


def test_the_number_of_malignant_nodules_does_not_tell_the_label_of_those_who_are_kept(cohort):
    kept = screen(cohort).kept.nodules
    assert {nodule.n_malignant_nodules for nodule in kept} == {1}
    assert len({nodule.patient_id for nodule in kept}) < len(kept)  # some have two nodules


@pytest.mark.parametrize("patients", [30, 100, 400])
def test_four_in_a_hundred_are_planned_out_for_each_reason(patients):
    enrolled = enrolment.enrol_main(patients, SEED, latents.Rule(1.0, BOTH))
    flaws = [patient.flaw for patient in enrolled]
    for reason in ("missing_modality", "measurement_lines", "several_malignant"):
        assert flaws.count(reason) == round(0.04 * patients)
    assert len({patient.patient_id for patient in enrolled}) == patients


@pytest.mark.parametrize(("count", "positive"), [(100, 37), (60, 22), (10, 4)])  # the paper has 22 of 60
def test_the_external_cohort_has_37_percent_with_central_metastasis(count, positive):
    enrolled = enrolment.enrol_external(count, SEED, latents.Rule(1.0, BOTH))
    assert sum(patient.labels["central"] for patient in enrolled) == positive
    assert len({patient.patient_id for patient in enrolled}) == count


def test_the_manifest_has_the_external_labels_planned(cohort):
    external = [nodule for nodule in cohort.nodules if nodule.cohort == "external"]
    assert sum(nodule.labels["central"] for nodule in external) == round(0.37 * EXTERNAL)


def test_kept_nodules_have_two_views_twice_and_three_slices(cohort):
    for nodule in screen(cohort).kept.nodules:
        assert [image.view for image in nodule.of("us")] == ["transverse"] * 2 + ["longitudinal"] * 2
        assert [image.slice for image in nodule.of("ct")] == [0, 1, 2]


def extent(mask):
    """Rows and columns that a mask reaches over, pixels."""
    rows, columns = np.nonzero(mask)
    return np.ptp(rows) + 1, np.ptp(columns) + 1


def widest(mask):
    """The largest of the widths of a mask seen from 1800 directions: its maximum Feret diameter."""
    edge = mask & (ndimage.minimum_filter(mask, 3) == 0)
    pixels = np.argwhere(edge)
    corners = np.concatenate(
        [pixels + shift for shift in ((-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5))]
    )
    angles = np.arange(1800) * np.pi / 1800
    return np.ptp(corners @ np.stack([np.sin(angles), np.cos(angles)]), axis=0).max()


def test_attributes_are_those_of_the_masks(cohort):
    checked = 0
    for nodule in cohort.nodules:
        if not nodule.of("us"):
            assert "aspect_ratio" not in nodule.attributes
            continue
        spacing = {image.spacing_mm for image in nodule.of("us")}
        assert spacing == ({0.15} if nodule.cohort == "main" else {0.17})
        masks = [read_mask(image) for image in nodule.of("us")]
        boxes = [extent(mask) for mask in masks]
        diameter = max(widest(mask) for mask in masks) * spacing.pop()
        height, width = boxes[0]  # of the first transverse view
        assert float(nodule.attributes["max_diameter_mm"]) == pytest.approx(diameter, abs=0.006)
        assert float(nodule.attributes["aspect_ratio"]) == pytest.approx(height / width, abs=0.0006)
        checked += 1
    assert checked > 30


def test_measurement_lines_are_drawn_where_the_manifest_says(cohort):
    """Calipers are white crosses on the contour's extremes."""
    for nodule in cohort.nodules:
        for image in nodule.of("us"):
            mask = read_mask(image)
            rows, columns = np.nonzero(mask)
            pixels = read_image(image).values
            tips = [(int(rows.mean()), int(columns.min())), (int(rows.mean()), int(columns.max()))]
            drawn = all((pixels[y, max(x - 4, 0) : x + 5] == 255).all() for y, x in tips)
            assert drawn == image.measurement_lines


def test_pictures_and_masks_are_plain_grey(cohort):
    for image in cohort.nodules[0].images + cohort.nodules[-1].images:
        if image.modality == "us":
            picture = cv2.imread(str(image.image), cv2.IMREAD_UNCHANGED)
            mask = cv2.imread(str(image.mask), cv2.IMREAD_UNCHANGED)
            assert picture.dtype == np.uint8
            assert picture.ndim == 2
            assert set(np.unique(mask)) == {0, 255}
            assert picture.std() > 20


def displayed(path, index):
    """An axial slice by the file's own world coordinates: rows to posterior, columns to patient's left."""
    volume = nib.load(path)
    values, affine = np.asarray(volume.dataobj), volume.affine
    assert np.count_nonzero(affine[:3, :3]) == 3
    corner = affine @ [0, 0, 0, 1]
    right = [(affine @ [i, 0, 0, 1])[0] - corner[0] for i in range(values.shape[0])]
    front = [(affine @ [0, j, 0, 1])[1] - corner[1] for j in range(values.shape[1])]
    up = [(affine @ [0, 0, k, 1])[2] - corner[2] for k in range(values.shape[2])]
    plane = values[:, :, np.argsort(up)[index]]
    return plane[np.argsort(right)[::-1]][:, np.argsort(front)[::-1]].T


def test_ct_comes_back_in_hounsfield_units_and_the_right_way_round(cohort):
    sides = set()
    for nodule in cohort.nodules:
        for image in nodule.of("ct"):
            pixels, mask = read_image(image), read_mask(image)
            assert pixels.unit == "HU"
            assert pixels.spacing_mm == pytest.approx(image.spacing_mm)
            np.testing.assert_array_equal(pixels.values, displayed(image.image, image.slice))
            np.testing.assert_array_equal(mask, displayed(image.mask, image.slice))
            side = pixels.values.shape[0]
            air, spine = pixels.values[:3].mean(), pixels.values[round(0.55 * side) :]
            assert -1100 < air < -900
            assert spine.max() > 500  # the vertebra lies behind
            assert pixels.values[: round(0.4 * side)].max() < 400
            middle = np.nonzero(mask)[1].mean() / side
            place = nodule.attributes["location"]
            assert {"right lobe": middle < 0.47, "isthmus": 0.45 < middle < 0.55, "left lobe": middle > 0.53}[
                place
            ]
            sides.add(place)
    assert {"right lobe", "left lobe"} <= sides


def test_the_middle_slice_shows_the_most_of_the_nodule(cohort):
    for nodule in cohort.nodules:
        if nodule.of("ct"):
            areas = [int(read_mask(image).sum()) for image in nodule.of("ct")]
            assert areas[1] == max(areas)
            # radii shrink by sqrt(1 - 0.55^2), areas by 1 - 0.55^2
            np.testing.assert_allclose([areas[0] / areas[1], areas[2] / areas[1]], 1 - 0.55**2, atol=0.08)


def test_an_enhancing_nodule_is_denser():
    def mean_hu(enhancement):
        lesion = tomography.CtLesion(14, 14, 14, enhancement, 0.0, np.zeros(6), (), 1)
        values, masks, _ = tomography.draw(lesion, (0.0,), tomography.MAIN, np.random.default_rng(1))
        inner = cv2.erode(masks[0], np.ones((3, 3), np.uint8), iterations=3) > 0
        return values[0][inner].mean()

    assert mean_hu(60.0) == pytest.approx(60, abs=4)
    assert mean_hu(130.0) == pytest.approx(130, abs=4)


def test_the_truth_lies_outside_the_cohort_and_the_cohort_does_not_tell_it(phantom):
    data, truth = phantom
    assert sorted(path.name for path in truth.iterdir()) == ["bayes.json", "latents.csv", "signal"]
    assert not truth.is_relative_to(data)
    assert sorted(path.name for path in data.iterdir()) == [
        "ct",
        "images.csv",
        "nodules.csv",
        "phantom.json",
        "us",
    ]
    head = (data / "nodules.csv").read_text().split("\n")[0] + (data / "images.csv").read_text().split("\n")[
        0
    ]
    for factor in (*latents.US_FACTORS, *latents.CT_FACTORS, "p_central", "us_score", "ct_score", "flaw"):
        assert factor not in head


def test_the_truth_is_a_logistic_function_of_the_factors(phantom):
    table = pd.read_csv(phantom[1] / "latents.csv")
    assert len(table) == PATIENTS + EXTERNAL
    us = sum(w * table[name] for name, w in latents.US_FACTORS.items())
    us /= np.sqrt(sum(w**2 for w in latents.US_FACTORS.values()))
    ct = sum(w * table[name] for name, w in latents.CT_FACTORS.items())
    ct /= np.sqrt(sum(w**2 for w in latents.CT_FACTORS.values()))
    np.testing.assert_allclose(table["us_score"], us, atol=1e-5)
    np.testing.assert_allclose(table["ct_score"], ct, atol=1e-5)
    for site, (w_us, w_ct) in latents.WEIGHTS.items():
        odds = np.log(table[f"p_{site}"] / (1 - table[f"p_{site}"]))
        intercept = odds - w_us * us - w_ct * ct
        likely = table[f"p_{site}"].between(0.01, 0.99)  # six decimals say little beyond
        assert np.ptp(intercept[likely]) < 1e-3


def test_the_best_auc_grows_with_the_signal_and_with_both_modalities(phantom):
    written = json.loads((phantom[1] / "bayes.json").read_text())
    assert written == latents.bayes_auc(latents.Rule(1.0, BOTH))
    for site in ("central", "lateral"):
        half, whole = latents.bayes_auc(latents.Rule(0.5, BOTH))[site], written[site]
        for name in ("us", "ct", "both"):
            assert 0.5 < half[name] < whole[name] < 1
        assert max(whole["us"], whole["ct"]) < whole["both"]
    assert written["central"]["us"] > written["central"]["ct"]


@pytest.mark.parametrize(("informative", "other"), [("us", "ct"), ("ct", "us")])
def test_when_one_modality_alone_decides_the_other_says_nothing(informative, other):
    rng = np.random.default_rng(6)
    patients = [latents.draw(rng) for _ in range(3000)]
    for site, aucs in latents.bayes_auc(latents.Rule(1.0, (informative,))).items():
        assert aucs[other] == pytest.approx(0.5, abs=0.01)
        assert aucs[informative] == aucs["both"] > 0.85  # without the other's noise it tells more than before
        assert aucs["both"] > latents.bayes_auc(latents.Rule(1.0, BOTH))[site][informative]
        p = [latents.probability(patient, site, latents.Rule(1.0, (informative,))) for patient in patients]
        assert np.mean(p) == pytest.approx(latents.PREVALENCE[site], abs=0.03)
        scores = {name: [getattr(patient, name) for patient in patients] for name in BOTH}
        assert np.argsort(scores[informative]).tolist() == np.argsort(p).tolist()


def test_one_informative_modality_changes_labels_and_no_picture_of_the_main_cohort(fewer, tmp_path):
    other = made(tmp_path, here, **FEWER | {"informative": ("ct",)})
    assert json.loads(other["data/phantom.json"])["informative"] == ["ct"]
    assert "informative" not in json.loads(fewer["data/phantom.json"])
    pictures = [name for name in fewer if re.match(r"data/(us|ct)/P", name)]
    assert len(pictures) > 15
    assert all(fewer[name] == other[name] for name in pictures)
    one, two = (pd.read_csv(io.BytesIO(each["truth/latents.csv"])) for each in (fewer, other))
    assert (one["p_central"] != two["p_central"]).all()


def test_without_signal_nobody_beats_chance():
    for site, aucs in latents.bayes_auc(latents.Rule(0.0, BOTH)).items():
        assert aucs == {"us": 0.5, "ct": 0.5, "both": 0.5}
        patients = [latents.draw(np.random.default_rng(seed)) for seed in range(3)]
        for patient in patients:
            assert latents.probability(patient, site, latents.Rule(0.0, BOTH)) == pytest.approx(
                latents.PREVALENCE[site], abs=1e-5
            )


@pytest.mark.parametrize("signal", [0.0, 0.5, 1.0])
def test_the_population_has_the_prevalence_it_is_said_to_have(signal):
    rng = np.random.default_rng(5)
    patients = [latents.draw(rng) for _ in range(4000)]
    for site, prevalence in latents.PREVALENCE.items():
        mean = np.mean(
            [latents.probability(patient, site, latents.Rule(signal, BOTH)) for patient in patients]
        )
        assert mean == pytest.approx(prevalence, abs=0.03)  # four standard errors of 0.4 / sqrt(4000)


def brute_force_auc(score, p):
    """Pairs of a positive i and a negative j, drawn independently, each weighted by its probability."""
    right = total = 0.0
    for i in range(len(score)):
        for j in range(len(score)):
            weight = p[i] * (1 - p[j])
            right += weight * ((score[i] > score[j]) + 0.5 * (score[i] == score[j]))
            total += weight
    return right / total


scored = st.lists(st.tuples(st.integers(-3, 3), st.floats(0.01, 0.99)), min_size=1, max_size=15)


@given(scored)
def test_the_expected_auc_is_that_of_all_pairs(members):
    score, p = (np.array(column, dtype=np.float64) for column in zip(*members, strict=True))
    assert latents._expected_auc(score, p) == pytest.approx(brute_force_auc(score, p), abs=1e-12)


def test_the_expected_auc_is_that_of_labels_drawn():
    rng = np.random.default_rng(2)
    score = np.round(rng.normal(size=20_000), 1)
    p = 1 / (1 + np.exp(-1.5 * score))
    label = rng.random(score.size) < p
    positive, negative = np.sort(score[label]), np.sort(score[~label])
    below = (np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")) / 2
    assert latents._expected_auc(score, p) == pytest.approx(below.mean() / negative.size, abs=0.012)


def test_a_folder_that_is_no_phantom_is_never_replaced(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "patients.csv").write_text("real")
    with pytest.raises(
        InputError, match="holds files that no phantom made; choose another folder or empty it"
    ):
        generate.generate(data, tmp_path / "truth", **FEW)
    assert contents(tmp_path) == {"data/patients.csv": b"real"}
