"""One contract over all variants."""

from __future__ import annotations

import pytest
import torch

from dgfnet.dataset.batch import Batch
from dgfnet.measured.definitions import NAMES
from dgfnet.network.fusion import BasicFusion
from dgfnet.network.tlr import FROZEN, Head, TransferNet
from dgfnet.network.variants import DGFNet, load_weights
from dgfnet.tabular.terms import Term
from dgfnet.training.losses import losses
from dgfnet.vocabulary import MODALITIES, RECORD, SPECS, mask_of

SIZE, NODULES = 32, 6
TERMS = (
    Term("age", "number", None, 50.0, 48.0, 10.0),
    Term("age", "gap"),
    Term("sex", "level", "F"),
    Term("sex", "level", "M"),
)
HEAD = Head(width=16, depth=2, dropout=0.5, learning_rate=1e-3, weight_decay=1e-4)
FUSIONS = [variant for variant, spec in SPECS.items() if len(spec.modalities) == 2]


@pytest.fixture(params=SPECS)
def variant(request):
    return request.param


READING = {  # of the mask: not at all, as the paper; where maps are averaged; as a channel; both
    "no mask": {"pooling": "global", "mask_channel": False},
    "regions": {"pooling": "regions", "mask_channel": False},
    "channel": {"pooling": "global", "mask_channel": True},
    "both": {"pooling": "regions", "mask_channel": True},
}


@pytest.fixture(params=READING)
def build(tiny, request):
    """A network with a bank, if it keeps one, and weights that are not those of the start."""

    def build(variant, encoder="resnet18", **dgf):
        own = {"dgf": tiny.network.dgf.model_copy(update=dgf), **READING[request.param]}
        settings = tiny.network.model_copy(update=own)
        if variant == "us_tlr":
            return TransferNet(HEAD, settings.tlr)
        model = DGFNet(variant, encoder, settings, terms=len(TERMS))
        if model.record is not None:
            model.record.set_normalisation(TERMS)
        fill_bank(model, 7)
        return model

    return build


def fill_bank(model, count):
    if model.nodule_level is not None:
        with torch.no_grad():
            features = torch.randn(2 if model.record is None else 3, count, 32)
            model.nodule_level.set_bank(*model.nodule_level.entries(features), torch.arange(100, 100 + count))


def side(model):
    """Inception V3 needs 75 pixels."""
    return 75 if isinstance(model, TransferNet) else SIZE


def images(count=NODULES, seed=5, side=SIZE):
    generator = torch.Generator().manual_seed(seed)
    pictures = {
        modality: torch.randint(0, 256, (count, side, side), dtype=torch.uint8, generator=generator)
        for modality in MODALITIES
    }
    masks = {mask_of(modality): disc(side, count, seed) for modality in MODALITIES}
    return pictures | masks | {RECORD: record(count, generator)}


def record(count, generator):
    """Ages, every third unknown, and sexes, as `tabular.terms.raw` gives them for TERMS."""
    age = 48 + 10 * torch.randn(count, generator=generator, dtype=torch.float64)
    gap, woman = torch.arange(count) % 3 == 2, torch.rand(count, generator=generator) < 0.5
    columns = [torch.where(gap, torch.nan, age), gap, woman, ~woman]
    return torch.stack([column.double() for column in columns], dim=1)


def disc(side, count, seed):
    """Nodules of several sizes, (count, side, side)."""
    down, across = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    radii = (0.15 + 0.2 * torch.rand(count, generator=torch.Generator().manual_seed(seed))) * side
    distance = ((down - side / 2) ** 2 + (across - side / 2) ** 2).sqrt()
    return (distance < radii[:, None, None]).to(torch.uint8)


def batch(modalities=MODALITIES, side=SIZE, with_record=False):
    generator = torch.Generator().manual_seed(6)
    targets = torch.randint(0, 2, (NODULES, 2, side, side), dtype=torch.uint8, generator=generator)
    return Batch(
        {m: images(side=side)[m] for m in modalities},
        dict.fromkeys(modalities, targets),
        torch.tensor([0.0, 1, 0, 1, 1, 0]),
        torch.arange(NODULES),
        {m: torch.randn(NODULES, len(NAMES[m]), generator=generator) for m in modalities},
        images(side=side)[RECORD] if with_record else None,
    )


def taken(model, pictures):
    return {name: pictures[name] for name in model.inputs}


