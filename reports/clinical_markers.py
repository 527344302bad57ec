"""Established prognostic markers, computed without the model, for the report and the application."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

from fedpet.clinical.scores import SCORES, TMTV, grim_group, missing_inputs, pdl1_class
from fedpet.clinical.variables import VARIABLES
from fedpet.core.messages import Message
from reports.labels import LIPI

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fedpet.clinical.record import ClinicalRecord

_GRIM_GROUPS = {"low": Message("low risk"), "high": Message("high risk")}
_ALI_LOW = 18.0
_RATIOS = ("nlr", "dnlr")
_OF_RECORD = ("lipi", "grim", "ali", "epsilon", "loris", "loris_without_tmb", "loris_pan_cancer")
_REFERENCES: Mapping[str, Message] = {
    "loris_without_tmb": Message("refit on the data of Chang 2024, not published"),
}


@dataclass(frozen=True)
class PrognosticMarker:
    """A marker of a patient in words, and the publication of its classes."""

    name: Message
    value: Message
    reference: Message | str
    computable: bool = True


def ratios(record: ClinicalRecord) -> tuple[PrognosticMarker, ...]:
    """NLR and dNLR."""
    return tuple(_marker(name, record, None) for name in _RATIOS)


def scores(record: ClinicalRecord) -> tuple[PrognosticMarker, ...]:
    """The published scores that need no image: LIPI, GRIm, ALI, EPSILoN and LORIS."""
    return tuple(_marker(name, record, None) for name in _OF_RECORD)


def markers(record: ClinicalRecord, tmtv_ml: float) -> tuple[PrognosticMarker, ...]:
    """All published scores, PD-L1 and TMTV.

    Args:
        record: of the patient.
        tmtv_ml: TMTV that the report prints, ml.
    """
    tmtv = (
        Message("{volume:.1f} ml; published cut-off 75 ml (other delineation)", volume=tmtv_ml)
        if tmtv_ml
        else Message("no lesion; published cut-off 75 ml (other delineation)")
    )
    return (
        *scores(record),
        *ratios(record),
        PrognosticMarker(Message("PD-L1 TPS"), _pdl1(record.pdl1_tps), Message("classes < 1, 1–49, ≥ 50 %")),
        PrognosticMarker(Message("TMTV alone"), tmtv, "Seban, EJNMMI 2020"),
        _marker("seban", record, tmtv_ml),
    )


def _marker(name: str, record: ClinicalRecord, tmtv_ml: float | None) -> PrognosticMarker:
    score = SCORES[name]
    value = score.compute(record, tmtv_ml)
    said = _not_computable(missing_inputs(score, record, tmtv_ml)) if value is None else _value(name, value)
    return PrognosticMarker(score.label, said, _REFERENCES.get(name, score.reference), computable=value is not None)


def _not_computable(missing: Iterable[str]) -> Message:
    """The inputs that are missing, by name; without any, the white blood cells contradict the neutrophils."""
    labels = [Message("TMTV") if name == TMTV else VARIABLES[name].label for name in missing]
    if not labels:
        return Message("not computable: white blood cells do not exceed neutrophils")
    return Message("not computable, missing: {inputs}", inputs=reduce(_and, labels))


def _and(first: Message, second: Message) -> Message:
    return Message("{first}, {second}", first=first, second=second)


def _value(name: str, value: float) -> Message:
    """A value in words, with its class where the publication has one."""
    points = int(value)
    words = {
        "lipi": LIPI[min(points, len(LIPI) - 1)],
        "grim": Message("{points} of 3 points: {group}", points=points, group=_GRIM_GROUPS[grim_group(points)]),
        "epsilon": Message("{points} of 5 unfavourable factors", points=points),
        "seban": Message("{points} of 2 unfavourable factors", points=points),
        "ali": Message("{value:.1f}: low inflammation (18 or more)", value=value),
        **dict.fromkeys(_RATIOS, Message("{ratio:.2f}", ratio=value)),
    }
    if name == "ali" and value < _ALI_LOW:
        return Message("{value:.1f}: high inflammation (below 18)", value=value)
    return words.get(name) or Message("{value:.2f} (0 to 1; higher: response likelier)", value=value)


def _pdl1(tps: float | None) -> Message:
    if tps is None:
        return Message("not given")
    classes = {
        "below_1": Message("{tps:g} %: below 1 %", tps=tps),
        "1_to_49": Message("{tps:g} %: 1 to 49 %", tps=tps),
        "50_or_more": Message("{tps:g} %: 50 % or more", tps=tps),
    }
    return classes[pdl1_class(tps)]
