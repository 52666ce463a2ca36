"""A segmentation of the nodule, and a secondary capture of the picture with outline, square and answer."""

from __future__ import annotations

import textwrap

import cv2
import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dgfnet.imaging.places import value_of
from dgfnet.pacs.findings import (
    MANUFACTURER,
    NODULE,
    RESEARCH,
    THYROID,
    Assessment,
    ScoredPicture,
    single,
)

YELLOW, BLUE, WHITE = (255, 212, 0), (64, 176, 255), (255, 255, 255)
FONT = cv2.FONT_HERSHEY_SIMPLEX
WIDTH = 640  # of a capture at least: words have to fit
KEPT = (  # of the picture, true of its capture
    "BurnedInAnnotation",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
SERIES = {"segmentation": 9101, "capture": 9102, "report": 9103}  # SeriesNumber, behind those of a scanner


def segmentation(picture: ScoredPicture, said: Assessment) -> Dataset:
    """Returns a DICOM-SEG of the nodule on a picture, in a series of its own of the picture's study."""
    alone = single(picture)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=said.model, family=codes.DCM.ArtificialIntelligence, version=said.version
    )
    description = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Nodule",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=NODULE,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=said.tracking_uid,
        tracking_id=said.nodule,
        anatomic_regions=[THYROID],
    )
    drawn: Dataset = highdicom.seg.Segmentation(
        source_images=[alone],
        pixel_array=picture.mask[None].astype(np.uint8),
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[description],
        series_instance_uid=generate_uid(),
        series_number=SERIES["segmentation"],
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=said.model[:64],
        software_versions=said.version[:64],
        device_serial_number=said.version[:64],
        content_description="Nodule as the model took it",
        content_label="NODULE",
        series_description=described(said),
    )
    if "ImagePositionPatient" not in alone:
        drawn.PatientOrientation = (
            alone.get("PatientOrientation") or ""
        )  # highdicom 0.28 leaves it out (type 2C)
    _measure(drawn, picture)
    _point_at_frame(drawn, picture)
    return drawn


def _measure(drawn: Dataset, picture: ScoredPicture) -> None:
    """Leaves in a segmentation what its picture says of sizes; highdicom 0.28 adds 1 mm from plane to plane.

    Measures demand a thickness. Without them sizes are those of the picture that the drawing is derived from
    (PS3.3 A.51.5.1).
    """
    (shared,) = drawn.SharedFunctionalGroupsSequence
    if value_of(picture.source, picture.frame, "SliceThickness") is None:
        shared.pop("PixelMeasuresSequence", None)
    elif value_of(picture.source, picture.frame, "SpacingBetweenSlices") is None:
        for measures in shared.get("PixelMeasuresSequence", []):
            measures.pop("SpacingBetweenSlices", None)


def described(said: Assessment) -> str:
    """Returns the description of a series of results."""
    return f"{MANUFACTURER} {said.site}: {RESEARCH}"[:64]


def _point_at_frame(data: Dataset, picture: ScoredPicture) -> None:
    """Makes references to the stand-in of a frame those to the frame."""
    if picture.frame is None:
        return
    for element in data:
        if element.VR == "SQ":
            for item in element.value:
                if str(item.get("ReferencedSOPInstanceUID", "")) == picture.source.SOPInstanceUID:
                    item.ReferencedSOPClassUID = picture.source.SOPClassUID
                    if element.keyword == "SourceImageSequence":
                        item.ReferencedFrameNumber = picture.frame + 1
                _point_at_frame(item, picture)


def capture(picture: ScoredPicture, said: Assessment) -> Dataset:
    """Returns a secondary capture in colour: the picture, outline and square in it, the answer below."""
    alone = single(picture)
    made: Dataset = highdicom.sc.SCImage.from_ref_dataset(
        ref_dataset=alone,
        pixel_array=overlay(picture, said.sentences()),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),  # demanded; what is true of it is set below
        series_instance_uid=generate_uid(),
        series_number=SERIES["capture"],
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        series_description=described(said),
    )
    made.PatientOrientation = alone.get("PatientOrientation") or ""
    made.Laterality = alone.get("Laterality") or ""
    made.ManufacturerModelName, made.SoftwareVersions = said.model[:64], said.version[:64]
    made.DerivationDescription = f"Outline, region and answer of {said.model} {said.version}. {RESEARCH}."
    for name in KEPT:
        if (value := alone.get(name)) not in (None, ""):
            setattr(made, name, value)
    original = Dataset()
    original.ReferencedSOPClassUID = picture.source.SOPClassUID
    original.ReferencedSOPInstanceUID = picture.source.SOPInstanceUID
    if picture.frame is not None:
        original.ReferencedFrameNumber = picture.frame + 1
    made.SourceImageSequence = [original]
    return made


def overlay(picture: ScoredPicture, lines: list[str]) -> NDArray[np.uint8]:
    """Returns the picture in colour, (height, width, 3), the nodule outlined yellow, the square blue.

    Small pictures are enlarged by a whole number; below stand lines of text, broken where they do not fit.
    """
    width = picture.grey.shape[1]
    scale = -(-WIDTH // width) if width < WIDTH else 1
    large = cv2.resize(picture.grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    mask = cv2.resize(picture.mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    colour = np.ascontiguousarray(np.repeat(large[:, :, None], 3, axis=2))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(colour, outlines, -1, YELLOW, 1)
    left, top, side = (scale * value for value in picture.square)
    cv2.rectangle(colour, (left, top), (left + side - 1, top + side - 1), BLUE, 1)
    size = colour.shape[1] / 1280 + 0.2
    step = round(34 * size)
    lines = [part for line in lines for part in _broken(line, colour.shape[1] - 16, size)]
    band = np.zeros((step * len(lines) + step // 2, colour.shape[1], 3), dtype=np.uint8)
    for place, line in enumerate(lines, start=1):
        cv2.putText(band, line, (8, step * place), FONT, size, WHITE, 1, cv2.LINE_AA)
    return np.concatenate([colour, band])


def _broken(line: str, width: int, size: float) -> list[str]:
    """Breaks a line into parts of at most a width in pixels; OpenCV writes ASCII alone."""
    plain = line.encode("ascii", "replace").decode()
    for most in range(len(plain), 0, -1):
        parts = textwrap.wrap(plain, most)
        if all(cv2.getTextSize(part, FONT, size, 1)[0][0] <= width for part in parts):
            return parts
    return [plain]
