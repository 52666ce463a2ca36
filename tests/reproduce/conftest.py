"""The project's settings in a folder of their own."""

import shutil

import pytest

from dgfnet import pseudonyms
from dgfnet.settings import load


@pytest.fixture
def settings(tmp_path, params, monkeypatch):
    """Settings that differ from those of their own file, as overrides on the command line make them."""
    monkeypatch.delenv(pseudonyms.KEY, raising=False)
    shutil.copy(params, tmp_path / "params.yaml")
    return load(tmp_path / "params.yaml", ["training.learning_rate=2e-5", "network.pretrained=off"])
