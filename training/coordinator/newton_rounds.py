"""The researcher's side of a federated Newton fit: from what the sites sent to the parameters of the next round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.coordinator import fedbiomed_researcher as internals
from training.task.agreement import CONTRADICTS, SiteDerivatives, contradicting
from training.task.newton import Prior, is_definite
from training.task.newton_fit import NewtonFit
from training.task.newton_sums import SUMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from training.coordinator.site_rounds import SiteRounds
    from training.task.newton_fit import NewtonPlan

    Floats = NDArray[np.float64]


_WEAK_RIDGE: Final = 0.1  # keeps a true sum definite within the rounding
IMPOSSIBLE: Final = "sums that no patients can have"  # of a site, in clear
_UNSOUND: Final = "without its sums the second derivatives are those of patients"


class NewtonRounds:
    """Takes the steps of a fit; its state is kept in the run's progress."""

    def __init__(self, rounds: SiteRounds, plan: NewtonPlan) -> None:
        self._rounds, self._plan = rounds, plan

    def restore(self, network: nn.Module) -> None:
        """Put the coefficients of the state into the network: a breakpoint keeps the average, which holds none."""
        fit = NewtonFit(self._plan, self._rounds.progress.newton or None)
        network.load_state_dict({**network.state_dict(), **fit.parameters()})

    def implausible(self, index: int, nodes: list[str]) -> list[str]:
        """Node ids whose sums are not those of patients; under masks they cannot be seen."""
        if self._rounds.task.method.masked:
            return []
        sums = self._by_node(index, nodes)
        return [node for node in nodes if not self._is_plausible(sums[node])]

    def is_sound(self, index: int, nodes: list[str]) -> bool:
        """Whether the second derivatives of all sites together are those of a likelihood."""
        return self._is_plausible(self._sums(index, nodes))

    def leave_out_spoiler(self, index: int, nodes: list[str], before: Mapping[str, Tensor], network: nn.Module) -> None:
        """Repeat a round without each site in turn, and leave out the only one without which the sum is sound.

        Args:
            index: of the round.
            nodes: ids of those that answered.
            before: parameters that they were sent.
            network: of the experiment.

        Raises:
            FederationError: no single site explains it, or there are too few to leave one out.
        """
        rounds, sound = self._rounds, list[str]()
        if not rounds.can_leave_out(nodes):
            raise _unsound()
        for node in nodes:
            self._again(index, before, network)
            if self.is_sound(index, rounds.answered(index, without={node})):
                sound.append(node)
        if len(sound) != 1:
            raise _unsound()
        rounds.leave_out(sound, _UNSOUND, index, before, network)

    def compare(self, network: nn.Module) -> bool:
        """Before one of the rounds, leave out a site whose patients contradict the model of the others.

        In clear the sums are known by site. Under masks the round is asked of all, and without each site in turn: the
        difference is the site's sum. Without a site the fit begins anew.

        Args:
            network: of the experiment; left as it is, or as a fit begins.

        Returns:
            Whether this round is the one before which the sites are compared; False as well where a fit begins anew.
        """
        rounds, index = self._rounds, self._rounds.experiment.round_current()
        if index != self._plan.compared:
            return False
        if not rounds.can_leave_out(rounds.sites.remaining):
            return True
        before = {key: value.clone() for key, value in network.state_dict().items()}
        fit = NewtonFit(self._plan, rounds.progress.newton)
        sites = self._derivatives(index, before, network)
        node = contradicting(sites, fit.coefficients, fit.prior, rounds.task.contract.month_edges) if sites else None
        if node is None:
            self._again(index, before, network)
            return True
        first = {**before, **NewtonFit(self._plan).parameters()}
        rounds.progress.newton, rounds.progress.rounds = {}, []
        rounds.leave_out([node], CONTRADICTS, 0, first, network)
        return False

    def _derivatives(self, index: int, before: Mapping[str, Tensor], network: nn.Module) -> dict[str, SiteDerivatives]:
        """By node id; empty where a site fails meanwhile, or too few would remain without one."""
        self._again(index, before, network)
        nodes = self._rounds.answered(index)
        if not self._rounds.can_leave_out(nodes):
            return {}
        if not self._rounds.task.method.masked:
            return {node: self._derivative(sums) for node, sums in self._by_node(index, nodes).items()}
        whole, found = self._derivative(self._sums(index, nodes)), dict[str, SiteDerivatives]()
        for node in nodes:
            self._again(index, before, network)
            there = self._rounds.answered(index, without={node})
            if {*there, node} != set(nodes):
                return {}
            others = self._derivative(self._sums(index, there))
            found[node] = SiteDerivatives(whole.gradient - others.gradient, whole.hessian - others.hessian)
        return found

    def _derivative(self, sums: Mapping[str, Floats]) -> SiteDerivatives:
        return SiteDerivatives(sums["gradient"][0], self._plan.layout.symmetric(sums["hessian"][0]))

    def _again(self, index: int, before: Mapping[str, Tensor], network: nn.Module) -> None:
        """Let the next request be that of a round, under new masks."""
        network.load_state_dict(before)
        internals.forget_parameters(self._rounds.experiment)
        internals.rewind(self._rounds.experiment, index)
        self._rounds.new_masks = True

    def take(self, index: int, nodes: list[str], before: Mapping[str, Tensor], network: nn.Module) -> None:
        """Put the parameters of the next round in the place of the average, which holds none.

        Args:
            index: of the round; the one after the last brings what the intervals need and changes nothing.
            nodes: ids of those that answered.
            before: parameters that they were sent.
            network: of the experiment.

        Raises:
            FederationError: the sums are not those of patients, or the fit has not converged at the end.
        """
        progress = self._rounds.progress
        fit = NewtonFit(self._plan, progress.newton or None)
        fit.advance(index, self._sums(index, nodes))
        progress.newton = fit.to_json()
        network.load_state_dict({**before, **fit.parameters()})

    def _sums(self, index: int, nodes: list[str]) -> dict[str, Floats]:
        """Over all sites."""
        if not self._rounds.task.method.masked:
            parts = list(self._by_node(index, nodes).values())
            return {name: np.sum([part[name] for part in parts], axis=0) for name in parts[0]}
        layout, start = self._plan.layout, self._rounds.task.carried.size  # the vectors come first, in this order
        levels = internals.masked_levels()[start : start + layout.size]
        return layout.decode(levels, sum(self._patients(index, nodes).values()), masked=True)

    def _by_node(self, index: int, nodes: list[str]) -> dict[str, dict[str, Floats]]:
        sent, patients = internals.node_parameters(self._rounds.experiment, index), self._patients(index, nodes)
        layout = self._plan.layout
        return {node: layout.decode(sent[node][SUMS].tolist(), patients[node], masked=False) for node in nodes}

    def _patients(self, index: int, nodes: list[str]) -> dict[str, int]:
        replies = self._rounds.experiment.training_replies()[index]
        return {node: int(replies[node]["sample_size"]) for node in nodes}

    def _is_plausible(self, sums: Mapping[str, Floats]) -> bool:
        """Whether the second derivatives of a site are those of a likelihood."""
        layout = self._plan.layout
        weak = Prior.of(_WEAK_RIDGE, np.ones(layout.inputs), self._plan.baseline).precision
        return is_definite(layout.symmetric(sums["hessian"][0]) + np.diag(weak))


def _unsound() -> FederationError:
    return FederationError(
        found=Message("Sums of second derivatives that no patients can have."),
        needed=Message("One site by which this is explained, and more sites than the smallest number."),
        advice=Message("Train again, leaving out one site in turn; read the nodes' logs."),
    )
