"""The two charts of an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import altair as alt

from inference.encoding import term_label

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.views.speech import Speech

_MAIN = "#0b5c7d"
_RAISES = "#b3261e"
_LOWERS = "#1b7f4b"
_LARGEST = 12


def survival_chart(curve: Mapping[str, list[float]], base_rate: float, spoken: Speech) -> alt.LayerChart:
    """Progression-free survival with its interval, and the cohort's value at 12 months."""
    _ = spoken.text
    rows = [
        {"month": month, "probability": p, "lower": low, "upper": high}
        for month, p, low, high in zip(curve["months"], curve["probability"], curve["lower"], curve["upper"], strict=True)
    ]
    percent = f"format(datum.value * 100, '.0f') + '{' %' if spoken.language == 'fr' else '%'}'"
    x = alt.X("month:Q", title=_("Months from the first dose"), axis=alt.Axis(values=list(range(0, 61, 3)), grid=False))
    y = alt.Y(
        "probability:Q",
        title=_("Progression-free"),
        scale=alt.Scale(domain=[0, 1]),
        axis=alt.Axis(labelExpr=percent, values=[0, 0.25, 0.5, 0.75, 1]),
    )
    base = alt.Chart(alt.Data(values=rows))
    band = base.mark_area(opacity=0.22, color=_MAIN).encode(x=x, y=alt.Y("lower:Q"), y2="upper:Q")
    line = base.mark_line(color=_MAIN, strokeWidth=2.5).encode(x=x, y=y)
    year = alt.Chart(alt.Data(values=[{"month": 12, "probability": base_rate}]))
    rule = year.mark_rule(strokeDash=[4, 4], color="#44525f").encode(x="month:Q")
    point = year.mark_point(shape="diamond", filled=True, size=90, color="#1c2733").encode(x="month:Q", y="probability:Q")
    return alt.layer(band, rule, line, point).properties(height=235)


def contribution_chart(contributions: Mapping[str, float], spoken: Speech) -> alt.Chart:
    """The largest additive terms of the risk score, the largest first."""
    _ = spoken.text
    largest = sorted(contributions.items(), key=lambda item: -abs(item[1]))[:_LARGEST]
    rows: list[dict[str, Any]] = [
        {"term": spoken.say(term_label(name)), "value": value, "sign": value > 0} for name, value in largest
    ]
    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(cornerRadius=2)
        .encode(
            x=alt.X("value:Q", title=_("← lowers the risk     raises the risk →"), axis=alt.Axis(grid=True)),
            y=alt.Y("term:N", sort=None, title=None, axis=alt.Axis(labelLimit=330)),
            color=alt.Color(
                "sign:N", legend=None, scale=alt.Scale(domain=[True, False], range=[_RAISES, _LOWERS])
            ),
        )
        .properties(height=26 * len(rows) + 40)
    )
