#!/usr/bin/env bash
# Orthanc 1.10.1 with its DICOMweb plugin 1.7 (Debian 12): a search (QIDO-RS) takes the values of a question as they are
# written, without decoding what is percent-encoded: a patient whose number has a blank is never found, with status 200.
#
# Expected by most: /studies?PatientID=MRN%207 finds the patient "MRN 7", and %37 means the same as 7 (RFC 3986, 2.1; PS3.18,
#   8.3.1: parameters are percent-encoded).
# Behaviour (three patients "MRN 7", "MRN+7" and "MRN7" in the server; found by PatientID):
#   MRN7      MRN7            MRN%37    nothing
#   MRN%207   nothing         MRN+7     MRN+7        (as HTML forms and dicomweb-client 0.61.2 write a blank)
#   MRN%2B7   nothing         MRN?7     MRN 7, MRN+7 (a wildcard for any letter, written as it is)
#   mrn7      MRN7            in small letters: another patient's number where numbers differ by case
#
# For a user: an accession or patient number with a blank, a slash, an umlaut or a plus gives an empty list and no fault, and
# a search for one number can find another's. Ask with ? in place of such letters, and compare what comes back. No report found.
# Needs Debian 12 (bookworm) with: apt install orthanc orthanc-dicomweb; nothing else is installed but in a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
for package in orthanc=1.10.1+dfsg-2+deb12u1 orthanc-dicomweb=1.7+dfsg-6+b2; do
    [ "$(dpkg-query -W -f '${Version}' "${package%%=*}")" = "${package#*=}" ] || { echo "needs $package" >&2; exit 2; }
done
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2
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
import io
import json
import sys
import time
import urllib.error
import urllib.request

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

host = f"http://127.0.0.1:{sys.argv[1]}"


def ask(path, body=None):
    with urllib.request.urlopen(urllib.request.Request(host + path, data=body)) as answer:
        return json.loads(answer.read())


def file(number):
    """Returns a picture of a patient of this number."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality, data.PatientID, data.PatientName, data.StudyDate = "OT", number, "", ""
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 4, 4, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = bytes(16)
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    return written.getvalue()


for _ in range(60):
    try:
        ask("/system")
        break
    except urllib.error.URLError:
        time.sleep(0.5)
for number in ("MRN 7", "MRN+7", "MRN7"):
    ask("/instances", file(number))
expected = {
    "MRN7": ["MRN7"],
    "MRN%37": [],
    "MRN%207": [],
    "MRN+7": ["MRN+7"],
    "MRN%2B7": [],
    "MRN?7": ["MRN 7", "MRN+7"],
    "mrn7": ["MRN7"],
}
found = {}
for asked in expected:
    rows = ask(f"/dicom-web/studies?PatientID={asked}")
    found[asked] = sorted(row["00100020"]["Value"][0] for row in rows)
    print(f"PatientID={asked:10s} finds {', '.join(found[asked]) or 'nothing'}")
sys.exit(found != expected)
PYTHON
