"""Steps of the correction of lesions, their undoing, and what of them is refused."""

from __future__ import annotations

import json

import pytest

from app.cases.lesion_editing import take_step
from app.cases.options import CaseOptions
from app.cases.reading import Reading, Stamp, changes, checked_marks
from app.cases.stored_result import StoredComponent, StoredResult
from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message
from fedpet.imaging.lesions.interactive import GrownFocus, LesionEdits
from tests.support import case_files as cases


@pytest.fixture(scope="module")
def prediction(tmp_path_factory):
    """One lesion (1) and one component that is none (2)."""
    result = StoredResult.read(cases.make_json(cases.make_case(tmp_path_factory.mktemp("case"))))
    two = {"place": "kidney", "reason": Message("A reason.").to_json(), "suv_max": 6.0, "volume_ml": 5.0}
    components = tuple(
        StoredComponent.read({**two, "id": number, "included": number == 1, "centroid_mm": (0.0, 0.0, 0.0)})
        for number in (1, 2)
    )
    return result.prediction.model_copy(update={"components": components})


def _after(prediction, *steps):
    options, reading = CaseOptions(), Reading()
    for step in steps:
        options, reading = take_step(options, prediction, reading, step)
    return options, reading


def test_lesions_are_switched_off_and_on_again(prediction):
    off, _ = _after(prediction, {"do": "switch", "id": 1}, {"do": "switch", "id": 2})
    assert (off.include, off.exclude) == ((2,), (1,))
    again, _ = _after(prediction, {"do": "switch", "id": 1}, {"do": "switch", "id": 1})
    assert again == CaseOptions()
    deleted, _ = _after(prediction, {"do": "delete", "id": 1})
    assert deleted.exclude == (1,)


def test_a_focus_gets_a_number_of_its_own_and_is_removed_by_it(prediction):
    grow = {"do": "grow", "point": [1, 2.5, -3], "threshold": 4.2}
    options, _ = _after(prediction, grow, grow)
    assert [(one.id, one.point_mm, one.threshold) for one in options.edits.steps] == [
        (3, (1.0, 2.5, -3.0), 4.2), (4, (1.0, 2.5, -3.0), 4.2),
    ]  # fmt: skip
    assert CaseOptions.from_json(options.to_json()) == options
    left, _ = _after(prediction, grow, grow, {"do": "switch", "id": 3})
    assert [one.id for one in left.edits.steps] == [4]


def test_strokes_and_merged_lesions_are_kept_with_their_numbers(prediction):
    stroke = {"do": "brush", "points": [[0, 0, 0], [9.5, 0, 0]], "radius": 6, "at_least": 2.5, "id": None}
    options, _ = _after(prediction, stroke, {**stroke, "id": 1}, {"do": "erase", "points": [[1, 2, 3]], "radius": 2})
    assert [(one.id, len(one.points_mm), one.radius_mm, one.at_least) for one in options.edits.steps] == [
        (3, 2, 6.0, 2.5), (1, 2, 6.0, 2.5), (0, 1, 2.0, 0.0),
    ]  # fmt: skip
    assert CaseOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    gone = prediction.model_copy(update={"components": prediction.components[:1]})  # the second was erased
    again, _ = take_step(options, gone, Reading(), stroke)
    assert again.edits.steps[-1].id == 4  # no number is given twice


def test_a_drawn_lesion_goes_with_those_that_were_merged_into_it(prediction):
    lesion = prediction.quantities.lesions[0]
    lesions = tuple(lesion.model_copy(update={"id": number}) for number in (1, 3, 4))
    shown = prediction.model_copy(update={"quantities": prediction.quantities.model_copy(update={"lesions": lesions})})
    grow = {"do": "grow", "point": [1, 2.5, -3], "threshold": 4.2}
    options, _ = _after(shown, grow, grow, {"do": "merge", "id": 4, "other": 3}, {"do": "merge", "id": 1, "other": 3})
    assert [(one.id, one.other) for one in options.edits.steps[2:]] == [(3, 4), (1, 3)]
    assert CaseOptions.from_json(options.to_json()) == options
    left, _ = _after(shown, grow, grow, {"do": "merge", "id": 3, "other": 4}, {"do": "delete", "id": 3})
    assert left.edits.steps == ()


