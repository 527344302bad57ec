"""Established prognostic markers, computed without the model, for the report and the application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fedpet.clinical.scores import dnlr, grim, grim_group, lipi, nlr, pdl1_class
from fedpet.core.messages import Message
from reports.labels import LIPI

if TYPE_CHECKING:
    from fedpet.clinical.record import ClinicalRecord

NOT_COMPUTABLE = Message("not computable: an input is missing")
_GRIM_GROUPS = {"low": Message("low risk"), "high": Message("high risk")}


@dataclass(frozen=True)
class PrognosticMarker:
    """A marker of a patient in words, and the publication of its classes."""

    name: Message
    value: Message
    reference: Message | str


def ratios(record: ClinicalRecord) -> tuple[PrognosticMarker, ...]:
    """NLR and dNLR."""
    values = ((Message("NLR"), nlr(record)), (Message("dNLR"), dnlr(record)))
    return tuple(
        PrognosticMarker(name, NOT_COMPUTABLE if ratio is None else Message("{ratio:.2f}", ratio=ratio), "")
        for name, ratio in values
    )


def scores(record: ClinicalRecord) -> tuple[PrognosticMarker, ...]:
    """LIPI and GRIm."""
    points, risk = lipi(record), grim(record)
    return (
        PrognosticMarker(
            Message("LIPI (dNLR > 3, LDH above the limit)"),
            NOT_COMPUTABLE if points is None else LIPI[points],
            "Mezquita, JAMA Oncol 2018",
        ),
        PrognosticMarker(
            Message("GRIm (NLR > 6, LDH above the limit, albumin < 35 g/L)"),
            NOT_COMPUTABLE
            if risk is None
            else Message("{points} of 3 points: {group}", points=risk, group=_GRIM_GROUPS[grim_group(risk)]),
            "Bigot, Eur J Cancer 2017",
        ),
    )


def markers(record: ClinicalRecord, tmtv_ml: float) -> tuple[PrognosticMarker, ...]:
    """LIPI, GRIm, NLR, dNLR, PD-L1 and TMTV."""
    tmtv = Message("{volume:.1f} ml; published cut-off 75 ml (other delineation)", volume=tmtv_ml)
    return (
        *scores(record),
        *ratios(record),
        PrognosticMarker(Message("PD-L1 TPS"), _pdl1(record.pdl1_tps), Message("classes < 1, 1–49, ≥ 50 %")),
        PrognosticMarker(Message("TMTV alone"), tmtv, "Seban, EJNMMI 2020"),
    )


def _pdl1(tps: float | None) -> Message:
    if tps is None:
        return Message("not given")
    classes = {
        "below_1": Message("{tps:g} %: below 1 %", tps=tps),
        "1_to_49": Message("{tps:g} %: 1 to 49 %", tps=tps),
        "50_or_more": Message("{tps:g} %: 50 % or more", tps=tps),
    }
    return classes[pdl1_class(tps)]
