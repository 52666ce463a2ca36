from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.dataset.augment import Augmenter, Geometry
from dgfnet.dataset.pairs import ahead, evaluation_batches, pairs_of, patient_key, training_batches
from dgfnet.dataset.rectangle import Rectangle
from dgfnet.preprocess.archive import centre

BOTH = ("us", "ct")


def epoch(archive, nodules, settings, order=None, size=2, seed=3, modalities=BOTH, **how):
    order = np.arange(len(nodules)) if order is None else np.asarray(order)
    rng = np.random.default_rng(seed)
    return list(training_batches(archive, nodules, order, modalities, size, settings, rng, **how))


@pytest.fixture
def as_stored(tiny):
    return tiny.training.augment.model_copy(update={"probability": 0.0})


@pytest.fixture
def always(tiny):
    """Every geometric transform, always; grey values as they are."""
    return tiny.training.augment.model_copy(update={"probability": 1.0, "brightness": 0.0, "contrast": 0.0})


@given(st.integers(0, 4), st.integers(0, 4))
def test_cohort_and_patient_make_the_key(a, b):
    names = [("main", "P1"), ("external", "P1"), ("main", "P2"), ("mai", "nP1"), ("main", "P1 ")]
    assert (patient_key(*names[a]) == patient_key(*names[b])) == (a == b)


def test_keys_are_of_the_type_batches_carry(nodules):
    assert nodules.patients.dtype == np.int64
    assert nodules.patients[0] == nodules.patients[1] == patient_key("main", "P1")
    assert len(set(nodules.patients.tolist())) == 4


@pytest.mark.parametrize("seed", range(4))
def test_every_nodule_of_the_order_comes_once_with_images_of_its_own(by_number, nodules, as_stored, seed):
    order = np.random.default_rng(seed).permutation(5)
    place = 0
    for batch in epoch(by_number, nodules, as_stored, order, seed=seed):
        for b in range(len(batch.label)):
            nodule = order[place]
            assert batch.patients[b] == nodules.patients[nodule]
            assert np.array_equal(batch.label[b], nodules.labels[nodule], equal_nan=True)
            for modality in BOTH:
                assert int(batch.images[modality][b, 0, 0]) in nodules.rows[modality][nodule]
            place += 1
    assert place == 5


def test_only_the_order_is_drawn(by_number, nodules, as_stored):
    batches = epoch(by_number, nodules, as_stored, [4, 2], size=8)
    assert [batch.patients.tolist() for batch in batches] == [nodules.patients[[4, 2]].tolist()]


def test_in_the_long_run_every_image_is_drawn_equally_often(by_number, nodules, as_stored):
    drawn = Counter()
    for seed in range(200):
        for batch in epoch(by_number, nodules, as_stored, [3], seed=seed):
            drawn[int(batch.images["us"][0, 0, 0])] += 1
    assert set(drawn) == set(nodules.rows["us"][3].tolist())
    assert all(25 < count < 75 for count in drawn.values())  # 50 +- 4 standard deviations


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [(5, 2, [2, 2, 1]), (5, 4, [3, 2]), (5, 5, [5]), (5, 30, [5]), (4, 2, [2, 2])],
)
def test_batches_are_as_equal_as_they_can_be(by_number, nodules, as_stored, count, size, expected):
    batches = epoch(by_number, nodules, as_stored, range(count), size=size)
    assert [len(batch.label) for batch in batches] == expected


def test_a_modality_not_asked_for_is_not_loaded(by_number, nodules, as_stored):
    for batch in epoch(by_number, nodules, as_stored, modalities=("ct",)):
        assert set(batch.images) == set(batch.targets) == {"ct"}


def test_without_augmentation_the_crop_is_the_centre(blobs, nodules, as_stored):
    for modality, pad in blobs.pad.items():
        stored = blobs.planes(modality)[int(nodules.largest[modality][2])]
        augmented = Augmenter(as_stored, blobs.size[modality])(stored)
        np.testing.assert_array_equal(augmented, stored[:, pad:-pad, pad:-pad])


def centroid(mask):
    return np.argwhere(mask).mean(axis=0)


