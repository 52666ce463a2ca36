"""Writes docs/reference/api.md from the public names of the package: `make docs`."""

from __future__ import annotations

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import dgfnet

ENTRY = re.compile(r" {4}\w+: ")  # a parameter, an attribute or an error
PAGE = Path(__file__).parent / "reference" / "api.md"
HEAD = """# The public interface

For programs that import the package. These names stay; modules behind them may change between releases.

```python
from pathlib import Path

import dgfnet

settings = dgfnet.load_settings(Path("params.yaml"))
champion = dgfnet.load_champion(settings, "central")
```

`import dgfnet` takes no time: a name is imported when it is first used. The page is made by `make docs` from
signatures and docstrings.
"""


def page() -> str:
    """Returns the page: signature and docstring of every public name."""
    parts = [HEAD]
    for name in dgfnet.__all__:
        value = getattr(dgfnet, name)
        parts.append(f"## {name}\n\n```python\n{signature(name, value)}\n```\n\n{text(value)}\n")
    return "\n".join(parts)


def signature(name: str, value: Any) -> str:
    """Returns the import line and, of a function, its parameters one a line."""
    origin = f"from dgfnet import {name}"
    if inspect.isclass(value):
        return origin
    found = inspect.signature(value)
    inside = "".join(f"    {parameter},\n" for parameter in found.parameters.values())
    return f"{origin}\n\n{name}(\n{inside}) -> {found.return_annotation}".replace("'", "")


def text(value: Any) -> str:
    """Returns the docstring with its sections as bold words and their entries as a list."""
    lines: list[str] = []
    for line in (inspect.getdoc(value) or "").split("\n"):
        if line.endswith(":") and line[:-1] in ("Args", "Returns", "Raises", "Attributes"):
            lines.append(f"**{line[:-1]}**\n")
        elif line.startswith("    ") and not line.startswith("     ") and ENTRY.match(line):
            lines.append(f"- {line.strip()}")
        elif line.startswith("     "):
            lines.append(textwrap.indent(line.strip(), "  "))
        else:
            lines.append(line.strip())
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
