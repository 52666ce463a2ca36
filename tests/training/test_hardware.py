"""What a GPU would get, decided here without one: only the questions to torch are answered for it."""

from __future__ import annotations

from types import SimpleNamespace

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
    chosen = choose(precision)
    assert (chosen.device.type, chosen.half, chosen.on_gpu) == ("cuda", half, True)


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
    assert asked == [{"features": None}]  # and no workers


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