def augmented(archive, nodules, settings, seeds):
    """Modality, image (as a mask) and target of every augmented picture of some epochs."""
    for seed in seeds:
        for batch in epoch(archive, nodules, settings, seed=seed):
            for modality in BOTH:
                image, targets = batch.images[modality].numpy(), batch.targets[modality].numpy()
                assert set(np.unique(targets)) == {0, 1}
                np.testing.assert_array_equal(targets[:, 0], targets[:, 1])
                yield from zip([modality] * len(image), image > 127, targets[:, 0], strict=True)


def test_image_and_targets_move_together(blobs, nodules, always):
    """Targets are resampled to the nearest pixel, the image linearly: the contours differ a little."""
    kernel, moved, count = np.ones((3, 3), dtype=np.uint8), 0, 0
    stored = {m: [centroid(centre(mask, 32)) for mask in blobs.planes(m)[:, 1]] for m in BOTH}
    for modality, picture, mask in augmented(blobs, nodules, always, range(20)):
        assert np.abs(centroid(picture) - centroid(mask)).max() < 1.0
        outside = np.uint8(picture) > cv2.dilate(mask, kernel)
        outside |= mask > cv2.dilate(np.uint8(picture), kernel)
        assert outside.sum() <= 4
        moved += min(np.abs(centroid(mask) - still).max() for still in stored[modality]) > 0.5
        count += 1
    assert count == 200
    assert moved > 100  # most lie where no stored picture lies


def test_targets_do_not_drift_against_the_image(blobs, nodules, always):
    shifts = [
        centroid(image) - centroid(mask) for _, image, mask in augmented(blobs, nodules, always, range(20))
    ]
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.1)


def test_grey_values_change_without_the_targets(blobs, nodules, only):
    augmenter = Augmenter(only(brightness=0.2, contrast=0.2), 32)
    augmenter.reseed(1)
    stored = blobs.us[0].copy()
    stored[0] = 100
    seen = set()
    for _ in range(10):
        image, nodule, boundary = augmenter(stored)
        assert len(np.unique(image)) == 1
        seen.add(int(image[0, 0]))
        np.testing.assert_array_equal(nodule, centre(stored[1], 32)[:, ::-1])  # only the flip is left
        np.testing.assert_array_equal(boundary, nodule)
    assert len(seen) > 5


