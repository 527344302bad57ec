"""Every step in every state, and random walks, against a table written here by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cases.deliveries import Deliveries
from app.cases.lifecycle import (
    DELIVERY_TRANSITIONS,
    STATUS_LABELS,
    TRANSITIONS,
    CaseEvent,
    DeliveryEvent,
    next_delivery_state,
)
from app.cases.store import Store
from app.cases.tables import BUSY, Case, Decision, DeliveryState, SignedVersion, Status
from fedpet.core.errors import CaseNotFoundError, TransitionError
from fedpet.core.messages import LANGUAGES, Message, translate_message
from fedpet.core.settings import Settings
from tests.support.case_files import alter_case

USABLE, NO_SUV = {"refused": None}, {"refused": {"found": {}}}
WHY = Message("No space.")


def _finish_check(inspection):
    return lambda store, case: store.finish_check(
        case.id, pseudonym="P-1", study_date="2026-01-02", inspection=inspection
    )


def _version(case):
    return SignedVersion(
        case=case.id, number=case.version, signed=datetime.now(UTC), reader="Dr A", decision=Decision.ACCEPT,
        comment="", report_uid="2.25.1", content_hash="ab" * 32, result={},
    )  # fmt: skip


_IDLE = "received checked ready read signed refused failed"
STEPS = {  # name: the step, and "before>after" for each state that allows it
    "record_images": (
        lambda store, case: store.record_images(case.id, files=2, size=9),
        "received>received",
    ),
    "request_transfer": (
        lambda store, case: store.request_transfer(case.id, pacs="main", study_uid="1.2"),
        "received>fetching failed>fetching",
    ),
    "finish_transfer": (
        lambda store, case: store.finish_transfer(case.id, files=2, size=9),
        "fetching>checking",
    ),
    "save_draft": (
        lambda store, case: store.save_draft(case.id, {"age": 70.0}, "en"),
        "fetching>fetching received>received checking>checking checked>checked failed>failed refused>refused",
    ),
    "start_check": (lambda store, case: store.start_check(case.id), "received>checking failed>checking"),
    "confirm_record": (
        lambda store, case: store.confirm_record(case.id),
        "fetching>fetching received>received checking>checking failed>failed checked>running",
    ),
    "finish_check": (_finish_check(USABLE), "checking>checked"),
    "finish_computation": (lambda store, case: store.finish_computation(case.id, result={"n": 1}), "running>ready"),
    "mark_read": (lambda store, case: store.mark_read(case.id), "ready>read read>read signing>signing signed>signed"),
    "save_verdict": (
        lambda store, case: store.save_verdict(case.id, decision=None, comment="é", reader="Dr B"),
        "ready>ready read>read",
    ),
    "start_signing": (
        lambda store, case: store.start_signing(case.id, decision=Decision.REJECT, comment="é", reader="Dr B"),
        "ready>signing read>signing",
    ),
    "finish_signing": (lambda store, case: store.finish_signing(_version(case)), "signing>signed"),
    "start_attempt": (
        lambda store, case: store.start_attempt(case.id),
        "fetching>fetching checking>checking running>running signing>signing",
    ),
    "record_progress": (
        lambda store, case: store.record_progress(case.id, 0.4, WHY),
        "fetching>fetching checking>checking running>running signing>signing",
    ),
    "record_refusal": (
        lambda store, case: store.record_refusal(case.id, WHY),
        "checking>refused running>refused signing>read",
    ),
    "record_failure": (
        lambda store, case: store.record_failure(case.id, WHY),
        "fetching>failed checking>failed running>failed signing>read",
    ),
    "record_mismatch": (lambda store, case: store.record_mismatch(case.id, WHY), "running>checked signing>read"),
    "reopen_images": (
        lambda store, case: store.reopen_images(case.id, options={"ct_series": 2}),
        " ".join(f"{name}>received" for name in _IDLE.split()),
    ),
    "reopen_record": (
        lambda store, case: store.reopen_record(case.id, options={"method": "percist"}),
        "checked>checked ready>checked read>checked signed>checked",
    ),
    "open_version": (lambda store, case: store.open_version(case.id), "signed>checked"),
}


def _expected(name):
    pairs = (pair.split(">") for pair in STEPS[name][1].split())
    return {Status(before): Status(after) for before, after in pairs}


@pytest.fixture
def store(tmp_path, database):
    opened = Store.open(Settings(home=tmp_path / "home", database=database))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    opened = Store.open(Settings(home=tmp_path_factory.mktemp("home")))
    yield opened
    opened.close()


def _row(case):
    return {column.name: getattr(case, column.name) for column in Case.__table__.columns}


def _in(store, status, **values):
    case = store.create("fr", {"age": 61.0})
    alter_case(store, case.id, status=status, **values)
    return store.get(case.id)


@pytest.mark.parametrize("name", STEPS)
def test_each_step_happens_in_its_states_and_changes_nothing_in_the_others(store, name):
    step, expected = STEPS[name][0], _expected(name)
    for status in Status:
        case = _in(store, status)
        if status in expected:
            step(store, case)
            assert store.get(case.id).status is expected[status], status
        else:
            with pytest.raises(TransitionError) as refused:
                step(store, case)
            assert str(STATUS_LABELS[status]) in str(refused.value)
            assert _row(store.get(case.id)) == _row(case), status
            assert store.versions(case.id) == []


def test_a_confirmed_case_runs_on_when_its_images_can_be_used(store):
    for confirmed, inspection, after in (
        (True, USABLE, Status.RUNNING),
        (True, NO_SUV, Status.CHECKED),
        (False, USABLE, Status.CHECKED),
    ):
        case = _in(store, Status.CHECKING, confirmed=confirmed)
        assert _finish_check(inspection)(store, case).status is after
    for status in set(Status) - {Status.CHECKING}:
        with pytest.raises(TransitionError):
            _finish_check(USABLE)(store, _in(store, status, confirmed=True))


def test_a_case_without_its_images_is_fetched_before_it_is_checked(store):
    awaited = {"pacs": "main", "study_uid": "1.2"}
    for status in Status:
        case = _in(store, status, received=awaited)
        if status in {Status.RECEIVED, Status.FAILED}:
            store.start_check(case.id)
            assert (store.get(case.id).status, store.get(case.id).received) == (Status.FETCHING, awaited)
        else:
            with pytest.raises(TransitionError):
                store.start_check(case.id)


def test_a_busy_case_cannot_be_deleted(store):
    for status in Status:
        case = _in(store, status)
        if status in BUSY:
            with pytest.raises(TransitionError):
                store.delete(case.id)
            assert _row(store.get(case.id)) == _row(case)
            assert store.folder(case.id).is_dir()
        else:
            store.delete(case.id)
            assert store.get(case.id) is None


@pytest.mark.parametrize("name", STEPS)
def test_a_case_that_is_gone_takes_no_step(sqlite, name):
    case = sqlite.create("fr")
    sqlite.delete(case.id)
    with pytest.raises(CaseNotFoundError):
        STEPS[name][0](sqlite, case)
    assert sqlite.get(case.id) is None


@settings(max_examples=80, deadline=None)
@given(names=st.lists(st.sampled_from(sorted(STEPS)), max_size=40))
def test_random_walks_follow_the_table_and_never_lose_a_signature(sqlite, names):
    case = sqlite.create("fr")
    status, signed, version = Status.RECEIVED, [], 1
    for name in names:
        step, expected = STEPS[name][0], _expected(name)
        now = sqlite.get(case.id)
        fetched = name == "start_check" and now.awaits_transfer
        if name == "finish_check" and now.confirmed:
            expected = {Status.CHECKING: Status.RUNNING}
        if status not in expected:
            with pytest.raises(TransitionError):
                step(sqlite, now)
            continue
        step(sqlite, now)
        if name == "finish_signing":
            signed.insert(0, version)
        if status is Status.SIGNED and name in {"reopen_images", "reopen_record", "open_version"}:
            version += 1
        status = Status.FETCHING if fetched else expected[status]
        after = sqlite.get(case.id)
        assert (after.status, after.version) == (status, version)
        assert [one.number for one in sqlite.versions(case.id)] == signed
        assert (after.status is Status.SIGNED) == (version in signed)
        assert after.verdict is None or status in {Status.READY, Status.READ, Status.SIGNING}
        assert after.verdict is not None or status is not Status.SIGNING


def test_every_event_is_in_the_table_and_every_state_can_be_reached_and_left():
    assert set(TRANSITIONS) == set(CaseEvent)
    assert set(STATUS_LABELS) == set(Status)
    reached = {Status.RECEIVED}
    while more := {after for table in TRANSITIONS.values() for b, after in table.items() if b in reached} - reached:
        reached |= more
    assert reached == set(Status)
    for status in Status:
        assert any(table.get(status, status) is not status for table in TRANSITIONS.values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_refused_step_names_the_state_and_those_that_it_needs(sqlite, language):
    case = _in(sqlite, Status.SIGNED)
    with pytest.raises(TransitionError) as refused:
        sqlite.start_check(case.id)
    told = refused.value.translate(translate_message(language))
    words = {"fr": ("signé", "reçu", "échec", "Rechargez"), "en": ("signed", "received", "failed", "Reload")}
    assert all(word in told for word in words[language]), told


# deliveries


def test_a_delivery_follows_its_table_and_nothing_else(store):
    steps = {
        DeliveryEvent.QUEUE: lambda found, case: found.queue(case.id, 1, pacs="main", actor="Dr A"),
        DeliveryEvent.RECORD_SUCCESS: lambda found, case: found.record_success(case.id, 1),
        DeliveryEvent.RECORD_FAILURE: lambda found, case: found.record_failure(case.id, 1, WHY),
    }
    sending, sent, refused = DeliveryState.UNDER_WAY, DeliveryState.DONE, DeliveryState.REFUSED
    expected = {
        DeliveryEvent.QUEUE: {None: sending, sent: sending, refused: sending},
        DeliveryEvent.RECORD_SUCCESS: {sending: sent},
        DeliveryEvent.RECORD_FAILURE: {sending: refused},
    }
    assert set(DELIVERY_TRANSITIONS) == set(steps)
    way = {None: (), sending: ("queue",), sent: ("queue", "record_success"), refused: ("queue", "record_failure")}
    deliveries = Deliveries(store.engine)
    for event, step in steps.items():
        for before, events in way.items():
            case = store.create("fr")
            for one in events:
                steps[DeliveryEvent(one)](deliveries, case)
            if before in expected[event]:
                step(deliveries, case)
                assert deliveries.get(case.id, 1).state is expected[event][before]
            else:
                with pytest.raises(TransitionError):
                    step(deliveries, case)
                with pytest.raises(TransitionError):
                    next_delivery_state(before, event)
                found = deliveries.get(case.id, 1)
                assert (found and found.state) == before
