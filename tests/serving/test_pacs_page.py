"""The page of a server with a PACS, in Debian's Chromium: make test-browser."""

import json
import time

import pytest
from test_page_in_a_browser import browser, complaints, drag, find, wait

from dgfnet.bundle.model import ScoringModel
from dgfnet.pacs.client import Pacs
from pacs_servers import Double, served
from pacs_study import BOX, SECRETS, TOKEN, WHO, answering, everything, make_study, reference

__all__ = ["browser"]
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def double(study):
    return Double(*everything(study))


@pytest.fixture(scope="module")
def ask(bundle, double):
    with served(double) as address, answering(ScoringModel.open(bundle), Pacs(address), sends=True) as found:
        yield found


@pytest.fixture
def page(browser, ask, double):
    double.answer = None
    browser.get(ask.address)
    find(browser, "#token").send_keys(TOKEN)
    return browser


def look_up(page, **fields):
    for name, value in fields.items():
        find(page, f"#{name}").send_keys(value)
    find(page, "#find").click()
    wait(page, "!document.getElementById('take').disabled")


def take(page, place, modality):
    """Takes a series by its place in the list."""
    choose(page, "series", place)
    before = page.execute_script(f"return panels.{modality}.pictures.length")
    find(page, "#take").click()
    wait(page, f"panels.{modality}.pictures.length === {before + 1}")


def choose(page, name, place):
    page.execute_script(
        "const own = document.getElementById(arguments[0]); own.value = arguments[1];"
        "own.dispatchEvent(new Event('change'))",
        *(name, place),
    )


def turn(page, modality, slider, value):
    """Moves a slider and waits for the picture that it leads to."""
    moved = f"const own = panels.{modality}.{slider}; own.value = arguments[0];"
    script = f"{moved} own.dispatchEvent(new Event('input'))"
    page.execute_script(script, value)
    assert page.execute_script(f"return panels.{modality}.picture.stale")  # no box on what is not seen
    wait(page, f"!panels.{modality}.picture.stale")


def test_from_a_patients_number_to_an_answer_in_the_pacs(page, ask, study, double):
    look_up(page, patient=WHO["PatientID"])
    offered = find(page, "#study").text
    assert "2026-02-03" in offered
    assert "Zyxwvut Quirin" in offered
    listed = [line.strip() for line in find(page, "#series").text.splitlines()]
    assert listed == ["1 · US · Zyxwvut trans", "2 · US", "3 · CT"]
    take(page, 2, "ct")
    assert page.execute_script("return panels.ct.picture.image") == reference(
        study["ct"][1]
    )  # the middle one
    take(page, 1, "us")
    turn(page, "us", "frame", 3)
    assert page.execute_script("return panels.us.picture.image") == reference(study["clip"], 2)
    turn(page, "us", "frame", 2)
    assert "2 / 3" in find(page, "section[aria-labelledby=us-title] output").text
    for modality in ("us", "ct"):
        drag(page, modality, BOX)
    boxes = [page.execute_script(f"return panels.{name}.picture.box") for name in ("us", "ct")]
    assert not find(page, "#send").is_enabled()
    find(page, "#score").click()
    answer = wait(page, "answered")
    record = {"nodule": "nodule", "us": reference(study["clip"], 1), "us_box": boxes[0]}
    record |= {"ct": reference(study["ct"][1]), "ct_box": boxes[1]}
    expected = ask("/pacs/invocations", {"dataframe_records": [record]}).json()["predictions"][0]
    assert answer == expected
    assert not [entry for entry in double.asked if entry[0] == "POST"]  # nothing goes back by itself
    before = set(double.held)
    find(page, "#send").click()
    wait(page, "document.getElementById('message').textContent.startsWith('Stored in the PACS')")
    kinds = sorted(double.held[uid].Modality for uid in set(double.held) - before)
    assert kinds == ["OT", "OT", "SEG", "SEG", "SR"]
    assert not find(page, "#send").is_enabled()  # once
    assert complaints(page) == []


