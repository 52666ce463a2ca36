"""Numbers under the pointer: every point has its words, lies on its curve, and ids of figures stay apart."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from filled import fill, make_settings, render
from matplotlib.figure import Figure

from dgfnet.report import figures
from dgfnet.report.hover import Hover
from dgfnet.report.inputs import read
from dgfnet.settings import Settings

SVG = "{http://www.w3.org/2000/svg}"


def drawn(name: str, words: tuple[str, ...] = ("first", "second <b>")) -> ElementTree.Element:
    figure, hover = Figure(figsize=(2, 2)), Hover()
    axes = figure.add_subplot(xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0, 1])
    hover.add(axes, [0.25, 0.5], [0.25, 1.0], words, "#000000")
    return ElementTree.fromstring(hover.inline(figure, name))


def test_every_point_has_its_words_where_it_lies() -> None:
    (group,) = (g for g in drawn("one").iter(f"{SVG}g") if g.get("class") == "hover")
    points = [*group.iter(f"{SVG}use")]
    assert [point.findtext(f"{SVG}title") for point in points] == ["first", "second <b>"]
    left, right = ((float(point.get("x", "")), float(point.get("y", ""))) for point in points)
    # 2 inches are 144 points, of which matplotlib's axes take 77.5 % across and 77 % up
    assert right[0] - left[0] == pytest.approx(0.25 * 0.775 * 144, abs=0.01)
    assert left[1] - right[1] == pytest.approx(0.75 * 0.77 * 144, abs=0.01)


def test_a_point_without_words_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        drawn("one", ("only one",))


def test_nothing_of_a_figure_reaches_into_another() -> None:
    ids = [{element.get("id") for element in drawn(name).iter()} - {None} for name in ("one", "two")]
    assert not ids[0] & ids[1]
    root = drawn("one")
    assert not [*root.iter(f"{SVG}style")]  # it would hold for the whole page
    links = {value for e in root.iter() for key, value in e.attrib.items() if key.endswith("href")}
    clips = {value[5:-1] for e in root.iter() if (value := e.get("clip-path"))}
    assert clips
    assert {link[1:] for link in links} | clips <= {element.get("id") for element in root.iter()}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = make_settings(tmp_path, "base.sites=[central]")
    fill(made)
    path = made.artifacts("crossval", "central", "dgf", "out_of_fold.csv")
    # at 0.50: 3 of 4 positives found, 1 of 2 negatives cleared
    rows = {"label": [1, 1, 1, 1, 0, 0], "probability": [0.9, 0.8, 0.5, 0.2, 0.6, 0.1]}
    table = pd.DataFrame(rows).assign(nodule_id=list("abcdef"), patient_id=list("abcdef"), threshold=0.5)
    table.assign(fold=0).to_csv(path, index=False)
    return made


def test_the_roc_says_the_calls_at_a_threshold(settings: Settings) -> None:
    render(settings)
    picture = figures.roc(read(settings).sites[0])
    assert picture is not None
    said = (
        "dgf, positive from 0.50: finds 3 of 4 with metastasis (sensitivity 0.750), clears 1 of 2 without "
        "(specificity 0.500)"
    )
    assert said in picture.svg
    page = render(settings)[0]
    assert said in page
    # net benefit as the file has it: 0.3 - 0.5 / 2 for dgf, 0.3 - 0.5 for everyone
    assert "dgf, acting from 0.50: net benefit 0.050, acting on all -0.200" in page
