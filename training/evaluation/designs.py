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

from fedpet.core.messages import Message
from inference.calibration import ENDPOINT_MONTHS
from training.data.node_data import split
from training.evaluation import combat, optional_terms
from training.evaluation.in_process_newton import train_in_process
from training.task.initial_parameters import read_initial
from training.task.privacy import epsilon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.core.progress import Progress
    from training.data.node_data import Patients
    from training.evaluation.cohort import PooledCohort
    from training.evaluation.config import EvaluationConfig, TrainingSection
    from training.evaluation.in_process_fedavg import Fitted

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

FEDERATED, POOLED, AVERAGE, QUANTISED = "federated", "pooled", "average", "quantised"
AVERAGED = "averaged"  # another federation of the same inputs, as FedAvg of a model that is fitted exactly
PRIVATE = "private"  # a federation with local differential privacy
CLINICAL, TMTV_CLINICAL = "clinical", "tmtv_clinical"
OPTIONAL = "optional_terms"  # the model with the optional terms that cross-validation wants
MEASURED_TMTV = "measured_tmtv_clinical"  # TMTV of the lesion table, where TMTV_CLINICAL may be told the true one
QUANTITIES, HARMONISED = "quantities_clinical", "harmonised_clinical"
SINGLE = "single:"  # followed by the centre's name


@dataclass(frozen=True, eq=False)
class DesignPredictions:
    """The predictions of a design's models.

    Attributes:
        member: (n,) which patients of the cohort were predicted.
        survival: by model, (n, K + 1) at the contract's edges; nan where the model does not apply to a patient.
        trained_on: by model, how many patients it saw (the fewest over the folds).
        losses: validation loss by round of the federated and of the pooled training, first fold and seed.
        thresholds: (n, E, 2) limits of the federated model's conformal sets, in the order of `ENDPOINT_MONTHS`; the
            mean over the seeds, nan where there is none.
        epsilon: of the private federation by centre, all seeds together; empty where there is none.
        optional: held-out losses by list of optional terms, and the terms chosen, of each fit; empty where none was
            asked for.
    """

    member: Flags
    survival: Mapping[str, Floats]
    trained_on: Mapping[str, int]
    losses: Mapping[str, tuple[float, ...]]
    thresholds: Floats
    epsilon: Mapping[str, float]
    optional: tuple[Mapping[str, object], ...] = ()


