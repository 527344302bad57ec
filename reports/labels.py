"""The words that people read in place of the identifiers in a case."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fedpet.core.messages import Message
from fedpet.imaging.study import CheckStatus
from inference.record_concordance import Agreement, RecordConfirmation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fedpet.imaging.anatomy.reference_uptake import ReferenceOrgan
    from fedpet.imaging.response.percist import Category
    from inference.prediction import ConformalAnswer, EndpointName, RiskGroup
    from inference.record_concordance import RecordConcordance
    from reports.content import Decision

RESEARCH_ONLY = Message("RESEARCH USE ONLY – not a medical device – not a therapeutic decision")
SYNTHETIC = Message("SYNTHETIC MODEL")
SYNTHETIC_MEANS = Message("SYNTHETIC MODEL: trained on simulated patients, it says nothing about a real patient")

CHECKS: Mapping[str, Message] = {
    "ct_present": Message("CT present"),
    "chest_covered": Message("Chest covered"),
    "pet_extent": Message("Extent of the PET"),
    "slice_levels": Message("One scale in all slices"),
    "uptake_time": Message("Uptake time"),
    "dose": Message("Injected activity"),
    "weight": Message("Body weight"),
    "slices": Message("Slices"),
    "alignment": Message("PET/CT alignment"),
    "suv": Message("SUV computable"),
    "suv_witness": Message("SUV by other paths"),
    "suv_plausible": Message("SUV plausible"),
    "weight_fits": Message("Weight against the body in the images"),
    "orientation": Message("Orientation"),
    "sides": Message("Left and right"),
    "ct_fits": Message("CT of this PET"),
    "scanned_region": Message("Scanned region"),
    "suv_scale": Message("Scale of the SUV"),
    "fasting": Message("Fasting"),
    "marrow_stimulation": Message("Marrow and spleen"),
    "tracer": Message("Tracer"),
    "arms": Message("Arms"),
    "contrast_ct": Message("Contrast medium"),
    "effusion": Message("Effusion"),
    "extravasation": Message("Extravasation"),
    "brown_fat": Message("Brown fat"),
    "compression": Message("Compression"),
    "organ_source": Message("Organs that lesions were told from"),
    "record_fits": Message("Record of this patient"),
    "mask_read": Message("Mask read whole"),
    "mask_position": Message("Position of the mask"),
    "mask_origin": Message("Examination of the mask"),
    "mask_fit": Message("Mask against uptake"),
    "other_patients": Message("Images of another patient"),
    "weight_of_ct": Message("Weight stated by the CT"),
}

AGREEMENTS: Mapping[Agreement, tuple[str, Message]] = {
    Agreement.DIFFER: ("✗", Message("differs")),
    Agreement.AGREE: ("✓", Message("agrees")),
    Agreement.NOT_STATED: ("–", Message("not compared")),
}

LEVELS: Mapping[CheckStatus, tuple[str, Message]] = {
    CheckStatus.FAIL: ("✗", Message("Fail")),
    CheckStatus.WARN: ("▲", Message("Warning")),
    CheckStatus.PASS: ("✓", Message("Pass")),
}  # worst first

ENDPOINTS: Mapping[EndpointName, Message] = {
    "pfs_12m": Message("Alive without progression at 12 months"),
    "dcb_6m": Message("Alive without progression at 6 months (durable benefit)"),
    "early_failure_3m": Message("Progression or death within 3 months"),
}

OVERALL_SURVIVAL = Message("Alive at 24 months (overall survival)")

RISK_GROUPS: Mapping[RiskGroup, Message] = {
    "low": Message("lower third"),
    "intermediate": Message("middle third"),
    "high": Message("upper third"),
}

VERDICTS: Mapping[ConformalAnswer, Message] = {
    "free": Message("no progression"),
    "progression": Message("progression or death"),
    "indeterminate": Message("indeterminate"),
}

CATEGORIES: Mapping[Category, Message] = {
    "CMR": Message("complete metabolic response (PERCIST)"),
    "PMR": Message("partial metabolic response (PERCIST)"),
    "SMD": Message("stable metabolic disease (PERCIST)"),
    "PMD": Message("progressive metabolic disease (PERCIST)"),
    "NE": Message("not evaluable by PERCIST"),
}

KEPT: Mapping[ConformalAnswer, Message] = {  # the outcomes of a conformal set
    "free": Message("Outcome that the model keeps: no progression, alone."),
    "progression": Message("Outcome that the model keeps: progression or death, alone."),
    "indeterminate": Message("Outcomes that the model keeps: both; it cannot tell them apart."),
}

LIPI: tuple[Message, ...] = (
    Message("0 points: good prognosis"),
    Message("1 point: intermediate prognosis"),
    Message("2 points: poor prognosis"),
)

DECISIONS: Mapping[Decision, tuple[str, Message]] = {
    "accept": ("✓", Message("Answer accepted by the reader.")),
    "amend": ("▲", Message("Answer AMENDED by the reader.")),
    "reject": ("✗", Message("Answer REJECTED by the reader.")),
}

DECISIONS_WITHOUT_ANSWER: Mapping[Decision, tuple[str, Message]] = {  # the model abstained
    "accept": ("✓", Message("Measurements accepted by the reader; the model gave no answer.")),
    "amend": ("▲", Message("Measurements AMENDED by the reader; the model gave no answer.")),
    "reject": ("✗", Message("Measurements REJECTED by the reader; the model gave no answer.")),
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

ORGANS: Mapping[ReferenceOrgan, Message] = {
    "liver": Message("Liver, SUVmean ± SD"),
    "blood_pool": Message("Blood pool, SUVmean ± SD"),
    "spleen": Message("Spleen, SUVmean ± SD"),
    "marrow": Message("Bone marrow, SUVmean ± SD"),
}

REFERENCE_METHODS: Mapping[str, Message] = {
    "sphere_3cm_right_lobe": Message("sphere of 3 cm in the right lobe (PERCIST)"),
    "sphere_3cm_by_reader": Message("sphere of 3 cm placed by the reader"),
    "cylinder_1x2cm_descending_aorta": Message("1 × 2 cm of the descending aorta (PERCIST)"),
    "sphere_2cm": Message("sphere of 2 cm"),
    "vertebral_bodies_trimmed": Message("vertebral bodies, border and hot voxels left out"),
}


_FDG = frozenset({"35321007", "C-B1031"})  # fluorodeoxyglucose F-18 (SNOMED CT, and as SRT once wrote it)
_FDG_NAME = re.compile(r"\bF-?DG\b|flu(oro)?d[eé](o|s|so)xyglucose", re.IGNORECASE)


def radiopharmaceutical(name: str, code: str) -> Message:
    """The radiopharmaceutical of a PET.

    Args:
        name: as the headers write it.
        code: its code value in the headers; "" where there is none.
    """
    if code in _FDG or (not code and _FDG_NAME.search(name)):
        return Message("Fluorodeoxyglucose (18F), FDG")
    return Message("{name}", name=name) if name else Message("not stated")


def meaning_of_kept(level: float, *, by_outcome: bool) -> Message:
    """That the coverage of a conformal set is no risk.

    Args:
        level: the coverage, 0 to 1.
        by_outcome: see `meaning_of_answer`.
    """
    count = round(100 * level)
    if by_outcome:
        return Message(
            "This is no risk: for about {count} of 100 patients, whether they progress or not, the outcome that happens"
            " is among those kept.",
            count=count,
        )
    return Message(
        "This is no risk: for about {count} of 100 patients, the outcome that happens is among those kept.",
        count=count,
    )


def without_remark(count: int) -> Message:
    """How many checks passed."""
    return Message("One check without remark.", "{count} checks without remark.", count=count)


def inline(label: str) -> str:
    """A label inside a sentence: no capital, but in an abbreviation."""
    return label[:1].lower() + label[1:] if label[1:2].islower() else label


def supported(value: float) -> float:
    """A probability, a share or a score with the digits that its interval supports: two decimals.

    The interval of a probability is never narrower than a few points.
    """
    return round(value, 2)


def meaning_of_interval(level: str, *, missing: Sequence[str], centre: str | None) -> Message:
    """What the interval of a probability covers, and what it does not.

    Args:
        level: of the interval, written in per cent.
        missing: inputs that the patient lacks (`inference.prediction.Prediction.missing`).
        centre: whose calibration answered (`inference.prediction.Prediction.centre`).
    """
    holds = [Message("the uncertainty of the calibration")]
    holds += [Message("the missing inputs")] if missing else []
    holds += [Message("differences between centres (this one is not calibrated)")] if centre == "" else []
    lacks = [Message("what distinguishes two patients with the same data")]
    lacks += [Message("differences between centres")] if centre is None else []
    return Message(
        "{level} interval, from {holds}; it does not cover {lacks}.", level=level, holds=_and(holds), lacks=_and(lacks)
    )


def _and(parts: Sequence[Message]) -> Message:
    first, *others = parts
    return first if not others else Message("{first}, {others}", first=first, others=_and(others))


def meaning_of_answer(level: str, *, by_outcome: bool) -> Message:
    """What the answer of a conformal set guarantees.

    Args:
        level: written in per cent.
        by_outcome: for each outcome by itself, as bundles do that know how far centres differ.
    """
    if by_outcome:
        return Message(
            "Answer: holds what happens in {level} of those who progress and in {level} of those who do not;"
            " indeterminate: the model does not separate the two outcomes.",
            level=level,
        )
    return Message(
        "Answer: holds what happens in {level} of patients; indeterminate: the model does not separate the two"
        " outcomes.",
        level=level,
    )


def confirmed_by(concordance: RecordConcordance) -> Message:
    """Who confirmed a record that contradicts the images, and why; only of one that was confirmed."""
    given = concordance.confirmation or RecordConfirmation("")
    return Message(
        "The record was confirmed against the images by {by}. Reason: {reason}",
        by=given.by or Message("not stated"),
        reason=given.reason,
    )
