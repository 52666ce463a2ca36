"""Writes docs/reference/measured-features.md: the list between its markers is made from dgfnet/measured."""

from __future__ import annotations

import textwrap
from pathlib import Path

from dgfnet.measured.definitions import DEFINITIONS, Definition

PAGE = Path(__file__).parent / "reference" / "measured-features.md"
START, END = "<!-- list: make docs -->", "<!-- end of list -->"
WIDTH = 120
HEADINGS = {
    ("us", "ct"): "On ultrasound and CT",
    ("us",): "On ultrasound alone",
    ("ct",): "On CT alone",
}


def page(text: str) -> str:
    """Returns the page with the list between its markers made anew."""
    before, rest = text.split(START)
    after = rest.split(END)[1]
    parts = []
    for modalities, heading in HEADINGS.items():
        entries = [entry for entry in DEFINITIONS if entry.modalities == modalities]
        parts += [f"### {heading}: {len(entries)}", "\n".join(line(entry) for entry in entries)]
    return f"{before}{START}\n" + "\n\n".join(parts) + f"\n{END}{after}"


def line(entry: Definition) -> str:
    """Returns a feature as an item of the list."""
    facts = [fact for fact in (entry.unit, f"IBSI {entry.ibsi}" if entry.ibsi else "") if fact]
    brackets = f" ({'; '.join(facts)})" if facts else ""
    text = f"- `{entry.name}`{brackets}: {entry.text}."
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
