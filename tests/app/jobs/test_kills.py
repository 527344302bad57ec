"""Processes killed at random moments leave nothing stuck, lost or behind; `benchmarks/load.py` has more points."""

import numpy as np
import pytest

from benchmarks import load


@pytest.mark.parametrize("kill", [load._kill_job, load._kill_receiver])
def test_what_a_killed_process_leaves_is_sound(tmp_path, kill):
    assert kill(tmp_path / "home", np.random.default_rng(7)) == []
