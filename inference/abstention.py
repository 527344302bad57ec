"""When the model must abstain: the rules, in the order in which their reasons are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpet.clinical.record import RecordReference
from fedpet.core.messages import Message
from fedpet.imaging.lesions.detection.lesion_score import LESION
from fedpet.imaging.lesions.lesion import GIVEN_MASK
from fedpet.imaging.quality.mask_fit import CHECK as MASK_CHECK
from fedpet.imaging.quality.mask_fit import assess_mask_fit
from fedpet.imaging.study import CheckStatus
from inference.encoding import missing_variables, term_label
from inference.input_contract import LESION_PREFIX
from inference.lesion_map import delineation_method_label
from inference.record_concordance import CHECK, compare_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.analysis import StudyAnalysis
    from fedpet.imaging.lesions.delineation import HotComponent
    from fedpet.imaging.lesions.lesion import Quantities
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from fedpet.imaging.volume import Volume
    from inference.engine import EngineOutput
    from inference.input_contract import InputContract

MAX_DELAY_DAYS = 92  # criterion of the trial: PET at most three months before the first dose
MIN_TUMOUR_ML = 1.0  # of metabolically active tumour on the model's map, or of a delineated lesion
MAX_BIOMARKER_SD = 6.0  # from the mean of the population that biomarkers and quantities were scaled on
MAX_MISSING_SHARE = 0.5  # of the clinical variables that the model uses


def study_reason(analysis: StudyAnalysis, record: ClinicalRecord) -> Message | None:
    """Why the images rule an answer out: the first check that failed; None where none did.

    Where record and images were not compared before (`inference.record_concordance.join_record`), it is done here.
    """
    study = analysis.study
    compared = any(check.name == CHECK for check in study.header_checks)
    fits = [] if compared else [compare_record(record, RecordReference(), study.patient).check()]
    failed = next((check for check in (*analysis.checks, *fits) if check.level is CheckStatus.FAIL), None)
    if failed is None:
        return None
    if failed.name == CHECK:
        return Message("The clinical record does not fit the images. {reason}", reason=failed.reason)
    if failed.name == MASK_CHECK:
        return Message("The lesions given do not fit the images. {reason}", reason=failed.reason)
    return Message("The images are not what the model was made for. {reason}", reason=failed.reason)


def mask_reason(lesions: Volume | None, pet: Volume) -> Message | None:
    """That lesions given as labels show no uptake; those of a mask that was read are checked with the study."""
    fit = None if lesions is None else assess_mask_fit(lesions, pet)
    if fit is None or fit.status is not CheckStatus.FAIL:
        return None
    return Message("The lesions given do not fit the images. {reason}", reason=fit.check().reason)


def record_reason(record: ClinicalRecord, contract: InputContract) -> Message | None:
    """Why the record rules an answer out; None where it does not."""
    delay_days = record.pet_to_treatment_days
    if delay_days is None:
        return Message(
            "The delay from the PET to the first dose of immunotherapy is not stated: give delai_tep_ici"
            " (pet_to_treatment_days) or date_debut_ici (start_date)."
        )
    if delay_days < 0:
        return Message("The PET was acquired after the first dose of immunotherapy; the model reads pre-treatment PET.")
    if delay_days > MAX_DELAY_DAYS:
        return Message(
            "The PET was acquired {days:.0f} days before the first dose; the model needs at most {most} days.",
            days=delay_days,
            most=MAX_DELAY_DAYS,
        )
    missing = missing_variables(record, contract)
    if len(missing) > MAX_MISSING_SHARE * len(contract.variables):
        return Message(
            "{missing} of the {all} clinical variables the model uses are missing.",
            missing=len(missing),
            all=len(contract.variables),
        )
    return None


def output_reason(
    output: EngineOutput, contract: InputContract, lesions: Quantities | None = None, *, confirmed: bool = False
) -> Message | None:
    """Why the output of the network is not to be trusted; None where it is.

    Args:
        output: of the network.
        contract: of the model.
        lesions: as delineated or given; None where the map alone decides.
        confirmed: that a reader gave or included lesions.
    """
    lesion_map = output.maps[contract.concepts.index("lesion")]
    volume = float(lesion_map[lesion_map >= 0.5].sum()) * contract.spacing_mm**3 / 1000.0
    reason = _tumour_reason(lesions, on_map=volume >= MIN_TUMOUR_ML, confirmed=confirmed)
    if reason is not None:
        return reason
    if float(abs(output.biomarkers).max()) > MAX_BIOMARKER_SD:
        return Message("An image biomarker lies far outside the patients the model was trained on.")
    return None


def method_reason(lesions: Quantities, contract: InputContract) -> Message | None:
    """That lesions were delineated in another way than those that the model was trained on; a reader's mask may be."""
    if lesions.method in {GIVEN_MASK, contract.delineation}:
        return None
    return Message(
        "The lesions were delineated by another method than those that the model was trained on ({found}; needed:"
        " {needed}).",
        found=delineation_method_label(lesions.method),
        needed=delineation_method_label(contract.delineation),
    )


