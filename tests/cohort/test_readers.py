"""Every kind of file gives the same pixels, and each fault one message."""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dgfnet.cohort.readers import read_image, read_mask, read_pair
from dgfnet.cohort.records import Image
from dgfnet.errors import InputError
from dgfnet.imaging import pictures
from dgfnet.imaging.limits import LARGEST
from dicom_files import CT_SOP, dicom, segmentation

GREY = (np.arange(48 * 64).reshape(48, 64) % 251).astype(np.uint8)
MASK = np.zeros((48, 64), dtype=np.uint8)
MASK[8:14, 10:20] = 1


def image(path, mask=None, modality="us", index=None):
    view = "transverse" if modality == "us" else "axial"
    return Image("N1", modality, view, Path(path), Path(mask or path), None, index, None, None, False)


def fault(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    return str(caught.value)


def region(x=0.02, y=0.02, units=3):
    item = Dataset()
    item.RegionSpatialFormat, item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = 1, units, units
    item.PhysicalDeltaX, item.PhysicalDeltaY = x, y
    return item


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_pictures_with_and_without_colour_and_alpha_are_grey(tmp_path, suffix, channels):
    path = tmp_path / f"ü {channels}{suffix}"
    pixels = GREY if channels == 1 else np.dstack([GREY] * 3 + [np.full_like(GREY, 255)] * (channels - 3))
    path.write_bytes(cv2.imencode(suffix, pixels)[1].tobytes())
    pixels = read_image(image(path))
    assert (pixels.unit, pixels.spacing_mm) == ("grey", None)
    np.testing.assert_array_equal(pixels.values, GREY)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_picture_is_named(tmp_path, suffix, share):
    path = tmp_path / f"cut{suffix}"
    whole = cv2.imencode(suffix, GREY)[1].tobytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert fault(read_image, image(path)).startswith(f"cut{suffix}: cannot be decoded")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".dcm", ".nii"])
def test_a_file_that_has_gone_since_the_manifest_was_read_is_named(tmp_path, suffix):
    gone = image(tmp_path / f"gone{suffix}", modality="ct")
    assert fault(read_image, gone).startswith(f"gone{suffix}: cannot be ")
    assert fault(read_mask, gone).startswith(f"gone{suffix}: cannot be ")


def test_sixteen_bits_and_a_huge_picture_are_refused(tmp_path):
    cv2.imwrite(str(tmp_path / "deep.png"), GREY.astype(np.uint16) * 257)
    assert "uint16 pixels, expected 8 bit" in fault(read_image, image(tmp_path / "deep.png"))
    side = int(LARGEST**0.5) + 1
    cv2.imwrite(str(tmp_path / "huge.png"), np.zeros((side, side), dtype=np.uint8))
    assert "more than 50 million pixels" in fault(read_image, image(tmp_path / "huge.png"))


def test_pages_of_a_tiff_are_named_by_the_column_slice(tmp_path):
    path = tmp_path / "two.tif"
    cv2.imwritemulti(str(path), [GREY, 255 - GREY])
    np.testing.assert_array_equal(read_image(image(path, index=1)).values, 255 - GREY)
    assert "2 pages; name one" in fault(read_image, image(path))
    one_page = image(tmp_path / "two.tif", tmp_path / "m.png", index=1)
    cv2.imwrite(str(tmp_path / "m.png"), MASK)
    np.testing.assert_array_equal(read_mask(one_page), MASK)
    assert "page 2 asked for, the file has 2" in fault(read_image, image(path, index=2))


@pytest.mark.parametrize("syntax", ["none", JPEG2000Lossless, JPEGLSLossless, RLELossless, JPEGLosslessSV1])
@pytest.mark.parametrize("colour", [False, True])
def test_dicom_of_every_lossless_transfer_syntax(tmp_path, syntax, colour):
    path = tmp_path / "one.dcm"
    pixels = np.dstack([GREY] * 3) if colour else GREY
    data = dicom(path, pixels, SequenceOfUltrasoundRegions=Sequence([region()]))
    if syntax == JPEGLosslessSV1:
        import gdcm

        reader = gdcm.ImageReader()
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == JPEGLosslessSV1
    elif syntax != "none":
        data.compress(syntax)
        data.save_as(path, enforce_file_format=True)
    pixels = read_image(image(path))
    assert pixels.unit == "grey"
    assert pixels.spacing_mm == pytest.approx(0.2)  # 0.02 cm a pixel
    np.testing.assert_array_equal(pixels.values, GREY)


