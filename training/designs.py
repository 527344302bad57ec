"""Who is trained on whom, and who predicts whom: the two designs of the evaluation with their baselines.

Within centres: a part of each centre's patients, chosen by the hash of their pseudonyms, is held out. Leave one centre
out: every centre in turn is unseen by the federation, the pooled training and the baselines; a single centre's model
predicts the patients of all the others. In both, every model has the same seeds and sees each of its training patients
as often.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fedpet.messages import Message
from training.averaging import fit
from training.node_data import split

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.progress import Progress
    from training.averaging import Fitted
    from training.evaluation_config import EvaluationConfig, Training
    from training.gather import Cohort, Patients

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

FEDERATED, POOLED, AVERAGE, QUANTISED = "federated", "pooled", "average", "quantised"
CLINICAL, TMTV_CLINICAL = "clinical", "tmtv_clinical"
SINGLE = "single:"  # followed by the centre's name


@dataclass(frozen=True, eq=False)
class Answers:
    """What the models of a design said.

    Attributes:
        member: (n,) which patients of the cohort were predicted.
        survival: by model, (n, K + 1) at the contract's edges; nan where the model does not apply to a patient.
        trained_on: by model, how many patients it saw (the fewest over the folds).
        losses: validation loss by round of the federated and of the pooled training, first fold and seed.
    """

    member: Flags
    survival: Mapping[str, Floats]
    trained_on: Mapping[str, int]
    losses: Mapping[str, tuple[float, ...]]


class Trainer:
    """Trains what a design asks for, all seeds, and counts for the progress."""

    def __init__(self, cohort: Cohort, config: EvaluationConfig, progress: Progress, fits: int) -> None:
        self.cohort, self.config = cohort, config
        volume = cohort.tmtv()
        self.with_tmtv = cohort.with_tmtv(volume) if volume is not None else None
        self._progress, self._fits, self._done = progress, fits, 0

    def baselines(self) -> tuple[str, ...]:
        """Which of the clinical baselines apply."""
        names = [] if self.config.model.network == "clinical" else [CLINICAL]
        return (*names, TMTV_CLINICAL) if self.with_tmtv is not None else tuple(names)

    def model(self, centres: Sequence[Patients], *, quantised: bool = False) -> list[Fitted]:
        """The network under evaluation."""
        return self._fit(self.config.model, self.cohort, centres, quantised=quantised)

    def baseline(self, name: str, member: Flags) -> tuple[Cohort, list[Fitted]]:
        """A clinical baseline, trained by the federation of some of the patients; with the cohort it reads."""
        cohort = self.with_tmtv if name == TMTV_CLINICAL and self.with_tmtv is not None else self.cohort
        return cohort, self._fit(self.config.clinical, cohort, list(cohort.by_site(member).values()))

    def _fit(
        self, training: Training, cohort: Cohort, centres: Sequence[Patients], *, quantised: bool = False
    ) -> list[Fitted]:
        fitted = []
        for seed in self.config.seeds:
            self._progress(
                self._done / self._fits, Message("Training {done} of {fits}", done=self._done + 1, fits=self._fits)
            )
            task = training.task(cohort.contract, seed)
            fitted.append(fit(task, centres, local_epochs=training.local_epochs, quantised=quantised))
            self._done += 1
        return fitted


def count_fits(cohort: Cohort, config: EvaluationConfig) -> int:
    """How many trainings the designs take, all seeds."""
    trainer = Trainer(cohort, config, lambda *_: None, 1)
    folds, baselines, centres = len(config.unseen or cohort.sites), len(trainer.baselines()), len(cohort.sites)
    each = {
        "within_centre": 2 + config.quantised + centres + baselines,
        "leave_one_centre_out": centres + folds * (2 + baselines),
    }
    return len(config.seeds) * sum(each[design] for design in config.designs)


def within_centre(trainer: Trainer) -> Answers:
    """Hold out a part of each centre's patients."""
    cohort = trainer.cohort
    held_out = holdout(cohort, trainer.config.holdout_fraction)
    training = ~held_out
    sites = cohort.by_site(training)
    everybody = cohort.patients("pooled", training)
    models = {FEDERATED: trainer.model(list(sites.values())), POOLED: trainer.model([everybody])}
    if trainer.config.quantised:
        models[QUANTISED] = trainer.model(list(sites.values()), quantised=True)
    answer = partial(_answer, cohort, held_out)
    survival = {name: answer(fitted) for name, fitted in models.items()}
    sizes = dict.fromkeys(models, int(training.sum()))
    for name, patients in sites.items():
        survival[SINGLE + name] = answer(trainer.model([patients]))
        sizes[SINGLE + name] = len(patients.case_ids)
    survival[AVERAGE] = _average(survival)
    for name in trainer.baselines():
        reads, fitted = trainer.baseline(name, training)
        survival[name] = _answer(reads, held_out, fitted)
        sizes[name] = int(training.sum())
    return Answers(held_out, survival, sizes, _losses(models))


