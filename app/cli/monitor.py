"""`fedpet monitor`: the cases of this centre against the model's reference."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import typer

from app.cli.console import messages, reported, say, write_json
from app.cli.options import operator
from fedpet.core.errors import SettingsError
from fedpet.core.messages import Message
from fedpet.core.settings import load_settings

commands = typer.Typer(help="Compare the cases of this centre with the model's reference.", no_args_is_help=True)


@commands.command()
def page(
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="HTML file to write.")] = None,
    month: Annotated[str, typer.Option(help="Last month, YYYY-MM; by default until today.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Write only JSON to standard output.")] = False,
) -> None:
    """Compare the newest cases of the model in force, and write the monthly page; exit code 0 with findings too."""
    from app.cases.monitoring import Monitoring
    from app.services import open_services
    from reports.locale import Locale
    from reports.monitoring_page import monitoring_page, name_of, summary

    settings = load_settings()
    with reported(as_json=json):
        opened = open_services(settings)
        bundle = opened.bundle
        found = Monitoring.of(opened.store, bundle, until=_last_day(month) if month else None)
        locale, patients = Locale(settings.language), found.reference.patients
        if out is not None:
            text = monitoring_page(
                found.report, found.months, model=f"{bundle.card['name']} {bundle.card['version']}",
                reference_patients=patients, locale=locale,
            )  # fmt: skip
            out.write_text(text, encoding="utf-8")
    if json:
        write_json({
            "until": found.report.until.isoformat(), "cases": found.report.cases, "compared": found.report.compared,
            "abstained": found.report.abstained, "outcomes": found.report.outcomes, "reference_patients": patients,
            "comparisons": [{**vars(one), "alarm": one.alarm} for one in found.report.comparisons],
        })  # fmt: skip
        return
    lines = summary(found.report, reference_patients=patients, locale=locale)
    lines += [name_of(one, locale) for one in found.report.findings]
    messages.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


@commands.command()
def outcomes(
    table: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="CSV or xlsx: pseudonym, free_12m (yes or no), date.")
    ],
) -> None:
    """Enter whether patients were free of progression at 12 months; a row replaces what was entered before."""
    from app.cases.monitoring import entered_sentence, import_outcomes
    from app.services import open_services

    with reported():
        opened = open_services(load_settings())
        entered, unknown = import_outcomes(opened.store, opened.workflow.audit, table, actor=operator())
    say(entered_sentence(entered, unknown))


def _last_day(month: str) -> date:
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError as error:
        raise SettingsError(
            found=Message("“{month}” is no month.", month=month[:20]),
            needed=Message("A month as YYYY-MM."),
            advice=Message("Write, for example, 2026-11."),
        ) from error
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
