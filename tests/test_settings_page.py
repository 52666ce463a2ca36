"""docs/reference/settings.md is what the sections say, and says it of every key."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import yaml

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "settings_page.py"))
PAGE = (DOCS / "reference" / "settings.md").read_text(encoding="utf-8")


def keys():
    return [entry for name, section in SCRIPT["sections"]() for entry in SCRIPT["keys"](name, section)]


def leaves(tree, path=""):
    """Keys of a tree of params.yaml; the space of a search is one setting, and so are the ablations."""
    for key, value in tree.items():
        if isinstance(value, dict) and key not in ("space", "ablations"):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}"


def test_the_page_is_the_one_that_make_docs_writes():
    assert SCRIPT["page"](PAGE) == PAGE


def test_every_key_of_the_file_stands_once_and_in_its_order(params):
    tree = yaml.safe_load(params.read_text(encoding="utf-8"))
    del tree["profiles"]
    names = [name for name, _, _ in keys()]
    assert sorted(names) == sorted(leaves(tree))
    assert [line.split("`")[1] for line in PAGE.splitlines() if line.startswith("- `")] == names


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, _, text in keys()], ids=lambda text: text[:40]
)
def test_every_key_has_a_description_of_one_sentence_or_more(name, text):
    assert len(text) > 10, f"{name}: write a text under the field in dgfnet/sections"
    assert text[0] in "`3" or text[0].isupper()
    assert text.endswith(".")


def test_values_are_named_with_their_limits():
    said = {name: SCRIPT["values"](field) for name, field, _ in keys()}
    assert said["base.confidence"] == "number above 0 and below 1"
    assert said["preprocess.margin"] == "number at least 0 and at most 1"
    assert said["phantom.patients"] == "whole number at least 30"
    assert said["cohort.undecided"] == "one of `keep`, `set_aside`"
    assert said["base.sites"] == "any of `central`, `lateral`"
    assert said["crossval.variants"] == "any of the variants or those with the record"
    assert said["crossval.stacked"] == "one of the variants, or `null`"
    registered = "one of the variants or those with the record or `stack` or `record_stack`"
    assert said["register.variant"] == registered
    fusions = ("concat", "sum", "product", "dgf", "concat_record", "sum_record", "dgf_record")
    assert said["attribute.variant"] == "one of " + ", ".join(f"`{name}`" for name in fusions)
    assert said["register.calibration_slope"] == "two numbers"


def test_links_lead_to_pages():
    assert SCRIPT["linked"]("its gate: docs/how-to/promote.md.") == (
        "its gate: [docs/how-to/promote.md](../how-to/promote.md)."
    )
    assert (DOCS / "how-to" / "promote.md").is_file()


def test_lines_of_the_page_can_be_read_on_a_screen():
    assert max(map(len, PAGE.splitlines())) < 160