def test_another_slice_drops_box_and_answer_a_window_drops_neither(page, study):
    look_up(page, accession=WHO["AccessionNumber"])
    choose(page, "study", 0)
    wait(page, "series.length === 3")
    take(page, 2, "ct")
    drag(page, "ct", BOX)
    find(page, "#score").click()
    answer = wait(page, "answered")
    shown = page.execute_script("return panels.ct.canvas.toDataURL()")
    page.execute_script(
        "panels.ct.window[0].value = 0; panels.ct.window[1].value = 300;"
        "panels.ct.window[1].dispatchEvent(new Event('change'))"
    )
    wait(page, "panels.ct.canvas.toDataURL() !== arguments[0]", shown)
    assert page.execute_script("return answered") == answer
    assert page.execute_script("return panels.ct.picture.box") is not None
    turn(page, "ct", "slice", 3)
    assert page.execute_script("return panels.ct.picture.image") == reference(study["ct"][2])
    assert page.execute_script("return [answered, panels.ct.picture.box]") == [None, None]
    assert not find(page, "#score").is_enabled()


def test_by_keyboard_alone(page, study):
    from selenium.webdriver.common.keys import Keys

    find(page, "#patient").send_keys(WHO["PatientID"], Keys.ENTER)
    wait(page, "!document.getElementById('take').disabled")
    find(page, "#series").send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN)
    find(page, "#take").send_keys(Keys.ENTER)
    wait(page, "Boolean(panels.ct.picture)")
    find(page, "section[aria-labelledby=ct-title] input[type=range]").send_keys(Keys.ARROW_RIGHT)
    wait(page, "!panels.ct.picture.stale && panels.ct.picture.remote.place === 2")
    canvas = find(page, "section[aria-labelledby=ct-title] canvas")
    canvas.send_keys(Keys.ARROW_RIGHT)
    wait(page, "panels.ct.picture.outline")
    time.sleep(0.3)
    find(page, "#score").send_keys(Keys.ENTER)
    wait(page, "answered")
    find(page, "#send").send_keys(Keys.ENTER)
    wait(page, "document.getElementById('message').textContent.startsWith('Stored in the PACS')")
    assert complaints(page) == []


def seen(page, selector):
    return [own.text for own in page.find_elements("css selector", selector)]


def another_patient(page):
    find(page, "#patient").clear()
    look_up(page, patient="MRN-1")
    wait(page, "studies.length === 1 && studies[0].patient_id === 'MRN-1' && series.length")


def scored(page):
    """CT of the first patient with its answer."""
    look_up(page, patient=WHO["PatientID"])
    take(page, 2, "ct")
    drag(page, "ct", BOX)
    find(page, "#score").click()
    wait(page, "answered")


def test_panel_and_answer_say_whose_they_are(page):
    scored(page)
    words = "Zyxwvut Quirin \u00b7 MRN-90210 \u00b7 2026-02-03"
    assert seen(page, "#panels .whose") == ["", words]
    assert seen(page, "#answer .whose") == [words]


def test_a_study_of_another_patient_clears_pictures_and_answer(page):
    scored(page)
    find(page, "#patient").clear()
    look_up(page, patient=WHO["PatientID"])  # the same one once more
    assert page.execute_script("return Boolean(answered && panels.ct.picture)")
    another_patient(page)
    assert page.execute_script("return [answered, panels.ct.pictures.length]") == [None, 0]
    assert not find(page, "#answer").is_displayed()
    assert not find(page, "#send").is_enabled()
    take(page, 0, "us")
    assert seen(page, "#panels .whose") == ["Zyxwvut Quirin \u00b7 MRN-1 \u00b7 2026-02-03", ""]
    assert complaints(page) == []


def test_a_series_that_comes_after_another_patient_was_chosen_is_dropped(page):
    look_up(page, patient=WHO["PatientID"])
    choose(page, "series", 2)
    page.execute_script(  # the answer to the taking waits for `late`
        "window.real = ask; window.late = new Promise((done) => { window.arrive = done; });"
        "ask = async (path, content) => { const found = await real(path, content);"
        " if (path === 'pacs/preview') { window.waiting = true; await late; } return found; }"
    )
    find(page, "#take").click()
    wait(page, "window.waiting")
    another_patient(page)
    page.execute_script("arrive()")
    page.execute_async_script("setTimeout(arguments[arguments.length - 1], 300)")
    assert page.execute_script("return marked().length") == 0


