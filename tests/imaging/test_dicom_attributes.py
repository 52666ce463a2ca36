"""Every row of docs/reference/dicom-attributes.md, on files whose truth is known as they were made so."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import gdcm
import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import convert_color_space
from pydicom.sequence import Sequence
from pydicom.uid import (
    MPEG2MPML,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from dgfnet.errors import InputError
from dgfnet.imaging import dicom as files
from dgfnet.imaging.tomography import read_tomography
from dgfnet.imaging.ultrasound import read_as_shown, read_ultrasound, scale
from dicom_files import CT_SOP, US_SOP, dicom

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "dicom-attributes.md"
GREY = (np.arange(48 * 64).reshape(48, 64) % 251).astype(np.uint8)  # 0 to 250, every value
DEEP = GREY.astype(np.uint16) * 16 + 5  # 5 to 4005, in 12 bits
RGB = np.dstack([GREY, GREY // 2, 255 - GREY])
STORAGE = "1.2.840.10008.5.1.4.1.1."
SC, ENHANCED_CT, ENHANCED_US, MR = (STORAGE + end for end in ("7", "2.1", "6.2", "4"))
HU = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
PALETTE = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
ROWS = {  # keyword of the first cell: tag as written, and the last cell
    keyword: (tag, done)
    for keyword, tag, done in re.findall(
        r"^\| (\w+) \((\w{4},\w{4})\) \|.*?\|.*?\| (.*) \|$", PAGE.read_text(), re.MULTILINE
    )
}
TESTED: set[str] = set()


def row(*keywords):
    """Says which rows of the page a test is of."""
    TESTED.update(keywords)
    return lambda test: test


def us(folder, pixels=GREY, sop=US_SOP, frame=None, **values):
    """Writes ultrasound and returns it as displayed."""
    path = folder / "x.dcm"
    dicom(path, pixels, sop, **values)
    return read_as_shown(path, files.open_file(path), frame)


def ct(folder, pixels=DEEP, sop=CT_SOP, frame=None, **values):
    """Writes CT and returns its HU."""
    path = folder / "x.dcm"
    dicom(path, pixels, sop, **HU | {"Modality": "CT"} | values)
    return read_tomography(path, files.open_file(path), frame)[0]


def again(folder, frame=None, read=read_as_shown):
    path = folder / "x.dcm"
    return read(path, files.open_file(path), frame)


def refused(keyword, said, call, *arguments, **values):
    """Checks that the call ends in a message that the row of the page promises."""
    with pytest.raises(InputError) as caught:
        call(*arguments, **values)
    message = str(caught.value)
    assert message.startswith("x.dcm: ")
    assert said in message
    promised = re.findall("`([^`]+)`", ROWS[keyword][1])
    assert any(said in text and text in message for text in promised), (message, promised)


def item(**values):
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def near(shown, exact):
    """Checks that pixels are the exact values rounded, whichever way halves go."""
    assert np.abs(shown - exact).max() <= 0.5 + 1e-9


def sequence(**values):
    return Sequence([item(**values)])


def compressed(folder, pixels, syntax, sop=US_SOP, later=None, **values):
    """Writes a compressed file; `later` are attributes set after compression."""
    data = dicom(folder / "x.dcm", pixels, sop, **values)
    data.compress(syntax)
    for name, value in (later or {}).items():
        setattr(data, name, value)
    data.save_as(folder / "x.dcm", enforce_file_format=True)


def recoded(path, syntax):
    """Compresses a file by GDCM, which writes what pydicom does not."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(path))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


# --- kind of file


@row("SOPClassUID")
def test_kinds_of_objects(tmp_path):
    for end in ("6.1", "3.1", "6", "3", "7", "7.2", "7.4"):
        np.testing.assert_array_equal(us(tmp_path, sop=STORAGE + end), GREY)
    said = "expected US Image, US Multi-frame Image, or a secondary capture of ultrasound"
    for sop in (ENHANCED_US, MR, CT_SOP):
        refused("SOPClassUID", said, us, tmp_path, sop=sop)
    for sop in (CT_SOP, ENHANCED_CT, STORAGE + "2.2"):
        assert ct(tmp_path, sop=sop)[0, 1] == 5 + 16 - 1024
    assert ct(tmp_path, sop=SC, RescaleType="HU")[0, 1] == 21 - 1024
    said = "expected CT Image, Enhanced CT Image, or a secondary capture of CT in HU"
    for sop in (US_SOP, MR, ENHANCED_US):
        refused("SOPClassUID", said, ct, tmp_path, sop=sop)
    np.testing.assert_array_equal(us(tmp_path, sop="1.2.3.4"), GREY)  # private
    with pytest.raises(InputError, match="of modality MR"):
        us(tmp_path, sop="1.2.3.4", Modality="MR")


@row("Modality")
def test_modality_of_a_secondary_capture(tmp_path):
    for modality in ("US", "OT", ""):
        np.testing.assert_array_equal(us(tmp_path, sop=SC, Modality=modality), GREY)
    refused("Modality", "of modality MR; expected", us, tmp_path, sop=SC, Modality="MR")
    with pytest.raises(InputError, match="of modality US; expected CT"):
        ct(tmp_path, sop=SC, Modality="US", RescaleType="HU")


@row("ImageType")
def test_image_type(tmp_path):
    for kinds in (
        ["ORIGINAL", "PRIMARY", "SMALL PARTS", "0001"],
        ["DERIVED", "SECONDARY"],
        ["X", "Y", "Z", "0041"],
    ):
        np.testing.assert_array_equal(us(tmp_path, ImageType=kinds), GREY)
    rendered = ["DERIVED", "PRIMARY", "", "0040"]
    refused("ImageType", "a 3-D rendering", us, tmp_path, ImageType=rendered)
    said = "a localizer (ImageType); expected an axial slice"
    refused("ImageType", said, ct, tmp_path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    for kinds in (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "AXIAL", "VMI"], "DERIVED"):
        assert ct(tmp_path, ImageType=kinds)[0, 0] == 5 - 1024
    said = "MAT_SPECIFIC (ImageType); expected attenuation in HU"
    refused("ImageType", said, ct, tmp_path, ImageType=["DERIVED", "PRIMARY", "AXIAL", "MAT_SPECIFIC"])


def enhanced(folder, frame, *groups, shared=None, **values):
    """Writes enhanced CT of a frame a group, all of the same stored values, and returns HU of a frame."""
    stack = np.stack([DEEP] * values.pop("frames", max(1, len(groups))))
    path = folder / "x.dcm"
    values = {"Modality": "CT"} | values
    if shared is not None:
        values["SharedFunctionalGroupsSequence"] = Sequence([shared])
    if groups:
        values["PerFrameFunctionalGroupsSequence"] = Sequence(groups)
    dicom(path, stack, ENHANCED_CT, **values)
    return read_tomography(path, files.open_file(path), frame)


def frame_group(slope=None, unit="HU", spacing=None, **kind):
    made = Dataset()
    if slope is not None:
        made.PixelValueTransformationSequence = sequence(
            RescaleSlope=slope, RescaleIntercept="-10", RescaleType=unit
        )
    if spacing is not None:
        made.PixelMeasuresSequence = sequence(PixelSpacing=[spacing, spacing])
    if kind:
        made.CTImageFrameTypeSequence = sequence(**kind)
    return made


