"""The page of `dgfnet serve` in Debian's Chromium: make test-browser."""

import base64
import dataclasses
import json
import shutil
import threading
import time
from contextlib import contextmanager

import cv2
import pytest
import requests
import uvicorn
from made import picture

from dgfnet.bundle.model import ScoringModel
from dgfnet.serve import configuration
from dgfnet.serving.connection import Limits
from dgfnet.serving.server import listen, scoring_app

pytestmark = pytest.mark.browser
BOX = [20, 24, 70, 60]


@contextmanager
def served(model):
    """Address of a server of a model."""
    limits = Limits()
    with listen("127.0.0.1", 0) as listening:
        app = scoring_app(model, "dgfnet-central", "7", limits)
        server = uvicorn.Server(configuration(app, limits))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def address(bundle):
    """A server of an untrained model."""
    with served(ScoringModel.open(bundle)) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: make test-browser")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("needs chromium and chromedriver: apt install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    profile = tmp_path_factory.mktemp("profile")
    for flag in (
        *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
        *("disable-background-networking", "disable-component-update", "window-size=1280,1400", "lang=en"),
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, address):
    browser.get(address)
    return browser


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, seed in (("us", 1), ("ct", 2)):
        cv2.imwrite(str(folder / f"{name}.png"), picture(seed))
    (folder / "letter.png").write_text("no picture")
    return folder


def find(page, selector):
    return page.find_element("css selector", selector)


