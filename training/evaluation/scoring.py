"""Scores of a design: metrics with intervals, by centre and subgroup, differences, goals and alarms."""

from __future__ import annotations

from dataclasses import asdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpet.clinical.scores import SCORES
from inference.calibration import ENDPOINT_MONTHS
from training.bundle.calibration import INTERVAL_LEVEL
from training.bundle.conformal import coverage_by_centre
from training.data.node_data import SCORE_PREFIX
from training.evaluation.designs import (
    AVERAGE,
    AVERAGED,
    CLINICAL,
    FEDERATED,
    MEASURED_TMTV,
    POOLED,
    PRIVATE,
    QUANTISED,
    SINGLE,
    TMTV_CLINICAL,
)
from training.metrics import (
    Estimate,
    Sample,
    auc,
    calibration_curve,
    delong,
    expected_auc,
    harrell,
    integrated_brier,
    net_benefit,
    recalibration,
    uno,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from inference.input_contract import ClinicalTerm
    from training.evaluation.cohort import PooledCohort
    from training.evaluation.config import EvaluationConfig
    from training.evaluation.designs import DesignPredictions

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]

BAYES = "bayes"
WORST_SLOPE, WORST_UNSEEN_SLOPE = "calibration_slope_by_centre", "calibration_slope_by_unseen_centre"
TRUTH_MONTHS = 12.0  # the horizon of the true probability in node data
THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)
_GROUPS = 5  # of the calibration curve
_BRIER_SHARE = 0.9  # the Brier score is integrated up to this quantile of the follow-up, or the last edge
# smallest and largest value that meets a goal; 0 itself does not; a goal without either is reported only
GOAL_LIMITS: Mapping[str, tuple[float | None, float | None]] = MappingProxyType(
    {
        f"federated_minus_{POOLED}": (-0.01, None),
        f"federated_minus_{AVERAGE}": (0.0, None),
        f"federated_minus_{CLINICAL}": (0.02, None),
        f"federated_minus_{TMTV_CLINICAL}": (0.02, None),
        f"federated_minus_{BAYES}": (-0.03, None),
        "federated_minus_best_single": (0.0, None),
        "cost_of_quantisation": (None, 0.005),
        f"federated_minus_{AVERAGED}": (None, None),
        f"federated_minus_{PRIVATE}": (None, None),
        "calibration_slope": (0.9, 1.1),
        WORST_SLOPE: (0.9, 1.1),
        WORST_UNSEEN_SLOPE: (0.85, 1.15),
    }
)
_FLATTEST = 0.01  # slope that is as far from 1 as any can be: it may be negative
_LEAST = 5  # events before the horizon, and patients free of them, in a subgroup


