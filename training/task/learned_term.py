"""The learned term beside a fitted table: the trainings that make it, and the gate that it has to pass.

The term is trained by federated averaging with the fitted table's score as a fixed offset, in the same likelihood. It
enters a model only if it adds to the table at centres that it has not seen: each centre in turn is left out, the term
is trained without it, and all of its patients are scored with the term and without. The gain of log likelihood of a
patient, over all centres, must be above 0 by its 95 % interval.

The table is that of all centres: sums of a fit without one centre would be, less those of the fit with it, that
centre's own. For the same reason the trainings of the gate begin from parameters of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from pydantic import BaseModel, ConfigDict, Field

from inference.network import WITH_CROPS
from training.task.method import Aggregation
from training.task.pooled import pooled_gain
from training.task.runs import Run

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from training.task.task import TrainingTask

LEARNED: Final = "learned"  # name of the run that trains the term
_WITHOUT: Final = "without-"
_Z: Final = 1.96  # 95 %
_HEAD: Final = ("head.",)  # parameters of the fitted table


class LearnedTerm(BaseModel):
    """Table `[learned_term]`: how the term is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(default=12, ge=1)
    local_epochs: int = Field(default=2, ge=1)
    batch_size: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=5e-3, gt=0.0)

    def task(self, table: TrainingTask, left_out: str = "") -> TrainingTask:
        """The training of the term beside a table fitted by `table`; without a site it has a seed of its own."""
        return replace(
            table,
            network=WITH_CROPS,
            network_config={},
            rounds=self.rounds,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            ridge=0.0,
            frozen=_HEAD,
            method=table.method.model_copy(update={"aggregation": Aggregation()}),
            left_out=left_out,
            seed=table.seed + (1 + crc32(left_out.encode()) % 1_000_000 if left_out else 0),
        )

    def runs(self, table: TrainingTask, sites: Sequence[str]) -> dict[str, Run]:
        """The runs of the gate, one for each site that is left out, then that of the term."""
        gate = {f"{_WITHOUT}{site}": Run(self.task(table, site), self.local_epochs) for site in sorted(sites)}
        return {**gate, LEARNED: Run(self.task(table), self.local_epochs)}


@dataclass(frozen=True)
class GateResult:
    """What the learned term adds at centres that were left out: gain of log likelihood of a patient.

    Attributes:
        by_centre: number of patients, gain and its standard error, by centre; those too small to say are not there.
    """

    by_centre: Mapping[str, tuple[int, float, float]]
    patients: int
    gain: float
    error: float

    @staticmethod
    def of(finals: Mapping[str, Collection[Mapping[str, float]]]) -> GateResult:
        """Read the final validations of the trainings without a centre, by name of the centre."""
        told = {site: [one for one in final if one.get("compared")] for site, final in finals.items()}
        everybody = [one for sites in told.values() for one in sites]
        by_centre = {site: (round(sites[0]["compared"]), *pooled_gain(sites)) for site, sites in told.items() if sites}
        return GateResult(by_centre, sum(count for count, _, _ in by_centre.values()), *pooled_gain(everybody))

    @staticmethod
    def of_histories(histories: Mapping[str, Any]) -> GateResult:
        """Read the histories of a federation's runs, by name of the run."""
        finals = {
            name.removeprefix(_WITHOUT): history["final"].values()
            for name, history in histories.items()
            if name.startswith(_WITHOUT)
        }
        return GateResult.of(finals)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % limits of the gain."""
        return self.gain - _Z * self.error, self.gain + _Z * self.error

    @property
    def passed(self) -> bool:
        """Whether the term enters the model."""
        return isfinite(self.gain) and self.interval[0] > 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data for the card and the report."""
        lower, upper = self.interval
        return {
            "measure": "gain of log likelihood of a patient by the learned term, each centre left out",
            "patients": self.patients,
            "gain": self.gain,
            "lower": lower,
            "upper": upper,
            "by_centre": {
                site: {"patients": count, "gain": gain, "standard_error": error}
                for site, (count, gain, error) in self.by_centre.items()
            },
            "included": self.passed,
        }


def is_gate_run(name: str) -> bool:
    """Whether a run only serves the gate."""
    return name.startswith(_WITHOUT)
