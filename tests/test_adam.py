"""Adam equals torch's, and does not load torch's compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from dgfnet.adam import Adam

STEPS = """
import sys
import torch
from dgfnet.adam import Adam
weight = torch.nn.Parameter(torch.ones(3))
optimiser = Adam([weight], lr=0.1, fused=True)
weight.sum().backward()
optimiser.step()
optimiser.zero_grad()
optimiser.load_state_dict(optimiser.state_dict())
print("torch._dynamo" in sys.modules)
torch.optim.Adam([weight])
print("torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_weights_and_state_are_those_of_torchs_own_to_the_bit(fused, decay):
    results = []
    for kind in (torch.optim.Adam, Adam):
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        data = torch.randn(16, 4)
        optimiser = kind(model.parameters(), lr=0.05, weight_decay=decay, fused=fused)
        for number in range(6):
            if number == 3:  # as a resumed fit does
                state = optimiser.state_dict()
                optimiser = kind(model.parameters(), lr=0.05, weight_decay=decay, fused=fused)
                optimiser.load_state_dict(state)
            optimiser.zero_grad(set_to_none=True)
            model(data).square().mean().backward()
            optimiser.step()
        results.append([*model.parameters(), *(v for s in optimiser.state.values() for v in s.values())])
    assert len(results[0]) == 4 + 4 * 3
    assert all(torch.equal(theirs, ours) for theirs, ours in zip(*results, strict=True))


def test_a_step_records_no_gradient_and_leaves_gradients_on():
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = Adam([weight], lr=0.1)
    weight.sum().backward()
    optimiser.step()
    assert weight.is_leaf
    assert torch.is_grad_enabled()
    torch.testing.assert_close(weight.detach(), torch.full((3,), 0.9))  # Adam's first step is its rate


def test_the_compiler_is_not_loaded():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
