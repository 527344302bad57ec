"""A small finished case, made by hand: what the pages and the viewer need, without a model."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from sqlalchemy import update

from app.cases.pipeline import CaseResult
from app.cases.reading import Stamp
from app.cases.result_json import result_json
from app.cases.tables import Case, SignedVersion
from explain.explanation import Explanation, SanityCheckResult, ScoreTerm
from explain.lesion_effects import lesion_label, own_value
from fedpet.clinical.record import ClinicalRecord
from fedpet.core.messages import Message
from fedpet.imaging.lesions.delineation import HotComponent
from fedpet.imaging.lesions.lesion_table import build_table
from fedpet.imaging.lesions.quantities import quantify
from fedpet.imaging.study import CheckStatus, PetCtStudy, PetFacts, QualityCheck, SeriesFacts
from fedpet.imaging.volume import Volume
from inference.prediction import (
    EndpointProbability,
    ModelReference,
    OverallSurvival,
    Prediction,
    PredictionOrigin,
    SurvivalCurve,
)
from tests.support.header_checks_only import HeaderChecksOnly

PET_SHAPE, PET_SPACING, PET_ORIGIN = (40, 30, 36), (4.0, 4.0, 5.0), (-70.0, -58.0, -300.0)
HOT = (25, 10, 8)  # slice, row, column of the brightest voxel: SUV 12, alone at this value
LESION_SUV = 6.0
RECORD = ClinicalRecord(age=66.0, sex="M")
SERIES = (
    SeriesFacts("CT", "CT WB", 50, (50, 60, 72), (2.0, 2.0, 4.0), True, Message("The only CT."), 1),
    SeriesFacts("PT", "PET AC", 40, (40, 30, 36), (4.0, 4.0, 5.0), True, Message("The only PET."), 2),
)
HOT_COMPONENTS = (
    HotComponent(1, True, "lung_right", Message("No physiological uptake here."), False, 12.0, 9.0, (1.0, 2.0, 3.0)),
)


def grid_affine(spacing, origin):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def make_study():
    rng = np.random.default_rng(3)
    suv = rng.uniform(0.6, 1.4, PET_SHAPE).astype(np.float32)
    z, y, x = HOT
    suv[z - 2 : z + 3, y - 2 : y + 3, x - 2 : x + 3] = LESION_SUV
    suv[HOT] = 12.0
    pet = Volume(suv, grid_affine(PET_SPACING, PET_ORIGIN), "g/ml")
    hu = rng.integers(-100, 100, (50, 60, 72)).astype(np.int16)
    ct = Volume(hu, grid_affine((2.0, 2.0, 4.0), (-71.0, -59.0, -300.0)), "HU")
    checks = (
        QualityCheck("ct_present", CheckStatus.PASS, Message("A CT is there.")),
        QualityCheck("uptake_time", CheckStatus.WARN, Message("Uptake {minutes:.0f} min.", minutes=95.0)),
    )
    facts = PetFacts(
        units="BQML",
        decay_correction="START",
        suv_factor_min=1e-4,
        suv_factor_max=1e-4,
        reference_time_source="series_time",
        reference_time=None,
        injection_time=None,
        uptake_min=95.0,
        dose_bq=2.5e8,
        half_life_s=6586.2,
        weight_kg=70.0,
        height_m=None,
        sex="M",
        radiopharmaceutical="FDG",
        corrected_image=("ATTN", "DECY"),
        manufacturer="Maker",
        model="Scanner",
    )
    return PetCtStudy("P-0123456789ab", pet, ct, facts, (), checks, "2026-03-10")


TERMS = (
    ScoreTerm("lesion:1", lesion_label(1, "lung_right"), 0.42, -0.153),
    ScoreTerm("variable:sex", own_value(RECORD, ("sex",), "male"), -0.06, 0.021),
    ScoreTerm("variable:age", own_value(RECORD, ("age",), "age"), 0.01, -0.003),
)


def make_case(folder, *, abstained=False, reliable=True):
    analysis = HeaderChecksOnly(make_study())
    study = analysis.study
    labels = study.pet.like((study.pet.array >= LESION_SUV).astype(np.uint16), "label")
    reason = Message("The chest is not covered.") if abstained else None
    quantities = quantify(study.pet, labels, method="suv4", anatomy=analysis.anatomy)
    prediction = Prediction(
        model=ModelReference(
            "demonstration", "1.0", "ab" * 32, "cd" * 32, synthetic=True, provider="CPUExecutionProvider"
        ),
        origin=PredictionOrigin.of(analysis, RECORD),
        abstained=reason,
        endpoints=()
        if abstained
        else (
            EndpointProbability("early_failure_3m", 3, 0.15, 0.09, 0.24, 0.27, "free"),
            EndpointProbability("dcb_6m", 6, 0.72, 0.61, 0.80, 0.55, "free"),
            EndpointProbability("pfs_12m", 12, 0.523, 0.38, 0.64, 0.41, "indeterminate"),
        ),
        survival=None if abstained else SurvivalCurve((0, 6, 12), (1.0, 0.72, 0.52), (1.0, 0.6, 0.4), (1.0, 0.8, 0.6)),
        risk_group=None if abstained else "intermediate",
        risk_score=None if abstained else 0.1,
        interval_level=0.8,
        missing=("albumin",),
        contributions={} if abstained else {"age": 0.1, "image:tumour_volume": 0.4, "missing:albumin": -0.05},
        quantities=quantities,
        lesion_labels=labels,
        table=build_table(study.pet, study.ct, labels, quantities, None),
        overall_survival=None
        if abstained
        else OverallSurvival(
            24, 0.47, 0.33, 0.6, 0.5, SurvivalCurve((0, 12, 24), (1.0, 0.7, 0.47), (1.0, 0.6, 0.33), (1.0, 0.8, 0.6))
        ),
    )
    attribution = np.where(labels.array > 0, study.pet.array, 0.0).astype(np.float32)
    attribution[0, 0, 0] = -3.0
    explanation = Explanation(
        method="integrated gradients",
        attribution=study.pet.like(attribution, "1"),
        lesion_share={0: 0.1, 1: 0.9},
        variable_contributions={},
        completeness_error=0.001,
        gates=(SanityCheckResult("completeness", reliable, Message("Completeness error 0.1 %.")),),
        origin=prediction.origin,
        risk_score=prediction.risk_score,
        terms=TERMS,
        reference_score=-0.2,
    )
    return CaseResult(analysis, RECORD, prediction, None if abstained else explanation, folder)


def sign_version(store, case, decision, result=None):
    """The first signed version of a case, in the database only."""
    version = SignedVersion(
        case=case.id, number=1, signed=datetime.now(UTC), reader="Dr A", decision=decision, comment="",
        report_uid="2.25.1", content_hash="ab" * 32, result=result or {},
    )  # fmt: skip
    with store._session() as session, session.begin():
        session.add(version)


def alter_case(store, case_id, **columns):
    """Write columns of a case past its life cycle, to begin a test anywhere in it."""
    with store.engine.begin() as connection:
        connection.execute(update(Case).where(Case.id == case_id).values(**columns))


def confirm_lesions(store, case_id):
    """A reader confirms the lesions: from then on the answer is shown."""
    store.save_reading(case_id, lambda reading: reading.model_copy(update={"confirmed": Stamp.now("Dr A")}))


def make_json(result):
    return result_json(result.analysis, result.record, result.prediction, result.explanation, result.concordance)
