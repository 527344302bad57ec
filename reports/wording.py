"""Names that people read for the identifiers that travel in a case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpet.messages import Message
from imaging.study import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imaging.references import Name
    from inference.prediction import EndpointName, RiskGroup, Verdict
    from reports.content import Decision

RESEARCH_ONLY = Message("RESEARCH USE ONLY – not a medical device – not a therapeutic decision")
SYNTHETIC = Message("SYNTHETIC MODEL")
SYNTHETIC_MEANS = Message("SYNTHETIC MODEL: trained on simulated patients, it says nothing about a real patient")

CHECKS: Mapping[str, Message] = {
    "ct_present": Message("CT present"),
    "chest_covered": Message("Chest covered"),
    "pet_extent": Message("Extent of the PET"),
    "uptake_time": Message("Uptake time"),
    "dose": Message("Injected activity"),
    "weight": Message("Body weight"),
    "slices": Message("Slices"),
    "alignment": Message("PET/CT alignment"),
    "suv": Message("SUV computable"),
    "suv_plausible": Message("SUV plausible"),
    "weight_fits": Message("Weight against the body seen"),
    "orientation": Message("Orientation"),
    "tracer": Message("Tracer"),
    "arms": Message("Arms"),
    "contrast_ct": Message("Contrast medium"),
    "effusion": Message("Effusion"),
    "extravasation": Message("Extravasation"),
    "brown_fat": Message("Brown fat"),
    "compression": Message("Compression"),
}

LEVELS: Mapping[Level, tuple[str, Message]] = {
    Level.FAIL: ("✗", Message("Fail")),
    Level.WARN: ("▲", Message("Warning")),
    Level.PASS: ("✓", Message("Pass")),
}  # worst first

ENDPOINTS: Mapping[EndpointName, Message] = {
    "pfs_12m": Message("No progression and alive at 12 months"),
    "dcb_6m": Message("No progression and alive at 6 months (durable benefit)"),
    "early_failure_3m": Message("Progression or death within 3 months"),
}

RISK_GROUPS: Mapping[RiskGroup, Message] = {
    "low": Message("low risk"),
    "intermediate": Message("intermediate risk"),
    "high": Message("high risk"),
}

VERDICTS: Mapping[Verdict, Message] = {
    "free": Message("no progression"),
    "progression": Message("progression or death"),
    "indeterminate": Message("indeterminate"),
}

LIPI: tuple[Message, ...] = (
    Message("0 point: good prognosis"),
    Message("1 point: intermediate prognosis"),
    Message("2 points: poor prognosis"),
)

DECISIONS: Mapping[Decision, tuple[str, Message]] = {
    "accept": ("✓", Message("Answer accepted by the reader.")),
    "amend": ("▲", Message("Answer AMENDED by the reader.")),
    "reject": ("✗", Message("Answer REJECTED by the reader.")),
}

FACTOR_RULES: Mapping[str, Message] = {
    "bqml_start": Message("Bq/ml; dose decayed from the injection to the start of the scan"),
    "bqml_admin": Message("Bq/ml at the injection; dose not decayed"),
    "bqml_none_per_slice": Message("Bq/ml; each slice corrected for its own decay"),
    "cnts_suv_scale_factor": Message("counts; SUV factor of the manufacturer"),
    "cnts_activity_scale_factor": Message("counts; activity factor of the manufacturer"),
    "gml_bw": Message("SUV of body weight as the scanner stored it"),
    "gml_lbm": Message("SUV of lean body mass as stored, converted to body weight"),
    "gml_lbm_james128": Message("SUV of lean body mass (James) as stored, converted to body weight"),
    "gml_lbm_janma": Message("SUV of lean body mass (Janmahasatian) as stored, converted to body weight"),
    "gml_ibw": Message("SUV of ideal weight as stored, converted to body weight"),
    "cm2ml_bsa": Message("SUV of body surface as stored, converted to body weight"),
}

REFERENCE_TIMES: Mapping[str, Message] = {
    "decay_correction_datetime": Message("time given for the decay correction"),
    "series_time": Message("start of the series"),
    "ge_private_scan_datetime": Message("scan time in a private field (GE)"),
    "siemens_private_decay_correction_datetime": Message("time of decay correction in a private field (Siemens)"),
    "earliest_acquisition": Message("earliest slice"),
    "back_computed": Message("computed back from the frame reference time"),
    "acquisition_time_per_slice": Message("acquisition time of each slice"),
    "corrected": Message("corrected by a person"),
    "not needed": Message("not needed: no decay is computed"),
}

ORGANS: Mapping[Name, Message] = {
    "liver": Message("Liver, SUVmean ± SD"),
    "blood_pool": Message("Blood pool, SUVmean ± SD"),
    "spleen": Message("Spleen, SUVmean ± SD"),
    "marrow": Message("Bone marrow, SUVmean ± SD"),
}

REFERENCE_METHODS: Mapping[str, Message] = {
    "sphere_3cm_right_lobe": Message("sphere of 3 cm in the right lobe (PERCIST)"),
    "cylinder_1x2cm_descending_aorta": Message("1 × 2 cm of the descending aorta (PERCIST)"),
    "sphere_2cm": Message("sphere of 2 cm"),
    "vertebral_bodies_trimmed": Message("vertebral bodies, border and hot voxels left out"),
}


def meaning_of_answer(level: str) -> Message:
    """What the answer of a conformal set promises; `level` is written in per cent."""
    return Message(
        "Answer: holds what happens in {level} of patients; indeterminate: the model does not separate the two"
        " outcomes.",
        level=level,
    )
