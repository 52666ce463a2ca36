"""Ids that people and programs write differently are found; ids of different people are not."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.cohort.persons import check_spellings, normalised
from dgfnet.errors import InputError

SPELLINGS = {
    "case": ("Mü07", "mü07"),
    "zero-width space": ("P12", "P\u200b12"),
    "soft hyphen": ("P12", "P\u00ad12"),
    "mark of direction": ("P12", "\u200eP12"),
    "byte order mark": ("P12", "\ufeffP12"),
    "decomposed letters": ("Mü07", unicodedata.normalize("NFD", "Mü07")),
    "leading zeros": ("7", "0007"),
    "leading zeros behind letters": ("P007-2", "P7-02"),
    "full-width digits": ("P12", "P\uff11\uff12"),
    "non-breaking space": ("A 12", "A\u00a012"),
    "kind of dash": ("A-12", "A\u201312"),
    "underscore": ("A_12", "A-12"),
    "several at once": ("a-012", "A\u200b_12"),
    "sharp s": ("STRASSE1", "straße1"),
}
DIFFERENT = [
    *(("P1", "P11"), ("P10", "P1"), ("A1", "B1"), ("1-23", "12-3"), ("P1a", "P1b"), ("0", "00001")),
    ("P\u0410", "PA"),
]


@pytest.mark.parametrize("kind", SPELLINGS)
def test_one_person_under_two_spellings_stops(kind):
    with pytest.raises(InputError, match=r"1 patient\(s\) seem to be written in several ways") as caught:
        check_spellings([*SPELLINGS[kind], "Q99"])
    for spelling in SPELLINGS[kind]:
        assert ascii(spelling) in str(caught.value)  # what cannot be seen is shown


@pytest.mark.parametrize("pair", DIFFERENT)
def test_different_people_stay_different(pair):
    check_spellings(pair)


@given(st.text(min_size=1, max_size=20))
def test_normalising_twice_changes_nothing_more(text):
    assert normalised(normalised(text)) == normalised(text)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_numbers_are_the_same_when_their_values_are(first, second):
    assert (normalised(f"P{first:012d}") == normalised(f"P{second}")) == (first == second)
