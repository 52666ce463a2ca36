"""A cohort folder from studies of a PACS: the same as from an export, and nobody's name in it."""

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dgfnet.cli import main
from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_pair
from dgfnet.errors import InputError
from dgfnet.ingest.dicomweb import import_dicomweb
from dgfnet.pacs.client import Pacs
from dicom_files import segmentation
from pacs_servers import Double, orthanc, served
from pacs_study import SECRETS, WHO, changed, make_study, picture


def mask(left):
    drawn = np.zeros((120, 160), dtype=np.uint8)
    drawn[40:70, left : left + 40] = 1
    return drawn


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The study with a segmentation of its ultrasound picture, and one of its slices."""
    folder = tmp_path_factory.mktemp("drawn")
    made = make_study(folder)
    planes = np.stack([mask(50), mask(54), np.zeros((120, 160), np.uint8)])
    segmentation(folder / "us_seg.dcm", [made["us"]], {"nodule": mask(30)[None]}, SeriesNumber=8)
    segmentation(
        folder / "ct_seg.dcm", made["ct"], {"nodule": planes}, SeriesNumber=9, ContentCreatorName="Dr-Wxyz"
    )
    return made | {"drawn": [pydicom.dcmread(folder / f"{name}_seg.dcm") for name in ("us", "ct")]}


def held(study):
    return [study["us"], study["clip"], *study["ct"], *study["drawn"]]


@pytest.fixture(scope="module", params=["double", pytest.param("orthanc", marks=pytest.mark.pacs)])
def address(request, study, tmp_path_factory):
    if request.param == "double":
        with served(Double(*held(study), study["other"])) as found:
            yield found
        return
    with orthanc(tmp_path_factory.mktemp("orthanc")) as found:
        client = Pacs(found)
        for data in (*held(study), study["other"]):
            client.store(data.StudyInstanceUID, [data])
        yield found


def table(tmp_path, *rows, columns="patient_id,study_uid,lnm_central,lnm_lateral,cohort"):
    path = tmp_path / "labels.csv"
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def cells(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_studies_become_a_cohort(address, study, tmp_path, capfd):
    labels = table(tmp_path, f"THYR-1,{study['us'].StudyInstanceUID},1,0,main")
    main(["ingest", "dicomweb", address, "--labels", str(labels), "--out", str(tmp_path / "out")])
    out = tmp_path / "out"
    assert json.loads((out / "import.json").read_text())["source"] == "dicomweb"
    (nodule,) = read_cohort(out).nodules
    assert (nodule.patient_id, nodule.labels) == ("THYR-1", {"central": 1, "lateral": 0})
    (us,) = nodule.of("us")
    pixels, drawn = read_pair(us)
    assert (pixels.values == picture(1)).all()
    assert (drawn == mask(30)).all()
    assert us.view == "transverse"
    assert pixels.spacing_mm == pytest.approx(0.1)
    assert (
        json.loads((out / "import.json").read_text())["views_assumed_transverse"] == 0
    )  # "trans" was heeded
    slices = [read_pair(image) for image in nodule.of("ct")]
    assert len(slices) == 2
    for pixels, drawn in slices:
        number = next(n for n, seed in enumerate((21, 2)) if (pixels.values == picture(seed) - 124.0).all())
        assert (drawn == mask((50, 54)[number])).all()
    (row,) = cells(out / "nodules.csv")
    assert "study_uid" not in row
    files = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path != labels}
    assert len(files) > 6
    uids = [data[name].value for data in held(study) for name in ("SOPInstanceUID", "StudyInstanceUID")]
    output = "".join(capfd.readouterr())
    for secret in (*SECRETS, *uids, WHO["StudyDate"]):
        assert [path for path, content in files.items() if secret.encode() in content] == []
        assert secret not in output


def test_an_accession_number_names_studies(address, tmp_path):
    columns = "patient_id,accession,lnm_central,lnm_lateral,cohort"
    labels = table(tmp_path, f"THYR-1,{WHO['AccessionNumber']},1,0,main", columns=columns)
    # the study of the other patient has the same number
    with pytest.raises(InputError, match="'THYR-1': its studies are of two patients"):
        import_dicomweb(Pacs(address), tmp_path / "out", labels)
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["labels.csv"]
    labels.write_text(labels.read_text().replace(WHO["AccessionNumber"], "ACC-1"))
    with pytest.raises(InputError, match="column accession: the PACS has no study of this number"):
        import_dicomweb(Pacs(address), tmp_path / "out", labels)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["P1,,1,0,main"], "patient_id 'P1': no study; expected its UID"),
        (["P1,1.2/3,1,0,main"], "column study_uid: no UID"),
        (["P1,1.2.3.4,1,0,main"], r"does not have this|has no series"),
        (["P1,{us},1,0,main", "P2,{us},1,0,main"], "a study that 'P1' has, too"),
        (["P1,{us} {other},1,0,main"], "its studies are of two patients"),
    ],
)
def test_tables_that_mix_patients_up(address, study, tmp_path, rows, said):
    uids = {name: study[name].StudyInstanceUID for name in ("us", "other")}
    labels = table(tmp_path, *(row.format(**uids) for row in rows))
    with pytest.raises(InputError, match=said) as raised:
        import_dicomweb(Pacs(address), tmp_path / "out", labels)
    assert not any(secret in str(raised.value) for secret in SECRETS)
    assert not (tmp_path / "out").exists()


def test_one_patient_under_two_pseudonyms_would_leak(study, tmp_path):
    again = pydicom.Dataset.from_json(study["us"].to_json())
    again.file_meta = study["us"].file_meta
    again.StudyInstanceUID, again.SeriesInstanceUID, again.SOPInstanceUID = "1.2.5", "1.2.6", "1.2.7"
    labels = table(tmp_path, f"P1,{study['us'].StudyInstanceUID},1,0,main", "P2,1.2.5,0,0,external")
    with (
        served(Double(*held(study), again)) as address,
        pytest.raises(InputError, match="'P1' and 'P2' are one patient"),
    ):
        import_dicomweb(Pacs(address), tmp_path / "out", labels)


def test_studies_without_a_number_are_not_taken_for_one_patients(study, tmp_path):
    first, other = (changed(study[name], PatientID="") for name in ("us", "other"))
    drawn = changed(study["drawn"][0], PatientID="")
    both = f"P1,{first.StudyInstanceUID} {other.StudyInstanceUID},1,0,main"
    with served(Double(first, drawn, other)) as address:
        with pytest.raises(InputError, match=r"'P1': its studies are of two patients .* or do not say"):
            import_dicomweb(Pacs(address), tmp_path / "out", table(tmp_path, both))
        labels = table(tmp_path, f"P1,{first.StudyInstanceUID},1,0,main")
        assert import_dicomweb(Pacs(address), tmp_path / "out", labels).used["us_images"] == 1


def test_series_of_one_number_and_modality_are_all_there(study, tmp_path):
    again = changed(study["us"], SeriesInstanceUID="1.2.6", SOPInstanceUID="1.2.7")
    again.PixelData = picture(5).tobytes()
    assert again.SeriesNumber == study["us"].SeriesNumber
    segmentation(tmp_path / "again.dcm", [again], {"nodule": mask(60)[None]}, SeriesNumber=10)
    drawn = pydicom.dcmread(tmp_path / "again.dcm")
    labels = table(tmp_path, f"P1,{again.StudyInstanceUID},1,0,main")
    with served(Double(*held(study), again, drawn)) as address:
        account = import_dicomweb(Pacs(address), tmp_path / "out", labels)
    assert account.used["us_images"] == 2
    (nodule,) = read_cohort(tmp_path / "out").nodules
    found = {read_pair(image)[0].values.tobytes() for image in nodule.of("us")}
    assert found == {picture(1).tobytes(), picture(5).tobytes()}


@pytest.mark.parametrize("name", ["/absolute", "../../above", "a/b", ".."])
def test_a_pseudonym_is_no_path(study, tmp_path, monkeypatch, name):
    place = tmp_path / "temporary/deep"
    place.mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(place))
    opened, save = [], pydicom.Dataset.save_as

    def watched(data, file, **how):
        opened.append(file)
        save(data, file, **how)

    monkeypatch.setattr(pydicom.Dataset, "save_as", watched)
    labels = table(tmp_path, f"{name},{study['us'].StudyInstanceUID},1,0,main")
    with served(Double(*held(study))) as address:
        import_dicomweb(Pacs(address), tmp_path / "out", labels)
    written = [Path(file.name).resolve() for file in opened if hasattr(file, "name")]
    assert len(written) == len(held(study))
    assert all(path.is_relative_to(place) for path in written)


def test_a_picture_with_a_name_in_it_is_left_out(study, tmp_path):
    burned = pydicom.Dataset.from_json(study["us"].to_json())
    burned.file_meta, burned.BurnedInAnnotation = study["us"].file_meta, "YES"
    labels = table(tmp_path, f"P1,{burned.StudyInstanceUID},1,0,main")
    with served(Double(burned, *held(study)[1:])) as address:
        account = import_dicomweb(Pacs(address), tmp_path / "out", labels)
    assert account.used["us_images"] == 0
    assert "dicomweb file: names a person or a place (BurnedInAnnotation)" in account.reasons()


def test_a_folder_in_use_is_told_before_anything_is_fetched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/file").touch()
    with pytest.raises(InputError, match="exists and is not empty"):
        import_dicomweb(Pacs("http://127.0.0.1:9"), tmp_path / "out", tmp_path / "labels.csv")
