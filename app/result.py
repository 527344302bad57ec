"""`result.json`: a case as plain data, the same for the command line, the application and other programs."""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

import fedpet
from explain.explanation import Explanation, GateVerdict
from fedpet.messages import Message
from imaging.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clinical.record import ClinicalRecord
    from imaging.study import Study
    from inference.prediction import Prediction

FORMAT = "fedpet.result/1"


def result_json(
    study: Study, record: ClinicalRecord, prediction: Prediction, explanation: Explanation | None
) -> dict[str, Any]:
    """The case as JSON-able data. Images stay in their own files; the patient is there by pseudonym only."""
    return {
        "format": FORMAT,
        "software": f"fedpet {fedpet.__version__}",
        "pseudonym": study.pseudonym,
        "study": {
            "date": study.study_date,
            "pet": plain(study.pet_facts),
            "series": plain(study.series),
            "geometry": {"pet": _geometry(study.pet), "ct": _geometry(study.ct)},
            "corrections": plain(study.corrections),
        },
        "checks": plain(study.checks),
        "record": {name: value for name, value in asdict(record).items() if value is not None},
        "prediction": plain(prediction),
        "explanation": plain(explanation),
    }


def inspection_json(study: Study) -> dict[str, Any]:
    """What the checks of the images found, before any answer; "refused" where the SUV cannot be computed."""
    refusal = study.suv_refusal
    return {
        "date": study.study_date,
        "pet": plain(study.pet_facts),
        "series": plain(study.series),
        "geometry": {"pet": _geometry(study.pet), "ct": _geometry(study.ct)},
        "checks": plain(study.checks),
        "corrections": plain(study.corrections),
        "refused": None
        if refusal is None
        else {name: plain(getattr(refusal, name)) for name in ("found", "needed", "advice")},
    }


def explanation_from(data: Mapping[str, Any] | None, attribution: Volume) -> Explanation | None:
    """An explanation from `result_json` and its map."""
    if data is None:
        return None
    return Explanation(
        method=data["method"],
        attribution=attribution,
        lesion_share={int(lesion): share for lesion, share in data["lesion_share"].items()},
        variable_contributions=data["variable_contributions"],
        completeness_error=data["completeness_error"],
        gates=tuple(
            GateVerdict(gate["name"], gate["passed"], Message.from_json(gate["reason"])) for gate in data["gates"]
        ),
        description=None if data["description"] is None else Message.from_json(data["description"]),
    )


def plain(value: object) -> Any:  # noqa: ANN401  JSON has no narrower type
    """Dataclasses, messages and NumPy values as JSON-able data; volumes are left out."""
    if isinstance(value, Message):
        return {"text": str(value), **_numbers(value.to_json())}
    if is_dataclass(value) and not isinstance(value, type):
        given = {field.name: getattr(value, field.name) for field in fields(value)}
        return {name: plain(inner) for name, inner in given.items() if not isinstance(inner, Volume)}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    return _scalar(value)


def _numbers(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"template": message["template"], "values": {k: plain(v) for k, v in message["values"].items()}}


def _scalar(value: object) -> Any:  # noqa: ANN401  JSON has no narrower type
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def _geometry(volume: Volume | None) -> dict[str, Any] | None:
    """Shape (slices, rows, columns), spacing along (column, row, slice) in mm, centre of the first voxel in LPS mm."""
    if volume is None:
        return None
    return {
        "shape": list(volume.shape),
        "spacing_mm": [round(step, 5) for step in volume.spacing],
        "origin_mm": [round(float(x), 3) for x in volume.affine[:3, 3]],
    }
