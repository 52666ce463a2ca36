"""Takes out of a DICOM data set whatever may tell whose it is, but for the pixels themselves.

Attributes are dropped by what they can hold, not by a list of bad ones: free text, names, dates, times and
private data go whatever their name, and only text that readers need stays. A list would miss what a vendor or
a later edition of the standard adds.
"""

from __future__ import annotations

from collections.abc import Callable

from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag

from dgfnet.imaging.identity import IDENTIFIERS

# value representations that hold text, dates or bytes of any kind
OPEN_TYPES = frozenset(
    (
        *("AE", "AS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UN", "UR", "UT"),
        *("OB", "OD", "OF", "OL", "OV", "OW"),
    )
)
# what of these the readers of `imaging` need; segments and structures are called as their authors called them
NEEDED = frozenset(
    int(tag_for_keyword(name) or 0)
    for name in (
        *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable"),
        *("ExtendedOffsetTableLengths", "LUTData", "RescaleType", "SegmentLabel", "ROIName"),
        *("CodeValue", "CodingSchemeDesignator", "CodeMeaning"),
        *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
        *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
        *(f"{part}AlphaPaletteColorLookupTableData" for part in ("", "Segmented")),
    )
)
# sequences that keep what was changed, signed, hidden or made smaller
WHOLE = frozenset(
    int(tag_for_keyword(name) or 0)
    for name in (
        *("OriginalAttributesSequence", "ModifiedAttributesSequence", "EncryptedAttributesSequence"),
        *("DigitalSignaturesSequence", "MACParametersSequence", "IconImageSequence"),
        *(
            "RequestAttributesSequence",
            "ReferencedPatientSequence",
            "ContentCreatorIdentificationCodeSequence",
        ),
    )
)
PATIENT = 0x0010  # group of the patient
OVERLAYS = range(0x6000, 0x6100, 2)  # groups of bitmaps that programs draw words into
CURVES = range(0x5000, 0x5100, 2)
STANDARD = "1.2.840.10008."  # UIDs of the standard itself tell nobody
METHOD = "DGFNet: names, dates, free text and private attributes removed"
_META = (
    "TransferSyntaxUID",
    "MediaStorageSOPClassUID",
    "ImplementationClassUID",
    "ImplementationVersionName",
)


def anonymous(data: Dataset, pseudonym: str, uid: Callable[[str], str] = str) -> Dataset:
    """Returns a data set of the same pixels, geometry, segments and codes that names nobody.

    The picture itself is as it was: what is written in it stays, and BurnedInAnnotation with it.

    Args:
        data: of a file or an answer of a PACS; it stays as it is, and pixels are shared with it.
        pseudonym: PatientID of the result.
        uid: replacement of a UID, the same for the same one; without it UIDs stay.
    """
    result = _of_nobody(data, uid)
    meta = FileMetaDataset()
    for name in _META:
        if name in data.file_meta:
            setattr(meta, name, data.file_meta[name].value)
    if "SOPInstanceUID" in result:
        meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    result.file_meta = meta
    result.PatientID, result.PatientName = pseudonym, ""
    result.PatientIdentityRemoved, result.DeidentificationMethod = "YES", METHOD
    return result


def _of_nobody(data: Dataset, uid: Callable[[str], str]) -> Dataset:
    result = Dataset()
    for tag in data.keys():  # noqa: SIM118 - iterating would convert what is dropped, too
        if _is_dropped(tag):
            continue
        element = data[tag]
        if element.VR in OPEN_TYPES and tag not in NEEDED:
            continue
        if element.VR == "SQ":
            result.add_new(tag, "SQ", [_of_nobody(item, uid) for item in element.value])
        elif element.VR == "UI" and element.value:
            several = element.value if element.VM > 1 else [element.value]
            replaced = [str(own) if str(own).startswith(STANDARD) else uid(str(own)) for own in several]
            result.add_new(tag, "UI", replaced if element.VM > 1 else replaced[0])
        else:
            result.add(element)
    return result


def _is_dropped(tag: BaseTag) -> bool:
    """Says by the tag alone that an element goes, whatever it holds."""
    group = tag.group
    return (
        group in (PATIENT, 0x0002)
        or tag.is_private
        or tag in IDENTIFIERS
        or tag in WHOLE
        or group in OVERLAYS
        or group in CURVES
    )
