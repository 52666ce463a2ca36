"""Outlines nodules in boxes with the graphs of trained networks, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dgfnet.graphs import open_session
from dgfnet.imaging.boxes import Box, bounding_box, ellipse
from dgfnet.outline.polar import polar, within
from dgfnet.preprocess.roi import Square, crop, find_square, resize_image
from dgfnet.sections.data import Preprocess
from dgfnet.vocabulary import Modality

Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Radii:
    """A network as a graph that other processes can be sent.

    Attributes:
        graph: content of the ONNX file.
        threads: that run it.
    """

    graph: bytes
    threads: int = 1

    def __call__(self, rays: Grey) -> NDArray[np.float32]:
        """Returns where outlines cross rays, (B, RAYS), from grey values along these, (B, RAYS, STEPS)."""
        return np.asarray(_session(self.graph, self.threads).run(None, {"rays": rays})[0])


@cache
def _session(graph: bytes, threads: int) -> onnxruntime.InferenceSession:
    return open_session(graph, threads)


@dataclass(frozen=True, eq=False)
class Outliner:
    """Outlines the nodule in a box.

    Attributes:
        preprocess: settings that make crops.
        networks: per modality; without one the nodule is taken for the ellipse in the box.
        needed: a model reads outlines; of one that reads none the box alone matters, and it is left.
    """

    preprocess: Preprocess
    networks: Mapping[Modality, Radii] = field(default_factory=dict)
    needed: bool = True

    def __call__(self, modality: Modality, grey: Grey, box: Grey) -> Grey:
        """Returns the nodule in a box, (height, width) of 0 and 1.

        Args:
            modality: of the picture.
            grey: (height, width), as the networks see it.
            box: (height, width), 1 in the box.
        """
        if not self.needed:
            return box
        around = bounding_box(box)
        if modality not in self.networks:
            return ellipse(grey.shape, around)
        square = find_square(box, self.preprocess.dilations(modality))
        size = self.preprocess.size(modality)
        rays = polar(resize_image(crop(grey, square), size), in_crop(around, square, size))
        made = within(self.networks[modality](rays[None])[0], around, grey.shape)
        return made if made.any() else ellipse(grey.shape, around)


def in_crop(box: Box, square: Square, size: int) -> Box:
    """Returns a box of a picture in pixels of the crop of a square, resized to size x size."""
    scale = size / square.side
    left, right = (scale * (edge - square.left) for edge in (box.left, box.right))
    top, bottom = (scale * (edge - square.top) for edge in (box.top, box.bottom))
    return Box(left, top, right, bottom)
