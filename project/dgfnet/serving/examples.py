"""Nodules of a cohort as single files, to try the page and requests with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import Pixels, read_pair
from dgfnet.cohort.records import Image
from dgfnet.errors import InputError
from dgfnet.files import replacing, write_csv
from dgfnet.imaging.boxes import bounding_box
from dgfnet.preprocess.windowing import to_grey
from dgfnet.settings import Settings
from dgfnet.vocabulary import MODALITIES

LOWEST_HU = -1024


def write_examples(settings: Settings, folder: Path, count: int) -> pd.DataFrame:
    """Writes the first picture of each modality of a few nodules as PNG and as DICOM.

    Nodules of the external cohort come first. Boxes around their outlines are in boxes.csv.

    Args:
        settings: for the cohort folder and the window of CT.
        folder: to write to; must be absent or empty.
        count: of nodules.

    Returns:
        boxes.csv: file, modality, box (left top right bottom), spacing_mm.

    Raises:
        InputError: when the cohort cannot be read, or the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not empty; name a folder that is, or none yet")
    cohort = read_cohort(settings.data)
    ordered = sorted(cohort.nodules, key=lambda nodule: nodule.cohort != "external")
    complete = [nodule for nodule in ordered if all(nodule.of(name) for name in MODALITIES)]
    rows = []
    for number, nodule in enumerate((complete or ordered)[:count], start=1):
        for modality in MODALITIES:
            for image in nodule.of(modality)[:1]:
                rows += _write(folder, f"nodule{number}_{modality}", image, settings)
    table = pd.DataFrame(rows, columns=["file", "modality", "box", "spacing_mm"])
    write_csv(table, folder / "boxes.csv")
    return table


def _write(folder: Path, name: str, image: Image, settings: Settings) -> list[tuple[Any, ...]]:
    pixels, mask = read_pair(image)
    spacing = image.spacing_mm or pixels.spacing_mm
    box = bounding_box(mask)
    with replacing(folder / f"{name}.png") as temporary:
        temporary.write_bytes(cv2.imencode(".png", to_grey(pixels, image, settings.preprocess))[1].tobytes())
    with replacing(folder / f"{name}.dcm") as temporary:
        _dicom(pixels, spacing).save_as(temporary, enforce_file_format=True)
    return [(f"{name}{ending}", image.modality, str(box), spacing) for ending in (".png", ".dcm")]


def _dicom(pixels: Pixels, spacing: float | None) -> Dataset:
    """Returns a de-identified US or CT image, with what its kind has to have (PS3.3 A.3, A.6)."""
    is_ct = pixels.unit == "HU"
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = CTImageStorage if is_ct else UltrasoundImageStorage
    data.SOPInstanceUID, data.StudyInstanceUID, data.SeriesInstanceUID = (generate_uid() for _ in range(3))
    data.Modality = "CT" if is_ct else "US"
    data.ImageType = ["ORIGINAL", "PRIMARY", *(("AXIAL",) if is_ct else ("SMALL PARTS", "0001"))]
    data.PatientName = data.PatientID = data.PatientBirthDate = data.PatientSex = ""
    data.StudyDate = data.StudyTime = data.StudyID = data.AccessionNumber = data.ReferringPhysicianName = ""
    data.SeriesNumber = data.InstanceNumber = 1
    data.Laterality = data.Manufacturer = data.PatientOrientation = ""
    data.PatientIdentityRemoved = "YES"
    data.DeidentificationMethod = "made by DGFNet"
    if is_ct:
        data.FrameOfReferenceUID, data.PositionReferenceIndicator = generate_uid(), ""
        data.PatientPosition, data.SliceThickness, data.KVP, data.AcquisitionNumber = "HFS", None, None, None
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, LOWEST_HU, "HU"
        if spacing:
            data.PixelSpacing = [format_number_as_ds(float(spacing))] * 2
        stored = np.clip(np.rint(pixels.values) - LOWEST_HU, 0, 4095).astype(np.uint16)
    else:
        stored = np.asarray(pixels.values, dtype=np.uint8)
        if spacing:
            data.SequenceOfUltrasoundRegions = [_region(stored, spacing)]
    data.Rows, data.Columns = stored.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = 16 if is_ct else 8
    data.BitsStored = 12 if is_ct else 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    data.PixelData = stored.tobytes() + b"\0" * (stored.nbytes % 2)
    return data


def _region(stored: NDArray[np.uint8], spacing: float) -> Dataset:
    """Returns the calibration of a whole 2-D ultrasound picture (PS3.3 C.8.5.5)."""
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, 0
    region.RegionLocationMinX0 = region.RegionLocationMinY0 = 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = stored.shape[1] - 1, stored.shape[0] - 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3  # centimetres
    region.PhysicalDeltaX = region.PhysicalDeltaY = spacing / 10
    return region
