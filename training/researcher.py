"""The researcher, a process of its own: `python -m training.researcher CONFIG.json`.

Trains the networks of the configuration one after the other on the same nodes, prints one JSON object a line for its
parent, and leaves `<name>.safetensors`, `<name>.json` (history) and `plan.py` in the output folder. Parameters of
single nodes are deleted after every round. A breakpoint is written after every round; `resume` goes on there.

A round counts only if every site that was asked has trained; otherwise it is repeated with the sites that are left.
"""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from fedbiomed.common.optimizers import Optimizer
from fedbiomed.common.optimizers.declearn import ScaffoldServerModule
from fedbiomed.researcher.aggregators import FedAverage
from fedbiomed.researcher.federated_workflows import Experiment
from fedbiomed.researcher.secagg import SecureAggregation, SecureAggregationSchemes
from safetensors.torch import load_file, save_file

from fedpet.errors import FederationError, FedpetError
from fedpet.messages import Message
from training import internals_researcher as internals
from training.method import MASKED_RANGE
from training.plan import FedPetPlan
from training.risk_table import pooled
from training.statistics import STATISTICS
from training.task import Task, code_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from training.method import Method

_PAUSE_SECONDS = 1.0
_SCHEMES = {"lom": SecureAggregationSchemes.LOM, "joye-libert": SecureAggregationSchemes.JOYE_LIBERT}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """What the parent asks for; plain data.

    Attributes:
        tags: of the nodes' data.
        sites: names of the expected nodes' data; others are not asked.
        minimum: of sites in a round.
        args: by name of the run, the arguments of its `Task` (`Task.to_args`).
        local_epochs: by name of the run, passes over a node's patients in a round.
        initial: by name of the run, a file with its first parameters (safetensors); the others begin anew.
        members: names of the runs that a run which does not train averages (`training.runs`).
        out: folder for weights and histories.
        round_seconds: time limit of a round.
        wait_seconds: time limit for `minimum` sites to be there, at the start and after one was lost.
        retries: of a round.
        norm_jump: largest factor by which the parameters' norm may change in a round.
        certificate: certificate and key (PEM) of this researcher; None takes the one that Fed-BioMed makes.
        use_gpu: ask the nodes to train on a GPU where their owner offers one.
        resume: go on after the last breakpoint.
        keep_last_round: also write the nodes' parameters of the last round (`<name>.<site>.safetensors`), for tests.
    """

    tags: list[str]
    sites: list[str]
    args: dict[str, dict[str, str]]
    local_epochs: dict[str, int]
    out: str
    round_seconds: float
    minimum: int
    initial: dict[str, str] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    wait_seconds: float = 300.0
    retries: int = 0
    norm_jump: float = 3.0
    certificate: list[str] | None = None
    use_gpu: bool = False
    resume: bool = False
    keep_last_round: bool = False


def main(path: Path, plan: type = FedPetPlan) -> None:
    """Run every training of the configuration."""
    config = RunConfig(**json.loads(path.read_text(encoding="utf-8")))
    try:
        _run(config, plan)
    except FedpetError as error:
        _tell("failed", found=error.found.to_json(), needed=error.needed.to_json(), advice=error.advice.to_json())
        sys.exit(1)


def _run(config: RunConfig, plan: type) -> None:
    internals.prepare(config.round_seconds)
    if config.certificate:
        internals.install_certificate(*map(Path, config.certificate))
    tasks = {name: Task.from_args(args) for name, args in config.args.items()}
    for task in tasks.values():
        task.require_sound(config.minimum)
    _tell("waiting", certificate=internals.certificate_fingerprint())
    data = _wait_for_sites(config, next(iter(tasks.values())).contract.fingerprint)
    facts = {one["name"]: one["description"] for one in data.values()}
    _tell("ready", sites=sorted(facts), facts=facts)
    sites = _Sites({node: one["name"] for node, one in data.items()}, config)
    for name, task in tasks.items():
        if not (config.resume and Path(config.out, f"{name}.json").exists()):
            _Training(name, task, config, sites, data, plan).run()


