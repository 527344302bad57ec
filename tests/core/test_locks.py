"""Locks: one holder at a time, and none after it is killed."""

import os
import subprocess
import sys

import pytest

from fedpet.core.errors import SettingsError
from fedpet.core.locks import only_server, try_lock

_HOLDER = """
import sys
from pathlib import Path
from fedpet.core.locks import only_server
with only_server(Path(sys.argv[1]), "app"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_server_says_so_and_a_killed_one_holds_nothing(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SettingsError, match="uses this folder already"), only_server(tmp_path, "app"):
            pass
        with only_server(tmp_path, "pacs listen"):  # a receiver beside it
            pass
        holder.kill()
    with only_server(tmp_path, "app"):
        pass


def test_a_lock_lives_as_long_as_a_process_that_inherited_it(tmp_path):
    held = try_lock(tmp_path)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=(held,)) as child:
        os.close(held)
        assert try_lock(tmp_path) is None
        child.stdin.close()
    again = try_lock(tmp_path)
    assert again is not None
    os.close(again)
