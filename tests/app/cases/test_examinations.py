from __future__ import annotations

import pytest

from app.cases.examinations import read_examination
from app.cases.options import CaseOptions
from app.cases.proposals import Proposal, proposals
from app.cases.reading import Reading, Stamp
from app.cases.store import Store
from app.cases.stored_result import StoredResult
from app.cases.tables import Status
from fedpet.core.messages import Message
from fedpet.core.settings import Settings
from fedpet.imaging.lesions.interactive import BrushStroke, LesionEdits
from fedpet.imaging.response.comparison import LesionSummary
from tests.support import case_files as cases

BODY = ((-200.0, -150.0, 0.0), (200.0, 150.0, 900.0))


def _result(folder, *, height_m=1.75):
    data = cases.make_json(cases.make_case(folder))
    data["study"]["pet"]["height_m"] = height_m
    data["references"] = {"liver": {"suv_mean": 2.1, "suv_sd": 0.3}, "blood_pool": None}
    data["landmarks_mm"] = {"apex": [1.0, 2.0, 3.0]}
    return data


def test_an_examination_is_read_from_a_stored_result(tmp_path):
    data = _result(tmp_path)
    read = read_examination(StoredResult.read(data), BODY)
    (lesion,) = data["prediction"]["quantities"]["lesions"]
    point = tuple(lesion["centroid_mm"])
    names = ("suv_max", "suv_peak", "mtv_ml")
    assert read.lesions == (LesionSummary(1, lesion["region"], point, *(lesion[name] for name in names)),)
    assert (read.date, read.scanner, read.uptake_min) == ("2026-03-10", "Maker Scanner", 95.0)
    bmi = 70.0 / 1.75**2
    assert read.sul_per_suv == pytest.approx(9270.0 / (6680.0 + 216.0 * bmi))  # Janmahasatian, men
    assert (read.liver, read.blood_pool, read.landmarks["apex"]) == ((2.1, 0.3), None, (1.0, 2.0, 3.0))


def test_without_a_height_there_is_no_sul(tmp_path):
    assert read_examination(StoredResult.read(_result(tmp_path, height_m=None)), BODY).sul_per_suv is None


def _component(number, place, *, included, switched=False):
    reason = Message("A reason.").to_json()
    return {"id": number, "included": included, "switched": switched, "place": "liver", "reason": reason,
            "suv_max": 6.0, "volume_ml": 5.0, "centroid_mm": place}  # fmt: skip


def _dated(store, folder, date, components, *, first=0, confirmed=True, owner="Dr A"):
    """A case with these components; its landmarks lie 10 mm higher at the later date."""
    data = _result(folder / date)
    data["prediction"]["components"] = components
    data["landmarks_mm"] = {"apex": [0.0, 0.0, 100.0 if date < "2026" else 110.0]}
    edits = LesionEdits((BrushStroke(first, ((0.0, 0.0, 0.0),), 5.0),) if first else (), {}, first)
    reading = Reading(confirmed=Stamp.now("Dr A") if confirmed else None).to_json()
    case = store.create("fr", owner=owner)
    cases.alter_case(
        store, case.id, status=Status.READY, pseudonym="P-1", study_date=date, result=data, reading=reading,
        options=CaseOptions(edits=edits).to_json(),
    )  # fmt: skip
    return store.get(case.id)


def test_decisions_of_the_earlier_examination_are_proposed_where_its_places_are_now(tmp_path):
    store = Store.open(Settings(home=tmp_path / "home"))
    before = [
        _component(1, (0.0, 0.0, 0.0), included=False, switched=True),  # left out by the reader
        _component(2, (100.0, 0.0, 0.0), included=True, switched=True),  # counted by the reader
        _component(3, (0.0, 100.0, 0.0), included=False),  # left out by the rules
        _component(7, (0.0, 0.0, 200.0), included=True),  # drawn
    ]
    after = [
        _component(1, (3.0, 0.0, 12.0), included=True),
        _component(2, (100.0, 5.0, 10.0), included=False),
        _component(3, (0.0, 100.0, 10.0), included=True),
    ]
    now = _dated(store, tmp_path, "2026-02-01", after, confirmed=False)
    ask = {"visible": lambda case: case.owner == "Dr A", "body_of": lambda _: BODY}
    assert proposals(store, now, **ask) == ()  # nothing before
    _dated(store, tmp_path, "2025-01-01", before, first=7, confirmed=False)
    _dated(store, tmp_path, "2025-02-01", before, first=7, owner="Dr B")
    assert proposals(store, now, **ask) == ()  # not confirmed; another reader's
    _dated(store, tmp_path, "2025-03-01", before, first=7)
    assert proposals(store, now, **ask) == (
        Proposal("exclude", "2025-03-01", (3.0, 0.0, 12.0), 1, "liver"),
        Proposal("include", "2025-03-01", (100.0, 5.0, 10.0), 2, "liver"),
        Proposal("add", "2025-03-01", (0.0, 0.0, 210.0), None, "liver"),
    )
    decided = [one | {"switched": True} for one in after] + [_component(9, (0.0, 0.0, 205.0), included=True)]
    assert proposals(store, _dated(store, tmp_path, "2026-03-01", decided, confirmed=False), **ask) == ()
    far = [one | {"centroid_mm": (300.0, 300.0, 300.0)} for one in after]
    assert [one.do for one in proposals(store, _dated(store, tmp_path, "2026-01-15", far, confirmed=False), **ask)] == [
        "add",
        "add",
    ]
    store.close()
