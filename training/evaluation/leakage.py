"""Audit for leaks of the outcome: checks of the data, and training on permuted outcomes."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from fedpet.core.messages import Message
from training.evaluation.designs import holdout
from training.evaluation.in_process_newton import train_in_process
from training.metrics import Estimate, Sample, auc, harrell, untied_concordance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from fedpet.core.progress import Progress
    from training.evaluation.cohort import PooledCohort
    from training.evaluation.config import EvaluationConfig

    Floats = NDArray[np.float64]

_DATED = re.compile(r"(^|_)(date|day|birth|naissance|time)(_|$)|^dt_", re.IGNORECASE)
_BLOCKS = 6  # of a fingerprint along each axis
_SAME_PIXELS = 0.999  # correlation of two fingerprints above which two images are considered the same
_TELLING = 0.95  # C-index of one input, in either direction, above which it must contain the outcome
_UNTIED, _UNTIED_LOWER = 0.85, 0.70  # its concordance over untied pairs and the lower end of the interval, likewise
_DRAWS = 200


def audit(cohort: PooledCohort, config: EvaluationConfig, progress: Progress) -> dict[str, Any]:
    """All checks, each with `passed` and its findings, which are counts only.

    Args:
        cohort: all patients.
        config: of the evaluation.
        progress: reports each permutation.
    """
    return {
        "duplicates": duplicates(cohort),
        "pixel_fingerprints": same_pixels(cohort),
        "dates": dates(cohort),
        "telling_inputs": telling_inputs(cohort),
        "permuted_outcomes": permuted(cohort, config, progress),
    }


def duplicates(cohort: PooledCohort) -> dict[str, Any]:
    """Patients that appear twice: with one pseudonym, or with the same record and outcome."""
    records = [
        sha256(case.clinical.tobytes() + np.array([case.months, case.event], np.float32).tobytes()).hexdigest()
        for case in cohort.cases
    ]
    by_name, by_record = _pairs(cohort.case_ids), _pairs(records)
    return {
        "passed": not by_name and not by_record,
        "same_pseudonym": len(by_name),
        "same_record_and_outcome": len(by_record),
        "across_centres": _across(cohort, by_name | by_record),
    }


def same_pixels(cohort: PooledCohort) -> dict[str, Any]:
    """Images that appear twice, exactly or nearly (another scaling, another file)."""
    if not cohort.has_images:
        return {"passed": None, "exact": 0, "near": 0, "across_centres": 0}
    exact = _pairs([sha256(case.image.tobytes()).hexdigest() for case in cohort.cases])
    prints = np.stack([_fingerprint(case.image) for case in cohort.cases])
    alike = np.triu(prints @ prints.T > _SAME_PIXELS, 1)
    near = {(int(i), int(j)) for i, j in np.argwhere(alike)} - exact
    return {
        "passed": not exact and not near,
        "exact": len(exact),
        "near": len(near),
        "across_centres": _across(cohort, exact | near),
    }


def dates(cohort: PooledCohort) -> dict[str, Any]:
    """Node data holds no date, every follow-up is positive, and no PET follows the first dose."""
    named = sorted(name for name in {*cohort.columns, *cohort.words} if _DATED.search(name))
    delay = cohort.columns.get("pet_to_treatment_days", np.zeros(0))
    listed = cohort.columns["months"]
    found = {
        "columns_with_dates": len(named),
        "columns_with_words": len(cohort.words),
        "without_follow_up": int((cohort.months <= 0).sum()),
        "pet_after_first_dose": int((delay < 0).sum()),
        "table_and_case_differ": int((np.abs(listed - cohort.months) > 0.01).sum()),
    }
    return {"passed": not any(found.values()), **found}


def telling_inputs(cohort: PooledCohort) -> dict[str, Any]:
    """Inputs that alone rank the outcomes nearly perfectly, or do so wherever they differ.

    The second finds an outcome in disguise that is capped or coarse (cycles given, at most six; still treated at six
    months), which Harrell's C does not: it counts the ties one half. An input that says that another is missing counts
    as one; patients in whom a value is said to be missing are left out of its ranking.
    """
    sample = Sample.of(cohort.months, cohort.event, draws=0)
    names, furthest, surest, telling = cohort.contract.inputs, 0.0, 0.0, list[str]()
    for name, column in zip(names, cohort.clinical.T, strict=True):
        flag = f"missing:{name}"
        known = cohort.clinical[:, names.index(flag)] <= 0.5 if flag in names else np.ones(len(column), bool)
        index = abs(float(harrell(sample, column)[0]) - 0.5)
        share, patients = untied_concordance(cohort.months[known], cohort.event[known], column[known])
        lower = Estimate.exact(share, patients).lower if np.isfinite(share) else 0.0
        furthest, surest = max(furthest, index if np.isfinite(index) else 0.0), max(surest, lower)
        if index >= _TELLING - 0.5 or (share >= _UNTIED and lower >= _UNTIED_LOWER):
            telling.append(name)
    return {
        "passed": not telling,
        "inputs": ", ".join(telling),
        "largest_c_index": float(0.5 + furthest),
        "largest_where_untied": surest,
    }


def permuted(cohort: PooledCohort, config: EvaluationConfig, progress: Progress) -> dict[str, Any]:
    """AUC of networks trained and evaluated on outcomes that were permuted at random.

    The permutation goes over all centres: a difference between centres is no leak, but would be learned if it were
    preserved. A patient on both sides of the split, or an input that reveals the position in the file, would be
    learned. Passed where the mean over the permutations lies within two standard errors of 0.5.
    """
    training = config.model if config.leakage.network == "model" else config.clinical
    cohort = cohort.read_by(training.network)
    held_out = holdout(cohort, config.holdout_fraction)
    values, errors = [], []
    for number in range(config.leakage.permutations):
        progress(
            number / config.leakage.permutations,
            Message("Permuted outcomes {done} of {all}", done=number + 1, all=config.leakage.permutations),
        )
        shuffled = cohort.with_outcomes(np.random.default_rng(number).permutation(len(cohort.cases)))
        fitted = train_in_process(
            training.task(cohort.contract, number),
            list(shuffled.by_site(~held_out).values()),
            local_epochs=training.local_epochs,
        )
        at = cohort.contract.month_edges.index(config.horizon_months)
        predicted = fitted.survival([shuffled.cases[i] for i in np.flatnonzero(held_out)])[:, at]
        sample = Sample.of(shuffled.months[held_out], shuffled.event[held_out], draws=_DRAWS, seed=number)
        draws = auc(sample, 1 - predicted, config.horizon_months)
        values.append(asdict(Estimate.of(draws)))
        errors.append(float(np.nanstd(draws[1:])))
    if not values:
        return {"passed": None, "permutations": []}
    mean = float(np.mean([one["value"] for one in values]))
    error = float(np.mean(errors)) / np.sqrt(len(values))
    return {
        "passed": bool(abs(mean - 0.5) <= 2 * error),
        "mean_auc": mean,
        "standard_error": float(error),
        "network": training.network,
        "permutations": values,
    }


def _fingerprint(image: NDArray[np.float16]) -> Floats:
    """Mean of SUV and HU in blocks, each channel centred and of length one half: correlation by scalar product."""
    parts = []
    for channel in image.astype(float):
        blocks = channel
        for axis, size in enumerate(channel.shape):
            starts = np.unique(np.linspace(0, size, _BLOCKS + 1).astype(int)[:-1])
            blocks = np.add.reduceat(blocks, starts, axis=axis)
        flat = blocks.ravel() - blocks.mean()
        parts.append(flat / max(float(np.linalg.norm(flat)), 1e-12) / np.sqrt(2))
    return np.concatenate(parts)


def _across(cohort: PooledCohort, pairs: Iterable[tuple[int, int]]) -> int:
    """How many of the pairs lie in two centres."""
    return sum(bool(cohort.site[i] != cohort.site[j]) for i, j in pairs)


def _pairs(keys: Sequence[str]) -> set[tuple[int, int]]:
    """Pairs (first, other) of places that hold the same key."""
    places: dict[str, list[int]] = defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    groups: Iterable[list[int]] = places.values()
    return {(group[0], other) for group in groups for other in group[1:]}
