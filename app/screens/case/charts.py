"""The two charts of an answer, as Vega-Lite specifications."""

from __future__ import annotations

from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

from fedpet.core.messages import Message
from inference.encoding import term_label

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.cases.stored_result import StoredCurve, StoredOverallSurvival
    from app.screens.layout.localization import Localization

_MAIN = "#4fb3bf"
_RAISES = "#e8875a"
_LOWERS = "#4fb3bf"  # with _RAISES: distinct also without red-green vision
_LARGEST = 11
_LABEL = 34  # characters of a line of a term's name: the panel of the step "answer" is 420 pixels wide at least
_BAND = 10  # pixels; a row has three of them, or as many as the lines of its name need
_LINE = 14  # pixels of a line of a name
_AXIS = 72  # pixels below the rows, for the axis and its title
_RAISED = [  # Vega puts the first line beside the bar: the middle of all of them belongs there
    {"test": f"length(split(datum.value, '\\n')) == {lines}", "value": -_LINE * (lines - 1) / 2}
    for lines in range(2, 6)
]
_PADDING = {"left": 0, "right": 4, "top": 6, "bottom": 0}


def survival_chart(
    curve: StoredCurve, base_rate: float, loc: Localization, *, overall: StoredOverallSurvival | None = None
) -> dict[str, Any]:
    """Progression-free survival with its interval and the cohort's value at 12 months; overall survival dashed."""
    _ = loc.text
    sign = " %" if loc.language == "fr" else "%"
    rows = [
        {"month": month, "probability": p, "lower": low, "upper": high}
        for month, p, low, high in zip(curve.months, curve.probability, curve.lower, curve.upper, strict=True)
    ]
    x = {
        "field": "month",
        "type": "quantitative",
        "title": _("Months from the first dose"),
        "axis": {"values": list(range(0, 61, 6)), "grid": False},
    }
    y = {
        "field": "probability",
        "type": "quantitative",
        "title": _("Alive without progression"),
        "scale": {"domain": [0, 1]},
        "axis": {"labelExpr": f"format(datum.value * 100, '.0f') + '{sign}'", "values": [0, 0.25, 0.5, 0.75, 1]},
    }
    band = {
        "mark": {"type": "area", "color": _MAIN, "opacity": 0.22},
        "encoding": {"x": x, "y": {**y, "field": "lower"}, "y2": {"field": "upper"}},
    }
    line = {"mark": {"type": "line", "color": _MAIN, "strokeWidth": 2.5}, "encoding": {"x": x, "y": y}}
    year = {"values": [{"month": 12, "probability": base_rate}]}
    rule = {"data": year, "mark": {"type": "rule", "strokeDash": [4, 4], "color": "#a7b3be"}, "encoding": {"x": x}}
    point = {
        "data": year,
        "mark": {"type": "point", "shape": "diamond", "filled": True, "size": 90, "color": "#e6ebf0"},
        "encoding": {"x": x, "y": y},
    }
    layers = [band, rule, line, point]
    if overall is not None:
        points = zip(overall.curve.months, overall.curve.probability, strict=True)
        alive = {"values": [{"month": month, "probability": p} for month, p in points]}
        dashed = {"type": "line", "color": "#e6ebf0", "strokeWidth": 1.5, "strokeDash": [6, 4]}
        layers.append({"data": alive, "mark": dashed, "encoding": {"x": x, "y": y}})
    return {"data": {"values": rows}, "layer": layers, "height": 215, "padding": _PADDING}


