"""The verdict states the worst facts: rivals, the other hospital, checks that failed, what was left out."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from filled import fill, interval, make_settings, put, render

from dgfnet.report.inputs import read
from dgfnet.report.verdict import Line, verdict
from dgfnet.settings import Settings

DASH = "\N{EN DASH}"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    made = make_settings(tmp_path, "base.sites=[central]")
    fill(made)
    return made


def lines(settings: Settings) -> dict[str, Line]:
    render(settings)
    return {line.about: line for line in verdict(settings, read(settings))}


def pairs(settings: Settings, *rows: tuple[str, str, float, float | None, float | None]) -> None:
    path = settings.artifacts("compare", "central", "pairs.csv")
    pattern = pd.read_csv(path).iloc[[0]]
    parts = [pattern.assign(a=a, b=b, estimate=gap, low=low, high=high) for a, b, gap, low, high in rows]
    pd.concat(parts).to_csv(path, index=False)


def change(path: Path, **values: Any) -> None:
    record = json.loads(path.read_text())
    put(path, record | values)


def test_rivals_are_named_whichever_way_round_they_were_compared(settings: Settings) -> None:
    pairs(
        settings,
        ("us_multitask", "dgf", -0.1, -0.2, -0.05),  # beaten by dgf
        ("concat", "dgf", 0.01, -0.01, 0.03),  # no difference seen
        ("dgf", "radiomics", -0.05, -0.08, -0.02),  # better than dgf
        ("dgf", "late", 0.02, None, None),  # no interval
        ("dgf", "stack", -0.09, -0.1, -0.08),  # holds dgf itself: not simpler
        ("concat", "size", 0.3, 0.2, 0.4),
    )
    line = lines(settings)["Against simpler models"]
    assert line.said == (
        "Central: dgf is beaten by radiomics (by 0.050, 0.020 to 0.080); dgf is not shown to beat concat, "
        "late",
    )
    assert line.bad
    assert line.sources == ("compare/central/pairs.csv",)


def test_a_promoted_model_is_judged_too_and_good_news_is_told_as_such(settings: Settings) -> None:
    change(settings.artifacts("register", "central.json"), variant="stack")
    pairs(
        settings,
        ("dgf", "size", 0.3, 0.2, 0.4),
        ("concat", "dgf", -0.1, -0.2, -0.05),
        ("size", "stack", 0.001, -0.1, 0.1),
    )
    line = lines(settings)["Against simpler models"]
    assert line.said == ("Central: dgf beats all 2; stack is not shown to beat size",)
    pairs(settings, ("dgf", "size", 0.3, 0.2, 0.4), ("stack", "size", 0.3, 0.2, 0.4))
    line = lines(settings)["Against simpler models"]
    assert (line.said, line.bad) == (("Central: dgf beats all 1; stack beats all 1",), False)


@pytest.mark.parametrize(
    ("large", "words"),
    [
        (-0.876, "; predicted risks too high (in the large \N{MINUS SIGN}0.876)"),
        (0.3, "; predicted risks too low (in the large +0.300)"),
        (0.299, ""),
        (None, ""),
    ],
)
def test_the_other_hospital_is_told_with_sensitivity_first(
    settings: Settings, large: float | None, words: str
) -> None:
    path = settings.artifacts("external", "central", "metrics.json")
    record = json.loads(path.read_text())
    record["external"]["calibration"]["in_the_large"] = large
    record["baselines"] = {"size": {"difference": interval(0.1, 0.02, 0.2)}}
    put(path, record)
    line = lines(settings)["At another hospital"]
    assert line.said == (
        f"Central: on 40 external nodules dgf has sensitivity 0.812 (0.600{DASH}0.930), specificity 0.744, "
        f"AUC 0.765 (0.610{DASH}0.870){words}",
    )
    assert line.bad == bool(words)
    record["baselines"]["radiomics"] = {"difference": interval(-0.01, None, None)}
    put(path, record)
    assert lines(settings)["At another hospital"].said[0].endswith("; not shown to beat radiomics")


def test_a_failed_check_and_maps_that_do_not_agree_are_told(settings: Settings) -> None:
    line = lines(settings)["Explanations"]  # the maps of two folds correlate by 0.6123
    assert (line.said, line.bad) == (("Central: the maps passed the checks on 8 nodules",), False)
    summary = settings.artifacts("attribution", "central", "summary.json")
    repeatability = json.loads(summary.read_text())["repeatability"]
    repeatability["pairs"]["maps"]["median"] = 0.034
    change(summary, repeatability=repeatability)
    line = lines(settings)["Explanations"]
    assert line.said[0].endswith(
        "8 nodules, but those of two folds' networks hardly agree (correlation 0.03 per pixel)"
    )
    assert line.bad
    change(settings.artifacts("attribution", "central", "checks.json"), passed=False, failed=["shuffled"])
    assert lines(settings)["Explanations"].said[0].startswith("Central: do not trust the maps: shuffled")


def test_what_was_left_out_is_told(settings: Settings) -> None:
    line = lines(settings)["Left out"]
    assert line.said == (
        "Not trained: us_resnet, us_tlr, ct_resnet, sum, product",
        "Central: no external clinical (the external cohort has none of its columns)",
        "Central: the rule for CT not tried on the external cohort (the champion is concat)",
    )


def test_nothing_has_run(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]")
    found = lines(settings)
    assert all(line.bad for line in found.values())
    assert found["At another hospital"].said == ("Central: no external validation",)


class Shown(HTMLParser):
    """Counts words before anything is unfolded, and those folded away."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.shown = self.folded = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if {"style", "svg", "title"} & set(self.open):
            return
        summary = self.open[-2:] == ["details", "summary"]
        if self.open.count("details") > summary:
            self.folded += len(data.split())
        else:
            self.shown += len(data.split())


def test_more_is_folded_away_than_shown(tmp_path: Path) -> None:
    """Long tables are there to look things up; the verdict stands above everything, unfolded."""
    settings = make_settings(tmp_path, "base.sites=[central]")
    fill(settings)
    page, found = render(settings)
    counted = Shown(page)
    assert counted.folded > counted.shown
    order = [attributes.get("id") for tag, attributes in found.tags if tag == "h2"]
    assert order[:2] == ["verdict", "cohort"]
    before = page[: page.index('id="cohort"')]
    assert "not shown to beat" in before.split("<details")[0]
