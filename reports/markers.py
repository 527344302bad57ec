"""Established markers, known without the model: the same in the report and in the application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clinical.scores import dnlr, grim, lipi, nlr
from fedpet.messages import Message
from reports.wording import LIPI

if TYPE_CHECKING:
    from clinical.record import ClinicalRecord

NOT_COMPUTABLE = Message("not computable: an input is missing")


@dataclass(frozen=True)
class Marker:
    """One marker of a patient, in words, and where its classes come from."""

    name: Message
    value: Message
    reference: Message | str


def ratios(record: ClinicalRecord) -> tuple[Marker, ...]:
    """NLR and dNLR."""
    given = ((Message("NLR"), nlr(record)), (Message("dNLR"), dnlr(record)))
    return tuple(
        Marker(name, NOT_COMPUTABLE if ratio is None else Message("{ratio:.2f}", ratio=ratio), "")
        for name, ratio in given
    )


def scores(record: ClinicalRecord) -> tuple[Marker, ...]:
    """LIPI and GRIm."""
    points, risk = lipi(record), grim(record)
    return (
        Marker(
            Message("LIPI (dNLR > 3, LDH above the limit)"),
            NOT_COMPUTABLE if points is None else LIPI[points],
            "Mezquita, JAMA Oncol 2018",
        ),
        Marker(
            Message("GRIm (NLR > 6, LDH above the limit, albumin < 35 g/L)"),
            NOT_COMPUTABLE
            if risk is None
            else Message("{points} of 3 points: {group}", points=risk, group=_group(risk)),
            "Bigot, Eur J Cancer 2017",
        ),
    )


def markers(record: ClinicalRecord, tmtv_ml: float) -> tuple[Marker, ...]:
    """LIPI, GRIm, NLR, dNLR, PD-L1 and TMTV."""
    tmtv = Message("{volume:.1f} ml; published cut-off 75 ml (other delineation)", volume=tmtv_ml)
    return (
        *scores(record),
        *ratios(record),
        Marker(Message("PD-L1 TPS"), _pdl1(record.pdl1_tps), Message("classes < 1, 1–49, ≥ 50 %")),
        Marker(Message("TMTV alone"), tmtv, "Seban, EJNMMI 2020"),
    )


def _group(points: int) -> Message:
    return Message("low risk") if points < 2 else Message("high risk")


def _pdl1(tps: float | None) -> Message:
    if tps is None:
        return Message("not given")
    if tps < 1:
        return Message("{tps:g} %: below 1 %", tps=tps)
    return Message("{tps:g} %: 50 % or more", tps=tps) if tps >= 50 else Message("{tps:g} %: 1 to 49 %", tps=tps)
