"""The two charts of an answer, as Vega-Lite specifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from inference.encoding import term_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.views.speech import Speech

_MAIN = "#0b5c7d"
_RAISES = "#b3261e"
_LOWERS = "#1b7f4b"
_LARGEST = 12
_PADDING = {"left": 0, "right": 4, "top": 6, "bottom": 0}


def survival_chart(curve: Mapping[str, list[float]], base_rate: float, spoken: Speech) -> dict[str, Any]:
    """Progression-free survival with its interval, and the cohort's value at 12 months."""
    _ = spoken.text
    sign = " %" if spoken.language == "fr" else "%"
    rows = [
        {"month": month, "probability": p, "lower": low, "upper": high}
        for month, p, low, high in zip(
            *(curve[name] for name in ("months", "probability", "lower", "upper")), strict=True
        )
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
        "title": _("Progression-free"),
        "scale": {"domain": [0, 1]},
        "axis": {"labelExpr": f"format(datum.value * 100, '.0f') + '{sign}'", "values": [0, 0.25, 0.5, 0.75, 1]},
    }
    band = {
        "mark": {"type": "area", "color": _MAIN, "opacity": 0.22},
        "encoding": {"x": x, "y": {**y, "field": "lower"}, "y2": {"field": "upper"}},
    }
    line = {"mark": {"type": "line", "color": _MAIN, "strokeWidth": 2.5}, "encoding": {"x": x, "y": y}}
    year = {"values": [{"month": 12, "probability": base_rate}]}
    rule = {"data": year, "mark": {"type": "rule", "strokeDash": [4, 4], "color": "#44525f"}, "encoding": {"x": x}}
    point = {
        "data": year,
        "mark": {"type": "point", "shape": "diamond", "filled": True, "size": 90, "color": "#1c2733"},
        "encoding": {"x": x, "y": y},
    }
    return {"data": {"values": rows}, "layer": [band, rule, line, point], "height": 215, "padding": _PADDING}


def contribution_chart(contributions: Mapping[str, float], spoken: Speech) -> dict[str, Any]:
    """The largest additive terms of the risk score, the largest first."""
    _ = spoken.text
    largest = sorted(contributions.items(), key=lambda item: -abs(item[1]))[:_LARGEST]
    rows = [{"term": spoken.say(term_label(name)), "value": value} for name, value in largest]
    return {
        "data": {"values": rows},
        "mark": {"type": "bar", "cornerRadius": 2},
        "encoding": {
            "x": {"field": "value", "type": "quantitative", "title": _("← lowers the risk · raises the risk →")},
            "y": {
                "field": "term",
                "type": "nominal",
                "sort": None,
                "title": None,
                "axis": {
                    "labelLimit": 330,
                    "labelOverlap": False,
                    "labelColor": "#1c2733",
                    "domain": False,
                    "ticks": False,
                },
            },
            "color": {"condition": {"test": "datum.value > 0", "value": _RAISES}, "value": _LOWERS},
        },
        "height": 24 * len(rows) + 45,
        "padding": _PADDING,
    }
