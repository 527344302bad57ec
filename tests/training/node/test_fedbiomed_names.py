"""Names that Fed-BioMed does not promise to keep: when one of these fails, read `training/node/fedbiomed_node.py` and
`training/coordinator/fedbiomed_researcher.py` again."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version

from tests.support import ROOT

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
job = set(inspect.signature(TrainingJob.__init__).parameters)
assert {"round_", "training_args", "nodes_state_ids", "aggregator_args", "do_training", "secagg_arguments"} <= job
round_ = inspect.getsource(Experiment.run_once)
assert "training_args=self._training_args," in round_ and "data=self._fds," in round_
assert "nodes_state_ids = self._node_state_agent.get_last_node_states()" in round_
assert "self.secagg_setup(training_nodes)" in round_ and "self._aggregator.create_aggregator_args(" in round_
assert "_get_training_results(replies=replies)" in inspect.getsource(TrainingJob.execute)
assert "self._training_replies = {" in inspect.getsource(Experiment.commit_experiment_history)
assert "choose_bkpt_file" in inspect.getsource(Experiment.breakpoint)
from fedbiomed.researcher.filetools import choose_bkpt_file
assert 'breakpoint_" + str("{:04d}"' in inspect.getsource(choose_bkpt_file)
assert "self._grpc_server = GrpcServer(" in inspect.getsource(Requests)
from fedbiomed.transport.node_agent import NodeActiveStatus
assert {"WAITING", "ACTIVE", "DISCONNECTED"} == {status.name for status in NodeActiveStatus}
from fedbiomed.researcher.secagg import SecureAggregation, SecureAggregationSchemes
secure = SecureAggregation(scheme=SecureAggregationSchemes.LOM, clipping_range=6)
assert {"parties", "experiment_id", "researcher_id"} <= set(inspect.signature(secure.setup).parameters)
assert list(inspect.signature(secure._set_secagg_contexts).parameters) == ["researcher_id", "parties", "experiment_id"]
from fedbiomed.researcher.requests import StopOnDisconnect
assert StopOnDisconnect(timeout=0).timeout == 0
from fedbiomed.transport.node_agent import NodeAgent
assert "message" in inspect.signature(NodeAgent.on_reply).parameters
assert {"msg", "type_"} <= set(inspect.signature(Requests.on_message).parameters)
assert SecureAggregation.load_state_breakpoint(secure.save_state_breakpoint()).clipping_range == 6
from fedbiomed.common.constants import SAParameters
from training.task.quantization import QUANTIZATION_LEVELS
assert SAParameters.TARGET_RANGE == QUANTIZATION_LEVELS
from fedbiomed.common.secagg import _secagg_crypter
assert "= reverse_quantize(" in inspect.getsource(_secagg_crypter.SecaggLomCrypter.aggregate)
from fedbiomed.common.utils import reverse_quantize
from training.task.quantization import dequantize
assert list(inspect.signature(reverse_quantize).parameters)[1:] == list(inspect.signature(dequantize).parameters)[1:]
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
from fedbiomed.node import round as node_round
assert "self._secure_aggregation = SecaggRound(" in inspect.getsource(Round.run_model_training)
secagg = inspect.getsource(__import__("fedbiomed.node.secagg._secagg_round", fromlist=["x"]))
assert "self._secagg_dh = " in secagg and "self._secagg_servkey = " in secagg
assert 'self._secagg_dh["parties"]' in secagg and 'self._secagg_dh["context"]' in secagg
assert node_round.SecaggRound.__init__.__annotations__["secagg_arguments"]
from training.node.fedbiomed_node import watch_requests
watch_requests()
assert node_round.SecaggRound.__name__ == "WatchedSecagg"
from fedbiomed.common.training_plans import TorchTrainingPlan
from tests.support import ROOT
sent = inspect.getsource(TorchTrainingPlan.after_training_params)
assert "self.postprocess(" in sent and "node_id" in inspect.signature(TorchTrainingPlan.post_init).parameters
steps = inspect.getsource(TorchTrainingPlan.training_routine)
assert {"history_monitor", "node_args"} <= set(inspect.signature(TorchTrainingPlan.training_routine).parameters)
assert steps.index("self._dp_controller.before_training(") < steps.index("self._train_over_batch(data, target)")
assert steps.index("if history_monitor is not None:") < steps.index("history_monitor.add_scalar(")
assert "PrivacyEngine()" in inspect.getsource(__import__("fedbiomed.common.privacy", fromlist=["x"]).DPController)
assert {"_create_hash", "list_training_plans", "get_training_plan_by_id", "approve_training_plan"} <= set(
    dir(TrainingPlanSecurityManager)
)
assert {"list_my_datasets", "delete_dataset_by_id"} <= set(dir(DatasetManager))
from training.node.fedbiomed_node import installed_plan
from training.node.training_plan import FedPetPlan
assert installed_plan() == FedPetPlan().source()
for line in FedPetPlan.init_dependencies(None):
    exec(line)
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


_GUARD = """
import torch
from inference.input_contract import default_contract
from training.task.method import UNPROTECTED_METHOD, FederatedMethod
from training.coordinator.plausibility import implausible, parameter_norm
from training.task.task import TrainingTask

def refused(change, method):
    task = TrainingTask(contract=default_contract(), network="clinical", method=method)
    network = task.build()
    before = parameter_norm(network)
    with torch.no_grad():
        change(network.head.baseline)
    return str(implausible(network, task, before, 3.0) or "")

assert refused(lambda p: p.add_(0.1), FederatedMethod()) == ""
assert "went from" in refused(lambda p: p.mul_(5e14), UNPROTECTED_METHOD)
assert "went from" in refused(lambda p: p.mul_(0.1), UNPROTECTED_METHOD)
assert "went from" in refused(lambda p: p.fill_(float("nan")), UNPROTECTED_METHOD)
assert "after the aggregation" in refused(lambda p: p[:1].fill_(6.5), FederatedMethod())
assert refused(lambda p: p[:1].fill_(6.5), UNPROTECTED_METHOD) == ""
"""


def test_an_aggregate_that_no_training_made_is_refused(tmp_path):
    done = run(_GUARD, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


_DIFFERENT = """
from fedpet.core.errors import FederationError
from training.coordinator.sites import require_same
from training.task.code_digest import code_digest

same = {"sources": code_digest(), "contract": "c0", "fedpet": "1"}
facts = {"nice": same, "lyon": {**same, "contract": "c1"}, "dijon": {**same, "sources": "s", "contract": "c2"}}
facts["caen"] = {**same, "fedpet": "0", "sources": "t"}
require_same({"nice": same}, "c0")
try:
    require_same(facts, "c0")
except FederationError as error:
    found = str(error.found)
assert "caen (sources; fedpet 0); dijon (sources, contract; fedpet 1); lyon (contract; fedpet 1)" in found, found
assert "nice" not in found
"""


def test_every_site_that_differs_is_named(tmp_path):
    done = run(_DIFFERENT, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_calling_process_stays_light(tmp_path):
    done = run(
        "import sys, training.coordinator.processes; assert not {'fedbiomed', 'torch'} & set(sys.modules), 'heavy'",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
