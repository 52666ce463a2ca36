"""Every kind of image beside every kind of mask: right to the pixel, or refused; no third outcome.

The table of docs/reference/image-and-mask.md says which, and is held to what happens here.
"""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pytest
import scene
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from scene import AFFINE, MASKS, NODULE, PICTURE, SHOWN, VOLUME, stored, turned

from dgfnet.cohort.readers import read_pair
from dgfnet.cohort.records import Image
from dgfnet.errors import InputError

CELLS = {"P": "place", "R": "reference", "S": "pixels", "A": "assumed", "-": "refused"}
PAGE = Path(__file__).parents[2] / "docs/reference/image-and-mask.md"

# name: (modality, writes the file and returns its path and the slice to ask for)
IMAGES = {
    "PNG": ("us", lambda f: (scene.picture(f / "i.png", PICTURE), None)),
    "JPEG with an orientation tag": (
        "us",
        lambda f: (
            scene.picture(f / "i.jpg", np.rot90(PICTURE), exif=scene.exif(6), quality=100, subsampling=0),
            None,
        ),
    ),
    "DICOM US": ("us", lambda f: (dicom_us(f), None)),
    "DICOM US clip": ("us", lambda f: (dicom_clip(f), 1)),
    "DICOM CT slice": ("ct", lambda f: (dicom_ct(f), None)),
    "DICOM CT slice, prone": ("ct", lambda f: (dicom_ct(f, orientation=(-1, 0, 0, 0, -1, 0)), None)),
    "DICOM CT slice without a position": ("ct", lambda f: (dicom_ct(f, placed=False), SHOWN)),
    "enhanced CT, frames in any order": ("ct", lambda f: (enhanced(f), 3)),
    "NIfTI, LPS": ("ct", lambda f: (scene.nifti(f / "i.nii.gz", stored(VOLUME), AFFINE), SHOWN)),
    "NIfTI, RAS": (
        "ct",
        lambda f: (scene.nifti(f / "i.nii", *turned(stored(VOLUME), AFFINE, flips=(0, 1))), SHOWN),
    ),
    "NIfTI, sagittal storage": (
        "ct",
        lambda f: (scene.nifti(f / "i.nii", *turned(stored(VOLUME), AFFINE, (1, 2, 0), (1,))), SHOWN),
    ),
    "NRRD": ("ct", lambda f: (scene.itk(f / "i.nrrd", stored(VOLUME), AFFINE), SHOWN)),
    "MetaImage, slices downwards": (
        "ct",
        lambda f: (scene.itk(f / "i.mha", *turned(stored(VOLUME), AFFINE, flips=(2,))), SHOWN),
    ),
    "NRRD without a space": ("ct", lambda f: (scene.nrrd_without_space(f / "i.nrrd", stored(VOLUME)), SHOWN)),
}  # fmt: skip


def dicom_us(folder):
    scene.us_dicom(folder / "i.dcm", PICTURE)
    return folder / "i.dcm"


def dicom_clip(folder):
    scene.us_dicom(folder / "i.dcm", scene.CLIP)
    return folder / "i.dcm"


def dicom_ct(folder, **more):
    scene.ct_slice(folder / "i.dcm", SHOWN, **more)
    return folder / "i.dcm"


def enhanced(folder):
    scene.enhanced(folder / "i.dcm")
    return folder / "i.dcm"


def sources(image, folder):
    """DICOM images for a segmentation to be drawn on: the image itself, or a series in its place."""
    if image.suffix != ".dcm":
        return scene.series(folder / "series"), MASKS
    data = scene.read(image)
    frames = int(data.get("NumberOfFrames", 1))
    if "PerFrameFunctionalGroupsSequence" in data:
        return [data], MASKS[[2, 0, 4, 3, 1]]
    if frames > 1:
        return [data], np.stack([scene.SECOND, NODULE, np.zeros_like(NODULE)])
    pixels = NODULE
    if data.get("ImageOrientationPatient", [1])[0] < 0:
        pixels = NODULE[::-1, ::-1]
    return [data], np.ascontiguousarray(pixels[None])