def test_steps_are_taken_back_and_again_and_a_new_one_ends_that(prediction):
    steps = [
        {"do": "switch", "id": 1},
        {"do": "region", "id": 1, "region": "liver"},
        {"do": "method", "method": "suv25"},
    ]
    options, reading = _after(prediction, *steps)
    assert (options.method, options.exclude, dict(options.edits.regions)) == ("suv25", (), {})
    before, after = take_step(options, prediction, reading, {"do": "undo"})
    assert (before.method, before.exclude, dict(before.edits.regions)) == ("suv4", (1,), {1: "liver"})
    assert take_step(before, prediction, after, {"do": "redo"})[0] == options
    first, once = take_step(before, prediction, after, {"do": "undo"})
    first, once = take_step(first, prediction, once, {"do": "undo"})
    assert first == CaseOptions()
    assert take_step(first, prediction, once, {"do": "undo"})[0] == first
    _, ended = take_step(first, prediction, once, {"do": "switch", "id": 2})
    assert ended.redo == ()
    assert Reading.model_validate(ended.to_json()) == ended


def test_the_liver_is_moved_and_makes_a_new_list_only_where_it_outlines_lesions(prediction):
    move, off = {"do": "liver", "point": [-60, 10.5, 3]}, {"do": "switch", "id": 1}
    options, reading = _after(prediction, off, move)
    assert (options.liver, options.exclude) == ((-60.0, 10.5, 3.0), (1,))
    assert CaseOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
    assert take_step(options, prediction, reading, {"do": "undo"})[0].liver is None
    assert take_step(options, prediction, reading, {"do": "liver", "point": None})[0].liver is None
    by_liver, _ = _after(prediction, {"do": "method", "method": "percist"}, off, move)
    assert (by_liver.method, by_liver.exclude) == ("percist", ())


@pytest.mark.parametrize(
    "step",
    [
        {},
        {"do": "paint"},
        {"do": "switch"},
        {"do": "switch", "id": 9},
        {"do": "switch", "id": "x"},
        {"do": "grow", "point": [1, 2], "threshold": 4},
        {"do": "grow", "point": [1, 2, 3]},
        {"do": "brush", "points": [[0, 0, 0]], "radius": 5, "id": 2},
        {"do": "brush", "points": [], "radius": 5, "id": None},
        {"do": "brush", "points": [[0, 0, float("nan")]], "radius": 5, "id": None},
        {"do": "erase", "points": [[0, 0, 0]], "radius": 500},
        {"do": "erase", "points": [[0, 0, 0]] * 201, "radius": 5},
        {"do": "merge", "id": 1, "other": 1},
        {"do": "merge", "id": 1, "other": 2},
        {"do": "region", "id": 1, "region": "tail"},
        {"do": "region", "id": 2, "region": "liver"},
        {"do": "method", "method": "guess"},
        {"do": "liver"},
        {"do": "liver", "point": [0, 0, 1e9]},
    ],
)
def test_what_is_no_step_on_these_lesions_is_refused(prediction, step):
    with pytest.raises(ArgumentError):
        _after(prediction, step)


def test_estimates_are_compared_with_answers_that_were_kept_back():
    def reading(estimate, answer, *, blind=True):
        return Reading(confirmed=Stamp.now("Dr A"), estimate=estimate, answer=answer, blind=blind)

    read = [
        reading(0.4, 0.6),
        reading(0.7, 0.6),
        reading(None, 0.6),
        reading(0.1, None),
        reading(0.1, 0.9, blind=False),
    ]
    found = changes([*read, Reading(estimate=0.2)])
    assert (found.readings, found.estimates, found.other_side) == (5, 2, 1)
    assert found.mean_change == pytest.approx(0.05)
    assert found.mean_distance == pytest.approx(0.15)
    assert changes([]).mean_change is None


@pytest.mark.parametrize("marks", [{"spheres": 1}, {"keys": ["x"]}, {"distances": [{}] * 101}])
def test_marks_of_another_form_are_refused(marks):
    with pytest.raises(ArgumentError):
        checked_marks(marks)
    assert checked_marks({"spheres": [{"radius": 5}], "other": 1}) == {
        "distances": [], "angles": [], "spheres": [{"radius": 5}], "keys": [],
    }  # fmt: skip


def test_what_was_drawn_before_strokes_were_known_is_still_there():
    grown = {"id": 7, "point_mm": [1.0, 2.0, 3.0], "threshold": 2.5}
    options = CaseOptions.from_json({"edits": {"grown": [grown], "regions": {"7": "lung_left"}}})
    assert options.edits == LesionEdits((GrownFocus(7, (1.0, 2.0, 3.0), 2.5),), {7: "lung_left"}, 7)
    assert CaseOptions.from_json(options.to_json()) == options