class Scores:
    """Metrics of one design on one bootstrap, so that models are compared draw by draw.

    Attributes:
        sample: the evaluated patients, m in all.
        survival: by model, (m, K + 1); the truth is not among them.
        kind: the AUC on which the goals are judged; the expected one where the truth is known.
        truth: (m,) or None where it is not known for all of them, or for another horizon.
    """

    def __init__(
        self, cohort: PooledCohort, answers: DesignPredictions, config: EvaluationConfig, *, grouped: bool = False
    ) -> None:
        member = answers.member
        self.cohort, self.member, self.config = cohort, member, config
        self.edges = np.array(cohort.contract.month_edges)
        self.at = int(np.flatnonzero(self.edges == config.horizon_months)[0])
        self.survival = {name: values[member] for name, values in answers.survival.items()}
        truth = cohort.truth[member]
        self.truth = truth if np.isfinite(truth).all() and config.horizon_months == TRUTH_MONTHS else None
        self.kind = "auc" if self.truth is None else "expected_auc"
        self.sample = Sample.of(
            cohort.months[member],
            cohort.event[member],
            draws=config.bootstrap,
            strata=cohort.site[member].tolist(),
            grouped=grouped,
        )

    def probability(self, model: str) -> Floats:
        """(m,) predicted P(free of the event at the horizon)."""
        return self.truth if model == BAYES and self.truth is not None else self.survival[model][:, self.at]

    def models(self) -> tuple[str, ...]:
        """All models, the truth as the last one where it is known."""
        return (*self.survival, *([BAYES] if self.truth is not None else []))

    def ranking(self, risk: Floats, member: Flags) -> Floats:
        """(D + 1,) the AUC of `kind` for some of the patients."""
        sample = self.sample.part(member)
        if self.truth is None:
            return auc(sample, risk[member], self.config.horizon_months)
        return expected_auc(sample, risk[member], self.truth[member])

    def metrics(self, model: str, group: Flags | None = None) -> dict[str, Any]:
        """All metrics of a model, over the patients that it applies to (of a subgroup)."""
        probability = self.probability(model)
        member = np.isfinite(probability) if group is None else np.isfinite(probability) & group
        sample, horizon = self.sample.part(member), self.config.horizon_months
        counted = {"patients": int(member.sum()), "events": int(sample.event.sum())}
        early = int((sample.event & (sample.months < horizon)).sum())
        if min(early, int((sample.months >= horizon).sum())) < _LEAST:
            return counted | {"too_few": True}
        predicted = probability[member]
        drawn = {
            "auc": auc(sample, 1 - predicted, horizon),
            "c_index": harrell(sample, 1 - predicted),
            "uno_c": uno(sample, 1 - predicted, horizon),
            **_calibration(sample, predicted, horizon, None),
        }
        if self.truth is not None:
            truth = self.truth[member]
            drawn["expected_auc"] = expected_auc(sample, 1 - predicted, truth)
            drawn |= {
                f"expected_{name}": draws for name, draws in _calibration(sample, predicted, horizon, truth).items()
            }
        if model != BAYES:
            times, survival = self._curve(sample, self.survival[model][member])
            drawn["integrated_brier"] = integrated_brier(sample, survival, times)
        return counted | {name: asdict(Estimate.of(draws)) for name, draws in drawn.items()}

    def _curve(self, sample: Sample, survival: Floats) -> tuple[Floats, Floats]:
        """Monthly times and survival at them; the hazard is constant between the edges."""
        last = min(float(np.quantile(sample.months, _BRIER_SHARE)), float(self.edges[-1]))
        times = np.arange(1.0, max(last, 2.0) + 1e-9)
        logs = np.log(np.clip(survival, 1e-9, 1.0))
        return times, np.exp(np.stack([np.interp(times, self.edges, row) for row in logs]))

    def reference_brier(self) -> dict[str, float]:
        """Integrated Brier score of the Kaplan-Meier curve, the same for every patient."""
        times, _ = self._curve(self.sample, np.ones((len(self.sample.months), len(self.edges))))
        curve = self.sample.kaplan_meier(times)[0]
        flat = np.broadcast_to(curve, (len(self.sample.months), len(times)))
        return asdict(Estimate.of(integrated_brier(self.sample, flat, times)))

    def curves(self, model: str) -> dict[str, Any]:
        """Calibration and decision curve of a model that applies to all patients."""
        probability, horizon = self.probability(model), self.config.horizon_months
        groups = calibration_curve(self.sample, probability, horizon, groups=_GROUPS)
        return {
            "calibration": [{"predicted": predicted, **asdict(Estimate.of(seen))} for predicted, seen in groups],
            "decision": self._decision(probability),
        }

    def _decision(self, probability: Floats) -> list[dict[str, float]]:
        drawn = net_benefit(self.sample, probability, self.config.horizon_months, THRESHOLDS)
        return [
            {"threshold": float(threshold), **asdict(Estimate.of(drawn[:, at]))}
            for at, threshold in enumerate(THRESHOLDS)
        ]

    def decision_of_all(self) -> list[dict[str, float]]:
        """Net benefit of acting on every patient."""
        return self._decision(np.zeros(len(self.sample.months)))

    def difference(self, first: str, second: str) -> dict[str, float]:
        """AUC of a model less that of another, on the patients that both apply to."""
        member = np.isfinite(self.probability(first)) & np.isfinite(self.probability(second))
        drawn = [self.ranking(1 - self.probability(name), member) for name in (first, second)]
        return asdict(Estimate.of(drawn[0] - drawn[1]))

    def differences(self) -> dict[str, Any]:
        """The federated model against every other one."""
        return {name: self.difference(FEDERATED, name) for name in self.models() if name != FEDERATED}

    def delong(self) -> dict[str, Any]:
        """DeLong's test of the federated model against every other, on patients whose outcome is known (observed AUC).

        Empty where patients are ranked within their centres only: the test knows of no strata.
        """
        if self.sample.group is not None:
            return {}
        others = [name for name in self.models() if name != FEDERATED]
        return {name: self._delong(1 - self.probability(name)) for name in others}

    def _delong(self, risk: Floats) -> dict[str, Any] | None:
        """The federated model against a risk (m,); nan where it is not known."""
        federated = 1 - self.probability(FEDERATED)
        early = self.sample.event & (self.sample.months < self.config.horizon_months)
        known = early | (self.sample.months >= self.config.horizon_months)
        known &= np.isfinite(risk) & np.isfinite(federated)
        found = delong(early[known], federated[known], risk[known])
        return None if found is None else asdict(found)

    def by_centre(self, model: str) -> dict[str, Any]:
        """Metrics of a model, centre by centre."""
        site = self.cohort.site[self.member]
        return {name: self.metrics(model, site == name) for name in self.cohort.sites if (site == name).any()}

    def by_subgroup(self, model: str) -> dict[str, Any]:
        """Metrics of a model in every subgroup of `subgroups`."""
        return {
            name: {level: self.metrics(model, group[self.member]) for level, group in levels.items()}
            for name, levels in subgroups(self.cohort).items()
        }

    def references(self) -> dict[str, Any]:
        """Published scores and the columns of the configuration as risk scores, each beside the federated model."""
        published = {
            f"{SCORE_PREFIX}{name}": "worse" if score.worse == "higher" else "better" for name, score in SCORES.items()
        }
        ranking = {name: way for name, way in published.items() if name in self.cohort.columns}
        ranking |= self.config.references
        return {column: self._reference(column, direction) for column, direction in ranking.items()}

    def _reference(self, column: str, direction: str) -> dict[str, Any]:
        """A column beside the federated model on the same patients (observed AUC)."""
        values = self.cohort.columns[column][self.member]
        risk = values if direction == "worse" else -values
        member = np.isfinite(values) & np.isfinite(self.probability(FEDERATED))
        sample, horizon = self.sample.part(member), self.config.horizon_months
        counted = {"patients": int(member.sum())}
        early = int((sample.event & (sample.months < horizon)).sum())
        if min(early, int((sample.months >= horizon).sum())) < _LEAST:
            return counted | {"too_few": True}
        alone = auc(sample, risk[member], horizon)
        model = auc(sample, 1 - self.probability(FEDERATED)[member], horizon)
        return {
            **counted,
            "alone": asdict(Estimate.of(alone)),
            "model": asdict(Estimate.of(model)),
            "difference": asdict(Estimate.of(model - alone)),
            "delong": None if sample.group is not None else self._delong(risk),
        }

    def conformal_sets(self, thresholds: Floats) -> dict[str, Any]:
        """Coverage of the federated sets, overall and by centre; `thresholds` (n, E, 2) as in `DesignPredictions`."""
        survival, limits = self.survival[FEDERATED], thresholds[self.member]
        answers = {
            name: (survival[:, np.flatnonzero(self.edges == months)[0]], limits[:, e])
            for e, (name, months) in enumerate(ENDPOINT_MONTHS.items())
        }
        endpoints = coverage_by_centre(self.cohort.site[self.member], self.sample.months, self.sample.event, answers)
        return {"level": INTERVAL_LEVEL, "endpoints": endpoints}


