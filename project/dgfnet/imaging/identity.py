"""Attributes of a DICOM file that name somebody, in every sequence and at every depth.

The tables are those attributes of the Basic Application Level Confidentiality Profile (DICOM PS3.15 of 2026c,
table E.1-1) that name a person or a hospital or are their numbers, addresses or telephones. The rest of that
table identifies nobody by itself (dates, times, UIDs, devices, rooms, descriptions, what a patient has or is)
and refuses no file. tests/imaging/profile.csv holds the whole table, each attribute with what it is here.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from functools import cache

from pydicom.datadict import dictionary_has_tag, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.values import convert_SQ

# every attribute of VR PN counts besides, also those that are no part of the profile
PERSONS = (
    *("PatientBirthDate", "PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation"),
    *("PatientBirthDateInAlternativeCalendar", "MilitaryRank", "PatientComments", "IdentifyingComments"),
    *("RegionOfResidence", "ReferencedPatientPhotoSequence", "OtherPatientIDs", "OtherPatientIDsSequence"),
    *("IssuerOfPatientID", "MedicalRecordLocator", "InsurancePlanIdentification"),
    *("ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers", "PersonIdentificationCodeSequence"),
    *("PersonAddress", "PersonTelephoneNumbers", "PersonTelecomInformation", "OrderCallbackPhoneNumber"),
    *("OrderCallbackTelecomInformation", "AddressTrial", "TelephoneNumberTrial", "DistributionAddress"),
    *("VerifyingObserverIdentificationCodeSequence", "VerbalSourceIdentifierCodeSequenceTrial"),
    *("TopicAuthor", "CameraOwnerName", "CertificateOfSigner", "NonconformingDataElementValue"),
)
PLACES = (
    *("InstitutionName", "InstitutionAddress", "InstitutionCodeSequence", "InstitutionalDepartmentName"),
    *("ResponsibleOrganization", "HumanPerformerOrganization", "VerifyingOrganization", "RequestingService"),
    *("ClinicalTrialSiteName", "CurrentPatientLocation", "PatientInstitutionResidence"),
    *("ScheduledPatientInstitutionResidence", "GPSLatitude", "GPSLongitude", "GPSDestLatitude"),
    *("GPSDestLongitude", "GPSAreaInformation"),
)
NUMBERS = (  # of an admission, an order or a report, by which a hospital finds its patient
    *("AccessionNumber", "AdmissionID", "IssuerOfAdmissionID", "IssuerOfAdmissionIDSequence"),
    *("ServiceEpisodeID", "IssuerOfServiceEpisodeID", "IssuerOfServiceEpisodeIDSequence", "StudyIDIssuer"),
    *("RequestedProcedureID", "PlacerOrderNumberImagingServiceRequest"),
    *("FillerOrderNumberImagingServiceRequest", "ResultsID", "ResultsIDIssuer", "InterpretationID"),
    *("InterpretationIDIssuer", "SpecimenAccessionNumber", "SpecimenIdentifier", "ContainerIdentifier"),
    "SlideIdentifier",
)
# what pydicom 3.0 does not have in its dictionary
NEWER = {
    0x00100011: "PersonNamesToUseSequence",
    0x00100012: "NameToUse",
    0x00100013: "NameToUseComment",
}
IDENTIFIERS: dict[int, str] = {
    **{int(tag_for_keyword(name) or 0): name for name in (*PERSONS, *PLACES, *NUMBERS)},
    **NEWER,
}
ITEM = b"\xfe\xff\x00\xe0"  # tag of an item, with which a sequence begins
# what pydicom raises where bytes that begin so are no sequence
NOT_ITEMS = (ValueError, LookupError, OSError, EOFError, AttributeError, NotImplementedError, struct.error)
PATIENT_ID = int(Tag("PatientID"))
# those whose action in that table is Z, D or Z/D: a dummy may stand in their place. The others are X, and
# X/Z, X/D and X/Z/D, which are X where images do not need them: absent or empty. So are codes and
# certificates, for what they stand for cannot be told
DUMMIES = (
    *("PatientName", "ReferringPhysicianName", "ConsultingPhysicianName", "ContentCreatorName"),
    *("PersonName", "VerifyingObserverName", "ROIInterpreter", "SelectorPNValue", "AccessionNumber"),
    *("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest", "PatientID"),
    *("ClinicalTrialSiteName", "VerifyingOrganization", "SpecimenIdentifier", "ContainerIdentifier"),
)
DUMMY_WORD = re.compile(
    r"(anon(ym(ous|i[sz]ed|e|us)?)?|deid(entified)?|identified|pseudonym|removed|redacted|unknown|none|"
    r"nobody|dummy|name|noname|patient|subject|phantom|test)\d*",
    re.IGNORECASE,
)
# constants that tools write whoever the patient is, which tell the tool (rt-utils 1.2.7)
OF_TOOLS = {("InstitutionName", "Qurit")}
NOBODY_BORN = 1900  # up to this year of birth nobody is alive: 19000101 and 00010101 are in use as dummies
# of the same table, text that people write freely: a name may stand in it or not
FREE_TEXT = (
    *("AdditionalPatientHistory", "ImageComments", "FrameComments", "ImagePresentationComments"),
    *("StudyComments", "VisitComments", "RequestedProcedureComments", "ImagingServiceRequestComments"),
    *("AcquisitionComments", "CommentsOnThePerformedProcedureStep", "ReasonForVisit", "ReasonForStudy"),
    *("ReasonForTheRequestedProcedure", "ReasonForTheImagingServiceRequest", "InterpretationText"),
    *("Impressions", "ResultsComments", "TextComments", "TextString", "UnformattedTextValue", "LabelText"),
    *("SpecialNeeds", "PatientState", "ConfidentialityConstraintOnPatientDataDescription"),
)
_FREE_TEXT = {int(tag_for_keyword(name) or 0): name for name in FREE_TEXT}


def identity(data: Dataset) -> list[str]:
    """Returns the attributes that name a person or a place; none for a de-identified file.

    Every person's name counts (VR PN), wherever it stands, and IDENTIFIERS; not so a dummy in a file that
    says that identity was removed (PatientIdentityRemoved is YES) and by which method. PatientID counts
    unless identity was removed: a pseudonym stands in the same attribute as a hospital's number. In a
    sequence it counts where it is another than that of the file, which is how originals are kept.
    BurnedInAnnotation counts when it says that the picture itself tells the patient.

    Returns:
        keywords, with the outermost sequence of those that stand in one; never a value.
    """
    removed = _says_yes(data, "PatientIdentityRemoved")
    method = data.get("DeidentificationMethod") or data.get("DeidentificationMethodCodeSequence")
    pseudonym = str(data.get("PatientID") or "").strip()
    found: dict[str, None] = {}
    for owner, outermost in _nested(data):
        for tag in owner.keys():  # noqa: SIM118 - iterating over a data set converts all of its elements
            if not _may_name(owner, tag, outermost):
                continue
            keyword = IDENTIFIERS.get(tag) or keyword_for_tag(tag) or str(tag)
            # the library cannot convert what is not in its dictionary, and warns of it
            value = _content((owner.get_item(tag) if tag in NEWER else owner[tag]).value)
            if not value or (tag == PATIENT_ID and value == pseudonym) or (keyword, value) in OF_TOOLS:
                continue
            if removed and method and _is_dummy(keyword, value, pseudonym):
                continue
            found[f"{keyword} in {outermost}" if outermost else keyword] = None
    burned_in = _says_yes(data, "BurnedInAnnotation")
    return [
        *found,
        *(["PatientID"] if pseudonym and not removed else []),
        *(["BurnedInAnnotation"] if burned_in else []),
    ]


def unchecked(data: Dataset) -> list[str]:
    """Returns what a file holds that nobody can check by a table: makers of private attributes, free text.

    Returns:
        private creators as `private SIEMENS CSA HEADER`, and keywords of FREE_TEXT that are not empty.
    """
    found = set()
    for owner, _ in _nested(data):
        for tag in owner.keys():  # noqa: SIM118
            if tag.is_private_creator:
                creator = re.sub(r"[^ -~]", "?", str(owner[tag].value or "")).strip()
                found.add(f"private {creator[:64]}" if creator else "private, of no name")
            elif tag in _FREE_TEXT and _content(owner[tag].value):
                found.add(_FREE_TEXT[tag])
    return sorted(found)


def pseudonym_of(data: Dataset) -> str:
    """Returns the PatientID of a file that says that identity was removed, else nothing."""
    removed = _says_yes(data, "PatientIdentityRemoved")
    return str(data.get("PatientID") or "").strip() if removed else ""


def _says_yes(data: Dataset, keyword: str) -> bool:
    return str(data.get(keyword) or "").strip().upper() == "YES"


def _nested(data: Dataset, outermost: str = "") -> Iterator[tuple[Dataset, str]]:
    """Yields a data set and those in its sequences, at every depth, with the outermost sequence of each.

    Of a sequence that identifies as a whole nothing is yielded.
    Elements are looked at as they lie in the file, and only what may nest is converted: a file of CT has
    hundreds that neither name nor nest.
    """
    yield data, outermost
    for tag in list(data.keys()):
        if tag in IDENTIFIERS:
            continue
        element = data.get_item(tag)
        if element.VR == "SQ" or _known_type(tag) == "SQ":
            items = data[tag].value
        elif tag.is_private and isinstance(element, RawDataElement):
            items = _private_items(element)
        else:
            continue
        if isinstance(items, Sequence):
            name = outermost or keyword_for_tag(tag) or str(tag)
            for item in items:
                yield from _nested(item, name)


def _private_items(element: RawDataElement) -> Sequence | None:
    """Returns the items of a private sequence whose type the file does not tell; None where it is none.

    Such bytes begin with an item. UN means that they are implicit and little-endian (PS3.5, 6.2.2).
    """
    if element.VR not in (None, "UN") or not (element.value or b"").startswith(ITEM):
        return None
    try:
        return convert_SQ(element.value or b"", True, True)
    except NOT_ITEMS:
        return None


def _may_name(data: Dataset, tag: BaseTag, outermost: str) -> bool:
    """Says that an element may identify, by its tag too: gateways write UN for types they do not know."""
    if tag == PATIENT_ID:
        return bool(outermost)  # that of the file has a rule of its own
    return tag in IDENTIFIERS or _known_type(tag) == "PN" or data.get_item(tag).VR == "PN"


@cache
def _known_type(tag: BaseTag) -> str:
    """Returns the VR of an attribute as the standard has it; empty for private and newer ones."""
    return dictionary_VR(tag) if dictionary_has_tag(tag) else ""


def _content(value: object) -> str:
    """Returns a value as text without blanks; of a sequence, whatever is not empty in its items."""
    if isinstance(value, Sequence):
        return " ".join(filter(None, (_content(element.value) for item in value for element in item)))
    return str(value or "").strip(" \0\t\r\n")


def _is_dummy(keyword: str, value: str, pseudonym: str) -> bool:
    """Returns True for what stands in place of a removed value: the pseudonym again, or words like ANONYMOUS.

    A name that repeats PatientID, or a part of it, tells no more than PatientID does. It has a digit and no
    caret: a name that was written into PatientID too is still a name.
    """
    if keyword == "PatientBirthDate":
        return value[:4].isdigit() and int(value[:4]) <= NOBODY_BORN
    if keyword not in DUMMIES:
        return False
    text = value.strip(" ^=")
    parts = _parts(text)
    if "^" not in text and any(letter.isdigit() for letter in text) and set(parts) <= set(_parts(pseudonym)):
        return True
    words = [part for part in parts if not part.isdigit() and part.casefold() != "de"]
    return all(DUMMY_WORD.fullmatch(word) for word in words) and (bool(words) or set(text) == {"0"})


def _parts(text: str) -> list[str]:
    return [part for part in re.split(r"[\W_]+", text) if part]