def test_dicom_of_jpeg_in_ybr_is_grey_within_the_loss(tmp_path):
    path = tmp_path / "ybr.dcm"
    smooth = cv2.GaussianBlur(GREY, (0, 0), 4)
    data = dicom(path, np.dstack([smooth] * 3))
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.PhotometricInterpretation = "YBR_FULL_422"
    picture = cv2.imencode(".jpg", np.dstack([smooth] * 3), [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    data.PixelData = encapsulate([picture])
    data["PixelData"].is_undefined_length = True
    data.save_as(path, enforce_file_format=True)
    assert np.abs(read_image(image(path)).values.astype(int) - smooth).max() <= 3


def test_dicom_whose_zero_is_white_is_turned_over(tmp_path):
    dicom(tmp_path / "m1.dcm", 255 - GREY, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(read_image(image(tmp_path / "m1.dcm")).values, GREY)


def test_dicom_with_a_palette_is_looked_up(tmp_path):
    table = (np.arange(256)[::-1].astype("<u2") * 257).tobytes()
    names = [f"{c}PaletteColorLookupTable" for c in ("Red", "Green", "Blue")]
    values = {f"{name}Descriptor": [256, 0, 16] for name in names} | {f"{name}Data": table for name in names}
    dicom(tmp_path / "p.dcm", 255 - GREY, PhotometricInterpretation="PALETTE COLOR", **values)
    np.testing.assert_array_equal(read_image(image(tmp_path / "p.dcm")).values, GREY)


def test_a_frame_of_a_clip_is_named_by_the_column_slice(tmp_path):
    path = tmp_path / "clip.dcm"
    dicom(path, np.stack([GREY, 255 - GREY, GREY // 2]))
    np.testing.assert_array_equal(read_image(image(path, index=2)).values, GREY // 2)
    assert "3 frames; name one" in fault(read_image, image(path))
    assert "frame 3 asked for, the file has 3" in fault(read_image, image(path, index=3))


@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ([], None),
        ([region(units=0)], None),  # not calibrated
        ([region(0.01, 0.01), region(0.01, 0.01)], 0.1),
        ([region(0.01, 0.01), region(0.02, 0.02)], None),  # two scales: which holds the nodule is not known
    ],
)
def test_calibration_of_ultrasound_regions(tmp_path, regions, expected):
    dicom(tmp_path / "r.dcm", GREY, SequenceOfUltrasoundRegions=Sequence(regions))
    spacing = read_image(image(tmp_path / "r.dcm")).spacing_mm
    assert spacing == (None if expected is None else pytest.approx(expected))


def test_the_scale_of_a_pair_is_that_of_the_region_with_the_nodule(tmp_path):
    """MASK lies in columns 10 to 19; a region beside it has other pixels, which are no squares either."""
    beside = region(0.02, 0.03)
    regions = [region(0.01, 0.01), beside, region(0.0, 0.0)]
    for item, (left, right) in zip(regions, ((0, 31), (32, 63), (32, 63)), strict=True):
        item.RegionLocationMinX0, item.RegionLocationMaxX1 = left, right
        item.RegionLocationMinY0, item.RegionLocationMaxY1 = 0, 47
    dicom(tmp_path / "r.dcm", GREY, SequenceOfUltrasoundRegions=Sequence(regions))
    for shift, expected in ((0, 0.1), (30, None)):
        cv2.imwrite(str(tmp_path / "m.png"), np.roll(MASK, shift, axis=1) * 255)
        pair = image(tmp_path / "r.dcm", tmp_path / "m.png")
        if expected is None:
            assert "pixels of 0.3 x 0.2 mm; expected squares" in fault(read_pair, pair)
        else:
            assert read_pair(pair)[0].spacing_mm == pytest.approx(expected)


def test_pixels_that_are_no_squares_are_refused(tmp_path):
    dicom(tmp_path / "r.dcm", GREY, SequenceOfUltrasoundRegions=Sequence([region(0.01, 0.02)]))
    assert "pixels of 0.2 x 0.1 mm; expected squares" in fault(read_image, image(tmp_path / "r.dcm"))


def test_ct_in_dicom_becomes_hounsfield_units(tmp_path):
    stored = (GREY.astype(np.uint16) + 900).astype(np.uint16)
    values = {"RescaleSlope": "2", "RescaleIntercept": "-1000", "PixelSpacing": ["0.5", "0.5"]}
    dicom(tmp_path / "ct.dcm", stored, CT_SOP, **values)
    pixels = read_image(image(tmp_path / "ct.dcm", modality="ct"))
    assert (pixels.unit, pixels.spacing_mm) == ("HU", 0.5)
    np.testing.assert_allclose(pixels.values, 2.0 * (GREY.astype(float) + 900) - 1000)
    dicom(tmp_path / "raw.dcm", stored, CT_SOP)
    assert "no RescaleSlope" in fault(read_image, image(tmp_path / "raw.dcm", modality="ct"))


def test_ct_of_an_enhanced_file_uses_the_slope_of_its_frame(tmp_path):
    def group(slope):
        measures, transformation, item = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing = ["0.7", "0.7"]
        transformation.RescaleSlope, transformation.RescaleIntercept = slope, "-10"
        item.PixelMeasuresSequence = Sequence([measures])
        item.PixelValueTransformationSequence = Sequence([transformation])
        return item

    stored = np.stack([GREY, GREY]).astype(np.uint16)
    groups = Sequence([group("1"), group("3")])
    dicom(tmp_path / "e.dcm", stored, CT_SOP, PerFrameFunctionalGroupsSequence=groups)
    pixels = read_image(image(tmp_path / "e.dcm", modality="ct", index=1))
    assert pixels.spacing_mm == pytest.approx(0.7)
    np.testing.assert_allclose(pixels.values, 3.0 * GREY - 10)


def test_ct_whose_nodule_is_no_tissue_is_refused(tmp_path):
    stored = np.full((48, 64), 3000, dtype=np.uint16)
    dicom(tmp_path / "ct.dcm", stored, CT_SOP, RescaleSlope="10", RescaleIntercept="-1024")
    cv2.imwrite(str(tmp_path / "m.png"), MASK)
    pair = image(tmp_path / "ct.dcm", tmp_path / "m.png", "ct")
    assert "28976 HU in the middle of the nodule" in fault(read_pair, pair)


@pytest.mark.parametrize(
    ("name", "value"), [("PatientName", "Doe^Jane"), ("PatientBirthDate", "19700101"), ("PatientID", "4711")]
)
def test_a_file_that_names_a_person_is_refused_without_repeating_the_name(tmp_path, name, value):
    dicom(tmp_path / "id.dcm", GREY, **{name: value})
    said = fault(read_image, image(tmp_path / "id.dcm"))
    assert f"names a person or a place ({name})" in said
    assert value not in said


@pytest.mark.parametrize("name", ["ConsultingPhysicianName", "PatientComments", "ResponsiblePerson"])
def test_further_names_of_persons_are_refused(tmp_path, name):
    dicom(tmp_path / "one.dcm", GREY, PatientIdentityRemoved="YES", **{name: "Mueller"})
    assert name in fault(read_image, image(tmp_path / "one.dcm"))


def test_a_name_kept_inside_a_sequence_is_refused(tmp_path):
    inner, outer = Dataset(), Dataset()
    inner.PatientName = "Mueller^Anna"
    outer.ModifiedAttributesSequence = Sequence([inner])
    dicom(
        tmp_path / "one.dcm", GREY, PatientIdentityRemoved="YES", OriginalAttributesSequence=Sequence([outer])
    )
    said = fault(read_image, image(tmp_path / "one.dcm"))
    assert "PatientName" in said
    assert "Mueller" not in said


def test_a_pseudonym_in_a_file_declared_clean_is_fine(tmp_path):
    dicom(tmp_path / "tcia.dcm", GREY, PatientID="LIDC-0001", PatientIdentityRemoved="YES")
    assert read_image(image(tmp_path / "tcia.dcm")).values.shape == GREY.shape


def test_broken_dicom_is_one_message(tmp_path):
    (tmp_path / "no.dcm").write_bytes(b"not dicom at all")
    assert "cannot be read as DICOM" in fault(read_image, image(tmp_path / "no.dcm"))
    dicom(tmp_path / "cut.dcm", GREY)
    raw = (tmp_path / "cut.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(raw[:-100])
    assert fault(read_image, image(tmp_path / "cut.dcm")).startswith("cut.dcm: ")
    dicom(tmp_path / "deep.dcm", GREY.astype(np.uint16))
    assert "16 bits; expected 8-bit ultrasound" in fault(read_image, image(tmp_path / "deep.dcm"))
    dicom(tmp_path / "rgb.dcm", np.dstack([GREY] * 3), CT_SOP)
    assert "expected grey CT" in fault(read_image, image(tmp_path / "rgb.dcm", modality="ct"))


def nifti(path, values, affine):
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, 1), (-1, 1, -1)])
def test_orientation_of_a_nifti_does_not_change_what_is_shown(tmp_path, flip):
    values = np.arange(4 * 5 * 3, dtype=np.float32).reshape(4, 5, 3)
    stored = values[:: flip[0], :: flip[1], :: flip[2]]
    path = nifti(tmp_path / "v.nii.gz", stored, np.diag([*(0.6 * np.array(flip)), 1]))
    pixels = read_image(image(path, modality="ct", index=2))
    assert pixels.spacing_mm == pytest.approx(0.6)
    np.testing.assert_array_equal(pixels.values, values[::-1, ::-1, 2].T)


def test_faults_of_a_nifti(tmp_path):
    path = nifti(tmp_path / "v.nii", np.zeros((4, 5, 3), dtype=np.float32), np.diag([0.5, 0.7, 1, 1]))
    assert "expected squares" in fault(read_image, image(path, modality="ct", index=0))
    path = nifti(tmp_path / "w.nii", np.zeros((4, 5, 3), dtype=np.float32), np.eye(4))
    assert "3 slices; name one" in fault(read_image, image(path, modality="ct"))
    assert "slice 3 asked for" in fault(read_image, image(path, modality="ct", index=3))
    assert "not NIfTI" in fault(read_image, image(path, modality="us", index=0))
    (tmp_path / "x.nii").write_bytes(path.read_bytes()[:400])
    assert "cannot be read as NIfTI" in fault(read_image, image(tmp_path / "x.nii", modality="ct", index=0))


@pytest.mark.parametrize("value", [1, 2, 127, 255])
def test_a_mask_may_say_yes_in_any_way(tmp_path, value):
    cv2.imwrite(str(tmp_path / "m.png"), MASK * np.uint8(value))
    np.testing.assert_array_equal(read_mask(image(tmp_path / "m.png")), MASK)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros_like(MASK), "the mask is empty"),
        (np.ones_like(MASK), "covers the whole image"),
        (GREY, "grey values all over"),
        (GREY // 2, "grey values all over"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, values, said):
    cv2.imwrite(str(tmp_path / "m.png"), values)
    assert said in fault(read_mask, image(tmp_path / "m.png"))


def test_a_dicom_segmentation_is_found_by_the_image_it_was_drawn_on(tmp_path):
    place = {
        "ImagePositionPatient": ["0", "0", "0"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "PixelSpacing": ["0.5", "0.5"],
        "SliceThickness": "1",
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
    }
    slices = []
    for index in range(2):
        place["ImagePositionPatient"] = ["0", "0", str(index)]
        path = tmp_path / f"ct{index}.dcm"
        slices.append(dicom(path, GREY.astype(np.int16), CT_SOP, **place))
        slices[index].FrameOfReferenceUID = slices[0].FrameOfReferenceUID
        slices[index].SeriesInstanceUID = slices[0].SeriesInstanceUID
        slices[index].StudyInstanceUID = slices[0].StudyInstanceUID
        slices[index].save_as(path, enforce_file_format=True)
    segmentation(tmp_path / "seg.dcm", slices, {"nodule": np.stack([np.zeros_like(MASK), MASK])})
    mask = read_mask(image(tmp_path / "ct1.dcm", tmp_path / "seg.dcm", "ct"))
    np.testing.assert_array_equal(mask, MASK)
    empty = image(tmp_path / "ct0.dcm", tmp_path / "seg.dcm", "ct")
    assert "the mask is empty" in fault(read_mask, empty)
    dicom(tmp_path / "other.dcm", GREY.astype(np.int16), CT_SOP, **place)
    stranger = image(tmp_path / "other.dcm", tmp_path / "seg.dcm", "ct")
    assert "drawn on other images than other.dcm" in fault(read_mask, stranger)
    cv2.imwrite(str(tmp_path / "p.png"), GREY)
    assert "drawn on other images than p.png" in fault(
        read_mask, image(tmp_path / "p.png", tmp_path / "seg.dcm", "ct")
    )
    named = pydicom.dcmread(tmp_path / "seg.dcm")
    named.PatientName = "Doe^Jane"
    named.save_as(tmp_path / "seg.dcm")
    assert "names a person" in fault(read_mask, image(tmp_path / "ct1.dcm", tmp_path / "seg.dcm", "ct"))


def test_an_incomplete_region_is_as_if_it_were_not_calibrated(tmp_path):
    half = region()
    del half.PhysicalDeltaY
    dicom(tmp_path / "r.dcm", GREY, SequenceOfUltrasoundRegions=Sequence([half]))
    assert read_image(image(tmp_path / "r.dcm")).spacing_mm is None


@pytest.mark.parametrize("side", [1e-5, 50.0])
def test_pixels_of_no_usual_size_are_refused(tmp_path, side):
    path = nifti(tmp_path / "v.nii", np.zeros((4, 5, 3), dtype=np.int16), np.diag([side, side, 1, 1]))
    said = fault(read_image, image(path, modality="ct", index=0))
    assert said == f"v.nii: pixels of {side:g} x {side:g} mm; expected a side of 0.01 to 20 mm"


def test_voxels_that_are_no_numbers_are_refused(tmp_path):
    path = nifti(tmp_path / "c.nii", np.zeros((4, 5, 3), dtype=np.complex64), np.eye(4))
    assert "expected one HU each" in fault(read_image, image(path, modality="ct", index=0))


def liars(folder):
    """Small files that claim to be huge: 900 million pixels, 2800 million voxels, 4300 million pixels."""
    jpeg = bytearray(cv2.imencode(".jpg", GREY)[1].tobytes())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    (folder / "a.jpg").write_bytes(jpeg)
    volume = bytearray(nib.Nifti1Image(np.zeros((4, 4, 3), dtype=np.int16), np.eye(4)).to_bytes())
    volume[40:48] = struct.pack("<4h", 3, 2000, 2000, 700)
    (folder / "b.nii").write_bytes(volume)
    (folder / "c.nii.gz").write_bytes(gzip.compress(bytes(volume)))
    dicom(folder / "d.dcm", GREY, Rows=65_535, Columns=65_535)
    return sorted(path for path in folder.iterdir())


READ_ALL = """
import sys
from pathlib import Path
from dgfnet.cohort.readers import read_image
from dgfnet.cohort.records import Image
from dgfnet.errors import InputError
from peak import peak_megabytes

before = peak_megabytes()
for path in map(Path, sys.argv[1:]):
    modality = "ct" if ".nii" in path.name else "us"
    try:
        read_image(Image("N", modality, "axial", path, path, None, 0, None, None, False))
    except InputError:
        print("refused")
print(round(peak_megabytes() - before))
"""


def test_files_that_claim_to_be_huge_take_no_memory(tmp_path):
    files = liars(tmp_path)
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, *files],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
    )
    *refused, megabytes = done.stdout.split()
    assert refused == ["refused"] * len(files) == ["refused"] * 4
    assert int(megabytes) < 100


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory):
    """One sound file of every kind: name to modality, slice and bytes."""
    folder = tmp_path_factory.mktemp("sound")
    scale = {"RescaleSlope": "1", "RescaleIntercept": "-1000", "PixelSpacing": ["0.5", "0.5"]}
    dicom(folder / "us.dcm", GREY, SequenceOfUltrasoundRegions=Sequence([region()]))
    dicom(folder / "ct.dcm", GREY.astype(np.int16), CT_SOP, **scale)
    nifti(folder / "ct.nii", np.full((64, 48, 3), 60, dtype=np.int16), np.diag([0.5, 0.5, 1, 1]))
    for suffix in (".png", ".jpg", ".tif", ".bmp"):
        cv2.imwrite(str(folder / f"us{suffix}"), GREY)
    return {
        path.name: (path.name[:2], 1 if path.suffix == ".nii" else None, path.read_bytes())
        for path in sorted(folder.iterdir())
    }


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # it warns of what it makes of damaged headers
@given(st.data())
def test_damaged_files_end_in_pixels_or_in_one_message(sound_files, data):
    name = data.draw(st.sampled_from(sorted(sound_files)))
    modality, index, whole = sound_files[name]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(1500, len(whole) - 1)))  # headers are there
        put = data.draw(st.binary(max_size=8))
        whole = whole[:at] + put + whole[at + data.draw(st.integers(0, 20)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(whole)
        try:
            said = f"{name}: {read_image(image(path, modality=modality, index=index)).values.ndim}"
        except InputError as error:
            said = str(error)
    assert said.startswith(f"{name}: ")
    assert "\n" not in said


def test_a_page_is_decoded_alone_and_a_page_that_claims_too_much_is_refused(tmp_path, monkeypatch):
    """Every page would take its memory before anybody looks at how many there are."""
    pages = [np.full((20, 30 + place), 40 * place, np.uint8) for place in range(4)]
    path = tmp_path / "pages.tif"
    done, raw = cv2.imencodemulti(".tif", pages)
    assert done
    path.write_bytes(raw.tobytes())
    decode, taken = cv2.imdecodemulti, []

    def counted(*arguments):
        result = decode(*arguments)
        taken.append(len(result[1]))
        return result

    monkeypatch.setattr(pictures.cv2, "imdecodemulti", counted)
    for place, expected in enumerate(pages):
        np.testing.assert_array_equal(pictures.decode(path, place), expected)
    for page, words in ((None, "4 pages; name one"), (4, "page 4 asked for, the file has 4")):
        with pytest.raises(InputError, match=words):
            pictures.decode(path, page)
    monkeypatch.setattr(pictures, "LARGEST", 20 * 32)
    with pytest.raises(InputError, match="pixels"):
        pictures.decode(path, 3)
    assert pictures.decode(path, 2).shape == (20, 32)
    assert taken == [1] * 5


def test_a_tiff_of_a_kind_that_only_opencv_knows_is_held_to_its_claim_too(tmp_path, monkeypatch):
    """Pillow does not open colour TIFF of 32-bit numbers; its tags tell their size all the same."""
    path = tmp_path / "wide.tif"
    raw = cv2.imencode(".tif", np.zeros((20, 30, 3), np.float32))[1].tobytes()
    path.write_bytes(raw)
    assert "float32 pixels, expected 8 bit" in fault(pictures.decode, path, None)
    first = struct.unpack("<I", raw[4:8])[0]
    count = struct.unpack("<H", raw[first : first + 2])[0]
    ring = first + 2 + 12 * count  # where the next page is named
    path.write_bytes(raw[:ring] + raw[4:8] + raw[ring + 4 :])
    assert pictures._claimed_by_tiff(path.read_bytes()) == 600
    monkeypatch.setattr(pictures.cv2, "imdecodemulti", lambda *_: pytest.fail("memory was taken"))
    monkeypatch.setattr(pictures, "LARGEST", 599)
    assert "pixels" in fault(pictures.decode, path, None)
    path.write_bytes(raw[:8])  # no tags at all
    assert "cannot be decoded" in fault(pictures.decode, path, None)
