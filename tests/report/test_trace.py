"""Every number on the page says where it is from; every artifact can be absent; the checklists are honest."""

from __future__ import annotations

import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from filled import Page, fill, make_settings, render

from dgfnet.report.checklists import CLAIM, TRIPOD
from dgfnet.settings import Settings

VOID = {"img", "meta", "link", "br", "input", "col"}
OWN = {
    "h1",
    "h2",
    "h3",
    "nav",
    "style",
    "title",
    "time",
    "footer",
    "summary",
}  # say nothing that was measured
# the paper's figures, our own constants, and the lists of the page itself
ABOUT = ("limits", "checklists", "lineage")


class Blocks(HTMLParser):
    """Text with digits outside any block that names its source, and the sources that are named."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.section = "top"
        self.loose: list[str] = []
        self.blocks: list[list[str]] = []
        self.sources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "h2":
            self.section = dict(attrs).get("id") or ""
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))
            if self._is_block(self.open[-1]):
                self.blocks.append([])

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        classes = {name for _, found in self.open for name in (found.get("class") or "").split()}
        tags = {tag for tag, _ in self.open}
        inside = any(self._is_block(one) for one in self.open)
        if "source" in classes:
            if self.open[-1][0] == "code":
                self.sources.append(data)
                self.blocks[-1].append(data)
        elif re.search(r"\d", data) and not inside and not tags & OWN and self.section not in ABOUT:
            self.loose.append(f"{self.section}: {' '.join(data.split())}")

    @staticmethod
    def _is_block(one: tuple[str, dict[str, str | None]]) -> bool:
        return one[0] == "figure" or "said" in (one[1].get("class") or "").split()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str, Page]:
    settings = make_settings(tmp_path_factory.mktemp("full"), "base.sites=[central]")
    fill(settings)
    return settings, *render(settings)


def test_every_number_stands_in_a_block_that_names_an_artifact_that_exists(
    full: tuple[Settings, str, Page],
) -> None:
    settings, text, _ = full
    found = Blocks(text)
    introduction = [line for line in found.loose if "Li, Yao, Peng" in line or "doi 10." in line]
    about_phantom = [line for line in found.loose if re.match(r"top: .*(patients, seed|signal)", line)]
    assert [line for line in found.loose if line not in introduction + about_phantom] == []
    assert len(found.blocks) > 20
    assert all(found.blocks), "a block names no source"
    for source in set(found.sources):
        assert source.startswith("artifacts/")
        if "/report/" not in source:
            assert list(settings.root.glob(re.sub(r"<\w+>", "*", source))), source


FILES = [
    *("cohort/enrolment.json", "audit/audit.json", "crossval/provenance.json"),
    *("crossval/central/dgf/metrics.json", "crossval/central/dgf/out_of_fold.csv"),
    *("compare/central/differences.csv", "compare/central/pairs.csv", "compare/central/calibration.csv"),
    *("compare/central/baselines.csv", "compare/central/decision.csv", "applicability/central/groups.csv"),
    *("applicability/central/interactions.csv", "applicability/central/frontier.csv"),
    *("applicability/central/rule.json", "applicability/central/rule_external.json"),
    *("attribution/central/summary.json", "attribution/central/checks.json"),
    *("attribution/central/contributions.csv", "attribution/central/saliency.png"),
    *("register/central.json", "external/central/metrics.json", "external/central/predictions.csv"),
    *("external/case_mix.csv", "holdout/central/metrics.json"),
]


def test_the_list_of_artifacts_is_whole(full: tuple[Settings, str, Page]) -> None:
    settings = full[0]
    root = settings.artifacts()
    there = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    others = {
        name for name in there if re.match(r"(report/|crossval/(lateral|central/(?!dgf))|.*digests)", name)
    }
    assert there - others == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_without_an_artifact_the_page_says_so(
    full: tuple[Settings, str, Page], tmp_path: Path, name: str
) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]")
    shutil.copytree(full[0].artifacts(), settings.artifacts())
    shutil.copytree(full[0].data, settings.data)
    settings.artifacts(*name.split("/")).unlink()
    text = render(settings)[1].text.lower()
    assert text.count("not available") > full[2].text.lower().count("not available")


def test_the_checklists_are_whole() -> None:
    """52 items of TRIPOD+AI with their parts, 44 of CLAIM, in order."""
    assert [number for number, *_ in CLAIM] == [str(number) for number in range(1, 45)]
    numbers = [int(re.sub(r"\D", "", number)) for number, *_ in TRIPOD]
    assert numbers == sorted(numbers)
    assert (set(numbers), len(numbers)) == (set(range(1, 28)), 52)


def test_every_answer_leads_to_a_place_on_the_page(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    places = {attributes.get("id") for _, attributes in page.tags}
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a" and attributes.get("href")}
    inner = {link[1:] for link in links if link and link.startswith("#")}
    assert {"cohort", "why-central", "whom-central", "promoted-central", "external-central"} <= inner
    assert inner <= places


def test_the_checklists_are_answered_from_what_there_is_and_say_where_nothing_is(
    full: tuple[Settings, str, Page], tmp_path: Path
) -> None:
    page = full[2]
    for start in ("20a Flow of participants", "35 Results: patients and images"):
        assert page.row(start)[1:] == ["patients, nodules and images in, out by reason, kept", "cohort"]
    assert page.row("33 Evaluation: on external data")[2] == "external, central"
    assert page.row("13 Class imbalance")[1].startswith("sampling train_only")
    silent = ("18a Funding", "44 Funding", "18 Reference standard: variability", "5 Prospective")
    bare = render(make_settings(tmp_path))[1]
    gone = ("20a Flow", "22 Full model", "33 Evaluation", "13 Class imbalance", "28 Evaluation: metrics")
    for rows, starts in ((page, silent), (bare, (*silent, *gone))):
        for start in starts:
            assert rows.row(start)[1:] == ["not reported: only the authors of a study know", ""], start


def test_the_model_card_says_what_was_measured_and_travels_as_a_file(
    full: tuple[Settings, str, Page], tmp_path: Path
) -> None:
    settings, _, page = full
    card = settings.artifacts("report", "model_card_central.md").read_text(encoding="utf-8")
    for part in (
        "dgfnet-central version 3 (champion)",
        "Not a medical device",
        "60 nodules of 60 patients, 0 with metastasis: all folds but its own",
        "Positive at or above a probability of 0.410, frozen.",
        "best accuracy, 0.777",
        "AUC 0.830 (0.780\N{EN DASH}0.880)",
        "on 40 nodules, 15 positive: AUC 0.765 (0.610\N{EN DASH}0.870)",
        "dgf beats size (+0.299, +0.236 to +0.362) and does not beat late (-0.014, -0.041 to +0.014)",
        "A simpler model may do as well.",
        "margin smooth, where 0.700 of 60 nodules are called rightly",
        "Elsewhere its probabilities were too extreme.",
    ):
        assert part in card, part
        assert part in page.text, part
    settings.artifacts("register", "central.json").rename(tmp_path / "aside.json")
    try:
        render(settings)
        assert not settings.artifacts("report", "model_card_central.md").exists()
    finally:
        (tmp_path / "aside.json").rename(settings.artifacts("register", "central.json"))
