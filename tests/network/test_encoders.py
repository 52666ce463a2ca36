from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import inception_v3
from torchvision.models.resnet import BasicBlock as TorchvisionBlock

from dgfnet.errors import InputError
from dgfnet.network.decoders import Decoder
from dgfnet.network.encoders import BasicBlock, Encoder, channels, pooled
from dgfnet.network.tlr import Head, TransferNet
from dgfnet.settings import load


@pytest.fixture(params=["resnet18", "resnet34"])
def name(request):
    return request.param


def published(name):
    """A torchvision network with random weights and random batch statistics, in evaluation."""
    network = getattr(torchvision.models, name)(weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.double().eval()


def encoder(name, width=1.0):
    return Encoder(name, width).double().eval()


@torch.no_grad()
def test_the_pretrained_network_is_torchvisions_seen_through_grey(name):
    theirs, ours = published(name), encoder(name)
    ours.load_pretrained(theirs.state_dict())
    grey = torch.randn(2, 1, 64, 64, dtype=torch.float64)
    x = theirs.relu(theirs.bn1(theirs.conv1(grey.expand(-1, 3, -1, -1))))
    expected = [x]
    x = theirs.maxpool(x)
    for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
        x = layer(x)
        expected.append(x)
    maps = ours(grey)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (64, 32, 32),
        (64, 16, 16),
        (128, 8, 8),
        (256, 4, 4),
        (512, 2, 2),
    ]
    for found, wanted in zip(maps, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_the_pooled_values_are_what_torchvisions_classifier_gets(name):
    theirs, ours = published(name), encoder(name)
    ours.load_pretrained(theirs.state_dict())
    grey = torch.randn(2, 1, 64, 64, dtype=torch.float64)
    theirs.fc = nn.Identity()
    torch.testing.assert_close(pooled(ours(grey)), theirs(grey.expand(-1, 3, -1, -1)), rtol=1e-9, atol=1e-9)


def shortcut(stride):
    return nn.Sequential(nn.Conv2d(4, 6, 1, stride, bias=False), nn.BatchNorm2d(6)) if stride == 2 else None


@pytest.mark.parametrize(("stride", "outside"), [(1, 4), (2, 6)])
def test_the_block_is_torchvisions_to_the_last_bit(stride, outside):
    blocks = []
    for kind in (BasicBlock, TorchvisionBlock):
        torch.manual_seed(5)  # equal weights from equal seeds: the random draws come in the same order
        blocks.append(kind(4, outside, stride, shortcut(stride)))
    ours, theirs = blocks
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]
    x = torch.randn(3, 4, 8, 8)
    inputs = [x.clone().requires_grad_() for _ in blocks]
    outputs = [block(entered) for block, entered in zip(blocks, inputs, strict=True)]
    for output in outputs:
        output.square().sum().backward()
    assert torch.equal(*outputs)
    assert torch.equal(inputs[0].grad, inputs[1].grad)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)
        assert torch.equal(mine.grad, other.grad)
    for mine, other in zip(ours.buffers(), theirs.buffers(), strict=True):  # the batch statistics moved alike
        assert torch.equal(mine, other)


@torch.no_grad()
def test_a_grey_torchvision_network_and_ours_give_equal_features(name):
    """With a one-channel stem on both sides nothing is summed, so equality is exact, in float32."""
    theirs, ours = getattr(torchvision.models, name)(weights=None), Encoder(name, 1.0).eval()
    theirs.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    theirs.eval()
    ours.load_pretrained(theirs.state_dict())
    own = ours.state_dict()
    assert list(own) == [key for key in theirs.state_dict() if not key.startswith("fc.")]
    x = torch.randn(2, 1, 64, 64)
    expected = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x))))
    for index, found in enumerate(ours(x)[1:], start=1):
        expected = getattr(theirs, f"layer{index}")(expected)
        assert torch.equal(found, expected)


def test_a_one_channel_checkpoint_is_loaded_as_it_is():
    source, target = encoder("resnet18"), encoder("resnet18")
    target.load_pretrained(source.state_dict())
    for key, value in source.state_dict().items():
        assert torch.equal(target.state_dict()[key], value)


def without(key):
    return lambda weights: weights.pop(key)


