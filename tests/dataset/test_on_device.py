"""Batches augmented on the device against those of the CPU; the device is the CPU here."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dgfnet.dataset.augment import Drawer
from dgfnet.dataset.on_device import AugmentationBatch, DeviceAugmenter, device_batches, open_crops
from dgfnet.dataset.pairs import training_batches
from tiny_archive import blob, write_archive

BOTH = ("us", "ct")
HERE = torch.device("cpu")
ALL = 2**40  # bytes


def smooth(modality, row, side):
    """A picture whose grey values have a slope everywhere, and a blob as nodule and boundary."""
    y, x = np.mgrid[:side, :side] * (2 * np.pi / side)
    grey = 127.5 + 60 * np.sin(2 * x + row) + 60 * np.cos(3 * y + len(modality) * row)
    mask = blob(modality, row, side)[1] > 127
    return np.stack([grey.astype(np.uint8), *[mask.astype(np.uint8)] * 2])


@pytest.fixture(scope="module")
def pictured(tmp_path_factory, tiny, nodules):
    cohort = [
        (f"N{number + 1}", f"P{number}", {m: [9] * len(nodules.rows[m][number]) for m in BOTH})
        for number in range(len(nodules))
    ]
    return write_archive(tmp_path_factory.mktemp("pictured"), tiny.preprocess, cohort, smooth)


def on_cpu(archive, nodules, settings, seed):
    rng = np.random.default_rng(seed)
    return list(training_batches(archive, nodules, np.arange(5), BOTH, 2, settings, rng))


def here(archive, nodules, settings, seed, room=ALL, **how):
    pictures = open_crops(archive, BOTH, settings, HERE, room)
    rng = np.random.default_rng(seed)
    return list(device_batches(pictures, nodules, np.arange(5), BOTH, 2, settings, rng, **how))


def joined(batches, part, modality):
    return torch.cat([getattr(batch, part)[modality] for batch in batches]).int()


def test_both_ways_draw_the_same_and_differ_by_roundings(pictured, nodules, tiny):
    """OpenCV 4 rounds places to 1/32 of a pixel: a slope of 18 grey values a pixel then gives 1 at most."""
    for probability in (tiny.training.augment.probability, 1.0):
        settings = tiny.training.augment.model_copy(update={"probability": probability})
        differences, masks = [], []
        for seed in range(12):
            ours, theirs = (way(pictured, nodules, settings, seed) for way in (here, on_cpu))
            for own, other in zip(ours, theirs, strict=True):
                assert torch.equal(own.patients, other.patients)
                assert torch.equal(own.label.nan_to_num(-1), other.label.nan_to_num(-1))
            for modality in BOTH:
                pair = [joined(way, "images", modality) for way in (ours, theirs)]
                differences.append((pair[0] - pair[1]).abs().flatten())
                pair = [joined(way, "targets", modality) for way in (ours, theirs)]
                masks.append((pair[0] != pair[1]).float().mean())
        difference = torch.cat(differences)
        assert difference.max() <= 2  # contrast stretches a difference of 1
        assert difference.float().mean() < 0.1
        assert torch.stack(masks).mean() < 1e-3


@pytest.mark.parametrize(
    "changes", [{"probability": 0.0}, {"rotation_degrees": 0.0}, {"brightness": 0.2, "contrast": 0.2}]
)
def test_where_no_place_lies_between_pixels_both_ways_are_equal(pictured, nodules, only, changes):
    """Nothing moves, a picture is turned over, or its grey values change."""
    settings = only(**changes)
    ours, theirs = (way(pictured, nodules, settings, 3) for way in (here, on_cpu))
    for part in ("images", "targets"):
        for modality in BOTH:
            assert torch.equal(joined(ours, part, modality), joined(theirs, part, modality))


def test_a_crop_and_a_turn_by_hand(tiny):
    """A quarter turn to the left of half the picture: the pixel right of the middle was above it."""
    settings = tiny.training.augment
    look = DeviceAugmenter(settings, 4, 8, HERE)
    crops = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8).expand(1, 3, 8, 8)
    changes = AugmentationBatch(
        torch.zeros(1, dtype=torch.int64),
        None,
        torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.0, 1.0]]),  # twice the side, so whole pixels of the stored crop
        torch.zeros(0, dtype=torch.int64),
        torch.zeros(0, 2, 4, 4),
        torch.arange(256, dtype=torch.uint8)[None],
    )
    # output (column, row) at -1.5, -0.5, 0.5, 1.5 from the middle; twice that, turned: x, y = -y, x
    source = [[(3.5 - 2 * (v - 1.5), 3.5 + 2 * (u - 1.5)) for u in range(4)] for v in range(4)]
    expected = [[8 * y + x for x, y in line] for line in source]
    # places halfway between pixels: values end in a half, and either neighbour is right
    np.testing.assert_allclose(look(crops, changes)[0, 0].numpy(), expected, atol=0.5 + 1e-3)


def test_the_elastic_shift_is_opencv_s_blur(tiny):
    import cv2

    settings = tiny.training.augment.model_copy(update={"elastic_smoothness": 0.3})  # wider than the picture
    look, noise = DeviceAugmenter(settings, 32, 40, HERE), np.random.default_rng(1).normal(size=(32, 32, 2))
    noise = noise.astype(np.float32)
    ours = (look._blur @ torch.from_numpy(noise.transpose(2, 0, 1)) @ look._blur.T).numpy()
    theirs = cv2.GaussianBlur(noise, (0, 0), 0.3 * 32)
    np.testing.assert_allclose(ours.transpose(1, 2, 0), theirs, atol=2e-6)


@pytest.mark.parametrize("how", [{"room": 0}, {"workers": 3}])
def test_pictures_that_do_not_fit_and_threads_change_nothing(pictured, nodules, tiny, how):
    room = how.get("room", ALL)
    resident = open_crops(pictured, BOTH, tiny.training.augment, HERE, room).resident
    assert set(resident) == (set(BOTH) if room else set())
    ours, others = (
        here(pictured, nodules, tiny.training.augment, 5),
        here(pictured, nodules, tiny.training.augment, 5, **how),
    )
    for part in ("images", "targets"):
        for modality in BOTH:
            assert torch.equal(joined(ours, part, modality), joined(others, part, modality))


def test_one_modality_of_two_may_fit(pictured, tiny):
    us, ct = (pictured.planes(modality).nbytes for modality in BOTH)
    assert set(open_crops(pictured, BOTH, tiny.training.augment, HERE, us).resident) == {"us"}
    assert set(open_crops(pictured, BOTH, tiny.training.augment, HERE, us + ct).resident) == set(BOTH)


def test_features_come_with_the_pictures_they_were_measured_of(pictured, nodules, tiny):
    rows = {modality: len(pictured.planes(modality)) for modality in BOTH}
    features = {m: np.arange(count, dtype=np.float32)[:, None] for m, count in rows.items()}
    still = tiny.training.augment.model_copy(update={"probability": 0.0})
    for batch in here(pictured, nodules, still, 1, features=features):
        for modality in BOTH:
            for place, row in enumerate(batch.features[modality][:, 0].long().tolist()):
                pad = pictured.pad[modality]
                stored = pictured.planes(modality)[row][:, pad:-pad, pad:-pad]
                assert np.array_equal(batch.images[modality][place].numpy(), stored[0])


def test_draws_are_kept_in_page_locked_memory_for_a_gpu(pictured, nodules, tiny, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: pinned.append(self) or self)
    pictures = open_crops(pictured, BOTH, tiny.training.augment, HERE, ALL)
    gpu = SimpleNamespace(type="cuda")
    moved = torch.Tensor.to
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, to, **how: self if to is gpu else moved(self, to, **how)
    )
    fake = replace(pictures, device=gpu)
    rng = np.random.default_rng(1)
    (batch,) = device_batches(fake, nodules, np.arange(2), BOTH, 2, tiny.training.augment, rng)
    assert len(batch.label) == 2
    assert len(pinned) == 2 * 5 + 2  # rows, numbers, bent, noise, grey of each modality; labels, patients


def test_a_drawer_draws_what_an_augmenter_draws(tiny):
    """The generators of both end where they are equal only if as much was drawn from them."""
    from dgfnet.dataset.augment import Augmenter

    augmenter, drawer = Augmenter(tiny.training.augment, 32), Drawer(tiny.training.augment, 32)
    stored = np.zeros((3, 40, 40), np.uint8)
    for kit in (augmenter, drawer):
        kit.reseed(9)
    for _ in range(20):
        augmenter(stored)
        drawer()
    assert augmenter._compose.random_generator.random() == drawer._compose.random_generator.random()


def test_the_record_goes_with_its_nodules_on_both_ways(pictured, nodules, tiny):
    """The record of nodule n is n and an unknown number."""
    record = np.stack([np.arange(5.0), np.full(5, np.nan)], axis=1)
    known = replace(nodules, record=record)
    for way in (here, on_cpu):
        batches = way(pictured, known, tiny.training.augment, 3)
        found = torch.cat([batch.record for batch in batches])
        assert found[:, 0].tolist() == [0, 1, 2, 3, 4]
        assert found[:, 1].isnan().all()
        assert torch.cat([batch.patients for batch in batches]).tolist() == nodules.patients.tolist()
        assert all(batch.record is None for batch in way(pictured, nodules, tiny.training.augment, 3))
