"""Nodules of a cohort as single files."""

import dataclasses

import pandas as pd
import pytest

from dgfnet.cohort.manifest import read_cohort
from dgfnet.cohort.readers import read_image
from dgfnet.errors import InputError
from dgfnet.imaging.boxes import read_box
from dgfnet.phantom.generate import generate
from dgfnet.serving.cases import Reading, loose_image, read_case
from dgfnet.serving.examples import write_examples
from dgfnet.vocabulary import MODALITIES


@pytest.fixture(scope="module")
def cohort(tmp_path_factory, params):
    from dgfnet.settings import load

    folder = tmp_path_factory.mktemp("examples")
    wanted = load(params).phantom
    generate(folder / "data", folder / "truth", 4, 2, *(getattr(wanted, name) for name in HOW))
    return load(params, [f"base.data={folder / 'data'}"])


HOW = ("seed", "signal", "informative", "interaction", "style")


def test_png_and_dicom_are_the_case_of_the_cohort(cohort, tmp_path):
    table = write_examples(cohort, tmp_path / "out", 2)
    assert len(table) == 8
    pd.testing.assert_frame_equal(table, pd.read_csv(tmp_path / "out" / "boxes.csv"))
    outside = [nodule for nodule in read_cohort(cohort.data).nodules if nodule.cohort == "external"]
    for number, nodule in enumerate(outside[:2], start=1):
        for name in MODALITIES:
            image = nodule.of(name)[0]
            for ending in ("png", "dcm"):
                path = tmp_path / "out" / f"nodule{number}_{name}.{ending}"
                row = table.set_index("file").loc[path.name]
                box = read_box(row["box"], "box")
                single, stored = loose_image(name, path, box), dataclasses.replace(image, box=box)
                case, expected = (
                    read_case([own], Reading(cohort.preprocess, MODALITIES)).crops[name].astype(int)
                    for own in (single, stored)
                )
                assert abs(case - expected).max() <= (name == "ct" and ending == "dcm")  # whole HU
                assert row["modality"] == name
                assert row["spacing_mm"] == pytest.approx(image.spacing_mm)
                pixels = read_image(single)
                assert pixels.spacing_mm == (None if ending == "png" else pytest.approx(image.spacing_mm))
    with pytest.raises(InputError, match="is not empty"):
        write_examples(cohort, tmp_path / "out", 2)
