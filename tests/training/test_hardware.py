"""What a GPU would get, decided here without one: only the questions to torch are answered for it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dgfnet.dataset.pairs import training_batches
from dgfnet.training import fit as module
from dgfnet.training.hardware import COMPILE_FROM, Hardware, choose

CPU, GPU = Hardware(torch.device("cpu"), None), Hardware(torch.device("cuda"), torch.bfloat16)


@pytest.mark.parametrize(
    ("precision", "ampere", "half"),
    [("auto", True, torch.bfloat16), ("auto", False, torch.float16), ("float32", True, None)],
)
def test_precision_follows_the_gpu(monkeypatch, precision, ampere, half):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: ampere)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (70, 80))
    chosen = choose(precision)
    assert (chosen.device.type, chosen.half, chosen.on_gpu) == ("cuda", half, True)


@pytest.mark.parametrize(
    ("share", "free", "limits", "room"),
    [(1.0, 70, [], 70), (0.5, 70, [0.5], 40), (0.5, 30, [0.5], 30)],
)
def test_a_trial_takes_its_share_of_the_memory_and_what_is_free(monkeypatch, share, free, limits, room):
    limited = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 80))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", limited.append)
    assert choose("auto", share).room == room
    assert limited == limits


def test_only_half_precision_scales_its_loss():
    assert not GPU.scaler().is_enabled()
    assert not CPU.scaler().is_enabled()


@pytest.mark.parametrize(
    ("hardware", "setting", "steps", "compiled"),
    [
        (CPU, "auto", 10**9, False),
        (CPU, "on", 1, True),
        (GPU, "auto", COMPILE_FROM, True),
        (GPU, "auto", COMPILE_FROM - 1, False),
        (GPU, "off", 10**9, False),
        (GPU, "on", 1, True),
    ],
)
def test_compiling_where_it_pays_or_is_asked_for(monkeypatch, hardware, setting, steps, compiled):
    model = nn.Linear(1, 1)
    monkeypatch.setattr(torch, "compile", lambda given: SimpleNamespace(of=given))
    found = hardware.compiled(model, setting, steps)
    assert (getattr(found, "of", None) is model) == compiled
    assert compiled or found is model


@pytest.mark.parametrize("variant", ["us_multitask", "us_tlr"])
def test_batches_are_made_by_the_trials_own_thread_on_a_cpu(places, task, monkeypatch, variant):
    asked = []

    def watched(*arguments, **how):
        asked.append(how)
        return training_batches(*arguments, **how)

    monkeypatch.setattr(module, "training_batches", watched)
    facts = {"encoder": "inception_v3"} if variant == "us_tlr" else {}
    module.fit(task(epochs=1, variant=variant, **facts), places, 1, lambda *_: None, workers=4)
    assert len(asked) == 1
    assert not {"workers", "pin"} & set(asked[0])


class OnGpu(Hardware):
    """The path of a GPU, computed here."""

    on_gpu = True


def test_on_a_gpu_us_tlr_alone_gets_batches_from_threads(places, task, monkeypatch):
    asked = {}
    for name in ("training_batches", "device_batches"):
        own = getattr(module, name)
        watched = lambda *a, own=own, name=name, **how: asked.setdefault(name, how) and own(*a, **how)  # noqa: E731
        monkeypatch.setattr(module, name, watched)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(module, "choose", lambda *_: OnGpu(torch.device("cpu"), None, 2**40))
    module.fit(task(epochs=1, variant="us_multitask"), places, 1, lambda *_: None, workers=3)
    assert set(asked) == {"device_batches"}
    assert asked["device_batches"]["workers"] == 3
    module.fit(task(epochs=1, variant="us_tlr", encoder="inception_v3"), places, 1, lambda *_: None, 2)
    assert (asked["training_batches"]["workers"], asked["training_batches"]["pin"]) == (2, True)


@pytest.mark.parametrize(("half", "tolerance"), [(None, 1e-3), (torch.bfloat16, 0.05)])
def test_a_fit_augmented_on_the_device_agrees_with_one_of_the_cpu(
    places, task, tiny, monkeypatch, half, tolerance
):
    """The same draws, dropout included; bfloat16 rounds to 8 bits."""
    here = module.fit(task(epochs=2, variant="dgf"), places, 1, lambda *_: None)
    expected = pd.read_csv(places.fit(here["key"]) / "predictions.csv")
    monkeypatch.setattr(module, "choose", lambda *_: OnGpu(torch.device("cpu"), half, 2**40))
    other = replace(places, work=places.work.with_name("device"))
    module.fit(task(epochs=2, variant="dgf"), other, 1, lambda *_: None)
    found = pd.read_csv(other.fit(here["key"]) / "predictions.csv")
    assert found["nodule_id"].tolist() == expected["nodule_id"].tolist()
    np.testing.assert_allclose(found["probability"], expected["probability"], atol=tolerance)


def test_a_fit_on_a_device_that_was_interrupted_ends_as_one_that_was_not(places, task, monkeypatch):
    monkeypatch.setattr(module, "choose", lambda *_: OnGpu(torch.device("cpu"), torch.bfloat16, 2**40))
    own = task(epochs=4, variant="dgf")

    def interrupted(epoch, record):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        module.fit(own, places, 1, interrupted)
    other = replace(places, work=places.work.with_name("undisturbed"))
    for where in (places, other):
        module.fit(own, where, 1, lambda *_: None)
    ours, theirs = (where.fit(own.key) / "weights.safetensors" for where in (places, other))
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.slow
def test_a_compiled_fit_agrees_with_an_eager_one(places, task, tiny):
    """Other rounding, the same training. Without dropout: compiled, it draws other random numbers."""
    network = tiny.network.model_copy(update={"dropout": 0.0})
    records = [
        module.fit(task(epochs=1, network=network, training={"compile": how}), places, 1, lambda *_: None)[
            "history"
        ][0]
        for how in ("off", "on")
    ]
    for name in ("loss_masks_us", "loss_label"):
        assert records[0][name] == pytest.approx(records[1][name], rel=1e-3)