@pytest.mark.parametrize("size", [32, 64, 96])
def test_rotation_and_crop_find_tissue_in_the_corners(tiny, only, size):
    """A white picture stays white: the stored margin is wide enough for 15 degrees."""
    settings = only(rotation_degrees=15.0, smallest_crop=0.9)
    pad = -(-size * tiny.preprocess.margin // 1)
    white = np.full((3, size + 2 * int(pad), size + 2 * int(pad)), 255, dtype=np.uint8)
    augmenter = Augmenter(settings, size)
    augmenter.reseed(2)
    for _ in range(60):
        assert augmenter(white)[0].min() == 255


def test_an_equal_seed_repeats_an_epoch_and_another_does_not(blobs, nodules, tiny):
    def pixels(seed):
        return torch.cat(
            [batch.images["us"] for batch in epoch(blobs, nodules, tiny.training.augment, seed=seed)]
        )

    np.random.seed(1)  # noqa: NPY002 - the package must not look at it
    first = pixels(5)
    np.random.seed(2)  # noqa: NPY002
    torch.manual_seed(2)
    assert torch.equal(pixels(5), first)
    assert not torch.equal(pixels(6), first)


def test_an_epoch_does_not_depend_on_the_ones_before(blobs, nodules, tiny):
    def pixels(seed):
        rng = np.random.default_rng(seed)
        batches = training_batches(blobs, nodules, np.arange(5), BOTH, 2, tiny.training.augment, rng)
        return torch.cat([batch.images["ct"] for batch in batches])

    third = pixels(3)
    pixels(1), pixels(2)
    assert torch.equal(pixels(3), third)


@pytest.mark.parametrize("size", [1, 2, 64])
def test_evaluation_shows_the_largest_images_in_order_as_preprocessed(by_number, nodules, size):
    # rows by hand: first images of N1-N5 are rows 0-4, and so on in turns
    largest = {"us": [5, 1, 2, 11, 4], "ct": [0, 9, 2, 3, 4]}
    batches = list(evaluation_batches(by_number, nodules, pairs_of(nodules, BOTH, "largest"), size))
    assert sum(len(batch.label) for batch in batches) == 5
    for modality in BOTH:
        shown = torch.cat([batch.images[modality] for batch in batches])
        assert shown.shape == (5, 32, 32)
        assert shown[:, 0, 0].tolist() == largest[modality]
    np.testing.assert_array_equal(torch.cat([b.label for b in batches]), nodules.labels)
    assert torch.cat([b.patients for b in batches]).tolist() == nodules.patients.tolist()


def test_all_images_stand_in_a_pair_and_the_largest_in_the_first(by_number, nodules):
    # rows of N1 and N3 by hand, as above: all their images, the largest first
    pairs = pairs_of(nodules, BOTH, "all")
    for place in range(5):
        own = pairs.nodule == place
        counts = [len(nodules.rows[name][place]) for name in BOTH]
        assert own.sum() == max(counts)
        for name in BOTH:
            rows = pairs.rows[name][own]
            assert set(rows) == set(nodules.rows[name][place])
            assert rows[0] == nodules.largest[name][place]
            assert np.ptp(np.unique(rows, return_counts=True)[1]) <= 1  # no image counts twice as often
    numbered = replace(nodules, record=np.arange(5.0)[:, None])
    (batch,) = evaluation_batches(by_number, numbered, pairs, 64)
    assert batch.record[:, 0].tolist() == pairs.nodule.tolist()  # each pair has its nodule's
    assert batch.images["us"][:, 0, 0].tolist() == pairs.rows["us"].tolist()
    assert batch.patients.tolist() == nodules.patients[pairs.nodule].tolist()
    assert len(pairs_of(nodules, ("us",), "all").nodule) == sum(map(len, nodules.rows["us"]))


def test_log_odds_are_averaged_over_the_pairs_of_a_nodule(nodules):
    pairs = pairs_of(nodules.take(np.array([0, 2])), BOTH, "all")
    values = np.arange(len(pairs.nodule), dtype=float)
    first = int((pairs.nodule == 0).sum())
    np.testing.assert_allclose(pairs.average(values), [values[:first].mean(), values[first:].mean()])


def test_evaluation_cuts_the_margin_off(blobs, nodules):
    (batch,) = evaluation_batches(blobs, nodules, pairs_of(nodules, ("us",), "largest"), 64)
    stored = blobs.us[nodules.largest["us"]][:, :, 4:36, 4:36]
    np.testing.assert_array_equal(batch.images["us"], stored[:, 0])
    np.testing.assert_array_equal(batch.targets["us"], stored[:, 1:])


def test_taking_nodules_keeps_their_facts_together(nodules):
    taken = nodules.take(np.array([4, 0]))
    assert taken.ids == ("N5", "N1")
    assert taken.patients.tolist() == nodules.patients[[4, 0]].tolist()
    assert taken.labels.tolist() == [1.0, 1.0]
    assert [rows.tolist() for rows in taken.rows["us"]] == [
        nodules.rows["us"][4].tolist(),
        nodules.rows["us"][0].tolist(),
    ]
    assert taken.largest["ct"].tolist() == nodules.largest["ct"][[4, 0]].tolist()
    assert len(nodules.take(np.array([], dtype=np.int64))) == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_give_the_very_same_batches(blobs, nodules, tiny, workers):
    plain = epoch(blobs, nodules, tiny.training.augment, seed=4)
    ahead_of_time = epoch(blobs, nodules, tiny.training.augment, seed=4, workers=workers)
    for one, other in zip(plain, ahead_of_time, strict=True):
        assert torch.equal(one.patients, other.patients)
        for modality in BOTH:
            assert torch.equal(one.images[modality], other.images[modality])
            assert torch.equal(one.targets[modality], other.targets[modality])


def test_a_consumer_that_stops_early_leaves_no_thread_behind(blobs, nodules, tiny):
    order, rng = np.tile(np.arange(5), 40), np.random.default_rng(0)
    batches = training_batches(blobs, nodules, order, BOTH, 2, tiny.training.augment, rng, workers=2)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]


