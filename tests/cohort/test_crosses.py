"""The quick search for crosses finds what looking at every window finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from dgfnet.cohort.screening import crosses
from dgfnet.cohort.screening.crosses import _at_size, find_crosses

SHAPES = ("upright", "oblique", "open")


def drawn(reach, shape):
    """A cross in a window with two pixels around it, and its arms, drawn by hand."""
    side = 2 * reach + 5
    middle = side // 2
    arms = [np.zeros((side, side), dtype=bool) for _ in range(4)]
    for step in range(2 if shape == "open" else 1, reach + 1):
        places = [(step, 0), (-step, 0), (0, step), (0, -step)]
        if shape == "oblique":
            places = [(step, step), (-step, -step), (step, -step), (-step, step)]
        for arm, (down, right) in zip(arms, places, strict=True):
            arm[middle + down, middle + right] = True
    cross = np.any(arms, axis=0)
    cross[middle, middle] = shape != "open"
    return cross, arms


def everywhere(grey):
    """Looks at every window: correlation above 0.7, four arms half as strong as the strongest or more."""
    boxes = set()
    for reach in (3, 4, 6):
        side = 2 * reach + 5
        if min(grey.shape) < side:
            continue
        windows = sliding_window_view(grey.astype(float), (side, side))
        for cross, arms in (drawn(reach, shape) for shape in SHAPES):
            unit = cross - cross.mean()
            rest = windows - windows.mean(axis=(2, 3), keepdims=True)
            norms = np.sqrt((unit**2).sum()) * np.maximum(np.sqrt((rest**2).sum(axis=(2, 3))), 1)
            for y, x in np.argwhere((windows * unit).sum(axis=(2, 3)) > 0.7 * norms):
                window = windows[y, x]
                contrasts = [window[arm].mean() - np.median(window[~cross]) for arm in arms]
                if min(contrasts) > 0 and min(contrasts) >= 0.5 * max(contrasts):
                    boxes.add((int(x), int(y), side, side))
    return boxes


@st.composite
def pictures(draw):
    """Speckle, smooth or flat, with crosses that are bright, faint, thick or cut by the border."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    height, width = draw(st.integers(5, 70)), draw(st.integers(5, 70))
    smooth, contrast = draw(st.floats(0.3, 4)), draw(st.sampled_from([0, 1, 5, 40, 120]))
    noise = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), smooth)
    picture = np.clip(draw(st.integers(0, 255)) + contrast * noise, 0, 255).astype(np.uint8)
    for _ in range(draw(st.integers(0, 3))):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        reach, thick = int(rng.integers(2, 8)), int(rng.integers(1, 3))
        for down, right in ((1, 1), (1, -1)) if rng.random() < 0.5 else ((1, 0), (0, 1)):
            ends = [(x + sign * reach * right, y + sign * reach * down) for sign in (-1, 1)]
            cv2.line(picture, *ends, int(rng.integers(0, 256)), thick, cv2.LINE_AA)
    return picture


@given(pictures())
def test_the_bound_fails_no_cross(picture):
    assert set(_at_size(picture)) == everywhere(picture)


@settings(max_examples=25)
@given(pictures())
def test_reduced_pictures_are_searched_too(picture):
    boxes = set(everywhere(picture))
    for factor in (2, 4):
        size = (picture.shape[1] // factor, picture.shape[0] // factor)
        if min(size) >= 11:
            small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
            boxes |= {tuple(factor * value for value in box) for box in everywhere(small)}
    assert set(find_crosses(picture)) == boxes


@given(pictures(), st.integers(17, 40))
def test_bands_change_nothing(picture, rows):
    whole = find_crosses(picture)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(crosses, "BAND", rows * picture.shape[1])
        assert find_crosses(picture) == whole


@pytest.mark.parametrize("reach", [3, 4, 6])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("value", [1, 20, 255])
def test_a_cross_on_black_is_found_in_its_place(reach, shape, value):
    picture = np.zeros((60, 80), dtype=np.uint8)
    side = 2 * reach + 5
    picture[20 : 20 + side, 30 : 30 + side][drawn(reach, shape)[0]] = value
    assert (30, 20, side, side) in find_crosses(picture)