@row("FrameType", "PixelPresentation", "VolumeBasedCalculationTechnique", "VolumetricProperties")
def test_kind_of_a_frame_of_enhanced_ct(tmp_path):
    axial = frame_group("1", FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])
    scout = frame_group("1", FrameType=["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"])
    mixed = ["MIXED", "PRIMARY", "VOLUME", "NONE"]
    assert enhanced(tmp_path, 0, axial, scout, ImageType=mixed)[0][0, 0] == 5 - 10
    refused("FrameType", "a localizer", enhanced, tmp_path, 1, axial, scout, ImageType=mixed)
    for name, good, bad, said in (
        ("PixelPresentation", "MONOCHROME", "COLOR", "expected MONOCHROME"),
        ("VolumeBasedCalculationTechnique", "MPR", "MAX_IP", "expected NONE or MPR"),
        ("VolumetricProperties", "SAMPLED", "DISTORTED", "expected VOLUME or SAMPLED"),
    ):
        sound, other = frame_group("1", **{name: good}), frame_group("1", **{name: bad})
        assert enhanced(tmp_path, 0, sound, other, **{name: "MIXED"})[0][0, 0] == 5 - 10
        said = f"{name} {bad}; {said}"
        refused(name, said, enhanced, tmp_path, 1, sound, other, **{name: "MIXED"})
        refused(name, said, ct, tmp_path, **{name: bad})
    refused("PixelPresentation", "grey without a second palette", us, tmp_path, PixelPresentation="COLOR")


@row("MultienergyCTAcquisition")
def test_multi_energy_ct_has_to_say_its_units(tmp_path):
    assert ct(tmp_path, MultienergyCTAcquisition="YES", RescaleType="HU")[0, 0] == 5 - 1024
    said = "multi-energy CT without a RescaleType; expected HU"
    refused("MultienergyCTAcquisition", said, ct, tmp_path, MultienergyCTAcquisition="YES")


# --- stored values


@row("TransferSyntaxUID")
def test_coding_of_pixels(tmp_path):
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        compressed(tmp_path, GREY, syntax)
        np.testing.assert_array_equal(again(tmp_path), GREY)
    data = dicom(tmp_path / "x.dcm", GREY)
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(again(tmp_path), GREY)
    data.file_meta.TransferSyntaxUID = MPEG2MPML
    data.PixelData = encapsulate([b"\0\0"])
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    refused("TransferSyntaxUID", "its pixels cannot be decoded", again, tmp_path)