def _calibration(sample: Sample, predicted: Floats, horizon: float, truth: Floats | None) -> dict[str, Floats]:
    found = recalibration(sample, predicted, horizon, truth)
    return {"slope": found.slope, "intercept": found.intercept, "shift": found.shift}


def subgroups(cohort: PooledCohort) -> dict[str, dict[str, Flags]]:
    """Patients by level of sex, age, histology, PD-L1, line and scanner vendor, as far as the contract has them.

    Returns:
        By group and level, a flag (n,) for each patient; empty levels are left out.
    """
    terms = {term.name: (at, term) for at, term in enumerate(cohort.contract.terms)}
    inputs = cohort.contract.inputs

    def decoded(name: str) -> Floats:
        """The values, nan where missing; a missing value is encoded as 0, and so is the contract's mean."""
        at, term = terms[name]
        column = cohort.clinical[:, at]
        missing = cohort.clinical[:, inputs.index(f"missing:{name}")] > 0.5 if term.flag else column == 0
        return np.where(missing, np.nan, column * term.sd + term.mean)

    def flag(name: str, yes: str, no: str) -> dict[str, Flags]:
        value = decoded(name)
        return {yes: value > 0.5, no: value <= 0.5, "missing": np.isnan(value)}

    found: dict[str, dict[str, Flags]] = {}
    if "male" in terms:
        found["sex"] = flag("male", "male", "female")
    if "age" in terms:
        found["age"] = _by_age(decoded("age"), terms["age"][1])
    if "squamous" in terms:
        found["histology"] = flag("squamous", "squamous", "not squamous")
    if {"pdl1_1", "pdl1_50"} <= set(terms):
        some, high = decoded("pdl1_1") > 0.5, decoded("pdl1_50") > 0.5
        known = np.isfinite(decoded("pdl1_1"))
        found["pdl1"] = {"< 1 %": known & ~some, "1-49 %": some & ~high, ">= 50 %": high, "missing": ~known}
    if "line_2" in terms:
        found["line"] = flag("line_2", "second or later", "first")
    if (cohort.vendor != "").any():
        found["vendor"] = {str(name): cohort.vendor == name for name in np.unique(cohort.vendor) if name}
    return {name: {level: group for level, group in levels.items() if group.any()} for name, levels in found.items()}


