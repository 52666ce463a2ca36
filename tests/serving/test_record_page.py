"""The page asks for the record that a model reads, in Debian's Chromium: make test-browser."""

import pytest
from test_pacs_page import look_up, take
from test_page_in_a_browser import BOX, browser, complaints, drag, files, find, give, served, wait
from test_record import album, folder, model

from dgfnet.pacs.client import Pacs
from pacs_servers import Double
from pacs_servers import served as served_pacs
from pacs_study import TOKEN, WHO, answering, everything, make_study

__all__ = ["album", "browser", "files", "folder", "model"]
pytestmark = pytest.mark.browser


@pytest.fixture
def page(browser, model, files):
    """With pictures and boxes, ready to be scored."""
    with served(model) as address:
        browser.get(address)
        for modality in ("us", "ct"):
            give(browser, modality, files / f"{modality}.png")
            drag(browser, modality, BOX)
        yield browser


def scored(page):
    find(page, "#score").click()
    return wait(page, "answered")


def speak(page, language):
    page.execute_script(
        "const own = document.getElementById('language'); own.value = arguments[0];"
        "own.dispatchEvent(new Event('change'))",
        language,
    )


def test_what_is_typed_is_scored_shown_and_cleared(page):
    age, sex = find(page, "#record input"), find(page, "#record select")
    assert age.get_attribute("title") == "in training 20 to 80"
    assert [option.text for option in sex.find_elements("css selector", "option")] == ["not known", "F", "M"]
    unknown = scored(page)
    assert [text for text in unknown["warnings"] if text.startswith("record")] == [
        "record age not given, taken as the training median",
        "record sex not given, taken as none of its levels",
    ]
    assert "Age not known, Sex not known" in find(page, "#answer").text
    age.send_keys("58")
    assert page.execute_script("return answered") is None  # an answer is of what the page shows
    sex.send_keys("F")
    known = scored(page)
    assert not [text for text in known["warnings"] if text.startswith("record")]
    # 0.7, 1.7 and 2.7 in the folds, and 0.4; unknown 0.2 of these and -0.2
    assert known["record_contribution"] - unknown["record_contribution"] == pytest.approx(1.96)
    said = find(page, "#answer").text
    assert "Age 58, Sex F" in said
    assert f"Record +{known['record_contribution']:.2f}" in said
    for language, words in (("de", "Alter 58, Geschlecht F"), ("zh", "年龄 58, 性别 F")):
        speak(page, language)
        assert words in find(page, "#answer").text
        assert find(page, "#record label").text == words.split()[0]
    speak(page, "en")
    find(page, "#clear").click()
    assert page.execute_script("return fields.map((field) => field.value)") == [None, None]
    assert complaints(page) == []


def test_what_is_no_number_is_not_taken_for_not_known(page):
    age = find(page, "#record input")
    assert find(page, "#score").is_enabled()
    age.send_keys("5e")
    assert not find(page, "#score").is_enabled()
    age.send_keys("1")
    assert find(page, "#score").is_enabled()


def test_a_study_of_a_pacs_tells_age_and_sex(browser, model, tmp_path):
    double = Double(*everything(make_study(tmp_path)))
    with served_pacs(double) as address, answering(model, Pacs(address), sends=True) as ask:
        browser.get(ask.address)
        find(browser, "#token").send_keys(TOKEN)
        find(browser, "#record input").send_keys("31")
        look_up(browser, patient=WHO["PatientID"])
        assert browser.execute_script("return fields.map((field) => field.value)") == [31, None]
        take(browser, 0, "us")
        assert browser.execute_script("return fields.map((field) => field.value)") == [94, "F"]
        take(browser, 2, "ct")
        for modality in ("us", "ct"):
            drag(browser, modality, BOX)
        found = scored(browser)
        # 4.6 scales of 10 above 48, at 0.7, 1.7 and 2.7 in the folds, and 0.4
        assert found["record_contribution"] == pytest.approx(1.7 * 4.6 + 0.4)
        record = browser.execute_script("return given()")
        assert record["record"] == {"age": 94, "sex": "F"}
        sent = ask("/pacs/send", {"dataframe_records": [record]}).json()
        assert sent["answer"] == found
