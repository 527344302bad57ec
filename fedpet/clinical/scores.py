"""Published prognostic scores. A missing input makes a score not computable (None); nothing is imputed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from fedpet.clinical.record import ClinicalRecord


def nlr(record: ClinicalRecord) -> float | None:
    """Neutrophil-to-lymphocyte ratio."""
    if record.neutrophils is None or record.lymphocytes is None:
        return None
    return record.neutrophils / record.lymphocytes


def dnlr(record: ClinicalRecord) -> float | None:
    """Derived ratio: neutrophils / (leucocytes - neutrophils), where leucocytes exceed neutrophils."""
    if record.neutrophils is None or record.leucocytes is None or record.leucocytes <= record.neutrophils:
        return None
    return record.neutrophils / (record.leucocytes - record.neutrophils)


def lipi(record: ClinicalRecord) -> Literal[0, 1, 2] | None:
    """Lung Immune Prognostic Index: 0 good, 1 intermediate, 2 poor.

    One point each for dNLR > 3 and LDH above the laboratory's upper limit (Mezquita, JAMA Oncol 2018).
    """
    ratio, high_ldh = dnlr(record), _ldh_above_limit(record)
    if ratio is None or high_ldh is None:
        return None
    if ratio > 3 and high_ldh:
        return 2
    return 1 if ratio > 3 or high_ldh else 0


def grim(record: ClinicalRecord) -> int | None:
    """Gustave Roussy Immune score, 0 to 3 (see `grim_group`).

    One point each for NLR > 6, LDH above the upper limit and albumin < 35 g/L (Bigot, Eur J Cancer 2017).
    """
    ratio, high_ldh = nlr(record), _ldh_above_limit(record)
    if ratio is None or high_ldh is None or record.albumin is None:
        return None
    return int(ratio > 6) + int(high_ldh) + int(record.albumin < 35)


def grim_group(points: int) -> Literal["low", "high"]:
    """Risk group of a GRIm score (0 to 3): high from 2 points (Bigot, Eur J Cancer 2017)."""
    return "low" if points < 2 else "high"


def pdl1_class(tps: float) -> Literal["below_1", "1_to_49", "50_or_more"]:
    """Class of a tumour proportion score of PD-L1 (0 to 100 %) by which first-line treatment is chosen."""
    if tps < 1:
        return "below_1"
    return "50_or_more" if tps >= 50 else "1_to_49"


def _ldh_above_limit(record: ClinicalRecord) -> bool | None:
    if record.ldh is None or record.ldh_uln is None:
        return None
    return record.ldh > record.ldh_uln
