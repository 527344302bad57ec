"""Temporary files: inside `home`, and gone with their process, however it ends."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from fedpet.core.scratch import scratch_folder, sweep_scratch

_WORKER = """
import sys, tempfile
from pathlib import Path
from fedpet.core.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1])), tempfile.TemporaryDirectory(prefix="fedpet-") as folder:
    (Path(folder) / "000000").write_text("DUPONT")
    print("ready", flush=True)
    sys.stdin.read()
"""


def _worker(home):
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def _files(home):
    return list((home / "scratch").rglob("000000"))


def test_temporary_files_are_made_inside_home_and_removed(tmp_path):
    before, inherited = tempfile.gettempdir(), os.environ.get("TMPDIR")
    with scratch_folder(tmp_path) as own:
        made = Path(tempfile.mkdtemp())
        assert made.parent == own
        assert own.is_relative_to(tmp_path)
        assert own.stat().st_mode & 0o077 == 0
        assert os.environ["TMPDIR"] == str(own)
    assert not own.exists()
    assert (tempfile.gettempdir(), os.environ.get("TMPDIR")) == (before, inherited)


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_uses_stays(tmp_path):
    killed, living = _worker(tmp_path), _worker(tmp_path)
    assert len(_files(tmp_path)) == 2
    for process, number in ((killed, signal.SIGTERM), (living, 0)):
        process.send_signal(number)
    killed.wait(10)
    assert len(_files(tmp_path)) == 2  # nobody removed them
    sweep_scratch(tmp_path)
    assert len(_files(tmp_path)) == 1
    living.communicate(b"", 10)
    assert _files(tmp_path) == []