def segmentation(kind, **more):
    def write(image, folder):
        images, array = sources(image, folder)
        if kind == "FRACTIONAL":
            array = np.where(array > 0, 0.8, 0.2 * (scene.cv_dilate(array) > 0)).astype(np.float32)
        return scene.drawn_on(folder / "m.dcm", images, array, kind, **more)

    return write


def segmentation_turned(image, folder):
    """Drawn on the series, but with rows and columns turned and the place said accordingly."""
    images = scene.series(folder / "series")

    first = scene.ORIGIN + np.array([scene.COLUMNS - 1, scene.ROWS - 1, 0]) * scene.SPACING
    return scene.drawn_on(
        folder / "m.dcm", images, np.ascontiguousarray(MASKS[:, ::-1, ::-1]),
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", (-1, 0, 0, 0, -1, 0)),
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", [*first[:2].tolist(), float(first[2] + k * scene.STEP)])
            for k in range(5)
        ],
        pixel_measures=hd.PixelMeasuresSequence((scene.SPACING,) * 2, scene.STEP, None),
    )  # fmt: skip


def cropped(image, folder):
    affine = AFFINE.copy()
    affine[:3, 3] += [38 * scene.SPACING, 6 * scene.SPACING, SHOWN * scene.STEP]
    return scene.itk(
        folder / "m.seg.nrrd", stored(MASKS)[38:58, 6:20, SHOWN : SHOWN + 1], affine,
        Segment0_Name="nodule", Segment0_LabelValue="1", Segment0_Layer="0",
    )  # fmt: skip


def moved(image, folder):
    affine = AFFINE.copy()
    affine[:3, 3] += [0.25, 0, 0]
    return scene.nifti(folder / "m.nii", stored(), affine)


def two_forms(image, folder):
    made = nib.Nifti1Image(stored(), scene.LPS @ AFFINE)
    made.set_sform(scene.LPS @ AFFINE, 1)
    made.set_qform(AFFINE, 1)  # without the flips: 180 degrees apart
    nib.save(made, folder / "m.nii")
    return folder / "m.nii"


def palette(image, folder):
    made = scene.PIL.Image.frombytes("P", NODULE.shape[::-1], NODULE.tobytes())
    made.putpalette([0, 0, 0, 128, 0, 0])
    made.save(folder / "m.png")
    return folder / "m.png"


def coarse(image, folder):
    affine = AFFINE.copy()
    affine[:3, :2] *= 2
    return scene.nifti(folder / "m.nii", stored()[::2, ::2], affine)


def plain_dicom(image, folder):
    scene.ct_slice(folder / "m.dcm", SHOWN)
    data = scene.read(folder / "m.dcm")
    data.PixelData = NODULE.astype(np.int16).tobytes()
    data.save_as(folder / "m.dcm")
    return folder / "m.dcm"


MASK_KINDS = {
    "PNG": lambda i, f: scene.picture(f / "m.png", NODULE * 255),
    "16-bit TIFF, 0 and 1": lambda i, f: scene.picture(f / "m.tif", NODULE.astype(np.uint16)),
    "PNG with a palette": palette,
    "NIfTI, same grid": lambda i, f: scene.nifti(f / "m.nii.gz", stored(), AFFINE),
    "NIfTI, turned and swapped": lambda i, f: scene.nifti(
        f / "m.nii", *turned(stored(), AFFINE, (2, 0, 1), (0, 2))
    ),
    "NIfTI, identity": lambda i, f: scene.nifti(f / "m.nii", stored(), scene.LPS),
    "NIfTI without a form": lambda i, f: scene.nifti(f / "m.nii", stored(), AFFINE, 0, 0),
    "NIfTI, sform against qform": two_forms,
    "NIfTI, half a pixel off": moved,
    "NIfTI, pixels twice as large": coarse,
    "NIfTI, 2-D of ITK": lambda i, f: scene.itk2d(f / "m.nii.gz", NODULE),
    "NRRD without a space": lambda i, f: scene.nrrd_without_space(f / "m.nrrd", stored()),
    "MetaImage": lambda i, f: scene.itk(f / "m.mha", *turned(stored(), AFFINE, flips=(1, 2))),
    "seg.nrrd, cropped": cropped,
    "DICOM-SEG": segmentation("BINARY"),
    "DICOM-SEG, fractional": segmentation("FRACTIONAL"),
    "DICOM label map": segmentation("LABELMAP"),
    "DICOM-SEG, turned": segmentation_turned,
    "DICOM image": plain_dicom,
    "RTSTRUCT": lambda i, f: scene.structure_set(f / "m.dcm"),
    "labelme": lambda i, f: scene.labelme(f / "m.json", i),
}