def waterfall_chart(
    contributions: Mapping[str, float],
    loc: Localization,
    *,
    total: Message,
    labels: Mapping[str, Message] | None = None,
) -> dict[str, Any]:
    """The additive terms of the risk score one after the other, from what they are measured against (0) to the patient.

    The largest come first, the small ones are summed. Sign, word and place say what each does; the colour repeats it.
    `total` names their sum with what it is measured against, `labels` terms that are not the model's own.
    """
    _ = loc.text
    rows = _steps(contributions, labels or {}, loc)
    reached = rows[-1]["end"] if rows else 0.0
    rows.append(_bar(loc.translate(total), 0.0, reached, loc.signed(reached)) | {"kind": "total"})
    bands = _bands([row["term"] for row in rows])
    lowest, highest = (choose(x for row in rows for x in (row["start"], row["end"])) for choose in (min, max))
    comma = "," if loc.language == "fr" else "."
    room = 2.0 * (highest - lowest) or 1.0  # for the words, in a column at the right of all bars and of zero
    x = {
        "field": "start",
        "type": "quantitative",
        "title": _("Risk score, log hazard"),
        "scale": {"domain": [lowest, highest + room], "nice": False},
        "axis": {
            "grid": False,
            "tickCount": 6,
            "titleAnchor": "start",
            "labelExpr": f"datum.value > {highest} ? '' : replace(datum.label, '.', '{comma}')",
        },
    }
    y = {
        "field": "term",
        "type": "nominal",
        "sort": None,
        "title": None,
        "scale": {"domain": bands, "padding": 0},
        "axis": {
            "values": [row["term"] for row in rows],
            "labelExpr": "split(datum.label, '\\n')",
            "labelLimit": 230,
            "labelOffset": {"condition": _RAISED, "value": 0},
            "labelOverlap": False,
            "labelColor": "#e6ebf0",
            "domain": False,
            "ticks": False,
        },
    }
    colours = {"domain": ["raises", "lowers", "total"], "range": [_RAISES, _LOWERS, "#a7b3be"]}
    bar = {
        "mark": {"type": "bar", "height": 15, "cornerRadius": 1},
        "encoding": {"x": x, "x2": {"field": "end"}, "y": y,
                     "color": {"field": "kind", "type": "nominal", "scale": colours, "legend": None}},
    }  # fmt: skip
    words = {
        "mark": {"type": "text", "align": "left", "dx": 5, "color": "#e6ebf0"},
        "encoding": {"x": {"datum": highest}, "y": y, "text": {"field": "text", "type": "nominal"}},
    }
    zero = {
        "data": {"values": [{"start": 0.0}]},
        "mark": {"type": "rule", "strokeDash": [3, 3], "color": "#a7b3be"},
        "encoding": {"x": x},
    }
    height = _BAND * len(bands) + _AXIS
    padding = {**_PADDING, "bottom": 6}
    return {"data": {"values": rows}, "layer": [zero, bar, words], "height": height, "padding": padding}


def _bands(terms: Sequence[str]) -> list[str]:
    """The bands of the axis from top to bottom: each term in the middle of those that the lines of its name need."""
    bands: list[str] = []
    for term in terms:
        beside = max(1, ceil(((_LINE * len(term.splitlines()) + 2) / _BAND - 1) / 2))
        before = [f"{len(bands) + k} " for k in range(beside)]
        bands += [*before, term, *(f"{one}after" for one in before)]
    return bands


def _steps(
    contributions: Mapping[str, float], labels: Mapping[str, Message], loc: Localization
) -> list[dict[str, Any]]:
    """The rows of the waterfall; each begins where the one before ends."""
    ordered = sorted(((name, x) for name, x in contributions.items() if x), key=lambda item: (-abs(item[1]), item[0]))
    terms = [(loc.translate(labels.get(name) or term_label(name)), value) for name, value in ordered[:_LARGEST]]
    if rest := [value for _, value in ordered[_LARGEST:]]:
        terms.append((loc.translate(Message("Other terms ({count})", count=len(rest))), sum(rest)))
    rows, reached = [], 0.0
    for label, value in terms:
        words = loc.text("raises the risk") if value > 0 else loc.text("lowers the risk")
        rows.append(_bar(label, reached, reached + value, f"{loc.signed(value)} {words}"))
        reached += value
    return rows


def _bar(term: str, start: float, end: float, text: str) -> dict[str, Any]:
    # the space before the break keeps the words apart where lines are read out or copied as one
    kind = "raises" if end > start else "lowers"
    return {"term": fill(term, _LABEL).replace("\n", " \n"), "start": start, "end": end, "kind": kind, "text": text}
