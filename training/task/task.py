"""The work of every node as data, and the check that both sides run the same code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from math import cos, pi
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

import fedpet
from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.input_contract import InputContract
from inference.network import ENSEMBLE, IMAGELESS, build_network, parameter_groups
from training.data.node_data import VALIDATION_FRACTION, Endpoint
from training.task.carried import CARRIED, CarriedValues
from training.task.code_digest import code_digest
from training.task.method import UNPROTECTED_METHOD, FederatedMethod
from training.task.newton_fit import TRIALS, NewtonPlan
from training.task.newton_sums import SUMS
from training.task.risk_table import MINIMUM_CELL
from training.task.statistics import STATISTICS, Carrier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from training.data.node_data import NodeData

AUXILIARY: Final = frozenset({CARRIED, SUMS, TRIALS})  # parameters that travel with a network and are none of it
_LAST_RATE = 0.05  # the cosine schedule ends at this part of the first learning rate


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """One network and how to train it.

    Attributes:
        contract: input contract of the node data.
        network: name in the registry of `inference.network`, or "statistics" (see `training.task.statistics`).
        network_config: its configuration.
        rounds: number of rounds of the whole experiment; the learning rate follows a cosine over them.
        learning_rate: of the first round.
        weight_decay: AdamW's.
        batch_size: patients.
        validation_fraction: part of each node's patients that validates (see `training.data.node_data.split`).
        concept_weight: weight of the concept maps' loss beside the likelihood.
        ridge: weight of the squared score terms; unused with differential privacy, which needs losses per patient.
        augment: whether training images are changed at random.
        seed: of the shuffling and of the augmentation.
        minimum_patients: a site with fewer to train on refuses.
        minimum_cell: patients in a cell of a table that is shown; smaller ones are merged first.
        frozen: beginnings of the names of parameters that are not trained.
        method: aggregation and privacy.
        validates_only: nothing is trained; the sites validate and send the parameters back.
        evaluated: names of the sites, in the order of their own tables, that evaluate a finished model on all patients
            whom they registered for that; empty for a training.
        planned_epochs: passes over a site's patients in this and all later trainings of the same model, for the site's
            limit of epsilon; 0 where it is not known.
        left_out: name of the site that trains nothing here, and compares the model with and without its learned term on
            all of its patients; "" for none.
        endpoint: whose times are fitted.
    """

    contract: InputContract
    network: str = "evidence"
    network_config: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 12
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    batch_size: int = 4
    validation_fraction: float = VALIDATION_FRACTION
    concept_weight: float = 1.0
    ridge: float = 5e-3
    augment: bool = True
    seed: int = 0
    minimum_patients: int = 1
    minimum_cell: int = MINIMUM_CELL
    frozen: tuple[str, ...] = ()
    method: FederatedMethod = UNPROTECTED_METHOD
    validates_only: bool = False
    evaluated: tuple[str, ...] = ()
    planned_epochs: int = 0
    left_out: str = ""
    endpoint: Endpoint = "progression_free_survival"

    def build(self) -> nn.Module:
        """The network, with fresh parameters; frozen ones require no gradient."""
        if self.network == STATISTICS:
            return Carrier(self.contract)
        network = build_network(self.network, self.contract, self.network_config)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not self.is_frozen(name))
        return network

    def build_shared(self) -> nn.Module:
        """The network with the vector of `training.task.carried`, as it travels."""
        network = self.build()
        if not hasattr(network, CARRIED):
            network.register_parameter(CARRIED, nn.Parameter(torch.zeros(self.carried_size), requires_grad=False))
        if (plan := self.newton) is not None:
            for name, shape in ((SUMS, (plan.layout.size,)), (TRIALS, plan.trials_shape)):
                network.register_parameter(name, nn.Parameter(torch.zeros(shape), requires_grad=False))
        return network

    @property
    def newton(self) -> NewtonPlan | None:
        """The plan of an exact fit; None for networks that are trained by gradient."""
        aggregation = self.method.aggregation
        if aggregation.method != "newton" or self.network == STATISTICS:
            return None
        return NewtonPlan.of(aggregation, len(self.contract.inputs), self.contract.month_edges, self.rounds)

    @property
    def carried(self) -> CarriedValues:
        """What a site adds to the sums beside the parameters."""
        return CarriedValues(len(self.contract.month_edges) - 1)

    @property
    def carried_size(self) -> int:
        """Length of the vector: the sums over all sites, and for an evaluation a place of its own for each site."""
        return self.carried.size * (1 + len(self.evaluated))

    def of_round(self, index: int) -> TrainingTask:
        """The task of a round (0 is the first); in the one after the last the sites only validate."""
        return self if index < self.rounds else replace(self, validates_only=True)

    def is_frozen(self, name: str) -> bool:
        """Whether a parameter is not trained."""
        return bool(self.frozen) and name.startswith(self.frozen)

    def require_sound(self, sites: int) -> None:
        """Refuse contradictory combinations, and frozen parameters that leave nothing to train.

        Args:
            sites: the smallest number of sites in a round.

        Raises:
            FederationError: the first rule that is broken.
        """
        network = self.build()
        self.method.require_sound(network, sites)
        if (plan := self.newton) is not None:
            plan.require_rounds()
        names = [name for name, _ in network.named_parameters()]
        idle = [one for one in self.frozen if not any(name.startswith(one) for name in names)]
        corrected = self.frozen and self.method.aggregation.method in {"scaffold", "newton"}
        if idle or corrected or all(map(self.is_frozen, names)):
            raise FederationError(
                found=Message(
                    "frozen = {names} with the method {method}.",
                    names=", ".join(self.frozen),
                    method=self.method.aggregation.method,
                ),
                needed=Message(
                    "Beginnings of names of some of the network's parameters, and neither Scaffold nor Newton's method,"
                    " which change all."
                ),
                advice=Message("Take of: {names}.", names=", ".join(sorted({name.split(".")[0] for name in names}))),
            )

    @property
    def uses_images(self) -> bool:
        """Whether the network reads images."""
        return self.network not in {*IMAGELESS, STATISTICS}

    @property
    def draws_maps(self) -> bool:
        """Whether the network draws maps of the concepts, which masks supervise."""
        return self.uses_images and self.contract.crops is None

    @property
    def trains(self) -> bool:
        """False where the sites only validate."""
        return self.network != ENSEMBLE and not self.validates_only

    def parameter_groups(self, network: nn.Module, round_index: int) -> list[dict[str, object]]:
        """Optimiser groups at the learning rate of the round (0 is the first)."""
        done = min(round_index / max(1, self.rounds - 1), 1.0)
        rate = self.learning_rate * (_LAST_RATE + (1 - _LAST_RATE) * (1 + cos(pi * done)) / 2)
        return parameter_groups(network, rate)

    def to_args(self) -> dict[str, str]:
        """Fed-BioMed model arguments, with the version, contract and code digest that the node must have."""
        plain = {"contract": self.contract.to_json(), "method": self.method.model_dump(mode="json")}
        return {
            "task": json.dumps({**asdict(self), **plain}),
            "fedpet_version": fedpet.__version__,
            "contract_fingerprint": self.contract.fingerprint,
            "code_digest": code_digest(),
        }

    @staticmethod
    def from_args(args: Mapping[str, str]) -> TrainingTask:
        """The task, after checking that this installation has the same version, code and contract.

        Raises:
            FederationError: they are not.
        """
        fields = json.loads(args["task"])
        rich = {
            "contract": InputContract.from_json(fields["contract"]),
            "method": FederatedMethod(**fields["method"]),
            "frozen": tuple(fields["frozen"]),
            "evaluated": tuple(fields["evaluated"]),
        }
        task = TrainingTask(**{**fields, **rich})
        here = {
            "fedpet_version": fedpet.__version__,
            "contract_fingerprint": task.contract.fingerprint,
            "code_digest": code_digest(),
        }
        different = [name for name, value in here.items() if args[name] != value]
        if different:
            raise FederationError(
                found=Message("This node and the researcher differ in: {names}.", names=", ".join(different)),
                needed=Message("The same fedpet {version} on both.", version=args["fedpet_version"]),
                advice=Message("Install the same version of fedpet on every node."),
            )
        return task


def node_facts(data: NodeData, contract: InputContract) -> dict[str, Any]:
    """What a site describes of itself to the researcher before any training."""
    return {
        "fedpet": fedpet.__version__,
        "sources": code_digest(),
        "contract": contract.fingerprint,
        "patients": len(data.case_ids),
        "synthetic": data.synthetic,
    }
