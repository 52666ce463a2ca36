"""The stage `report`: one self-contained page about the results of all other stages."""

from __future__ import annotations

from datetime import UTC, datetime

from dgfnet import files, provenance
from dgfnet.registry.stored import keep_pages
from dgfnet.report.card import card, markdown
from dgfnet.report.inputs import read
from dgfnet.report.page import render
from dgfnet.results import SHOWN
from dgfnet.settings import Settings

SECTIONS = ("base", "report")


def run(settings: Settings) -> None:
    """Writes artifacts/report/index.html, and model_card_<site>.md of every registered model.

    The page names every result that has not been computed.

    Raises:
        InputError: for an artifact that exists but cannot be read.
    """
    folder = settings.artifacts("report")
    inputs = read(settings)
    today = datetime.now(UTC).date()
    pages = {"index.html": render(settings, inputs, provenance.describe(settings, SECTIONS), today)}
    for site in inputs.sites:
        name, lines = f"model_card_{site.site}.md", card(inputs, site)
        if lines:
            pages[name] = markdown(site.site, lines) + "\n"
        (folder / name).unlink(missing_ok=True)  # of an earlier run
    for name, page in pages.items():
        with files.replacing(folder / name) as temporary:
            temporary.write_text(page, encoding="utf-8")
    provenance.write(folder, settings, sections=SECTIONS)
    for site in inputs.sites:
        if record := site.registered:
            explained = settings.artifacts("attribution", site.site)
            shown = {"report": [folder / "index.html"]}
            shown |= {"attribution": [path for name in SHOWN if (path := explained / name).is_file()]}
            keep_pages(settings, record["model"], record["version"], record["fits"], shown)
