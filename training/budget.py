"""A node's own account of what was trained on its patients, and the epsilon that it allows.

`privacy.jsonl` in the node's folder, one JSON object a line, only ever appended to: a line for every limit that the
data manager set, and one for every training request, written before its first step, so that a crash counts. What
counts is what runs on the node (Opacus' optimiser and loader), not what the researcher says. Epsilon is composed over
all lines; a training without noise makes it infinite.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from argparse import ArgumentParser
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from math import ceil, inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opacus.data_loader import DPDataLoader
from opacus.optimizers import DPOptimizer

from fedpet.errors import FederationError
from fedpet.messages import Message
from training.node_data import VALIDATION_FRACTION
from training.privacy import Spending, composed
from training.statistics import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from training.task import Task

LEDGER = "privacy.jsonl"
DELTA = 1e-5  # of a limit, unless the data manager gives another


@dataclass(frozen=True)
class Limit:
    """What the data manager allows: (epsilon, delta)-differential privacy of each training patient."""

    epsilon: float
    delta: float = DELTA


@dataclass(frozen=True)
class Account:
    """What a ledger says: the limit in force, None if none was ever set, and all that was trained."""

    limit: Limit | None
    trainings: tuple[Spending, ...]

    def epsilon(self, *more: Spending) -> float:
        """Of all that was trained, and of more, at the limit's delta."""
        delta = DELTA if self.limit is None else self.limit.delta
        return composed((*self.trainings, *more), delta)

    def require(self, more: Spending) -> None:
        """Refuse a training that would go beyond the limit.

        Raises:
            FederationError: it carries no noise, or too little for what is left.
        """
        if self.limit is None:
            return
        if more.noise is None:
            raise _without_noise(Message("A training request without differential privacy."))
        total = self.epsilon(more)
        if not total <= self.limit.epsilon:  # also what is not a number
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


class Ledger:
    """The file of a node's folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LEDGER

    def read(self) -> Account:
        """What it says so far.

        Raises:
            FederationError: a line is damaged.
        """
        with self._locked() as descriptor:
            return self._account(descriptor)

    def set_limit(self, limit: Limit) -> None:
        """Put another limit in force; what was trained stays counted.

        Raises:
            FederationError: it is none, or a line is damaged.
        """
        if not (0.0 < limit.epsilon < inf and 0.0 < limit.delta < 1.0):
            raise FederationError(
                found=Message("epsilon = {epsilon:g}, delta = {delta:g}.", epsilon=limit.epsilon, delta=limit.delta),
                needed=Message("An epsilon above 0, and a delta between 0 and 1."),
                advice=Message("Give for example 8 and 1e-5."),
            )
        with self._locked() as descriptor:
            self._account(descriptor)
            _append(descriptor, {"limit": asdict(limit)})

    def enter(self, training: Spending, **about: object) -> None:
        """Count a training, if the limit allows it; to be called before its first step.

        Raises:
            FederationError: the limit does not allow it, or a line is damaged.
        """
        with self._locked() as descriptor:
            self._account(descriptor).require(training)
            _append(descriptor, {"training": asdict(training), **about})

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The open file, for this process alone."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @staticmethod
    def _account(descriptor: int) -> Account:
        text = os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
        try:
            lines = [json.loads(line) for line in text.splitlines()]
            limits = [Limit(**line["limit"]) for line in lines if "limit" in line]
            trainings = [Spending(**line["training"]) for line in lines if "limit" not in line]
        except (ValueError, TypeError, KeyError) as error:
            raise _damaged() from error
        if text and not text.endswith("\n"):
            raise _damaged()
        return Account(limits[-1] if limits else None, tuple(trainings))


def _append(descriptor: int, line: Mapping[str, object]) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    os.write(descriptor, (json.dumps({"time": now, **line}) + "\n").encode())
    os.fsync(descriptor)


def of_this_process() -> Ledger | None:
    """The ledger of the node that this process is; None outside of nodes.

    Its folder is on the command line of every Fed-BioMed node, whoever started it: a variable that only our command
    sets would be missing, and the limit with it, where another starts the node.
    """
    parser = ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", type=Path)
    folder = parser.parse_known_args(sys.argv[1:])[0].config if "--node-args" in sys.argv else None
    return None if folder is None else Ledger(folder)


class Gate:
    """What a round on a node passes: at its beginning, and before every step.

    Outside of nodes it lets everything pass.
    """

    def __init__(self, task: Task) -> None:
        """Refuse what no noise covers, before any patient is read.

        Raises:
            FederationError: the node has a limit, and the task is not private or would validate on training patients.
        """
        self._task = task
        self._ledger = of_this_process()
        self._paid = 0
        if self._ledger is None or self._ledger.read().limit is None:
            return
        if task.network == STATISTICS:
            raise _without_noise(Message("A request for statistics of the clinical inputs, which carry no noise."))
        if task.trains and not task.method.privacy.local:
            raise _without_noise(Message("A training request without differential privacy."))
        if task.validation_fraction != VALIDATION_FRACTION:
            raise _without_noise(Message("Another part of the patients would validate, without noise."))

    def step(self, optimizer: object, loader: Any, args: Mapping[str, Any], round_index: int) -> None:  # noqa: ANN401  Fed-BioMed and Opacus publish no types
        """Enter the round before its first step, and again what goes beyond the steps that were asked for.

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


def _spending(task: Task, optimizer: object, loader: Any, args: Mapping[str, Any]) -> Spending:  # noqa: ANN401  as above
    """What the steps cost, by the objects that take them.

    The loss is one's own for every patient only where the task is private; the noise is the optimiser's own.
    Statistics leave in the place of what the optimiser made.
    """
    noise = None
    if task.method.privacy.local and task.network != STATISTICS:
        noise = _noise(optimizer, loader)
    updates = args["num_updates"]
    return Spending(
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
        needed=Message("Noise on all that is made of training patients: the site set a limit of epsilon."),
        advice=Message("Set clip and noise, or train without this site."),
    )


def _damaged() -> FederationError:
    return FederationError(
        found=Message("A line of {file} in the node's folder is damaged.", file=LEDGER),
        needed=Message("Every line, for each may hold a training on the site's patients."),
        advice=Message("Let the data manager restore the file; a last line that is cut off was never trained."),
    )
