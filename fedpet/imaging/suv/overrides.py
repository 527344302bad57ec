"""A person's corrections of what the PET's headers say: weight, height, dose, injection and start of the scan.

Injected activities and weights are typed at the scanner, and de-identification shifts times. A correction takes the
place of the header's value before the calibration, so that everything that rests on it is computed anew; what was
there before, the reason and who said so stay with the study (`Study.corrections`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from math import isfinite
from typing import TYPE_CHECKING, Final, get_args

from fedpet.core.errors import OverrideError
from fedpet.core.messages import Message
from fedpet.imaging.study import OverrideName

if TYPE_CHECKING:
    from collections.abc import Mapping

OverrideValue = float | datetime | time  # a time alone is on the day of the scan (an injection: at most one day before)
NAMES: Final[tuple[OverrideName, ...]] = get_args(OverrideName)
LABELS: Final[Mapping[OverrideName, Message]] = {
    "weight_kg": Message("weight (kg)"),
    "height_m": Message("height (m)"),
    "dose_mbq": Message("dose (MBq)"),
    "injection_time": Message("injection time"),
    "scan_start": Message("start of the scan"),
}
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "weight_kg": (2.0, 500.0),
    "height_m": (0.4, 2.6),
    "dose_mbq": (1.0, 5000.0),
}


@dataclass(frozen=True)
class ManualOverride:
    """What a person puts in place of a header's value.

    Attributes:
        name: what is corrected.
        value: kg, m, MBq, or a time on the scanner's clock.
        reason: why; not empty.
        by: who; may be empty.

    Raises:
        OverrideError: unknown name, a value of the wrong kind or out of `RANGES`, or no reason.
    """

    name: OverrideName
    value: OverrideValue
    reason: str
    by: str = ""

    def __post_init__(self) -> None:
        _known(self.name)
        if not self.reason.strip():
            raise override_refused(
                Message("The correction of {name} has no reason.", name=LABELS[self.name]),
                Message("A reason, which is kept and reported."),
            )
        if self.name in RANGES:
            _require_in_range(self.name, self.value)
        elif not isinstance(self.value, datetime | time) or self.value.tzinfo is not None:
            raise override_refused(
                Message("The correction of {name} is not a time.", name=LABELS[self.name]),
                Message("A date and time, or a time, on the clock of the scanner."),
            )


def parse_override(name: str, value: str, *, reason: str, by: str = "") -> ManualOverride:
    """A correction from what a person typed.

    Args:
        name: one of `NAMES`.
        value: a number (kg, m, MBq; decimal comma allowed), or an ISO 8601 date and time, or HH:MM[:SS] alone for the
            day of the scan.
        reason: why.
        by: who.

    Raises:
        OverrideError: it cannot be read or is out of range.
    """
    known = _known(name)
    typed = value.strip()
    try:
        read: OverrideValue = float(typed.replace(",", ".")) if known in RANGES else _read_time(typed)
    except ValueError as error:
        raise override_refused(
            Message("The correction of {name} cannot be read.", name=LABELS[known]),
            Message("A number (kg, m, MBq), or a time as HH:MM or YYYY-MM-DDTHH:MM:SS."),
        ) from error
    return ManualOverride(known, read, reason, by)


def _read_time(typed: str) -> datetime | time:
    if ":" not in typed:  # a date alone would be read as midnight, "10" as ten o'clock
        raise ValueError
    if "-" in typed:
        return datetime.fromisoformat(typed)
    return time.fromisoformat(typed.zfill(len(typed) + (typed.find(":") == 1)))


def _require_in_range(name: OverrideName, value: OverrideValue) -> None:
    low, high = RANGES[name]
    if isinstance(value, datetime | time) or not isfinite(value) or not low <= value <= high:
        raise override_refused(
            Message("The correction of {name} is {value}.", name=LABELS[name], value=str(value)),
            Message("A number from {low} to {high}.", low=low, high=high),
        )


def _known(name: str) -> OverrideName:
    known = next((one for one in NAMES if one == name), None)
    if known is None:
        raise override_refused(
            Message("There is nothing called {name} to correct.", name=name[:20]),
            Message("One of {names}.", names=", ".join(NAMES)),
        )
    return known


def override_refused(found: Message, needed: Message) -> OverrideError:
    """An error about what a person typed."""
    return OverrideError(found=found, needed=needed, advice=Message("Check what was typed and try again."))
