"""One thread: the machine that runs the tests is often shared, and these networks are small."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def quiet_and_reproducible():
    torch.set_num_threads(1)
    torch.manual_seed(0)
