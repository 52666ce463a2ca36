#!/usr/bin/env bash
# dicomweb-client 0.61.2: store_instances() sends a data set that was made in Python without the preamble and the prefix DICM of a
# DICOM file, a server may take it all the same, and nothing can read it back: not retrieve_instance() either.
#
# Expected by most: store_instances([data]) and retrieve_instance() of the same UIDs give the same data set; parts of type
#   application/dicom are DICOM files (PS3.18, 8.7.3; PS3.10, 7.1).
# Behaviour (data set of pydicom 3.0.2, file meta information complete, stored in Orthanc 1.10.1 with DICOMweb 1.7):
#   as made                        stored, no failure   retrieve_instance: InvalidDicomError
#   data.preamble = bytes(128)     stored, no failure   retrieve_instance: equal
#   Reason: it writes with pydicom.dcmwrite(file, data), which from pydicom 3 on leaves out what is not in `preamble`
#   (enforce_file_format=False); data sets that were read from a file have one.
#
# For a user: results that a program makes are in the archive, are listed, and cannot be opened. Set the preamble, or read
# back what was sent. No report found.
# Needs Debian 12 (bookworm) with: apt install orthanc orthanc-dicomweb; nothing else is installed but in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
for package in orthanc=1.10.1+dfsg-2+deb12u1 orthanc-dicomweb=1.7+dfsg-6+b2; do
    [ "$(dpkg-query -W -f '${Version}' "${package%%=*}")" = "${package#*=}" ] || { echo "needs $package" >&2; exit 2; }
done
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dicomweb-client==0.61.2 pydicom==3.0.2 numpy==2.4.6
mkdir "$folder/store"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$folder/orthanc.json" <<JSON
{"StorageDirectory": "$folder/store", "IndexDirectory": "$folder/store", "HttpPort": $port, "DicomServerEnabled": false,
 "RemoteAccessAllowed": false, "AuthenticationEnabled": false,
 "Plugins": ["/usr/lib/orthanc/libOrthancDicomWeb.so.1.7"], "DicomWeb": {"Enable": true, "Root": "/dicom-web/"}}
JSON
Orthanc "$folder/orthanc.json" >"$folder/log.txt" 2>&1 &
server=$!
"$folder/venv/bin/python" -W ignore - "$port" <<'PYTHON'
import sys
import time

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

host = f"http://127.0.0.1:{sys.argv[1]}"


def picture():
    """Returns a picture of 4 x 4 pixels with its file meta information."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality, data.PatientID, data.PatientName, data.StudyDate = "OT", "P1", "", ""
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = bytes(16)
    return data


for _ in range(60):
    try:
        requests.get(f"{host}/system", timeout=5)
        break
    except requests.ConnectionError:
        time.sleep(0.5)
client = DICOMwebClient(f"{host}/dicom-web")
found = []
for preamble in (None, bytes(128)):
    data = picture()
    if preamble:
        data.preamble = preamble
    answer = client.store_instances([data])
    stored = [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence]
    listed = client.search_for_instances(data.StudyInstanceUID, data.SeriesInstanceUID)
    try:
        own = client.retrieve_instance(data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID)
        back = "equal" if own == data else "other"
    except InvalidDicomError:
        back = "InvalidDicomError"
    failed = len(answer.get("FailedSOPSequence") or [])
    found.append((stored == [data.SOPInstanceUID], failed, len(listed), back))
    print(f"preamble {bool(preamble)}: stored {found[-1][0]}, failures {failed}, listed {len(listed)}, fetched: {back}")
sys.exit(found != [(True, 0, 1, "InvalidDicomError"), (True, 0, 1, "equal")])
PYTHON
