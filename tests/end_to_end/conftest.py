"""One project in which everything has run, for the tests of all files and all workers of pytest-xdist."""

import pytest
from filelock import FileLock
from whole import copy_of, dgfnet, plant_identities, project, put_under_git_and_dvc


@pytest.fixture(scope="session")
def finished(common, drawn):
    """A folder under git and DVC in which the pipeline has run from the phantom to the report.

    The worker that comes first makes it. It is only read; tests that change a project take `changeable`.
    """
    folder, made = common / "finished", common / "finished.made"
    with FileLock(common / "finished.lock"):
        if not made.exists():
            project(folder, drawn)
            plant_identities(folder / "data")
            put_under_git_and_dvc(folder)
            dgfnet(folder, "all")
            made.touch()
    return folder


@pytest.fixture(scope="module")
def changeable(finished, tmp_path_factory):
    """A copy of the finished project for the tests of one file, in their order."""
    return copy_of(finished, tmp_path_factory.mktemp("copy") / "project")
