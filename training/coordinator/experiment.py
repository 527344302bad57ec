"""A training as Fed-BioMed's experiment: optimiser of the server, secure aggregation, arguments of the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import torch
from fedbiomed.common.optimizers import Optimizer
from fedbiomed.common.optimizers.declearn import ScaffoldServerModule
from fedbiomed.researcher.aggregators import FedAverage
from fedbiomed.researcher.federated_workflows import Experiment
from fedbiomed.researcher.secagg import SecureAggregation, SecureAggregationSchemes

from training.task.method import MASKED_RANGE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.coordinator.sites import RunConfig
    from training.task.method import FederatedMethod
    from training.task.task import TrainingTask

_SCHEMES: Final = {"lom": SecureAggregationSchemes.LOM, "joye-libert": SecureAggregationSchemes.JOYE_LIBERT}


def make_experiment(
    name: str,
    task: TrainingTask,
    config: RunConfig,
    data: Mapping[str, Mapping[str, Any]],
    plan: type,
    breakpoint_: str,
) -> Experiment:
    """A new experiment, or that of a breakpoint.

    Args:
        name: of the run.
        task: of the run.
        config: of this process.
        data: that the nodes offer, by node id.
        plan: that the nodes approved.
        breakpoint_: folder; "" begins anew.
    """
    if breakpoint_:
        experiment = Experiment.load_breakpoint(breakpoint_)
    else:
        torch.manual_seed(task.seed)
        experiment = Experiment(
            training_data={node: {**one, "description": ""} for node, one in data.items()},
            training_plan_class=plan,
            model_args=config.args[name],
            training_args=training_args(task, config.local_epochs[name], use_gpu=config.use_gpu),
            aggregator=FedAverage(),
            agg_optimizer=_server(task.method),
            secagg=_secure(task.method),
        )
    experiment.set_round_limit(task.rounds + 1)  # one more to validate; a breakpoint does not keep it
    experiment.set_retain_full_history(False)
    experiment.set_save_breakpoints(False)  # they are written here, without the nodes' parameters
    return experiment


def _server(method: FederatedMethod) -> Optimizer | None:
    """The optimiser that takes the step of the averaged update; None takes it as it is."""
    aggregation = method.aggregation
    if aggregation.method == "scaffold":
        return Optimizer(lr=1.0, modules=[ScaffoldServerModule()])
    if aggregation.server == "none" or aggregation.server_rate is None:
        return None
    return Optimizer(lr=aggregation.server_rate, modules=[aggregation.server])


def _secure(method: FederatedMethod) -> SecureAggregation | bool:
    if not method.masked:
        return False
    return SecureAggregation(scheme=_SCHEMES[method.privacy.secure_aggregation], clipping_range=MASKED_RANGE)


def training_args(task: TrainingTask, local_epochs: int, *, use_gpu: bool) -> dict[str, Any]:
    """Fed-BioMed's training arguments."""
    args: dict[str, Any] = {
        "loader_args": {"batch_size": task.batch_size, "num_workers": 0},  # workers would fork after gRPC and crash
        "optimizer_args": {"lr": task.learning_rate},
        "epochs": local_epochs,
        "test_ratio": task.validation_fraction,  # the plan replaces Fed-BioMed's split by its own
        "test_on_global_updates": True,
        "random_seed": task.seed,
        "log_interval": 1_000_000,  # first and last batch only
        "use_gpu": use_gpu,
    }
    if task.method.aggregation.method == "fedprox":
        args["fedprox_mu"] = task.method.aggregation.proximal
    privacy = task.method.privacy
    if privacy.local:
        args["dp_args"] = {"type": "local", "sigma": privacy.noise, "clip": privacy.clip}
    return args
