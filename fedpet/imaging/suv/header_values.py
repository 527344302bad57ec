"""Weight, height, dose and half-life as a PET's headers state them, in the units used here (DICOM PS3.3 C.8.9.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fedpet.core.messages import Message
from fedpet.imaging.dicom.headers.readings import number_reading, shown
from fedpet.imaging.suv.tracer import F18_HALF_LIFE_S, HALF_LIVES_S, code, radiopharmaceutical

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydicom.dataset import Dataset

    from fedpet.imaging.dicom.headers.readings import Reading

WEIGHT: Final = Message("The patient's weight")
HEIGHT: Final = Message("The patient's height")
DOSE: Final = Message("The administered dose")
HALF_LIFE: Final = Message("The half-life")
_LARGEST_KG = 1000.0  # a weight above is in grams
_HEIGHT_M = (0.4, 2.6)
_HEIGHT_CM = (100.0, 260.0)  # below, it may be a weight in the wrong place
_MBQ = (37.0, 5e3)  # a dose between is in MBq, one of _BQ in Bq; real doses cluster near 4e2 and 4e8
_BQ = (1e6, 5e9)
_MCI = (0.1, 37.0)  # what nuclear medicine gives in mCi; in MBq it would not show in a PET
_SAME_HALF_LIFE = 0.02  # relative


@dataclass(frozen=True)
class HeaderValue:
    """A quantity of the headers.

    Attributes:
        value: kg, m, Bq or s; None where there is none that can be used.
        source: how it was read, for example "g read as kg"; "" without a value.
        problem: why there is no value; None where there is one.
    """

    value: float | None
    source: str = ""
    problem: Message | None = None


def weight(header: Dataset) -> HeaderValue:
    """PatientWeight in kg; above 1000 it is taken as grams."""
    read = number_reading(header, "PatientWeight")
    value = read.value
    if value is None or not 0 < value <= 1000 * _LARGEST_KG:
        return _without(read, WEIGHT)
    return HeaderValue(value / 1000, "g read as kg") if value > _LARGEST_KG else HeaderValue(value, "kg")


def height(header: Dataset) -> HeaderValue:
    """PatientSize in m; 100 to 260 is taken as cm."""
    read = number_reading(header, "PatientSize")
    value = read.value
    if value is not None and _HEIGHT_M[0] <= value <= _HEIGHT_M[1]:
        return HeaderValue(value, "m")
    if value is not None and _HEIGHT_CM[0] <= value <= _HEIGHT_CM[1]:
        return HeaderValue(value / 100, "cm read as m")
    return _without(read, HEIGHT)


def dose(header: Dataset) -> HeaderValue:
    """RadionuclideTotalDose in Bq; 37 to 5000 is taken as MBq, less is refused as a dose in mCi."""
    read = number_reading(radiopharmaceutical(header), "RadionuclideTotalDose")
    value = read.value
    if value is not None and _MBQ[0] <= value <= _MBQ[1]:
        return HeaderValue(value * 1e6, "MBq read as Bq")
    if value is not None and _BQ[0] <= value <= _BQ[1]:
        return HeaderValue(value, "Bq")
    if value is not None and _MCI[0] <= value < _MCI[1]:
        mci = Message(
            "The administered dose is {value:g}: a dose in mCi ({mbq:.0f} MBq), not in Bq or MBq.",
            value=value,
            mbq=37 * value,
        )
        return HeaderValue(None, problem=mci)
    return _without(read, DOSE)


def half_life(header: Dataset) -> HeaderValue:
    """RadionuclideHalfLife in seconds, else that of the radionuclide's code; one in minutes is refused."""
    tracer = radiopharmaceutical(header)
    read = number_reading(tracer, "RadionuclideHalfLife")
    if read.value is not None and read.value > 0:
        unit = _other_unit(read.value)
        return HeaderValue(None, problem=unit) if unit else HeaderValue(read.value, "header")
    known = HALF_LIVES_S.get(code(tracer, "RadionuclideCodeSequence"))
    return HeaderValue(known, "radionuclide_code") if known else _without(read, HALF_LIFE)


def _other_unit(value: float) -> Message | None:
    """What to say of a half-life that is a radionuclide's in minutes, or fluorine-18's in hours."""
    if _is_near(value, (known / 60 for known in HALF_LIVES_S.values())):
        return Message(
            "The half-life is {value:g}: one in minutes, not in seconds ({s:.0f} s).", value=value, s=60 * value
        )
    if _is_near(value, (F18_HALF_LIFE_S / 3600,)):
        return Message(
            "The half-life is {value:g}: one in hours, not in seconds ({s:.0f} s).", value=value, s=3600 * value
        )
    return None


def _is_near(value: float, known: Iterable[float]) -> bool:
    return any(abs(value / one - 1) <= _SAME_HALF_LIFE for one in known)


def _without(read: Reading[float], what: Message) -> HeaderValue:
    """No value: missing, zero, unreadable, or one that cannot be."""
    impossible = Message("{what} is {text}, which is no possible value.", what=what, text=shown(read.text))
    return HeaderValue(None, problem=read.problem(what) or impossible)
