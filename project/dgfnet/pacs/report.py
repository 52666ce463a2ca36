"""An answer as a structured report by template 1500 (DICOM PS3.16): risk, ranges, nodule and model."""

from __future__ import annotations

from collections.abc import Sequence

from highdicom import sr
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from dgfnet.pacs.drawings import SERIES, described
from dgfnet.pacs.findings import (
    MANUFACTURER,
    NODULE,
    RESEARCH,
    SCHEME,
    THYROID,
    Assessment,
    ScoredPicture,
    single,
)

CONCEPTS = {  # field of an answer: code and meaning; numbers of no unit, 0 to 1
    "calibrated": ("risk", "Risk of lymph node metastasis"),
    "calibrated_low": ("risk-folds-low", "Risk, lowest of the models of all folds"),
    "calibrated_high": ("risk-folds-high", "Risk, highest of the models of all folds"),
    "moved_low": ("risk-moved-low", "Risk, lowest when boxes are drawn otherwise"),
    "moved_high": ("risk-moved-high", "Risk, highest when boxes are drawn otherwise"),
    "probability": ("probability", "Probability by the model, not calibrated"),
    "threshold": ("threshold", "Threshold of that probability"),
}
SITES = {
    "central": "Central lymph nodes of the neck",
    "lateral": "Lateral lymph nodes of the neck",
    "neck": "Lymph nodes of the neck",
}
LEVELS = {"answer": "Answer", "caution": "Answer with caution"}


def report(drawn: Sequence[tuple[ScoredPicture, Dataset]], said: Assessment) -> Dataset:
    """Returns a report in the study of its pictures, not verified.

    Args:
        drawn: pictures of one study, each with its segmentation.
        said: the answer.
    """
    sources = [single(picture) for picture, _ in drawn]
    for source, (picture, _) in zip(sources, drawn, strict=True):
        source.SOPClassUID = picture.source.SOPClassUID
    device = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(),
            name=said.model[:64],
            manufacturer_name=MANUFACTURER,
            model_name=said.model[:64],
            serial_number=said.version[:64],
        ),
    )
    groups = [_group(picture, segments, said) for picture, segments in drawn]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    made = sr.ComprehensiveSR(
        evidence=[*sources, *(segments for _, segments in drawn)],
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=SERIES["report"],
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=described(said),
    )
    made.ManufacturerModelName, made.SoftwareVersions = said.model[:64], said.version[:64]
    _mend_references(made)
    return made


def _mend_references(data: Dataset) -> None:
    """Takes the segment's number out of references to its frame: dciodvfy lets one exclude the other.

    highdicom 0.28 writes both; the number is demanded where no frame is named (PS3.3 table 10-3, type 1C).
    """
    for element in data:
        for item in element.value if element.VR == "SQ" else ():
            if "ReferencedFrameNumber" in item and "ReferencedSegmentNumber" in item:
                del item.ReferencedSegmentNumber
            _mend_references(item)


def _group(
    picture: ScoredPicture, segments: Dataset, said: Assessment
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """Returns what is said of the nodule on one picture."""
    frames = None if picture.frame is None else [picture.frame + 1]
    source = sr.SourceImageForSegmentation(picture.source.SOPClassUID, picture.source.SOPInstanceUID, frames)
    variant = [f"variant {said.variant}"]
    algorithm = sr.AlgorithmIdentification(name=said.model, version=said.version, parameters=variant)
    words = {
        ("use", "Intended use"): ("research", RESEARCH),
        ("level", "Level of the answer"): (said.level.replace(" ", "-"), LEVELS[said.level]),
        ("site", "Lymph nodes that the risk is of"): (said.site, SITES[said.site]),
    }
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=generate_uid(), identifier=said.nodule),
        referenced_segment=sr.ReferencedSegmentationFrame(
            sop_class_uid=segments.SOPClassUID,
            sop_instance_uid=segments.SOPInstanceUID,
            frame_number=1,
            segment_number=1,
            source_image=source,
        ),
        finding_type=NODULE,
        finding_sites=[sr.FindingSite(anatomic_location=THYROID)],
        algorithm_id=algorithm,
        measurements=[
            sr.Measurement(
                name=CodedConcept(code, SCHEME, meaning), value=said.numbers[field], unit=codes.UCUM.NoUnits
            )
            for field, (code, meaning) in CONCEPTS.items()
            if field in said.numbers
        ],
        qualitative_evaluations=[
            sr.QualitativeEvaluation(
                name=CodedConcept(name, SCHEME, told), value=CodedConcept(code, SCHEME, meaning)
            )
            for (name, told), (code, meaning) in words.items()
        ],
    )
