"""The training plan that every node approves by its hash: thin, so that a person can read it before approving.

All it does is call the installed `training` package; `Task.from_args` asserts that the node has the same fedpet
version, the same sources and the same input contract as the researcher.
"""

import torch
from fedbiomed.common.datamanager import DataManager
from fedbiomed.common.training_plans import TorchTrainingPlan

from training import steps
from training.task import Task


class FedPetPlan(TorchTrainingPlan):  # type: ignore[misc]  # Fed-BioMed publishes no types
    """Train the network of the task on the node's own patients."""

    def init_dependencies(self) -> list[str]:
        """Imports of the plan on the node."""
        return [
            "import torch",
            "from fedbiomed.common.datamanager import DataManager",
            "from fedbiomed.common.training_plans import TorchTrainingPlan",
            "from training import steps",
            "from training.task import Task",
        ]

    def init_model(self, model_args: dict[str, str]) -> torch.nn.Module:
        """The network, after the guard."""
        self.task = Task.from_args(model_args)
        return self.task.build()

    def init_optimizer(self) -> object:
        """The optimiser of the task at the learning rate of the round."""
        return steps.optimizer(self.task, self.model(), self.round() or 0)

    def tag_parameters(self, name: str) -> set[str]:
        """Personal parameters stay at the site."""
        return {"local", "persistent"} if self.task.method.personal(name) else set()

    def postprocess(self, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What leaves the site; the researcher's own copy stays as it is."""
        return params if self.node_id() is None else steps.outgoing(self.dataset, params, self.round() or 0)

    def training_data(self) -> DataManager:
        """The patients of the folder that the node registered."""
        self.dataset = steps.NodeDataset()
        self.dataset.task = self.task
        return DataManager(dataset=self.dataset)

    def set_data_loaders(self, train_data_loader: object, test_data_loader: object) -> None:
        """Our split by pseudonym in place of Fed-BioMed's random one."""
        del test_data_loader
        super().set_data_loaders(*steps.loaders(train_data_loader, self.dataset, self.round() or 0))
        self.validation = steps.Validation(self.task, len(self.dataset.validation))

    def training_routine(self, history_monitor: object = None, node_args: dict[str, object] | None = None) -> int:
        """Fed-BioMed's, without the losses of training batches that it would send: no noise covers them."""
        del history_monitor
        observed: int = super().training_routine(None, node_args)
        return observed

    def training_step(self, data: steps.Batch, target: steps.Batch) -> torch.Tensor:
        """Loss of a batch, once the node's budget allows the step."""
        optimizer, loader = self.optimizer().optimizer, self.training_data_loader
        self.dataset.gate.step(optimizer, loader, self.training_args(), self.round() or 0)
        return steps.training_loss(self.model(), self.task, data, target)

    def testing_step(self, data: steps.Batch, target: steps.Batch) -> dict[str, float]:
        """Validation, aggregated over all patients of the node."""
        return self.validation.step(self.model(), data, target)
