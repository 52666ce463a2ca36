from __future__ import annotations

import math
import pickle
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dgfnet.errors import InputError
from dgfnet.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights_file,
    save_checkpoint,
    save_weights,
)
from dgfnet.training.hardware import choose
from dgfnet.training.loop import cosine

CPU = torch.device("cpu")


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickled object was executed",))


def checkpoint():
    parameter = torch.nn.Parameter(torch.randn(3))
    optimiser = torch.optim.Adam([parameter], lr=0.1, fused=True)
    parameter.sum().backward()
    optimiser.step()
    history = [{"loss_label": 0.5, "learning_rate": 0.1}]
    return Checkpoint(1, {"w": parameter.detach()}, optimiser.state_dict(), {}, history)


def test_checkpoint_round_trip(tmp_path):
    saved = checkpoint()
    save_checkpoint(tmp_path / "folder" / "checkpoint.pt", saved)
    loaded = load_checkpoint(tmp_path / "folder" / "checkpoint.pt", CPU)
    assert (loaded.epoch, loaded.history, loaded.scaler) == (1, saved.history, {})
    assert torch.equal(loaded.model["w"], saved.model["w"])
    assert torch.equal(loaded.optimiser["state"][0]["exp_avg"], saved.optimiser["state"][0]["exp_avg"])
    assert loaded.optimiser["param_groups"] == saved.optimiser["param_groups"]
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_is_data_only(tmp_path):
    save_checkpoint(tmp_path / "checkpoint.pt", checkpoint())
    assert set(torch.load(tmp_path / "checkpoint.pt", weights_only=True)) == {
        "epoch",
        "model",
        "optimiser",
        "scaler",
        "history",
        "chosen",
    }


def test_a_pickled_object_in_a_checkpoint_is_not_executed_and_the_fit_starts_again(tmp_path):
    torch.save({**vars(checkpoint()), "scaler": Trap()}, tmp_path / "checkpoint.pt")
    assert load_checkpoint(tmp_path / "checkpoint.pt", CPU) is None
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-damaged.pt"]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_checkpoint_that_was_cut_is_set_aside_and_the_fit_starts_again(tmp_path, share):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, checkpoint())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert load_checkpoint(path, CPU) is None
    assert not path.exists()
    assert (tmp_path / "checkpoint-damaged.pt").read_bytes() == whole[: int(len(whole) * share)]


def test_no_checkpoint_is_none(tmp_path):
    assert load_checkpoint(tmp_path / "checkpoint.pt", CPU) is None


def test_a_failed_saving_leaves_the_old_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, checkpoint())
    before = path.read_bytes()
    broken = Checkpoint(2, {"w": lambda: None}, {}, {}, [])  # a function cannot be saved
    with pytest.raises((AttributeError, pickle.PicklingError)):
        save_checkpoint(path, broken)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_weights_round_trip_whatever_their_layout(tmp_path):
    weights = {
        "conv": torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last),
        "slice": torch.randn(6, 4)[:, 1],
        "count": torch.tensor(7),
        "empty": torch.empty(0, 32),
        "learned": torch.nn.Parameter(torch.randn(2)),
    }
    save_weights(tmp_path / "weights.safetensors", weights)
    loaded = load_weights_file(tmp_path / "weights.safetensors")
    assert set(loaded) == set(weights)
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    assert loaded["empty"].shape == (0, 32)


@pytest.mark.parametrize("content", [None, b"", b"not safetensors", pickle.dumps({"w": 1})])
def test_weights_that_cannot_be_read_are_named(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"weights\.safetensors: cannot be read as safetensors"):
        load_weights_file(path)


def test_the_cosine_starts_at_the_rate_halves_in_the_middle_and_ends_at_nothing():
    assert cosine(0.02, 0, 10) == 0.02
    assert cosine(0.02, 5, 10) == pytest.approx(0.01)
    assert cosine(0.02, 10, 10) == pytest.approx(0)
    assert cosine(0.3, 0, 1) == 0.3  # the only epoch of one
    assert cosine(1.0, 1, 3) == pytest.approx(0.75)  # (1 + cos 60 degrees) / 2


@given(st.integers(1, 300), st.floats(1e-6, 1.0))
def test_the_cosine_falls_and_stays_above_zero(epochs, rate):
    rates = [cosine(rate, epoch, epochs) for epoch in range(epochs)]
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert rates[-1] > 0
    assert math.isclose(sum(rates), rate * (epochs + 1) / 2, rel_tol=1e-9)  # symmetric about the middle


@pytest.mark.skipif(torch.cuda.is_available(), reason="what is chosen without a GPU")
@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_cpus_compute_in_single_precision(precision):
    hardware = choose(precision)
    assert (hardware.device.type, hardware.half) == ("cpu", None)
    assert not hardware.scaler().is_enabled()
    with hardware.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
