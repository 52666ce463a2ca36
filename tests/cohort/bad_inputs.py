"""A sound tiny cohort, and one builder for every kind of bad input of docs/reference/bad-inputs.md."""

from __future__ import annotations

import csv
import gzip
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pydicom
import yaml
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicom_files import CT_SOP, US_SOP, dicom

GREY = cv2.GaussianBlur(np.random.default_rng(3).integers(20, 200, (48, 64), dtype=np.uint8), (0, 0), 1.5)
MASK = np.zeros((48, 64), dtype=np.uint8)
MASK[16:30, 20:40] = 1
NODULES = 8
Builder = Callable[["Sound"], None]
BUILDERS: dict[str, Builder] = {}


def bad(kind: str) -> Callable[[Builder], Builder]:
    """Registers a builder under the kind that stands in the first column of the table."""

    def register(builder: Builder) -> Builder:
        assert kind not in BUILDERS
        BUILDERS[kind] = builder
        return builder

    return register


class Sound:
    """A cohort that everything accepts: eight patients with a nodule, each with a US and a CT picture."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in ("us", "ct"):
            (root / part).mkdir(parents=True)
        self.nodules = []
        self.images = []
        for n in range(1, NODULES + 1):
            labels = {"lnm_central": str(n % 2), "lnm_lateral": str(n // 2 % 2)}
            self.nodules.append({"patient_id": f"P{n}", "nodule_id": f"N{n}", "cohort": "main", **labels})
            for modality, view in (("us", "transverse"), ("ct", "axial")):
                self.picture(f"{modality}/{n}.png", np.roll(GREY, n, axis=1))
                self.picture(f"{modality}/{n}_mask.png", MASK * 255)
                row = {
                    "nodule_id": f"N{n}",
                    "modality": modality,
                    "view": view,
                    "image": f"{modality}/{n}.png",
                }
                row |= {
                    "mask": f"{modality}/{n}_mask.png",
                    "spacing_mm": "0.1",
                    "slice": "",
                    "window_level": "",
                }
                self.images.append(row)
        self.raw: dict[str, bytes] = {}

    def picture(self, name: str, pixels: np.ndarray, *options: int) -> None:
        self.bytes(name, cv2.imencode(Path(name).suffix, pixels, options)[1].tobytes())

    def bytes(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)

    def us(self, **cells: str) -> None:
        """Changes cells of the first US row."""
        self.images[0] |= cells

    def ct(self, **cells: str) -> None:
        """Changes cells of the first CT row."""
        self.images[1] |= cells

    def table(self, name: str) -> str:
        rows = self.nodules if name == "nodules.csv" else self.images
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    def volume(self, values: np.ndarray, affine: np.ndarray | None = None, index: str = "1") -> None:
        """Makes the first CT image a NIfTI volume with a mask in every slice."""
        affine = np.diag([0.5, 0.5, 1, 1]) if affine is None else affine
        drawn = np.zeros(values.shape, dtype=np.uint8)
        drawn[20:40, 16:30] = 1
        for name, voxels in (("ct/1.nii", values), ("ct/1_mask.nii", drawn)):
            nib.save(nib.Nifti1Image(voxels, affine), self.root / name)
        self.ct(image="ct/1.nii", mask="ct/1_mask.nii", slice=index)

    def save(self) -> None:
        for name in ("nodules.csv", "images.csv"):
            self.bytes(name, self.raw.get(name, self.table(name).encode()))


VOLUME = np.full((64, 48, 3), 60, dtype=np.int16)
WINDOW = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())["preprocess"]
# HU that the settings' window turns into the first CT picture
SEEN = WINDOW["window_level"] + (np.roll(GREY, 1, axis=1) / 255 - 0.5) * WINDOW["window_width"]
DISPLAYED = np.diag([-0.5, -0.5, 1, 1])  # rows stored to posterior, columns to the left
SEEN = np.repeat(SEEN.T[:, :, None], 3, axis=2).astype(np.float32)

# tables


@bad("no table of nodules")
def _(c):
    c.save = lambda: c.bytes("images.csv", c.table("images.csv").encode())


@bad("a column is missing")
def _(c):
    c.nodules = [{key: row[key] for key in row if key != "cohort"} for row in c.nodules]


@bad("a column stands twice")
def _(c):
    c.raw["nodules.csv"] = (
        c.table("nodules.csv").replace("\n", ",main\n").replace(",main", ",cohort", 1).encode()
    )


@bad("a column nobody expects")
def _(c):
    c.images = [row | {"measurment_lines": ""} for row in c.images]


@bad("byte order mark")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").encode("utf-8-sig")


@bad("semicolons")
def _(c):
    c.raw["images.csv"] = c.table("images.csv").replace(",", ";").encode()


@bad("Windows line ends")
def _(c):
    c.raw["images.csv"] = c.table("images.csv").replace("\n", "\r\n").encode()


@bad("old Mac line ends")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").replace("\n", "\r").encode()


@bad("Latin-1 text")
def _(c):
    c.nodules[0]["location"] = "r\N{LATIN SMALL LETTER U WITH DIAERESIS}ckw."
    c.nodules = [row | {"location": row.get("location", "")} for row in c.nodules]
    c.raw["nodules.csv"] = c.table("nodules.csv").encode("latin-1")


@bad("UTF-16 text")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").encode("utf-16")


@bad("a quote that is not closed")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").replace("P8,", '"P8,').encode()


@bad("more cells than columns")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").replace("P2,N2,main,0,1", "P2,N2,main,0,1,yes").encode()


@bad("fewer cells than columns")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").replace("P2,N2,main,0,1", "P2,N2").encode()


@bad("a table without rows")
def _(c):
    c.raw["images.csv"] = c.table("images.csv").split("\n")[0].encode()


@bad("an empty file for a table")
def _(c):
    c.raw["nodules.csv"] = b""


@bad("a NUL in a table")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").replace("P3", "P\0").encode()


@bad("a row of images.csv twice")
def _(c):
    c.images.append(dict(c.images[0]))


@bad("a column of the nodules nobody expects")
def _(c):
    c.nodules = [row | {"surgeon": "A"} for row in c.nodules]


@bad("tabs")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").replace(",", "\t").encode()


@bad("empty columns at the end")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").replace("\n", ",,\n").encode()


@bad("a column without a name")
def _(c):
    c.nodules = [{"": ""} | row for row in c.nodules]


@bad("a column of another spelling")
def _(c):
    c.raw["nodules.csv"] = c.table("nodules.csv").replace("patient_id", "Patient ID").encode()


@bad("a cell of 200,000 letters")
def _(c):
    c.nodules = [row | {"note": "x" * 200_000} for row in c.nodules]


@bad("a table that is none of ours")
def _(c):
    c.raw["nodules.csv"] = ",".join(str(n) for n in range(1, 501)).encode()


@bad("two faults")
def _(c):
    c.nodules[0]["cohort"] = ""
    c.nodules[7]["lnm_central"] = "-"


# ids, labels and numbers


@bad("a nodule twice")
def _(c):
    c.nodules.append(dict(c.nodules[2]))


@bad("an id that a spreadsheet would run")
def _(c):
    c.nodules[0]["patient_id"] = "=1+1"


@bad("a patient under two spellings")
def _(c):
    c.nodules[1]["patient_id"] = "p01"


@bad("an empty patient_id")
def _(c):
    c.nodules[0]["patient_id"] = ""


@bad("a patient in main and external")
def _(c):
    c.nodules[1] |= {"patient_id": "P1", "cohort": "external"}


@bad("a cohort of another name")
def _(c):
    c.nodules[0]["cohort"] = "train"


@bad("label NaN")
def _(c):
    c.nodules[0]["lnm_central"] = "NaN"


@bad("label yes")
def _(c):
    c.nodules[0]["lnm_central"] = "yes"


@bad("label 2")
def _(c):
    c.nodules[0]["lnm_lateral"] = "2"


@bad("a label of 5,000 letters")
def _(c):
    c.nodules[0]["lnm_central"] = "x" * 5000


@bad("label 1.0")
def _(c):
    c.nodules[0]["lnm_central"] = "1.0"


@bad("unknown modality")
def _(c):
    c.us(modality="MRI")


@bad("unknown view")
def _(c):
    c.us(view="oblique")


@bad("spacing with a decimal comma")
def _(c):
    c.us(spacing_mm="0,1")


@bad("spacing 0")
def _(c):
    c.us(spacing_mm="0")


@bad("negative spacing")
def _(c):
    c.us(spacing_mm="-0.1")


@bad("spacing NaN")
def _(c):
    c.us(spacing_mm="nan")


@bad("spacing in micrometres")
def _(c):
    c.us(spacing_mm="100")


@bad("negative slice")
def _(c):
    c.ct(slice="-1")


@bad("infinite window level")
def _(c):
    c.ct(window_level="1e999")


@bad("spacing in metres")
def _(c):
    c.us(spacing_mm="0.0001")


@bad("spacing in the table other than in the file")
def _(c):
    region = Dataset()
    region.RegionSpatialFormat = 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = region.PhysicalDeltaY = 0.02
    dicom(c.root / "us/1.dcm", np.roll(GREY, 1, axis=1), SequenceOfUltrasoundRegions=Sequence([region]))
    c.us(image="us/1.dcm")


@bad("a slice with an underscore")
def _(c):
    c.ct(slice="1_0")


@bad("a slice of thirty digits")
def _(c):
    c.ct(slice="1" * 30)


@bad("CT in a US view")
def _(c):
    c.ct(view="transverse")


@bad("US in the CT view")
def _(c):
    c.us(view="axial")


@bad("a number of nodules beyond all")
def _(c):
    c.nodules = [row | {"n_malignant_nodules": ""} for row in c.nodules]
    c.nodules[0]["n_malignant_nodules"] = "1" * 30


@bad("an image of an unknown nodule")
def _(c):
    c.us(nodule_id="N99")


@bad("a nodule without CT")
def _(c):
    c.images = [row for row in c.images if row["image"] != "ct/8.png"]


@bad("nodules without any image")
def _(c):
    c.images = [row for row in c.images if row["nodule_id"] == "N99"] + c.images[:2]


@bad("all labels of a site missing")
def _(c):
    for row in c.nodules:
        row["lnm_lateral"] = ""


@bad("only one class")
def _(c):
    for row in c.nodules:
        row |= {"lnm_central": "0", "lnm_lateral": ""}


@bad("too few patients for the folds")
def _(c):
    for row in c.nodules:
        row["patient_id"] = "P1"


# paths and files


@bad("an empty path")
def _(c):
    c.us(mask="")


@bad("a picture of two patients")
def _(c):
    c.images.append(c.images[0] | {"nodule_id": "N2"})


@bad("a picture of two spellings")
def _(c):
    c.images.append(c.images[0] | {"image": "us/./1.png"})


@bad("an absolute path")
def _(c):
    c.us(image="/etc/hostname")


@bad("a path that leads up")
def _(c):
    c.us(image="../elsewhere.png")


@bad("backslashes")
def _(c):
    c.us(image="us\\1.png")


@bad("a link out of the folder")
def _(c):
    (c.root / "us/link.png").symlink_to("/etc/hostname")
    c.us(image="us/link.png")


@bad("a missing file")
def _(c):
    (c.root / "us/1.png").unlink()


@bad("a folder in place of a file")
def _(c):
    c.us(image="us")


@bad("a name longer than the file system takes")
def _(c):
    c.us(image="x" * 300 + ".png")


@bad("a file of an unknown kind")
def _(c):
    c.bytes("us/1.mat", b"MATLAB")
    c.us(image="us/1.mat")


@bad("an empty picture file")
def _(c):
    c.bytes("us/1.png", b"")


@bad("text named .png")
def _(c):
    c.bytes("us/1.png", b"not a picture")


@bad("truncated JPEG")
def _(c):
    whole = cv2.imencode(".jpg", GREY)[1].tobytes()
    c.bytes("us/1.jpg", whole[: len(whole) // 8])
    c.us(image="us/1.jpg")


@bad("truncated PNG")
def _(c):
    c.bytes("us/1.png", (c.root / "us/1.png").read_bytes()[:60])


@bad("a PNG that claims 100,000 x 100,000 pixels")
def _(c):
    parts = (b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0),)
    parts += (b"IDAT" + zlib.compress(bytes(1000)), b"IEND")
    whole = b"".join(struct.pack(">I", len(p) - 4) + p + struct.pack(">I", zlib.crc32(p)) for p in parts)
    c.bytes("us/1.png", b"\x89PNG\r\n\x1a\n" + whole)


@bad("a PNG with a part longer than the file")
def _(c):
    whole = bytearray((c.root / "us/1.png").read_bytes())
    at = whole.index(b"IDAT") - 4
    whole[at : at + 4] = struct.pack(">I", 2**31 - 1)
    c.bytes("us/1.png", bytes(whole))


@bad("a JPEG that claims 30,000 x 30,000 pixels")
def _(c):
    whole = bytearray(cv2.imencode(".jpg", GREY)[1].tobytes())
    at = whole.index(b"\xff\xc0") + 5  # height and width stand five bytes into the frame header
    whole[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
    c.bytes("us/1.jpg", bytes(whole))
    c.us(image="us/1.jpg")


@bad("TIFF of floating-point numbers")
def _(c):
    c.picture("us/1.tif", GREY.astype(np.float32))
    c.us(image="us/1.tif")


@bad("TIFF with pages")
def _(c):
    cv2.imwritemulti(str(c.root / "us/1.tif"), [GREY, GREY])
    c.us(image="us/1.tif")


@bad("16-bit PNG")
def _(c):
    c.picture("us/1.png", GREY.astype(np.uint16) * 257)


@bad("alpha channel")
def _(c):
    first = np.roll(GREY, 1, axis=1)
    c.picture("us/1.png", np.dstack([first, first, first, np.full_like(first, 9)]))


@bad("grey stored as colour")
def _(c):
    c.picture("us/1.png", np.repeat(np.roll(GREY, 1, axis=1)[:, :, None], 3, axis=2))


# CT


@bad("ultrasound as NIfTI")
def _(c):
    c.volume(VOLUME)
    c.us(image="ct/1.nii", mask="ct/1_mask.nii", slice="1")
    c.ct(image="ct/1.png", mask="ct/1_mask.png", slice="")


@bad("CT as 8-bit picture")
def _(c):
    c.picture("ct/1.tif", np.roll(GREY, 1, axis=1))
    c.ct(image="ct/1.tif")


@bad("broken NIfTI")
def _(c):
    c.volume(VOLUME)
    c.bytes("ct/1.nii", (c.root / "ct/1.nii").read_bytes()[:400])


@bad("NIfTI that claims 2000 x 2000 x 700 voxels")
def _(c):
    c.volume(VOLUME)
    whole = bytearray((c.root / "ct/1.nii").read_bytes())
    whole[40:48] = struct.pack("<4h", 3, 2000, 2000, 700)
    c.bytes("ct/1.nii.gz", gzip.compress(bytes(whole[:400])))
    c.ct(image="ct/1.nii.gz")


@bad("NIfTI in colour")
def _(c):
    c.volume(np.zeros((64, 48, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))


@bad("NIfTI over time")
def _(c):
    c.volume(np.stack([VOLUME, VOLUME], axis=3))


@bad("NIfTI with NaN")
def _(c):
    values = VOLUME.astype(np.float32)
    values[0, 0, 0] = np.nan
    c.volume(values)


@bad("NIfTI whose pixels are no squares")
def _(c):
    c.volume(VOLUME, np.diag([0.5, 0.7, 1, 1]))


@bad("a slice the volume does not have")
def _(c):
    c.volume(VOLUME, index="3")


@bad("a volume without a slice")
def _(c):
    c.volume(VOLUME, index="")


@bad("HU with a wrong slope")
def _(c):
    c.volume(VOLUME * 100)


@bad("unreadable DICOM")
def _(c):
    c.bytes("ct/1.dcm", b"\0" * 128 + b"DICM broken")
    c.ct(image="ct/1.dcm")


@bad("CT in DICOM without slope and intercept")
def _(c):
    dicom(c.root / "ct/1.dcm", GREY.astype(np.int16), CT_SOP)
    c.ct(image="ct/1.dcm")


def tomogram(c, **values):
    """Makes the first CT image a DICOM file with these values in place of sound ones."""
    sound = {"RescaleSlope": "1", "RescaleIntercept": "-1000", "PixelSpacing": ["0.5", "0.5"]}
    dicom(c.root / "ct/1.dcm", GREY.astype(np.int16), CT_SOP, **sound | values)
    c.ct(image="ct/1.dcm")


@bad("CT in DICOM whose intercept is a word")
def _(c):
    tomogram(c)
    whole = (c.root / "ct/1.dcm").read_bytes()
    c.bytes("ct/1.dcm", whole.replace(b"-1000 ", b"minus "))


@bad("CT in DICOM whose intercept is NaN")
def _(c):
    tomogram(c)
    whole = (c.root / "ct/1.dcm").read_bytes()
    c.bytes("ct/1.dcm", whole.replace(b"-1000 ", b"nan   "))


@bad("CT in DICOM with one side of a pixel")
def _(c):
    tomogram(c, PixelSpacing="0.5")


@bad("CT in DICOM with pixels of half a metre")
def _(c):
    tomogram(c, PixelSpacing=["500", "500"])


@bad("DICOM that claims 65,535 x 65,535 pixels")
def _(c):
    tomogram(c, Rows=65535, Columns=65535)


@bad("DICOM ultrasound with half a scale")
def _(c):
    region = Dataset()
    region.RegionSpatialFormat = 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX = 0.02
    dicom(c.root / "us/1.dcm", np.roll(GREY, 1, axis=1), SequenceOfUltrasoundRegions=Sequence([region]))
    c.us(image="us/1.dcm")


@bad("DICOM that names a patient")
def _(c):
    dicom(c.root / "us/1.dcm", GREY, PatientName="Mueller^Anna")
    c.us(image="us/1.dcm")


@bad("DICOM clip without a frame")
def _(c):
    dicom(c.root / "us/1.dcm", np.stack([GREY, GREY]))
    c.us(image="us/1.dcm")


@bad("DICOM ultrasound with 16 bits")
def _(c):
    dicom(c.root / "us/1.dcm", GREY.astype(np.uint16))
    c.us(image="us/1.dcm")


@bad("DICOM without pixels")
def _(c):
    data = dicom(c.root / "us/1.dcm", GREY)
    del data.PixelData
    data.save_as(c.root / "us/1.dcm", enforce_file_format=True)
    c.us(image="us/1.dcm")


@bad("DICOM in an encoding nobody decodes")
def _(c):
    data = dicom(c.root / "us/1.dcm", GREY)
    data.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    data.PixelData = pydicom.encaps.encapsulate([data.PixelData])
    data["PixelData"].is_undefined_length = True
    data.save_as(c.root / "us/1.dcm", enforce_file_format=True)
    c.us(image="us/1.dcm")


def echo(c, pixels=None, sop=US_SOP, **values):
    """Makes the first US image a DICOM file of the same picture, or of these pixels, with these values."""
    dicom(c.root / "us/1.dcm", np.roll(GREY, 1, axis=1) if pixels is None else pixels, sop, **values)
    c.us(image="us/1.dcm")


@bad("DICOM ultrasound of 8 bits in 16, with junk above")
def _(c):
    echo(c, np.roll(GREY, 1, axis=1).astype(np.uint16) | 0x4200, BitsStored=8, HighBit=7)


@bad("DICOM ultrasound of 12 bits with a window")
def _(c):
    window = {"WindowCenter": "127.5", "WindowWidth": "255", "VOILUTFunction": "LINEAR_EXACT"}
    echo(c, np.roll(GREY, 1, axis=1).astype(np.uint16), BitsStored=12, HighBit=11, **window)


@bad("DICOM ultrasound with 0 for white")
def _(c):
    echo(c, 255 - np.roll(GREY, 1, axis=1), PhotometricInterpretation="MONOCHROME1")


@bad("DICOM ultrasound of a retired colour space")
def _(c):
    echo(c, np.dstack([GREY] * 3), PhotometricInterpretation="YBR_PARTIAL_422")


@bad("DICOM that calls black and white both black")
def _(c):
    echo(c, PresentationLUTShape="INVERSE")


@bad("DICOM of MR as ultrasound")
def _(c):
    echo(c, sop="1.2.840.10008.5.1.4.1.1.4", Modality="MR")


@bad("DICOM ultrasound with pixels that are no squares")
def _(c):
    region = Dataset()
    region.RegionSpatialFormat = 1
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.03, 0.04
    echo(c, SequenceOfUltrasoundRegions=Sequence([region]))


@bad("DICOM of a palette that is black")
def _(c):
    names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
    values = {f"{name}Descriptor": [256, 0, 16] for name in names}
    values |= {f"{name}Data": np.arange(256).astype("<u2").tobytes() for name in names}
    echo(c, PhotometricInterpretation="PALETTE COLOR", **values)


@bad("DICOM localizer of CT")
def _(c):
    tomogram(c, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])


@bad("DICOM map of iodine")
def _(c):
    tomogram(c, RescaleType="MGML")


@bad("DICOM screenshot of CT")
def _(c):
    tomogram(c, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")


@bad("DICOM projection of CT")
def _(c):
    tomogram(c, VolumeBasedCalculationTechnique="MAX_IP")


CLEAN = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "basic profile, dummy values"}


@bad("DICOM with a dummy for a name")
def _(c):
    echo(c, PatientID="THYR-0012", PatientName="THYR-0012", PatientBirthDate="19000101", **CLEAN)


@bad("DICOM with a name beside another PatientID")
def _(c):
    echo(c, PatientID="THYR-0012", PatientName="Doe^Jane", **CLEAN)


@bad("DICOM whose picture names the patient")
def _(c):
    echo(c, BurnedInAnnotation="YES", **CLEAN)


# masks


@bad("a missing mask")
def _(c):
    (c.root / "us/1_mask.png").unlink()


@bad("the image as its own mask")
def _(c):
    c.us(mask="us/1.png")


@bad("a DICOM mask in another frame of reference")
def _(c):
    place = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    scale = {"RescaleSlope": "1", "RescaleIntercept": "-1000", "PixelSpacing": ["0.5", "0.5"]}
    dicom(c.root / "ct/1.dcm", GREY.astype(np.int16), CT_SOP, **place, **scale, FrameOfReferenceUID="1.2.3")
    drawn = (MASK * 255).astype(np.int16)
    dicom(c.root / "ct/1_mask.dcm", drawn, CT_SOP, **place, **scale, FrameOfReferenceUID="1.2.4")
    c.ct(image="ct/1.dcm", mask="ct/1_mask.dcm")


@bad("mask of another size")
def _(c):
    c.picture("us/1_mask.png", MASK[:40] * 255)


@bad("empty mask")
def _(c):
    c.picture("us/1_mask.png", MASK * 0)


@bad("mask that covers all")
def _(c):
    c.picture("us/1_mask.png", MASK * 0 + 255)


@bad("a picture in place of a mask")
def _(c):
    c.picture("us/1_mask.png", GREY)


@bad("mask with the value 1")
def _(c):
    c.picture("us/1_mask.png", MASK)


@bad("mask with the values 1 and 2")
def _(c):
    two = MASK.copy()
    two[20:25, 25:30] = 2
    c.picture("us/1_mask.png", two)


@bad("mask as JPEG")
def _(c):
    c.picture("us/1_mask.jpg", MASK * 255, cv2.IMWRITE_JPEG_QUALITY, 95)
    c.us(mask="us/1_mask.jpg")


@bad("mask in colour")
def _(c):
    c.picture("us/1_mask.png", np.repeat(MASK[:, :, None] * np.uint8(255), 3, axis=2))


@bad("a mask that numbers nodule and gland, and the cell segment 1")
def _(c):
    c.picture("us/1_mask.png", MASK + np.roll(MASK, 16, axis=0) * np.uint8(2))
    c.images = [row | {"segment": ""} for row in c.images]
    c.us(segment="1")


@bad("a segment that the mask does not have")
def _(c):
    c.images = [row | {"segment": ""} for row in c.images]
    c.us(segment="nodule")


@bad("a mask that numbers its one region 2, beside others of 255")
def _(c):
    c.picture("us/1_mask.png", MASK * np.uint8(2))


@bad("an inverted mask")
def _(c):
    c.picture("us/1_mask.png", 255 - MASK * np.uint8(255))


@bad("a mask that leaves a frame of one pixel")
def _(c):
    whole = np.zeros_like(MASK)
    whole[1:-1, 1:-1] = 255
    c.picture("us/1_mask.png", whole)


@bad("a mask whose ground is 1")
def _(c):
    c.picture("us/1_mask.png", MASK + np.uint8(1))


@bad("a label mask of 16 bits")
def _(c):
    c.picture("us/1_mask.png", MASK.astype(np.uint16))


@bad("a mask of two colours")
def _(c):
    drawn = np.zeros((*MASK.shape, 3), np.uint8)
    drawn[MASK > 0] = 0, 0, 255
    drawn[:6, :6] = 0, 255, 0
    c.picture("us/1_mask.png", drawn)


@bad("a label with a border of 255")
def _(c):
    border = cv2.dilate(MASK, np.ones((3, 3), np.uint8)) > MASK
    c.picture("us/1_mask.png", np.where(border, 255, MASK).astype(np.uint8))


@bad("probabilities as a mask of a volume")
def _(c):
    c.volume(SEEN, DISPLAYED)
    drawn = np.zeros(SEEN.shape, dtype=np.float32)
    drawn[20:40, 16:30] = 0.9
    drawn[18:20, 16:30] = 0.3
    nib.save(nib.Nifti1Image(drawn, DISPLAYED), c.root / "ct/1_mask.nii")


@bad("a CT volume as its own mask")
def _(c):
    c.volume(np.random.default_rng(0).normal(0, 60, SEEN.shape).astype(np.int16))
    c.ct(mask="ct/1.nii")


@bad("a mask volume with another affine")
def _(c):
    c.volume(SEEN, DISPLAYED)
    drawn = np.zeros(SEEN.shape, dtype=np.uint8)
    drawn[20:40, 16:30] = 1
    nib.save(nib.Nifti1Image(drawn, np.eye(4)), c.root / "ct/1_mask.nii")


@bad("a coarse mask volume, and resample 1")
def _(c):
    c.volume(SEEN, DISPLAYED)
    drawn = np.zeros((32, 24, 3), dtype=np.uint8)
    drawn[10:20, 8:15] = 1
    affine = np.diag([-1.0, -1.0, 1, 1])
    affine[:2, 3] = -0.25
    nib.save(nib.Nifti1Image(drawn, affine), c.root / "ct/1_mask.nii")
    c.images = [row | {"resample": ""} for row in c.images]
    c.ct(resample="1")


@bad("a picture beside a volume that is stored otherwise than displayed")
def _(c):
    c.volume(SEEN, np.diag([0.5, 0.5, 1, 1]))
    c.ct(mask="ct/1_mask.png")


@bad("a picture beside a volume that is stored as displayed")
def _(c):
    c.volume(SEEN, DISPLAYED)
    c.ct(mask="ct/1_mask.png")


@bad("a segmentation of 3D Slicer without coordinates")
def _(c):
    c.volume(SEEN, DISPLAYED)
    drawn = np.zeros((3, 48, 64), np.uint8)
    drawn[:, 16:30, 20:40] = 1
    head = b"NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 64 48 3\nencoding: raw\n\n"
    c.bytes("ct/1.seg.nrrd", head + drawn.tobytes())
    c.ct(mask="ct/1.seg.nrrd")


@bad("a NRRD header that names another file")
def _(c):
    head = b"NRRD0004\ntype: unsigned char\ndimension: 3\nsizes: 64 48 3\nencoding: raw\ndata file: a.raw\n\n"
    c.bytes("ct/1.nrrd", head)
    c.ct(mask="ct/1.nrrd")


@bad("a NRRD that is none")
def _(c):
    c.bytes("ct/1.nrrd", b"nothing")
    c.ct(mask="ct/1.nrrd")


@bad("a MetaImage header that names a file elsewhere")
def _(c):
    head = b"NDims = 3\nDimSize = 64 48 3\nElementType = MET_UCHAR\nElementDataFile = ../a.raw\n"
    c.bytes("ct/1.mhd", head)
    c.ct(mask="ct/1.mhd")


@bad("a NRRD that claims 2000 x 2000 x 700 voxels")
def _(c):
    head = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 2000 2000 700\nencoding: raw\nendian: little\n\n"
    c.bytes("ct/1.nrrd", head)
    c.ct(image="ct/1.nrrd", slice="0")


@bad("resample 2")
def _(c):
    c.images = [row | {"resample": "2"} for row in c.images[:1]] + [
        row | {"resample": ""} for row in c.images[1:]
    ]


# decisions


@bad("a decision on an unknown picture")
def _(c):
    c.bytes("decisions.csv", b"image,slice,other,decision\nus/99.png,,,keep\n")


@bad("a decision that is none")
def _(c):
    c.bytes("decisions.csv", b"image,slice,other,decision\nus/1.png,,,perhaps\n")


@bad("two decisions on one picture")
def _(c):
    c.bytes("decisions.csv", b"image,slice,other,decision\nus/1.png,,,keep\nus/1.png,,,set_aside\n")


@bad("decisions without a row")
def _(c):
    c.bytes("decisions.csv", b"image,slice,other,decision\n")


@bad("different from nothing")
def _(c):
    c.bytes("decisions.csv", b"image,slice,other,decision\nus/1.png,,,different\n")
