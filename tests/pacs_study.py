"""A study of a made-up patient in a PACS, and a server that reads it there."""

from __future__ import annotations

import contextlib
import threading

import numpy as np
import pydicom
import requests
import uvicorn

from dgfnet.serve import configuration
from dgfnet.serving.access import Access
from dgfnet.serving.connection import Limits
from dgfnet.serving.pacs_routes import PacsLink
from dgfnet.serving.server import listen, scoring_app
from dicom_files import CT_SOP, dicom

TOKEN = "0123456789abcdef0123456789"
BOX = [20, 24, 70, 60]
CLIP = "1.2.840.10008.5.1.4.1.1.3.1"
# no such person; each would be found in a log, a file or a metric
SECRETS = ("Zyxwvut", "Quirin", "MRN-90210", "ACC-77123", "19310405", "Sankt-Nirgendwo", "Dr-Wxyz")
WHO = {
    **{"PatientName": "Zyxwvut^Quirin", "PatientID": "MRN-90210", "AccessionNumber": "ACC-77123"},
    **{"PatientBirthDate": "19310405", "InstitutionName": "Sankt-Nirgendwo", "StudyDate": "20260203"},
    **{"ReferringPhysicianName": "Dr-Wxyz^A", "StudyDescription": "Neck of Zyxwvut"},
    **{"PatientSex": "F", "PatientAge": "094Y"},
    **{"StudyTime": "101010", "StudyID": "S1", "Manufacturer": "none"},
}
PLACE = {"PixelSpacing": [0.5, 0.5], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SliceThickness": 2}
HU = {"RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU", "KVP": 120, "PatientPosition": "HFS"}


def changed(data, **values):
    """The same object with other attributes."""
    copied = pydicom.Dataset.from_json(data.to_json())
    copied.file_meta = data.file_meta
    for name, value in values.items():
        setattr(copied, name, value)
    return copied


def region():
    own = pydicom.Dataset()
    own.RegionSpatialFormat, own.RegionDataType, own.RegionFlags = 1, 1, 0
    own.RegionLocationMinX0 = own.RegionLocationMinY0 = 0
    own.RegionLocationMaxX1, own.RegionLocationMaxY1 = 159, 119
    own.PhysicalUnitsXDirection = own.PhysicalUnitsYDirection = 3
    own.PhysicalDeltaX = own.PhysicalDeltaY = 0.01
    return own


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (120, 160), dtype=np.uint8)


def make_study(folder):
    """An ultrasound picture, a clip and three slices of CT of one patient, and a picture of another."""
    uid = pydicom.uid.generate_uid()
    kind = ["ORIGINAL", "PRIMARY"]
    whose = {**WHO, "StudyInstanceUID": uid}
    common = {**whose, "SequenceOfUltrasoundRegions": [region()], "ImageType": kind}
    us = dicom(folder / "us.dcm", picture(1), SeriesDescription="Zyxwvut trans", **common)
    frames = np.stack([picture(seed) for seed in (11, 1, 12)])
    ways = {"SeriesNumber": 2, "FrameTime": 40, "FrameIncrementPointer": 0x00181063}
    clip = dicom(folder / "clip.dcm", frames, CLIP, **ways, **common)
    series = {
        "SeriesInstanceUID": pydicom.uid.generate_uid(),
        "SeriesNumber": 3,
        "ImageType": [*kind, "AXIAL"],
    }
    whose |= series | {"FrameOfReferenceUID": pydicom.uid.generate_uid(), "ImageType": [*kind, "AXIAL"]}
    slices = []
    for number, seed in enumerate((21, 2, 22), start=1):
        at = {"InstanceNumber": number, "ImagePositionPatient": [0, 0, 2 * number]}
        pixels = picture(seed).astype(np.uint16) + 900
        slices.append(dicom(folder / f"ct{number}.dcm", pixels, CT_SOP, **PLACE, **HU, **whose, **at))
    other = dicom(folder / "other.dcm", picture(3), **{**WHO, "PatientID": "MRN-1"})
    for data in (us, clip, other):
        del data.FrameOfReferenceUID
    return {"us": us, "clip": clip, "ct": slices, "other": other}


def everything(study):
    return [study["us"], study["clip"], *study["ct"], study["other"]]


def reference(data, frame=None):
    uids = {"study": data.StudyInstanceUID, "series": data.SeriesInstanceUID, "instance": data.SOPInstanceUID}
    return uids | ({} if frame is None else {"frame": frame})


@contextlib.contextmanager
def answering(model, pacs, sends=False, log=False, limits=None):
    """A function that asks a server with a PACS."""
    limits, access = limits or Limits(), Access(TOKEN, log=log)
    with listen("127.0.0.1", 0) as listening:
        app = scoring_app(model, "dgfnet-central", "7", limits, access, PacsLink(pacs, sends))
        server = uvicorn.Server(configuration(app, limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"

        def ask(path, content, token=TOKEN):
            headers = {"Authorization": f"Bearer {token}"}
            return requests.post(f"{address}{path}", json=content, headers=headers, timeout=60)

        ask.address = address
        yield ask
        server.should_exit = True
        thread.join(20)
