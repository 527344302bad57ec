"""Names that people read for the identifiers that travel in a case."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fedpet.messages import Message
from imaging.study import Level

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.prediction import EndpointName, RiskGroup

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
    "orientation": Message("Orientation"),
    "tracer": Message("Tracer"),
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

LIPI: tuple[Message, ...] = (
    Message("0 point: good prognosis"),
    Message("1 point: intermediate prognosis"),
    Message("2 points: poor prognosis"),
)
