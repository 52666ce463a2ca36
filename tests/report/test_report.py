"""The page of a small hand-made artifacts tree: numbers, gaps, hostile text, nothing from the network."""

from __future__ import annotations

import base64
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from filled import PNG, VARIANTS, Page, fill, interval, make_settings, put, render

from dgfnet import digests, files
from dgfnet.errors import InputError
from dgfnet.metrics.discrimination import auc
from dgfnet.report import stage
from dgfnet.results import tables_of
from dgfnet.settings import Settings

HOSTILE = '<script>alert("x")</script>&'


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str, Page]:
    settings = make_settings(tmp_path_factory.mktemp("full"))
    fill(settings)
    return settings, *render(settings)


def test_pairs_calibration_and_decisions_stand_in_their_cells(full: tuple[Settings, str, Page]) -> None:
    _, html, page = full
    assert page.row("us_resnet - concat")[1:] == [
        *("+0.046", "+0.002 to +0.089", "0.030", "+0.010 to +0.090", "-0.200 to +0.270", "0.900"),
    ]
    rows = [
        [cell.replace("\N{EN DASH}", "-").replace("\N{MINUS SIGN}", "-") for cell in row] for row in page.rows
    ]
    assert ["dgf", "moved to the prevalence of the training folds", "0.171", "0.83", "-0.044", "-"] in rows
    assert ["dgf", "and divided by the other folds' temperature", "0.171", "0.83", "-0.044", "1.25"] in rows
    assert "Net benefit at a threshold of 0.5: dgf 0.050." in html