def _wait_for_sites(config: RunConfig, contract: str) -> dict[str, dict[str, Any]]:
    """The data of the expected sites, by node id: of all, or after the time limit of the minimum.

    Raises:
        FederationError: too few, or a site has another fedpet or another input contract.
    """
    deadline = time.monotonic() + config.wait_seconds
    while True:
        found = {node: one for node, one in internals.search(config.tags).items() if one["name"] in config.sites}
        late = time.monotonic() > deadline
        if len(found) >= len(config.sites) or (late and len(found) >= config.minimum):
            break
        if late:
            absent = set(config.sites) - {one["name"] for one in found.values()}
            raise _too_few(len(found), config.minimum, dict.fromkeys(absent, internals.SILENT))
        time.sleep(_PAUSE_SECONDS)
    for one in found.values():
        _require_same(one["name"], one["description"], contract)
    return found


def _require_same(site: str, facts: Mapping[str, Any], contract: str) -> None:
    here = {"sources": code_digest(), "contract": contract}
    different = [name for name, value in here.items() if facts.get(name, value) != value]
    if different:
        raise FederationError(
            found=Message(
                "Site “{site}” has another version: {version}; it differs in: {names}.",
                site=site,
                version=str(facts.get("fedpet", "?")),
                names=", ".join(different),
            ),
            needed=Message("The same fedpet and the same input contract on every node and here."),
            advice=Message("Let the site install this version, prepare its data with it and start its node again."),
        )


def _too_few(count: int, minimum: int, reasons: Mapping[str, str]) -> FederationError:
    return FederationError(
        found=Message(
            "{count} sites can train. Not there: {reasons}.",
            count=count,
            reasons="; ".join(f"{site} ({reason})" for site, reason in sorted(reasons.items())) or "—",
        ),
        needed=Message("At least {minimum} in a round.", minimum=minimum),
        advice=Message("Let the missing sites mend what is said and start their nodes, then resume the training."),
    )


class _Sites:
    """Who is asked to train: the sites that hold a connection, without those that failed."""

    def __init__(self, names: Mapping[str, str], config: RunConfig) -> None:
        self.names = names
        self._config = config
        self._refused: dict[str, str] = {}  # node id -> why it cannot train in this run
        self._silent: dict[str, str] = {}  # node id -> why it is not asked again in this round

    def choose(self, experiment: Experiment) -> list[str]:
        """Node ids for the next attempt, at least the minimum.

        Raises:
            FederationError: too few, after the time limit.
        """
        deadline = time.monotonic() + self._config.wait_seconds
        while True:
            there = sorted((internals.connected(experiment) & set(self.names)) - set(self._refused))
            rested = [node for node in there if node not in self._silent]
            for nodes in (rested, there):  # a slow site is asked again in the same round only if it is needed
                if len(nodes) >= self._config.minimum:
                    return nodes
            hopeless = len(self.names) - len(self._refused) < self._config.minimum
            if hopeless or time.monotonic() > deadline:
                absent = {node: internals.SILENT for node in self.names if node not in there}
                reasons = {**absent, **self._silent, **self._refused}
                raise _too_few(len(there), self._config.minimum, self.by_name(reasons))
            time.sleep(_PAUSE_SECONDS)

    def blame(self, failures: Mapping[str, str]) -> dict[str, str]:
        """Remember who failed; the reasons by site name."""
        for node, reason in failures.items():
            if node:
                (self._silent if reason == internals.SILENT else self._refused)[node] = reason
        return self.by_name(failures)

    def next_round(self) -> None:
        """Ask the silent ones again."""
        self._silent.clear()

    def by_name(self, reasons: Mapping[str, str]) -> dict[str, str]:
        """Reasons by site name, without what a log might say of folders."""
        return {self.names.get(node, "researcher"): _brief(reason) for node, reason in reasons.items()}


def _brief(reason: str) -> str:
    words = reason.replace("\n", " ").split(" ")
    return " ".join(word for word in words if "/" not in word and "\\" not in word)[:400]


@dataclass
class _Progress:
    """What a breakpoint does not hold: the rounds, the last validation, and how often each site was asked to train."""

    rounds: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, dict[str, float]] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    breakpoint: str = ""


