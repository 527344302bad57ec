"""report.json as one self-contained HTML page: goals, alarms, tables, curves, the audit, configuration."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

from fedpet.clinical.scores import SCORES
from fedpet.core.messages import Message, translate_message
from training.data.node_data import SCORE_PREFIX
from training.evaluation.designs import (
    AVERAGE,
    AVERAGED,
    CLINICAL,
    FEDERATED,
    HARMONISED,
    MEASURED_TMTV,
    OPTIONAL,
    POOLED,
    PRIVATE,
    QUANTISED,
    QUANTITIES,
    SINGLE,
    TMTV_CLINICAL,
)
from training.evaluation.scoring import BAYES, WORST_SLOPE, WORST_UNSEEN_SLOPE
from training.evaluation.svg_charts import Curve, chart, forest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fedpet.core.messages import Language

    Translate = Callable[[Message], str]
    Numbers = Mapping[str, Any] | None

_MODELS = {
    FEDERATED: Message("Federated"),
    POOLED: Message("Pooled (centralised)"),
    QUANTISED: Message("Federated, quantised as under secure aggregation"),
    AVERAGE: Message("Mean of the centres' own models"),
    CLINICAL: Message("Clinical data only"),
    TMTV_CLINICAL: Message("TMTV and clinical data"),
    MEASURED_TMTV: Message("TMTV of the lesion table and clinical data"),
    QUANTITIES: Message("Measured quantities and clinical data"),
    HARMONISED: Message("Quantities after ComBat and clinical data"),
    BAYES: Message("Bayes ceiling (the truth)"),
    AVERAGED: Message("Federated, the other method"),
    PRIVATE: Message("Local differential privacy"),
    OPTIONAL: Message("Federated, with the optional terms that cross-validation wants"),
}
_DESIGNS = {
    "within_centre": Message("Hold-out within centres"),
    "leave_one_centre_out": Message("Leave one centre out"),
}
_TERMS = {
    "none": Message("no optional term"),
    "spline": Message("spline of TMTV"),
    "tmtv_by_pdl1": Message("TMTV by PD-L1"),
}
_METRICS = {
    "expected_auc": Message("Expected AUC"),
    "auc": Message("AUC (IPCW)"),
    "c_index": Message("C-index"),
    "uno_c": Message("Uno's C"),
    "integrated_brier": Message("Integrated Brier"),
    "slope": Message("Calibration slope"),
    "intercept": Message("Calibration intercept"),
    "shift": Message("Calibration in the large"),
    "expected_slope": Message("Slope against the truth"),
}
_GROUPS = {
    "sex": Message("Sex"),
    "age": Message("Age"),
    "histology": Message("Histology"),
    "pdl1": Message("PD-L1"),
    "line": Message("Line"),
    "vendor": Message("Scanner"),
}
_LEVELS = {
    "male": Message("men"),
    "female": Message("women"),
    "squamous": Message("squamous"),
    "not squamous": Message("not squamous"),
    "first": Message("first line"),
    "second or later": Message("second line or later"),
    "missing": Message("missing"),
    "65 or missing": Message("65, or missing"),
}
_ENDPOINTS = {
    "early_failure_3m": Message("3 months"),
    "dcb_6m": Message("6 months"),
    "pfs_12m": Message("12 months"),
}
_CHECKS = {
    "duplicates": Message("Patients twice in the data"),
    "pixel_fingerprints": Message("Images twice in the data"),
    "dates": Message("Dates and follow-up"),
    "telling_inputs": Message("Inputs that reveal the outcome"),
    "permuted_outcomes": Message("Permuted outcomes: AUC about 0.5"),
}
_DELONG = (Message("Outcome known"), Message("DeLong: difference ± SE"), Message("DeLong: p"))
_DELONG_NOTE = Message(
    "DeLong's test compares the observed AUCs of the patients whose outcome at the horizon is known, without weights"
    " for those who are censored before; it is not made where patients are ranked within their centres."
)
_STYLE = """
:root{color-scheme:light}body{font:15px/1.5 system-ui,sans-serif;color:#1d2730;max-width:1240px;margin:2rem auto;
padding:0 1rem}h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .4rem;border-bottom:2px solid
#0b6e99}h3{font-size:1.02rem;margin:1.4rem 0 .3rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums;
font-size:.82rem;margin:.4rem 0 1rem}th,td{padding:.25rem .6rem;border-bottom:1px solid #d8dee3;text-align:right;
vertical-align:top}.word{text-align:left;min-width:7rem}thead th{background:#eef3f6}td small{color:#56646f;
white-space:nowrap}.wide{overflow-x:auto}.banner{background:#fff3d6;border:1px solid #c99a2e;padding:.5rem .9rem;
font-weight:600}.alarm{background:#fde4e1;border:1px solid #b3372a;padding:.5rem .9rem}.met{color:#1c6b34;
font-weight:600}.not{color:#a12a1e;font-weight:600}.none{color:#56646f}figure{display:inline-block;margin:.4rem 1rem
.8rem 0;vertical-align:top}figcaption{font-weight:600;font-size:.9rem}svg{max-width:100%;height:auto}svg text{font:11px
system-ui,sans-serif;fill:#1d2730}.grid{stroke:#d8dee3}.legend{list-style:none;margin:0;padding:0;font-size:.8rem}
.legend span{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem;vertical-align:-1px}
pre{background:#f4f6f8;padding:.6rem;overflow-x:auto;font-size:.8rem}
"""


def page(report: Mapping[str, Any], language: Language) -> str:
    """The HTML page of a report.

    Args:
        report: the content of report.json.
        language: of the page.
    """
    translate = translate_message(language)
    parts = [
        f"<h1>{escape(report['title'])}</h1>",
        *_head(report, translate),
        *_goals(report["goals"], translate),
        *_alarms(report["alarms"], translate),
        *_data(report["data"], translate),
    ]
    for name, design in report["designs"].items():
        parts += _design(name, design, translate)
    parts += _audit(report["leakage"], translate)
    parts += _how(report, translate)
    return (
        f'<!doctype html>\n<html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(report['title'])}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _head(report: Mapping[str, Any], translate: Translate) -> list[str]:
    parts = []
    if report["synthetic"]:
        sentence = translate(Message("Synthetic patients: nothing here shows the performance on real patients."))
        parts.append(f'<p class="banner">{escape(sentence)}</p>')
    months = report["config"]["horizon_months"]
    free = Message("Endpoint: free of progression and death for {months:g} months.", months=months)
    alive = Message("Endpoint: alive at {months:g} months.", months=months)
    sentences = (
        Message("Research only. Not a medical device; not for decisions about patients."),
        alive if report["config"]["endpoint"] == "overall_survival" else free,
        Message(
            "Intervals: 95 %, bootstrap over patients within centres, {draws} draws; they do not include the"
            " variation between trainings.",
            draws=report["config"]["bootstrap"],
        ),
    )
    return [*parts, f"<p>{' '.join(escape(translate(one)) for one in sentences)}</p>"]


def _goals(goals: Sequence[Mapping[str, Any]], translate: Translate) -> list[str]:
    rows = []
    for goal in goals:
        met = goal["met"]
        verdict = Message("met") if met else Message("not met")
        if met is None:
            verdict = Message("not run") if goal["value"] is None else Message("reported")
        kind = "none" if met is None else "met" if met else "not"
        rows.append(
            [
                escape(translate(_DESIGNS[goal["design"]])),
                escape(translate(_goal(goal))),
                escape(_limits(goal)),
                _cell(goal if goal["value"] is not None else None),
                f'<span class="{kind}">{escape(translate(verdict))}</span>',
            ]
        )
    columns = (Message("Design"), Message("Goal"), Message("Limit"), Message("Value"), Message("Verdict"))
    note = Message("The verdict is that of the value; the interval shows its uncertainty.")
    return [
        f"<h2>{escape(translate(Message('Goals')))}</h2>",
        _table([translate(one) for one in columns], rows, words=(0, 1, 4)),
        f"<p>{escape(translate(note))}</p>",
    ]


def _goal(goal: Mapping[str, Any]) -> Message:
    name = str(goal["goal"])
    if name == "calibration_slope":
        return _METRICS["slope"]
    if name in {WORST_SLOPE, WORST_UNSEEN_SLOPE}:
        return Message(
            "Calibration slope of the centre where it is farthest from 1 ({name})", name=str(goal["against"])
        )
    if name == "cost_of_quantisation":
        return Message("AUC that quantisation costs")
    if name == "federated_minus_best_single":
        return Message(
            "AUC of the federated model less the best single centre's ({name})",
            name=str(goal.get("against", "")).removeprefix(SINGLE),
        )
    return Message("AUC of the federated model less: {name}", name=_name(name.removeprefix("federated_minus_")))


def _limits(goal: Mapping[str, Any]) -> str:
    least, most = goal["least"], goal["most"]
    if least is not None and most is not None:
        return f"{least:g} – {most:g}"
    if most is not None:
        return f"≤ {most:g}"
    if least is None:
        return ""
    return "> 0" if least == 0 else f"≥ {least:+g}"


def _alarms(alarms: Sequence[Mapping[str, Any]], translate: Translate) -> list[str]:
    if not alarms:
        return [f"<p>{escape(translate(Message('No model performs better than is plausible.')))}</p>"]
    rows = [
        translate(
            Message(
                "{design}, {model}: observed AUC {auc:.3f} above {bound:.3f}. Look for a leak first.",
                design=_DESIGNS[alarm["design"]],
                model=_name(alarm["model"]),
                auc=alarm["auc"],
                bound=alarm["bound"],
            )
        )
        for alarm in alarms
    ]
    return [f'<p class="alarm">{escape(row)}</p>' for row in rows]


def _data(data: Mapping[str, Any], translate: Translate) -> list[str]:
    rows = [
        [escape(name), str(one["patients"]), str(one["events"]), escape(", ".join(one["vendors"]))]
        for name, one in data["centres"].items()
    ]
    columns = (Message("Centre"), Message("Patients"), Message("Events"), Message("Scanner"))
    return [
        f"<h2>{escape(translate(Message('Patients')))}</h2>",
        _table([translate(one) for one in columns], rows, words=(0, 3)),
    ]


def _design(name: str, design: Mapping[str, Any], translate: Translate) -> list[str]:
    found = Message(
        "{patients} patients predicted, {events} events.", patients=design["patients"], events=design["events"]
    )
    ranked = Message("Patients are ranked against those of their own centre only: each centre has a model of its own.")
    sentences = [translate(found), *([translate(ranked)] if design["ranked_within_centres"] else [])]
    if HARMONISED in design["models"] and not design["models"][HARMONISED]["patients"]:
        sentences.append(translate(Message("ComBat cannot be applied to a centre that was not in its fit.")))
    if design["epsilon"]:
        spent = ", ".join(f"{centre} {value:.2f}" for centre, value in design["epsilon"].items())
        sentences.append(translate(Message("Epsilon of local differential privacy by centre: {spent}.", spent=spent)))
    sentences += [_optional(one, translate) for one in design["optional_terms"]]
    return [
        f"<h2>{escape(translate(_DESIGNS[name]))}</h2><p>{escape(' '.join(sentences))}</p>",
        _forest(design, translate),
        *_models(design, translate),
        *_differences(design, translate),
        *_references(design, translate),
        *_curves(design, translate),
        *_groups(design, translate),
        *_sets(design, translate),
    ]


def _optional(found: Mapping[str, Any], translate: Translate) -> str:
    def name(terms: str) -> str:
        return " + ".join(translate(_TERMS[one]) for one in terms.split("+"))

    losses = ", ".join(f"{name(terms)} {loss:.4f}" for terms, loss in found["held_out"].items())
    chosen = name("+".join(found["chosen"]) or "none")
    return translate(
        Message("Optional terms chosen: {chosen}; held-out loss of a patient: {losses}.", chosen=chosen, losses=losses)
    )


def _forest(design: Mapping[str, Any], translate: Translate) -> str:
    kind = design["judged_on"]
    rows = [
        (translate(_name(name)), one[kind]["value"], one[kind]["lower"], one[kind]["upper"])
        for name, one in design["models"].items()
        if one.get(kind) and one[kind]["value"] is not None
    ]
    return forest(rows, title=translate(_METRICS[kind]), reference=0.5) if rows else ""


def _models(design: Mapping[str, Any], translate: Translate) -> list[str]:
    rows = [
        [
            escape(translate(_name(name))),
            str(design["trained_on"].get(name, "")),
            str(one["patients"]),
            *(_cell(one.get(metric)) for metric in _METRICS),
        ]
        for name, one in design["models"].items()
    ]
    columns = (Message("Model"), Message("Trained on"), Message("Predicted"), *_METRICS.values())
    brier = design["integrated_brier_without_covariates"]
    note = Message("Integrated Brier score of the Kaplan-Meier curve: {value:.3f}.", value=brier["value"])
    return [_table([translate(one) for one in columns], rows), f"<p>{escape(translate(note))}</p>"]


def _differences(design: Mapping[str, Any], translate: Translate) -> list[str]:
    tests = design["delong"]
    rows = [
        [escape(translate(_name(name))), _cell(one), *_delong(tests.get(name))]
        for name, one in design["federated_minus"].items()
    ]
    title = Message("AUC of the federated model less that of …")
    columns = (Message("Model"), Message("Difference"), *_DELONG)
    return [
        f"<h3>{escape(translate(title))}</h3>",
        _table([translate(one) for one in columns], rows),
        f"<p>{escape(translate(_DELONG_NOTE))}</p>",
    ]


def _delong(found: Mapping[str, Any] | None) -> list[str]:
    """Patients, difference with its standard error, p value; empty cells where it was not tested."""
    if not found:
        return ["", "", ""]
    p = "&lt; 0.001" if found["p"] < 0.001 else f"{found['p']:.3f}"
    return [str(found["patients"]), f"{found['difference']:+.3f} ± {found['error']:.3f}", p]


def _references(design: Mapping[str, Any], translate: Translate) -> list[str]:
    if not design["references"]:
        return []
    rows = [
        [
            escape(translate(_reference_name(name))),
            str(one["patients"]),
            *(_cell(one.get(part)) for part in ("alone", "model", "difference")),
            *_delong(one.get("delong"))[1:],
        ]
        for name, one in design["references"].items()
    ]
    columns = (
        Message("Variable"),
        Message("Patients"),
        Message("AUC alone"),
        Message("AUC of the federated model"),
        Message("Difference"),
        *_DELONG[1:],
    )
    title = Message("Published scores and single variables, on the patients in whom they are known")
    return [f"<h3>{escape(translate(title))}</h3>", _table([translate(one) for one in columns], rows)]


def _reference_name(column: str) -> Message:
    score = SCORES.get(column.removeprefix(SCORE_PREFIX)) if column.startswith(SCORE_PREFIX) else None
    return Message("{name}", name=column) if score is None else score.label


def _curves(design: Mapping[str, Any], translate: Translate) -> list[str]:
    calibration = [
        Curve(
            translate(_name(name)),
            [point["predicted"] for point in curves["calibration"]],
            [point["value"] for point in curves["calibration"]],
            [(point["lower"], point["upper"]) for point in curves["calibration"]],
        )
        for name, curves in design["curves"].items()
    ]
    diagonal = Curve(translate(Message("perfect")), [0, 1], [0, 1], dashed=True)
    thresholds = [point["threshold"] for point in design["decision_of_all"]]
    benefit = [
        Curve(translate(_name(name)), thresholds, [point["value"] for point in curves["decision"]])
        for name, curves in design["curves"].items()
    ]
    everyone = [point["value"] for point in design["decision_of_all"]]
    benefit.append(Curve(translate(Message("everybody")), thresholds, everyone, dashed=True))
    losses = [
        Curve(translate(_name(name)), list(range(len(values))), values)
        for name, values in design["validation_losses"].items()
    ]
    spread = [value for curve in losses for value in curve.y]
    return [
        chart(
            [*calibration, diagonal],
            title=translate(Message("Calibration")),
            x_label=translate(Message("predicted probability")),
            y_label=translate(Message("observed (Kaplan-Meier)")),
            x_range=(0, 1),
            y_range=(0, 1),
        ),
        chart(
            benefit,
            title=translate(Message("Decision curve")),
            x_label=translate(Message("threshold of the risk")),
            y_label=translate(Message("net benefit")),
            x_range=(0, 1),
            y_range=(-0.1, max(everyone[0], 0.2) + 0.05),
        ),
        chart(
            losses,
            title=translate(Message("Validation loss")),
            x_label=translate(Message("round")),
            y_label=translate(Message("loss")),
            x_range=(0, max(len(losses[0].x) - 1, 1)),
            y_range=(min(spread) - 0.02, max(spread) + 0.02),
        ),
    ]


def _groups(design: Mapping[str, Any], translate: Translate) -> list[str]:
    centres = [((name,), one) for name, one in design["by_centre"][FEDERATED].items()]
    levels = [
        ((translate(_GROUPS[group]), translate(_LEVELS[level]) if level in _LEVELS else level), one)
        for group, found in design["by_subgroup"][FEDERATED].items()
        for level, one in found.items()
    ]
    parts = []
    for title, rows in (
        (Message("Federated model by centre"), centres),
        (Message("Federated model by subgroup"), levels),
    ):
        parts += [f"<h3>{escape(translate(title))}</h3>", _group_table(rows, translate)]
    note = Message("Empty: fewer than 5 events before the horizon, or fewer than 5 patients free of them.")
    return [*parts, f"<p>{escape(translate(note))}</p>"]


def _group_table(rows: Iterable[tuple[Sequence[str], Mapping[str, Any]]], translate: Translate) -> str:
    lines = [
        [
            escape(": ".join(names)),
            str(one["patients"]),
            str(one["events"]),
            *(_cell(one.get(metric)) for metric in _METRICS),
        ]
        for names, one in rows
    ]
    columns = (Message("Group"), Message("Patients"), Message("Events"), *_METRICS.values())
    return _table([translate(one) for one in columns], lines)


def _sets(design: Mapping[str, Any], translate: Translate) -> list[str]:
    sets = design["conformal_sets"]
    rows = [
        [
            escape(translate(_ENDPOINTS[endpoint])),
            escape(name),
            str(one["patients"]),
            str(one["known"]),
            _cell(one["coverage"]),
            _cell(one["indeterminate"]),
        ]
        for endpoint, found in sets["endpoints"].items()
        for name, one in {translate(Message("all centres")): found["all"], **found["by_centre"]}.items()
    ]
    columns = (
        Message("Endpoint"),
        Message("Centre"),
        Message("Patients"),
        Message("Outcome known"),
        Message("Coverage"),
        Message("Indeterminate"),
    )
    title = Message("Conformal sets of the federated model, level {level:g} %", level=100 * sets["level"])
    note = Message(
        "Coverage: share of the sets that contain the outcome, weighted for censoring. Indeterminate: sets with both"
        " outcomes. Exact binomial intervals. The level is meant for all centres together, not for each."
    )
    return [
        f"<h3>{escape(translate(title))}</h3>",
        _table([translate(one) for one in columns], rows, words=(0, 1)),
        f"<p>{escape(translate(note))}</p>",
    ]


def _audit(checks: Mapping[str, Any], translate: Translate) -> list[str]:
    rows = []
    for name, found in checks.items():
        passed = found["passed"]
        verdict = Message("not run") if passed is None else Message("passed") if passed else Message("failed")
        kind = "none" if passed is None else "met" if passed else "not"
        facts = ", ".join(
            f"{key} {_short(value)}" for key, value in found.items() if key not in {"passed", "permutations"}
        )
        mark = f'<span class="{kind}">{escape(translate(verdict))}</span>'
        rows.append([escape(translate(_CHECKS[name])), mark, escape(facts)])
    columns = (Message("Check"), Message("Verdict"), Message("Found"))
    table = _table([translate(one) for one in columns], rows, words=(0, 1, 2))
    return [f"<h2>{escape(translate(Message('Audit for leaks')))}</h2>", table]


def _how(report: Mapping[str, Any], translate: Translate) -> list[str]:
    found = {"config": report["config"], "software": report["software"], "seconds": report["seconds"]}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    return [f"<h2>{escape(translate(Message('Configuration')))}</h2><pre>{escape(text)}</pre>"]


def _name(model: str) -> Message:
    if model.startswith(SINGLE):
        return Message("{name} alone", name=model.removeprefix(SINGLE))
    return _MODELS[model]


def _cell(estimate: Numbers) -> str:
    if not estimate or estimate["value"] is None:
        return ""
    value = f"{estimate['value']:.3f}"
    if estimate["lower"] is None:
        return value
    return f"{value}<br><small>{estimate['lower']:.3f} – {estimate['upper']:.3f}</small>"


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, words: Sequence[int] = (0,)) -> str:
    """A table; cells are HTML already, columns are not. `words` are the columns that hold no numbers."""
    kinds = [' class="word"' if at in words else "" for at in range(len(columns))]
    head = "".join(f"<th{kind}>{escape(one)}</th>" for kind, one in zip(kinds, columns, strict=True))
    lines = ("".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
