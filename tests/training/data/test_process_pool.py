import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT
from training.data.process_pool import Lost, ordered_map, surviving_map


def halved(number):
    """Kills its process at 3, as the system does where memory runs out."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number / 2


def test_results_keep_their_order_and_a_killed_process_costs_only_its_item():
    assert list(ordered_map(halved, [1, 2], workers=2)) == [0.5, 1.0]
    results = list(surviving_map(halved, [1, 2, 3, 4, 5], workers=2))
    assert results == [0.5, 1.0, Lost(3, "process killed"), 2.0, 2.5]


WAITING = """
import os, signal, sys, time
from pathlib import Path
from training.data.process_pool import ordered_map

def wait(folder):
    signal.signal(signal.SIGTERM, lambda *_: time.sleep(120))  # as a library may have it
    Path(folder, str(os.getpid())).touch()
    time.sleep(120)

if __name__ == "__main__":
    list(ordered_map(wait, [sys.argv[1]] * 2, workers=2))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at the death of the parent is Linux's")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_processes_end_with_the_one_that_started_them(tmp_path, how):
    script, started = tmp_path / "waiting.py", tmp_path / "started"
    script.write_text(WAITING)
    started.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(script), str(started)], env=environment)
    try:
        assert _within(60, lambda: len(list(started.iterdir())) == 2)
        children = [Path("/proc", one.name) for one in started.iterdir()]
        assert all(map(_runs, children))
    finally:
        parent.send_signal(how)
        parent.wait()
    assert _within(10, lambda: not any(map(_runs, children)))


def _within(seconds, condition):
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.05)
    return met


def _runs(process):
    try:
        return process.joinpath("stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
