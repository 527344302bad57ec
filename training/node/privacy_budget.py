"""A node's own account of the trainings on its patients, and its limit of epsilon.

`privacy.jsonl` in the node's folder has one JSON object a line and is only ever appended to: a line for every limit
that the data manager set, and one for every training request, written before its first step, so that a crash counts.
Counted is what runs on the node (Opacus' optimiser and loader), not what the researcher declares. Epsilon is
composed over all lines; a training without noise makes it infinite.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import ceil, inf
from typing import TYPE_CHECKING, Any

from opacus.data_loader import DPDataLoader
from opacus.optimizers import DPOptimizer

from fedpet.core.errors import FederationError
from fedpet.core.messages import Message
from training.node.admission import folder_of_this_process
from training.node.policy import DELTA, read_policy
from training.task.privacy import PrivacySpending, total_epsilon
from training.task.statistics import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from training.task.task import TrainingTask

LEDGER = "privacy.jsonl"


@dataclass(frozen=True)
class EpsilonLimit:
    """The limit set by the data manager: (epsilon, delta)-differential privacy of each training patient."""

    epsilon: float
    delta: float = DELTA


@dataclass(frozen=True)
class PrivacyAccount:
    """The content of a ledger: the limit in force, None if none was ever set, and all trainings."""

    limit: EpsilonLimit | None
    trainings: tuple[PrivacySpending, ...]

    def epsilon(self, *more: PrivacySpending) -> float:
        """Epsilon of all trainings, and of further ones, at the limit's delta."""
        delta = DELTA if self.limit is None else self.limit.delta
        return total_epsilon((*self.trainings, *more), delta)

    def require(self, more: PrivacySpending) -> None:
        """Refuse a training that would exceed the limit.

        Raises:
            FederationError: it has no noise, or too little for the remaining budget.
        """
        if self.limit is None:
            return
        if more.noise is None:
            raise _without_noise(Message("A training request without differential privacy."))
        total = self.epsilon(more)
        if not total <= self.limit.epsilon:  # also refuses nan
            raise FederationError(
                found=Message(
                    "This training would bring epsilon from {before:.2f} to {after:.2f}.",
                    before=self.epsilon(),
                    after=total,
                ),
                needed=Message(
                    "At most {limit:g} at delta = {delta:g}, which the site set for its patients.",
                    limit=self.limit.epsilon,
                    delta=self.limit.delta,
                ),
                advice=Message("Train without this site, or with more noise or fewer rounds before it is used up."),
            )


class PrivacyLedger:
    """The ledger file in a node's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER
        self._folder = folder

    def read(self) -> PrivacyAccount:
        """The account so far.

        Raises:
            FederationError: a line is damaged.
        """
        with self._locked() as descriptor:
            return self._account(descriptor)

    def set_limit(self, limit: EpsilonLimit) -> None:
        """Set another limit; past trainings still count.

        Raises:
            FederationError: it is invalid or above the one of the node's policy, or a line is damaged.
        """
        highest = self._highest()
        if highest is not None and limit.epsilon > highest.epsilon:
            raise FederationError(
                found=Message("A limit of epsilon of {epsilon:g}.", epsilon=limit.epsilon),
                needed=Message("At most {limit:g}, as the node's policy says.", limit=highest.epsilon),
                advice=Message("Give a smaller one, or change the policy."),
            )
        if not (0.0 < limit.epsilon < inf and 0.0 < limit.delta < 1.0):
            raise FederationError(
                found=Message("epsilon = {epsilon:g}, delta = {delta:g}.", epsilon=limit.epsilon, delta=limit.delta),
                needed=Message("An epsilon above 0, and a delta between 0 and 1."),
                advice=Message("Give for example 8 and 1e-5."),
            )
        with self._locked() as descriptor:
            self._account(descriptor)
            _append(descriptor, {"limit": asdict(limit)})

    def enter(self, training: PrivacySpending, **about: object) -> None:
        """Record a training if the limit allows it; must be called before its first step.

        Raises:
            FederationError: the limit does not allow it, or a line is damaged.
        """
        with self._locked() as descriptor:
            self._account(descriptor).require(training)
            _append(descriptor, {"training": asdict(training), **about})

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, locked for this process."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _highest(self) -> EpsilonLimit | None:
        """The limit that the node's policy sets; None where it sets none."""
        rules = read_policy(self._folder).privacy
        return None if rules.epsilon is None else EpsilonLimit(rules.epsilon, rules.delta)

    def _account(self, descriptor: int) -> PrivacyAccount:
        text = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
        try:
            lines = [json.loads(line) for line in text.splitlines()]
            limits = [EpsilonLimit(**line["limit"]) for line in lines if "limit" in line]
            trainings = [PrivacySpending(**line["training"]) for line in lines if "limit" not in line]
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged() from error
        if text and not text.endswith("\n"):
            raise _damaged()
        known = [limit for limit in (self._highest(), limits[-1] if limits else None) if limit is not None]
        return PrivacyAccount(min(known, key=lambda limit: limit.epsilon, default=None), tuple(trainings))