def test_a_training_step_gives_every_parameter_a_gradient(build, variant):
    model = build(variant).train()
    inputs = batch(model.modalities, side(model), SPECS[variant].record)
    terms = losses(model(inputs.inputs, inputs.patients, segment=True), inputs, 1.0, 1.0, classify=True)
    assert sorted(terms) == sorted(
        ["label", *(f"masks_{m}" for m in model.modalities if SPECS[variant].tasks)]
    )
    torch.stack(list(terms.values())).sum().backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:  # of us_tlr, up to Mixed_6e
            assert variant == "us_tlr"
            assert parameter.grad is None
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("nodule_level", ["bank", "batch"])
@pytest.mark.parametrize("combiner", ["product", "sum", "concat"])
@pytest.mark.parametrize("name", ["dgf", "dgf_record"])
def test_every_parameter_of_every_dgf_gets_a_gradient(build, name, combiner, nodule_level):
    model = build(name, combiner=combiner, nodule_level=nodule_level).train()
    model(images(), torch.arange(NODULES)).logit.sum().backward()
    for name, parameter in model.fusion.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_the_label_alone_does_not_train_the_decoders(build, variant):
    model = build(variant).train()
    output = model(taken(model, images(side=side(model))), torch.arange(NODULES))
    output.logit.sum().backward()
    assert output.masks == output.features == {}
    decoders = [
        p
        for n, p in model.named_parameters()
        if n.startswith("streams") and any(part in n for part in (".nodule.", ".boundary.", ".reader."))
    ]
    assert bool(decoders) == SPECS[variant].tasks
    assert all(parameter.grad is None for parameter in decoders)


@torch.no_grad()
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grey", [0, 255])
def test_blank_pictures_give_numbers(build, variant, grey, training):
    model = build(variant).train(training)
    blank = {
        name: torch.full((NODULES, side(model), side(model)), value, dtype=torch.uint8)
        for name in model.inputs
        for value in [grey if name in model.modalities else min(grey, 1)]
        if name != RECORD
    } | nothing_known()
    output = model(blank, torch.arange(NODULES), segment=True)
    assert torch.isfinite(output.logit).all()
    assert all(torch.isfinite(masks).all() for masks in output.masks.values())


def nothing_known():
    """A record in which every value is missing, of all nodules."""
    return {RECORD: torch.tensor([[torch.nan, 1, 0, 0]], dtype=torch.float64).expand(NODULES, -1)}


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.record])
@pytest.mark.parametrize("training", [True, False])
def test_records_of_which_nothing_is_known_give_numbers_and_train(build, name, training):
    model = build(name).train(training)
    logit = model(images() | nothing_known(), torch.arange(NODULES)).logit
    assert torch.isfinite(logit).all()
    logit.sum().backward()
    for part, parameter in model.record.named_parameters():
        assert torch.isfinite(parameter.grad).all(), part
    assert model.record.value.bias.grad.abs().sum() > 0


@torch.no_grad()
def test_shapes(build, variant):
    model = build(variant).eval()
    output = model(taken(model, images(side=side(model))), segment=True)
    assert output.logit.shape == (NODULES,)
    assert {m: tuple(masks.shape) for m, masks in output.masks.items()} == dict.fromkeys(
        SPECS[variant].modalities if SPECS[variant].tasks else (), (NODULES, 2, SIZE, SIZE)
    )
    for modality, said in output.features.items():
        assert said.shape == (NODULES, len(NAMES[modality]))


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_stream_that_tells_what_was_measured_learns_from_it(tiny, modality):
    variant = f"{modality}_multitask"
    model = DGFNet(variant, "resnet18", tiny.network, reads=True).train()
    inputs = batch((modality,))
    output = model(inputs.inputs, segment=True)
    assert output.features[modality].shape == (NODULES, len(NAMES[modality]))
    terms = losses(output, inputs, 0.0, 1.0, classify=False)
    terms[f"features_{modality}"].backward()
    stream = model.stream(modality)
    for part in (stream.reader, stream.encoder):
        assert all(parameter.grad.abs().sum() > 0 for parameter in part.parameters())
    assert all(parameter.grad is None for parameter in model.classifier.parameters())
    assert model(inputs.inputs).features == {}  # nobody asks for them in an answer
    assert DGFNet(variant, "resnet18", tiny.network).stream(modality).reader is None


@torch.no_grad()
def test_modalities_may_differ_in_size(build):
    model = build("dgf").eval()
    ct = torch.zeros(NODULES, 64, 64, dtype=torch.uint8)
    pictures = {**images(), "ct": ct, "ct_mask": ct}
    masks = model(pictures, segment=True).masks
    assert (masks["us"].shape[-1], masks["ct"].shape[-1]) == (32, 64)


