"""Who takes part in a training: nodes that this machine starts on given node data, or hospitals over the network."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.input_contract import default_contract
from inference.report_signature import Signer
from training.bundle.assembly import require_empty
from training.bundle.calibration import require_tables
from training.coordinator.processes import FederationProcesses, researcher_identity
from training.data.node_data import NodeCase, read_node, split
from training.task.method import usual_aggregation
from training.task.registration import node_name
from training.task.risk_table import MINIMUM_CASES
from training.task.task import node_facts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from inference.input_contract import InputContract
    from training.coordinator.config import ResearcherTable, RunFile, SitesTable, TrainingConfig
    from training.data.node_data import NodeData


class Federation(Protocol):
    """What `training.coordinator.train.train` needs of those who take part."""

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites' data."""

    @property
    def minimum(self) -> int:
        """Smallest number of sites in a round."""

    @property
    def synthetic(self) -> bool:
        """Patients are known to be simulated."""

    @property
    def held_out(self) -> tuple[NodeData, ...]:
        """Node data for the evaluation only."""

    def check(self, config: TrainingConfig) -> None:
        """Refuse what can be known to fail before anything is started.

        Raises:
            FederationError: the training cannot succeed.
        """

    def start(self, work: Path) -> FederationProcesses:
        """The processes on this machine; a context manager that stops them.

        Args:
            work: folder of their components and logs.
        """

    def connection(self) -> dict[str, Any]:
        """Entries of `training.coordinator.sites.RunConfig` that depend on who takes part."""

    def export_cases(self, contract: InputContract) -> Sequence[NodeCase]:
        """Cases on which the exported model is compared with torch."""

    def command(self, config: TrainingConfig) -> str:
        """The command that trains the model again, for the model card."""

    def identity(self) -> dict[str, str]:
        """Entry of the model card: the certificate with which this machine signs evaluations, if hospitals know it."""


