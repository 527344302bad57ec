"""Work on a real Ray cluster of two machines' processes, with a worker and then a machine killed in the middle."""

import os
import signal
import time
from functools import partial
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

import fedpet
from fedpet.core.errors import ClusterError
from training.data.process_pool import Lost
from training.data.ray_cluster import RayCluster, _run


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # the machines of this test are processes of this one
    monkeypatch.setenv("RAY_health_check_period_ms", "500")
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "memory": 2 << 30})
    try:
        yield started
    finally:
        started.shutdown()


def _halved(number, *, marks):
    """Half of it, with a mark for each start; kills its process at 3, and at 5 the first time."""
    first = _marked(marks, number)
    if number == 3 or (number == 5 and first):
        os.kill(os.getpid(), signal.SIGKILL)
    return number / 2


def _marked(marks, number):
    before = len(list(marks.glob(f"{number}-*")))
    (marks / f"{number}-{before}").touch()
    return not before


def _slow(number, *, marks):
    _marked(marks, number)
    time.sleep(2)
    return number / 2


def test_each_result_counts_once_and_in_order_though_workers_and_a_machine_are_killed(cluster, tmp_path):
    second = cluster.add_node(num_cpus=1, memory=2 << 30)
    ray = RayCluster(cluster.address)
    assert list(ray.map(partial(_halved, marks=tmp_path), range(1, 7))) == [
        0.5,
        1.0,
        Lost(3, "process killed"),
        2.0,
        2.5,
        3.0,
    ]
    starts = {number: len(list(tmp_path.glob(f"{number}-*"))) for number in range(1, 7)}
    assert starts == {1: 1, 2: 1, 3: 2, 4: 1, 5: 2, 6: 1}

    results = ray.map(partial(_slow, marks=tmp_path), range(11, 16))
    found = [next(results)]
    cluster.remove_node(second, allow_graceful=False)
    assert [*found, *results] == [number / 2 for number in range(11, 16)]


def test_a_machine_with_another_version_is_named_and_nothing_is_computed_there():
    with pytest.raises(ClusterError, match=f"has fedpet {fedpet.__version__}"):
        _run(abs, -1, "0.0.1")
    with pytest.raises(ClusterError, match="No Ray cluster answers"):
        list(RayCluster("127.0.0.1:1").map(abs, [Path()]))
