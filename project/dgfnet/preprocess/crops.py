"""The stored crop: exactly the paper's crop in its centre, and real tissue in a ring around it.

Training rotates by up to 15 degrees. On a crop of the network's size that turns corners black which hold
tissue in every evaluation image: the network would train on a frame it never meets again. So each stored crop
has `pad` more pixels on every side. Resizing one larger square would not do: its pixels would fall on a
slightly different grid and the centre would no longer be the paper's crop, so evaluation would depend on the
margin. Therefore the larger square is resized on its own and the paper's crop, with its own targets, is
pasted over the centre. Both squares share their centre and the larger one is at most one pixel too large or
too small for the scale of the paper's crop, so that at the seam the two are at most half an image pixel
apart.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from dgfnet.preprocess.boundaries import boundary_iterations, nodule_boundary, tissue_boundary
from dgfnet.preprocess.roi import Square, crop, find_square, resize_image, resize_mask
from dgfnet.sections.data import Preprocess
from dgfnet.vocabulary import Modality

Plane = NDArray[np.uint8]
Resize = Callable[[Plane, int], Plane]


def pad_of(size: int, margin: float) -> int:
    """Returns the width of the stored ring, pixels, for crops of `size`; stored are size + 2 * pad."""
    return round(margin * size)


def stored_crop(image: Plane, mask: Plane, modality: Modality, settings: Preprocess) -> tuple[Plane, Square]:
    """Cuts image, nodule mask and boundary of an image, as the archive holds them.

    Args:
        image: (height, width), 8-bit grey.
        mask: (height, width) of 0 and 1.
        modality: decides size, dilations and which boundary is the target.
        settings: the numbers of paper section 2.

    Returns:
        planes: (3, S, S) uint8: image 0-255, nodule mask 0/1, boundary 0/1 (US: of the nodule, CT: of the
            tissue around).
        square: the region of interest, the central S - 2 * pad pixels of the planes, in pixels of the image.

    Raises:
        InputError: when the mask is empty.
    """
    size = settings.size(modality)
    pad = pad_of(size, settings.margin)
    square = find_square(mask, settings.dilations(modality))
    centre, wide = _two_squares(image, square, size, pad, resize_image)
    nodule = _paste(*_two_squares(mask, square, size, pad, resize_mask), pad)
    if modality == "us":
        rim = nodule_boundary(mask, boundary_iterations(square.side, settings.boundary_fraction))
        boundary = _paste(*_two_squares(rim, square, size, pad, resize_mask), pad)
    else:  # each from its own image, so that the seam is no edge
        boundary = _paste(tissue_boundary(centre, settings), tissue_boundary(wide, settings), pad)
    return np.stack([_paste(centre, wide, pad), nodule, boundary]), square


def _two_squares(plane: Plane, square: Square, size: int, pad: int, resize: Resize) -> tuple[Plane, Plane]:
    """Cuts the paper's crop (size, size), and the larger one (size + 2 * pad, twice) around it."""
    ring = round(square.side * pad / size)
    centre = resize(crop(plane, square), size)
    return centre, resize(crop(plane, square.widened(ring)), size + 2 * pad)


def _paste(centre: Plane, wide: Plane, pad: int) -> Plane:
    pasted = wide.copy()
    inner = slice(pad, pad + centre.shape[0])
    pasted[inner, inner] = centre
    return pasted
