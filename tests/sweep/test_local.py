"""The folder of Ray's sockets is nobody else's; that of a killed command is removed by the next one."""

import os
import stat
import tempfile

from dgfnet.sweep.local import private_folder


def test_the_folder_is_private_and_what_killed_commands_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp")
    (gone,) = (tempfile.mkdtemp(prefix="dgfnet-ray-99999999-", dir="/tmp"),)
    other = tempfile.mkdtemp(prefix=f"dgfnet-ray-{os.getpid()}-", dir="/tmp")
    try:
        with private_folder() as folder:
            assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
            assert not os.path.exists(gone)
            assert os.path.exists(other)  # of a command that runs
        assert not folder.parent.exists()
    finally:
        os.rmdir(other)
