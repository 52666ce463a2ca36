"""No fault in the files of a finished project is silent, and none ends in a traceback."""

from __future__ import annotations

import re

import pytest
from faults import FAULTS, TABLE, table
from whole import ROOT, called, copy_of


@pytest.fixture
def damaged(finished, tmp_path):
    """A copy of the finished project for one fault."""
    return copy_of(finished, tmp_path / "project")


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_mended_or_refused(damaged, finished, name):
    fault = FAULTS[name]
    fault.damage(damaged)
    done = called(damaged, *fault.command, check=False)
    said = done.stderr.replace("\n", " ")
    assert "Traceback" not in said
    assert re.search(fault.said, said), done.stderr
    assert done.returncode == (0 if fault.mended else 2), done.stderr
    if fault.mended:
        assert (damaged / TABLE).read_bytes() == (finished / TABLE).read_bytes()
        again = called(damaged, *fault.command)  # what was mended stays so
        assert "set aside" not in again.stderr
        assert "trained from its first" not in again.stderr
    else:
        assert len(done.stderr.strip().splitlines()) <= 2, done.stderr


def test_the_page_lists_every_fault():
    page = (ROOT / "docs/reference/faults.md").read_text()
    assert table() in page, "python tests/end_to_end/faults.py prints it"