def big_endian(folder, pixels, sop=US_SOP, **values):
    """Writes a file of the other byte order: 8-bit pixels in bytes, 16-bit ones in words."""
    data = dicom(folder / "x.dcm", pixels, sop, **values)
    data.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    data.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    data["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    data.save_as(folder / "x.dcm", enforce_file_format=True)


@row("TransferSyntaxUID")
def test_the_other_byte_order(tmp_path):
    big_endian(tmp_path, GREY)
    np.testing.assert_array_equal(again(tmp_path), GREY)
    big_endian(tmp_path, DEEP, CT_SOP, BitsStored=12, HighBit=11, **HU)
    np.testing.assert_array_equal(again(tmp_path, read=read_tomography)[0], DEEP - 1024.0)


@row("SamplesPerPixel")
def test_numbers_per_pixel(tmp_path):
    np.testing.assert_array_equal(us(tmp_path), GREY)
    np.testing.assert_array_equal(us(tmp_path, RGB), RGB)
    refused("SamplesPerPixel", "expected grey CT, found RGB", ct, tmp_path, RGB)
    said = "MONOCHROME2 with SamplesPerPixel 3; expected 1"
    refused("SamplesPerPixel", said, us, tmp_path, RGB, PhotometricInterpretation="MONOCHROME2")
    with pytest.raises(InputError, match="RGB with SamplesPerPixel 1; expected 3"):
        us(tmp_path, PhotometricInterpretation="RGB")


@row("PhotometricInterpretation")
def test_colour_spaces_of_ultrasound(tmp_path):
    np.testing.assert_array_equal(us(tmp_path, PhotometricInterpretation="MONOCHROME1"), 255 - GREY)
    # C.7.6.3.1.2: Y = .299 R + .587 G + .114 B, half a scale added to the differences
    red, grey = np.array([76, 85, 255], np.uint8), np.array([77, 128, 128], np.uint8)
    ybr = np.where(np.arange(64)[None, :, None] < 32, red, grey).astype(np.uint8).repeat(48, 0)
    shown = us(tmp_path, ybr, PhotometricInterpretation="YBR_FULL").astype(int)
    assert np.abs(shown[0, 0] - [254, 0, 0]).max() <= 1
    np.testing.assert_array_equal(shown[0, 63], [77, 77, 77])
    compressed(tmp_path, RGB, JPEG2000Lossless, later={"PhotometricInterpretation": "RGB"})
    np.testing.assert_array_equal(again(tmp_path), RGB)
    pairs = ybr.reshape(48, 32, 2, 3)  # 4:2:2 halves the colour: Y1 Y2 B R
    half = np.concatenate([pairs[..., 0], pairs[:, :, 0, 1:]], axis=-1).tobytes()
    shown = us(tmp_path, ybr, PhotometricInterpretation="YBR_FULL_422", PixelData=half)
    np.testing.assert_array_equal(shown, convert_color_space(ybr, "YBR_FULL", "RGB"))
    for kind in ("YBR_PARTIAL_422", "HSV", "ARGB", "CMYK", "XYB", ""):
        with pytest.raises(InputError, match=f"PhotometricInterpretation {kind or 'missing'}; expected MONO"):
            us(tmp_path, RGB, PhotometricInterpretation=kind)
    said = "PhotometricInterpretation YBR_PARTIAL_422; expected MONOCHROME1"
    values = {"PhotometricInterpretation": "YBR_PARTIAL_422", "PixelData": half}
    refused("PhotometricInterpretation", said, us, tmp_path, RGB, **values)
    said = "YBR_RCT outside JPEG 2000"
    refused("PhotometricInterpretation", said, us, tmp_path, RGB, PhotometricInterpretation="YBR_RCT")


@row("PhotometricInterpretation")
def test_polarity_does_not_change_hounsfield_units(tmp_path):
    shown = ct(tmp_path, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(shown, DEEP - 1024.0)
    said = "expected grey CT, found PALETTE COLOR"
    refused("PhotometricInterpretation", said, ct, tmp_path, PhotometricInterpretation="PALETTE COLOR")


@row("PlanarConfiguration")
def test_colour_by_plane(tmp_path):
    planes = np.ascontiguousarray(RGB.transpose(2, 0, 1)).tobytes()
    np.testing.assert_array_equal(us(tmp_path, RGB, PlanarConfiguration=1, PixelData=planes), RGB)
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        for planar in (0, 1):
            compressed(tmp_path, RGB, syntax, later={"PlanarConfiguration": planar})
            np.testing.assert_array_equal(again(tmp_path), RGB)
    smooth = cv2.GaussianBlur(RGB, (0, 0), 4)
    data = dicom(tmp_path / "x.dcm", smooth, PhotometricInterpretation="YBR_FULL_422", PlanarConfiguration=1)
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    code = cv2.imencode(".jpg", smooth[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    data.PixelData = encapsulate([code])
    data["PixelData"].is_undefined_length = True
    data.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert np.abs(again(tmp_path).astype(int) - smooth).max() <= 12  # half the colour, and loss


@row("BitsAllocated", "BitsStored")
def test_eight_bits_in_sixteen(tmp_path):
    wide = GREY.astype(np.uint16)
    for values in ({}, {"PhotometricInterpretation": "MONOCHROME1"}):
        shown = us(tmp_path, wide | 0x5A00, BitsStored=8, HighBit=7, **values)
        np.testing.assert_array_equal(shown, 255 - GREY if values else GREY)
    np.testing.assert_array_equal(us(tmp_path, RGB.astype(np.uint16), BitsStored=8, HighBit=7), RGB)
    for syntax in ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"):
        dicom(tmp_path / "x.dcm", wide, BitsStored=8, HighBit=7)
        recoded(tmp_path / "x.dcm", syntax)
        np.testing.assert_array_equal(again(tmp_path), GREY)


@row("BitsStored", "OverlayBitPosition")
def test_bits_above_those_stored_are_cut_off(tmp_path):
    for junk in (0x1000, 0xA000, 0xF000):
        shown = ct(tmp_path, DEEP | junk, BitsStored=12, HighBit=11)
        np.testing.assert_array_equal(shown, DEEP - 1024.0)
        compressed(tmp_path, DEEP | junk, RLELossless, CT_SOP, BitsStored=12, HighBit=11, **HU)
        np.testing.assert_array_equal(again(tmp_path, read=read_tomography)[0], DEEP - 1024.0)
    overlay = {"OverlayBitPosition": 12, "OverlayBitsAllocated": 16, "OverlayRows": 48, "OverlayColumns": 64}
    path = tmp_path / "x.dcm"
    data = dicom(path, np.where(GREY > 99, DEEP | 0x1000, DEEP), CT_SOP, BitsStored=12, HighBit=11, **HU)
    for name, value in overlay.items():
        data.add_new(tag_of_overlay(name), "US", value)
    data.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(again(tmp_path, read=read_tomography)[0], DEEP - 1024.0)
    for syntax in (JPEGLSLossless, JPEG2000Lossless):
        compressed(tmp_path, DEEP | 0x1000, syntax, CT_SOP, {"BitsStored": 12, "HighBit": 11}, **HU)
        said = "in 12 bits stored; expected 0 to 4095"
        refused("BitsStored", said, again, tmp_path, read=read_tomography)


def tag_of_overlay(name):
    return (
        0x6000,
        {"OverlayRows": 0x10, "OverlayColumns": 0x11, "OverlayBitsAllocated": 0x100}.get(name, 0x102),
    )


@row("BitsStored", "WindowCenter")
def test_more_bits_than_eight_need_a_window(tmp_path):
    said = "MONOCHROME2 with 12 bits; expected 8-bit ultrasound, or a window"
    refused("BitsStored", said, us, tmp_path, DEEP, BitsStored=12, HighBit=11)
    window = {"WindowCenter": "2048", "WindowWidth": "4096"}  # C.11.2.1.2.1: 0 to 4095 become 0 to 255
    shown = us(tmp_path, DEEP, BitsStored=12, HighBit=11, **window)
    near(shown, DEEP / 4095 * 255)
    with pytest.raises(InputError, match="MONOCHROME2 with 7 bits"):
        us(tmp_path, GREY // 2, BitsStored=7, HighBit=6)
    with pytest.raises(InputError, match="RGB with 16 bits; expected 8-bit ultrasound"):
        us(tmp_path, RGB.astype(np.uint16))


@row("BitsStored")
def test_ct_of_eight_bits_has_to_say_its_units(tmp_path):
    refused("BitsStored", "8 bits without a RescaleType; expected HU", ct, tmp_path, GREY)
    assert ct(tmp_path, GREY, RescaleType="HU", RescaleSlope="4")[0, 3] == 12 - 1024


@row("HighBit")
def test_values_in_the_upper_bits(tmp_path):
    for syntax in (None, RLELossless):
        values = {"BitsStored": 12, "HighBit": 15, **HU}
        if syntax is None:
            dicom(tmp_path / "x.dcm", DEEP << 4 | 0x000A, CT_SOP, **values)
        else:
            compressed(tmp_path, DEEP << 4, syntax, CT_SOP, **values)
        np.testing.assert_array_equal(again(tmp_path, read=read_tomography)[0], DEEP - 1024.0)
    signed = (DEEP.astype(np.int16) - 2000) << 4
    np.testing.assert_array_equal(ct(tmp_path, signed, BitsStored=12, HighBit=15), DEEP - 3024.0)
    said = "BitsStored 12 with HighBit 15 in 16 bits; expected HighBit 11"
    compressed(tmp_path, DEEP, JPEG2000Lossless, CT_SOP, {"BitsStored": 12, "HighBit": 15}, **HU)
    refused("HighBit", said, again, tmp_path, read=read_tomography)
    with pytest.raises(InputError, match="BitsStored 12 with HighBit 9 in 16 bits"):
        ct(tmp_path, BitsStored=12, HighBit=9)


@row("PixelRepresentation")
def test_signed_values(tmp_path):
    signed = DEEP.astype(np.int16) - 2000
    np.testing.assert_array_equal(ct(tmp_path, signed), DEEP - 3024.0)
    # PS3.5, 8.1.1: bits above those stored may hold anything, so that the sign is that of bit 11
    unextended = signed.view(np.uint16) & 0x0FFF
    shown = ct(tmp_path, unextended, BitsStored=12, HighBit=11, PixelRepresentation=1)
    np.testing.assert_array_equal(shown, DEEP - 3024.0)
    for syntax in ("JPEGLosslessProcess14_1", "JPEGLSLossless", "JPEG2000Lossless", "RLELossless"):
        dicom(tmp_path / "x.dcm", signed, CT_SOP, BitsStored=12, HighBit=11, **HU)
        recoded(tmp_path / "x.dcm", syntax)
        np.testing.assert_array_equal(again(tmp_path, read=read_tomography)[0], DEEP - 3024.0)
    low = (GREY.astype(np.int16) - 128).astype(np.int8)
    said = "MONOCHROME2 with signed values of 8 bits; expected 8-bit ultrasound"
    refused("PixelRepresentation", said, us, tmp_path, low)
    shown = us(tmp_path, low, WindowCenter="0", WindowWidth="256")  # -128 to 127 become 0 to 255
    np.testing.assert_array_equal(shown, GREY)


@row("NumberOfFrames")
def test_a_frame_is_named(tmp_path):
    clip = np.stack([GREY, 255 - GREY, GREY // 2])
    np.testing.assert_array_equal(us(tmp_path, clip, frame=2), GREY // 2)
    refused("NumberOfFrames", "3 frames; name one", us, tmp_path, clip)
    refused("NumberOfFrames", "frame 3 asked for, the file has 3", us, tmp_path, clip, frame=3)


@row("PixelData", "FloatPixelData", "DoubleFloatPixelData", "PixelDataProviderURL")
def test_what_holds_the_pixels(tmp_path):
    path = tmp_path / "x.dcm"
    for sop, read, values in ((US_SOP, read_as_shown, {}), (CT_SOP, read_tomography, HU)):
        data = dicom(path, DEEP, sop, **values)
        del data.PixelData
        data.save_as(path, enforce_file_format=True)
        refused("PixelData", "no pixels in it; expected an image", again, tmp_path, read=read)
        data.PixelDataProviderURL = "http://example.org/pixels"
        data.save_as(path, enforce_file_format=True)
        refused("PixelDataProviderURL", "no pixels in it; expected an image", again, tmp_path, read=read)
        for name, kind in (("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")):
            data = dicom(path, DEEP, sop, **values)
            del data.PixelData
            setattr(data, name, DEEP.astype(kind).tobytes())
            data.BitsAllocated = data.BitsStored = 8 * np.dtype(kind).itemsize
            data.HighBit = data.BitsStored - 1
            data.save_as(path, enforce_file_format=True)
            said = f"MONOCHROME2 with {data.BitsStored} bits" if sop == US_SOP else "numbers with a point"
            refused(name, said, again, tmp_path, read=read)


def palette(count, first, bits, data, segmented=False, **values):
    """Attributes of a palette: the same descriptor, and data of red, green and blue."""
    word = "Segmented" if segmented else ""
    made = {f"{name}Descriptor": [count, first, bits] for name in PALETTE}
    made |= {f"{word}{name}Data": part for name, part in zip(PALETTE, data, strict=True)}
    return made | {"PhotometricInterpretation": "PALETTE COLOR"} | values


@row("RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData")
def test_palettes(tmp_path):
    up, down = np.arange(256), np.arange(255, -1, -1)
    colours = np.stack([up, down, up // 2], axis=-1)  # of the values 0 to 255
    expected = colours[GREY]
    tables = {
        "8 bits": (8, [part.astype("u1") for part in colours.T]),
        "8 bits in words": (8, [part.astype("<u2") for part in colours.T]),
        "16 bits, by 257": (16, [(part * 257).astype("<u2") for part in colours.T]),
        "16 bits, by 256": (16, [(part * 256).astype("<u2") for part in colours.T]),
    }
    for bits, parts in tables.values():
        shown = us(tmp_path, **palette(256, 0, bits, [part.tobytes() for part in parts]))
        np.testing.assert_array_equal(shown, expected)
    grey = read_ultrasound(tmp_path / "x.dcm", files.open_file(tmp_path / "x.dcm"), None)[0]
    np.testing.assert_array_equal(grey, cv2.cvtColor(expected.astype(np.uint8), cv2.COLOR_RGB2GRAY))
    # an odd count is padded; values outside take the first and the last entry
    parts = [part[:99].astype("u1").tobytes() + b"\7" for part in colours.T]
    shown = us(tmp_path, **palette(99, 10, 8, parts))
    np.testing.assert_array_equal(shown, colours[np.clip(GREY.astype(int) - 10, 0, 98)])
    # 4096 entries of 8 bits: more values than a byte holds
    wide = [(np.arange(4096) // 16).astype("u1").tobytes()] * 3
    shown = us(tmp_path, DEEP, **palette(4096, 0, 8, wide, BitsStored=12, HighBit=11))
    np.testing.assert_array_equal(shown, np.dstack([GREY] * 3))
    # 0 entries are 65,536
    whole = [np.arange(65536).astype("<u2").tobytes()] * 3
    shown = us(tmp_path, DEEP << 4, **palette(0, 0, 16, whole))
    np.testing.assert_array_equal(shown, np.dstack([(DEEP << 4) >> 8] * 3))
    keyword = "RedPaletteColorLookupTableDescriptor"
    refused(keyword, "a palette of 12 bits; expected 8 or 16", us, tmp_path, **palette(256, 0, 12, parts))
    said, keyword = "expected 256 entries of 16 bits", "RedPaletteColorLookupTableData"
    refused(keyword, said, us, tmp_path, **palette(256, 0, 16, parts))
    black = [np.arange(256).astype("<u2").tobytes()] * 3  # 16-bit entries below 256
    refused(keyword, "a palette that is black all over", us, tmp_path, **palette(256, 0, 16, black))


@row("RedPaletteColorLookupTableData")
def test_palettes_of_the_other_byte_order(tmp_path):
    colours = np.stack([np.arange(256), np.arange(255, -1, -1), np.arange(256) // 2], axis=-1)
    for bits, kind in ((16, ">u2"), (8, "swapped")):
        parts = []
        for part in colours.T:
            low = (part * 256 + 7).astype(">u2") if kind == ">u2" else part.astype("u1")
            parts.append(low.tobytes() if kind == ">u2" else low.reshape(-1, 2)[:, ::-1].tobytes())
        big_endian(tmp_path, GREY, **palette(256, 0, bits, parts))
        np.testing.assert_array_equal(again(tmp_path), colours[GREY])


@row("SegmentedRedPaletteColorLookupTableData", "AlphaPaletteColorLookupTableData")
def test_segmented_palettes_and_transparency(tmp_path):
    # C.7.9.2: 0 n v.. gives n entries, 1 n v a line of n entries to v
    up = np.array([0, 1, 0, 1, 255, 65535], "<u2").tobytes()
    down = np.array([0, 1, 65535, 1, 255, 0], "<u2").tobytes()
    flat = np.array([0, 1, 257 * 40, 1, 255, 257 * 40], "<u2").tobytes()
    shown = us(tmp_path, **palette(256, 0, 16, [up, down, flat], segmented=True))
    np.testing.assert_array_equal(shown, np.dstack([GREY, 255 - GREY, np.full_like(GREY, 40)]))
    bytewise = bytes([0, 1, 0, 1, 255, 255])
    shown = us(tmp_path, **palette(256, 0, 8, [bytewise] * 3, segmented=True))
    np.testing.assert_array_equal(shown, np.dstack([GREY] * 3))
    said, keyword = "a segmented palette of 300 8-bit entries", "SegmentedRedPaletteColorLookupTableData"
    refused(keyword, said, us, tmp_path, **palette(300, 0, 8, [bytewise] * 3, segmented=True))
    opaque = bytes(range(256))
    values = palette(256, 0, 8, [opaque] * 3, AlphaPaletteColorLookupTableData=opaque)
    keyword = "AlphaPaletteColorLookupTableData"
    refused(keyword, "a palette with transparency", us, tmp_path, **values)


@row("PixelPaddingValue", "PixelPaddingRangeLimit")
def test_padding_is_air_and_black(tmp_path):
    stored = DEEP.astype(np.int16)
    stored[:5], stored[5:8] = -2000, -1990
    tissue = np.where(np.arange(48)[:, None] < 5, -1000.0, stored - 1024.0)
    np.testing.assert_array_equal(ct(tmp_path, stored, PixelPaddingValue=-2000), tissue)
    path = tmp_path / "x.dcm"
    data = dicom(path, stored, CT_SOP, **HU)
    data.add_new("PixelPaddingValue", "US", 63536)  # -2000 as if it were unsigned
    data.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(again(tmp_path, read=read_tomography)[0], tissue)
    tissue[5:8] = -1000
    limits = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1990}
    np.testing.assert_array_equal(ct(tmp_path, stored, **limits), tissue)
    fewer = {"PixelPaddingRangeLimit": -1990}  # means nothing without a value
    np.testing.assert_array_equal(ct(tmp_path, stored, **fewer), stored - 1024.0)
    shown = us(tmp_path, PixelPaddingValue=7, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(shown, np.where(GREY == 7, 0, 255 - GREY))


# --- grey as displayed


@row("WindowCenter", "WindowWidth", "VOILUTFunction")
def test_windows(tmp_path):
    x = GREY.astype(float)
    np.testing.assert_array_equal(us(tmp_path, WindowCenter="128", WindowWidth="256"), GREY)
    shown = us(tmp_path, WindowCenter="100", WindowWidth="51")  # C.11.2.1.2.1: 74.5 is 0, 124.5 is 255
    near(shown, np.clip((x - 74.5) / 50, 0, 1) * 255)
    shown = us(tmp_path, WindowCenter="100", WindowWidth="1")  # from 100 on white
    np.testing.assert_array_equal(shown, np.where(x > 99.5, 255, 0))
    exact = {"WindowCenter": "100", "WindowWidth": "50", "VOILUTFunction": "LINEAR_EXACT"}  # 75 to 125
    near(us(tmp_path, **exact), np.clip((x - 75) / 50, 0, 1) * 255)
    shown = us(tmp_path, **exact | {"VOILUTFunction": "SIGMOID"})
    near(shown, 255 / (1 + np.exp(-4 * (x - 100) / 50)))
    assert shown[1, 36] == 128  # 100, the middle
    several = {"WindowCenter": ["128", "10"], "WindowWidth": ["256", "20"]}
    np.testing.assert_array_equal(us(tmp_path, **several), GREY)
    shown = us(tmp_path, PhotometricInterpretation="MONOCHROME1", **several)
    np.testing.assert_array_equal(shown, 255 - GREY)
    np.testing.assert_array_equal(us(tmp_path, RGB, **several), RGB)  # windows are of grey
    shown = us(tmp_path, RescaleSlope="2", RescaleIntercept="10", WindowCenter="266", WindowWidth="512")
    near(shown, 2 * x / 511 * 255)  # 10 is 0, 521 is 255
    refused(
        "WindowWidth", "WindowWidth 0; expected at least 1", us, tmp_path, WindowCenter="1", WindowWidth="0"
    )
    refused(
        "VOILUTFunction", "VOILUTFunction LOG; expected", us, tmp_path, **exact | {"VOILUTFunction": "LOG"}
    )
    np.testing.assert_array_equal(ct(tmp_path, **several), DEEP - 1024.0)


def voi(count, first, bits, entries):
    table = item(LUTDescriptor=[count, first, bits], LUTData=entries)
    table["LUTData"].VR = "OW" if isinstance(entries, bytes) else "US"
    return Sequence([table])


@row("VOILUTSequence")
def test_look_up_tables_of_grey(tmp_path):
    down = np.arange(255, -1, -1)
    for table in (
        voi(256, 0, 8, down.astype("u1").tobytes()),
        voi(256, 0, 8, down.astype("<u2").tobytes()),
        voi(256, 0, 16, (down * 257).astype("<u2").tobytes()),
        voi(256, 0, 16, [int(value) * 257 for value in down]),
    ):
        np.testing.assert_array_equal(us(tmp_path, VOILUTSequence=table), 255 - GREY)
    table = voi(4096, 0, 8, ((4095 - np.arange(4096)) // 16).astype("u1").tobytes())
    shown = us(tmp_path, DEEP, BitsStored=12, HighBit=11, VOILUTSequence=table)
    np.testing.assert_array_equal(shown, (4095 - DEEP) // 16)
    table = voi(11, 100, 10, (np.arange(11) * 93).astype("<u2").tobytes())  # 100 to 110: 0 to 930 of 1023
    shown = us(tmp_path, VOILUTSequence=table)
    near(shown, np.clip(GREY - 100.0, 0, 10) * 93 / 1023 * 255)
    said = "a window and a VOI look-up table, and nothing says which"
    window = {"WindowCenter": "128", "WindowWidth": "256", "VOILUTSequence": table}
    refused("VOILUTSequence", said, us, tmp_path, **window)
    np.testing.assert_array_equal(ct(tmp_path, VOILUTSequence=table), DEEP - 1024.0)


@row("ModalityLUTSequence")
def test_modality_look_up_tables_are_refused(tmp_path):
    table = item(LUTDescriptor=[256, 0, 16], LUTData=b"\0" * 512, ModalityLUTType="US")
    table["LUTData"].VR = "OW"
    for read, said in (
        (us, "expected values as displayed"),
        (ct, "expected RescaleSlope and RescaleIntercept"),
    ):
        said = f"a ModalityLUTSequence; {said}"
        refused("ModalityLUTSequence", said, read, tmp_path, ModalityLUTSequence=Sequence([table]))


@row("PresentationLUTShape")
def test_shape_of_the_presentation_says_polarity_again(tmp_path):
    black, white = {"PhotometricInterpretation": "MONOCHROME2"}, {"PhotometricInterpretation": "MONOCHROME1"}
    np.testing.assert_array_equal(us(tmp_path, PresentationLUTShape="IDENTITY", **black), GREY)
    np.testing.assert_array_equal(us(tmp_path, PresentationLUTShape="INVERSE", **white), 255 - GREY)
    np.testing.assert_array_equal(us(tmp_path, RGB, PresentationLUTShape="IDENTITY"), RGB)
    said = "MONOCHROME2 contradicts PresentationLUTShape INVERSE"
    refused("PresentationLUTShape", said, us, tmp_path, PresentationLUTShape="INVERSE", **black)
    with pytest.raises(InputError, match="MONOCHROME1 contradicts PresentationLUTShape IDENTITY"):
        us(tmp_path, PresentationLUTShape="IDENTITY", **white)
    np.testing.assert_array_equal(ct(tmp_path, PresentationLUTShape="INVERSE"), DEEP - 1024.0)


# --- scale


def region(x=0.01, y=None, place=None, **values):
    """A 2-D region of tissue; place is first and last column, first and last row."""
    sound = {"RegionSpatialFormat": 1, "RegionDataType": 1, "RegionFlags": 0}
    sound |= {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    sound |= {"PhysicalDeltaX": x, "PhysicalDeltaY": x if y is None else y}
    if place is not None:
        names = ("MinX0", "MaxX1", "MinY0", "MaxY1")
        sound |= {f"RegionLocation{name}": edge for name, edge in zip(names, place, strict=True)}
    return item(**sound | values)


def scale_at(folder, box, *regions, **values):
    """Writes ultrasound with these regions and returns the scale at a box of x, y, width and height."""
    if regions:
        values["SequenceOfUltrasoundRegions"] = Sequence(regions)
    path = folder / "x.dcm"
    dicom(path, GREY, **values)
    return scale(path, files.open_file(path), box)


LEFT, RIGHT = (0, 31, 0, 47), (32, 63, 0, 47)
IN_LEFT, IN_RIGHT, ACROSS, BELOW = (4, 4, 8, 8), (40, 4, 8, 8), (28, 4, 8, 8), (4, 40, 4, 4)


@row("SequenceOfUltrasoundRegions")
def test_the_region_that_holds_the_nodule_has_its_scale(tmp_path):
    fine, coarse = region(0.01, place=LEFT), region(0.02, place=RIGHT)
    assert scale_at(tmp_path, IN_LEFT, fine, coarse) == pytest.approx(0.1)
    assert scale_at(tmp_path, IN_RIGHT, fine, coarse) == pytest.approx(0.2)
    assert scale_at(tmp_path, None, fine, coarse) is None  # where the nodule lies is not known
    assert scale_at(tmp_path, None, fine, region(0.01, place=RIGHT)) == pytest.approx(0.1)
    assert scale_at(tmp_path, ACROSS, fine, region(0.01, place=RIGHT)) == pytest.approx(0.1)
    assert scale_at(tmp_path, ACROSS, fine) == pytest.approx(0.1)
    said = "the nodule lies across regions of different scale (0.1 x 0.1 and 0.2 x 0.2 mm)"
    refused("SequenceOfUltrasoundRegions", said, scale_at, tmp_path, ACROSS, fine, coarse)
    assert scale_at(tmp_path, IN_RIGHT, fine) is None
    assert scale_at(tmp_path, IN_RIGHT, fine, PixelSpacing=["0.3", "0.3"]) is None
    assert scale_at(tmp_path, IN_LEFT) is None


@row("SequenceOfUltrasoundRegions", "PhysicalDeltaX", "PhysicalDeltaY")
@pytest.mark.parametrize(
    "other",
    [
        {"x": 0.008, "y": 0.0085},
        {"x": 0.0},
        {"x": 0.01, "PhysicalUnitsXDirection": 4},
        {"x": 5.0},
        {"x": float("nan")},
        {"x": 0.02, "RegionSpatialFormat": 3},
    ],
)
def test_regions_elsewhere_have_no_say(tmp_path, other):
    fine, elsewhere = region(0.01, place=LEFT), region(place=RIGHT, **other)
    assert scale_at(tmp_path, IN_LEFT, fine, elsewhere) == pytest.approx(0.1)
    path = tmp_path / "x.dcm"
    pixels, side = read_ultrasound(path, files.open_file(path), None)
    np.testing.assert_array_equal(pixels, GREY)
    assert side is None or side == pytest.approx(0.1)


@row("PhysicalDeltaX", "PhysicalDeltaY")
def test_pixels_at_the_nodule(tmp_path):
    for name in ("PhysicalDeltaX", "PhysicalDeltaY"):
        assert scale_at(tmp_path, IN_LEFT, region(0.01, place=LEFT, **{name: -0.01})) == pytest.approx(0.1)
        half = region(0.01, place=LEFT)
        delattr(half, name)
        assert scale_at(tmp_path, IN_LEFT, half) is None
    said = "pixels of 0.2 x 0.1 mm; expected squares"
    refused("PhysicalDeltaX", said, scale_at, tmp_path, IN_LEFT, region(0.01, 0.02, place=LEFT))
    with pytest.raises(InputError, match="pixels of 50 x 50 mm; expected a side"):
        scale_at(tmp_path, IN_LEFT, region(5.0, place=LEFT))
    zeros = [region(0.008), region(0.0)]  # neither says where it lies
    assert scale_at(tmp_path, IN_LEFT, *zeros) == scale_at(tmp_path, None, *zeros) == pytest.approx(0.08)


@row("RegionSpatialFormat", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection", "RegionDataType")
def test_which_regions_are_calibrated(tmp_path):
    for name, value in (
        *(("RegionSpatialFormat", other) for other in (0, 2, 3, 4, 5)),
        *(("PhysicalUnitsXDirection", other) for other in (0, 4, 7)),
        *(("PhysicalUnitsYDirection", other) for other in (0, 4, 7)),
    ):
        assert scale_at(tmp_path, IN_LEFT, region(0.01, place=LEFT, **{name: value})) is None
    for kind in (1, 2, 15):
        assert scale_at(tmp_path, IN_LEFT, region(place=LEFT, RegionDataType=kind)) == pytest.approx(0.1)


@row("RegionFlags")
def test_priority_where_regions_overlap(tmp_path):
    whole, inset = (0, 63, 0, 47), (0, 20, 0, 20)
    low, high = {"RegionFlags": 1}, {"RegionFlags": 2}  # bit 0 is low priority; bit 1 is another matter
    below, above = region(0.01, place=whole, **low), region(0.02, place=inset, **high)
    assert scale_at(tmp_path, IN_LEFT, below, above) == pytest.approx(0.2)
    assert scale_at(tmp_path, IN_RIGHT, below, above) == pytest.approx(0.1)
    equal = region(0.01, place=whole), region(0.02, place=inset)
    assert scale_at(tmp_path, IN_LEFT, *equal) is None
    assert scale_at(tmp_path, (18, 4, 8, 8), *equal) == pytest.approx(0.1)  # whole in one of them


@row("RegionLocationMinX0", "RegionLocationMaxX1", "RegionLocationMinY0", "RegionLocationMaxY1")
def test_edges_of_regions(tmp_path):
    places = region(0.01, place=(10, 19, 20, 29)), region(0.02, place=(20, 29, 20, 29))
    assert scale_at(tmp_path, (10, 20, 10, 10), *places) == pytest.approx(0.1)
    assert scale_at(tmp_path, (19, 20, 1, 1), *places) == pytest.approx(0.1)
    assert scale_at(tmp_path, (20, 29, 1, 1), *places) == pytest.approx(0.2)
    for outside in ((9, 20, 1, 1), (30, 20, 1, 1), (10, 19, 1, 1), (10, 30, 1, 1)):
        assert scale_at(tmp_path, outside, *places) is None
    assert scale_at(tmp_path, (5, 15, 6, 6), *places) == pytest.approx(0.1)  # one pixel lies in it


@row("PixelSpacing", "PixelAspectRatio")
def test_spacing_in_the_patient(tmp_path):
    square, oblong = ["0.5", "0.5"], ["0.5", "0.6"]
    assert scale_at(tmp_path, IN_LEFT, PixelSpacing=square) == 0.5
    assert scale_at(tmp_path, IN_LEFT, region(0.0, place=LEFT), PixelSpacing=square) == 0.5
    assert scale_at(tmp_path, IN_LEFT, region(0.01, place=LEFT), PixelSpacing=square) == pytest.approx(0.1)
    path = tmp_path / "x.dcm"
    dicom(path, DEEP, CT_SOP, PixelSpacing=square, **HU)
    assert read_tomography(path, files.open_file(path), None)[1] == 0.5
    said = "pixels of 0.5 x 0.6 mm; expected squares"
    refused("PixelSpacing", said, scale_at, tmp_path, None, PixelSpacing=oblong)
    refused("PixelSpacing", said, ct, tmp_path, PixelSpacing=oblong)
    refused("PixelSpacing", "PixelSpacing is 0.5; expected two numbers", ct, tmp_path, PixelSpacing="0.5")
    said = "pixels of 4 to 3 (PixelAspectRatio); expected squares"
    for call in (
        lambda **values: scale_at(tmp_path, IN_LEFT, **values),
        lambda **values: ct(tmp_path, **values),
    ):
        refused("PixelAspectRatio", said, call, PixelAspectRatio=["4", "3"])
        call(PixelAspectRatio=["1", "1"])
        call(PixelAspectRatio=["4", "3"], PixelSpacing=square)
    values = {"PixelAspectRatio": ["4", "3"]}
    assert scale_at(tmp_path, IN_LEFT, region(0.01, place=LEFT), **values) == pytest.approx(0.1)


@row("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelSpacingCalibrationType")
def test_other_spacings_are_not_in_the_patient(tmp_path):
    for name in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        assert scale_at(tmp_path, IN_LEFT, **{name: ["0.3", "0.3"]}) is None
        values = {name: ["0.3", "0.4"], "PixelSpacing": ["0.5", "0.5"]}
        assert scale_at(tmp_path, IN_LEFT, **values) == 0.5
        path = tmp_path / "x.dcm"
        dicom(path, DEEP, CT_SOP, **HU, **{name: ["0.3", "0.3"]})
        assert read_tomography(path, files.open_file(path), None)[1] is None
    values = {"PixelSpacing": ["0.5", "0.5"], "PixelSpacingCalibrationType": "FIDUCIAL"}
    assert scale_at(tmp_path, IN_LEFT, **values) == 0.5


# --- Hounsfield units


@row("RescaleSlope", "RescaleIntercept")
def test_slope_and_intercept(tmp_path):
    shown = ct(tmp_path, RescaleSlope="0.25", RescaleIntercept="-1000.5")
    np.testing.assert_array_equal(shown, DEEP * 0.25 - 1000.5)
    assert shown.dtype == np.float32
    path = tmp_path / "x.dcm"
    for name in HU:
        dicom(path, DEEP, CT_SOP, **{other: value for other, value in HU.items() if other != name})
        said = "no RescaleSlope and RescaleIntercept, so its values are not HU"
        refused("RescaleSlope", said, again, tmp_path, read=read_tomography)
    refused("RescaleSlope", "RescaleSlope is 0", ct, tmp_path, RescaleSlope="0")
    np.testing.assert_array_equal(us(tmp_path, RescaleSlope="2", RescaleIntercept="-7"), GREY)
    np.testing.assert_array_equal(us(tmp_path, RescaleSlope="-1", RescaleIntercept="255"), 255 - GREY)


@row("RescaleType")
def test_units(tmp_path):
    assert ct(tmp_path, RescaleType="HU")[0, 0] == ct(tmp_path)[0, 0] == 5 - 1024
    assert ct(tmp_path, RescaleType="US", ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])[0, 0] == 5 - 1024
    path = tmp_path / "x.dcm"
    data = dicom(path, DEEP, CT_SOP, RescaleType="US", ImageType=["DERIVED", "SECONDARY"], **HU)
    said = "its values are in US (RescaleType); expected HU"
    with pytest.raises(InputError, match=re.escape(said)):
        again(tmp_path, read=read_tomography)
    data.file_meta.ImplementationVersionName = "GDCM 3.0.24"
    data.save_as(path, enforce_file_format=True)
    assert again(tmp_path, read=read_tomography)[0][0, 0] == 5 - 1024
    with pytest.raises(InputError, match="multi-energy CT without a RescaleType"):
        ct(tmp_path, RescaleType="US", ImageType=["ORIGINAL"], MultienergyCTAcquisition="YES")
    for unit in ("US", "ED", "EDW", "Z_EFF", "MGML", "HU_MOD", "PCT", "OD"):
        with pytest.raises(InputError, match=rf"its values are in {unit} \(RescaleType\); expected HU"):
            ct(tmp_path, RescaleType=unit)
    refused("RescaleType", "its values are in ED (RescaleType); expected HU", ct, tmp_path, RescaleType="ED")
    slices = sitk.GetImageFromArray(DEEP.astype(np.int16) - 1024)
    slices.SetMetaData("0008|0060", "CT")
    slices.SetMetaData("0008|0016", CT_SOP)
    sitk.WriteImage(slices, path)
    assert str(pydicom.dcmread(path).RescaleType) == "US"
    np.testing.assert_array_equal(again(tmp_path, read=read_tomography)[0], DEEP - 1024.0)
    refused("RescaleType", "no CT image without a RescaleType; expected HU", ct, tmp_path, sop=SC)


@row(
    *("PixelValueTransformationSequence", "PerFrameFunctionalGroupsSequence"),
    "SharedFunctionalGroupsSequence",
)
def test_functional_groups(tmp_path):
    shared = frame_group("2", spacing="0.7")
    first, second = frame_group("1"), frame_group("3", spacing="0.6")
    for frame, slope, side in ((0, 1, 0.7), (1, 3, 0.6)):
        values, spacing = enhanced(tmp_path, frame, first, second, shared=shared)
        np.testing.assert_array_equal(values, DEEP * float(slope) - 10)
        assert spacing == side
    values, spacing = enhanced(tmp_path, 2, shared=shared, frames=3)
    np.testing.assert_array_equal(values, DEEP * 2.0 - 10)
    assert spacing == 0.7
    values, _ = enhanced(tmp_path, 0, first, second, **HU)  # the frame's own before the file's
    np.testing.assert_array_equal(values, DEEP - 10.0)
    with pytest.raises(InputError, match="its values are in MGML"):
        enhanced(tmp_path, 1, first, frame_group("1", unit="MGML"))
    said = "functional groups of 1 frames, pixels of 2"
    refused("PerFrameFunctionalGroupsSequence", said, enhanced, tmp_path, 0, first, frames=2)


@row("RealWorldValueMappingSequence")
def test_real_world_values(tmp_path):
    def mapping(unit, slope, intercept):
        code = sequence(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning=unit)
        return sequence(
            MeasurementUnitsCodeSequence=code, RealWorldValueSlope=slope, RealWorldValueIntercept=intercept
        )

    same, other, iodine = (
        mapping(*values)
        for values in (("[hnsf'U]", 1.0, -1024.0), ("[hnsf'U]", 2.0, 0.0), ("mg/cm3", 0.1, 0.0))
    )
    expected = DEEP - 1024.0
    np.testing.assert_array_equal(ct(tmp_path, RealWorldValueMappingSequence=same), expected)
    shown = ct(tmp_path, RealWorldValueMappingSequence=iodine, RescaleType="HU")
    np.testing.assert_array_equal(shown, expected)
    said = "HU by real-world values and by RescaleSlope differ"
    refused("RealWorldValueMappingSequence", said, ct, tmp_path, RealWorldValueMappingSequence=other)
    said = "real-world values in mg/cm3 without a RescaleType of HU"
    refused("RealWorldValueMappingSequence", said, ct, tmp_path, RealWorldValueMappingSequence=iodine)
    group = frame_group("1", unit="")
    group.RealWorldValueMappingSequence = iodine
    refused("RealWorldValueMappingSequence", said, enhanced, tmp_path, 0, group)
    np.testing.assert_array_equal(us(tmp_path, RealWorldValueMappingSequence=iodine), GREY)


# --- frames, overlays, coding


@row("ConcatenationUID", "StereoPairsPresent", "FrameIncrementPointer")
def test_frames_are_counted_within_a_file(tmp_path):
    clip = np.stack([GREY, 255 - GREY])
    values = {"ConcatenationUID": "1.2.3", "InConcatenationNumber": 2, "ConcatenationFrameOffsetNumber": 40}
    values |= {"StereoPairsPresent": "YES", "FrameIncrementPointer": 0x00181063, "FrameTime": "40"}
    for frame, expected in enumerate(clip):
        np.testing.assert_array_equal(us(tmp_path, clip, frame=frame, **values), expected)


@row(
    *("LossyImageCompression", "SmallestImagePixelValue", "LargestImagePixelValue", "ICCProfile"),
    *("PixelIntensityRelationship", "UltrasoundColorDataPresent"),
)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LossyImageCompression", "01"),
        ("SmallestImagePixelValue", 90),
        ("LargestImagePixelValue", 100),
        ("PixelIntensityRelationship", "LOG"),
        ("UltrasoundColorDataPresent", 1),
        ("ICCProfile", b"\0" * 128),
    ],
)
def test_attributes_without_influence(tmp_path, name, value):
    np.testing.assert_array_equal(us(tmp_path, **{name: value}), GREY)
    np.testing.assert_array_equal(us(tmp_path, RGB, **{name: value}), RGB)
    np.testing.assert_array_equal(ct(tmp_path, **{name: value}), DEEP - 1024.0)


@row("OverlayData", "IconImageSequence")
def test_overlays_and_icons_are_not_drawn(tmp_path):
    path = tmp_path / "x.dcm"
    data = dicom(path, GREY)
    for tag, kind, value in (
        *((0x10, "US", 48), (0x11, "US", 64), (0x40, "CS", "G"), (0x50, "SS", [1, 1])),
        *((0x100, "US", 1), (0x102, "US", 0), (0x3000, "OW", b"\xff" * (48 * 64 // 8))),
    ):
        data.add_new((0x6000, tag), kind, value)
    icon = dicom(tmp_path / "icon.dcm", 255 - GREY[:8, :8])
    data.IconImageSequence = Sequence(
        [
            item(
                **{
                    name: icon.get(name)
                    for name in (
                        "Rows",
                        "Columns",
                        "BitsAllocated",
                        "BitsStored",
                        "HighBit",
                        "PixelRepresentation",
                    )
                }
                | {
                    "SamplesPerPixel": 1,
                    "PhotometricInterpretation": "MONOCHROME2",
                    "PixelData": icon.PixelData,
                }
            )
        ]
    )
    data.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(again(tmp_path), GREY)


# --- names


CLEAN = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "basic profile, dummy values"}


def named(folder, **values):
    dicom(folder / "x.dcm", GREY, **values)
    files.open_file(folder / "x.dcm")


@row("PatientName", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence")
@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("THYR-0012", "THYR-0012"),
        ("THYR-0012^^^^", "THYR-0012"),
        ("THYR012", "THYR012_US1"),  # subject and session, as XNAT writes them
        ("Anonymous", "4711"),
        ("ANON^PATIENT", "4711"),
        ("Anonymized1", "4711"),
        ("Patient_017", "4711"),
        ("Removed", ""),
        ("REDACTED^NAME", "X"),
        ("de-identified", "X"),
    ],
)
def test_dummy_names_are_accepted(tmp_path, name, patient):
    named(tmp_path, PatientName=name, PatientID=patient, **CLEAN)
    coded = sequence(CodeValue="113100", CodingSchemeDesignator="DCM", CodeMeaning="Basic Profile")
    values = {"PatientIdentityRemoved": "YES", "DeidentificationMethodCodeSequence": coded}
    named(tmp_path, PatientName=name, PatientID=patient, **values)
    said = "names a person or a place (PatientName)"
    values = {"PatientName": name, "PatientID": patient}
    refused("PatientName", said, named, tmp_path, PatientIdentityRemoved="YES", **values)  # no method
    with pytest.raises(InputError, match=r"names a person or a place \(PatientName"):
        named(tmp_path, DeidentificationMethod="basic profile", **values)
    said = "names a person or a place (PatientID)"
    refused("PatientIdentityRemoved", said, named, tmp_path, PatientID="4711")


@row("PatientName")
@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("Doe^Jane", "4711"),
        ("Doe^Jane", "Doe^Jane"),  # written into both is no pseudonym
        ("Doe", "Doe"),
        ("Doe^Anonymous", "4711"),
        ("Müller Anna", "4711"),
        ("4711", "0012"),  # a number that is not the pseudonym's
        ("山田^太郎", "4711"),
        ("De^La", "4711"),
        ("Doe^4711", "4711"),
    ],
)
def test_names_are_refused_though_the_file_says_it_is_clean(tmp_path, name, patient):
    values = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": name, "PatientID": patient}
    said = "names a person or a place (PatientName)"
    refused("PatientName", said, named, tmp_path, **values, **CLEAN)


@row("PatientBirthDate", "AccessionNumber", "InstitutionName", "BurnedInAnnotation")
def test_dummies_of_other_attributes(tmp_path):
    sound = {
        "PatientBirthDate": ("19000101", "00010101"),
        "AccessionNumber": ("0", "00000000", "REMOVED", "THYR-0012"),
        "ReferringPhysicianName": ("Anonymous", "THYR-0012"),
        "ContentCreatorName": ("ANON",),
        "BurnedInAnnotation": ("NO", ""),
    }
    for name, dummies in sound.items():
        for value in dummies:
            named(tmp_path, PatientID="THYR-0012", **{name: value}, **CLEAN)
    for name, value in (
        ("PatientBirthDate", "19700101"),
        ("PatientBirthDate", "19010101"),
        ("AccessionNumber", "20190412"),
        ("InstitutionName", "Anonymous"),
        ("InstitutionName", "St. Elsewhere"),
        ("BurnedInAnnotation", "YES"),
    ):
        said = f"names a person or a place ({name})"
        refused(name, said, named, tmp_path, PatientID="THYR-0012", **{name: value}, **CLEAN)
    for name in ("OperatorsName", "PerformingPhysicianName", "OtherPatientNames", "PatientComments"):
        with pytest.raises(InputError, match=name):
            named(tmp_path, PatientID="THYR-0012", **{name: "Anonymous"}, **CLEAN)
    number = sequence(PatientID="4711")
    with pytest.raises(InputError, match="OtherPatientIDsSequence"):
        named(tmp_path, PatientID="THYR-0012", OtherPatientIDsSequence=number, **CLEAN)
    hidden = Sequence([item(ModifiedAttributesSequence=sequence(PatientName="Doe^Jane"))])
    with pytest.raises(InputError, match="PatientName"):
        named(tmp_path, PatientID="THYR-0012", OriginalAttributesSequence=hidden, **CLEAN)


# --- the page itself


def test_every_row_of_the_page_has_a_test_and_every_test_a_row():
    assert set(ROWS) == TESTED
    assert len(ROWS) >= 70


@pytest.mark.parametrize("keyword", ROWS)
def test_tags_of_the_page_are_those_of_the_dictionary(keyword):
    written = ROWS[keyword][0].replace("60xx", "6000").replace(",", "")
    found = {"OverlayData": 0x60003000, "OverlayBitPosition": 0x60000102}.get(
        keyword, tag_for_keyword(keyword)
    )
    assert written == f"{found:08X}"


def test_the_page_has_every_attribute_of_the_modules():
    """The module tables are those that highdicom makes of PS3.3."""
    tables = json.loads(
        (Path(highdicom.__file__).parent / "_standard" / "module_attribute_map.json").read_text()
    )
    modules = [
        *("image-pixel", "general-image", "us-image", "us-region-calibration", "multi-frame", "cine"),
        *("frame-pointers", "palette-color-lookup-table", "voi-lut", "modality-lut", "overlay-plane"),
        *("multi-frame-overlay", "ct-image", "multi-energy-ct-image", "enhanced-ct-image", "icc-profile"),
        *("enhanced-multi-energy-ct-acquisition", "sc-image", "sc-multi-frame-image"),
        *("sc-multi-frame-vector", "supplemental-palette-color-lookup-table"),
        "enhanced-ct-image-multi-frame-functional-groups",
    ]
    levels = ([], ["SequenceOfUltrasoundRegions"], ["SharedFunctionalGroupsSequence"])
    keywords = {row["keyword"] for module in modules for row in tables[module] if row["path"] in levels}
    assert len(keywords) > 250
    words = set(re.findall(r"\w+", PAGE.read_text()))
    red = {name: re.sub("Green|Blue", "Red", name) for name in keywords}
    assert {name for name in keywords if name not in words and red[name] not in words} == set()