def with_(key, value):
    return lambda weights: weights.update({key: value})


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (without("layer4.1.conv2.weight"), "layer4.1.conv2.weight"),
        (without("bn1.running_var"), "bn1.running_var"),
        (with_("layer5.0.conv1.weight", torch.zeros(1)), "layer5.0.conv1.weight"),
        (with_("layer1.0.bn1.weight", torch.zeros(32)), "layer1.0.bn1.weight"),
        (with_("conv1.weight", torch.zeros(64, 4, 7, 7)), "conv1.weight"),
        (with_("module.extra.weight", torch.zeros(64, 3, 7, 7)), "module.extra.weight"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(damage, named):
    weights = published("resnet18").state_dict()
    damage(weights)
    ours = encoder("resnet18")
    before = {key: value.clone() for key, value in ours.state_dict().items()}
    with pytest.raises(InputError, match="pretrained encoder does not fit") as caught:
        ours.load_pretrained(weights)
    assert named in str(caught.value)
    assert all(torch.equal(value, before[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize(
    ("checkpoint", "wanted", "width"),
    [("resnet34", "resnet18", 1.0), ("resnet18", "resnet34", 1.0), ("resnet18", "resnet18", 0.5)],
)
def test_another_depth_or_width_is_refused(checkpoint, wanted, width):
    with pytest.raises(InputError, match=r"same depth and network\.width 1\.0"):
        encoder(wanted, width).load_pretrained(published(checkpoint).state_dict())


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (1.0, (64, 64, 128, 256, 512)),
        (0.25, (16, 16, 32, 64, 128)),
        (0.0625, (8, 8, 8, 16, 32)),  # never below 8
        (2.0, (128, 128, 256, 512, 1024)),
    ],
)
def test_width_multiplies_the_papers_channels(width, expected):
    assert channels(width) == expected


@torch.no_grad()
@pytest.mark.parametrize("size", [32, 64, 96])
def test_encoder_halves_and_decoder_doubles_five_times(size):
    maps = Encoder("resnet18", 0.0625).eval()(torch.randn(2, 1, size, size))
    assert [m.shape[-1] for m in maps] == [size // 2, size // 4, size // 8, size // 16, size // 32]
    assert tuple(m.shape[1] for m in maps) == channels(0.0625)
    assert Decoder(0.0625, 0.1).eval()(maps).shape == (2, 1, size, size)


def test_a_mask_is_drawn_from_every_feature_map():
    maps = [m.requires_grad_() for m in Encoder("resnet18", 0.0625)(torch.randn(2, 1, 64, 64))]
    for m in maps:
        m.retain_grad()
    Decoder(0.0625, 0.0)(maps).square().sum().backward()
    assert all(m.grad.abs().sum() > 0 for m in maps)


def test_settings_refuse_sizes_at_which_the_skips_would_not_fit(params):
    with pytest.raises(RuntimeError, match="size"):  # 48 halves to 3 and 2, which doubles to 4
        Decoder(0.0625, 0.0)(Encoder("resnet18", 0.0625)(torch.randn(2, 1, 48, 48)))
    with pytest.raises(InputError, match="us_size must be a multiple of 32, found 48"):
        load(params, ["preprocess.us_size=48"])


@torch.no_grad()
def test_pooling_is_the_mean_over_pixels():
    last = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert pooled([torch.zeros(1), last]).tolist() == [[3.0, 1.0]]


def test_torchvisions_files_lack_the_counters_of_batches():
    weights = {k: v for k, v in published("resnet18").state_dict().items() if "num_batches" not in k}
    report = encoder("resnet18").load_pretrained(weights)
    assert report.matched == len(encoder("resnet18").state_dict())
    assert sorted(report.dropped) == ["fc.bias", "fc.weight"]
    assert report.stem == "three channels summed"


def sequential(weights):
    """Names as a ResNet gets them whose children were put into an nn.Sequential."""
    place = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    parts = [(name.split(".", 1), value) for name, value in weights.items() if not name.startswith("fc")]
    return {f"backbone.{place[first]}.{rest}": value for (first, rest), value in parts}


def prefixed(weights):
    return {f"module.encoder.{name}": value for name, value in weights.items()} | {"other.w": torch.ones(1)}


@pytest.mark.parametrize(
    "wrap",
    [prefixed, sequential, lambda weights: {"state_dict": weights, "epoch": 3}, lambda w: {"model": w}],
    ids=["prefix", "sequential", "state_dict", "model"],
)
@pytest.mark.parametrize("stem", [1, 3])
def test_checkpoints_of_other_makers_load_alike(wrap, stem):
    weights = published("resnet18").state_dict()
    if stem == 1:
        weights["conv1.weight"] = weights["conv1.weight"].sum(dim=1, keepdim=True)
    plain, wrapped = encoder("resnet18"), encoder("resnet18")
    plain.load_pretrained(weights)
    report = wrapped.load_pretrained(wrap(weights))
    assert all(torch.equal(value, wrapped.state_dict()[key]) for key, value in plain.state_dict().items())
    assert report.stem == ("three channels summed" if stem == 3 else "as it is")
    assert ("other.w" in report.dropped) == (wrap is prefixed)


def test_inception_loads_torchvisions_names_without_its_classifiers(params):
    theirs = inception_v3(weights=None, aux_logits=True, init_weights=False)
    ours = TransferNet(Head(8, 1, 0.0, 1e-3, 0.0), load(params).network.tlr).eval()
    report = ours.load_pretrained(theirs.state_dict())
    assert {name.split(".")[0] for name in report.dropped} == {"AuxLogits", "fc"}
    grey = torch.randint(0, 256, (2, 75, 75), dtype=torch.uint8)
    theirs.fc = theirs.dropout = nn.Identity()
    with torch.no_grad():
        expected = theirs.eval()((grey[:, None].float() / 127.5 - 1).expand(-1, 3, -1, -1))
        torch.testing.assert_close(ours.pooled({"us": grey}), expected, rtol=1e-4, atol=1e-5)
    damaged = {k: v for k, v in theirs.state_dict().items() if not k.startswith("Mixed_7c")}
    with pytest.raises(InputError, match="torchvision's Inception V3"):
        ours.load_pretrained(damaged)
