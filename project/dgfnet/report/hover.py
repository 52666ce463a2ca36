"""SVG that stands in the page itself and says numbers where the pointer rests: no script, no network.

An image cannot be pointed into; inline SVG can. The points are drawn invisibly over a curve by matplotlib, so
that they lie where it lies, and each gets an SVG `<title>`, which browsers show as a tooltip.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

SVG, LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
SIZE = 8  # diameter of what the pointer has to meet, in points


class Hover:
    """Points of one figure with words for each."""

    def __init__(self) -> None:
        """Starts without points."""
        self._words: dict[str, tuple[str, ...]] = {}

    def add(self, axes: Axes, x: ArrayLike, y: ArrayLike, words: Sequence[str], colour: str) -> None:
        """Lays points over a curve that show in its colour under the pointer.

        Args:
            axes: what the curve is drawn in; its limits must be set and hold every point.
            x: of every point, data coordinates.
            y: alike.
            words: of every point.
            colour: of the curve.
        """
        name = f"hover-{len(self._words)}"
        (points,) = axes.plot(x, y, "o", markersize=SIZE, color=colour, alpha=0, label="_", clip_on=False)
        points.set(gid=name, zorder=10)  # above lines and legend
        self._words[name] = tuple(words)

    def inline(self, figure: Figure, name: str) -> str:
        """Returns the figure as an `<svg>` element for an HTML page.

        Args:
            figure: with the points of this object.
            name: unlike that of any other figure of the page; its ids begin with it.
        """
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        root = ElementTree.fromstring(buffer.getvalue())  # without comments and document type
        for parent in root.iter():
            for child in [*parent]:
                # a style would be one of the whole page
                if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                    parent.remove(child)
        for group in root.iter(f"{{{SVG}}}g"):
            if words := self._words.get(group.get("id", "")):
                group.set("class", "hover")
                points = [*group.iter(f"{{{SVG}}}use")]
                for point, text in zip(points, words, strict=True):
                    ElementTree.SubElement(point, f"{{{SVG}}}title").text = text
        for element in root.iter():
            for key, value in element.attrib.items():
                if key == "id":
                    element.set(key, f"{name}-{value}")
                elif value.startswith("#") and key == f"{{{LINK}}}href":
                    element.set(key, f"#{name}-{value[1:]}")
                else:
                    element.set(key, re.sub(r"url\(#", f"url(#{name}-", value))
        for prefix, space in (("", SVG), ("xlink", LINK)):
            ElementTree.register_namespace(prefix, space)
        return ElementTree.tostring(root, encoding="unicode")
