"""Changed copies of valid files of every kind: a picture or an InputError, in time and memory."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scene

from dgfnet.errors import InputError
from dgfnet.imaging import itk

SCRIPT = Path(__file__).with_name("read_mutated.py")
SECONDS = 20
MEMORY = 2000  # MB; the largest picture that is read has 50 million pixels


def start(script, *arguments):
    """Runs a script of this folder, which imports what tests import, in a process of its own."""
    paths = [str(SCRIPT.parent), str(SCRIPT.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-W", "ignore", str(script), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=3600, env=environment
    )


def read_mutated(seed, count, folder):
    done = start(SCRIPT, seed, count, folder)
    now = folder / "now.txt"
    assert done.returncode == 0, (now.exists() and now.read_text(), done.stderr[-3000:])
    found = json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(found | {"neither": len(found["neither"])}))
    assert found["neither"] == []
    assert found["read"] + found["refused"] == count
    assert min(found["read"], found["refused"]) > count / 20
    assert found["memory"] < MEMORY


def test_two_hundred_changed_files(tmp_path):
    read_mutated(0, 200, tmp_path)


@pytest.mark.slow
def test_thousands_of_changed_files(tmp_path):
    read_mutated(1000, int(os.environ.get("DGFNET_MUTATIONS", "4000")), tmp_path)


@pytest.mark.slow
def test_files_changed_towards_code_that_was_not_reached(tmp_path):
    """Atheris: thousands of runs, and no error but InputError."""
    runs = os.environ.get("DGFNET_MUTATIONS", "4000")
    limits = (f"-timeout={3 * SECONDS}", f"-rss_limit_mb={MEMORY}", "-max_len=40000", "-print_final_stats=1")
    done = start(
        SCRIPT.with_name("guided.py"), tmp_path, f"-runs={runs}", f"-artifact_prefix={tmp_path}/", *limits
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert re.search(rf"number_of_executed_units: +{runs}", done.stderr)


def changed_header(folder, before, after):
    path = scene.itk(folder / "i.mha", scene.stored(scene.VOLUME), scene.AFFINE)
    raw = path.read_bytes()
    assert raw.count(before) == 1
    path.write_bytes(raw.replace(before, after))
    return path


def test_a_key_of_metaimage_in_latin_1_changes_nothing(tmp_path):
    """SimpleITK 2.5 lists such a key and cannot be asked for its value."""
    path = changed_header(tmp_path, b"ElementSpacing", b"Pr\xfcfer = x\nElementSpacing")
    assert np.array_equal(itk.load(path).values, scene.stored(scene.VOLUME))


def test_axes_that_do_not_span_space_are_refused(tmp_path):
    """The second axis runs along the first but for a hundred-thousandth."""
    path = changed_header(
        tmp_path, b"TransformMatrix = 1 0 0 0 1 0 0 0 1", b"TransformMatrix = 1 0 0 99999 1 0 0 0 1"
    )
    with pytest.raises(InputError, match=r"i\.mha: its affine is singular, so it lies nowhere"):
        itk.load(path)


def test_a_number_of_axes_that_no_volume_has_is_refused_before_it_is_trusted(tmp_path):
    path = changed_header(tmp_path, b"NDims = 3", b"NDims = 1")
    with pytest.raises(InputError, match=r"i\.mha: claims 1 axes; expected a 3-D volume; copy it again"):
        itk.load(path)


def test_a_header_that_is_no_text_is_refused_before_it_is_trusted(tmp_path):
    path = changed_header(tmp_path, b"ElementSpacing", b"Comment = \x01\nElementSpacing")
    with pytest.raises(InputError, match=r"i\.mha: its header is damaged; copy it again"):
        itk.load(path)
    path = scene.nrrd_without_space(tmp_path / "i.nrrd", scene.stored(scene.VOLUME))
    path.write_bytes(path.read_bytes().replace(b"endian: little", b"endian little"))
    with pytest.raises(InputError, match=r"i\.nrrd: its header is damaged; copy it again"):
        itk.load(path)


def test_a_volume_without_voxels_is_refused(tmp_path):
    path = changed_header(tmp_path, b"DimSize = 64 48 5", b"DimSize = 64 48 0")
    with pytest.raises(InputError, match=r"^i\.mha: "):
        itk.load(path)