def leave_one_centre_out(trainer: Trainer) -> Answers:
    """Every centre in turn is unseen; the models of single centres predict all centres but their own."""
    cohort = trainer.cohort
    unseen = trainer.config.unseen or cohort.sites
    member = np.isin(cohort.site, unseen)
    survival: dict[str, Floats] = {}
    sizes: dict[str, int] = {}
    losses: Mapping[str, tuple[float, ...]] = {}
    for name, patients in cohort.by_site(np.ones(len(member), bool)).items():
        fitted = trainer.model([patients])
        survival[SINGLE + name] = _answer(cohort, member & (cohort.site != name), fitted)
        sizes[SINGLE + name] = len(patients.case_ids)
    survival[AVERAGE] = _average(survival)
    for name in unseen:
        test = cohort.site == name
        sites = cohort.by_site(~test)
        models = {
            FEDERATED: trainer.model(list(sites.values())),
            POOLED: trainer.model([cohort.patients("pooled", ~test)]),
        }
        losses = losses or _losses(models)
        said = {model: _answer(cohort, test, fitted) for model, fitted in models.items()}
        for baseline in trainer.baselines():
            reads, fitted = trainer.baseline(baseline, ~test)
            said[baseline] = _answer(reads, test, fitted)
        for model, values in said.items():
            survival[model] = np.where(test[:, None], values, survival.get(model, np.nan))
            sizes[model] = min(int((~test).sum()), sizes.get(model, len(test)))
    return Answers(member, survival, sizes, losses)


def holdout(cohort: Cohort, fraction: float) -> Flags:
    """(n,) who is held out: in each centre the patients whose pseudonyms have the smallest hash."""
    held_out = np.zeros(len(cohort.cases), bool)
    for name in cohort.sites:
        member = np.flatnonzero(cohort.site == name)
        chosen = split(tuple(cohort.case_ids[i] for i in member), fraction)[1]
        held_out[member[list(chosen)]] = True
    return held_out


def _answer(cohort: Cohort, member: Flags, fitted: Sequence[Fitted]) -> Floats:
    """(n, K + 1) survival of the patients, averaged over the seeds; nan for the others."""
    answers = np.full((len(member), len(cohort.contract.month_edges)), np.nan)
    cases = [cohort.cases[i] for i in np.flatnonzero(member)]
    if cases:
        answers[member] = np.mean([one.survival(cases) for one in fitted], axis=0)
    return answers


def _average(survival: Mapping[str, Floats]) -> Floats:
    """Mean over the single centres' models that apply to a patient."""
    singles = np.stack([values for name, values in survival.items() if name.startswith(SINGLE)])
    known = np.isfinite(singles)
    total, count = np.where(known, singles, 0.0).sum(0), known.sum(0)
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), float)


def _losses(models: Mapping[str, Sequence[Fitted]]) -> dict[str, tuple[float, ...]]:
    return {name: models[name][0].losses for name in (FEDERATED, POOLED)}