def undecided_reason(components: Sequence[HotComponent]) -> Message | None:
    """That a reader has to decide first: uptake in or beside an organ was left out, but is rather a lesion.

    A tumour that touches the heart may be taken for myocardium; without a model's map nothing else would notice.
    """
    for one in components:
        doubtful = one.score is not None and one.score >= LESION and one.volume_ml >= MIN_TUMOUR_ML
        if doubtful and not (one.included or one.switched):
            return Message(
                "Component {id} of {ml:.0f} ml was left out, although it is a lesion with a probability of"
                " {share:.0%}: include or exclude it. {reason}",
                id=one.id,
                ml=one.volume_ml,
                share=one.score,
                reason=one.reason,
            )
    return None


def unconfirmed_reason(components: Sequence[HotComponent]) -> Message | None:
    """That nothing which counts as a lesion is sure: a kidney or bowel that was not recognised looks so, too."""
    counted = [one for one in components if one.included and one.volume_ml >= MIN_TUMOUR_ML]
    if not counted or not all(one.to_confirm for one in counted):
        return None
    largest = max(counted, key=lambda one: one.volume_ml)
    return Message(
        "No lesion is certain; component {id} of {ml:.0f} ml may be healthy uptake: include or exclude it.",
        id=largest.id,
        ml=largest.volume_ml,
    )


def table_reason(
    table: LesionTable, inputs: NDArray[np.float32], contract: InputContract, *, confirmed: bool
) -> Message | None:
    """Why an answer from a lesion table is not to be trusted; None where it is.

    Args:
        table: of the patient.
        inputs: the same, encoded (`inference.encoding.encode`).
        contract: of the model.
        confirmed: that a reader gave or included lesions.
    """
    if not table.lesions or not (confirmed or any(one.mtv_ml >= MIN_TUMOUR_ML for one in table.lesions)):
        return Message(
            "No hypermetabolic lesion of at least {ml:.0f} ml was delineated; the model was made for patients with"
            " measurable disease. Look at the PET, and give the lesion as a mask or include it.",
            ml=MIN_TUMOUR_ML,
        )
    for name, value in zip(contract.inputs, inputs, strict=True):
        if name.startswith(LESION_PREFIX) and abs(value) > MAX_BIOMARKER_SD:
            return Message(
                "A quantity of the lesions lies far outside the patients the model was trained on: {name}.",
                name=term_label(name),
            )
    return None


def _tumour_reason(lesions: Quantities | None, *, on_map: bool, confirmed: bool) -> Message | None:
    """That no tumour was seen. Either the map or the delineation may err: both must show one, or one within the lung.

    Hot lung has few causes but a tumour, while what the rules leave over elsewhere may be healthy.
    """
    if confirmed or (on_map and (lesions is None or lesions.lesions)):
        return None
    found = () if lesions is None else lesions.lesions
    if on_map:
        return Message(
            "The model's map shows a lesion, the delineation none: it may be healthy tissue. Look at the PET, and give "
            "the lesion as a mask or include it."
        )
    if any(one.mtv_ml >= MIN_TUMOUR_ML and one.region.startswith("lung") for one in found):
        return None
    return Message(
        "The model's own map, apart from the delineation, shows no hypermetabolic lesion; the model was made for "
        "patients with measurable disease."
    )
