"""Asks the sites for a round, again without those that fail, and reads what they validated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from training.coordinator import fedbiomed_researcher as internals
from training.coordinator.events import emit
from training.coordinator.run_progress import RunProgress
from training.coordinator.sites import too_few
from training.task.carried import ALL_SITES, CARRIED
from training.task.method import MASKED_SITES
from training.task.small_cells import merge_small_cells
from training.task.statistics import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import torch
    from fedbiomed.researcher.federated_workflows import Experiment
    from torch import nn

    from training.coordinator.sites import RunConfig, Sites
    from training.task.task import TrainingTask


class SiteRounds:
    """The rounds of one run, as far as the sites are concerned.

    Attributes:
        name: of the run.
        experiment: of Fed-BioMed.
        progress: of the run; written before every request.
        new_masks: the next request needs new masks, for the ones before may have been used.
    """

    experiment: Experiment

    def __init__(self, name: str, task: TrainingTask, config: RunConfig, sites: Sites) -> None:
        self.name, self.task, self.config, self.sites = name, task, config, sites
        self._path = Path(config.out, f"{name}.progress.json")
        self.progress = RunProgress.read(self._path) if config.resume else RunProgress()
        self.new_masks = bool(self.progress.breakpoint)  # the round may have been attempted before

    def save(self) -> None:
        """Write the progress."""
        self.progress.write(self._path)

    def ask_first(self) -> None:
        """Ask every site whether its limit of epsilon lasts for all that is planned, before any of it is spent.

        Raises:
            FederationError: too few sites have a limit that lasts.
        """
        nodes = self.sites.select(self.experiment)
        self.experiment.set_nodes(nodes)
        failures = internals.ask_without_training(self.experiment)
        self.new_masks = True  # masks were used
        internals.forget_parameters(self.experiment)
        if failures:
            reasons = self.sites.record_failures(failures)
            emit("repeated", run=self.name, round=1, reasons=reasons)
            if len(nodes) - len(reasons) < self.config.minimum:
                raise too_few(len(nodes) - len(reasons), self.config.minimum, reasons)

    def can_leave_out(self, nodes: Collection[str]) -> bool:
        """Whether enough sites remain without one of them."""
        return len(nodes) > max(self.config.minimum, MASKED_SITES if self.task.method.masked else 1)

    def answered(self, index: int, without: Collection[str] = ()) -> list[str]:
        """Ask the sites for a round until all that were asked have answered; their node ids.

        Args:
            index: of the round, 0 is the first.
            without: ids of nodes that are not asked.

        Raises:
            FederationError: too few sites can answer.
        """
        for repetition in range(self.config.retries + 1):
            nodes = self.sites.select(self.experiment, without)
            renew = self.task.method.masked and bool(repetition or self.new_masks)
            self.new_masks = False
            self.experiment.set_nodes(nodes)
            if index < self.task.rounds:
                for node in nodes:
                    site = self.sites.names[node]
                    self.progress.asked[site] = self.progress.asked.get(site, 0) + 1
                self.save()  # a request counts for the site's privacy, whatever happens
            failures = internals.attempt(self.experiment, renew=renew)
            if failures is None:
                return nodes
            reasons = self.sites.record_failures(failures)
            emit("repeated", run=self.name, round=index + 1, reasons=reasons)
        raise too_few(len(nodes) - len(reasons), self.config.minimum, reasons)

    def validation(self, index: int, nodes: list[str]) -> dict[str, dict[str, float]]:
        """The validation of the model that a round started from: by site, or under masks of all sites together."""
        replies = self.experiment.training_replies()[index]
        patients = {node: int(replies[node]["sample_size"]) for node in nodes}
        carried = self.task.carried
        if self.task.network == STATISTICS:
            return {}
        if self.task.method.masked:
            pooled = carried.decode(internals.masked_levels(), sum(patients.values()), masked=True)
            return {ALL_SITES: merge_small_cells(pooled, self.task.minimum_cell, self.task.contract.month_edges)}
        sent = internals.node_parameters(self.experiment, index)
        return {
            self.sites.names[node]: carried.decode(sent[node][CARRIED].tolist(), patients[node], masked=False)
            for node in nodes
        }

    def evaluation(self, index: int, nodes: list[str]) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
        """The tables of single sites that an evaluation shows, and the number of patients of every site."""
        replies = self.experiment.training_replies()[index]
        patients = {self.sites.names[node]: int(replies[node]["sample_size"]) for node in nodes}
        carried, levels = self.task.carried, internals.masked_levels()
        cell, edges = self.task.minimum_cell, self.task.contract.month_edges
        own = {
            site: carried.decode(levels[carried.size * place :], sum(patients.values()), masked=True)
            for place, site in enumerate(self.task.evaluated, start=1)
            if site in patients
        }
        return {site: merge_small_cells(table, cell, edges, by_time=False) for site, table in own.items()}, patients

    def leave_out(
        self, nodes: list[str], reason: str, index: int, parameters: Mapping[str, torch.Tensor], network: nn.Module
    ) -> None:
        """Name sites, go on without them, and return to the model that a round started from."""
        reasons = self.sites.keep_out(nodes, reason)
        emit("repeated", run=self.name, round=index + 1, reasons=reasons)
        network.load_state_dict(parameters)
        internals.forget_parameters(self.experiment)
        internals.rewind(self.experiment, index)
        self.new_masks = True
