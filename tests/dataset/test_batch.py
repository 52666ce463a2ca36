from __future__ import annotations

import pytest
import torch

from dgfnet.dataset.batch import Batch


def parts(count=3, size=32):
    return {
        "images": {m: torch.zeros(count, size, size, dtype=torch.uint8) for m in ("us", "ct")},
        "targets": {m: torch.ones(count, 2, size, size, dtype=torch.uint8) for m in ("us", "ct")},
        "label": torch.zeros(count),
        "patients": torch.zeros(count, dtype=torch.int64),
    }


def changed(field, change, modality=None):
    fields = parts()
    if modality is None:
        fields[field] = change(fields[field])
    else:
        fields[field][modality] = change(fields[field][modality])
    return fields


def test_a_sound_batch_is_accepted_and_moves_whole():
    batch = Batch(**parts()).to(torch.device("cpu"))
    assert batch.images.keys() == batch.targets.keys() == {"us", "ct"}
    assert batch.images["us"].dtype == torch.uint8
    assert batch.label.shape == batch.patients.shape == (3,)


def test_modalities_may_differ_in_size_and_labels_may_be_unknown():
    fields = parts()
    fields["images"]["ct"] = torch.zeros(3, 64, 64, dtype=torch.uint8)
    fields["targets"]["ct"] = torch.zeros(3, 2, 64, 64, dtype=torch.uint8)
    fields["label"][1] = float("nan")
    assert Batch(**fields).images["ct"].shape == (3, 64, 64)


def test_the_record_is_an_input_where_there_is_one_and_moves_with_the_others():
    assert "record" not in Batch(**parts()).inputs
    record = torch.tensor([[40.0, 1], [float("nan"), 0], [50, 0]], dtype=torch.float64)
    moved = Batch(**parts(), record=record).to(torch.device("cpu"))
    torch.testing.assert_close(moved.inputs["record"], record, equal_nan=True)
    for wrong in (record.float(), record[:2], record[:, 0]):
        with pytest.raises(ValueError, match=r"record must be \(3, T\) float64"):
            Batch(**parts(), record=wrong)


@pytest.mark.parametrize(
    "fields",
    [
        changed("label", lambda t: t.double()),
        changed("label", lambda t: t.to(torch.int64)),
        changed("patients", lambda t: t.to(torch.int32)),
        changed("patients", lambda t: t[:2]),
    ],
    ids=["double label", "integer label", "short keys", "a key too few"],
)
def test_labels_and_patients_that_do_not_fit_are_named(fields):
    with pytest.raises(ValueError, match="label must be float32 and patients int64 of one length"):
        Batch(**fields)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda t: t.float(), r"\(3, 32, 32\)"),
        (lambda t: t[:2], r"\(2, 32, 32\)"),
        (lambda t: t[:, None], r"\(3, 1, 32, 32\)"),
    ],
    ids=["float", "one too few", "with channel"],
)
@pytest.mark.parametrize("modality", ["us", "ct"])
def test_images_that_do_not_fit_are_named(modality, change, found):
    with pytest.raises(ValueError, match=rf"images\[{modality}\] must be \(3, S, S\) uint8, found {found}"):
        Batch(**changed("images", change, modality))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda t: t.bool(), r"\(3, 2, 32, 32\)"),
        (lambda t: t[:, :1], r"\(3, 1, 32, 32\)"),
        (lambda t: t[..., :16], r"\(3, 2, 32, 16\)"),
    ],
    ids=["bool", "one mask", "another size"],
)
@pytest.mark.parametrize("modality", ["us", "ct"])
def test_targets_that_do_not_fit_are_named(modality, change, found):
    with pytest.raises(
        ValueError, match=rf"targets\[{modality}\] must be \(3, 2, S, S\) uint8, found {found}"
    ):
        Batch(**changed("targets", change, modality))
