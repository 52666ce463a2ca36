"""The stage `report`: one self-contained page about everything the other stages found."""

from __future__ import annotations

from dgfnet import provenance
from dgfnet.report.inputs import read
from dgfnet.report.page import render
from dgfnet.settings import Settings

SECTIONS = ("base", "report")


def run(settings: Settings) -> None:
    """Writes artifacts/report/index.html; what has not been computed is named on the page.

    Raises:
        InputError: for an artifact that is there but cannot be read.
    """
    folder = settings.artifacts("report")
    page = render(settings, read(settings), provenance.describe(settings, SECTIONS))
    with provenance.replacing(folder / "index.html") as temporary:
        temporary.write_text(page, encoding="utf-8")
    provenance.write(folder, settings, sections=SECTIONS)
