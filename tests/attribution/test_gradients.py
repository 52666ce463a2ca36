"""Networks solvable on paper, axioms, and captum as a second opinion."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from captum.attr import IntegratedGradients

from dgfnet.attribution.baselines import FAMILIES, find_baselines, references
from dgfnet.attribution.gradients import Effort, Paths, integrate
from dgfnet.attribution.networks import (
    Pictures,
    fixed_of,
    inputs_of,
    mixes,
    pictures,
    scorer,
    with_frozen_batch,
)
from dgfnet.network.tlr import Head, TransferNet
from dgfnet.network.variants import DGFNet
from dgfnet.training.partition import select
from dgfnet.vocabulary import VARIANTS
from tiny_archive import blob, write_archive

EFFORT = Effort(tolerance=1e-4, panels=4, halvings=8, rows=32)
SIDE = 4


@pytest.fixture(autouse=True)
def reproducible():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def pair(count=3, side=SIDE):
    return {name: torch.rand(count, side, side) * 255 for name in ("us", "ct")}


def explain(score, images, baselines, effort=EFFORT):
    return integrate(score, Paths(images, baselines, torch.arange(len(images["us"]))), effort)


def test_a_linear_network_gets_weight_times_difference():
    images, baselines = pair(), pair()
    weight = {name: torch.randn(SIDE, SIDE) / 255 for name in ("us", "ct")}
    attributions = explain(
        lambda x, _: sum((x[m] * weight[m]).sum(dim=(1, 2)) for m in weight), images, baselines
    )
    for name, values in weight.items():
        assert torch.allclose(attributions.maps[name], values * (images[name] - baselines[name]), atol=1e-5)
    assert (attributions.gradients == 5).all()  # the first panels are exact


def test_a_quadratic_network_gets_the_difference_of_squares():
    images, baselines = pair(), pair()

    def score(x, _):
        return (x["us"] / 255).square().sum(dim=(1, 2)) - 3 * (x["ct"] / 255).square().sum(dim=(1, 2))

    attributions = explain(score, images, baselines)
    for name, factor in (("us", 1), ("ct", -3)):
        expected = factor * ((images[name] / 255).square() - (baselines[name] / 255).square())
        assert torch.allclose(attributions.maps[name], expected, atol=1e-5)


def test_a_product_of_two_modalities_is_shared_equally_from_zero_and_by_hand_from_elsewhere():
    """F = a b: on the line from (a0, b0) the mean of b is (b0 + b1) / 2, and US gets (a1 - a0) times it."""
    images, zero = pair(), {name: torch.zeros(3, SIDE, SIDE) for name in ("us", "ct")}

    def score(x, _):
        return (x["us"] / 255).mean(dim=(1, 2)) * (x["ct"] / 255).mean(dim=(1, 2))

    a1, b1 = ((images[name] / 255).mean(dim=(1, 2)).numpy() for name in ("us", "ct"))
    attributions = explain(score, images, zero)
    assert attributions.sums["us"] == pytest.approx(a1 * b1 / 2, abs=1e-6)
    assert attributions.sums["ct"] == pytest.approx(a1 * b1 / 2, abs=1e-6)
    baselines = pair()
    a0, b0 = ((baselines[name] / 255).mean(dim=(1, 2)).numpy() for name in ("us", "ct"))
    attributions = explain(score, images, baselines)
    assert attributions.sums["us"] == pytest.approx((a1 - a0) * (b0 + b1) / 2, abs=1e-6)
    assert attributions.sums["ct"] == pytest.approx((b1 - b0) * (a0 + a1) / 2, abs=1e-6)


def kinked(effort):
    """F = relu(t - c): all of F is gained behind the kink, c = 0.3 of the path."""
    images, baselines = {"us": torch.full((1, 1, 1), 10.0)}, {"us": torch.zeros(1, 1, 1)}
    paths = Paths(images, baselines, torch.zeros(1, dtype=torch.int64))
    return integrate(lambda x, _: torch.relu(x["us"].sum(dim=(1, 2)) - 3), paths, effort)


def test_a_kink_is_found_by_halving_where_it_lies():
    attributions = kinked(Effort(1e-2, 4, 20, 8))
    assert attributions.sums["us"] == pytest.approx([7], abs=1e-2)
    assert attributions.error.max() <= 1e-2
    uniform = 10 * 10 / 1e-2 / 4  # gradients of an even grid whose step misses as little
    assert 4 < attributions.gradients[0] < uniform / 10


def test_halvings_bound_the_work_and_the_error_is_told():
    attributions = kinked(Effort(1e-9, 2, 0, 8))
    # slopes 0, 10, 10 at 0, a half and 1
    assert attributions.gradients[0] == 3
    assert attributions.error[0] == pytest.approx(abs((0 / 2 + 10 + 10 / 2) / 2 - 7), abs=1e-6)


def test_errors_of_panels_that_cancel_are_not_taken_for_none():
    """F = relu(us - 3.5) + relu(ct - 6.5), 0 to 10: of two panels one is 1 too large, one 1 too small."""
    ends, starts = ({name: torch.full((1, 1, 1), at) for name in ("us", "ct")} for at in (10.0, 0.0))

    def score(x, _):
        return torch.relu(x["us"].sum(dim=(1, 2)) - 3.5) + torch.relu(x["ct"].sum(dim=(1, 2)) - 6.5)

    even, refined = (explain(score, ends, starts, Effort(0.1, 2, halvings, 8)) for halvings in (0, 9))
    assert even.error[0] == pytest.approx(0, abs=1e-6)
    assert (even.sums["us"][0], even.sums["ct"][0]) == pytest.approx((7.5, 2.5))
    assert (refined.sums["us"][0], refined.sums["ct"][0]) == pytest.approx((6.5, 3.5), abs=0.1)


def test_where_the_network_says_no_number_nothing_is_refined():
    images, baselines = pair(2), pair(2)
    attributions = explain(lambda x, _: x["us"].sum(dim=(1, 2)) * torch.nan, images, baselines)
    assert (attributions.gradients == 5).all()
    assert np.isnan(attributions.error).all()


def test_memory_bounds_nothing_but_memory():
    score, images, baselines = smooth(), pair(5), pair(5)
    all_at_once, one_by_one = (
        explain(score, images, baselines, Effort(1e-5, 4, 8, rows)) for rows in (1000, 1)
    )
    assert (all_at_once.gradients == one_by_one.gradients).all()
    assert torch.allclose(all_at_once.maps["ct"], one_by_one.maps["ct"], atol=1e-6)


def smooth():
    layers = torch.nn.Sequential(torch.nn.Linear(2 * SIDE * SIDE, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def score(x, _):
        return layers(torch.cat([x[name].flatten(1) for name in ("us", "ct")], dim=1) / 255)[:, 0]

    return score


def test_captum_with_many_steps_agrees():
    score, images, baselines = smooth(), pair(), pair()
    ours = explain(score, images, baselines, Effort(1e-6, 16, 6, 64))
    theirs = IntegratedGradients(lambda us, ct: score({"us": us, "ct": ct}, None)).attribute(
        tuple(images.values()), tuple(baselines.values()), n_steps=200
    )
    for name, values in zip(images, theirs, strict=True):
        assert torch.allclose(ours.maps[name], values.float(), atol=1e-5)


def test_captum_with_many_steps_agrees_on_a_network_with_kinks(tiny):
    """Errors of modalities cancel in the sum that a tolerance bounds, so each may miss by more than it."""
    model = network("concat", tiny)
    score, images, baselines = scorer(model), pair(2, 32), pair(2, 32)
    ours = explain(score, images, baselines, Effort(1e-4, 8, 10, 64))
    assert ours.error.max() <= 1e-4
    theirs = IntegratedGradients(lambda us, ct: score({"us": us, "ct": ct}, torch.arange(len(us)))).attribute(
        tuple(images.values()), tuple(baselines.values()), n_steps=1000, internal_batch_size=200
    )
    for name, values in zip(images, theirs, strict=True):
        difference = values.double().sum(dim=(1, 2)).numpy() - ours.sums[name]
        assert np.abs(difference).max() < 1e-3
        assert np.abs(ours.sums[name]).min() > 1e-2


def test_a_nodule_is_explained_alike_alone_and_in_any_order():
    score, images, baselines = smooth(), pair(5), pair(5)
    together = explain(score, images, baselines)
    order = torch.tensor([3, 0, 4, 2, 1])
    shuffled = explain(score, *({m: v[order] for m, v in each.items()} for each in (images, baselines)))
    alone = explain(score, *({m: v[2:3] for m, v in each.items()} for each in (images, baselines)))
    assert torch.allclose(together.maps["us"][order], shuffled.maps["us"], atol=1e-6)
    assert torch.allclose(together.maps["us"][2], alone.maps["us"][0], atol=1e-6)


def test_a_modality_that_is_not_looked_at_gets_nothing():
    images, baselines = pair(), pair()
    attributions = explain(lambda x, _: x["ct"].square().mean(dim=(1, 2)) / 1e4, images, baselines)
    assert (attributions.maps["us"] == 0).all()
    assert np.abs(attributions.sums["ct"]).min() > 0


def network(variant, tiny):
    if variant == "us_tlr":
        return TransferNet(Head(8, 1, 0.0, 1e-3, 0.0), tiny.network.tlr).eval()
    model = DGFNet(variant, "resnet18", tiny.network, terms=3)
    level = model.nodule_level
    if level is not None:
        features = level.query.out_features
        level.set_bank(torch.randn(6, features), torch.randn(6, features), torch.arange(6) + 100)
    return model.eval()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_can_be_explained_completely(variant, tiny):
    model = network(variant, tiny)
    score = scorer(model)
    side = 75 if variant == "us_tlr" else 32
    images = {name: values for name, values in pair(2, side).items() if name in model.modalities}
    patients = torch.arange(2)
    record = torch.tensor([[0.5, float("nan"), 1.0], [-2.0, 1.5, 0.0]], dtype=torch.float64)
    read = {"record": record} if "record" in model.inputs else {}
    fixed = fixed_of(model, patients, {}, *read.values())
    assert torch.allclose(score(images, fixed), model(images | read, patients).logit, atol=1e-5)
    black = {name: torch.zeros_like(values) for name, values in images.items()}
    attributions = integrate(score, Paths(images, black, fixed), Effort(0.02, 8, 8, 32))
    assert attributions.error.max() <= 0.02
    assert set(attributions.maps) == set(model.modalities)
    assert all(values.abs().sum() > 0 for values in attributions.maps.values())


def test_a_network_that_mixes_rows_is_refused(tiny):
    settings = tiny.changed({"network.dgf.nodule_level": "batch"}).network
    model = DGFNet("dgf", "resnet18", settings)
    assert mixes(model)
    with pytest.raises(ValueError, match="mixes rows"):
        scorer(model)


def test_a_network_with_a_frozen_batch_scores_a_nodule_as_in_that_batch(tiny, tmp_path):
    """Everyone of another patient: alone, a nodule gets the log odds it has in company of all."""
    patients = [(f"N{i}", f"P{i}", {"us": [40], "ct": [20 + i]}) for i in range(5)]
    archive = write_archive(tmp_path, tiny.preprocess, patients, blob)
    table = pd.DataFrame(patients, columns=["nodule_id", "patient_id", "images"])
    nodules = select(table.assign(cohort="main"), archive, None)
    torch.manual_seed(0)
    settings = tiny.changed({"network.dgf.nodule_level": "batch"}).network
    model = DGFNet("dgf", "resnet18", settings).eval()
    frozen = with_frozen_batch(model, archive, nodules)
    own = pictures(model, archive, nodules)
    together = model(*inputs_of(model, own.images, own.fixed)).logit.detach()
    score = scorer(frozen)
    for at in range(5):
        alone = own.take(torch.tensor([at]))
        assert torch.allclose(score(alone.images, alone.fixed), together[at : at + 1], atol=1e-5)
    assert mixes(model)  # the original is as it was
    assert with_frozen_batch(frozen, archive, nodules) is frozen


@pytest.mark.parametrize("family", FAMILIES)
def test_baselines_are_undecided(family):
    """F = 10 (mean of US - 0.4 of the range): black is below, bright training pictures are above."""

    def score(x, _):
        return 10 * (x["us"].mean(dim=(1, 2)) / 255 - 0.4) + 0 * x["ct"].mean(dim=(1, 2))

    def pictures(images):
        masks = {name: values > 0 for name, values in images.items()}
        return Pictures(images, masks, torch.arange(len(images["us"])))

    training = pictures(pair(20))
    reference = references(score, training, np.array([0, 1] * 10, dtype=np.float32), 8)
    own = pictures(pair(6))
    base = find_baselines(score, own, reference, family, 8)
    assert np.abs(base.probability - 0.5).max() < 1e-3
    assert "none" not in base.partner
    odds = score(base.images, None).numpy()
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(base.probability, abs=1e-6)
    assert all((values >= 0).all() and (values <= 255).all() for values in base.images.values())


def test_a_network_that_always_says_yes_has_no_undecided_baseline_and_says_so():
    def score(x, _):
        return 2 + 0 * x["us"].mean(dim=(1, 2))

    pictures = Pictures(pair(2), {}, torch.arange(2))
    reference = references(score, pictures, np.array([0, 1], dtype=np.float32), 8)
    base = find_baselines(score, pictures, reference, "mean", 8)
    assert base.partner == ("none", "none")
    assert base.probability == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-6)


@pytest.mark.parametrize("variant", ["us_multitask", "dgf"])
def test_a_network_that_reads_masks_is_explained_with_them_held_fixed(variant, tiny):
    """Each nodule keeps its own mask and patient key, in captum's batches too."""
    settings = tiny.changed({"network.pooling": "regions", "network.mask_channel": True})
    model = network(variant, settings)
    images = {name: values for name, values in pair(3, 32).items() if name in model.modalities}
    masks = {name: torch.zeros(3, 32, 32, dtype=torch.bool) for name in model.modalities}
    for place in range(3):
        for mask in masks.values():
            mask[place, 8 : 16 + 4 * place, 10:20] = True
    patients = torch.tensor([5, 101, -7])
    fixed = fixed_of(model, patients, masks)
    assert fixed.shape == (3, 1 + 32 * 32 // 64 * len(masks))
    inputs, keys = inputs_of(model, images, fixed)
    assert torch.equal(keys, patients)
    assert set(inputs) == set(model.inputs)
    for name, mask in masks.items():
        assert torch.equal(inputs[f"{name}_mask"] > 0, mask)
    score = scorer(model)
    assert torch.allclose(score(images, fixed), model(inputs, patients).logit, atol=1e-5)
    swapped = fixed.clone()
    swapped[:, 1:] = fixed.flip(0)[:, 1:]
    assert (score(images, swapped) - score(images, fixed)).abs()[[0, 2]].min() > 1e-6
    black = {name: torch.zeros_like(values) for name, values in images.items()}
    attributions = integrate(score, Paths(images, black, fixed), Effort(0.02, 8, 8, 32))
    assert attributions.error.max() <= 0.02
    last = integrate(score, Paths(images, black, fixed).take(torch.tensor([2])), Effort(0.02, 8, 8, 32))
    for name in images:
        assert torch.allclose(last.maps[name][0], attributions.maps[name][2], atol=1e-5)


def test_masks_of_any_side_survive_packing(tiny):
    """A side of 75 pixels leaves the last word half empty; sides of the modalities differ."""
    settings = tiny.changed({"network.pooling": "regions"})
    model = network("concat", settings)
    rng = torch.Generator().manual_seed(1)
    masks = {name: torch.rand(4, side, side, generator=rng) < 0.3 for name, side in (("us", 75), ("ct", 32))}
    images = {name: torch.zeros(mask.shape) for name, mask in masks.items()}
    patients = torch.tensor([1, -(2**62), 3, 4])
    inputs, keys = inputs_of(model, images, fixed_of(model, patients, masks)[[2, 1]])
    assert keys.tolist() == [3, -(2**62)]
    for name, mask in masks.items():
        assert torch.equal(inputs[f"{name}_mask"] > 0, mask[[2, 1]])