def _by_age(years: Floats, term: ClinicalTerm) -> dict[str, Flags]:
    """Without a flag in the contract, a missing age is encoded like the mean age: both form one group."""
    unknown = "missing" if term.flag else f"{term.mean:g} or missing"
    return {"< 65": years < 65, ">= 65": years >= 65, unknown: np.isnan(years)}


def score(
    cohort: PooledCohort, answers: DesignPredictions, config: EvaluationConfig, *, grouped: bool
) -> dict[str, Any]:
    """All scores of one design, as plain data.

    Args:
        cohort: all patients.
        answers: predictions of the design.
        config: of the evaluation.
        grouped: rank patients only against those of their own centre.
    """
    scores = Scores(cohort, answers, config, grouped=grouped)
    described = (FEDERATED, POOLED, CLINICAL, TMTV_CLINICAL, MEASURED_TMTV)
    detailed = [name for name in described if name in answers.survival]
    return {
        "patients": int(answers.member.sum()),
        "events": int(scores.sample.event.sum()),
        "judged_on": scores.kind,
        "ranked_within_centres": grouped,
        "trained_on": dict(answers.trained_on),
        "epsilon": dict(answers.epsilon),
        "optional_terms": list(answers.optional),
        "validation_losses": {name: list(losses) for name, losses in answers.losses.items()},
        "models": {name: scores.metrics(name) for name in scores.models()},
        "integrated_brier_without_covariates": scores.reference_brier(),
        "federated_minus": scores.differences(),
        "delong": scores.delong(),
        "curves": {name: scores.curves(name) for name in detailed},
        "decision_of_all": scores.decision_of_all(),
        "by_centre": {name: scores.by_centre(name) for name in detailed},
        "by_subgroup": {name: scores.by_subgroup(name) for name in detailed},
        "references": scores.references(),
        "conformal_sets": scores.conformal_sets(answers.thresholds),
    }