class _Training:
    """One network, from its first parameters or its breakpoint to its weights and history."""

    def __init__(
        self,
        name: str,
        task: Task,
        config: RunConfig,
        sites: _Sites,
        data: Mapping[str, Mapping[str, Any]],
        plan: type,
    ) -> None:
        self.name, self.task, self.config, self.sites = name, task, config, sites
        self._path = Path(config.out, f"{name}.progress.json")
        self.progress = self._read() if config.resume else _Progress()
        if self.progress.breakpoint:
            self.experiment = Experiment.load_breakpoint(self.progress.breakpoint)
        else:
            torch.manual_seed(task.seed)
            self.experiment = Experiment(
                training_data={node: {**one, "description": ""} for node, one in data.items()},
                training_plan_class=plan,
                model_args=config.args[name],
                training_args=_training_args(task, config.local_epochs[name], use_gpu=config.use_gpu),
                aggregator=FedAverage(),
                agg_optimizer=_server(task.method),
                secagg=_secure(task.method),
            )
        self.experiment.set_round_limit(task.rounds)  # a breakpoint does not keep it
        self.experiment.set_retain_full_history(False)
        self.experiment.set_save_breakpoints(False)  # they are written here, without the nodes' parameters

    def run(self) -> None:
        """Every round that is left, then weights and history."""
        if refused := internals.unapproved(self.experiment):
            raise _unapproved(self.sites.by_name(refused))
        Path(self.config.out, "plan.py").write_text(self.experiment.training_plan().source(), encoding="utf-8")
        network = self.experiment.training_plan().model()
        if self.experiment.round_current() == 0:
            self._begin(network)
        while self.experiment.round_current() < self.task.rounds:
            self._round(network)
        last = network.state_dict() if self.task.trains else self._members()  # what came back is the same, but rounded
        shared = {key: value.contiguous() for key, value in last.items() if not self.task.method.personal(key)}
        save_file(shared, Path(self.config.out, f"{self.name}.safetensors"))
        Path(self.config.out, f"{self.name}.json").write_text(json.dumps(asdict(self.progress)), encoding="utf-8")

    def _begin(self, network: nn.Module) -> None:
        """Give the network its first parameters where it does not begin anew."""
        if not self.task.trains:
            network.load_state_dict(self._members())
        elif initial := self.config.initial.get(self.name):
            network.load_state_dict(load_file(initial))

    def _members(self) -> dict[str, torch.Tensor]:
        """Parameters of the average, from those of the runs before."""
        return {
            f"members.{number}.{key}": value
            for number, name in enumerate(self.config.members)
            for key, value in load_file(Path(self.config.out, f"{name}.safetensors")).items()
        }

    def _round(self, network: nn.Module) -> None:
        index = self.experiment.round_current()
        start, before = time.monotonic(), _norm(network)
        kept = {key: value.clone() for key, value in network.state_dict().items() if self.task.keeps(key)}
        for repetition in range(self.config.retries + 1):
            nodes = self.sites.choose(self.experiment)
            if repetition and self.task.method.masked:
                internals.renew_secrets(self.experiment, nodes)
            self.experiment.set_nodes(nodes)
            for node in nodes:
                site = self.sites.names[node]
                self.progress.asked[site] = self.progress.asked.get(site, 0) + 1
            self._save()  # what was asked of a site counts, whatever happens
            failures = internals.attempt(self.experiment, last=self._validates_after(index))
            if failures is None:
                break
            reasons = self.sites.blame(failures)
            _tell("repeated", run=self.name, round=index + 1, reasons=reasons)
        else:
            raise _too_few(len(nodes) - len(reasons), self.config.minimum, reasons)
        self.sites.next_round()
        network.load_state_dict(kept, strict=False)  # secure aggregation rounds also what no site has changed
        self._require_plausible(network, before)
        self._keep(index, nodes, round(time.monotonic() - start, 2))

    def _require_plausible(self, network: nn.Module, before: float) -> None:
        """Refuse an aggregate that no training can have made, before anything is kept of it."""
        after, largest = _norm(network), self.task.method.largest(network)
        jump = after / before if self.task.network != STATISTICS else 1.0
        if not (math.isfinite(after) and 1 / self.config.norm_jump <= jump <= self.config.norm_jump):
            raise FederationError(
                found=Message(
                    "The norm of the parameters went from {before:.3g} to {after:.3g}.", before=before, after=after
                ),
                needed=Message("At most a factor of {limit:g} in a round.", limit=self.config.norm_jump),
                advice=Message("Lower the learning rate or the server's rate; read the nodes' logs."),
            )
        if self.task.method.masked and largest > MASKED_RANGE:
            raise FederationError(
                found=Message("A parameter of size {size:.2f} after the aggregation.", size=largest),
                needed=Message("Parameters within ±{limit:g}: larger ones would be clipped.", limit=MASKED_RANGE),
                advice=Message("Lower the learning rate, or set secure_aggregation = “none”."),
            )

    def _keep(self, index: int, nodes: list[str], seconds: float) -> None:
        """Tell the parent, write history and breakpoint, delete what single nodes sent."""
        entry = {**self._describe(index, nodes), "seconds": seconds}
        self.progress.rounds.append(entry)
        if index == self.task.rounds - 1:
            self._keep_last(index, nodes)
        internals.forget_parameters(self.experiment)
        path = internals.save_breakpoint(self.experiment)
        self.progress.breakpoint = str(path)
        self._save()
        internals.forget_breakpoints(self.experiment, path)
        _tell("round", run=self.name, **entry)

    def _validates_after(self, index: int) -> bool:
        """Whether the sites validate what the last round made; where nothing is trained, they have done so before."""
        return self.task.trains and index == self.task.rounds - 1

    def _keep_last(self, index: int, nodes: list[str]) -> None:
        metrics = internals.validation_metrics(self.experiment, index + 1 + self.task.trains, nodes)
        self.progress.final = {self.sites.names[node]: values for node, values in metrics.items()}
        if self.config.keep_last_round and not self.task.method.masked:
            for node, parameters in internals.node_parameters(self.experiment, index).items():
                save_file(parameters, Path(self.config.out, f"{self.name}.{self.sites.names[node]}.safetensors"))

    def _describe(self, index: int, nodes: list[str]) -> dict[str, Any]:
        """Patients trained on, and the validation of the model that the round started from."""
        replies = self.experiment.training_replies()[index]
        metrics = internals.validation_metrics(self.experiment, index + 1, nodes)
        names = self.sites.names
        return {
            "round": index + 1,
            "patients": {names[node]: reply["sample_size"] for node, reply in replies.items()},
            "validation": {
                names[node]: {key: values[key] for key in ("loss", "n", "concept_loss") if key in values}
                for node, values in metrics.items()
            },
            "concordance": pooled(metrics.values(), len(self.task.contract.month_edges) - 1).concordance(),
        }

    def _save(self) -> None:
        waiting = self._path.with_suffix(".new")
        waiting.write_text(json.dumps(asdict(self.progress)), encoding="utf-8")
        waiting.replace(self._path)

    def _read(self) -> _Progress:
        return _Progress(**json.loads(self._path.read_text(encoding="utf-8"))) if self._path.exists() else _Progress()


