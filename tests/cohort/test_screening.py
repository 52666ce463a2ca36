from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.cohort.records import Cohort, Image, Nodule
from dgfnet.cohort.screening.criteria import REASONS, screen

ROOT = Path("/data")


def image(nodule_id, modality, lines=False):
    path = ROOT / f"{nodule_id}.png"
    view = "axial" if modality == "ct" else "transverse"
    return Image(nodule_id, modality, view, path, path, None, None, None, None, lines)


def nodule(
    name="N", patient="P", us=(False, False), ct=(False,), central=0, lateral=0, malignant=1, cohort="main"
):
    """`us` and `ct` say for each image whether measurement lines are drawn in it."""
    images = (*(image(name, "us", lines) for lines in us), *(image(name, "ct", lines) for lines in ct))
    labels = {"central": central, "lateral": lateral}
    return Nodule(name, patient, cohort, labels, malignant, {}, images)


def reason(**changes):
    return screen(Cohort(ROOT, (nodule(**changes),))).excluded.get("N")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, None),
        ({"us": ()}, "missing_modality"),
        ({"ct": ()}, "missing_modality"),
        ({"us": (), "ct": ()}, "missing_modality"),
        ({"us": (True, True)}, "measurement_lines"),
        ({"us": (True, False)}, None),
        ({"ct": (True,)}, None),  # the paper's criterion is about US
        ({"central": 1, "malignant": 2}, "several_malignant"),
        ({"lateral": 1, "malignant": 3}, "several_malignant"),
        ({"central": 1, "malignant": 1}, None),
        ({"central": 1, "malignant": None}, None),
        ({"central": 0, "malignant": 2}, None),  # nothing has spread
        ({"central": None, "lateral": 1, "malignant": 2}, "several_malignant"),
        ({"central": None, "lateral": None}, "no_label"),
        ({"central": None, "lateral": 0}, None),
        ({"central": 1, "lateral": None}, None),
    ],
)
def test_criteria(changes, expected):
    assert reason(**changes) == expected


def test_a_nodule_counts_under_the_first_reason_it_meets():
    worst = {"us": (True,), "central": None, "lateral": None, "malignant": 2}
    assert reason(**worst, ct=()) == "missing_modality"
    assert reason(**worst) == "measurement_lines"
    assert reason(**{**worst, "us": (False,), "central": 1}) == "several_malignant"
    assert reason(**{**worst, "us": (False,)}) == "no_label"
    assert list(REASONS) == ["missing_modality", "measurement_lines", "several_malignant", "no_label"]


def test_pictures_with_lines_are_set_aside_one_by_one():
    kept = screen(Cohort(ROOT, (nodule(us=(True, False, True)),)))
    assert [i.measurement_lines for i in kept.kept.nodules[0].of("us")] == [False]
    assert kept.flow["main"]["images_set_aside"] == 2


def test_flow_by_hand():
    flow = screen(
        Cohort(
            ROOT,
            (
                nodule("N1", "P1"),  # stays: 3 images
                nodule("N2", "P1", us=()),  # its patient stays
                nodule("N3", "P2", us=(True,)),  # first of P2, so P2 leaves for its lines
                nodule("N4", "P2", ct=()),
                nodule("N5", "P3", us=(True, False)),  # stays with 2 of 3
                nodule("N6", "E1", cohort="external", central=None, lateral=None),
            ),
        )
    ).flow
    nothing = {"patients": 0, "nodules": 0, "images": 0}
    assert flow["main"] == {
        "enrolled": {"patients": 3, "nodules": 5, "images": 3 + 1 + 2 + 2 + 3},
        "excluded": {
            "missing_modality": {"patients": 0, "nodules": 2, "images": 1 + 2},
            "measurement_lines": {"patients": 1, "nodules": 1, "images": 2},
            "several_malignant": nothing,
            "no_label": nothing,
        },
        "images_set_aside": 1,
        "kept": {"patients": 2, "nodules": 2, "images": 5},
    }
    assert flow["external"]["excluded"]["no_label"] == {"patients": 1, "nodules": 1, "images": 3}
    assert flow["external"]["kept"] == nothing


lines = st.lists(st.booleans(), max_size=3).map(tuple)
labels = st.sampled_from([0, 1, None])


@st.composite
def cohorts(draw):
    """Up to twelve nodules of up to six patients, each patient in one cohort."""
    nodules = []
    for number in range(draw(st.integers(0, 12))):
        patient = draw(st.integers(0, 5))
        nodules.append(
            nodule(
                f"N{number}",
                f"P{patient}",
                draw(lines),
                draw(lines),
                draw(labels),
                draw(labels),
                draw(st.sampled_from([None, 0, 1, 2])),
                "external" if patient > 3 else "main",
            )
        )
    return Cohort(ROOT, tuple(nodules))


@given(cohorts())
def test_the_counts_add_up(cohort):
    result = screen(cohort)
    total = 0
    for name, flow in result.flow.items():
        assert list(flow["excluded"]) == list(REASONS)
        aside = {"patients": 0, "nodules": 0, "images": flow["images_set_aside"]}
        for unit in ("patients", "nodules", "images"):
            out = sum(counts[unit] for counts in flow["excluded"].values())
            assert flow["enrolled"][unit] == out + aside[unit] + flow["kept"][unit], (name, unit)
        total += flow["enrolled"]["nodules"]
    assert total == len(cohort.nodules)


@given(cohorts())
def test_every_nodule_is_kept_or_excluded_and_the_order_stays(cohort):
    result = screen(cohort)
    kept = [n.nodule_id for n in result.kept.nodules]
    assert kept == [n.nodule_id for n in cohort.nodules if n.nodule_id not in result.excluded]
    assert set(result.excluded) <= {n.nodule_id for n in cohort.nodules}


@given(cohorts())
def test_what_is_kept_can_be_analysed(cohort):
    for n in screen(cohort).kept.nodules:
        assert n.of("us")
        assert n.of("ct")
        assert not any(i.measurement_lines for i in n.of("us"))
        assert any(label is not None for label in n.labels.values())


@given(cohorts())
def test_screening_what_was_kept_changes_nothing(cohort):
    kept = screen(cohort).kept
    again = screen(kept)
    assert again.kept == kept
    assert not again.excluded