class Trainer:
    """Trains the models of a design with all seeds, and reports the progress.

    Attributes:
        reads: the clinical baselines that apply, each with the cohort that it reads.
        chosen: what cross-validation said of the optional terms, fit by fit; `take_chosen` empties it.

    Raises:
        NodeDataError: the quantities cannot be harmonised.
    """

    def __init__(self, cohort: PooledCohort, config: EvaluationConfig, progress: Progress, fits: int) -> None:
        self.cohort, self.config = cohort.read_by(config.model.network), config
        plain = cohort.read_by(config.clinical.network)
        self.reads: dict[str, PooledCohort] = {} if config.model.network == "clinical" else {CLINICAL: plain}
        volume = cohort.tmtv()
        if volume is not None:
            self.reads[TMTV_CLINICAL] = plain.with_tmtv(volume)
        if "measured" in config.quantities:
            self.reads[QUANTITIES] = plain.with_quantities(cohort.quantities)
        if "harmonised" in config.quantities:
            self.reads[HARMONISED] = plain.with_quantities(harmonised(cohort, config.holdout_fraction))
        self._networks = {MEASURED_TMTV: "tmtv_clinical"}  # of baselines that read the lesion table
        if any(term.name == "tmtv_ml" for term in cohort.contract.quantities):
            self.reads[MEASURED_TMTV] = plain
        if config.optional_terms:
            self.reads[OPTIONAL] = self.cohort
        self.chosen: list[Mapping[str, object]] = []
        self._progress, self._fits, self._done = progress, fits, 0

    def take_chosen(self) -> tuple[Mapping[str, object], ...]:
        """What `chosen` holds, once."""
        taken, self.chosen = tuple(self.chosen), []
        return taken

    def baselines(self, *, unseen: bool = False) -> tuple[str, ...]:
        """The clinical baselines that apply; `unseen`: to a centre that was not in the training."""
        return tuple(name for name in self.reads if not (unseen and name == HARMONISED))

    def model(self, centres: Sequence[Patients], *, quantised: bool = False) -> list[Fitted]:
        """The network under evaluation."""
        return self._fit(self.config.model, self.cohort, centres, quantised=quantised)

    def averaged(self, centres: Sequence[Patients]) -> list[Fitted]:
        """The other federation of the same inputs; empty where it is not configured."""
        training = self.config.averaged
        return [] if training is None else self._fit(training, self.cohort, centres)

    def private(self, centres: Sequence[Patients]) -> list[Fitted]:
        """The federation with differential privacy; empty where it is not configured."""
        training = self.config.private
        return [] if training is None else self._fit(training, self.cohort, centres)

    def epsilon(self, centres: Mapping[str, Patients]) -> dict[str, float]:
        """Epsilon of the private federation for each centre's training patients."""
        training = self.config.private
        if training is None:
            return {}
        epochs = training.rounds * training.local_epochs * len(self.config.seeds)
        task = training.task(self.cohort.contract, 0)
        return {
            name: epsilon(
                patients=len(split(patients.case_ids, task.validation_fraction)[0]),
                batch_size=training.batch_size,
                epochs=epochs,
                noise=training.noise,
                delta=training.delta,
            )
            for name, patients in centres.items()
        }

    def baseline(self, name: str, member: Flags) -> tuple[PooledCohort, list[Fitted]]:
        """A clinical baseline, trained by the federation on some of the patients, and the cohort that it reads."""
        if name == OPTIONAL:
            return self._optional(member)
        cohort, training = self.reads[name], self.config.clinical
        training = training.model_copy(update={"network": self._networks.get(name, training.network)})
        return cohort, self._fit(training, cohort, list(cohort.by_site(member).values()))

    def _optional(self, member: Flags) -> tuple[PooledCohort, list[Fitted]]:
        """The model with the terms that cross-validation wants; an exact fit is the same with every seed."""
        found = optional_terms.choose(
            self.cohort, member, lambda contract: self.config.model.task(contract, self.config.seeds[0])
        )
        self.chosen.append({"chosen": list(found.terms), "held_out": dict(found.held_out)})
        self._done += len(self.config.seeds)
        return found.cohort, [found.fitted]

    def _fit(
        self, training: TrainingSection, cohort: PooledCohort, centres: Sequence[Patients], *, quantised: bool = False
    ) -> list[Fitted]:
        fitted = []
        for seed in self.config.seeds:
            self._progress(
                self._done / self._fits, Message("Training {done} of {fits}", done=self._done + 1, fits=self._fits)
            )
            task = training.task(cohort.contract, seed)
            initial = read_initial(training.initial, task).parameters if training.initial else None
            epochs = training.local_epochs
            fitted.append(train_in_process(task, centres, local_epochs=epochs, quantised=quantised, initial=initial))
            self._done += 1
        return fitted


def count_fits(cohort: PooledCohort, config: EvaluationConfig) -> int:
    """Number of trainings of the designs, with all seeds."""
    trainer = Trainer(cohort, config, lambda *_: None, 1)
    folds, centres = len(config.unseen or cohort.sites), len(cohort.sites)
    others = sum([config.quantised, config.averaged is not None, config.private is not None])
    each = {
        "within_centre": 2 + others + centres + len(trainer.baselines()),
        "leave_one_centre_out": centres + folds * (2 + len(trainer.baselines(unseen=True))),
    }
    return len(config.seeds) * sum(each[design] for design in config.designs)


def within_centre(trainer: Trainer) -> DesignPredictions:
    """Train on a part of each centre's patients and predict the others."""
    cohort = trainer.cohort
    held_out = holdout(cohort, trainer.config.holdout_fraction)
    training = ~held_out
    sites = cohort.by_site(training)
    everybody = cohort.patients("pooled", training)
    models = {FEDERATED: trainer.model(list(sites.values())), POOLED: trainer.model([everybody])}
    if trainer.config.quantised:
        models[QUANTISED] = trainer.model(list(sites.values()), quantised=True)
    if averaged := trainer.averaged(list(sites.values())):
        models[AVERAGED] = averaged
    if private := trainer.private(list(sites.values())):
        models[PRIVATE] = private
    answer = partial(_predict, cohort, held_out)
    survival = {name: answer(fitted) for name, fitted in models.items()}
    sizes = dict.fromkeys(models, int(training.sum()))
    for name, patients in sites.items():
        survival[SINGLE + name] = answer(trainer.model([patients]))
        sizes[SINGLE + name] = len(patients.case_ids)
    survival[AVERAGE] = _average(survival)
    for name in trainer.baselines():
        reads, fitted = trainer.baseline(name, training)
        survival[name] = _predict(reads, held_out, fitted)
        sizes[name] = int(training.sum())
    thresholds = _thresholds(held_out, models[FEDERATED])
    epsilons, chosen = trainer.epsilon(sites), trainer.take_chosen()
    return DesignPredictions(held_out, survival, sizes, _losses(models), thresholds, epsilons, chosen)