def _append(descriptor: int, line: Mapping[str, object]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    os.write(descriptor, (json.dumps({"time": now, **line}) + "\n").encode())
    os.fsync(descriptor)


def ledger_of_this_process() -> PrivacyLedger | None:
    """The ledger of the node that runs in this process; None outside of nodes."""
    folder = folder_of_this_process()
    return None if folder is None else PrivacyLedger(folder)


class BudgetGuard:
    """Checks a round against the node's limit at its beginning and before every step; inactive outside of nodes."""

    def __init__(self, task: TrainingTask) -> None:
        """Refuse what no noise protects, before any patient is read.

        Raises:
            FederationError: the node has a limit, and the task is not private.
        """
        self._task = task
        self._ledger = ledger_of_this_process()
        self._paid = 0
        if self._ledger is None or self._ledger.read().limit is None:
            return
        if task.network == STATISTICS:
            raise _without_noise(Message("A request for statistics of the clinical inputs, which carry no noise."))
        if task.trains and not task.method.privacy.local:
            raise _without_noise(Message("A training request without differential privacy."))

    def require_lasting(self, patients: int, round_index: int) -> None:
        """Refuse a training that the limit would stop before its end, before any of it is spent.

        Args:
            patients: number of training patients.
            round_index: 0 is the first; later ones are not asked, for a part is spent.

        Raises:
            FederationError: the limit does not allow all that is planned.
        """
        task = self._task
        if self._ledger is None or round_index or not (task.trains and task.planned_epochs):
            return
        noise = task.method.privacy.noise
        self._ledger.read().require(PrivacySpending(patients, task.batch_size, task.planned_epochs, noise))

    def step(self, optimizer: object, loader: Any, args: Mapping[str, Any], round_index: int) -> None:  # noqa: ANN401  Fed-BioMed and Opacus publish no types
        """Record the round before its first step, and again if it takes more steps than requested.

        Args:
            optimizer: that will take the step.
            loader: of the training patients.
            args: Fed-BioMed's training arguments.
            round_index: for the ledger.

        Raises:
            FederationError: the limit does not allow it.
        """
        if self._ledger is None or not self._task.trains:
            return
        if not self._paid:
            training = _spending(self._task, optimizer, loader, args)
            self._ledger.enter(training, network=self._task.network, round=round_index + 1)
            self._paid = training.epochs * len(loader)
        self._paid -= 1


def _spending(task: TrainingTask, optimizer: object, loader: Any, args: Mapping[str, Any]) -> PrivacySpending:  # noqa: ANN401  as above
    """The cost of the steps, read from the optimiser and the loader that take them.

    Losses are per patient only where the task is private; the noise is that of the optimiser. Statistics are not made
    by the optimiser and carry no noise.
    """
    noise = None
    if task.method.privacy.local and task.network != STATISTICS:
        noise = _noise(optimizer, loader)
    updates = args["num_updates"]
    return PrivacySpending(
        patients=len(loader.dataset),
        batch_size=task.batch_size,
        epochs=max(1, args["epochs"] if updates is None else ceil(updates / len(loader))),
        noise=noise,
    )


def _noise(optimizer: object, loader: object) -> float | None:
    if isinstance(optimizer, DPOptimizer) and isinstance(loader, DPDataLoader):
        return float(optimizer.noise_multiplier) or None
    return None


def _without_noise(found: Message) -> FederationError:
    return FederationError(
        found=found,
        needed=Message("Noise on everything derived from training patients: the site set a limit of epsilon."),
        advice=Message("Set clip and noise, or train without this site."),
    )


def _damaged() -> FederationError:
    return FederationError(
        found=Message("A line of {file} in the node's folder is damaged.", file=LEDGER),
        needed=Message("Every line intact, for each may record a training on the site's patients."),
        advice=Message(
            "Let the data manager restore the file; a truncated last line was never trained and may be removed."
        ),
    )
