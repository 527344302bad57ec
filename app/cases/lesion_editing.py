"""What a reader does to the lesions of a case, one step at a time, as the choices that follow from it."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any, get_args

from app.cases.options import CaseOptions
from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.detection.thresholds import FIXED_SUV
from fedpet.imaging.lesions.interactive import ERASED, BrushStroke, GrownFocus, LesionEdits, MergedLesions
from fedpet.imaging.lesions.lesion import ThresholdMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.cases.reading import Reading
    from app.cases.stored_result import StoredPrediction
    from fedpet.imaging.lesions.interactive import Step

    Point = tuple[float, float, float]  # LPS, mm

OF_THE_LESIONS = ("method", "include", "exclude", "edits", "liver")  # the choices that a step can change
STEPS_KEPT = 50  # that can be undone
_POINTS, _RADII_MM = 200, (1.0, 60.0)  # of a stroke
_FAR_MM = 1e4


def apply_step(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    """The choices after a step.

    Args:
        options: in force.
        prediction: with them.
        step: `do` is "switch" or "delete" (with `id`), "grow" (`point` in LPS mm, `threshold` in SUV), "brush"
            (`points`, `radius` in mm, `at_least` in SUV, `id` or None for a new lesion), "erase" (`points`, `radius`),
            "merge" (`id`, `other`), "region" (`id`, `region`), "method" (`method`)
            or "liver" (`point` in LPS mm of its sphere, None for where it is found).

    Raises:
        ArgumentError: no such step, lesion, region or method.
    """
    act = _STEPS.get(str(step.get("do")))
    if act is None:
        raise _wrong(Message("This is no step of the correction of lesions."))
    try:
        return act(options, prediction, step)
    except (KeyError, TypeError, ValueError) as error:
        raise _wrong(Message("The step lacks a value, or has one of another kind.")) from error


def take_step(
    options: CaseOptions, prediction: StoredPrediction, reading: Reading, step: Mapping[str, Any]
) -> tuple[CaseOptions, Reading]:
    """The choices after a step, or after one was taken back ("undo") or taken again ("redo"), and what can be undone.

    Raises:
        ArgumentError: the step does not fit the case.
    """
    now, undo, redo = lesion_choices(options), list(reading.undo), list(reading.redo)
    if step.get("do") in {"undo", "redo"}:
        there, back = (undo, redo) if step["do"] == "undo" else (redo, undo)
        if not there:
            return options, reading
        changed = with_choices(options, there.pop())
        back.append(now)
    else:
        changed = apply_step(options, prediction, step)
        undo, redo = [*undo, now][-STEPS_KEPT:], []
    return changed, reading.model_copy(update={"undo": tuple(undo), "redo": tuple(redo)})


def lesion_choices(options: CaseOptions) -> dict[str, Any]:
    """The choices that a step can change, for its undoing."""
    return {name: value for name, value in options.to_json().items() if name in OF_THE_LESIONS}


def with_choices(options: CaseOptions, choices: Mapping[str, Any]) -> CaseOptions:
    """The options with the choices of `lesion_choices`."""
    return CaseOptions.from_json({**options.to_json(), **choices})


def _switch(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    """Count a component as a lesion or not; one that a reader had switched goes back to what the rules say."""
    number = int(step["id"])
    if number in options.edits.numbers and number >= options.edits.first:
        return replace(options, edits=options.edits.without(number))
    known = next((one for one in prediction.components if one.id == number), None)
    if known is None:
        raise _wrong(Message("There is no lesion {number}.", number=number))
    include, exclude = set(options.include), set(options.exclude)
    if number in include | exclude:
        include.discard(number)
        exclude.discard(number)
    else:
        (exclude if known.included else include).add(number)
    return replace(options, include=tuple(sorted(include)), exclude=tuple(sorted(exclude)))


def _delete(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    number = int(step["id"])
    counted = prediction.quantities.lesion(number) is not None
    return _switch(options, prediction, step) if counted else options


def _grow(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    return _with_step(
        options, prediction, lambda number: GrownFocus(number, _point(step["point"]), float(step["threshold"]))
    )


def _brush(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    """Add what a stroke covers to a lesion that counts, or make a new one of it."""
    number = None if step["id"] is None else _counted(prediction, step["id"])
    at_least = float(step.get("at_least", 0.0))
    points, radius = _stroke(step)
    return _with_step(options, prediction, lambda new: BrushStroke(number or new, points, radius, at_least))


def _erase(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    points, radius = _stroke(step)
    return _with_step(options, prediction, lambda _: BrushStroke(ERASED, points, radius))


def _merge(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    """Of two lesions that count one, with the lower of their numbers."""
    kept, other = sorted(_counted(prediction, step[name]) for name in ("id", "other"))
    if kept == other:
        raise _wrong(Message("There is no lesion {number}.", number=other))
    return _with_step(options, prediction, lambda _: MergedLesions(kept, other))


def _with_step(options: CaseOptions, prediction: StoredPrediction, make: Callable[[int], Step]) -> CaseOptions:
    """The choices with one step more, which is made with the number of a new lesion."""
    edits = options.edits
    first = edits.first or max((one.id for one in prediction.components), default=0) + 1
    new = make(max(first, *(number + 1 for number in edits.numbers), 0))
    return replace(options, edits=replace(edits, steps=(*edits.steps, new), first=first))


def _counted(prediction: StoredPrediction, number: object) -> int:
    """The number of a lesion that counts."""
    if not isinstance(number, int) or prediction.quantities.lesion(number) is None:
        raise _wrong(Message("There is no lesion {number}.", number=number))
    return number


def _stroke(step: Mapping[str, Any]) -> tuple[tuple[Point, ...], float]:
    """The points of a stroke and its radius, mm."""
    points, radius = tuple(_point(one) for one in step["points"]), float(step["radius"])
    low, high = _RADII_MM
    if not 0 < len(points) <= _POINTS or not low <= radius <= high or not all(map(_is_near, chain(*points))):
        raise _wrong(Message("A stroke has 1 to {most} points and a radius of {low:g} to {high:g} mm.",
                             most=_POINTS, low=low, high=high))  # fmt: skip
    return points, radius


def _point(value: Any) -> Point:  # noqa: ANN401  as a browser sent it
    x, y, z = (float(one) for one in value)
    return x, y, z


def _is_near(value: float) -> bool:
    return abs(value) < _FAR_MM  # also not for what is no number


def _region(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    number, region = int(step["id"]), str(step["region"])
    if region not in REGIONS or prediction.quantities.lesion(number) is None:
        raise _wrong(Message("There is no such lesion or region."))
    return replace(options, edits=replace(options.edits, regions={**options.edits.regions, number: region}))


def _method(options: CaseOptions, _: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    """Another delineation makes another list: what was switched or outlined by hand is lost."""
    method = next((one for one in get_args(ThresholdMethod) if one == step["method"]), None)
    if method is None:
        raise _wrong(Message("There is no such delineation."))
    return _new_list(replace(options, method=method))


def _liver(options: CaseOptions, _: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    """The sphere of the liver elsewhere; where lesions are outlined by it, it makes another list of them."""
    point = step["point"]
    centre = None if point is None else _point(point)
    if centre is not None and not all(map(_is_near, centre)):
        raise _wrong(Message("This is no point of the images."))
    moved = replace(options, liver=centre)
    return moved if options.method in FIXED_SUV else _new_list(moved)


def _new_list(options: CaseOptions) -> CaseOptions:
    return replace(options, include=(), exclude=(), edits=LesionEdits())


_STEPS: dict[str, Callable[[CaseOptions, StoredPrediction, Mapping[str, Any]], CaseOptions]] = {
    "switch": _switch,
    "delete": _delete,
    "grow": _grow,
    "brush": _brush,
    "erase": _erase,
    "merge": _merge,
    "region": _region,
    "method": _method,
    "liver": _liver,
}


def _wrong(found: Message) -> ArgumentError:
    return ArgumentError(
        found=found,
        needed=Message("A step on the lesions as they are now."),
        advice=Message("Reload the page, then try again."),
    )
