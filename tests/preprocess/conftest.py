from __future__ import annotations

from pathlib import Path

import pytest

from dgfnet.sections.data import Preprocess
from dgfnet.settings import load


@pytest.fixture(scope="session")
def settings() -> Preprocess:
    return load(Path(__file__).parents[2] / "params.yaml").preprocess