@torch.no_grad()
def test_evaluation_repeats_itself_and_training_draws_dropout(build, variant):
    model = build(variant).eval()
    inputs = taken(model, images(side=side(model)))
    assert torch.equal(model(inputs).logit, model(inputs).logit)
    assert not torch.equal(model.train()(inputs).logit, model(inputs).logit)


@torch.no_grad()
def test_segmenting_does_not_change_the_logit(build, variant):
    model = build(variant).eval()
    inputs = taken(model, images(side=side(model)))
    assert torch.equal(model(inputs, segment=True).logit, model(inputs).logit)


@torch.no_grad()
def test_each_modality_a_variant_takes_changes_the_output(build, variant):
    model = build(variant).eval()
    before = model(taken(model, images(side=side(model)))).logit
    for name in model.inputs:
        highest = 255 if name in model.modalities else 1
        pictures = images(side=side(model))
        changed = {**taken(model, pictures), name: highest - pictures[name]}
        if name == RECORD:  # another age, where it is known, and the other sex
            changed[name] = torch.cat([pictures[name][:, :2] + 9, 1 - pictures[name][:, 2:]], dim=1)
        assert ((model(changed).logit - before).abs() > 1e-6).all(), name


@torch.no_grad()
def test_a_modality_a_variant_does_not_take_changes_nothing(build, variant):
    model = build(variant).eval()
    before = model(taken(model, images(side=side(model)))).logit
    assert torch.equal(
        model({**images(seed=9, side=side(model)), **taken(model, images(side=side(model)))}).logit, before
    )


@torch.no_grad()
@pytest.mark.parametrize("combiner", ["product", "sum", "concat"])
@pytest.mark.parametrize("variant", SPECS)
def test_a_nodule_has_one_probability_alone_and_in_any_company(build, variant, combiner):
    model = build(variant, combiner=combiner).eval()
    for stream in getattr(model, "streams", {}).values():  # features as large as a trained network's
        stream.encoder.layer4[-1].bn2.weight.mul_(5)
    if SPECS[variant].fusion == "dgf":  # the product of levels saturates, where a mask adds to the features
        odds = model(images(), torch.arange(NODULES)).logit
        if odds.abs().min() > 10:
            model.classifier[-1].bias.sub_(odds.mean())
            model.classifier[-1].weight.div_(4 * odds.std())
            model.classifier[-1].bias.div_(4 * odds.std())
    if variant == "us_tlr":  # on noise, the values of untrained blocks hardly differ
        model.head[-1].weight.mul_(100)
    patients = torch.tensor([100, 1, 2, 100, 106, 3])  # 100 and 106 are in the bank too

    def probability(*members):
        chosen = {name: images(side=side(model))[name][list(members)] for name in model.inputs}
        return model(chosen, patients[list(members)]).logit.sigmoid()

    together = probability(0, 1, 2, 3, 4, 5)
    alone = torch.cat([probability(i) for i in range(NODULES)])
    reversed_ = probability(5, 4, 3, 2, 1, 0).flip(0)
    partly = torch.cat([probability(0, 3, 5)[:1], probability(1, 1)[1:], probability(5, 2, 0)[1:2]])
    assert together.std() > 1e-4  # they do differ, so that equality says something
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-6)
    torch.testing.assert_close(reversed_, together, rtol=0, atol=1e-6)
    torch.testing.assert_close(partly, together[:3], rtol=0, atol=1e-6)


@torch.no_grad()
def test_only_dgf_looks_at_the_patients(build, variant):
    model = build(variant).eval()
    inputs = taken(model, images(side=side(model)))
    free, masked = model(inputs, None).logit, model(inputs, torch.full((NODULES,), 103)).logit
    assert torch.equal(free, masked) == (SPECS[variant].fusion != "dgf")


@torch.no_grad()
def test_weights_survive_saving_and_loading_with_the_size_of_the_bank(build, variant):
    source = build(variant)
    fill_bank(source, 11)
    for stream in getattr(source, "streams", {}).values():
        stream.set_normalisation(0.3, 0.1)
    target = build(variant)  # another start, and a bank of 7
    inputs = taken(source, images(side=side(source)))
    source.eval(), target.eval()
    assert not torch.equal(source(inputs).logit, target(inputs).logit)
    load_weights(target, source.state_dict())
    assert torch.equal(
        source(inputs, torch.arange(98, 104)).logit, target(inputs, torch.arange(98, 104)).logit
    )
    if SPECS[variant].fusion == "dgf":
        assert len(target.nodule_level.bank_keys) == 11
        source.nodule_level.bank_keys.zero_()
        assert target.nodule_level.bank_keys.abs().sum() > 0  # a copy, not a view


