"""Small stand-ins for DDTI and LIDC, with every defect of the real sets, become a cohort."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest

from dgfnet.cli import main
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_image, read_mask
from dgfnet.errors import InputError
from dgfnet.ingest.ddti import cut_views, find_seam, parse_outlines
from dgfnet.ingest.pairing import Candidate, hold_out, pair
from dgfnet.ingest.public import pair_ddti_lidc

HEIGHT, WIDTH, SEAM = 120, 180, 94  # of the pictures; the ultrasound field is rows 6-89, columns 12-163
MARGINS = ["well defined smooth", "spiculated", "well defined"]
LEFT, RIGHT = [(25, 30), (60, 30), (60, 70), (25, 70)], [(110, 30), (150, 30), (150, 70), (110, 70)]


def region(points, kind="freehand"):
    return {"points": [{"x": x, "y": y} for x, y in points], "annotation": {}, "regionType": kind}


def picture(seed, split=False):
    """Speckle in a black frame, an answer burned in below; a split screen is brighter on the right."""
    rng = np.random.default_rng(seed)
    grey = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    grey[6:90, 12:164] = rng.integers(85, 95, (84, 152))
    if split:
        grey[6:90, SEAM:164] += 70
    cv2.putText(grey, "TIRADS 4C", (20, 112), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 2)
    return grey


class Ddti:
    """A DDTI folder that grows case by case."""

    def __init__(self, folder):
        self.folder = folder
        for part in ("images", "xml"):
            (folder / part).mkdir(parents=True)

    def case(self, name, tirads, marks, **words):
        """`marks` are pairs of the svg text (or regions) and the grey picture (None for a missing file)."""
        text = "".join(f"<{tag}>{word}</{tag}>" for tag, word in {"tirads": tirads, **words}.items())
        for number, (svg, grey) in enumerate(marks, start=1):
            svg = svg if isinstance(svg, str) else json.dumps(svg)
            text += f"<mark><image>{number}</image><svg>{svg}</svg></mark>"
            if grey is not None:
                file = self.folder / "images" / f"{name}_{number}.jpg"
                file.write_bytes(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
        (self.folder / "xml" / f"{name}.xml").write_text(f"<case>{text}</case>", encoding="utf-8")


class Lidc:
    """A LIDC VOI folder that grows nodule by nodule."""

    def __init__(self, folder):
        self.folder = folder
        self.rows = []
        for part in ("image", "nodule_mask"):
            (folder / part).mkdir(parents=True)
        self._table()

    def nodule(self, patient, nodule, value, areas=(1, 4, 2, 3), axes="LPS", image=True, mask=True):
        """A nodule of 100 HU in lung of -800 HU; `areas` are its widths (x 2), the lowest slice first."""
        self.rows.append((patient, nodule, value))
        self._table()
        drawn = np.zeros((16, 14, len(areas)), dtype=np.int16)  # right to left, posterior to anterior, up
        for z, width in enumerate(areas):
            drawn[3 : 3 + width, 9:11, z] = 1
        values = np.where(drawn > 0, 100, -800).astype(np.int16)
        for part, wanted, voxels in (("image", image, values), ("nodule_mask", mask, drawn)):
            if wanted:
                ras = nib.Nifti1Image(voxels, np.diag([0.7, 0.7, 2.5, 1.0]))
                turn = nib.orientations.ornt_transform(
                    nib.io_orientation(ras.affine), nib.orientations.axcodes2ornt(axes)
                )
                nib.save(ras.as_reoriented(turn), self.folder / part / f"{patient}_R_{nodule}.nii.gz")

    def _table(self):
        with (self.folder / "metadata.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("patient_id", "nodule_id", "Malignancy_value"), *self.rows])


@pytest.fixture
def sets(tmp_path):
    """Four sound cases and five sound nodules of each class."""
    ddti, lidc = Ddti(tmp_path / "ddti"), Lidc(tmp_path / "lidc")
    for number in range(1, 9):
        tirads = ["2", "3", "4a", "4a", "4b", "4c", "5", "5"][number - 1]
        ddti.case(
            number,
            tirads,
            [([region(LEFT)], picture(number))],
            age=f"{40 + number} ",
            sex="F",
            margins=MARGINS[number % 3],
        )
    for number in range(10):
        lidc.nodule(f"LIDC-{number:04}", 1, [1, 2, 2, 1, 2, 4, 5, 5, 4, 5][number])
    return ddti, lidc


def run(sets, out, seed=1, share=0.3):
    return pair_ddti_lidc(sets[0].folder, sets[1].folder, out, seed, share)


def reasons(summary, name):
    return [item.reason for item in summary.not_used if item.name == name]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_pairs_are_of_one_class_and_keep_both_sources(sets, tmp_path):
    summary = run(sets, tmp_path / "out")
    cohort = read_cohort(tmp_path / "out")
    rating = {(patient, str(nodule)): value for patient, nodule, value in sets[1].rows}
    assert len(cohort.nodules) == 8
    for nodule in cohort.nodules:
        source = nodule.attributes
        positive = source["tirads"] in {"4b", "4c", "5"}
        assert nodule.labels == {"central": int(positive), "lateral": None}
        value = rating[source["lidc_patient"], source["lidc_nodule"]]
        assert str(value) == source["malignancy"]
        assert (value >= 4) == positive
        assert source["age"] == str(40 + int(source["ddti_case"]))
        assert source["sex"] == "F"
        assert source.get("margin") == ["smooth", "non-smooth", None][int(source["ddti_case"]) % 3]
    assert len({nodule.attributes["lidc_patient"] for nodule in cohort.nodules}) == 8
    assert len({nodule.patient_id for nodule in cohort.nodules}) == 8
    held = Counter(n.labels["central"] for n in cohort.nodules if n.cohort == "external")
    assert held == {0: 1, 1: 1}
    assert summary.used == {
        "external_negative": 1,
        "external_positive": 1,
        "main_negative": 3,
        "main_positive": 3,
        "us_images": 8,
        "ct_slices": 24,
    }
    assert Counter(item.reason for item in summary.not_used) == {"no DDTI case of its class was left": 2}


def test_summary_is_written_beside_the_tables(sets, tmp_path):
    sets[0].case(9, "", [([region(LEFT)], picture(9))])
    summary = run(sets, tmp_path / "out")
    written = json.loads((tmp_path / "out/import.json").read_text())
    assert "no clinical meaning" in written["notice"]
    assert written["used"] == dict(summary.used)
    assert written["not_used"]["ddti case: no TIRADS"] == 1
    with (tmp_path / "out/not_used.csv").open(newline="") as stream:
        assert list(csv.reader(stream))[1:] == [
            [i.source, i.kind, i.name, i.reason, i.detail] for i in summary.not_used
        ]


def test_pixels_and_masks_read_back(sets, tmp_path):
    run(sets, tmp_path / "out")
    for nodule in read_cohort(tmp_path / "out").nodules:
        (us,) = nodule.of("us")
        pixels, mask = read_image(us).values, read_mask(us)
        assert us.spacing_mm is None
        assert pixels.shape == mask.shape == (84, 152)  # the field alone: neither frame nor burned-in answer
        rows, columns = np.nonzero(mask)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 64, 13, 48)
        for slice_ in nodule.of("ct"):
            assert (slice_.spacing_mm, slice_.window_level, slice_.window_width) == (0.7, -600, 1500)
            hounsfield = read_image(slice_).values
            assert np.array_equal(hounsfield == 100, read_mask(slice_) == 1)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LPI", "SRA"])
def test_slices_are_the_largest_counted_from_below(sets, tmp_path, axes):
    sets[1].rows.clear()
    for number in range(10):
        sets[1].nodule(f"LIDC-{number:04}", 1, 1 if number < 5 else 5, (0, 5, 1, 4, 3, 0), axes)
    run(sets, tmp_path / "out")
    for nodule in read_cohort(tmp_path / "out").nodules:
        slices = nodule.of("ct")
        assert [image.slice for image in slices] == [1, 3, 4]
        masks = [read_mask(image) for image in slices]
        assert [int(mask.sum()) for mask in masks] == [10, 8, 6]
        rows, columns = np.nonzero(masks[0])  # anterior is up, the patient's right is left
        assert (set(rows), set(columns)) == ({3, 4}, {8, 9, 10, 11, 12})


def test_split_screen_is_cut_at_its_seam():
    grey = picture(0, split=True)
    assert find_seam(grey) == SEAM
    assert find_seam(picture(0)) is None
    views, faults = cut_views("7_1", grey, parse_outlines(json.dumps([region(RIGHT), region(LEFT)])))
    assert not faults
    assert [view.name for view in views] == ["7_1a", "7_1b"]
    assert [view.pixels.shape for view in views] == [(84, SEAM - 12), (84, 164 - SEAM)]
    assert [int(view.mask.sum()) for view in views] == [36 * 41, 41 * 41]
    assert views[0].pixels.max() < 120 < views[1].pixels.min()


WHOLE = json.dumps([region(LEFT), region(RIGHT)])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("[]", []),
        ("null", []),
        ("[{}]", [(0, False)]),
        (WHOLE[: WHOLE.rindex('"points"') + 3], [(4, True), (0, False)]),
        ('[{"points": [{"x": NaN, "y": 1}], "regionType": "freehand"}]', [(0, False)]),
        ('[{"points": [{"x": 1, "y": 1}, {"x": 5 broken}], "a": [{"points": [', [(1, False)]),
        (WHOLE, [(4, True), (4, True)]),
        (WHOLE[: WHOLE.rindex("regionType")], [(4, True), (4, True)]),  # every point was read
        (WHOLE[: WHOLE.rindex(', "annotation"') - 1], [(4, True), (4, False)]),  # perhaps not the last point
        (WHOLE[: WHOLE.rindex('{"x"') + 8], [(4, True), (3, False)]),
        (json.dumps([region(LEFT), region(LEFT)]), [(4, True)]),
        (json.dumps([region(LEFT), region(LEFT)])[:-90], [(4, True)]),  # it only began to repeat
        (json.dumps([region(LEFT[:2], "arrow"), region(LEFT)]), [(4, True)]),
        (json.dumps([region(LEFT[:2])]), []),
    ],
)
def test_outlines_of_broken_json(text, expected):
    assert [(len(outline.points), outline.whole) for outline in parse_outlines(text)] == expected


CUT = json.dumps([region(LEFT)])[:90]
DEFECTS = {
    "no outline in the XML": ("", picture(20)),
    "the outline is not whole in the XML": (CUT, picture(20)),
    "several outlines in one view: which of them the case describes cannot be told": (
        [region(LEFT), region(RIGHT)],
        picture(20),
    ),
    "the outline leaves the picture": ([region([(20, 100), (60, 100), (60, 130)])], picture(20)),
    "the outline encloses fewer than 20 pixels": ([region([(20, 20), (22, 20), (22, 22)])], picture(20)),
    "the outline crosses the seam between two views": (
        [region([(50, 30), (140, 30), (140, 70), (50, 70)])],
        picture(20, split=True),
    ),
    "the picture is missing": ([region(LEFT)], None),
}


@pytest.mark.parametrize("reason", DEFECTS)
def test_unusable_picture_leaves_the_rest_of_its_case(sets, tmp_path, reason):
    sets[0].case(20, "2", [DEFECTS[reason], ([region(LEFT)], picture(21))])
    sets[0].case(22, "2", [DEFECTS[reason]])
    summary = run(sets, tmp_path / "out")
    assert reasons(summary, "20_1") == reasons(summary, "22_1") == [reason]
    assert reasons(summary, "20") == []
    assert reasons(summary, "22") == ["no usable picture"]
    names = {nodule.nodule_id for nodule in read_cohort(tmp_path / "out").nodules}
    assert "ddti-20" in names
    assert "ddti-22" not in names


def test_unusable_cases_and_pictures_are_listed(sets, tmp_path):
    ddti = sets[0]
    ddti.case(30, "", [([region(LEFT)], picture(30))])
    ddti.case(31, "6", [([region(LEFT)], picture(31))])
    (ddti.folder / "xml" / "32.xml").write_text("<case><tirads>2</ti")
    ddti.case(33, "2", [([region(LEFT)], picture(33))])
    (ddti.folder / "images" / "33_1.jpg").write_bytes(b"no picture")
    (ddti.folder / "images" / "34_1.jpg").write_bytes(b"no case")
    summary = run(sets, tmp_path / "out")
    assert reasons(summary, "30") == ["no TIRADS"]
    assert reasons(summary, "31") == ["TIRADS '6' is not one of 2, 3, 4a, 4b, 4c, 5"]
    assert reasons(summary, "32") == ["the XML cannot be read"]
    assert reasons(summary, "33_1") == ["the picture cannot be decoded"]
    assert reasons(summary, "images/34_1.jpg") == ["no XML describes its case"]


def test_a_picture_is_shown_once(sets, tmp_path):
    ddti, again = sets[0], picture(41)
    ddti.case(40, "2", [("", again), ([region(LEFT)], again), ([region(LEFT)], again)])
    ddti.case(41, "5", [([region(LEFT)], picture(1)), ([region(LEFT)], picture(42))])  # picture of case 1
    summary = run(sets, tmp_path / "out")
    assert reasons(summary, "40_2") == []
    assert reasons(summary, "40_3") == ["repeats a picture of the same case"]
    assert reasons(summary, "41") == ["shows a picture of another case, which is used"]
    assert [item.detail for item in summary.not_used if item.name == "41"] == ["case 1"]


def test_unusable_nodules_are_listed(sets, tmp_path):
    lidc = sets[1]
    lidc.nodule("LIDC-1001", 1, 3)
    lidc.nodule("LIDC-1002", 1, 9)
    lidc.nodule("LIDC-1003", 1, 5, image=False)
    lidc.nodule("LIDC-1004", 1, 5, mask=False)
    lidc.nodule("LIDC-1005", 1, 5, areas=(0, 0))
    lidc.nodule("LIDC-1006", 1, 5)
    lidc.nodule("LIDC-1007", 1, 5, areas=(1, 1))
    (lidc.folder / "image" / "LIDC-1006_R_1.nii.gz").write_bytes(b"broken")
    mask = lidc.folder / "nodule_mask" / "LIDC-1007_R_1.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((3, 3, 3), dtype=np.int16), np.eye(4)), mask)
    lidc.nodule("LIDC-1003", 1, 5, image=False)
    (lidc.folder / "nodule_mask" / "LIDC-1008_R_1.nii.gz").write_bytes(b"")
    summary = run(sets, tmp_path / "out")
    assert reasons(summary, "LIDC-1001_R_1") == ["Malignancy_value 3: indeterminate"]
    assert reasons(summary, "LIDC-1002_R_1") == ["Malignancy_value '9' is not 1 to 5"]
    assert reasons(summary, "LIDC-1003_R_1") == ["the image is missing", "a second row of the same nodule"]
    assert reasons(summary, "LIDC-1004_R_1") == ["the mask is missing"]
    assert reasons(summary, "LIDC-1005_R_1") == ["the mask is empty"]
    assert reasons(summary, "LIDC-1006_R_1")[0].startswith("cannot be read as NIfTI")
    assert reasons(summary, "LIDC-1007_R_1") == ["image and mask are on different grids"]
    assert reasons(summary, "nodule_mask/LIDC-1008_R_1.nii.gz") == ["no row of metadata.csv names it"]


def silent(ddti, lidc, summary, out):
    """Files of both sets that are neither in the cohort nor told, alone or by their case or nodule."""
    not_used = {(item.source, item.name) for item in summary.not_used}
    table = (out / "nodules.csv").read_text() + (out / "images.csv").read_text()
    files = []
    for path in (path for path in ddti.rglob("*") if path.is_file()):
        case = path.stem.rpartition("_")[0] or path.stem
        ids = {
            "xml": [f",ddti-{case},"],
            "images": [f"us/ddti-{path.stem}{view}.png," for view in ("", "a", "b")],
        }
        shown = any(text in table for text in ids.get(path.parent.name, []))
        names = (case, path.stem, path.relative_to(ddti).as_posix())
        files += [] if shown or any(("ddti", name) in not_used for name in names) else [path]
    for path in (path for path in lidc.rglob("*") if path.is_file() and path.name != "metadata.csv"):
        name = path.name.removesuffix(".nii.gz")
        patient, _, nodule = name.rpartition("_R_")
        shown = f",{patient},{nodule}," in table and path.parent.name in ("image", "nodule_mask")
        names = (name, path.relative_to(lidc).as_posix())
        files += [] if shown or any(("lidc", name) in not_used for name in names) else [path]
    return files


def test_every_file_of_the_sets_is_used_or_accounted_for(sets, tmp_path):
    ddti, lidc = sets
    ddti.case(50, "2", [([region(LEFT)], picture(50))])
    (ddti.folder / "images/50_2.jpg").write_bytes(b"not marked")
    (ddti.folder / "images/50_1.png").write_bytes(b"the XML means the JPEG")
    ddti.case(51, "", [([region(LEFT)], picture(51))])
    (ddti.folder / "readme.txt").write_text("x")
    (ddti.folder / "more").mkdir()
    (ddti.folder / "more/1_1.jpg").write_bytes(b"x")
    lidc.nodule("LIDC-2001", 1, 5, image=False)
    (lidc.folder / "image/LIDC-0001_R_1.json").write_text("{}")
    (lidc.folder / "LIDC-0001_R_1.nii.gz").write_bytes(b"x")
    (lidc.folder / "image/link").symlink_to(tmp_path)
    summary = run(sets, tmp_path / "out")
    assert silent(ddti.folder, lidc.folder, summary, tmp_path / "out") == []
    assert {item.name: item.reason for item in summary.not_used if item.kind == "file"} == {
        "images/50_1.png": "the XML of its case has no mark for it",
        "images/50_2.jpg": "the XML of its case has no mark for it",
        "more/1_1.jpg": "no part of the set",
        "readme.txt": "no part of the set",
        "LIDC-0001_R_1.nii.gz": "no part of the set",
        "image/LIDC-0001_R_1.json": "no row of metadata.csv names it",
        "image/link": "a link to a folder, or no file; links are not followed",
    }


@pytest.mark.parametrize(
    ("kind", "index", "modality", "held"), [("ddti", 0, "us", 1), ("lidc-voi", 1, "ct", 2)]
)
def test_a_set_alone_is_a_cohort_of_one_modality(sets, tmp_path, kind, index, modality, held):
    source = sets[index].folder
    archive = shutil.make_archive(str(tmp_path / "set"), "zip", source.parent, source.name)
    for given, out in ((source, "a"), (archive, "b")):
        where = ["--out", str(tmp_path / out), "--seed", "3", "--external-share", "0.3"]
        main(["ingest", kind, str(given), *where])
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    nodules = read_cohort(tmp_path / "a").nodules
    assert {image.modality for nodule in nodules for image in nodule.images} == {modality}
    counts = Counter((nodule.cohort, nodule.labels["central"]) for nodule in nodules)
    assert counts == {("main", 0): 3, ("main", 1): 3, ("external", 0): held, ("external", 1): held}


def test_of_two_sets_in_one_place_none_is_taken_at_random(sets, tmp_path):
    shutil.copytree(sets[0].folder, tmp_path / "copy")
    with pytest.raises(InputError, match="holds copy, ddti; name one of them"):
        pair_ddti_lidc(tmp_path, sets[1].folder, tmp_path / "out", 1, 0.2)


def test_one_nodule_per_source_patient(sets, tmp_path):
    sets[1].rows.clear()
    for number in range(6):  # each has a benign and a malignant nodule
        sets[1].nodule(f"LIDC-{number:04}", 1, 1)
        sets[1].nodule(f"LIDC-{number:04}", 2, 5)
    summary = run(sets, tmp_path / "out")
    patients = [nodule.attributes["lidc_patient"] for nodule in read_cohort(tmp_path / "out").nodules]
    assert sorted(patients) == sorted(set(patients))
    assert len(patients) == 6
    left = Counter(item.reason for item in summary.not_used)
    assert left["no LIDC nodule of its class was left"] == 2
    assert left["another nodule of its patient is used"] == 6


def test_the_scarcer_class_draws_first():
    subjects = {"p1": 1, "p2": 1, "n1": 0}
    candidates = [Candidate(f"{person}{label}", person, label) for person in "ab" for label in (0, 1)]
    candidates += [Candidate("c0", "c", 0)]
    for seed in range(20):
        drawn = pair(subjects, candidates, np.random.default_rng(seed))
        assert drawn["n1"] == "c0"
        assert {drawn["p1"], drawn["p2"]} == {"a1", "b1"}


def test_held_out_part_keeps_both_classes_on_both_sides():
    labels = {f"n{i}": 0 for i in range(10)} | {f"p{i}": 1 for i in range(2)}
    for share, negatives in ((0.01, 1), (0.3, 3), (0.99, 9)):
        held = hold_out(labels, share, np.random.default_rng(0))
        assert Counter(name[0] for name in held) == {"n": negatives, "p": 1}
    with pytest.raises(InputError, match="label 1: found 1; main and external"):
        hold_out({"n0": 0, "n1": 0, "p0": 1}, 0.5, np.random.default_rng(0))


def test_same_seed_same_bytes(sets, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(sets, tmp_path / name, seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["nodules.csv"] != contents(tmp_path / "c")["nodules.csv"]


def test_out_must_be_free(sets, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    run(sets, out)  # an empty folder is free
    before = contents(out)
    with pytest.raises(InputError, match="exists and is not empty"):
        run(sets, out)
    assert contents(out) == before


def test_nothing_is_half_written(sets, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("dgfnet.ingest.public.shutil.copyfile", full)
    with pytest.raises(OSError, match="disk full"):
        run(sets, tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []


def test_wrong_folders_and_numbers_are_explained(sets, tmp_path):
    ddti, lidc, out = sets[0].folder, sets[1].folder, tmp_path / "out"
    with pytest.raises(InputError, match="expected a folder or archive with images, xml"):
        pair_ddti_lidc(lidc, lidc, out, 1, 0.2)
    with pytest.raises(InputError, match=r"archive with image, nodule_mask, metadata\.csv"):
        pair_ddti_lidc(ddti, ddti, out, 1, 0.2)
    with pytest.raises(InputError, match="between 0 and 1"):
        pair_ddti_lidc(ddti, lidc, out, 1, 1.0)
    with pytest.raises(InputError, match="whole number from 0"):
        pair_ddti_lidc(ddti, lidc, out, -1, 0.2)
    (lidc / "metadata.csv").write_text("patient_id,nodule_id\n")
    with pytest.raises(InputError, match=r"lacks column\(s\) Malignancy_value"):
        pair_ddti_lidc(ddti, lidc, out, 1, 0.2)
    assert not out.exists()


@pytest.mark.realdata
def test_real_sets(tmp_path):
    folders = [os.environ.get(name) for name in ("DGFNET_DDTI", "DGFNET_LIDC")]
    if not all(folders):
        pytest.skip("DGFNET_DDTI and DGFNET_LIDC do not name the folders of the public sets")
    ddti, lidc = (Path(folder) for folder in folders)
    summary = pair_ddti_lidc(ddti, lidc, tmp_path / "out", 1, 0.2)
    cohort = read_cohort(tmp_path / "out")
    scored = len(cohort.nodules) + len(
        [i for i in summary.not_used if i.kind == "case" and i.source == "ddti" and "TIRADS" not in i.reason]
    )
    assert len(cohort.nodules) > 0.95 * scored
    assert len({nodule.attributes["lidc_patient"] for nodule in cohort.nodules}) == len(cohort.nodules)
    pictures = Counter()
    for nodule in cohort.nodules:
        assert nodule.of("us")
        for image in nodule.images:
            pixels, mask = read_image(image), read_mask(image)
            assert pixels.values.shape == mask.shape
            if image.modality == "us":
                pictures[pixels.values.tobytes()] += 1
            else:
                assert pixels.spacing_mm == pytest.approx(image.spacing_mm, rel=1e-4)
    assert set(pictures.values()) == {1}  # no picture twice
    assert silent(ddti, lidc, summary, tmp_path / "out") == []
