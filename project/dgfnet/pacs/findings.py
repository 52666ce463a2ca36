"""An answer that goes back to a PACS, and the pictures it was made from with their identity."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
    generate_uid,
)

from dgfnet.errors import InputError
from dgfnet.imaging.places import value_of

MANUFACTURER = "DGFNet"
SCHEME = "99DGFNET"  # codes that no standard has
NODULE = codes.SCT.Nodule
THYROID = CodedConcept("69748006", "SCT", "Thyroid structure")
UTF_8 = "ISO_IR 192"
RESEARCH = "Research use only, unverified"
SINGLE = {  # classes of several frames, and what stands for one frame
    UltrasoundMultiFrameImageStorage: UltrasoundImageStorage,
    "1.2.840.10008.5.1.4.1.1.3": UltrasoundImageStorage,  # retired
    EnhancedCTImageStorage: CTImageStorage,
    LegacyConvertedEnhancedCTImageStorage: CTImageStorage,
}
OF_FRAMES = (
    *("PixelData", "NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("FrameIncrementPointer", "FrameTime", "FrameTimeVector", "DimensionIndexSequence"),
    "DimensionOrganizationSequence",
)
OF_PLACE = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
)
FRAME = ("ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID")  # without which a position is none
DEMANDED = (  # may be empty, and not every modality sends them
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "Manufacturer",
    "PositionReferenceIndicator",
)


@dataclass(frozen=True, eq=False)
class ScoredPicture:
    """A picture that was scored.

    Attributes:
        source: as the PACS holds it, with its identity.
        frame: of an object of several frames (SINGLE), though it has one, from 0; else None.
        mask: (height, width), 0 or 1, the nodule as the model took it.
        square: left, top and side in pixels of the region that the network read.
        grey: (height, width), 0..255, as the network read it.
    """

    source: Dataset
    frame: int | None
    mask: NDArray[np.uint8]
    square: tuple[int, int, int]
    grey: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Assessment:
    """An answer about a nodule.

    Attributes:
        nodule: name of it.
        site: of the lymph nodes: central, lateral, or neck where the model does not say.
        numbers: by the name of the answer's field, those that are defined: `calibrated`, `calibrated_low` ...
        level: answer or caution.
        model: name in the registry.
        version: of it.
        variant: of the network.
        modalities: that were scored, also those whose pictures lie in another study: us, ct.
        statement: of the answer, as that a modality is missing; empty when there is nothing to say.
        warnings: why it is one with caution.
        tracking_uid: of the nodule, the same in all results of the answer.
    """

    nodule: str
    site: str
    numbers: Mapping[str, float]
    level: str
    model: str
    version: str
    variant: str
    modalities: tuple[str, ...]
    statement: str
    warnings: tuple[str, ...]
    tracking_uid: str = field(default_factory=generate_uid)

    def sentences(self) -> list[str]:
        """Returns lines for a picture: risk, ranges, who says it of what, doubts, that it is for research."""
        risk = self.numbers.get("calibrated")
        if risk is None:
            said = f"Metastasis in {self.site} nodes: {self.numbers['probability']:.2f}, not calibrated"
        else:
            said = f"Risk of metastasis in {self.site} nodes: {100 * risk:.0f} %"
        ranges = [
            f"{name} {100 * self.numbers[low]:.0f} to {100 * self.numbers[high]:.0f} %"
            for name, low, high in (
                ("folds", "calibrated_low", "calibrated_high"),
                ("moved boxes", "moved_low", "moved_high"),
            )
            if low in self.numbers
        ]
        scored = " and ".join(name.upper() for name in self.modalities)
        who = f"{self.model} {self.version} ({self.variant}), {self.level}, of {scored}"
        lines = (said, "; ".join(ranges), who, self.statement, *self.warnings, RESEARCH)
        return [line for line in lines if line]


def single(picture: ScoredPicture) -> Dataset:
    """Returns a picture's attributes as those of one frame by itself, without pixels, with its UIDs.

    highdicom 0.28 draws on no frame of a clip; what it makes of this stand-in is then pointed at the frame.
    Texts are in UTF-8, whatever the source has: results say more than it does.

    Raises:
        InputError: when the picture says where it begins, but not how it lies.
    """
    source = picture.source
    result = Dataset()
    for element in source:
        if element.keyword not in OF_FRAMES:
            result.add(copy.deepcopy(element))  # else a change of the copy would be one of the source
    result.file_meta = source.file_meta
    if picture.frame is not None:
        result.SOPClassUID = SINGLE.get(source.SOPClassUID, source.SOPClassUID)
        for name in OF_PLACE:
            if (value := value_of(source, picture.frame, name)) is not None:
                setattr(result, name, value)
    for name in DEMANDED:
        if name not in result:
            setattr(result, name, "")
    missing = [name for name in FRAME if not result.get(name)]
    if "ImagePositionPatient" in result and missing:
        raise InputError(
            f"found {result.get('Modality', 'a picture')} with a place but without {' and '.join(missing)}; "
            "no result can be drawn on it, and nothing was sent: take another series"
        )
    if "SliceThickness" not in result:
        result.SliceThickness = None  # highdicom asks for it, and knows empty ones
    result.SpecificCharacterSet = UTF_8
    return result