def wait(page, script, *values, seconds=20):
    """Waits until a script returns something true, and returns it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := page.execute_script(f"return {script}", *values):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{script} never became true; the page says {find(page, 'main').text}")


def give(page, modality, path):
    find(page, f"section[aria-labelledby={modality}-title] input[type=file]").send_keys(str(path))
    wait(page, f"panels.{modality}.picture && panels.{modality}.picture.name === arguments[0]", path.name)


def drag(page, modality, box, found=True):
    """Drags a box over the canvas; the ends are pixels of the picture."""
    from selenium.webdriver.common.action_chains import ActionChains

    canvas = find(page, f"section[aria-labelledby={modality}-title] canvas")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    side = page.execute_script(f"return panels.{modality}.picture.bitmap.width")
    scale, wide, high = canvas.size["width"] / side, canvas.size["width"], canvas.size["height"]
    ends = [(x * scale - wide / 2, y * scale - high / 2) for x, y in (box[:2], box[2:])]
    mouse = ActionChains(page).move_to_element_with_offset(canvas, *map(round, ends[0])).click_and_hold()
    mouse.move_to_element_with_offset(canvas, *map(round, ends[1])).release().perform()
    if found:
        wait(page, f"panels.{modality}.picture.outline")


def expected(address, us_box, ct_box, files):
    def encoded(name):
        return base64.b64encode((files / name).read_bytes()).decode()

    record = {"nodule": "nodule", "us": [encoded("us.png")], "us_box": [us_box]}
    record |= {"ct": [encoded("ct.png")], "ct_box": [ct_box]}
    done = requests.post(f"{address}/invocations", json={"dataframe_records": [record]}, timeout=60)
    return done.json()["predictions"][0]


def complaints(page):
    return [entry["message"] for entry in page.get_log("browser") if entry["level"] == "SEVERE"]


def test_from_two_files_to_an_answer(page, address, files):
    assert not find(page, "#score").is_enabled()
    assert not find(page, "#token").is_displayed()
    for modality in ("us", "ct"):
        give(page, modality, files / f"{modality}.png")
        drag(page, modality, BOX)
    assert find(page, "#score").is_enabled()
    find(page, "#score").click()
    answer = wait(page, "answered")
    boxes = [page.execute_script(f"return panels.{name}.picture.box") for name in ("us", "ct")]
    for box in boxes:
        assert all(abs(a - b) <= 1 for a, b in zip(box, BOX, strict=True))
    assert answer == expected(address, *boxes, files)
    said = find(page, "#answer").text
    assert f"{100 * answer['calibrated']:.0f} %" in said
    assert "dgfnet-central 7" in said
    assert "Research use only" in find(page, "header").text
    assert complaints(page) == []


def test_what_moved_the_answer_is_shown_until_the_case_changes(page, files):
    assert not find(page, "#explain").is_enabled()
    for modality in ("us", "ct"):
        give(page, modality, files / f"{modality}.png")
        drag(page, modality, BOX)
    find(page, "#score").click()
    wait(page, "answered")
    before = page.execute_script("return panels.us.canvas.toDataURL()")
    find(page, "#explain").click()
    wait(page, "panels.us.picture.map && panels.ct.picture.map")
    maps = [page.execute_script(f"return panels.{name}.picture.map") for name in ("us", "ct")]
    values = [abs(value) for own in maps for row in own["log_odds"] for value in row]
    assert len(values) == 2 * 64
    assert maps[0]["largest"] == maps[1]["largest"] == max(values)
    assert page.execute_script("return panels.us.canvas.toDataURL()") != before
    assert f"at most {max(values):.2f}" in find(page, "#message").text
    assert "log odds" in find(page, "#message").text
    assert page.execute_script("return Boolean(answered)")
    shown = page.execute_script("return panels.ct.canvas.toDataURL()")
    drag(page, "us", [30, 30, 60, 60])
    assert page.execute_script("return panels.ct.canvas.toDataURL()") != shown  # no colours of a former case
    assert page.execute_script("return panels.us.picture.map") is None
    assert not find(page, "#explain").is_enabled()
    assert complaints(page) == []


def test_a_refused_case_has_no_number(browser, bundle, files):
    model = ScoringModel.open(bundle)
    typical = {
        name: dataclasses.replace(own, caution=1e-9, refusal=1e-9) for name, own in model.typical.items()
    }
    with served(dataclasses.replace(model, typical=typical)) as address:
        browser.get(address)
        for modality in ("us", "ct"):
            give(browser, modality, files / f"{modality}.png")
            drag(browser, modality, BOX)
        find(browser, "#score").click()
        wait(browser, "answered")
        said = find(browser, "#answer").text
        assert find(browser, "#answer .risk").text == "no answer"
        assert "check" in said
        assert "%" not in said
        assert not find(browser, "#explain").is_enabled()
        assert complaints(browser) == []


def test_by_keyboard_alone(page, address, files):
    from selenium.webdriver.common.keys import Keys

    for modality in ("us", "ct"):
        give(page, modality, files / f"{modality}.png")
        canvas = find(page, f"section[aria-labelledby={modality}-title] canvas")
        canvas.send_keys(Keys.ARROW_RIGHT)  # a box in the middle, then moved and made larger
        wait(page, f"panels.{modality}.picture.outline")
        before = page.execute_script(f"return panels.{modality}.picture.box")
        canvas.send_keys(Keys.ARROW_DOWN, Keys.SHIFT, Keys.ARROW_RIGHT, Keys.NULL)
        moved = [before[0], before[1] + 1, before[2] + 1, before[3] + 1]
        assert page.execute_script(f"return panels.{modality}.picture.box") == moved
        fields = page.find_elements(
            "css selector", f"section[aria-labelledby={modality}-title] .row:not([hidden]) input[type=number]"
        )
        for field, value in zip(fields, BOX, strict=False):
            field.send_keys(Keys.CONTROL, "a", Keys.NULL, str(value), Keys.TAB)
        wait(page, f"String(panels.{modality}.picture.box) === '{','.join(map(str, BOX))}'")
        wait(page, "document.getElementById('message').textContent === ''")
    time.sleep(0.6)  # the last look at the box
    find(page, "#score").send_keys(Keys.ENTER)
    assert wait(page, "answered") == expected(address, BOX, BOX, files)


def test_calipers_make_the_box_around_them(page, files):
    give(page, "us", files / "us.png")
    find(page, "section[aria-labelledby=us-title] button[data-text=calipers]").click()
    drag(page, "us", [20, 42, 70, 42], found=False)
    assert "second line" in find(page, "section[aria-labelledby=us-title] .message").text
    assert not find(page, "#score").is_enabled()
    drag(page, "us", [45, 24, 45, 60])
    box = page.execute_script("return panels.us.picture.box")
    assert all(abs(a - b) <= 2 for a, b in zip(box, BOX, strict=True))


def test_wrong_files_are_told_though_others_follow(page, files):
    both = f"{files / 'letter.png'}\n{files / 'us.png'}"
    find(page, "section[aria-labelledby=us-title] input[type=file]").send_keys(both)
    said = wait(page, "panels.us.faults.textContent")
    assert said.startswith("letter.png: ")
    assert "expected PNG, JPEG, TIFF, BMP or DICOM" in said
    assert page.execute_script("return panels.us.pictures.map((own) => own.name)") == ["us.png"]
    assert not find(page, "#score").is_enabled()


def test_what_comes_late_is_dropped(page, files):
    """Answers of the server that take long: to a box that was moved since, to a case that was cleared."""
    give(page, "us", files / "us.png")
    give(page, "us", files / "ct.png")
    page.execute_script(
        "const quick = ask; window.waiting = [];"
        "ask = (...all) => new Promise((done) => waiting.push(() => quick(...all).then(done)))"
    )
    page.execute_script("panels.us.set(panels.us.pictures[0], [10, 10, 50, 50], 0)")
    page.execute_script("panels.us.set(panels.us.pictures[0], [20, 20, 60, 60], 0)")
    page.execute_script("panels.us.set(panels.us.pictures[1], [5, 5, 40, 40], 100)")
    page.execute_script("panels.us.pick.value = 0; panels.us.pick.dispatchEvent(new Event('change'))")
    wait(page, "waiting.length === 2")  # the box that was still waited for is given up with its picture
    page.execute_script("waiting[1](); setTimeout(waiting[0], 300)")
    wait(page, "panels.us.pictures[0].outline")
    time.sleep(0.8)
    boxes = page.execute_script("return panels.us.pictures.map((own) => [own.box, Boolean(own.outline)])")
    assert boxes == [[[20, 20, 60, 60], True], [[5, 5, 40, 40], False]]
    assert not find(page, "#score").is_enabled()  # the second picture's outline was never seen
    page.execute_script("waiting.length = 0; panels.us.away.click()")
    page.execute_script("panels.us.set(panels.us.pictures[0], [20, 20, 60, 60], 0)")
    wait(page, "waiting.length === 1")
    page.execute_script("waiting.pop()()")
    wait(page, "!document.getElementById('score').disabled")
    find(page, "#score").click()
    wait(page, "waiting.length === 1")
    assert not find(page, "#score").is_enabled()
    find(page, "#clear").click()
    page.execute_script("waiting.pop()()")
    wait(page, "!asking")
    time.sleep(0.3)
    assert page.execute_script("return answered") is None
    assert not find(page, "#answer").is_displayed()


def test_a_box_stays_in_its_picture_and_its_answer_goes_with_it(page, files):
    from selenium.webdriver.common.keys import Keys

    give(page, "us", files / "us.png")
    page.execute_script("panels.us.set(panels.us.picture, [0, 10, 50, 50], 0)")
    wait(page, "panels.us.picture.outline")
    find(page, "#score").click()
    wait(page, "answered")
    canvas = find(page, "section[aria-labelledby=us-title] canvas")
    canvas.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert page.execute_script("return panels.us.picture.box[0]") == 0
    assert page.execute_script("return answered") is None
    assert not find(page, "#print").is_enabled()


@pytest.mark.parametrize(("language", "word"), [("de", "Bewerten"), ("zh", "评分"), ("en", "Score")])
def test_every_text_is_there_in_every_language(page, language, word):
    names = page.execute_script(
        "return Object.fromEntries(Object.entries(TEXTS).map(([k, v]) => [k, Object.keys(v)]))"
    )
    assert sorted(names["en"]) == sorted(names["de"]) == sorted(names["zh"])
    page.execute_script(
        "const own = document.getElementById('language'); own.value = arguments[0];"
        "own.dispatchEvent(new Event('change'))",
        language,
    )
    assert find(page, "#score").text == word
    assert page.execute_script("return document.documentElement.lang") == language


def test_the_page_is_accessible(page, files):
    axe = pytest.importorskip("axe_core_python", reason="needs axe-core-python: make test-browser")
    from pathlib import Path

    give(page, "us", files / "us.png")
    drag(page, "us", BOX)
    (script,) = Path(axe.__path__[0]).rglob("axe.min.js")
    page.execute_script(script.read_text())
    found = page.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    assert json.dumps([(v["id"], v["nodes"][0]["html"]) for v in found["violations"]]) == "[]"