def test_an_answer_that_could_not_be_sent_is_not_sent_twice(page, double):
    scored(page)
    double.answer = lambda handler: handler.say(503, b"", "text/plain")
    find(page, "#send").click()
    wait(page, "!asking && document.getElementById('message').textContent.includes('503')")
    double.answer = None
    find(page, "#score").click()  # the same answer
    wait(page, "!asking && answered")
    assert not find(page, "#send").is_enabled()
    drag(page, "ct", [BOX[0], BOX[1], BOX[2], BOX[3] - 5])
    find(page, "#score").click()
    wait(page, "!asking && answered")
    assert find(page, "#send").is_enabled()


def test_what_was_stored_is_told_although_somebody_types_meanwhile(page):
    scored(page)
    page.execute_script("send(); document.getElementById('name').value = 'left';")
    find(page, "#name").send_keys("x")
    wait(page, "!asking")
    said = find(page, "#message").text
    assert said.startswith("Of the case before the change: Stored in the PACS")


def test_a_slice_that_is_left_at_once_is_shown_when_one_comes_back(page, study):
    look_up(page, patient=WHO["PatientID"])
    take(page, 2, "ct")
    take(page, 2, "ct")
    blank = page.execute_script(
        "const own = panels.ct; own.slice.value = 3; own.slice.dispatchEvent(new Event('input'));"
        "const pen = own.canvas.getContext('2d');"
        "const drawn = pen.getImageData(0, 0, own.canvas.width, own.canvas.height).data.some(Boolean);"
        "own.pick.value = 0; own.pick.dispatchEvent(new Event('change')); return !drawn"
    )
    assert blank  # the former slice would pass for the new one
    wait(page, "!panels.ct.pictures[1].stale")
    shown = page.execute_script("return panels.ct.canvas.toDataURL()")
    page.execute_script("panels.ct.pick.value = 1; panels.ct.pick.dispatchEvent(new Event('change'))")
    assert page.execute_script("return panels.ct.picture.image") == reference(study["ct"][2])
    assert page.execute_script("return panels.ct.canvas.toDataURL()") != shown


def test_faults_are_told_where_one_looks(page, double):
    def said(words):
        return wait(page, "document.getElementById('found').textContent.includes(arguments[0])", words)

    find(page, "#find").click()
    said("nothing to search for")
    find(page, "#patient").send_keys("MRN-0")
    find(page, "#find").click()
    said("No study matches.")
    double.answer = lambda handler: handler.say(503, b"", "text/plain")
    find(page, "#find").click()
    said("failed (503)")


def test_clear_all_forgets_whose_it_was(page):
    look_up(page, patient=WHO["PatientID"])
    take(page, 2, "ct")
    find(page, "#clear").click()
    text = page.execute_script(
        "const inputs = [...document.querySelectorAll('input')].filter((own) => own.id !== 'token');"
        "const lists = JSON.stringify([studies, series, panels.ct.pictures]);"
        "return document.body.innerText + inputs.map((own) => own.value) + lists"
    )
    assert not any(secret in text for secret in SECRETS)
    kept = page.execute_script("return [localStorage.length, sessionStorage.length, document.cookie]")
    assert kept == [0, 0, ""]


def test_files_and_the_pacs_in_one_case_cannot_be_sent(page, tmp_path):
    import cv2

    from pacs_study import picture

    cv2.imwrite(str(tmp_path / "us.png"), picture(1))
    look_up(page, patient=WHO["PatientID"])
    take(page, 2, "ct")
    drag(page, "ct", BOX)
    find(page, "section[aria-labelledby=us-title] input[type=file]").send_keys(str(tmp_path / "us.png"))
    wait(page, "Boolean(panels.us.picture)")
    drag(page, "us", BOX)
    find(page, "#score").click()
    wait(page, "answered")
    assert not find(page, "#send").is_enabled()


def test_the_page_with_a_pacs_is_accessible(page):
    axe = pytest.importorskip("axe_core_python", reason="needs axe-core-python: make test-browser")
    from pathlib import Path

    look_up(page, patient=WHO["PatientID"])
    take(page, 2, "ct")
    take(page, 1, "us")
    (script,) = Path(axe.__path__[0]).rglob("axe.min.js")
    page.execute_script(script.read_text())
    found = page.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert json.dumps([(v["id"], v["nodes"][0]["html"]) for v in found["violations"]]) == "[]"