@dataclass(frozen=True)
class LocalFederation:
    """Nodes as processes of this machine, one for each folder of node data; every site takes part in every round.

    Attributes:
        nodes: data by name of the site, three or more.
        held_out: data for the evaluation only.
    """

    nodes: dict[str, NodeData]
    held_out: tuple[NodeData, ...] = ()

    @classmethod
    def read(cls, nodes: Sequence[Path], contract: InputContract, holdout: Sequence[Path] = ()) -> Self:
        """Read and check the folders of node data.

        Args:
            nodes: one a site.
            contract: input contract that prepared all of them.
            holdout: for the evaluation only.

        Raises:
            NodeDataError: a folder holds no node data of this contract.
            FederationError: two sites have one name.
        """
        data = [read_node(folder, contract) for folder in nodes]
        named = {node_name(one.site): one for one in data}
        if len(named) < len(data):
            raise FederationError(
                found=Message("Two of the nodes have the same site name."),
                needed=Message("A name of its own for each node."),
                advice=Message("Prepare the node data with different site names."),
            )
        return cls(named, tuple(read_node(folder, contract) for folder in holdout))

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the nodes."""
        return tuple(self.nodes)

    @property
    def minimum(self) -> int:
        """All of them."""
        return len(self.nodes)

    @property
    def synthetic(self) -> bool:
        """Patients of a node are simulated."""
        return any(one.synthetic for one in self.nodes.values())

    def check(self, config: TrainingConfig) -> None:
        """Refuse a work folder in use, and nodes too small to calibrate a model.

        Raises:
            FederationError: either is the case.
        """
        validation = [len(split(one.case_ids)[1]) for one in self.nodes.values()]
        require_tables(sum(count >= MINIMUM_CASES for count in validation), sum(validation))
        require_empty(config.work)

    def start(self, work: Path) -> FederationProcesses:
        """The nodes' processes, and the researcher's."""
        folders = {name: one.folder for name, one in self.nodes.items()}
        return FederationProcesses(
            folders, work, facts={name: node_facts(one, one.contract) for name, one in self.nodes.items()}
        )

    def connection(self) -> dict[str, Any]:
        """The defaults: the nodes are there."""
        return {}

    def export_cases(self, contract: InputContract) -> Sequence[NodeCase]:
        """The first patient of each folder."""
        del contract
        return [one.case(one.case_ids[0]) for one in (*self.held_out, *self.nodes.values())]

    def command(self, config: TrainingConfig) -> str:
        """`fedpet train simulate` with every option that is not the default; folders by their last two names."""
        training, aggregation, privacy = config.training, config.aggregation, config.privacy
        options = {
            "--rounds": training.rounds,
            "--local-epochs": training.local_epochs,
            "--batch-size": training.batch_size,
            "--learning-rate": f"{training.learning_rate:g}",
            "--network": training.network if training.network != "evidence" else None,
            "--contract": "contract.json" if config.input_contract() != default_contract() else None,
            "--initial": training.initial.name if training.initial else None,
            "--aggregation": aggregation.method if aggregation.method != usual_aggregation(training.network) else None,
            "--proximal": aggregation.proximal or None,
            "--server": aggregation.server if aggregation.server != "none" else None,
            "--server-rate": aggregation.server_rate,
            "--secure": privacy.secure_aggregation if privacy.secure_aggregation != "none" else None,
            "--clip": privacy.clip,
            "--noise": privacy.noise,
        }
        words = ["fedpet", "train", "simulate"]
        words += [word for one in self.nodes.values() for word in ("--nodes", _last_two_names(one.folder))]
        words += [word for one in self.held_out for word in ("--holdout", _last_two_names(one.folder))]
        words += [word for seed in training.seeds for word in ("--seed", str(seed))]
        words += [word for name in training.frozen for word in ("--frozen", name)]
        words += [str(word) for option in options.items() if option[1] is not None for word in option]
        words += ["--learned-term"] if config.learned_term is not None else []
        words += ["--overall-survival"] if training.overall_survival else []
        return shlex.join(words)

    def identity(self) -> dict[str, str]:
        """None: this machine evaluates, too."""
        return {}


@dataclass(frozen=True)
class HospitalFederation:
    """Nodes of hospitals, which reach this machine over the network; their data managers start them.

    Attributes:
        researcher: address, identity and certificate of this machine.
        table: which sites are expected, and how many take part at least.
        file_name: of the run file.
    """

    researcher: ResearcherTable
    table: SitesTable
    file_name: str

    @classmethod
    def of(cls, file: RunFile, file_name: str) -> Self:
        """The hospitals of a run file."""
        return cls(file.researcher, file.sites, file_name)

    def certificate_fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of the certificate by which nodes recognise this machine; made if there is none yet.

        Raises:
            FederationError: it could not be made.
        """
        return self.signer().fingerprint

    def signer(self) -> Signer:
        """Signs with the certificate by which nodes recognise this machine.

        Raises:
            FederationError: the identity could not be made.
        """
        if self.researcher.certificate is not None and self.researcher.key is not None:
            return Signer(self.researcher.certificate, self.researcher.key)
        return researcher_identity(self.researcher.host, self.researcher.port, self.researcher.folder)

    @property
    def sites(self) -> tuple[str, ...]:
        """Those that are expected."""
        return self.table.expected

    @property
    def minimum(self) -> int:
        """Of the run file; by default all sites."""
        return self.table.minimum or len(self.table.expected)

    @property
    def synthetic(self) -> bool:
        """Not known before the nodes answer."""
        return False

    @property
    def held_out(self) -> tuple[NodeData, ...]:
        """No patient of a hospital is here."""
        return ()

    def check(self, config: TrainingConfig) -> None:
        """Nothing is known before the nodes answer."""

    def start(self, work: Path) -> FederationProcesses:
        """The researcher's process."""
        researcher = self.researcher
        return FederationProcesses({}, work, host=researcher.host, port=researcher.port, researcher=researcher.folder)

    def connection(self) -> dict[str, Any]:
        """How long to wait for the sites, and the certificate."""
        pair = [self.researcher.certificate, self.researcher.key]
        return {
            "wait_seconds": self.table.wait_seconds,
            "certificate": None if None in pair else [str(path) for path in pair],
        }

    def export_cases(self, contract: InputContract) -> Sequence[NodeCase]:
        """Two images of noise, for no patient is here."""
        generator = np.random.default_rng(0)
        shape, concepts = contract.shape, len(contract.concepts)
        return [
            NodeCase(
                image=np.stack([generator.gamma(2.0, 1.0, shape), generator.normal(0.0, 300.0, shape)]).astype(
                    np.float16
                ),
                clinical=generator.normal(size=len(contract.inputs)).astype(np.float32),
                months=1.0,
                event=False,
                concepts=np.zeros((concepts, *shape), np.uint8),
                supervised=np.zeros(concepts, np.bool_),
            )
            for _ in range(2)
        ]

    def command(self, config: TrainingConfig) -> str:
        """`fedpet train run` with the run file's name."""
        del config
        return shlex.join(["fedpet", "train", "run", self.file_name])

    def identity(self) -> dict[str, str]:
        """The certificate by which the hospitals' nodes know this machine."""
        return {"coordinator_sha256": self.certificate_fingerprint()}


def _last_two_names(folder: Path) -> str:
    """Not where the folder lies on this machine."""
    whole = folder.resolve()
    return f"{whole.parent.name}/{whole.name}"
