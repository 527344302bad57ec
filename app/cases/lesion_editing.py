"""What a reader does to the lesions of a case, one step at a time, as the choices that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from app.cases.options import CaseOptions
from fedpet.core.errors import ArgumentError
from fedpet.core.messages import Message
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.interactive import GrownFocus, LesionEdits
from fedpet.imaging.lesions.lesion import ThresholdMethod

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.cases.reading import Reading
    from app.cases.stored_result import StoredPrediction

OF_THE_LESIONS = ("method", "include", "exclude", "edits")  # the choices that a step can change
STEPS_KEPT = 50  # that can be undone


def apply_step(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    """The choices after a step.

    Args:
        options: in force.
        prediction: with them.
        step: `do` is "switch" or "delete" (with `id`), "grow" (`point` in LPS mm, `threshold` in SUV), "region" (`id`,
            `region`) or "method" (`method`).

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
    if any(one.id == number for one in options.edits.grown):
        return _without(options, number)
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


def _without(options: CaseOptions, number: int) -> CaseOptions:
    grown = tuple(one for one in options.edits.grown if one.id != number)
    regions = {key: value for key, value in options.edits.regions.items() if key != number}
    return replace(options, edits=LesionEdits(grown, regions))


def _grow(options: CaseOptions, prediction: StoredPrediction, step: Mapping[str, Any]) -> CaseOptions:
    x, y, z = (float(one) for one in step["point"])
    numbers = [*(one.id for one in prediction.components), *(one.id for one in options.edits.grown)]
    new = GrownFocus(max(numbers, default=0) + 1, (x, y, z), float(step["threshold"]))
    return replace(options, edits=replace(options.edits, grown=(*options.edits.grown, new)))


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
    return replace(options, method=method, include=(), exclude=(), edits=LesionEdits())


_STEPS: dict[str, Callable[[CaseOptions, StoredPrediction, Mapping[str, Any]], CaseOptions]] = {
    "switch": _switch,
    "delete": _delete,
    "grow": _grow,
    "region": _region,
    "method": _method,
}


def _wrong(found: Message) -> ArgumentError:
    return ArgumentError(
        found=found,
        needed=Message("A step on the lesions as they are now."),
        advice=Message("Reload the page, then try again."),
    )
