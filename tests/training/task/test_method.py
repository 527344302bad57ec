"""What Fed-BioMed would ignore or corrupt is refused before the first round, each with found, needed and what to do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fedpet.core.errors import FederationError
from inference.network import build_network
from training.task.method import MASKED_RANGE, UNPROTECTED_METHOD, FederatedMethod

NONE = {"secure_aggregation": "none"}
DP = {"clip": 1.0, "noise": 1.0}


@pytest.fixture(scope="module")
def network(training_nodes):
    return build_network("evidence", training_nodes.small_contract())


class Normalised(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm3d(2)


def large(value):
    layer = nn.Linear(2, 2)
    nn.init.constant_(layer.weight, value)
    return layer


REFUSED = [
    ("prox without a weight", {"method": "fedprox"}, {}, None, 3, "proximal"),
    ("a weight without prox", {"proximal": 0.1}, {}, None, 3, "proximal"),
    ("prox and noise", {"method": "fedprox", "proximal": 0.1}, DP, None, 3, "FedProx with local"),
    ("a server without a rate", {"server": "adam"}, {}, None, 3, "server_rate"),
    ("a rate without a server", {"server_rate": 0.1}, {}, None, 3, "server_rate"),
    ("scaffold under masks", {"method": "scaffold"}, {}, None, 3, "Scaffold with secure"),
    ("scaffold and noise", {"method": "scaffold"}, NONE | DP, None, 3, "Scaffold with local"),
    (
        "scaffold and server",
        {"method": "scaffold", "server": "adam", "server_rate": 0.1},
        NONE,
        None,
        3,
        "Scaffold with a",
    ),
    ("scaffold and personal", {"method": "scaffold", "personal": ["head"]}, NONE, None, 3, "Scaffold with a"),
    ("personal nobody", {"personal": ["tail"]}, {}, None, 3, "No parameter"),
    ("personal everything", {"personal": ["maps", "head", "image_head"]}, {}, None, 3, "Every parameter"),
    ("masks of two", {}, {}, None, 2, "with 2 sites"),
    ("masks of buffers", {}, {}, Normalised(), 3, "buffers"),
    ("masks of the large", {}, {}, large(MASKED_RANGE + 0.5), 3, "size 6.50"),
    ("masks of too many", {}, {}, nn.Linear(2000, 1001), 3, "2003001 parameters"),
    ("joye-libert", {}, {"secure_aggregation": "joye-libert"}, nn.Linear(200, 101), 3, "20301 parameters"),
    ("clip alone", {}, {"clip": 1.0}, None, 3, "only one of clip"),
    ("noise alone", {}, {"noise": 1.0}, None, 3, "only one of clip"),
    ("noise of buffers", {}, NONE | DP, Normalised(), 3, "buffers"),
]


@pytest.mark.parametrize(
    ("aggregation", "privacy", "other", "sites", "word"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_refused(network, aggregation, privacy, other, sites, word):
    with pytest.raises(FederationError) as refused:
        FederatedMethod(aggregation=aggregation, privacy=privacy).require_sound(other or network, sites)
    assert word in str(refused.value)
    assert all(str(part) for part in (refused.value.found, refused.value.needed, refused.value.advice))


@pytest.mark.parametrize(
    ("aggregation", "privacy"),
    [
        ({}, {}),
        ({}, NONE),
        ({}, DP),
        ({"method": "fedprox", "proximal": 0.1}, {}),
        ({"method": "scaffold"}, NONE),
        ({"server": "yogi", "server_rate": 0.01}, {}),
        ({"personal": ["head"]}, DP),
    ],
)
def test_accepted(network, aggregation, privacy):
    FederatedMethod(aggregation=aggregation, privacy=privacy).require_sound(network, 3)


def test_secure_aggregation_is_the_default():
    assert FederatedMethod().masked
    assert not UNPROTECTED_METHOD.masked


def test_a_personal_parameter_may_be_large():
    layer = nn.Sequential(large(9.0), nn.Linear(2, 2))
    FederatedMethod(aggregation={"personal": ["0.weight"]}).require_sound(layer, 3)


def test_the_proximal_term_is_lost_under_per_patient_gradients():
    """Why FedProx with noise is refused: Opacus overwrites the gradient of whatever is no patient's loss."""
    from opacus import PrivacyEngine
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.zeros(4, 2), torch.zeros(4, 1))
    model = nn.Linear(2, 1, bias=False)
    model, optimizer, loader = PrivacyEngine().make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1.0),
        data_loader=DataLoader(data, batch_size=4),
        noise_multiplier=0.0,
        max_grad_norm=1.0,
        poisson_sampling=False,
    )
    before = model._module.weight.detach().clone()
    for x, y in loader:
        loss = (model(x) - y).square().mean() + 100.0 * (model._module.weight - 1.0).square().sum()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(model._module.weight.detach(), before)
