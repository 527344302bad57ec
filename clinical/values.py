"""One written value -> one value of the record: numbers with a comma or a point, categories, dates."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import date
from typing import TYPE_CHECKING

from fedpet.errors import RecordRefused
from fedpet.messages import Message

if TYPE_CHECKING:
    from clinical.variables import Variable

_MISSING = frozenset({"", "na", "n_a", "nr", "nd", "nc", "nan", "null", "none", "inconnu", "unknown", "manquant"})

_SYNONYMS: dict[str, dict[str, str | bool]] = {
    "sex": {
        "homme": "M", "masculin": "M", "male": "M", "h": "M", "femme": "F", "feminin": "F", "female": "F",
    },
    "smoking": {
        "non_fumeur": "never", "jamais_fumeur": "never", "never_smoker": "never",
        "ex_fumeur": "former", "ancien_fumeur": "former", "sevree": "former", "former_smoker": "former",
        "fumeur": "current", "fumeur_actif": "current", "active": "current", "current_smoker": "current",
    },
    "histology": {
        "adenocarcinoma": "adenocarcinoma", "adk": "adenocarcinoma",
        "carcinome_epidermoide": "squamous", "squamous_cell_carcinoma": "squamous",
        "indifferenciee": "undifferentiated", "carcinome_indifferencie": "undifferentiated",
    },
    "driver_alteration": {"ne_sait_pas": "unknown", "nsp": "unknown"},
}  # fmt: skip
_FLAGS: dict[str, str | bool] = {
    "yes": True, "o": True, "y": True, "1": True, "true": True, "vrai": True,
    "no": False, "n": False, "0": False, "false": False, "faux": False,
}  # fmt: skip

_UNIT_TRAPS = {
    "haemoglobin": (40.0, 220.0, Message("This looks like g/L: divide by 10 to give g/dL.")),
    "albumin": (1.0, 6.5, Message("This looks like g/dL: multiply by 10 to give g/L.")),
    "leucocytes": (500.0, 1e5, Message("This looks like cells per mm³: divide by 1,000 to give G/L.")),
    "neutrophils": (100.0, 8e4, Message("This looks like cells per mm³: divide by 1,000 to give G/L.")),
    "lymphocytes": (60.0, 5e4, Message("This looks like cells per mm³: divide by 1,000 to give G/L.")),
    "platelets": (1e4, 2e6, Message("This looks like cells per mm³: divide by 1,000 to give G/L.")),
    "glycaemia_mmol_l": (0.4, 1.99, Message("This looks like g/L: multiply by 5.55 to give mmol/L.")),
    "height_cm": (1.0, 2.3, Message("This looks like metres: multiply by 100 to give cm.")),
}


def key_of(text: str) -> str:
    """A column name or category reduced to lower-case ASCII words joined by "_"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def is_missing(value: object) -> bool:
    """None, an empty cell, NA, NR, "?" and the like."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and (value.strip() in ("", "?", "-", ".") or key_of(value) in _MISSING)


def read_value(variable: Variable, value: object) -> float | int | str | bool | None:
    """The value of `variable`, checked against its reject range; None where missing.

    Raises:
        RecordRefused: not a value of this variable, or beyond its reject range.
    """
    if variable.choices:
        return _choice(variable, value)
    if is_missing(value):
        return None
    number = _number(variable, value)
    _check_range(variable, number)
    if variable.kind == "integer":
        if not number.is_integer():
            raise _refused(variable, value, Message("A whole number is needed."))
        return int(number)
    return number


def read_date(column: str, value: object) -> date | None:
    """A date written YYYY-MM-DD (ISO 8601); None where missing.

    Raises:
        RecordRefused: anything else, since 03/04/2025 is read differently in France and in the United States.
    """
    if is_missing(value):
        return None
    text = str(value).strip()
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            pass  # refused below, like any other text
    raise RecordRefused(
        found=Message("“{column}” is not a date.", column=column),
        needed=Message("Dates are written YYYY-MM-DD."),
        advice=Message("Correct the date; in a spreadsheet, format the column as text or as YYYY-MM-DD."),
    )


def _choice(variable: Variable, value: object) -> str | bool | None:
    if isinstance(value, bool) and variable.kind == "flag":
        return value
    known: dict[str, str | bool] = dict(_FLAGS if variable.kind == "flag" else _SYNONYMS.get(variable.name, {}))
    for choice in variable.choices:
        known[key_of(choice.french)] = known[key_of(str(choice.value))] = choice.value
    key = key_of(str(value))
    if key in known:
        return known[key]
    if is_missing(value):
        return None
    allowed = ", ".join(choice.french for choice in variable.choices)
    raise _refused(variable, value, Message("Values are: {allowed}.", allowed=allowed))


def _number(variable: Variable, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    text = re.sub(r"\s", "", str(value)).replace(",", ".")
    if variable.unit is not None and text.endswith(variable.unit.template):
        text = text.removesuffix(variable.unit.template)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text):
        return float(text)
    raise _refused(variable, value, Message("A number is needed."))


def _check_range(variable: Variable, number: float) -> None:
    if variable.reject is None or variable.reject[0] <= number <= variable.reject[1]:
        return
    low, high = variable.reject
    advice = Message("Check the entry and its unit.")
    trap = _UNIT_TRAPS.get(variable.name)
    if trap is not None and trap[0] <= number <= trap[1]:
        advice = trap[2]
    raise RecordRefused(
        found=Message("{label} ({name}) is {value:g}.", label=variable.label, name=variable.french, value=number),
        needed=Message("Accepted values are {low:g} to {high}.", low=low, high=_said(variable, high)),
        advice=advice,
    )


def _said(variable: Variable, number: float) -> Message | str:
    """The number with its unit."""
    return f"{number:g}" if variable.unit is None else Message("{value:g} {unit}", value=number, unit=variable.unit)


def _refused(variable: Variable, value: object, needed: Message) -> RecordRefused:
    return RecordRefused(
        found=Message(
            "{label} ({name}) is “{value}”.",
            label=variable.label,
            name=variable.french,
            value=str(value)[:40],
        ),
        needed=needed,
        advice=Message("Correct the value, or leave it empty where it is not known."),
    )


def range_warning(variable: Variable, number: float) -> Message | None:
    """A sentence where the number lies outside the variable's warn range."""
    if variable.warn is None or variable.warn[0] <= number <= variable.warn[1]:
        return None
    low, high = variable.warn
    return Message(
        "{label} is {value}, outside the usual {low:g} to {high:g}: please check.",
        label=variable.label,
        value=_said(variable, number),
        low=low,
        high=high,
    )
