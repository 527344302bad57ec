"""What only a real PostgreSQL shows. `test_app_store` and `test_app_audit` run on it as on SQLite."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from app.access.accounts import Accounts
from app.audit.trail import AuditTrail
from app.cases.deliveries import Deliveries
from app.cases.erasure import erase_patient
from app.cases.store import Store
from app.cases.tables import Decision, SignedVersion, Status
from app.cases.workflow import Workflow
from app.database.base import Base
from app.database.connection import open_database
from fedpet.core.errors import SettingsError, TransitionError
from fedpet.core.messages import Message
from fedpet.core.settings import Settings

LATEST = "0008"


@pytest.fixture
def settings(tmp_path, postgresql):
    return Settings(home=tmp_path / "home", database=postgresql.migrated())


@pytest.fixture
def store(settings):
    opened = Store.open(settings)
    yield opened
    opened.close()


@pytest.fixture
def audit(store, settings):
    return AuditTrail(store.engine, settings.folder)


@pytest.fixture
def engine(postgresql):
    made = create_engine(postgresql.empty())
    yield made
    made.dispose()


def _migrate(engine, step, revision):
    config = Config()
    config.set_main_option("script_location", "app:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        step(config, revision)


def _checked(store, owner=""):
    """A case of the patient P-1 whose images are checked."""
    case = store.create("fr", owner=owner)
    store.start_check(case.id)
    return store.finish_check(case.id, pseudonym="P-1", study_date="2026-01-02", inspection={"refused": None})


def _at_once(work, times=12):
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda _: work(), range(times)))


def _taken(step):
    """How many of many who ask at once for a step get it."""

    def attempt():
        try:
            step()
        except TransitionError:
            return False
        return True

    return sum(_at_once(attempt))


def _refusal(tmp_path, url):
    with pytest.raises(SettingsError) as refused:
        open_database(Settings(home=tmp_path / "home", database=url))
    return str(refused.value)


# migrations


def test_every_migration_goes_up_and_down(engine):
    _migrate(engine, command.upgrade, LATEST)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    _migrate(engine, command.downgrade, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]


def test_a_case_of_the_first_version_is_there_after_the_update(engine, tmp_path):
    _migrate(engine, command.upgrade, "0001")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO cases (id, created, status, language, pseudonym, study_date, fraction, record, received) "
                "VALUES ('a', '2026-01-02 10:00', 'ready', 'fr', 'P-1', '2026-01-02', 1, '{\"age\": 61.5}', '{}')"
            )
        )
    url = engine.url.render_as_string(hide_password=False)
    store = Store.open(Settings(home=tmp_path / "home", database=url))
    case = store.get("a")
    store.close()
    assert (case.created, case.status) == (datetime(2026, 1, 2, 10, tzinfo=UTC), Status.READY)
    assert (case.record, case.options, case.confirmed, case.version) == ({"age": 61.5}, {}, False, 1)


@pytest.mark.timeout(60)  # without the lock, each waits for the other's table
def test_servers_that_start_together_migrate_once(postgresql, tmp_path):
    settings = Settings(home=tmp_path / "home", database=postgresql.empty())
    engines = _at_once(lambda: open_database(settings), 4)
    assert set(inspect(engines[0]).get_table_names()) == {*Base.metadata.tables, "alembic_version"}
    for engine in engines:
        engine.dispose()


def test_a_database_of_a_later_version_is_refused(settings, store, tmp_path):
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "later version" in _refusal(tmp_path, settings.database)


# the connection


@pytest.mark.parametrize("url", ["nonsense", "postgresql://u:s3cret@host:port/x", "nobase://u:s3cret@host/x"])
def test_what_is_no_address_is_refused_without_its_password(tmp_path, url):
    said = _refusal(tmp_path, url)
    assert "not the URL of a known database" in said
    assert "s3cret" not in said


def test_a_wrong_password_and_a_silent_server_are_refused_with_their_reason(tmp_path, postgresql):
    url = postgresql.url("postgres").partition("?")[0].replace("fedpet@", "fedpet:s3cret@")
    said = _refusal(tmp_path, url)
    assert "password authentication failed" in said
    assert "s3cret" not in said
    assert "refused" in _refusal(tmp_path, url.replace(f":{postgresql.port}/", ":1/"))


def test_a_restarted_server_is_found_again(store, postgresql):
    case = store.create("fr")
    postgresql.stop()
    postgresql.start()
    assert store.get(case.id).status is Status.RECEIVED
    store.start_check(case.id)


# at the same moment


def test_writers_of_the_trail_wait_for_each_other_and_none_tries_twice(audit, monkeypatch):
    monkeypatch.setattr("app.audit.trail._ATTEMPTS", 1)
    _at_once(lambda: [audit.record("Dr A", "case.opened", case="c") for _ in range(5)])
    verdict = audit.verify()
    assert (verdict.entries, verdict.broken) == (60, None)


def test_a_case_is_started_by_one_of_many(store):
    case = store.create("fr")
    assert _taken(lambda: store.start_check(case.id)) == 1
    assert sum(store.start_attempt(case.id) for _ in range(3)) == 1 + 2 + 3


def test_a_version_is_kept_once(store):
    case = _checked(store)
    store.confirm_record(case.id)
    store.finish_computation(case.id, result={"n": 1})
    store.mark_read(case.id)
    assert _taken(lambda: store.start_signing(case.id, decision=Decision.ACCEPT, comment="é", reader="Dr A")) == 1

    def version():
        return SignedVersion(
            case=case.id, number=1, signed=datetime.now(UTC), reader="Dr A", decision=Decision.ACCEPT, comment="é",
            report_uid="2.25.1", content_hash="ab" * 32, result={"n": 1},
        )  # fmt: skip

    assert _taken(lambda: store.finish_signing(version())) == 1
    assert [kept.comment for kept in store.versions(case.id)] == ["é"]


# accounts, deliveries, erasure


def test_a_name_stays_with_its_account(store):
    accounts = Accounts(store.engine)
    assert accounts.record_sign_in("é.reader", subject="a" * 64, role="reader")
    assert not accounts.record_sign_in("é.reader", subject="b" * 64, role="administrator")
    assert [(one.name, one.role) for one in accounts.all()] == [("é.reader", "reader")]
    assert accounts.release("é.reader")
    assert accounts.record_sign_in("é.reader", subject="b" * 64, role="administrator")


def test_a_delivery_is_queued_once_and_again_after_a_refusal(store):
    case, outbox = store.create("fr"), Deliveries(store.engine)
    asked = {"pacs": "main", "actor": "Dr A"}
    assert _taken(lambda: outbox.queue(case.id, 1, **asked)) == 1
    outbox.record_failure(case.id, 1, Message("The PACS {name} refuses.", name="main"))
    assert str(outbox.get(case.id, 1).sentence) == "The PACS main refuses."
    outbox.queue(case.id, 1, **asked)
    assert [one.case for one in outbox.find_under_way()] == [case.id]


def test_an_erased_patient_leaves_no_row_and_a_sound_trail(store, audit, tmp_path):
    case, other = _checked(store), store.create("fr")
    Deliveries(store.engine).queue(case.id, 1, pacs="main", actor="Dr A")
    workflow = Workflow(store, audit, SimpleNamespace())  # erasing computes nothing
    proof = json.loads(erase_patient(workflow, "P-1", tmp_path / "proofs", actor="Dr A", reason="asked").read_text())
    assert (proof["cases"], [one.id for one in store.newest()]) == (1, [other.id])
    with store.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM deliveries")).scalar() == 0
    assert audit.verify().broken is None


# backups


def test_a_restored_dump_holds_the_cases_and_a_sound_trail(store, audit, settings, postgresql):
    case = _checked(store, owner="Dr É")
    audit.record("Dr É", "case.created", case=case.id, detail={"note": "μSv 0.1"})
    restored, tool = postgresql.empty(), postgresql.programs.joinpath
    dumping = [tool("pg_dump"), "--format=custom", settings.database]
    dump = subprocess.run(dumping, check=True, capture_output=True).stdout
    subprocess.run([tool("pg_restore"), "--exit-on-error", "--dbname", restored], check=True, input=dump)
    again = Store.open(settings.model_copy(update={"database": restored}))
    assert [(one.id, one.owner, one.status) for one in again.newest()] == [(case.id, "Dr É", Status.CHECKED)]
    verdict = AuditTrail(again.engine, settings.folder).verify()
    again.close()
    assert (verdict.entries, verdict.broken) == (1, None)
