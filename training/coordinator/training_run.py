"""One network, from its first parameters or its breakpoint to its weights and history."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from safetensors.torch import load_file, save_file

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.coordinator import fedbiomed_researcher as internals
from training.coordinator.choice import is_worse, stops_early
from training.coordinator.events import concordance, emit, losses
from training.coordinator.experiment import make_experiment
from training.coordinator.newton_rounds import IMPOSSIBLE, NewtonRounds
from training.coordinator.plausibility import IMPLAUSIBLE, implausible, is_plausible, parameter_norm
from training.coordinator.site_rounds import SiteRounds
from training.coordinator.spoilers import GoodModel, Spoilers
from training.task.carried import CARRIED
from training.task.pooled import pooled_loss, vetoed
from training.task.runs import AGREEMENT, WITHOUT_MODEL
from training.task.statistics import STATISTICS
from training.task.task import AUXILIARY

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from torch import nn

    from training.coordinator.sites import RunConfig, Sites
    from training.task.task import TrainingTask

_WORST: Final = {"n": 1.0, "loss": math.inf}


class TrainingRun:
    """One network of the configuration on the nodes."""

    def __init__(
        self,
        name: str,
        task: TrainingTask,
        config: RunConfig,
        sites: Sites,
        data: Mapping[str, Mapping[str, Any]],
        plan: type,
    ) -> None:
        self.name, self.task, self.config, self.sites = name, task, config, sites
        self._rounds = SiteRounds(name, task, config, sites)
        self.progress = self._rounds.progress
        self.experiment = make_experiment(name, task, config, data, plan, self.progress.breakpoint)
        self._rounds.experiment = self.experiment
        self._spoilers = Spoilers(self._rounds)
        self._newton = None if task.newton is None else NewtonRounds(self._rounds, task.newton)

    def run(self) -> None:
        """Run the remaining rounds and the final validation, then write weights and history."""
        if refused := internals.unapproved(self.experiment):
            raise _unapproved(self.sites.by_name(refused))
        Path(self.config.out, "plan.py").write_text(self.experiment.training_plan().source(), encoding="utf-8")
        network = self.experiment.training_plan().model()
        if self.experiment.round_current() == 0:
            self._set_first_parameters(network)
            if self.task.method.privacy.local and self.task.trains:
                self._rounds.ask_first()
        if self._newton is not None:
            self._newton.restore(network)
        self._all_rounds(network)
        internals.rewind(self.experiment, self.task.rounds)  # the round in which the sites only validate
        if self.name not in WITHOUT_MODEL and not self.progress.final:
            self._validate(network)
        if not self.task.evaluated:
            self._write_weights(network)
        Path(self.config.out, f"{self.name}.json").write_text(json.dumps(asdict(self.progress)), encoding="utf-8")

    def _all_rounds(self, network: nn.Module) -> None:
        while self.experiment.round_current() < self.task.rounds and not self._stops_early():
            compared = self._newton is not None and self._newton.compare(network)
            if compared and self.name == AGREEMENT:
                return
            self._round(network)

    def _write_weights(self, network: nn.Module) -> None:
        last = network.state_dict() if self.task.trains else self._member_parameters()  # the sites sent them rounded
        if self.progress.exported not in {None, len(self.progress.rounds)}:
            last = load_file(self._best_file)
        shared = {key: value.contiguous() for key, value in last.items() if self._is_exported(key)}
        save_file(shared, Path(self.config.out, f"{self.name}.safetensors"))

    def _stops_early(self) -> bool:
        best = self.progress.best.get("rounds") if self.task.newton is None else None
        stops = stops_early(len(self.progress.rounds), best, self.config.patience)
        if stops and not self.progress.final:
            emit("stopped", run=self.name, rounds=len(self.progress.rounds))
        return stops

    def _is_exported(self, name: str) -> bool:
        return name not in AUXILIARY and not self.task.method.is_personal(name)

    @property
    def _best_file(self) -> Path:
        return Path(self.config.out, f"{self.name}.best.safetensors")

    def _set_first_parameters(self, network: nn.Module) -> None:
        """Load the first parameters, unless the network starts from fresh ones."""
        if initial := self.config.initial.get(self.name):
            _load(network, load_file(initial))
        elif not self.task.trains:
            _load(network, self._member_parameters())

    def _member_parameters(self) -> dict[str, torch.Tensor]:
        """Parameters of the average, from those of the previous runs."""
        return {
            f"members.{number}.{key}": value
            for number, name in enumerate(self.config.members)
            for key, value in load_file(Path(self.config.out, f"{name}.safetensors")).items()
        }

    def _round(self, network: nn.Module) -> None:
        index = self.experiment.round_current()
        start, norm = time.monotonic(), parameter_norm(network)
        before = {key: value.clone() for key, value in network.state_dict().items()}
        nodes = self._rounds.answered(index)
        if wrong := self._implausible(index, nodes, norm):
            reason = IMPLAUSIBLE if self._newton is None else IMPOSSIBLE
            self._rounds.leave_out(wrong, reason, index, before, network)
            return
        if self._newton is not None and not self._newton.is_sound(index, nodes):
            self._newton.leave_out_spoiler(index, nodes, before, network)
            return
        self.sites.next_round()
        validation = self._rounds.validation(index, nodes)
        if self._spoilers.repeated(validation, before, nodes, network):
            return
        good = self._spoilers.good = GoodModel(index, before, validation)
        if self._newton is not None:
            self._newton.take(index, nodes, before, network)
        else:
            frozen = {key: value for key, value in before.items() if self.task.is_frozen(key) or key == CARRIED}
            network.load_state_dict(frozen, strict=False)  # secure aggregation also rounds what no site has changed
        if (error := implausible(network, self.task, norm, self.config.norm_jump)) is not None:
            if self._newton is None and self._spoilers.repeat_impossible(good, nodes, network):
                return
            raise error
        self._keep_best(index, before, validation)
        self._record_round(index, validation, round(time.monotonic() - start, 2))

    def _implausible(self, index: int, nodes: list[str], norm: float) -> list[str]:
        """Node ids whose parameters no training can produce; under masks they cannot be seen."""
        if self._newton is not None:
            return self._newton.implausible(index, nodes)
        if self.task.method.masked or self.task.network == STATISTICS:
            return []
        sent = internals.node_parameters(self.experiment, index)
        return [node for node in nodes if not is_plausible(sent[node], norm, self.config.norm_jump)]

    def _keep_best(
        self, index: int, parameters: Mapping[str, torch.Tensor], validation: Mapping[str, Mapping[str, float]]
    ) -> None:
        """Keep the model that the round started from, if none before it had a smaller loss."""
        loss = pooled_loss(validation.values())
        if (
            index
            and self.task.trains
            and self._newton is None  # whose rounds are no models of their own
            and loss <= pooled_loss(self.progress.best.get("validation", {}).values() or [_WORST])
        ):
            save_file({key: value.contiguous() for key, value in parameters.items()}, self._best_file)
            self.progress.best = {"rounds": index, "validation": validation}

    def _record_round(self, index: int, validation: Mapping[str, Mapping[str, float]], seconds: float) -> None:
        """Report the round, write history and breakpoint, delete what single nodes sent."""
        replies = self.experiment.training_replies()[index]
        entry = {
            "round": index + 1,
            "patients": {self.sites.names[node]: reply["sample_size"] for node, reply in replies.items()},
            "validation": losses(validation),
            "concordance": concordance(validation, self.task),
            "seconds": seconds,
        }
        self.progress.rounds.append(entry)
        if index == self.task.rounds - 1:
            self._record_last(index, validation)
        internals.forget_parameters(self.experiment)
        path = internals.save_breakpoint(self.experiment)
        self.progress.breakpoint = str(path)
        self._rounds.save()
        internals.forget_breakpoints(self.experiment, path)
        emit("round", run=self.name, **entry)

    def _validate(self, network: nn.Module) -> None:
        """Let the sites validate the final model, in a round without training, and choose which model is exported.

        Raises:
            FederationError: too few sites have validated; a resumed training validates again.
        """
        before = {key: value.clone() for key, value in network.state_dict().items()}
        nodes = self._rounds.answered(self.task.rounds)
        final = self._rounds.validation(self.task.rounds, nodes)
        if self.task.evaluated:
            self.progress.by_site, self.progress.patients = self._rounds.evaluation(self.task.rounds, nodes)
        network.load_state_dict(before)
        if self._newton is not None:
            self._newton.take(self.task.rounds, nodes, before, network)
        internals.forget_parameters(self.experiment)
        self.progress.exported, self.progress.final = len(self.progress.rounds), dict(final)
        best = self.progress.best
        if best and (vetoed(final.values()) or is_worse(final.values(), best["validation"].values())):
            self.progress.exported, self.progress.final = best["rounds"], best["validation"]
            emit("chosen", run=self.name, rounds=best["rounds"])
        self._rounds.save()

    def _record_last(self, index: int, validation: Mapping[str, Mapping[str, float]]) -> None:
        """Where nothing is trained, the validation of the round is the final one."""
        if not self.task.trains:
            self.progress.final = {site: dict(values) for site, values in validation.items()}
        if self.config.keep_last_round and not self.task.method.masked:
            for node, parameters in internals.node_parameters(self.experiment, index).items():
                shared = {key: value for key, value in parameters.items() if key != CARRIED}
                save_file(shared, Path(self.config.out, f"{self.name}.{self.sites.names[node]}.safetensors"))


def _load(network: nn.Module, parameters: Mapping[str, torch.Tensor]) -> None:
    """Load parameters of a network; the others, and its vectors of sums, stay as they are."""
    network.load_state_dict({**network.state_dict(), **parameters})


def _unapproved(status: Mapping[str, str]) -> FederationError:
    return FederationError(
        found=Message(
            "The training plan may not run at: {status}.",
            status=", ".join(f"{site} ({one})" for site, one in sorted(status.items())),
        ),
        needed=Message("Every site reviews and approves the plan before the first round."),
        advice=Message(
            "Let each run “fedpet train node approve”, then start again. The nodes list the plan as pending."
        ),
    )