def test_a_fault_in_a_thread_reaches_the_consumer():
    def make(number):
        if number == 2:
            raise ValueError("broken picture")
        return number

    results = ahead(make, range(5), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="broken picture"):
        next(results)


def test_a_rectangle_changes_what_is_seen_in_training_and_evaluation(blobs, nodules, as_stored):
    rectangle = Rectangle(75, 1.0)
    trained = epoch(blobs, nodules, as_stored, size=8, modalities=("us",), rectangle=rectangle)
    (evaluated,) = evaluation_batches(blobs, nodules, pairs_of(nodules, ("us",), "largest"), 64, rectangle)
    for batch in (*trained, evaluated):
        assert batch.images["us"].shape == (5, 75, 75)
        assert (batch.images["us"].amax(dim=(1, 2)) == 255).all()


def test_a_rotation_turns_by_the_angle_it_draws(only):
    """A vertical bar through the centre, rotated alone: its tilt stays within 15 degrees and gets near."""
    stored = np.zeros((3, 80, 80), dtype=np.uint8)
    stored[:, :, 38:42] = np.array([255, 1, 1])[:, None, None]
    augmenter, tilts = Augmenter(only(rotation_degrees=15.0), 64), []
    augmenter.reseed(0)
    for _ in range(200):
        _, nodule, _ = augmenter(stored)
        rows, columns = np.nonzero(nodule)
        tilts.append(np.degrees(np.arctan(np.polyfit(rows, columns, 1)[0])))
    assert 14 < np.max(tilts) < 15.6
    assert -15.6 < np.min(tilts) < -14
    assert abs(np.mean(tilts)) < 3 * 15 / np.sqrt(3 * 200)


def test_a_crop_shows_at_least_its_share_of_the_area(only):
    """A picture of its own x coordinate: the range seen is the root of the area's share."""
    stored = np.zeros((3, 80, 80), dtype=np.uint8)
    stored[0] = (np.arange(80) * 3)[None]
    augmenter, shares = Augmenter(only(smallest_crop=0.81), 64), []
    augmenter.reseed(0)
    for _ in range(400):
        row = augmenter(stored)[0][32].astype(float) / 3
        shares.append((row.max() - row.min()) / 63)
        assert row.min() >= 8 - 0.5
        assert row.max() <= 71 + 0.5
    areas = np.square(shares)
    assert 0.80 < min(areas) < 0.83
    assert max(areas) > 0.98
    # uniform between 0.81 and 1: mean 0.905, standard error 0.0027
    assert abs(areas.mean() - 0.905) < 0.012


@pytest.mark.parametrize("size", [32, 64, 288])
def test_elastic_displacement_is_a_share_of_the_side_at_every_size(only, size):
    geometry = Geometry(only(elastic_displacement=0.01, elastic_smoothness=0.08), size)
    geometry.set_random_seed(0)
    fields = []
    for _ in range(60):
        source = geometry.get_params_dependent_on_data({"shape": (size + 8, size + 8)}, {})
        still = np.arange(size)[::-1] + 4  # flipped, within the stored margin
        fields.append(source["x"] - still[None, :])
    fields = np.array(fields)[:, size // 4 : -size // 4, size // 4 : -size // 4]  # the edge reflects
    assert fields.std() == pytest.approx(0.01 * size, rel=0.1)
    step = int(0.08 * size)
    near = (fields[:, :, :-step] * fields[:, :, step:]).mean() / fields.var()
    # two points a standard deviation of the Gaussian apart are correlated by exp(-1/4)
    assert near == pytest.approx(np.exp(-((step / (0.08 * size)) ** 2) / 4), abs=0.08)


def test_a_flip_is_drawn_half_of_the_time(only):
    stored = np.zeros((3, 80, 80), dtype=np.uint8)
    stored[1, :, :30] = 1
    augmenter = Augmenter(only(probability=0.5), 64)
    augmenter.reseed(0)
    flipped = sum(int(augmenter(stored)[1][0, -1]) for _ in range(400))
    assert abs(flipped - 200) < 4 * 10  # four standard deviations of a fair coin
