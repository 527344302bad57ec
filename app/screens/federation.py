"""The federation: rounds, sites and metrics of a training, drawn again while it goes on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import streamlit as st

from app.screens.layout.frame import synthetic_banner
from app.screens.layout.localization import localization
from app.services import services
from fedpet.core.journal import read_runs
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.screens.layout.localization import Localization
    from fedpet.core.journal import Round, TrainingRun

_REFRESH_SECONDS = 2.0
_SILENT = timedelta(minutes=30)  # the longest that a round may take
_TRAININGS = {"model": Message("Model"), "clinical": Message("Clinical baseline")}
_METRICS = {
    "loss": Message("Validation loss (survival)"),
    "concept_loss": Message("Validation loss of the concept maps"),
    "patients": Message("Patients trained on"),
    "n": Message("Validation patients"),
}
_COUNTS = frozenset({"patients", "n"})
_LINE, _SITE, _WORDS = "#4fb3bf", "#7d8c99", "#e6ebf0"
_STATES: dict[str, tuple[Message, Literal["blue", "green", "red"]]] = {
    "running": (Message("in progress"), "blue"),
    "done": (Message("finished"), "green"),
    "stopped": (Message("stopped"), "red"),
}


def draw() -> None:
    """Draw the run that is chosen, the newest first."""
    loc = localization()
    _ = loc.text
    st.title(_("Federation"), anchor=False)
    runs = read_runs(services().settings.runs_folder)
    if not runs:
        st.info(_("No training was run here yet; “fedpet train simulate” and “fedpet train run” draw on this page."))
        return
    number = st.selectbox(
        _("Training"), range(len(runs)), format_func=lambda n: _title(runs[n], loc), width=520, key="run"
    )
    started = runs[number].started

    @st.fragment(run_every=_REFRESH_SECONDS if runs[number].state == "running" else None)
    def follow() -> None:
        known = next((one for one in read_runs(services().settings.runs_folder) if one.started == started), None)
        if known is None or known.state != runs[number].state:
            st.rerun()
        _draw_run(known, loc)

    follow()


def _title(run: TrainingRun, loc: Localization) -> str:
    return f"{run.name} {run.version} – {loc.moment(run.started)}"


def _draw_run(run: TrainingRun, loc: Localization) -> None:
    _ = loc.text
    if run.synthetic:
        synthetic_banner(loc)
    with st.container(horizontal=True, vertical_alignment="center"):
        label, colour = _STATES[run.state]
        st.badge(loc.translate(label), color=colour)
        news = Message(
            "One site; last news {moment}.",
            "{count} sites; last news {moment}.",
            count=len(run.sites),
            moment=loc.moment(run.news),
        )
        st.caption(loc.translate(news), width="content")
    if run.why is not None:
        st.error(loc.translate(run.why), icon=":material/error:")
    elif run.state == "running" and datetime.now(UTC) - run.news > _SILENT:
        st.warning(_("No news for half an hour: the training may have been killed."), icon=":material/warning:")
    for name, planned in run.planned.items():
        rounds = run.rounds[name]
        words = Message("{training}: round {n} of {all}", training=_training(name), n=len(rounds), all=planned)
        left = _left(rounds, planned) if run.state == "running" else None
        more = f" – {loc.translate(Message('about {minutes} min left', minutes=left))}" if left else ""
        st.progress(min(len(rounds) / planned, 1.0), loc.translate(words) + more)
    with st.container(horizontal=True):
        chosen: str = st.segmented_control(
            _("Training of"),
            list(run.planned),
            format_func=lambda one: loc.translate(_training(one)),
            default="model",
            required=True,
        )
        metric: str = st.pills(
            _("Measure"),
            list(_METRICS),
            format_func=lambda one: loc.translate(_METRICS[one]),
            default="loss",
            required=True,
        )
    if rounds := run.rounds[chosen]:
        st.vega_lite_chart(spec=rounds_chart(rounds, run.sites, metric, loc), key=f"rounds_{chosen}_{metric}")
        _draw_table(rounds, run.sites, metric, loc)
    else:
        st.info(_("The first round is not over yet."))


def _training(name: str) -> Message:
    _, _, number = name.partition("model-")
    if number:
        return Message("Model {number}", number=number)
    return _TRAININGS.get(name) or Message("Training “{name}”", name=name)


def _left(rounds: Sequence[Round], planned: int) -> int | None:
    """Minutes until the end at the pace so far, rounded up; None where nothing is known or left."""
    if not rounds or len(rounds) >= planned:
        return None
    pace = sum(one.seconds for one in rounds) / len(rounds)
    return -int(-pace * (planned - len(rounds)) // 60)


def rounds_chart(rounds: Sequence[Round], sites: Sequence[str], metric: str, loc: Localization) -> dict[str, Any]:
    """A metric by round: a thin line for each site, named at its end, and a thick one for all of them."""
    pooled = loc.text("all sites")
    rows = [{"round": one.number, "site": site, "value": one.metric(site, metric)} for site in sites for one in rounds]
    whole = (
        []
        if metric in _COUNTS
        else [{"round": one.number, "site": pooled, "value": one.pooled(metric)} for one in rounds]
    )
    x = {
        "field": "round",
        "type": "quantitative",
        "title": loc.text("Round"),
        "scale": {"domain": [1, max(rounds[-1].number, 2)], "nice": False},
        "axis": {"tickMinStep": 1, "format": "d", "grid": False},
    }
    comma = "," if loc.language == "fr" else "."
    y = {
        "field": "value",
        "type": "quantitative",
        "title": loc.translate(_METRICS[metric]),
        "scale": {"zero": metric in _COUNTS},
        "axis": {"labelExpr": f"replace(datum.label, '.', '{comma}')"},
    }
    detail = {"field": "site", "type": "nominal"}
    tooltip = [
        {"field": name, "type": kind}
        for name, kind in (("site", "nominal"), ("round", "quantitative"), ("value", "quantitative"))
    ]
    point = {"filled": True, "size": 28}
    thin = {"type": "line", "color": _SITE, "strokeWidth": 1.2, "point": {**point, "color": _SITE}}
    thick = {"type": "line", "color": _LINE, "strokeWidth": 3, "point": {**point, "color": _LINE, "size": 50}}
    last = [row for row in (*rows, *whole) if row["round"] == rounds[-1].number]
    name = {"type": "text", "align": "left", "dx": 7, "color": _WORDS}
    return {
        "height": 320,
        "padding": {"left": 0, "right": 90, "top": 6, "bottom": 0},
        "layer": [
            {
                "data": {"values": rows},
                "mark": thin,
                "encoding": {"x": x, "y": y, "detail": detail, "tooltip": tooltip},
            },
            {"data": {"values": whole}, "mark": thick, "encoding": {"x": x, "y": y, "tooltip": tooltip}},
            {"data": {"values": last}, "mark": name, "encoding": {"x": x, "y": y, "text": detail}},
        ],
    }


def _draw_table(rounds: Sequence[Round], sites: Sequence[str], metric: str, loc: Localization) -> None:
    """Sites by rounds: the same figures, for who does not see the chart."""
    _ = loc.text
    digits = 0 if metric in _COUNTS else 3
    head = "".join(f"<th scope='col' class='n'>{one.number}</th>" for one in rounds)
    lines = [(site, [one.metric(site, metric) for one in rounds], digits) for site in sites]
    lines.append((_("all sites"), [one.pooled(metric) for one in rounds], digits))
    lines.append((_("Concordance, all sites"), [one.concordance for one in rounds], 3))
    lines.append((_("Seconds"), [one.seconds for one in rounds], 0))
    body = "".join(
        f"<tr><th scope='row'>{escape(name)}</th>"
        + "".join(f"<td class='n'>{loc.number(value, places)}</td>" for value in values)
        + "</tr>"
        for name, values, places in lines
    )
    label = escape(loc.translate(Message("{measure} by site and round", measure=_METRICS[metric])))
    st.html(
        f"<div class='fp-scroll' tabindex='0' role='region' aria-label='{label}'><table class='fp'>"
        f"<caption>{label}</caption><thead><tr><th scope='col'>{escape(_('Site'))}</th>"
        f"{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    st.caption(_("The metrics of a round are of the model that it started from, on each site’s validation patients."))
