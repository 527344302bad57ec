"""The clinical record and the lesion table as the input vector of the network, and labels of its terms."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import numpy as np

from fedpet.clinical.variables import VARIABLES
from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message
from fedpet.imaging.lesions.lesion_table import QUANTITIES
from inference.input_contract import LEARNED_TERM, LESION_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from fedpet.clinical.record import ClinicalRecord
    from fedpet.imaging.lesions.lesion_table import LesionTable
    from inference.input_contract import ClinicalTerm, InputContract, QuantityTerm


@dataclass(frozen=True, eq=False)
class EncodedRecord:
    """The clinical input of the network.

    Attributes:
        values: shape (len(contract.inputs),).
        missing: fields of the record that are missing.
    """

    values: NDArray[np.float32]
    missing: tuple[str, ...]


def encode(record: ClinicalRecord, contract: InputContract, table: LesionTable | None = None) -> EncodedRecord:
    """Encode a record, and the lesion table where the contract has quantities.

    A missing term is 0, as in the reference patient, and its flag (where it has one) is 1.

    Args:
        record: the variables.
        contract: of the model.
        table: of the patient; None where the contract has no quantities.

    Raises:
        ArgumentError: the contract has quantities and there is no table, or one of other rules.
    """
    values = [_value(record, term) for term in contract.terms]
    scaled = [0.0 if x is None else (x - term.mean) / term.sd for x, term in zip(values, contract.terms, strict=True)]
    lesions = [] if not contract.quantities else encode_quantities(_measured(table, contract), contract.quantities)
    return EncodedRecord(
        np.array([*scaled, *_flags(values, contract.terms), *lesions], np.float32), missing_variables(record, contract)
    )


def missing_variables(record: ClinicalRecord, contract: InputContract) -> tuple[str, ...]:
    """Fields that the model uses and the record lacks."""
    return tuple(name for name in contract.variables if getattr(record, name) is None)


def missing_inputs(record: ClinicalRecord, contract: InputContract, table: LesionTable | None) -> tuple[str, ...]:
    """Fields that the record lacks, then quantities of the table that could not be measured, as "lesion:<name>".

    Args:
        record: of the patient.
        contract: of the model.
        table: of the patient; None names no quantity.
    """
    values = table.values() if table is not None and table.version == contract.table_version else {}
    lacking = (term.name for term in contract.quantities if values.get(term.name, 0.0) is None)
    return (*missing_variables(record, contract), *(f"{LESION_PREFIX}{name}" for name in lacking))


def missing_terms(
    record: ClinicalRecord, contract: InputContract, table: LesionTable | None = None
) -> tuple[tuple[ClinicalTerm, ...], tuple[QuantityTerm, ...]]:
    """Terms of the record, and of the lesion table, that are missing for a patient; arguments as for `encode`."""
    clinical = tuple(term for term in contract.terms if _value(record, term) is None)
    if not contract.quantities:
        return clinical, ()
    values = _measured(table, contract)
    return clinical, tuple(term for term in contract.quantities if values[term.name] is None)


def input_values(
    record: ClinicalRecord, contract: InputContract, table: LesionTable | None = None
) -> dict[str, float | None]:
    """Encoded terms by input, None where missing; those of the lesion table only where there is one of its rules."""
    clinical = {term.name: (_value(record, term), term.mean, term.sd) for term in contract.terms}
    found = {name: None if x is None else (x - mean) / sd for name, (x, mean, sd) in clinical.items()}
    if contract.quantities and table is not None and table.version == contract.table_version:
        values = table.values()
        for term in contract.quantities:
            value = values[term.name]
            found[f"{LESION_PREFIX}{term.name}"] = None if value is None else term.scaled(value)
    return found


def encode_quantities(values: Mapping[str, float | None], terms: Sequence[QuantityTerm]) -> list[float]:
    """Encode quantities of a lesion table: the terms, then their flags.

    Args:
        values: `LesionTable.values()`.
        terms: of the contract.
    """
    chosen = [values[term.name] for term in terms]
    scaled = [0.0 if x is None else term.scaled(x) for x, term in zip(chosen, terms, strict=True)]
    return [*scaled, *_flags(chosen, terms)]


def _flags(values: Sequence[float | None], terms: Sequence[ClinicalTerm | QuantityTerm]) -> list[float]:
    return [float(x is None) for x, term in zip(values, terms, strict=True) if term.flag]


def _measured(table: LesionTable | None, contract: InputContract) -> Mapping[str, float | None]:
    found = None if table is None else table.version
    if table is None or found != contract.table_version:
        raise ArgumentError(
            found=Message("The lesion table is missing, or of other rules ({found}).", found=found or "–"),
            needed=Message("A lesion table measured by the rules “{needed}”.", needed=contract.table_version),
            advice=Message("Measure it with fedpet.imaging.quantification.measure_table of this version."),
        )
    return table.values()


def _value(record: ClinicalRecord, term: ClinicalTerm) -> float | None:
    """The term before scaling, or None where a variable is missing."""
    values = [getattr(record, name) for name in term.variables]
    if any(x is None for x in values):
        return None
    match term.kind:
        case "number":
            return float(values[0])
        case "log_ratio":
            return log(values[0] / values[1])
        case "above_ratio":
            return float(values[0] > values[1])
        case "equals":
            return float(values[0] == term.level)
        case "at_least":
            return float(values[0] >= _threshold(term))


def _threshold(term: ClinicalTerm) -> float:
    if term.threshold is None:
        raise ValueError(f"term {term.name} of kind at_least has no threshold")
    return term.threshold


_LABELS = {
    "age": Message("Age"),
    "male": Message("Male sex"),
    "ecog_1": Message("ECOG PS ≥ 1"),
    "ecog_2": Message("ECOG PS ≥ 2"),
    "never_smoker": Message("Never smoker"),
    "squamous": Message("Squamous histology"),
    "pdl1_1": Message("PD-L1 TPS ≥ 1 %"),
    "pdl1_50": Message("PD-L1 TPS ≥ 50 %"),
    "line_2": Message("Second line or later"),
    "ldh_above_uln": Message("LDH above the upper limit of normal"),
    "nlr": Message("Neutrophil-to-lymphocyte ratio"),
    "leucocytes": Message("Leucocytes"),
    "albumin": Message("Albumin"),
    "steroids": Message("Steroids ≥ 10 mg/d"),
    "brain_metastases": Message("Brain metastases"),
    "liver_metastases": Message("Liver metastases"),
    "bone_metastases": Message("Bone metastases"),
    "image:tumour_volume": Message("Metabolic tumour volume (model's map)"),
    "image:tumour_uptake": Message("Mean tumour uptake (model's map)"),
    "image:dissemination": Message("Spread of the lesions (model's map)"),
    "image:necrosis": Message("Necrotic fraction (model's map)"),
    "image:liver_burden": Message("Liver lesions (model's map)"),
    "image:marrow_to_liver": Message("Marrow-to-liver ratio (model's map)"),
    LEARNED_TERM: Message("Pattern of the lesions (learned)"),
}


def input_label(name: str) -> Message:
    """Label of an input that is missing, by the name that `missing_inputs` gives it."""
    return VARIABLES[name].label if name in VARIABLES else term_label(name)


def term_label(name: str) -> Message:
    """Label of a clinical term, of a quantity of the lesion table, of a missingness flag, or of an image biomarker.

    Raises:
        KeyError: no term of fedpet.
    """
    if name.startswith(LESION_PREFIX):
        return QUANTITIES[name.removeprefix(LESION_PREFIX)].label
    if name.startswith(f"missing:{LESION_PREFIX}"):
        return Message("{term}: not measurable", term=term_label(name.removeprefix("missing:")))
    if name.startswith("missing:"):
        return Message("{term}: missing", term=term_label(name.removeprefix("missing:")))
    return _LABELS[name]
