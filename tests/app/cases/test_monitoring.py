"""The stream of a centre's cases, the outcomes that are entered, and the page; none of it identifies a patient."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from app.cases.monitoring import Monitoring, import_outcomes
from app.cases.result_json import plain
from app.cases.tables import Status
from app.cli.main import main
from app.services import open_services
from fedpet.core.errors import RecordError
from fedpet.core.settings import Settings
from inference.answer import answer
from inference.engine import Engine
from reports.locale import Locale
from reports.monitoring_page import monitoring_page
from tests.support.case_files import alter_case
from tests.support.lesion_tables import draw_record, draw_table
from tests.support.table_bundle import table_bundle

LONG_AGO = datetime.now(UTC) - timedelta(days=500)
EXAMINED = LONG_AGO.date()


@pytest.fixture
def centre(tmp_path):
    """Services with 30 answered cases of one bundle, and one of another."""
    bundle = table_bundle(tmp_path / "model")
    opened = open_services(Settings(home=tmp_path / "home", model=bundle.folder))
    engine, rng = Engine(bundle, provider="cpu", threads=1), np.random.default_rng(0)
    for number in range(31):
        record, table = draw_record(rng), draw_table(rng, 3)[0]
        answered = answer(bundle, engine, record, table)
        prediction = {
            "model": {"digest": bundle.digest if number else "another"},
            "table": table.to_json(),
            "endpoints": [] if number % 10 == 1 else plain(answered.endpoints),
        }
        known = {name: value for name, value in asdict(record).items() if value is not None}
        case = opened.store.create("en", known)
        alter_case(
            opened.store, case.id, status=Status.READY, created=LONG_AGO + timedelta(days=number),
            pseudonym=f"P-{number:012d}", study_date=EXAMINED.isoformat(),
            result={"prediction": prediction, "record": known},
        )  # fmt: skip
    yield opened
    opened.jobs.stop()
    opened.store.close()


def table_of(path, rows):
    path.write_text("pseudonym;free_12m;date\n" + "".join(f"{';'.join(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_the_cases_of_the_model_are_compared_by_month(centre):
    found = Monitoring.of(centre.store, centre.bundle)
    assert (found.report.cases, found.report.abstained, found.report.outcomes) == (30, 3, 0)
    assert sum(map(len, found.months.values())) == 30
    assert {"input"} <= {one.kind for one in found.report.comparisons}
    assert len(found.report.findings) > 0  # drawn records are no patients


def test_outcomes_enter_and_say_how_the_answers_held(centre, tmp_path):
    later = (EXAMINED + timedelta(days=380)).isoformat()
    early = (EXAMINED + timedelta(days=100)).isoformat()
    rows = [(f"P-{n:012d}", *(("oui", later) if n % 3 else ("no", early))) for n in range(1, 31)]
    rows.append(("P-999999999999", "yes", later))
    entered = import_outcomes(centre.store, centre.workflow.audit, table_of(tmp_path / "a.csv", rows), actor="admin")
    assert entered == (30, 1)
    found = Monitoring.of(centre.store, centre.bundle).report
    assert found.outcomes == 27  # 3 abstentions have no answer to judge
    assert {"calibration", "coverage"} <= {one.kind for one in found.comparisons}
    assert "P-" not in json.dumps(centre.workflow.audit.entries(newest=1)[0].detail)
    again = import_outcomes(centre.store, centre.workflow.audit, table_of(tmp_path / "b.csv", rows[:1]), actor="admin")
    assert again == (1, 0)
    assert len(centre.store.outcomes()) == 30


@pytest.mark.parametrize(
    ("free", "days"), [("yes", 100), ("no", 600), ("yes", -5), ("", 380), ("perhaps", 380), ("yes", 5000)]
)
def test_an_outcome_that_cannot_be_is_refused_by_its_row(centre, tmp_path, free, days):
    rows = [(f"P-{2:012d}", "yes", (EXAMINED + timedelta(days=400)).isoformat()),
            (f"P-{3:012d}", free, (EXAMINED + timedelta(days=days)).isoformat())]  # fmt: skip
    with pytest.raises(RecordError) as refused:
        import_outcomes(centre.store, centre.workflow.audit, table_of(tmp_path / "a.csv", rows), actor="admin")
    assert "P-" not in str(refused.value)
    assert centre.store.outcomes() == {}


def test_erasing_a_case_erases_its_outcome(centre, tmp_path):
    rows = [(f"P-{2:012d}", "yes", (EXAMINED + timedelta(days=400)).isoformat())]
    import_outcomes(centre.store, centre.workflow.audit, table_of(tmp_path / "a.csv", rows), actor="admin")
    (case,) = centre.store.find_by_patient(f"P-{2:012d}")
    centre.store.delete(case.id)
    assert centre.store.outcomes() == {}


@pytest.mark.parametrize("language", ["fr", "en"])
def test_the_page_holds_no_identity(centre, language):
    found = Monitoring.of(centre.store, centre.bundle)
    page = monitoring_page(found.report, found.months, model="table 0", reference_patients=0, locale=Locale(language))
    assert "P-0" not in page
    assert not any(one in page for one in centre.store.identifiers())
    assert f"{EXAMINED:%Y-%m}" in page
    assert "<script" not in page
    assert page.count("class=alarm") == len(found.report.findings)


def test_the_command_writes_the_page_and_enters_outcomes(centre, tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPET_HOME", str(centre.settings.home))
    monkeypatch.setenv("FEDPET_MODEL", str(centre.settings.model))
    monkeypatch.setenv("FEDPET_LANGUAGE", "en")
    out, runner = tmp_path / "page.html", CliRunner()
    done = runner.invoke(main, ["monitor", "page", "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["cases"], told["abstained"]) == (30, 3)
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    month = runner.invoke(main, ["monitor", "page", "--month", f"{EXAMINED - timedelta(days=40):%Y-%m}", "--json"])
    assert json.loads(month.stdout)["cases"] == 0
    rows = [(f"P-{2:012d}", "yes", (EXAMINED + timedelta(days=400)).isoformat())]
    assert runner.invoke(main, ["monitor", "outcomes", str(table_of(tmp_path / "a.csv", rows))]).exit_code == 0
    assert len(centre.store.outcomes()) == 1
    assert runner.invoke(main, ["monitor", "page", "--month", "May"]).exit_code == 2
