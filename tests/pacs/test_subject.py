"""Whose a data set is: no two patients are one."""

from pydicom.dataset import Dataset

from dgfnet.pacs.subject import subject


def of(study, **values):
    data = Dataset()
    data.StudyInstanceUID = study
    for name, value in values.items():
        setattr(data, name, value)
    return subject(data)


def test_a_number_is_one_patient_in_all_studies():
    assert of("1.2", PatientID="7 ") == of("1.3", PatientID="7", PatientName="x", IssuerOfPatientID=None)
    assert of("1.2", PatientID="7") != of("1.2", PatientID="8")


def test_a_number_of_two_hospitals_is_two_patients():
    assert of("1.2", PatientID="7", IssuerOfPatientID="A") != of("1.2", PatientID="7", IssuerOfPatientID="B")


def test_without_a_number_each_study_has_its_own_patient():
    nobody = of("1.2"), of("1.2", PatientID=""), of("1.2", PatientID=" ", IssuerOfPatientID="A")
    assert set(nobody) == {("1.2",)}
    assert of("1.2") != of("1.3")
    assert of("1.2") != of("1.2", PatientID="1.2")