def goals(designs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The goals of `GOAL_LIMITS`, each with value, interval and whether the value meets its limits.

    Args:
        designs: by name, what `score` gave.

    Returns:
        Plain data; `met` is None where the comparison was not run, or where the goal has no limit.
    """
    found = []
    for design, scored in designs.items():
        against = scored["federated_minus"]
        models = (POOLED, AVERAGE, CLINICAL, TMTV_CLINICAL, BAYES)
        found += [_goal(design, f"federated_minus_{model}", against.get(model)) for model in models]
        singles = {name: one for name, one in against.items() if name.startswith(SINGLE) and _known(one)}
        if design == "leave_one_centre_out" and singles:
            best = min(singles, key=lambda name: float(singles[name]["value"]))
            found.append(_goal(design, "federated_minus_best_single", singles[best]) | {"against": best})
        if design == "within_centre":
            found.append(_goal(design, "cost_of_quantisation", against.get(QUANTISED)))
            others = (AVERAGED, PRIVATE)
            found += [_goal(design, f"federated_minus_{other}", against.get(other)) for other in others]
        slope = "slope" if scored["judged_on"] == "auc" else "expected_slope"
        found.append(_goal(design, "calibration_slope", scored["models"][FEDERATED].get(slope)))
        found += _slope_by_centre(design, scored, slope)
    return found


def _slope_by_centre(design: str, scored: Mapping[str, Any], slope: str) -> list[dict[str, Any]]:
    """The centre whose calibration slope is the farthest from 1, by factor; none where no centre is large enough."""
    centres = scored["by_centre"][FEDERATED].items()
    slopes = {centre: one[slope] for centre, one in centres if slope in one and _known(one[slope])}
    if not slopes:
        return []
    worst = max(slopes, key=lambda centre: abs(np.log(max(slopes[centre]["value"], _FLATTEST))))
    name = WORST_UNSEEN_SLOPE if design == "leave_one_centre_out" else WORST_SLOPE
    return [_goal(design, name, slopes[worst]) | {"against": worst}]


def _goal(design: str, name: str, estimate: Mapping[str, float] | None) -> dict[str, Any]:
    least, most = GOAL_LIMITS[name]
    goal = {"design": design, "goal": name, "least": least, "most": most}
    if estimate is None or not _known(estimate):
        return {**goal, "value": None, "lower": None, "upper": None, "met": None}
    if least is None and most is None:
        return {**goal, **estimate, "met": None}
    value = estimate["value"]
    met = (least is None or value > least or (least != 0 and value == least)) and (most is None or value <= most)
    return {**goal, **estimate, "met": bool(met)}


def _known(estimate: Mapping[str, float | None]) -> bool:
    """False for a model that applies to nobody: nan, or None where it comes from report.json."""
    value = estimate["value"]
    return value is not None and bool(np.isfinite(value))


def alarms(designs: Mapping[str, Any], plausible_auc: float) -> list[dict[str, Any]]:
    """Models that perform better than is plausible, on the observed outcomes.

    Args:
        designs: by name, what `score` gave.
        plausible_auc: bound where the truth is not known; where it is, the bound is the upper end of the interval of
            the AUC that the true probabilities reach.
    """
    found = []
    for design, scored in designs.items():
        ceiling = scored["models"].get(BAYES, {}).get("auc")
        bound = ceiling["upper"] if ceiling else plausible_auc
        for name, one in scored["models"].items():
            if name != BAYES and "auc" in one and one["auc"]["value"] > bound:
                found.append({"design": design, "model": name, "auc": one["auc"]["value"], "bound": bound})
    return found
