"""When the model must not answer: the rules, in the order in which their reasons are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpet.messages import Message
from imaging.study import Level

if TYPE_CHECKING:
    from clinical.record import ClinicalRecord
    from imaging.study import Study
    from inference.contract import Contract
    from inference.engine import EngineOutput

LONGEST_DELAY_DAYS = 92  # the trial's gate: PET at most three months before the first dose
SMALLEST_TUMOUR_ML = 1.0  # of active tumour on the model's own map
LARGEST_BIOMARKER = 6.0  # standard deviations from the population the biomarkers were scaled on
LARGEST_MISSING = 0.5  # share of the model's clinical variables


def study_reason(study: Study) -> Message | None:
    """The first failed check of the images, as a reason."""
    for check in study.checks:
        if check.level is Level.FAIL:
            return Message("The images are not what the model was made for. {reason}", reason=check.reason)
    return None


def record_reason(record: ClinicalRecord, contract: Contract) -> Message | None:
    """Why the record rules an answer out."""
    delay = record.pet_to_treatment_days
    if delay is not None and delay < 0:
        return Message("The PET was acquired after the first dose of immunotherapy; the model reads pre-treatment PET.")
    if delay is not None and delay > LONGEST_DELAY_DAYS:
        return Message(
            "The PET was acquired {days:.0f} days before the first dose; the model needs at most {most} days.",
            days=delay,
            most=LONGEST_DELAY_DAYS,
        )
    missing = [name for name in contract.variables if getattr(record, name) is None]
    if len(missing) > LARGEST_MISSING * len(contract.variables):
        return Message(
            "{missing} of the {all} clinical variables the model uses are missing.",
            missing=len(missing),
            all=len(contract.variables),
        )
    return None


def output_reason(output: EngineOutput, contract: Contract) -> Message | None:
    """Why the network's own output is not to be trusted."""
    lesion = output.maps[contract.concepts.index("lesion")]
    volume = float(lesion[lesion >= 0.5].sum()) * contract.spacing_mm**3 / 1000.0
    if volume < SMALLEST_TUMOUR_ML:
        return Message(
            "The model's map shows no hypermetabolic lesion; it was made for patients with measurable disease."
        )
    if float(abs(output.biomarkers).max()) > LARGEST_BIOMARKER:
        return Message("An image biomarker lies far outside the patients the model was trained on.")
    return None
