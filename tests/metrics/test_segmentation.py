from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, jaccard_score

from dgfnet.metrics.segmentation import dice, iou

pairs = arrays(np.bool_, (2, 3, 4, 5), elements=st.booleans())


def test_two_shifted_squares_by_hand():
    truth, predicted = np.zeros((8, 8), bool), np.zeros((8, 8), bool)
    truth[0:4, 0:4] = True
    predicted[0:4, 1:5] = True  # 16 and 16 pixels, 12 in common, 20 in the union
    assert dice(predicted, truth) == pytest.approx(24 / 32)
    assert iou(predicted, truth) == pytest.approx(12 / 20)


def test_limits_per_image():
    empty, full = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    predicted, truth = np.stack([empty, full, full, empty]), np.stack([empty, empty, full, full])
    assert dice(predicted, truth).tolist() == [1, 0, 1, 0]
    assert iou(predicted, truth).tolist() == [1, 0, 1, 0]


@given(pairs)
def test_dice_is_a_function_of_iou_and_neither_minds_the_order(masks):
    predicted, truth = masks
    overlap = iou(predicted, truth)
    assert overlap.shape == (3,)
    assert dice(predicted, truth) == pytest.approx(2 * overlap / (1 + overlap))
    assert iou(truth, predicted) == pytest.approx(overlap)
    assert ((overlap >= 0) & (overlap <= 1)).all()


@given(pairs)
def test_agrees_with_scikit_learn_on_pixels(masks):
    found = zip(*masks, dice(*masks), iou(*masks), strict=True)
    for predicted, truth, one_dice, one_iou in found:
        if (predicted | truth).any():
            assert one_dice == pytest.approx(f1_score(truth.ravel(), predicted.ravel()))
            assert one_iou == pytest.approx(jaccard_score(truth.ravel(), predicted.ravel()))


def test_any_leading_shape():
    masks = np.ones((2, 3, 1, 4, 4), bool)
    assert dice(masks, masks).shape == (2, 3, 1)
    assert iou(masks[0, 0, 0], masks[0, 0, 0]).shape == ()


def test_masks_that_are_not_boolean_or_do_not_match_are_refused():
    mask = np.ones((4, 4), bool)
    with pytest.raises(ValueError, match="must be boolean, found uint8"):
        dice(mask.astype(np.uint8) * 255, mask)
    with pytest.raises(ValueError, match="share a shape"):
        iou(mask, np.ones((2, 4, 4), bool))
    with pytest.raises(ValueError, match="share a shape"):
        dice(mask[0], mask[0])
