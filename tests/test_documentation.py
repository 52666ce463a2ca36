"""Pages that are generated are as the code says; pages lead where they say, in lines one can read."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import dgfnet

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
LONGEST = 160
# tables of messages word for word, which tests compare row by row
MESSAGES = ("bad-inputs.md", "dicom-attributes.md")


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_public_interface_is_what_the_code_says():
    made = script("api_page")
    assert made.PAGE.read_text() == made.page(), "run make docs"
    assert [f"## {name}" in made.page() for name in dgfnet.__all__] == [True] * len(dgfnet.__all__)


def test_public_names_have_docstrings_and_others_are_refused():
    assert all((getattr(dgfnet, name).__doc__ or "").strip() for name in dgfnet.__all__)
    with pytest.raises(AttributeError, match="module 'dgfnet' has no attribute 'nothing'"):
        _ = dgfnet.nothing


def test_importing_the_package_imports_nothing_else():
    code = "import sys, dgfnet; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "dgfnet" in loaded
    assert not loaded & {"numpy", "pandas", "pydantic", "torch", "mlflow", "yaml", "click", "rich"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_can_be_read_and_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    if page.name not in MESSAGES:
        assert [line for line in text.split("\n") if len(line) > LONGEST] == []
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    local = [link for link in links if not link.startswith(("http:", "https:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_page_is_reached_from_the_index():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    reached = {(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)#\s]+)", index)}
    pages = {page.resolve() for page in (ROOT / "docs").rglob("*.md")} - {(ROOT / "docs/README.md").resolve()}
    assert pages - reached == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_to_be_filled_in(page):
    assert "@" + "@" not in page.read_text(encoding="utf-8")
