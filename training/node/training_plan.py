"""The training plan that every node approves by its hash; short, so that a person can read it before approving.

It only calls the installed `training` package; `TrainingTask.from_args` checks that the node has the same version of
fedpet, the same code and the same input contract as the researcher.
"""

import torch
from fedbiomed.common.datamanager import DataManager
from fedbiomed.common.training_plans import TorchTrainingPlan

from training.node import steps
from training.task.task import TrainingTask


class FedPetPlan(TorchTrainingPlan):  # type: ignore[misc]  # Fed-BioMed publishes no types
    """Train the network of the task on the node's own patients."""

    def init_dependencies(self) -> list[str]:
        """Imports of the plan on the node."""
        return [
            "import torch",
            "from fedbiomed.common.datamanager import DataManager",
            "from fedbiomed.common.training_plans import TorchTrainingPlan",
            "from training.node import steps",
            "from training.task.task import TrainingTask",
        ]

    def init_model(self, model_args: dict[str, str]) -> torch.nn.Module:
        """The network, once code and contract have been checked."""
        self.task = TrainingTask.from_args(model_args).of_round(self.round() or 0)
        return self.task.build_shared()

    def init_optimizer(self) -> object:
        """The optimiser of the task at the learning rate of the round."""
        return steps.optimizer(self.task, self.model(), self.round() or 0)

    def tag_parameters(self, name: str) -> set[str]:
        """Personal parameters stay at the site."""
        return {"local", "persistent"} if self.task.method.is_personal(name) else set()

    def postprocess(self, params: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What leaves the site; the researcher's own copy stays as it is."""
        if self.node_id() is None:
            return params
        return steps.shared_parameters(self.dataset, params, self.round() or 0, self.validation)

    def training_data(self) -> DataManager:
        """The patients of the folder that the node registered."""
        self.dataset = steps.NodeDataset()
        self.dataset.task, self.dataset.round = self.task, self.round() or 0
        return DataManager(dataset=self.dataset)

    def set_data_loaders(self, train_data_loader: object, test_data_loader: object) -> None:
        """Our split by pseudonym in place of Fed-BioMed's random one."""
        del test_data_loader
        super().set_data_loaders(*steps.data_loaders(train_data_loader, self.dataset, self.round() or 0))
        self.validation = steps.ValidationMetrics(self.task, self.dataset)

    def training_routine(self, history_monitor: object = None, node_args: dict[str, object] | None = None) -> int:
        """Fed-BioMed's own, without sending the losses of training batches, which no noise protects."""
        del history_monitor
        steps.require_whole_passes(self.training_args())
        self.validation.require_complete()
        steps.take_or_veto(self.model(), self.dataset, self.validation)
        self.dataset.first = {name: value.detach().clone() for name, value in self.model().state_dict().items()}
        observed: int = super().training_routine(None, node_args)
        steps.require_finite(self.model().state_dict())
        return observed

    def testing_routine(
        self, metric: object, metric_args: dict[str, object], history_monitor: object, *, before_train: bool
    ) -> None:
        """Fed-BioMed's own, without sending the values in clear: they travel with the parameters."""
        del history_monitor
        super().testing_routine(metric, metric_args, None, before_train=before_train)

    def training_step(self, data: steps.Batch, target: steps.Batch) -> torch.Tensor:
        """Loss of a batch, once the node's budget allows the step."""
        optimizer, loader = self.optimizer().optimizer, self.training_data_loader
        self.dataset.gate.step(optimizer, loader, self.training_args(), self.round() or 0)
        return steps.training_loss(self.model(), self.task, data, target)

    def testing_step(self, data: steps.Batch, target: steps.Batch) -> dict[str, float]:
        """Validation, added up over all patients of the node."""
        self.validation.step(self.model(), data, target)
        return {}
