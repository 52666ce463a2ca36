"""What a fit takes of a GPU's memory, counted here without one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dgfnet.errors import InputError
from dgfnet.network.variants import DGFNet, Output
from dgfnet.preprocess.archive import Archive
from dgfnet.training.hardware import Hardware
from dgfnet.training.memory import PROBE, check_memory, kept_for_backward, memory_said
from dgfnet.training.partition import split

HERE = Hardware(torch.device("cpu"), None)


class OnGpu(Hardware):
    on_gpu = True  # the computing stays here


class Plain(nn.Module):
    """Squares of a linear layer: the backward pass keeps the input and the layer's output."""

    modalities, rectangle = ("us",), None

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(32 * 32, 7, bias=False)

    def forward(self, images, patients=None, segment=False):
        return Output(self.layer(images["us"].flatten(1).float()).pow(2).sum(1), {}, {})


@pytest.fixture
def parts(places, task):
    archive = Archive.open(places.archive)
    own = task(variant="dgf")
    return own, archive, split(own, places, archive)[0]


def test_what_the_backward_pass_keeps_by_hand(parts):
    """Two pictures of 32 x 32 floats and two rows of seven; the weights are counted elsewhere."""
    _, archive, training = parts
    assert kept_for_backward(Plain(), archive, training, HERE) == PROBE * 4 * (32 * 32 + 7)


def test_counting_changes_neither_the_network_nor_what_is_drawn_next(parts):
    own, archive, training = parts
    model = DGFNet("dgf", "resnet18", own.network)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    assert kept_for_backward(model, archive, training, HERE) > 0
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_precision_keeps_less(parts):
    own, archive, training = parts
    model = DGFNet("us_multitask", "resnet18", own.network)
    half = Hardware(torch.device("cpu"), torch.bfloat16)
    full, less = (kept_for_backward(model, archive, training, how) for how in (HERE, half))
    assert 0.4 * full < less < 0.8 * full


def test_a_fit_that_cannot_fit_is_refused_before_it_is_trained(parts, monkeypatch):
    own, archive, training = parts
    model = Plain()
    needed = 4 * 4 * 7 * 1024 + own.training.batch * 4 * (1024 + 7)
    monkeypatch.setattr("dgfnet.training.memory.kept_for_backward", lambda *_: PROBE * 4 * (1024 + 7))
    enough = OnGpu(torch.device("cpu"), None, needed)
    assert check_memory(model, own, archive, training, enough) == needed
    with pytest.raises(InputError, match=r"batch of \d+ takes at least 0\.0 GiB .* lower training\.batch"):
        check_memory(model, own, archive, training, replace(enough, room=needed - 1))
    assert check_memory(model, own, archive, training, HERE) == 0


def test_a_gpu_that_runs_out_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 * 2**30)
    hardware = Hardware(torch.device("cuda"), None, 4 * 2**30)
    said = r"may take 4\.0 GiB and had taken 3\.0; .*batch \(now 30\)"
    with pytest.raises(InputError, match=said), memory_said(hardware, 30):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")
