from __future__ import annotations

import pytest

from dgfnet.settings import load


@pytest.fixture
def project(params, tmp_path):
    """The project's settings in a folder of their own."""
    (tmp_path / "params.yaml").write_bytes(params.read_bytes())
    return load(tmp_path / "params.yaml")
