"""One scene of known truth in every kind of file: a CT volume and a US picture with an L-shaped nodule.

On slice 3 the nodule has one value, on slice 1 a nodule of another shape has another value, and nothing else
has either. So a mask is right exactly when the pixels under it are those of the value, wherever rows and
columns run.
"""

from __future__ import annotations

import json

import cv2
import highdicom
import nibabel as nib
import numpy as np
import PIL.Image
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dicom_files import CT_SOP, US_SOP, dicom

ROWS, COLUMNS, SLICES, SHOWN = 48, 64, 5, 3
SPACING, STEP = 0.5, 2.0
ORIGIN = np.array([10.0, -20.0, 30.0])
HU, OTHER_HU, GREY, FRAME_GREY = 60, 200, 160, 220
NODULE = np.zeros((ROWS, COLUMNS), np.uint8)
NODULE[6:20, 38:58] = 1
NODULE[6:12, 38:48] = 0
SECOND = np.zeros_like(NODULE)
SECOND[28:40, 8:16] = 1
MASKS = np.zeros((SLICES, ROWS, COLUMNS), np.uint8)  # (k, row, column), k upwards, as displayed
MASKS[SHOWN], MASKS[1] = NODULE, SECOND
VOLUME = (np.random.default_rng(1).integers(-160, -100, MASKS.shape)).astype(np.int16)
VOLUME[SHOWN][NODULE > 0] = HU
VOLUME[1][SECOND > 0] = OTHER_HU
PICTURE = np.random.default_rng(2).integers(20, 90, NODULE.shape).astype(np.uint8)
PICTURE[NODULE > 0] = GREY
CLIP = np.stack([np.where(SECOND > 0, FRAME_GREY, PICTURE // 2).astype(np.uint8), PICTURE, PICTURE // 3])
AFFINE = np.diag([SPACING, SPACING, STEP, 1.0])  # from (column, row, slice) to LPS
AFFINE[:3, 3] = ORIGIN
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
ZERO = {"PatientID": "P", "PatientIdentityRemoved": "YES"}
STUDY = {"StudyInstanceUID": generate_uid(), "FrameOfReferenceUID": generate_uid(), **ZERO}
SERIES = generate_uid()


def stored(values=MASKS):
    """(column, row, slice) of a volume as displayed."""
    return np.ascontiguousarray(values.transpose(2, 1, 0))


def turned(array, affine, axes=(0, 1, 2), flips=()):
    """The same voxels in another order of storage: axes swapped, some turned."""
    array = array.transpose(axes)
    affine = affine[:, [*axes, 3]].copy()
    for axis in flips:
        affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
        affine[:3, axis] *= -1
        array = np.flip(array, axis)
    return np.ascontiguousarray(array), affine


def nifti(path, array, affine, sform=1, qform=1):
    image = nib.Nifti1Image(array, LPS @ affine)
    image.set_sform(LPS @ affine if sform else None, sform)
    image.set_qform(LPS @ affine if qform else None, qform)
    nib.save(image, path)
    return path


def itk(path, array, affine, **meta):
    """Writes NRRD or MetaImage of an array (i, j, k)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    for key, value in meta.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path))
    return path


def nrrd_without_space(path, array):
    head = f"NRRD0004\ntype: {array.dtype.name}\ndimension: 3\nsizes: {' '.join(map(str, array.shape))}\n"
    path.write_bytes(f"{head}encoding: raw\nendian: little\n\n".encode() + array.tobytes(order="F"))
    return path


def ct_slice(path, k, orientation=(1, 0, 0, 0, 1, 0), placed=True, **values):
    """A CT slice in DICOM whose rows and columns are stored as the orientation says."""
    right, down = np.array(orientation[:3], float), np.array(orientation[3:], float)
    pixels, first = VOLUME[k], ORIGIN + np.array([0, 0, k * STEP])
    if right[0] < 0:
        pixels, first = pixels[:, ::-1], first + np.array([SPACING * (COLUMNS - 1), 0, 0])
    if down[1] < 0:
        pixels, first = pixels[::-1], first + np.array([0, SPACING * (ROWS - 1), 0])
    place = {
        "ImagePositionPatient": [f"{v:g}" for v in first],
        "ImageOrientationPatient": [f"{v:g}" for v in orientation],
        "SliceThickness": f"{STEP:g}",
    }
    return dicom(
        path, np.ascontiguousarray(pixels), CT_SOP, RescaleSlope="1", RescaleIntercept="0",
        PixelSpacing=[str(SPACING)] * 2, PositionReferenceIndicator="", KVP="120", InstanceNumber=k + 1,
        **STUDY | {"SeriesInstanceUID": SERIES} | (place if placed else {}) | values,
    )  # fmt: skip


def series(folder):
    """The whole volume as DICOM slices, for files that are drawn on them."""
    folder.mkdir(exist_ok=True)
    return [ct_slice(folder / f"s{k}.dcm", k) for k in range(SLICES)]


def item(**values):
    data = Dataset()
    for name, value in values.items():
        setattr(data, name, value)
    return data


def enhanced(path, order=(2, 0, 4, 3, 1), values=VOLUME, sop="1.2.840.10008.5.1.4.1.1.2.1", **more):
    """A multi-frame image whose frames are not in the order of their positions."""
    data = dicom(path, np.ascontiguousarray(values[list(order)]), CT_SOP, **STUDY)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop
    data.SharedFunctionalGroupsSequence = Sequence([item(
        PixelMeasuresSequence=Sequence([item(PixelSpacing=[SPACING, SPACING], SliceThickness=STEP)]),
        PlaneOrientationSequence=Sequence([item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]),
        PixelValueTransformationSequence=Sequence(
            [item(RescaleSlope="1", RescaleIntercept="0", RescaleType="HU")]
        ),
    )])  # fmt: skip
    data.PerFrameFunctionalGroupsSequence = Sequence([
        item(PlanePositionSequence=Sequence(
            [item(ImagePositionPatient=[*map(float, ORIGIN[:2]), float(ORIGIN[2] + k * STEP)])]
        ))
        for k in order
    ])  # fmt: skip
    for name, value in more.items():
        setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return data


def drawn_on(path, sources, array, kind="BINARY", labels=("nodule",), **more):
    """A DICOM segmentation; array (frames, rows, columns) of numbers, or fractions."""
    segments = [
        highdicom.seg.SegmentDescription(
            number, label, codes.SCT.MorphologicallyAbnormalStructure, codes.SCT.Nodule, "MANUAL"
        )
        for number, label in enumerate(labels, start=1)
    ]
    if kind == "FRACTIONAL":
        more["fractional_type"] = "PROBABILITY"
    made = highdicom.seg.Segmentation(
        source_images=sources, pixel_array=array, segmentation_type=kind, segment_descriptions=segments,
        series_instance_uid=generate_uid(), series_number=9, sop_instance_uid=generate_uid(),
        instance_number=1, manufacturer="m", manufacturer_model_name="m", software_versions="1",
        device_serial_number="1", **more,
    )  # fmt: skip
    made.PatientIdentityRemoved = "YES"
    made.save_as(path)
    return path


def us_dicom(path, pixels):
    return dicom(path, pixels, US_SOP, **STUDY)


def picture(path, array, **options):
    PIL.Image.fromarray(array).save(path, **options)
    return path


def exif(turn):
    data = PIL.Image.Exif()
    data[0x0112] = turn
    return data


def read(path):
    return pydicom.dcmread(path)


OUTLINE = [(48, 6), (58, 6), (58, 20), (38, 20), (38, 12), (48, 12)]  # corners of the L, along pixel edges


def structure_set(path):
    """Contours of both nodules, through the places of the corners."""
    data = dicom(path, np.zeros((1, 1), np.uint8), US_SOP, **STUDY)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    data.Modality = "RTSTRUCT"
    for name in ("Rows", "Columns", "PixelData"):
        delattr(data, name)
    square = [(8, 28), (16, 28), (16, 40), (8, 40)]
    contours = [
        item(
            ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(ring),
            ContourData=[
                float(value) for x, y in ring
                for value in ORIGIN + np.array([(x - 0.5) * SPACING, (y - 0.5) * SPACING, k * STEP])
            ],
        )
        for k, ring in ((SHOWN, OUTLINE), (1, square))
    ]  # fmt: skip
    data.StructureSetROISequence = Sequence(
        [item(ROINumber=1, ROIName="nodule", ReferencedFrameOfReferenceUID=STUDY["FrameOfReferenceUID"])]
    )
    data.ROIContourSequence = Sequence([item(ReferencedROINumber=1, ContourSequence=Sequence(contours))])
    data.save_as(path, enforce_file_format=True)
    return path


def labelme(path, image):
    shape = {"label": "nodule", "points": OUTLINE, "shape_type": "polygon", "flags": {}, "group_id": None}
    path.write_text(json.dumps({
        "version": "5.5.0", "flags": {}, "shapes": [shape], "imagePath": image.name, "imageData": None,
        "imageHeight": ROWS, "imageWidth": COLUMNS,
    }))  # fmt: skip
    return path


def itk2d(path, array):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    return path


def cv_dilate(array):
    """The mask and a rim of two pixels around it, slice by slice."""
    return np.stack([cv2.dilate(plane, np.ones((5, 5), np.uint8)) for plane in array])
