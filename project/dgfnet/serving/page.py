"""The page at / of `dgfnet serve`: one file, without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from importlib.resources import files
from typing import Any

from dgfnet.bundle.model import ScoringModel
from dgfnet.serving.decode import LARGEST_FILE, MOST_IMAGES


def page_of(model: ScoringModel, name: str, version: str, pacs: bool = False, sends: bool = False) -> str:
    """Returns the page for a model, as HTML.

    Args:
        model: that answers.
        name: of it in the registry.
        version: of it.
        pacs: pictures may be chosen from a PACS.
        sends: answers may be stored in it.
    """
    facts: dict[str, Any] = {
        "model": name,
        "version": version,
        "site": model.metadata.get("site"),
        "modalities": list(model.usable),
        "needed": list(model.modalities),
        "measures": model.units is not None,
        "record": [{"name": name, **vars(column)} for name, column in model.record.items()],
        "largestFile": LARGEST_FILE,
        "mostImages": MOST_IMAGES,
        "pacs": pacs,
        "sends": sends,
        "window": [model.preprocess.window_level, model.preprocess.window_width],
    }
    told = json.dumps(facts)
    return (
        _template()
        .replace("{{facts}}", html.escape(told, quote=True))
        .replace("{{title}}", html.escape(name))
    )


@cache
def _template() -> str:
    return files("dgfnet.serving").joinpath("page.html").read_text(encoding="utf-8")


def _digest(element: str) -> str:
    """Returns the digest of the page's only script or style, as a Content-Security-Policy names it."""
    text = _template()
    content = text[text.index(f"<{element}>") + len(element) + 2 : text.index(f"</{element}>")]
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


@cache
def headers() -> dict[str, str]:
    """Returns the headers of the page: it runs its own script and style, and asks this server alone."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; script-src {_digest('script')}; style-src {_digest('style')}; "
            "img-src data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        ),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
