"""The rounds of a federated Newton fit: what is asked of the centres in each, and what the coordinating centre does.

The first rounds are Newton's steps at a ridge in the middle of the grid. Then one asks for the sums by fold; the
coordinating centre takes from them, for every ridge and every fold, a step from the common fit towards the fit of the
other folds (one step suffices so close to it), and in the next round the centres answer with the losses of each fold's
patients by these coefficients, one sum a ridge. The ridge of the smallest loss is kept, and the last rounds are steps
at it. The validation after the last round brings what the intervals need and shows how far the fit is from its optimum;
in it every patient is scored by the fit without its fold, so that no patient has to be kept from the fit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import torch

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from inference.network import reference_baseline
from training.task.carried import LARGEST_LOSS
from training.task.newton import (
    CentreDerivatives,
    CentreTable,
    Prior,
    newton_step,
    proportionality,
    robust_covariance,
    variances,
)
from training.task.newton_sums import SumsLayout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from training.task.method import Aggregation

    Floats = NDArray[np.float64]

TRIALS: Final = "trials"  # name of the parameter with coefficients by ridge and fold, sent to the centres
WEIGHTS: Final = "head.clinical.weight"  # of the network, (1, q)
BASELINE: Final = "head.baseline"  # of the network, (K,)
MINIMUM_ROUNDS: Final = 6
_WORSE = 1e-5  # by which the objective of a patient may rise: the resolution under masks is a tenth of it
_CONVERGED = 0.05  # standard errors that the last step may still be
_HELD_OUT = 3  # the round of the held-out losses, from the end; the one of the folds is before it
Asked = Literal["moments", "folds", "held_out", "scores"]


@dataclass(frozen=True)
class NewtonPlan:
    """A fit as it is planned.

    Attributes:
        layout: of the sums.
        baseline: (K,) logits of the reference hazards, from which it starts.
        clock: (K,) the function of time in the test of proportional hazards: centred logarithm, at most 1 in size.
        rounds: Newton's steps.
        ridges: to choose from, increasing.
        centre_ridge: see `training.task.newton`.
    """

    layout: SumsLayout
    baseline: tuple[float, ...]
    clock: tuple[float, ...]
    rounds: int
    ridges: tuple[float, ...]
    centre_ridge: float | None

    @staticmethod
    def of(aggregation: Aggregation, inputs: int, edges: Sequence[float], rounds: int) -> NewtonPlan:
        """The plan of a table `[aggregation]`.

        Args:
            aggregation: ridges, folds and the precision of the centres' intercepts.
            inputs: number of encoded inputs.
            edges: K + 1 months.
            rounds: Newton's steps.
        """
        ridges = tuple(sorted(aggregation.ridges))
        layout = SumsLayout(inputs, len(edges) - 1, aggregation.folds, len(ridges))
        logs = np.log([(start + stop) / 2 for start, stop in pairwise(edges)])
        clock = (logs - logs.mean()) / np.abs(logs - logs.mean()).max()
        baseline = tuple(reference_baseline(edges))
        return NewtonPlan(layout, baseline, tuple(clock), rounds, ridges, aggregation.centre_ridge or None)

    def asked(self, index: int) -> set[Asked]:
        """What the centres add to the sums of a round (0 is the first; `rounds` is the validation)."""
        asked: dict[Asked, bool] = {
            "moments": index == 0,
            "folds": index == self.rounds - _HELD_OUT - 1,
            "held_out": index == self.rounds - _HELD_OUT,
            "scores": index == self.rounds,
        }
        return {name for name, now in asked.items() if now}

    @property
    def compared(self) -> int:
        """Index of the round before which the sites are compared (`training.task.agreement`): before the folds'."""
        return self.rounds - _HELD_OUT - 2

    def require_rounds(self) -> None:
        """Refuse too few rounds.

        Raises:
            FederationError: there are fewer than the fit needs.
        """
        if self.rounds < MINIMUM_ROUNDS:
            raise FederationError(
                found=Message("Newton's method with {rounds} rounds.", rounds=self.rounds),
                needed=Message("At least {count}: steps, cross-validation, steps.", count=MINIMUM_ROUNDS),
                advice=Message("Set rounds = 8."),
            )

    @property
    def trials_shape(self) -> tuple[int, int]:
        """Of the coefficients that are sent to the centres: a row for each ridge and fold."""
        return len(self.ridges) * self.layout.folds, self.layout.coefficients


