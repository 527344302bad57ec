"""One written value -> one value of the record: numbers with a comma or a point, categories, dates."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

from fedpet.core.errors import RecordError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fedpet.clinical.variables import Variable

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

_PREFIXES: Final[Mapping[str, tuple[str, ...]]] = {  # clinical and pathological TNM: one scale
    "stage": ("stade_", "stage_"), "t_category": ("c", "p"), "n_category": ("c", "p"), "m_category": ("c", "p"),
}  # fmt: skip

_YEAR_FIRST: Final = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")
_DAY_OR_MONTH_FIRST: Final = re.compile(r"(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})")
_MIDNIGHT: Final = re.compile(r"[ T]0?0:00(:00(\.0+)?)?$")  # as databases and spreadsheets append it
# Highest limit of detection, and the share of it that a result below is read as. PD-L1 below 1 % is negative.
_LIMITS: Final[Mapping[str, tuple[float, float]]] = {"pdl1_tps": (1.0, 0.0), "crp": (10.0, 0.5)}

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
AMBIGUOUS_DATES: Final = Message(
    "Nothing in the file proves whether the day or the month stands first: format the dates as YYYY-MM-DD."
)


def normalize_key(text: str) -> str:
    """A column name or category reduced to lower-case ASCII words joined by "_"."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")


def is_missing(value: object) -> bool:
    """None, an empty cell, NA, NR, "?" and the like."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and (value.strip() in ("", "?", "-", ".") or normalize_key(value) in _MISSING)


def read_value(variable: Variable, value: object) -> float | int | str | bool | None:
    """The value of `variable`, checked against its reject range; None where missing.

    Raises:
        RecordError: not a value of this variable, or beyond its reject range.
    """
    if variable.choices:
        return _choice(variable, value)
    if is_missing(value):
        return None
    limit = _below_limit(variable, value)
    number = _number(variable, value) if limit is None else _LIMITS[variable.name][1] * limit
    _check_range(variable, number)
    if variable.kind == "integer":
        if not number.is_integer():
            raise _refused(variable, value, Message("A whole number."))
        return int(number)
    return number


def read_flag(column: str, value: object) -> bool | None:
    """Yes or no, in French or English; None where missing.

    Args:
        column: its name.
        value: as written.

    Raises:
        RecordError: anything else.
    """
    known = {**_FLAGS, "oui": True, "non": False}
    key = normalize_key(str(value))
    if key in known:
        return bool(known[key])
    if is_missing(value):
        return None
    raise RecordError(
        found=Message("Column “{column}” holds neither yes nor no.", column=column),
        needed=Message("yes or no."),
        advice=Message("Correct the cell, or leave it empty where it is not known."),
    )


def read_date(column: str, value: object, *, day_first: bool = False) -> date | None:
    """A date with the year first (YYYY-MM-DD, YYYY/MM/DD), perhaps with midnight behind it; None where missing.

    Args:
        column: its name.
        value: as written, or a date.
        day_first: DD/MM/YYYY is read too. Only for a table whose dates prove it (`day_first_dates`).

    Raises:
        RecordError: anything else, since 03/04/2025 is read differently in France and in the United States.
    """
    if is_missing(value):
        return None
    if isinstance(value, date):
        return value.date() if isinstance(value, datetime) else value
    text = _MIDNIGHT.sub("", str(value).strip())
    if found := _YEAR_FIRST.fullmatch(text):
        parts = found.groups()
    elif day_first and (found := _DAY_OR_MONTH_FIRST.fullmatch(text)):
        parts = found.groups()[::-1]
    else:
        raise _no_date(column, day_first=bool(_DAY_OR_MONTH_FIRST.fullmatch(text)))
    try:
        return date(*map(int, parts))
    except ValueError as error:
        raise _no_date(column, day_first=False) from error


def day_first_dates(values: Iterable[object]) -> bool:
    """Whether the dates of a table prove that the day stands first: some can be nothing else, none the contrary.

    Args:
        values: all dates of the table, as written.
    """
    found = [_DAY_OR_MONTH_FIRST.fullmatch(_MIDNIGHT.sub("", str(value).strip())) for value in values]
    pairs = [(int(one[1]), int(one[2])) for one in found if one]
    return any(first > 12 for first, _ in pairs) and all(second <= 12 for _, second in pairs)


def _no_date(column: str, *, day_first: bool) -> RecordError:
    correct = Message("Correct the date; in a spreadsheet, format the column as text or as YYYY-MM-DD.")
    advice = AMBIGUOUS_DATES if day_first else correct
    either = Message("“{column}” may have the day first, or the month.", column=column)
    return RecordError(
        found=either if day_first else Message("“{column}” is not a date.", column=column),
        needed=Message("Dates are written YYYY-MM-DD."),
        advice=advice,
    )


def limit_note(variable: Variable, value: object) -> Message | None:
    """How a result below the limit of detection (“<0,6”) is read; None where the value is not one."""
    limit = _below_limit(variable, value)
    if limit is None:
        return None
    read = _LIMITS[variable.name][1] * limit
    return Message(
        "{label} is below the limit of detection ({limit:g}): read as {value:g}.",
        label=variable.label,
        limit=limit,
        value=read,
    )


def _below_limit(variable: Variable, value: object) -> float | None:
    """The limit of detection that a value lies below, where the variable allows that and the limit is a usual one."""
    if variable.name not in _LIMITS or not isinstance(value, str):
        return None
    found = re.fullmatch(r"(?:<|inf[.]?(?:erieura)?)(\d+(?:[.]\d+)?)(?:%|mg/l)?", _plain_number(value).casefold())
    return float(found[1]) if found and float(found[1]) <= _LIMITS[variable.name][0] else None


def _plain_number(text: str) -> str:
    """Without spaces and accents, with a decimal point."""
    return unicodedata.normalize("NFKD", re.sub(r"\s", "", text)).encode("ascii", "ignore").decode().replace(",", ".")


def _choice(variable: Variable, value: object) -> str | bool | None:
    if isinstance(value, bool) and variable.kind == "flag":
        return value
    known: dict[str, str | bool] = dict(_FLAGS if variable.kind == "flag" else _SYNONYMS.get(variable.name, {}))
    for choice in variable.choices:
        known[normalize_key(choice.french)] = known[normalize_key(str(choice.value))] = choice.value
    for prefix in _PREFIXES.get(variable.name, ()):
        known |= {prefix + normalize_key(str(choice.value)): choice.value for choice in variable.choices}
    key = normalize_key(str(value))
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
    raise _refused(variable, value, Message("A number."))


def _check_range(variable: Variable, number: float) -> None:
    if variable.reject is None or variable.reject[0] <= number <= variable.reject[1]:
        return
    low, high = variable.reject
    advice = Message("Check the entry and its unit.")
    trap = _UNIT_TRAPS.get(variable.name)
    if trap is not None and trap[0] <= number <= trap[1]:
        advice = trap[2]
    raise RecordError(
        found=Message("{label} ({name}) is {value:g}.", label=variable.label, name=variable.french, value=number),
        needed=Message("Accepted values are {low:g} to {high}.", low=low, high=_said(variable, high)),
        advice=advice,
    )


def _said(variable: Variable, number: float) -> Message | str:
    """The number with its unit."""
    return f"{number:g}" if variable.unit is None else Message("{value:g} {unit}", value=number, unit=variable.unit)


def _refused(variable: Variable, value: object, needed: Message) -> RecordError:
    return RecordError(
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
