"""Tables of `fedpet inspect` and `quantify` on standard error, in the language of the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from app.cli.console import messages, say
from fedpet.core.messages import Message, translate_message
from fedpet.core.settings import load_settings
from fedpet.imaging.anatomy.regions import REGIONS
from fedpet.imaging.lesions.detection.uptake_classification import PHYSIOLOGICAL_SITES
from fedpet.imaging.study import CheckStatus
from fedpet.imaging.suv.witness import PATHS
from inference.record_concordance import LABELS, Agreement
from reports.labels import AGREEMENTS, CHECKS, FACTOR_RULES, LEVELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADINGS: Final[Mapping[str, Message]] = {
    "id": Message("No."),
    "modality": Message("Modality"),
    "description": Message("Description"),
    "instances": Message("Images"),
    "chosen": Message("Chosen"),
    "reason": Message("Reason"),
    "path": Message("Path"),
    "factor": Message("Factor"),
    "deviation": Message("Difference"),
    "used": Message("Used"),
    "counts": Message("Counts"),
    "remark": Message("Remark"),
    "item": Message("Item"),
    "verdict": Message("Result"),
    "record": Message("Record"),
    "images": Message("Images"),
    "region": Message("Region"),
    "level": Message("Level"),
    "suv_max": Message("SUVmax"),
    "suv_mean": Message("SUVmean"),
    "suv_peak": Message("SUVpeak"),
    "mtv_ml": Message("Volume (ml)"),
    "volume_ml": Message("Volume (ml)"),
    "tlg": Message("TLG"),
    "included": Message("Counted"),
    "place": Message("Site"),
    "score": Message("Score"),
    "n": Message("Lesions"),
    "tmtv_ml": Message("TMTV (ml)"),
    "dmax_mm": Message("Dmax (mm)"),
}
_PLACES: Final[Mapping[str, Message]] = {**REGIONS, **PHYSIOLOGICAL_SITES}
_VALUES: Final[Mapping[str, Mapping[str, Message]]] = {
    "region": _PLACES,
    "place": _PLACES,
    "path": {**FACTOR_RULES, **PATHS},
    "item": {str(name): label for name, label in LABELS.items()},
    "verdict": {one.value: AGREEMENTS[one][1] for one in Agreement},
}


def shown(column: str, value: object) -> str:
    """A value of a column for people: no bare None, True or False.

    Args:
        column: its key in the JSON.
        value: as there.
    """
    translate = translate_message(load_settings().language)
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return translate(Message("yes") if value else Message("no"))
    if isinstance(value, float):
        return f"{value:.2f}" if column in _HEADINGS else str(value)
    if column == "reason" and isinstance(value, dict):
        return translate(Message.from_json(value))
    known = _VALUES.get(column, {}).get(str(value))
    return translate(known) if known else str(value)


def show_table(title: Message, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], more: str = "") -> None:
    """Print rows of JSON as a table.

    Args:
        title: above it.
        columns: keys of the rows.
        rows: what is shown.
        more: behind the title, as it stands.
    """
    translate = translate_message(load_settings().language)
    table = Table(title=Text(translate(title) + more))
    for column in columns:
        table.add_column(translate(_HEADINGS[column]))
    for row in rows:
        table.add_row(*(Text(shown(column, row[column])) for column in columns))
    messages.print(table)


def show_total(total: Mapping[str, Any]) -> None:
    """Print the totals over all lesions in one line."""
    translate = translate_message(load_settings().language)
    parts = (f"{translate(_HEADINGS[key]) if key in _HEADINGS else key} {shown(key, total[key])}" for key in total)
    say(Message("{mark} {name}: {found}", mark="Σ", name=Message("Total"), found=", ".join(parts)))


def show_check(name: str, level: str, reason: str) -> None:
    """Print a quality check in one line."""
    translate, status = translate_message(load_settings().language), CheckStatus(level)
    mark, word = LEVELS[status]
    label = translate(CHECKS[name]) if name in CHECKS else name
    style = "red" if status is CheckStatus.FAIL else None
    line = Message("{mark} {name}: {found}", mark=mark, name=f"{translate(word)} – {label}", found=reason)
    say(line, style=style)
