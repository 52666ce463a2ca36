"""Drawings are found, echoes are not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.cohort.screening.overlays import coloured, crosses, dotted_lines, find, words


def echoes(seed, shape=(300, 400), brightness=60.0):
    """Speckle blurred by a beam that is broader than long, as in ultrasound."""
    noise = np.random.default_rng(seed).rayleigh(1.0, shape)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigmaX=2.2, sigmaY=1.0)
    return np.clip(blurred / blurred.mean() * brightness, 0, 255).astype(np.uint8)


def kinds(picture):
    return {drawing.kind for drawing in find(picture)}


def cross(picture, x, y, reach, value, oblique=False, inner=0, thick=1):
    for sign_x, sign_y in ((1, 1), (1, -1)) if oblique else ((1, 0), (0, 1)):
        for side in (1, -1):
            a, b = side * inner, side * reach
            cv2.line(
                picture, (x + a * sign_x, y + a * sign_y), (x + b * sign_x, y + b * sign_y), value, thick
            )
    return picture


@pytest.mark.parametrize("seed", range(8))
def test_echoes_alone_are_clean(seed):
    assert find(echoes(seed, brightness=40.0 + 12 * seed)) == ()


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("inner", [0, 2])
@pytest.mark.parametrize("reach", [3, 4, 5, 6])
def test_a_caliper_is_found_where_it_is(reach, inner, oblique):
    picture = cross(echoes(1), 211, 140, reach, 190, oblique, inner if not oblique else 0)
    boxes = crosses(picture)
    assert len(boxes) == 1
    x, y, w, h = boxes[0]
    assert abs(x + w / 2 - 211.5) <= 1.5
    assert abs(y + h / 2 - 140.5) <= 1.5


def test_large_calipers_of_large_pictures_are_found():
    picture = cross(echoes(2, (900, 1200)), 600, 450, 11, 220, thick=2)
    x, y, w, h = crosses(picture)[0]
    assert abs(x + w / 2 - 600) <= 4
    assert abs(y + h / 2 - 450) <= 4


def test_a_letter_with_three_arms_is_no_caliper():
    picture = echoes(3)
    cv2.line(picture, (196, 100), (204, 100), 230)
    cv2.line(picture, (200, 100), (200, 108), 230)
    assert crosses(picture) == []


@pytest.mark.parametrize(("dx", "dy"), [(4, 0), (0, 5), (4, 3), (6, -6)])
def test_a_dotted_line_is_found_from_end_to_end(dx, dy):
    picture = echoes(4)
    for step in range(12):
        picture[150 + dy * step, 120 + dx * step] = 255
    x, y, w, h = max(dotted_lines(picture), key=lambda box: box[2] * box[3])
    assert (w - 1, h - 1) == (11 * abs(dx), 11 * abs(dy))
    assert (x, y) == (120, 150 + min(0, 11 * dy))


def test_five_dots_and_marks_of_a_scale_are_no_line():
    picture = echoes(5)
    picture[50:70:4, 100] = 255  # five
    picture[20:280:20, 300] = 255  # a scale's marks are further apart
    assert dotted_lines(picture) == []


def ring(picture, count, axes, turn=0.0, missing=0, value=230):
    """Draws dots around an ellipse at (200, 150), at equal angles; the first ones may be missing."""
    for angle in np.linspace(0, 2 * np.pi, count, endpoint=False)[missing:]:
        u, v = axes[0] * np.cos(angle), axes[1] * np.sin(angle)
        x, y = 200 + u * np.cos(turn) - v * np.sin(turn), 150 + u * np.sin(turn) + v * np.cos(turn)
        picture[round(y), round(x)] = value
    return picture


@pytest.mark.parametrize(
    ("count", "axes", "turn"), [(9, (14, 10), 0.0), (24, (40, 25), 0.6), (40, (60, 60), 0.0)]
)
def test_dots_around_an_ellipse_are_found_where_they_are(count, axes, turn):
    ((x, y, w, h),) = dotted_lines(ring(echoes(1), count, axes, turn))
    assert abs(x + w / 2 - 200) <= 2.5
    assert abs(y + h / 2 - 150) <= 2.5
    wide = np.hypot(axes[0] * np.cos(turn), axes[1] * np.sin(turn))
    assert abs(w - 2 * wide) <= 0.15 * 2 * wide + 3


def test_an_arc_seven_dots_and_dots_beside_an_ellipse_are_none():
    assert dotted_lines(ring(echoes(1), 24, (40, 25), missing=8)) == []  # open by a third
    assert dotted_lines(ring(echoes(1), 7, (14, 10))) == []
    rng = np.random.default_rng(3)
    scattered = echoes(1)
    for x, y in rng.integers(-40, 40, (24, 2)):
        scattered[150 + y, 200 + x] = 230
    assert dotted_lines(scattered) == []


def test_bright_spots_of_many_greys_around_an_ellipse_are_none():
    """Calcifications at the rim of a nodule are no drawing."""
    picture = echoes(1)
    for number, angle in enumerate(np.linspace(0, 2 * np.pi, 24, endpoint=False)):
        place = round(150 + 25 * np.sin(angle)), round(200 + 40 * np.cos(angle))
        picture[place] = 160 + 90 * (number % 3) / 2
    assert dotted_lines(picture) == []


def test_a_dotted_ellipse_among_other_dots_is_found():
    picture = ring(echoes(1), 24, (40, 25))
    picture[150, 200] = picture[145, 206] = picture[100, 60] = 230  # inside and far away
    ((x, _, w, _),) = dotted_lines(picture)
    assert (x, w) == (160, 81)


def test_colour_counts_and_grey_in_three_channels_does_not():
    picture = np.repeat(echoes(6)[:, :, None], 3, axis=2)
    assert coloured(picture) == []
    picture[100:103, 200:204] = (200, 190, 40)
    assert coloured(picture) == [(200, 100, 4, 3)]
    assert "colour" in kinds(picture)


@pytest.mark.parametrize("text", ["TIRADS 4C", "Nodule 1", "14.2 mm", "LEFT"])
@pytest.mark.parametrize("scale", [0.4, 0.6, 0.9])
@pytest.mark.parametrize("brightness", [30.0, 110.0])
def test_words_are_found_on_dark_and_on_bright_tissue(text, scale, brightness):
    picture = cv2.putText(
        echoes(7, brightness=brightness),
        text,
        (90, 200),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        255,
        1,
        cv2.LINE_AA,
    )
    boxes = words(picture)
    assert boxes
    width, height = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0]
    for x, y, w, h in boxes:
        assert 85 <= x <= x + w <= 95 + width
        assert 195 - height <= y <= y + h <= 205 + height // 2


def test_a_lone_letter_marks_the_side_of_the_probe():
    picture = cv2.putText(echoes(8), "T", (350, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
    assert words(picture) == []


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 128, 255]))
def test_pictures_of_any_size_are_looked_at(height, width, value):
    assert find(np.full((height, width), value, dtype=np.uint8)) == ()