@pytest.mark.parametrize(
    "dgf", [{"branches": ("dimension", "modality")}, {"nodule_level": "batch"}], ids=["no nodule", "batch"]
)
def test_networks_without_a_bank_load_too(build, dgf):
    source, target = build("dgf", **dgf).eval(), build("dgf", **dgf).eval()
    assert source.nodule_level is None
    load_weights(target, source.state_dict())
    with torch.no_grad():
        assert torch.equal(source(images()).logit, target(images()).logit)


def test_weights_of_another_variant_are_refused(build):
    with pytest.raises(RuntimeError, match="state_dict"):
        load_weights(build("concat"), build("us_multitask").state_dict())


@torch.no_grad()
def test_normalisation_happens_inside(build):
    """Grey 0..255 through (x / 255 - mean) / std: other units with other statistics are the same picture."""
    model = build("us_multitask").eval()
    picture = images()["us"].float()
    model.streams["us"].set_normalisation(0.5, 0.25)
    before = model({**images(), "us": picture}).logit
    model.streams["us"].set_normalisation(0.25, 0.125)
    torch.testing.assert_close(model({**images(), "us": picture / 2}).logit, before, rtol=1e-5, atol=1e-6)
    assert (model({**images(), "us": picture}).logit - before).abs().max() > 1e-4


def test_fusions_start_from_the_unimodal_variants_in_the_order_of_their_modalities():
    for variant in FUSIONS:
        spec = SPECS[variant]
        assert [SPECS[parent].modalities for parent in spec.parents] == [(m,) for m in spec.modalities]


def test_the_transfer_network_freezes_what_it_transfers(build):
    model = build("us_tlr").train()
    frozen = {name for name, parameter in model.blocks.named_parameters() if not parameter.requires_grad}
    assert {name.split(".")[0] for name in frozen} == set(FROZEN) - {"maxpool1", "maxpool2"}
    before = {name: value.clone() for name, value in model.blocks.state_dict().items()}
    model(images(side=75)).logit.sum().backward()
    for name, value in model.blocks.state_dict().items():  # batch statistics of the frozen blocks stay too
        moves = "running" in name or "num_batches" in name
        assert torch.equal(value, before[name]) != (moves and name.split(".")[0] not in FROZEN), name


def test_the_transfer_network_trains_its_last_block_at_a_fraction_of_the_heads_rate(build, tiny):
    model = build("us_tlr")
    head, tuned = model.optimised(tiny.training)
    assert (head["lr"], tuned["lr"]) == (1e-3, pytest.approx(1e-4))
    assert head["weight_decay"] == tuned["weight_decay"] == 1e-4
    trained = {id(p) for group in (head, tuned) for p in group["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}


def test_the_head_is_what_was_annealed():
    layers = HEAD.layers()
    shapes = [tuple(p.shape) for p in layers.parameters() if p.ndim == 2]
    assert shapes == [(16, 2048), (16, 16), (1, 16)]
    assert [m.p for m in layers if isinstance(m, torch.nn.Dropout)] == [0.5, 0.5]


def test_a_dgfnet_is_no_transfer_network(tiny):
    with pytest.raises(ValueError, match="TransferNet"):
        DGFNet("us_tlr", "resnet18", tiny.network)


@torch.no_grad()
@pytest.mark.parametrize(("how", "expected"), [("sum", [4.0, -1.0]), ("product", [3.0, -6.0])])
def test_basic_fusions_by_hand(how, expected):
    us, ct = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -3.0]])
    fusion = BasicFusion(how, 2)
    assert fusion((us, ct), None).tolist() == [expected]
    assert list(fusion.parameters()) == []


@torch.no_grad()
def test_concatenation_is_a_linear_layer_over_both():
    fusion = BasicFusion("concat", 2)
    fusion.reduce.weight.copy_(torch.tensor([[1.0, 0, 2, 0], [0, 1, 0, -1]]))
    fusion.reduce.bias.copy_(torch.tensor([0.5, 0]))
    assert fusion((torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, -3.0]])), None).tolist() == [[7.5, 5.0]]


def test_a_mask_that_is_needed_and_missing_is_asked_for(build):
    model = build("us_multitask").eval()
    pictures = {"us": images()["us"]}
    if model.inputs == ("us",):
        assert model(pictures).logit.shape == (NODULES,)
        return
    assert model.inputs == ("us", "us_mask")
    with pytest.raises(ValueError, match="reads the nodule's mask, and none was given"):
        model(pictures)