def test_groups_and_the_rule_for_ct_are_told(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    cells = ["60 (25)", "0.700", "0.700", "0.700", "+0.066 (+0.010 to +0.120)", "0.024"]
    assert page.row("margin: smooth")[1:] == cells
    text = " ".join(page.text.split())
    assert "too few of a class to say" in text
    assert "The gain of CT differs by margin." in text
    assert (
        "With CT for 50% of the nodules the rule reaches an AUC of 0.800, CT near the threshold 0.810" in text
    )
    assert "Those whom it chooses benefit more than others (permutation of patients, p 0.004)." in text


def test_what_the_modalities_say_is_told_and_a_failed_check_is_not_hidden(
    full: tuple[Settings, str, Page], tmp_path: Path
) -> None:
    raw, text = full[1], full[2].text.replace("\N{EN DASH}", "-")
    assert "than CT in a share of 0.484 (0.439-0.531) of 105 nodules" in text
    assert "0.222 (0.100-0.300): 0.876 of the nodules with metastasis, 0.099 of the others" in text
    assert "0.649" not in text  # the paper's share is another measure
    assert "of 31 nodules that ultrasound alone has wrong, the fusion has 17 right, to 13 of them" in text
    assert "A share of 0.346 of the baselines holds some of another patient's picture" in text
    told = "ultrasound +0.714 (right alone), CT \N{MINUS SIGN}0.263 (wrong alone); fusion right"
    assert f"row 1, metastasis: {told}" in raw
    assert "it is 0.438 from grey (0.458 from blurred)" in text
    assert "they change when weights are shuffled and when the network learns labels without meaning" in text
    assert "with an AUC of 0.753 and the true ones of nodules it never saw with 0.495 (0.5 on" in text
    assert "its maps correlate with those shown by 0.032 (by 0.457 without the signs" in text
    assert full[2].row("US, inside the nodule")[1:] == ["0.243", "0.251", "+0.008 (-0.003 to +0.019)"]
    assert "On 24 external nodules that none of them saw, the networks of two folds rank what" in text
    assert "what CT says by 0.432 (-0.100 to 0.500), the predictions by" in text
    assert "0.612 (0.500 to 0.700) in blocks of an eighth of the side, with a network that learnt" in text
    assert "without meaning by 0.012 (-0.050 to 0.040), which is less by 0.234 (0.200 to 0.270)" in text
    cells = ["0.012", "0.046", "0.068", "0.079", "+0.067 (+0.050 to +0.080)", "+0.033 (+0.010 to +0.050)"]
    assert full[2].row("US, microcalcifications")[1:] == cells
    settings = make_settings(tmp_path, "base.sites=[central]")
    fill(settings)
    failed = {"passed": False, "failed": ["shuffled weights change nothing"], "nodules": 8}
    put(settings.artifacts("attribution", "central", "checks.json"), failed)
    page = render(settings)[1]
    assert "Do not trust the maps: shuffled weights change nothing." in page.text
    assert "labels exchanged" not in page.text  # that check was not made
    told = [attributes.get("alt") or attributes.get("aria-label") or "" for _, attributes in page.tags]
    assert sum("a sanity check failed" in alt for alt in told) == 2


def test_the_other_hospital_is_told_in_full(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    cells = ["-", "0.812 (0.600-0.930)", "-", "-", "0.203", "0.71", "+0.414"]
    assert page.row("external validation, model as it is")[1:] == cells
    moved = next(row for row in page.rows if row[0].startswith("external validation, recalibrated"))
    assert moved[5] == "0.181"
    assert page.row("age")[1:] == ["45 (38 to 53)", "-"]


def test_what_the_audit_found_stands_beside_the_cohort(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    rows = [[cell.replace("\N{EN DASH}", "-") for cell in row] for row in page.rows]
    size, acquisition = (row for row in rows if "size alone" in row[0] or "acquisition alone" in row[0])
    assert size == ["central: size alone", "gradient-boosted trees", "0.611 (0.520-0.690)", "110"]
    assert "a network can learn that instead of the disease" in acquisition[0]
    assert acquisition[2] == "0.733 (0.660-0.810)"
    said = "400 pictures were compared with each other; 0 pairs show one picture in two patients and 2 were"
    assert f"{said} declared different." in " ".join(page.text.split())


def test_numbers_stand_in_their_cells(full: tuple[Settings, str, Page]) -> None:
    page = full[2]
    spread = ["0.711 ± 0.012", "0.822 ± 0.012", "0.633 ± 0.012", "0.744 ± 0.012", "-", "0.500 ± 0.012"]
    assert page.row("dgfboth")[1:] == ["0.830 (0.780-0.880)", "0.875", *spread]
    assert page.row("dgf - us_multitask")[1:] == ["+0.035", "-0.011 to +0.080", "< 0.001", "0.012"]
    assert page.row("dgf - concat")[1:] == ["-0.020", "-0.011 to +0.080", "-", "-"]
    assert [row[1:] for row in page.rows].count(["0.850 ± 0.071"]) == len(VARIANTS)  # Dice
    assert [row[1:] for row in page.rows].count(["0.700 ± 0.141"]) == len(VARIANTS)  # IoU
    ours = ["40 (15)", "0.711", "0.765 (0.610-0.870)", "0.633", "0.744", "-", "0.500"]
    assert page.row("external validationthis page")[1:] == ours
    alone = page.row("external validation, US alone")
    assert alone[0].endswith("us_multitask, its own threshold 0.375")
    assert "0.123" in alone
    ruler = page.row("external validation, baseline size")
    assert ruler[0].endswith("AUC of the promoted model - this: +0.123 (+0.032 to +0.215)")
    assert ruler[2:4] == ["0.321", "0.765 (0.610-0.870)"]
    paper = ["60 (22)", "0.817", "0.903", "0.909", "0.763", "0.690", "0.784"]
    assert page.row("external validationpaper")[1:] == paper
    counts = {row[0]: row[1] for row in page.rows if row[0] in ("internal validation", "external validation")}
    assert counts == {"internal validation": "31 (15)", "external validation": "41 (15)"}
    assert "dgf trained on all folds but 2; epoch 7 of 9 did best by accuracy on that fold" in page.text


def test_the_papers_protocol_is_told_where_no_champion_was_validated(
    full: tuple[Settings, str, Page], tmp_path: Path
) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]")
    shutil.copytree(full[0].artifacts(), settings.artifacts())
    shutil.rmtree(settings.artifacts("external"))
    page = render(settings)[1]
    assert page.row("external validation")[1] == "41 (15)"
    settings.artifacts("holdout", "central", "metrics.json").unlink()
    put(settings.artifacts("holdout", "central", "skipped.json"), {"reason": "holdout.variant is null"})
    assert "One split and its best epoch: not available: holdout.variant is null" in render(settings)[1].text


def test_sentences_follow_the_data(full: tuple[Settings, str, Page]) -> None:
    text = full[2].text
    for part in (
        "On the external cohort dgf beats size (+0.123, +0.032 to +0.215) and does not beat radiomics (no "
        "interval) (AUC minus the baseline's, 95 % interval).",
        "No external baseline clinical: the external cohort has none of its columns.",
        "Generated cohort: these numbers have no clinical meaning",
        "not a medical device",
        "96 patients, 105 nodules, 377 images",
        "120 nodules of 60 patients analysed, 60 with metastasis",
        "Sampling train_only: classes are balanced",
        "any true AUC from 0.610 to 0.870",
        "dgfnet-central version 3",
        "accuracy of the held-out fold, 0.777",
        "not available: no lateral label at all",
        "torch 9.9",
        "artifacts/compare/central/differences.csv",
    ):
        assert part in text, part
    assert "do not add up" not in text
    assert not {"{", "}", "None", "nan"} & set(text.replace("{", " { ").replace("}", " } ").split())


def test_nothing_comes_from_the_network(full: tuple[Settings, str, Page]) -> None:
    settings, text, page = full
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base")
        for name in ("src", "srcset", "href", "data", "poster", "action"):
            value = attributes.get(name) or ""
            assert (
                tag == "a"
                or not value
                or value.startswith(("data:image/svg+xml;base64,", "data:image/png;base64,"))
            )
    assert not re.search(r"url\((?!#)", text)  # only to places in the page itself
    assert "script-src" not in text
    assert "@import" not in text
    assert len(text) < 800_000
    assert (settings.artifacts("report", "provenance.json")).is_file()


def test_every_picture_has_words_and_draws(full: tuple[Settings, str, Page]) -> None:
    settings, _, page = full
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 5
    for picture in pictures:
        assert len(picture["alt"] or "") > 40
        kind, _, content = (picture["src"] or "").partition(",")
        found = base64.b64decode(content)
        if kind == "data:image/png;base64":
            assert found == PNG
        else:
            assert ElementTree.fromstring(found).tag.endswith("svg")
    drawn = {attributes["aria-label"] or "" for _, attributes in page.tags if attributes.get("role") == "img"}
    assert sorted(words.split(",")[0] for words in drawn if len(words) > 40) == [
        *("Calibration of dgf", "Decision curves", "ROC curve of the promoted model on the external cohort"),
        *("ROC curves", "What ultrasound and CT say of every nodule"),
    ]
    table = pd.read_csv(settings.artifacts("crossval", "central", "dgf", "out_of_fold.csv"))
    (roc,) = (words for words in drawn if words.startswith("ROC curves"))
    assert f"dgf {auc(table['label'], table['probability']):.3f}" in roc


def test_the_same_inputs_give_the_same_page(full: tuple[Settings, str, Page]) -> None:
    assert render(full[0])[0] == full[1]


def test_nothing_has_run(tmp_path: Path) -> None:
    page = render(make_settings(tmp_path))[1]
    for command in ("cohort", "crossval", "register", "external"):
        assert f"not available: run dgfnet {command}" in page.text
    assert "cannot tell whether the cohort was generated" in page.text


def test_single_gaps_are_named(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]")
    fill(settings)
    settings.artifacts("compare", "central", "differences.csv").unlink()
    settings.artifacts("crossval", "central", "dgf", "out_of_fold.csv").unlink()
    settings.artifacts("crossval", "central", "concat", "metrics.json").unlink()
    text = render(settings)[1].text
    assert "Paired AUC differences: not available: run dgfnet compare" in text
    assert "Calibration of dgf: not available: run dgfnet crossval" in text
    assert "Not available: concat; run `dgfnet crossval`." in text


def test_hostile_names_are_text(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]", f"report.title='{HOSTILE}'")
    fill(settings)
    folder = settings.artifacts("crossval", "central")
    (folder / "concat").rename(folder / "<b onload=x>$\\frac")
    put(
        settings.artifacts("register", "central.json"),
        {"model": HOSTILE, "version": "1", "fits": "f", "reason": HOSTILE},
    )
    text, page = render(settings)
    assert "<script" not in text
    assert "<b onload" not in text
    assert HOSTILE in page.text
    assert page.row("<b onload=x>$\\frac")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('"><img src=x>', '"&gt;&lt;img src=x&gt;'),
        ("![x](http://evil/x.png)", "!\\[x\\](http://evil/x.png)"),
        ("a\n# Heading", "a # Heading"),
        ("=cmd", "=cmd"),  # stands in the table as '=cmd
    ],
)
def test_groups_with_hostile_names_are_text_on_page_and_card(tmp_path: Path, name: str, shown: str) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]")
    fill(settings)
    path = settings.artifacts("applicability", "central", "groups.csv")
    groups = pd.read_csv(path).assign(group=[name, "rough"])
    files.write_csv(groups, path)
    text, page = render(settings)
    assert name.split()[0] in page.text
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert all((attributes.get("src") or "").startswith("data:") for attributes in pictures)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script>alert" not in text
    card = settings.artifacts("report", "model_card_central.md").read_text(encoding="utf-8")
    assert f"Weakest of 1 groups of nodules: margin {shown}, where" in card


