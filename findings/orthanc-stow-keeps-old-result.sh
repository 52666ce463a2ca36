#!/usr/bin/env bash
# Orthanc 1.10.1 with its DICOMweb plugin 1.7 (Debian 12): an instance that is sent again with other content is answered
# as stored, and thrown away; the first one stays.
#
# Expected by most: either the new content is kept, or the answer (200 with FailedSOPSequence or a WarningReason, 202 or
#   409) says that it was not.
# Behaviour (STOW-RS of a corrected picture under the same SOP Instance UID; defaults of Orthanc):
#   first       200   in ReferencedSOPSequence   no failures   no warning reason   SeriesDescription "first"
#   corrected   200   in ReferencedSOPSequence   no failures   no warning reason   SeriesDescription "first"
#   The two answers are the same to the byte. Orthanc's own POST /instances says "AlreadyStored" in its JSON, also with 200.
#   The option OverwriteInstances, false by default, decides; the plugin does not tell.
#
# For a user: a segmentation or report with a UID derived from that of the image (so that a second run replaces the first)
# is never replaced, and every log says that it was stored. Give each result a new UID, or set OverwriteInstances, or read
# back what was sent. No report of it found.
# Needs Debian 12 (bookworm) and root, for apt-get download-only; nothing is installed.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
mkdir -p "$folder/debs/partial" "$folder/root" "$folder/store"
apt-get -qq -y -o Dir::Cache::archives="$folder/debs" -o APT::Sandbox::User=root install --download-only --reinstall \
    --no-install-recommends orthanc=1.10.1+dfsg-2+deb12u1 orthanc-dicomweb=1.7+dfsg-6+b2 >"$folder/apt.txt" 2>&1
for package in "$folder"/debs/*.deb; do
    dpkg -x "$package" "$folder/root"
done
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$folder/orthanc.json" <<JSON
{"StorageDirectory": "$folder/store", "IndexDirectory": "$folder/store", "HttpPort": $port, "DicomServerEnabled": false,
 "RemoteAccessAllowed": false, "AuthenticationEnabled": false,
 "Plugins": ["$folder/root/usr/lib/orthanc/libOrthancDicomWeb.so.1.7"],
 "DicomWeb": {"Enable": true, "Root": "/dicom-web/"}}
JSON
dictionary="$folder/root/usr/share/libdcmtk17/dicom.dic"
if [ -e "$dictionary" ]; then
    export DCMDICTPATH="$dictionary"
fi
LD_LIBRARY_PATH="$folder/root/usr/lib/x86_64-linux-gnu:$folder/root/lib/x86_64-linux-gnu" \
    "$folder/root/usr/sbin/Orthanc" "$folder/orthanc.json" >"$folder/log.txt" 2>&1 &
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


def ask(path, body=None, kind=None):
    headers = {"Accept": "application/dicom+json"} | ({"Content-Type": kind} if kind else {})
    with urllib.request.urlopen(urllib.request.Request(host + path, data=body, headers=headers)) as answer:
        return answer.status, answer.read()


def file(description, value):
    """Returns a picture of 4 x 4 pixels of one value, always with the same UIDs."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = SecondaryCaptureImageStorage, uids[0]
    data.StudyInstanceUID, data.SeriesInstanceUID = uids[1:]
    data.Modality, data.PatientID, data.PatientName, data.ConversionType = "OT", "P1", "", "WSD"
    data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = data.AccessionNumber = ""
    data.StudyID, data.SeriesNumber, data.InstanceNumber, data.ReferringPhysicianName = "1", 1, 1, ""
    data.SeriesDescription, data.Rows, data.Columns, data.SamplesPerPixel = description, 4, 4, 1
    data.PhotometricInterpretation, data.PixelRepresentation = "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelData = 8, 8, 7, bytes([value]) * 16
    written = io.BytesIO()
    data.save_as(written, enforce_file_format=True)
    return written.getvalue()


uids = [generate_uid() for _ in range(3)]
for _ in range(60):
    try:
        ask("/system")
        break
    except urllib.error.URLError:
        time.sleep(0.5)
found, answers = [], []
for description, value in (("first", 1), ("corrected", 2)):
    part = b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + file(description, value) + b"\r\n--frontier--"
    status, answer = ask("/dicom-web/studies", part, 'multipart/related; type="application/dicom"; boundary=frontier')
    answers.append(answer)
    said = json.loads(answer)
    stored = [entry["00081155"]["Value"][0] for entry in said["00081199"].get("Value", [])]
    failed = said["00081198"].get("Value", [])
    (kept,) = json.loads(ask(f"/dicom-web/studies/{uids[1]}/metadata")[1])
    found.append((status, stored == uids[:1], failed, b"00081196" in answer, kept["0008103E"]["Value"][0]))
    print(f"{description}: {status}, said to be stored {found[-1][1]}, failures {failed}, kept: {found[-1][4]}")
status, answer = ask("/instances", file("corrected", 2), "application/dicom")
own = json.loads(answer)["Status"]
print("answers alike:", answers[0] == answers[1], "; POST /instances:", status, own)
same = answers[0] == answers[1] and (status, own) == (200, "AlreadyStored")
sys.exit(not (same and found == [(200, True, [], False, "first")] * 2))
PYTHON
