"""The accountant against published values, and per-patient gradients against autograd."""

from __future__ import annotations

import math

import pytest
import torch
from opacus import GradSampleModule
from opacus.accountants.analysis import rdp
from opacus.data_loader import DPDataLoader
from opacus.validators import ModuleValidator

from training.node import steps
from training.task.method import FederatedMethod, Privacy
from training.task.privacy import _ORDERS, epsilon
from training.task.task import TrainingTask

PRIVATE = FederatedMethod(privacy=Privacy(clip=1.0, noise=1.0))


@pytest.mark.parametrize(("noise", "epochs", "published"), [(1.3, 15, 1.19), (1.1, 60, 3.01), (0.7, 45, 7.10)])
def test_epsilon_against_the_published_table_of_tensorflow_privacy(noise, epochs, published):
    """MNIST, 60,000 patients, batches of 256, delta 1e-5; that table used the older, looser conversion."""
    spent = rdp.compute_rdp(q=256 / 60000, noise_multiplier=noise, steps=epochs * 60000 // 256, orders=_ORDERS)
    older = min(one + math.log(1e5) / (order - 1) for order, one in zip(_ORDERS, spent, strict=True))
    assert older == pytest.approx(published, abs=0.01)
    ours = epsilon(patients=60000, batch_size=256, epochs=epochs, noise=noise, delta=1e-5)
    assert 0.75 * published < ours < published


def test_epsilon_of_one_release_of_everybody():
    """Full batch, one step: the Gaussian mechanism, whose exact epsilon is known (Balle & Wang 2018)."""

    def delta(value, noise):
        def below(x):
            return 0.5 * math.erfc(-x / math.sqrt(2))

        return below(1 / (2 * noise) - value * noise) - math.exp(value) * below(-1 / (2 * noise) - value * noise)

    ours = epsilon(patients=5, batch_size=8, epochs=1, noise=2.0, delta=1e-3)
    assert delta(ours, 2.0) <= 1e-3  # a valid bound
    assert delta(0.85 * ours, 2.0) > 1e-3  # and not a loose one


def test_epsilon_grows_with_rounds_and_falls_with_noise_and_patients():
    usual = {"patients": 100, "batch_size": 4, "epochs": 10, "noise": 1.0, "delta": 1e-3}
    value = epsilon(**usual)
    assert epsilon(**usual | {"epochs": 20}) > value
    assert epsilon(**usual | {"noise": 2.0}) < value
    assert epsilon(**usual | {"patients": 400}) < value


def batch(contract, size):
    generator = torch.Generator().manual_seed(1)
    data = {
        "image": torch.rand(size, 2, *contract.shape, generator=generator) * 5,
        "clinical": torch.randn(size, len(contract.inputs), generator=generator),
    }
    concepts = len(contract.concepts)
    target = {
        "months": torch.tensor([3.0, 10.0, 20.0])[:size],
        "event": torch.tensor([1.0, 0.0, 1.0])[:size],
        "fractions": (torch.rand(size, concepts, *contract.shape, generator=generator) > 0.9).float(),
        "supervised": torch.tensor([[1.0] + [0.0] * (concepts - 1), [1.0] * concepts, [0.0] * concepts])[:size],
    }
    return data, target


@pytest.fixture
def private(training_nodes):
    task = TrainingTask(contract=training_nodes.small_contract(), method=PRIVATE)
    torch.manual_seed(0)
    network = task.build()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return task, network


def test_gradients_of_each_patient(private):
    """Opacus's own against one backward pass a patient: of every parameter, none forgotten, none mixed."""
    task, network = private
    assert ModuleValidator.is_valid(network)
    network.double()  # in single precision, a batch of one and of three may fall on two sides of a ReLU's kink
    data, target = ({key: value.double() for key, value in part.items()} for part in batch(task.contract, 3))
    expected = []
    for i in range(3):
        network.zero_grad()
        one = [{key: value[i : i + 1] for key, value in part.items()} for part in (data, target)]
        steps.training_loss(network, task, *one).backward()
        expected.append({name: p.grad.clone() for name, p in network.named_parameters()})
    network.zero_grad()
    steps.training_loss(GradSampleModule(network), task, data, target).backward()
    for name, parameter in network.named_parameters():
        for i in range(3):
            torch.testing.assert_close(parameter.grad_sample[i], expected[i][name])


@pytest.mark.parametrize("unknown", [True, False])
def test_an_empty_batch_is_a_step_without_gradient(private, unknown):
    """Poisson sampling draws them; the first is a list, for Opacus does not know the form yet."""
    task, network = private
    data, target = batch(task.contract, 0)
    loss = steps.training_loss(GradSampleModule(network), task, [torch.zeros(0)] if unknown else data, target)
    loss.backward()
    assert all(len(parameter.grad_sample) == 0 for parameter in network.parameters())


def test_nobody_may_be_drawn_first(private, training_nodes, tmp_path):
    """With four patients in a batch it happens to one site in fifty, in every round."""
    from types import SimpleNamespace

    from fedbiomed.common.dataset_types import DataReturnFormat

    task, network = private
    dataset = steps.NodeDataset()
    dataset.task = task
    folder = training_nodes.write_node(tmp_path / "nice", task.contract, 6, seed=1)
    dataset.load(root=folder, to_format=DataReturnFormat.TORCH)
    training, _ = steps.data_loaders(SimpleNamespace(dataset=SimpleNamespace(dataset=dataset)), dataset, 0)
    nobody = DPDataLoader(training.dataset, sample_rate=1e-9, collate_fn=training.collate_fn)
    data, target = next(iter(nobody))
    assert float(steps.training_loss(GradSampleModule(network), task, data, target)) == 0.0
    everybody = DPDataLoader(training.dataset, sample_rate=1.0, collate_fn=training.collate_fn)
    data, target = next(iter(everybody))
    assert len(data["image"]) == len(target["months"]) == len(dataset.training)


def test_noise_is_not_seeded(training_nodes, tmp_path):
    from types import SimpleNamespace

    from fedbiomed.common.dataset_types import DataReturnFormat

    contract = training_nodes.small_contract()
    folder = training_nodes.write_node(tmp_path / "nice", contract, 6, seed=1)

    def drawn(method):
        dataset = steps.NodeDataset()
        dataset.task = TrainingTask(contract=contract, method=method)
        dataset.load(root=folder, to_format=DataReturnFormat.TORCH)
        steps.data_loaders(SimpleNamespace(dataset=SimpleNamespace(dataset=dataset)), dataset, 0)
        return torch.rand(4)

    assert (drawn(PRIVATE) != drawn(PRIVATE)).any()
    clear = FederatedMethod(privacy=Privacy(secure_aggregation="none"))
    assert (drawn(clear) == drawn(clear)).all()