def folds_of(pseudonyms: Sequence[str], site: str, folds: int, minimum_cell: int) -> NDArray[np.int64]:
    """(n,) the fold of each patient: a function of site and pseudonyms.

    A small site has patients in fewer folds, so that none of them counts fewer than `minimum_cell` (or all in one).
    """
    count = min(max(len(pseudonyms) // minimum_cell, 1), folds)
    digests = [sha256(f"fold:{name}".encode()).digest() for name in pseudonyms]
    rank = np.argsort(np.argsort([int.from_bytes(digest[:6]) for digest in digests], kind="stable"), kind="stable")
    return np.asarray((rank % count + sum(site.encode())) % folds, np.int64)


def answer(
    plan: NewtonPlan,
    index: int,
    table: CentreTable,
    folds: NDArray[np.int64],
    coefficients: Floats,
    trials: Floats,
) -> dict[str, Floats]:
    """What a centre adds to the sums of a round.

    Args:
        plan: of the fit.
        index: of the round.
        table: the centre's training patients.
        folds: (n,) of them.
        coefficients: (q + K,) that the centre was sent.
        trials: coefficients by ridge and fold, see `NewtonPlan.trials_shape`.
    """
    asked, layout = plan.asked(index), plan.layout
    there, others = table.at(coefficients, plan.centre_ridge), list[CentreDerivatives]()
    if "folds" in asked:
        outside = [table.part(folds != k) for k in range(layout.folds)]
        others = [one.at(coefficients, plan.centre_ridge) for one in outside]
    sums = {name: np.zeros_like(layout.bounds[name]) for name in ("gradient", "hessian")}
    for row, one in enumerate([there, *others]):
        sums["gradient"][row], sums["hessian"][row] = one.gradient(), layout.triangle(one.hessian())
    sums |= {"patients": np.array([float(len(folds))]), "loss": np.array([there.loss.sum() + there.penalty])}
    if "moments" in asked:
        sums |= {"first": table.inputs.sum(0), "second": (table.inputs**2).sum(0)}
    if "scores" in asked:
        sums["scores"] = layout.triangle(there.score_products())
        names = ("time_gradient", "time_across", "time_own")
        sums |= dict(zip(names, there.time_interactions(np.array(plan.clock)), strict=True))
    if "held_out" in asked:
        by_fold = trials.reshape(len(plan.ridges), layout.folds, -1)
        sums["held_out"] = np.array([out_of_fold(table, folds, one).sum() for one in by_fold])
    return sums


def require_many(plan: NewtonPlan, table: CentreTable, coefficients: Floats, trials: Floats, minimum_cell: int) -> None:
    """Refuse coefficients by which the sums would tell of single patients.

    Args:
        plan: of the fit.
        table: the centre's patients.
        coefficients: that the centre was sent.
        trials: by ridge and fold; rows of zeros are not known yet.
        minimum_cell: patients whose hazards must make the sums at least; of a small centre a fifth of the patients.

    Raises:
        FederationError: the hazards of too few patients make the sums.
    """
    needed = min(float(minimum_cell), len(table.inputs) / 5)
    asked = [table.at(coefficients, plan.centre_ridge), *(table.at(one, None) for one in trials[trials.any(1)])]
    for effective in (one.effective_patients for one in asked):
        if not effective >= needed:
            raise FederationError(
                found=Message("Coefficients by which {count:.1f} patients make the sums.", count=effective),
                needed=Message("At least {count:g}: sums of fewer tell of single patients.", count=needed),
                advice=Message("Ask the coordinating centre for coefficients of a fit, or train without this site."),
            )


def out_of_fold(table: CentreTable, folds: NDArray[np.int64], coefficients: Floats) -> Floats:
    """(n,) losses of the patients, each by the coefficients (F, q + K) of the fit without its fold."""
    losses = np.stack([table.loss(one) for one in coefficients])
    return np.asarray(np.minimum(losses[folds, np.arange(len(folds))], LARGEST_LOSS))


@dataclass
class NewtonState:
    """A fit after some rounds, as plain data.

    Attributes:
        coefficients: (q + K,) that the centres are sent next.
        ridge: of the steps now.
        mean: (q,) of the inputs over all patients; empty before the first round.
        variance: (q,) the same.
        trials: coefficients by ridge and fold; empty before they are known.
        step: (q + K,) the last one.
        objective: penalised loss of a patient before the last step; None before the first, and after another ridge.
        losses: by round, the loss of a training patient at the coefficients before it.
        held_out: by ridge, the loss of a patient by the fit without its fold; empty before it is known.
        errors: (q + K,) robust standard errors of the coefficients; empty before the end.
        proportional: p value of proportional hazards, all inputs together; None before the end.
        proportional_by_input: (q,) of each input; None for one that does not vary.
        remaining: largest step that is left at the end, in standard errors.
    """

    coefficients: list[float]
    ridge: float
    mean: list[float] = field(default_factory=list)
    variance: list[float] = field(default_factory=list)
    trials: list[list[float]] = field(default_factory=list)
    step: list[float] = field(default_factory=list)
    objective: float | None = None
    losses: list[float] = field(default_factory=list)
    held_out: dict[str, float] = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)
    proportional: float | None = None
    proportional_by_input: list[float | None] = field(default_factory=list)
    remaining: float | None = None


class NewtonFit:
    """The coordinating centre's side of a fit."""

    def __init__(self, plan: NewtonPlan, state: Mapping[str, Any] | None = None) -> None:
        """Begin a fit, or go on with one.

        Args:
            plan: of the fit.
            state: `to_json` of a fit that was stopped.
        """
        self.plan = plan
        first = [*(0.0,) * plan.layout.inputs, *plan.baseline]
        self.state = NewtonState(**state) if state else NewtonState(first, plan.ridges[len(plan.ridges) // 2])

    def to_json(self) -> dict[str, Any]:
        """The state as plain data."""
        return asdict(self.state)

    @property
    def coefficients(self) -> Floats:
        """(q + K,) that the centres are sent next, to the precision with which they travel."""
        return np.array(self.state.coefficients)

    @property
    def trials(self) -> Floats:
        """Coefficients by ridge and fold, see `NewtonPlan.trials_shape`; zeros before they are known."""
        return np.array(self.state.trials) if self.state.trials else np.zeros(self.plan.trials_shape)

    def parameters(self) -> dict[str, Tensor]:
        """What the centres are sent next, as parameters of the network that travels."""
        inputs = self.plan.layout.inputs
        values = {WEIGHTS: self.coefficients[None, :inputs], BASELINE: self.coefficients[inputs:], TRIALS: self.trials}
        return {name: torch.from_numpy(value).float() for name, value in values.items()}

    def advance(self, index: int, sums: Mapping[str, Floats]) -> None:
        """Take the sums of a round, and the step that follows from them.

        Args:
            index: of the round; `rounds` is the validation.
            sums: over all centres, by part (`SumsLayout.bounds`).

        Raises:
            FederationError: the sums are not those of patients, or the fit has not converged at the end.
        """
        state, asked, layout = self.state, self.plan.asked(index), self.plan.layout
        patients = float(sums["patients"].sum())
        gradient, hessian = sums["gradient"][0], layout.symmetric(sums["hessian"][0])
        if "moments" in asked:
            state.mean = (sums["first"] / patients).tolist()
            state.variance = variances(sums["first"] / patients, sums["second"] / patients).tolist()
        loss, coefficients = float(sums["loss"].sum()), self.coefficients
        objective = (loss + self._prior(state.ridge).penalty(coefficients)) / patients
        state.losses.append(loss / patients)
        if "scores" in asked:
            self._finish(gradient, hessian, sums)
            return
        if "folds" in asked:
            state.trials = _as_sent(self._trials(sums["gradient"][1:], sums["hessian"][1:])).tolist()
        if "held_out" in asked:
            self._choose(sums["held_out"] / patients)
        elif state.objective is not None and objective > state.objective + _WORSE:
            state.step = [step / 2 for step in state.step]  # too far: half of the way back
            self._move(coefficients - np.array(state.step))
            return
        else:
            state.objective = objective
        state.step = newton_step(gradient, hessian, coefficients, self._prior(state.ridge)).tolist()
        self._move(coefficients + np.array(state.step))

    @property
    def prior(self) -> Prior:
        """That of the steps now; known after the first round."""
        return self._prior(self.state.ridge)

    def _prior(self, ridge: float) -> Prior:
        return Prior.of(ridge, np.array(self.state.variance), self.plan.baseline)

    def _move(self, coefficients: Floats) -> None:
        self.state.coefficients = _as_sent(coefficients).tolist()

    def _trials(self, gradients: Floats, triangles: Floats) -> Floats:
        """A step from the common fit to that of the patients outside of each fold, by ridge and fold."""
        hessians, here = [self.plan.layout.symmetric(triangle) for triangle in triangles], self.coefficients
        return np.stack(
            [
                here + newton_step(gradient, hessian, here, self._prior(ridge))
                for ridge in self.plan.ridges
                for gradient, hessian in zip(gradients, hessians, strict=True)
            ]
        )

    def _choose(self, held_out: Floats) -> None:
        """Keep the ridge of the smallest held-out loss, and the coefficients without each fold at that ridge."""
        state, best = self.state, int(held_out.argmin())
        state.held_out = {f"{ridge:g}": float(loss) for ridge, loss in zip(self.plan.ridges, held_out, strict=True)}
        state.ridge, state.objective = self.plan.ridges[best], None
        chosen = self.trials.reshape(len(self.plan.ridges), self.plan.layout.folds, -1)[best]
        state.trials = np.tile(chosen, (len(self.plan.ridges), 1)).tolist()

    def _finish(self, gradient: Floats, hessian: Floats, sums: Mapping[str, Floats]) -> None:
        """Standard errors, the test of proportional hazards, and whether the fit is at its optimum."""
        prior = self._prior(self.state.ridge)
        step = newton_step(gradient, hessian, self.coefficients, prior)
        scores = self.plan.layout.symmetric(sums["scores"])
        self.state.errors = np.sqrt(np.diag(robust_covariance(hessian, prior, scores))).tolist()
        alone, self.state.proportional = proportionality(
            sums["time_gradient"], sums["time_across"], sums["time_own"], hessian, prior
        )
        self.state.proportional_by_input = [None if np.isnan(p) else float(p) for p in alone]
        self.state.remaining = float(
            np.abs(step / np.sqrt(np.diag(np.linalg.inv(hessian + np.diag(prior.precision))))).max()
        )
        if not self.state.remaining <= _CONVERGED:
            raise FederationError(
                found=Message(
                    "After {rounds} rounds the fit is {steps:.2g} standard errors from its optimum.",
                    rounds=self.plan.rounds,
                    steps=self.state.remaining,
                ),
                needed=Message("At most {limit:g}.", limit=_CONVERGED),
                advice=Message("Train with more rounds, and without sites whose numbers look wrong."),
            )


def _as_sent(values: Floats) -> Floats:
    """Rounded to the 32 bits with which parameters travel."""
    return values.astype(np.float32).astype(np.float64)