def leave_one_centre_out(trainer: Trainer) -> DesignPredictions:
    """Leave each centre out in turn; the models of single centres predict all centres but their own."""
    cohort = trainer.cohort
    unseen = trainer.config.unseen or cohort.sites
    member = np.isin(cohort.site, unseen)
    survival: dict[str, Floats] = {}
    sizes: dict[str, int] = {}
    losses: Mapping[str, tuple[float, ...]] = {}
    thresholds = np.full((len(member), len(ENDPOINT_MONTHS), 2), np.nan)
    for name, patients in cohort.by_site(np.ones(len(member), bool)).items():
        fitted = trainer.model([patients])
        survival[SINGLE + name] = _predict(cohort, member & (cohort.site != name), fitted)
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
        thresholds = np.where(test[:, None, None], _thresholds(test, models[FEDERATED]), thresholds)
        predictions = {model: _predict(cohort, test, fitted) for model, fitted in models.items()}
        for baseline in trainer.baselines(unseen=True):
            reads, fitted = trainer.baseline(baseline, ~test)
            predictions[baseline] = _predict(reads, test, fitted)
        for model, values in predictions.items():
            survival[model] = np.where(test[:, None], values, survival.get(model, np.nan))
            sizes[model] = min(int((~test).sum()), sizes.get(model, len(test)))
    if HARMONISED in trainer.baselines():
        survival[HARMONISED] = np.full_like(survival[FEDERATED], np.nan)  # no shift and scale of an unseen centre
    return DesignPredictions(member, survival, sizes, losses, thresholds, {}, trainer.take_chosen())


def holdout(cohort: PooledCohort, fraction: float) -> Flags:
    """(n,) flags of the patients held out: in each centre those whose pseudonyms have the smallest hash."""
    held_out = np.zeros(len(cohort.cases), bool)
    for name in cohort.sites:
        member = np.flatnonzero(cohort.site == name)
        chosen = split(tuple(cohort.case_ids[i] for i in member), fraction)[1]
        held_out[member[list(chosen)]] = True
    return held_out


def harmonised(cohort: PooledCohort, holdout_fraction: float) -> dict[str, Floats]:
    """(n,) quantities by name after ComBat fitted on the training patients of the within-centre design.

    The patients held out are harmonised by the shift and scale of their centre; the encoded record is preserved.
    """
    held_out = holdout(cohort, holdout_fraction)
    values = np.stack(list(cohort.quantities.values()), 1)
    shared, shifts = combat.fit(
        {
            name: combat.QuantityTable(values[member], cohort.clinical[member])
            for name in cohort.sites
            for member in [(cohort.site == name) & ~held_out]
        }
    )
    clean = np.empty_like(values)
    for name, shift in shifts.items():
        member = cohort.site == name
        clean[member] = combat.harmonise(combat.QuantityTable(values[member], cohort.clinical[member]), shared, shift)
    return dict(zip(cohort.quantities, clean.T, strict=True))


def _predict(cohort: PooledCohort, member: Flags, fitted: Sequence[Fitted]) -> Floats:
    """(n, K + 1) survival of the patients, averaged over the seeds; nan for the others."""
    answers = np.full((len(member), len(cohort.contract.month_edges)), np.nan)
    cases = [cohort.cases[i] for i in np.flatnonzero(member)]
    if cases:
        answers[member] = np.mean([one.survival(cases) for one in fitted], axis=0)
    return answers


def _thresholds(member: Flags, fitted: Sequence[Fitted]) -> Floats:
    """(n, E, 2) limits for the patients, of an unknown centre; nan for the others, and where a seed has none."""
    known = [one.calibration.thresholds if one.calibration else {} for one in fitted]
    none = (np.nan, np.nan)
    mean = np.mean([[one.get(name, none) for name in ENDPOINT_MONTHS] for one in known], axis=0)
    return np.where(member[:, None, None], mean, np.nan)


def _average(survival: Mapping[str, Floats]) -> Floats:
    """Mean over the single centres' models that apply to a patient."""
    singles = np.stack([values for name, values in survival.items() if name.startswith(SINGLE)])
    known = np.isfinite(singles)
    total, count = np.where(known, singles, 0.0).sum(0), known.sum(0)
    return np.asarray(np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0), float)


def _losses(models: Mapping[str, Sequence[Fitted]]) -> dict[str, tuple[float, ...]]:
    return {name: models[name][0].losses for name in (FEDERATED, POOLED)}
