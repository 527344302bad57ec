"""Streams of cases for the monitoring: drawn patients, encoded as a centre's cases are, with what was planted."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np

from inference.calibration import SetLimits, in_conformal_set
from inference.encoding import input_values
from inference.input_contract import LESION_PREFIX, table_contract
from inference.monitoring import InputReference, MonitoredCase, MonitorReference
from training.simulation.patients.centres import SITES
from training.simulation.patients.population import draw_patient
from training.simulation.patients.risk import SCALE_6M, SHAPE, image_features, risk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.simulation.patients.population import Patient

CONTRACT = table_contract()
LIMITS = SetLimits(0.62, 0.62)
ABSTAINED = 0.05
START = date(2026, 1, 5)
NAMES = (*(term.name for term in CONTRACT.terms), *(f"{LESION_PREFIX}{term.name}" for term in CONTRACT.quantities))


class Population:
    """Patients of all centres in their proportions, drawn once; streams take from them with replacement."""

    def __init__(self, patients: int, seed: int = 3) -> None:
        total = sum(site.cases for site in SITES)
        drawn = [
            draw_patient(site, number, seed=seed)
            for site in SITES
            for number in range(max(1, round(patients * site.cases / total)))
        ]
        self.rows = np.array([_row(one) for one in drawn])
        true = [risk(one) for one in drawn]
        self.hazard = np.array([one.eta for one in true])
        self.truth = np.array([one.pfs_12m for one in true])

    def reference(self, patients: int, rng: np.random.Generator) -> MonitorReference:
        """That of a bundle which was calibrated on so many patients."""
        at = rng.integers(0, len(self.rows), patients)
        inputs = {name: InputReference.of(self.rows[at, i]) for i, name in enumerate(NAMES)}
        return MonitorReference(patients, inputs, InputReference.of(self.truth[at]), ABSTAINED)

    def stream(
        self,
        count: int,
        rng: np.random.Generator,
        *,
        moved: dict[str, float] | None = None,
        lost: dict[str, float] | None = None,
        log_hazard: float = 0.0,
        abstained: float = ABSTAINED,
    ) -> list[MonitoredCase]:
        """Cases, one a day, all with an outcome where the model answered.

        Args:
            count: number of cases.
            rng: of all draws.
            moved: by input what is added to its encoded value.
            lost: by input the share of values that go missing.
            log_hazard: by which the patients are worse than they are predicted to be.
            abstained: share of abstentions.
        """
        at = rng.integers(0, len(self.rows), count)
        rows = self.rows[at].copy()
        for name, shift in (moved or {}).items():
            rows[:, NAMES.index(name)] += shift
        for name, share in (lost or {}).items():
            rows[rng.random(count) < share, NAMES.index(name)] = np.nan
        predicted = self.truth[at]
        worse = np.exp(-SCALE_6M * 2**SHAPE * np.exp(self.hazard[at] + log_hazard))
        free = rng.random(count) < (worse if log_hazard else predicted)
        verdicts = np.stack(in_conformal_set(predicted, LIMITS))
        answered = rng.random(count) >= abstained
        return [
            MonitoredCase(
                START + timedelta(days=day),
                {name: None if np.isnan(x) else float(x) for name, x in zip(NAMES, rows[day], strict=True)},
                float(predicted[day]) if answered[day] else None,
                _verdict(*verdicts[:, day]) if answered[day] else None,
                bool(free[day]) if answered[day] else None,
            )
            for day in range(count)
        ]


def _verdict(free: bool, progression: bool) -> str:
    return "indeterminate" if free and progression else "free" if free else "progression"


def _row(patient: Patient) -> Sequence[float]:
    """Encoded inputs, nan where missing: the observed record, and the exact features in the place of a table."""
    clinical = input_values(patient.observed, CONTRACT)
    seen = image_features(patient)
    lesions = [one for one in patient.lesions if one.kind != "brain"]
    values = {
        "tmtv_ml": seen.tmtv_ml,
        "suv_peak": max((one.suv for one in lesions), default=0.0),
        "lesion_count": float(seen.lesions),
        "dmax_mm": seen.dmax_mm,
        "necrotic_share": seen.necrosis,
        "liver_lesion": float(seen.liver_metastases),
        "bone_ml": sum(one.active_ml for one in lesions if one.kind == "bone"),
        "marrow_to_liver": seen.marrow_to_liver,
        "spleen_to_liver": patient.anatomy.spleen / patient.anatomy.liver,
    }
    encoded = [term.scaled(values[term.name]) for term in CONTRACT.quantities]
    return [*(np.nan if x is None else x for x in clinical.values()), *encoded]


PLANTED: dict[str, tuple[dict[str, object], str, str]] = {  # name -> what is planted, kind and input of the finding
    "SUV 30 % too high": ({"moved": {"lesion:suv_peak": np.log(1.3) / 0.35}}, "input", "lesion:suv_peak"),
    "volumes 60 % too large": ({"moved": {"lesion:tmtv_ml": np.log(1.6) / 1.1}}, "input", "lesion:tmtv_ml"),
    "albumin 2 g/l too low": ({"moved": {"albumin": -0.5}}, "input", "albumin"),
    "neutrophils 35 % too high": ({"moved": {"nlr": np.log(1.35) / 0.53}}, "input", "nlr"),
    "PD-L1 missing in a further quarter": ({"lost": {"pdl1_1": 0.25}}, "missing", "pdl1_1"),
    "abstentions 5 to 20 %": ({"abstained": 0.20}, "abstention", ""),
    "hazard 1.6 times as high": ({"log_hazard": np.log(1.6)}, "calibration", ""),
    "hazard twice as high": ({"log_hazard": np.log(2.0)}, "calibration", ""),
}
