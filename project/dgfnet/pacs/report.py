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
SCORED = {"us": codes.DCM.Ultrasound, "ct": codes.DCM.ComputedTomography}
LEVELS = {"answer": "Answer", "caution": "Answer with caution"}


def report(drawn: Sequence[tuple[ScoredPicture, Dataset]], said: Assessment) -> Dataset:
    """Returns a report in the study of its pictures, not verified.

    The answer stands once, in a group without a region; a group for each picture, of the same tracking UID,
    says where the nodule is drawn.

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
            # a device has one: another version is another
            uid=generate_uid(entropy_srcs=[MANUFACTURER, said.model, said.version]),
            name=said.model[:64],
            manufacturer_name=MANUFACTURER,
            model_name=said.model[:64],
            serial_number=said.version[:64],
        ),
    )
    drawings = [_drawing(picture, segments, said) for picture, segments in drawn]
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device),
        procedure_reported=CodedConcept("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=[_answer(said), *drawings],
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


def _answer(said: Assessment) -> sr.MeasurementsAndQualitativeEvaluations:
    """Returns what is said of the nodule (TID 1501)."""
    words = {
        ("use", "Intended use"): ("research", RESEARCH),
        ("level", "Level of the answer"): (said.level, LEVELS[said.level]),
        ("site", "Lymph nodes that the risk is of"): (said.site, SITES[said.site]),
    }
    evaluations = [
        sr.QualitativeEvaluation(
            name=CodedConcept(name, SCHEME, told), value=CodedConcept(code, SCHEME, meaning)
        )
        for (name, told), (code, meaning) in words.items()
    ]
    evaluations += [
        sr.QualitativeEvaluation(name=codes.DCM.Modality, value=SCORED[modality])
        for modality in said.modalities
    ]
    group = sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(said),
        finding_type=NODULE,
        finding_sites=[sr.FindingSite(anatomic_location=THYROID)],
        algorithm_id=_algorithm(said),
        measurements=[
            sr.Measurement(
                name=CodedConcept(code, SCHEME, meaning), value=said.numbers[field], unit=codes.UCUM.NoUnits
            )
            for field, (code, meaning) in CONCEPTS.items()
            if field in said.numbers
        ],
        qualitative_evaluations=evaluations,
    )
    texts = [("statement", "Condition of the answer", said.statement)]
    texts += [("warning", "Unlike the training cohort", warning) for warning in said.warnings]
    group[0].ContentSequence.extend(
        sr.TextContentItem(CodedConcept(code, SCHEME, meaning), text, sr.RelationshipTypeValues.CONTAINS)
        for code, meaning, text in texts
        if text
    )
    return group


def _drawing(
    picture: ScoredPicture, segments: Dataset, said: Assessment
) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """Returns where the nodule is drawn (TID 1410)."""
    frames = None if picture.frame is None else [picture.frame + 1]
    source = sr.SourceImageForSegmentation(picture.source.SOPClassUID, picture.source.SOPInstanceUID, frames)
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(said),
        referenced_segment=sr.ReferencedSegmentationFrame(
            sop_class_uid=segments.SOPClassUID,
            sop_instance_uid=segments.SOPInstanceUID,
            frame_number=1,
            segment_number=1,
            source_image=source,
        ),
        finding_type=NODULE,
        finding_sites=[sr.FindingSite(anatomic_location=THYROID)],
        algorithm_id=_algorithm(said),
    )


def _tracking(said: Assessment) -> sr.TrackingIdentifier:
    return sr.TrackingIdentifier(uid=said.tracking_uid, identifier=said.nodule)


def _algorithm(said: Assessment) -> sr.AlgorithmIdentification:
    variant = [f"variant {said.variant}"]
    return sr.AlgorithmIdentification(name=said.model, version=said.version, parameters=variant)
