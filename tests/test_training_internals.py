"""Names that Fed-BioMed does not promise to keep: when one of these fails, read `training/internals_*.py` again."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]

_RESEARCHER = """
import inspect
from fedbiomed.common.serializer import Serializer
from fedbiomed.researcher.config import config
from fedbiomed.researcher.federated_workflows import Experiment
from fedbiomed.researcher.federated_workflows.jobs import TrainingJob
from fedbiomed.researcher.monitor import MetricStore, Monitor
from fedbiomed.researcher.requests import Requests, StopOnTimeout
assert "self._policies" in inspect.getsource(TrainingJob.__mro__[1].__init__)
assert "self._policies" in inspect.getsource(TrainingJob.execute)
assert "params_{" in inspect.getsource(TrainingJob) and "params_path" in inspect.getsource(TrainingJob)
assert Monitor("unused")._metric_store == {}
store = MetricStore()
for step, value in ((1, 0.5), (3, 0.25)):
    store.add_iteration("node", False, True, 2, {"loss": value}, step)
assert store["node"]["testing_global_updates"]["loss"][2]["values"][-1] == 0.25
assert list(inspect.signature(Requests.search).parameters) == ["self", "tags", "nodes"]
assert StopOnTimeout(timeout=1).timeout == 1
assert {"test_after"} <= set(inspect.signature(Experiment.run_once).parameters)
"""

_NODE = """
import inspect
from fedbiomed.node import node_pm
from fedbiomed.node.config import NodeComponent
from fedbiomed.node.dataset_manager import DatasetManager
from fedbiomed.node.round import Round
from fedbiomed.node.training_plan_security_manager import TrainingPlanSecurityManager
assert {"--config", "--node-args"} <= set(inspect.getsource(node_pm).replace('"', " ").split())
assert {"root", "alias"} <= set(inspect.signature(NodeComponent.initiate).parameters)
added = inspect.signature(DatasetManager.add_database).parameters
assert {"name", "data_type", "tags", "description", "path"} <= set(added)
assert {"name", "description", "path"} <= set(
    inspect.signature(TrainingPlanSecurityManager.register_training_plan).parameters
)
assert "self.training_plan.set_data_loaders(" in inspect.getsource(Round)
assert "len(\\n                self.training_plan.training_data_loader.dataset" in inspect.getsource(Round)
"""


def run(script, tmp_path):
    environment = {**os.environ, "FBM_RESEARCHER_COMPONENT_ROOT": str(tmp_path / "researcher"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )


def test_the_pinned_version_is_installed():
    assert version("fedbiomed") == "6.4.1"


def test_names_of_the_researcher(tmp_path):
    done = run(_RESEARCHER, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_names_of_the_node(tmp_path):
    done = run(_NODE, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_calling_process_stays_light(tmp_path):
    done = run(
        "import sys, training.federation; assert not {'fedbiomed', 'torch'} & set(sys.modules), 'heavy'", tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