def outcome(image_kind, mask_kind, folder):
    """How mask and image were matched, or `refused`; fails when what is read is not the truth."""
    modality, build = IMAGES[image_kind]
    path, index = build(folder)
    mask_path = MASK_KINDS[mask_kind](path, folder)
    view = "transverse" if modality == "us" else "axial"
    image = Image("N", modality, view, path, mask_path, None, index, None, None, False)
    try:
        pixels, mask = read_pair(image)
    except InputError as error:
        return "refused", str(error)
    value = scene.GREY if modality == "us" else scene.HU
    near = 6 if path.suffix == ".jpg" else 0  # JPEG changes grey values
    assert mask.sum() == NODULE.sum(), f"{mask.sum()} pixels, drawn {NODULE.sum()}"
    assert np.abs(pixels.values[mask > 0].astype(float) - value).max() <= near
    assert not (np.abs(pixels.values[mask == 0].astype(float) - value) <= near).any()
    return pixels.match, ""


def table():
    """The cells of the page: (image kind, mask kind) to what is said to happen."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    start = next(number for number, line in enumerate(lines) if line.startswith("| mask \\ image"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start:]]
    legend = {letter: name for letter, name in zip("ABCDEFGHIJKLMNOP", IMAGES, strict=False)}
    assert rows[0][1:] == list(legend)[: len(IMAGES)]
    return {
        (legend[letter], row[0]): CELLS[cell]
        for row in rows[1:]
        if row[0] in MASK_KINDS
        for letter, cell in zip(rows[0][1:], row[1:], strict=True)
    }


@pytest.mark.parametrize("mask_kind", MASK_KINDS)
def test_a_mask_is_right_to_the_pixel_or_refused_and_the_page_says_which(mask_kind, tmp_path):
    said = table()
    found = {}
    for number, image_kind in enumerate(IMAGES):
        folder = tmp_path / str(number)
        folder.mkdir()
        found[image_kind] = outcome(image_kind, mask_kind, folder)[0]
    assert found == {image_kind: said[image_kind, mask_kind] for image_kind in IMAGES}


@pytest.mark.parametrize("source", [True, False], ids=["names its source", "names none"])
def test_an_ordinary_dicom_mask_lies_in_the_system_of_coordinates_of_its_image(source, tmp_path):
    scene.ct_slice(tmp_path / "i.dcm", SHOWN)
    mask_path = plain_dicom(None, tmp_path)
    data = scene.read(mask_path)
    data.FrameOfReferenceUID = generate_uid()
    if source:
        item = Dataset()
        item.ReferencedSOPClassUID = scene.CT_SOP
        item.ReferencedSOPInstanceUID = scene.read(tmp_path / "i.dcm").SOPInstanceUID
        data.SourceImageSequence = [item]
    data.save_as(mask_path)
    image = Image("N", "ct", "axial", tmp_path / "i.dcm", mask_path, None, None, None, None, False)
    if source:
        np.testing.assert_array_equal(read_pair(image)[1], NODULE)
    else:
        with pytest.raises(InputError, match=r"m\.dcm: lies in the frame of reference .* i\.dcm in"):
            read_pair(image)