def test_public_images_are_called_so_and_own_imports_are_not(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    put(settings.data / "import.json", {"seed": 1, "notice": "Pairs of strangers."})
    text = " ".join(render(settings)[1].text.split())
    assert "Public images: these numbers have no clinical meaning. Pairs of strangers." in text
    put(settings.data / "import.json", {"source": "dicom"})
    assert "no clinical meaning" not in render(settings)[1].text


def test_counts_that_do_not_add_up_are_shown(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    fill(settings)
    path = settings.artifacts("cohort", "enrolment.json")
    record = json.loads(path.read_text())
    record["main"]["kept"]["nodules"] = 104
    put(path, record)
    assert render(settings)[1].text.count("do not add up") == 1


def test_undefined_intervals_do_not_break_the_page(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, "base.sites=[central]")
    fill(settings)
    path = settings.artifacts("external", "central", "metrics.json")
    record = json.loads(path.read_text())
    record["external"] |= {"auc": None, "auc_interval": interval(0.5, None, None)}
    put(path, record)
    page = render(settings)[1]
    assert "has no interval" in page.text
    assert page.row("external validationthis page")[3] == "0.500 (-)"


def test_a_broken_file_is_the_users_to_mend(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    path = settings.artifacts("cohort", "enrolment.json")
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"its writer was interrupted; run the stage cohort again"):
        stage.run(settings)
    with pytest.raises(InputError, match=r"enrolment.json: not valid JSON"):
        render(settings)


def test_results_made_from_other_tables_are_not_shown(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    fill(settings)
    compare = settings.artifacts("compare", "central")
    digests.keep(compare, tables_of(settings, "central", ["dgf", "concat"]))
    render(settings)
    table = settings.artifacts("crossval", "central", "concat", "out_of_fold.csv")
    table.write_text(table.read_text() + "\n", encoding="utf-8")  # as the stage crossval wrote it anew
    with pytest.raises(
        InputError, match=r"compare/central: made from another .*concat.*; run the stage compare"
    ):
        render(settings)
