"""The stage `preprocess`: the screened cohort becomes an archive with contact sheets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from dgfnet import provenance
from dgfnet.cohort.screened import load_screened
from dgfnet.parallel import workers
from dgfnet.preprocess.archive import HEAD
from dgfnet.preprocess.build import build
from dgfnet.preprocess.contact import write_sheet
from dgfnet.results import sources
from dgfnet.settings import Settings
from dgfnet.vocabulary import MODALITIES


def run(settings: Settings) -> None:
    """Writes artifacts/preprocess: archive, measured.parquet, two contact sheets, provenance.json.

    Raises:
        InputError: listing every image that cannot be used.
    """
    folder = settings.artifacts("preprocess")
    provenance.same_md5(settings)
    processes = workers(settings.resources.memory_mb)
    archive = build(load_screened(settings), settings.preprocess, folder, processes, measuring=True)
    _report(folder)
    for name in MODALITIES:
        sheet = folder / f"contact_{name}.png"
        sheet.unlink(missing_ok=True)
        if len(archive.planes(name)):
            write_sheet(sheet, archive, name)
    made_from = sources(settings, settings.artifacts("cohort", "images.parquet"))
    provenance.write(folder, settings, ("base", "preprocess"), made_from=made_from)


def _report(folder: Path) -> None:
    """Prints how many masks were laid on images although only one of the two says where it lies."""
    matched = json.loads((folder / HEAD).read_text(encoding="utf-8"))["matched_by"]
    for name in MODALITIES:
        if count := matched[name].get("assumed"):
            print(
                f"{name}: {count} mask(s) taken pixel by pixel, for only one of image and mask says where it "
                f"lies (docs/reference/image-and-mask.md); look at contact_{name}.png",
                file=sys.stderr,
            )
