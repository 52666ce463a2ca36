"""Ray fails on its own cut files when the disk is full: then that is said, and nothing else is hidden."""

import pickle
import shutil
from types import SimpleNamespace

import pytest

from dgfnet.errors import InputError
from dgfnet.sweep.crash import SCARCE, full_disk_said


@pytest.mark.parametrize(
    ("free", "error"), [(0, InputError), (SCARCE - 1, InputError), (SCARCE, pickle.UnpicklingError)]
)
def test_a_full_disk_is_the_cause_that_is_said(tmp_path, monkeypatch, free, error):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    with pytest.raises(error), full_disk_said(tmp_path / "not" / "there"):
        raise pickle.UnpicklingError("pickle data was truncated")


def test_our_own_messages_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(InputError, match="diverged"), full_disk_said(tmp_path):
        raise InputError("diverged")