def _norm(network: nn.Module) -> float:
    return math.sqrt(sum(float(parameter.detach().double().square().sum()) for parameter in network.parameters()))


def _unapproved(status: Mapping[str, str]) -> FederationError:
    return FederationError(
        found=Message(
            "The training plan may not run at: {status}.",
            status=", ".join(f"{site} ({one})" for site, one in sorted(status.items())),
        ),
        needed=Message("Every site reviews and approves the plan before the first round."),
        advice=Message("Let each run “fedpet train node approve”, then start again. They have been asked to."),
    )


def _server(method: Method) -> Optimizer | None:
    """What takes the step of the averaged update; None takes it whole."""
    aggregation = method.aggregation
    if aggregation.method == "scaffold":
        return Optimizer(lr=1.0, modules=[ScaffoldServerModule()])
    if aggregation.server == "none" or aggregation.server_rate is None:
        return None
    return Optimizer(lr=aggregation.server_rate, modules=[aggregation.server])


def _secure(method: Method) -> SecureAggregation | bool:
    if not method.masked:
        return False
    return SecureAggregation(scheme=_SCHEMES[method.privacy.secure_aggregation], clipping_range=MASKED_RANGE)


def _training_args(task: Task, local_epochs: int, *, use_gpu: bool) -> dict[str, Any]:
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


def _tell(event: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
