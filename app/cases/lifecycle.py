"""The life cycle of a case: which event may happen in which state, and the state that follows.

The table is the only place that says so. `app.cases.store.Store` applies it to the database in one statement, so that
of two windows that ask for the same step one gets it and the other an error.

::

    FETCHING ─┐
    RECEIVED ─┴> CHECKING ─> CHECKED ─> RUNNING ─> READY ─> READ ─> SIGNING ─> SIGNED
                    └───────────────────>┘ (record confirmed during the check)

A busy case that cannot go on is REFUSED (the images or the record cannot be used) or FAILED (it may be tried again). A
case whose record contradicts its images goes back to CHECKED, one whose report could not be signed to READ. A case that
is not busy can be reopened: with other images or corrections it starts again from RECEIVED, with another record or
other lesions from CHECKED.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from app.cases.tables import BUSY, DeliveryState, Status
from fedpet.core.errors import TransitionError
from fedpet.core.messages import Message

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANGED_MEANWHILE: Final = Message(
    "Reload the page: the case was changed meanwhile, in another window or by someone else."
)
STATUS_LABELS: Final[Mapping[Status, Message]] = MappingProxyType(
    {
        Status.FETCHING: Message("images coming in"),
        Status.RECEIVED: Message("received"),
        Status.CHECKING: Message("checking"),
        Status.CHECKED: Message("to be completed"),
        Status.RUNNING: Message("in progress"),
        Status.READY: Message("ready"),
        Status.READ: Message("read"),
        Status.SIGNING: Message("being signed"),
        Status.SIGNED: Message("signed"),
        Status.REFUSED: Message("refused"),
        Status.FAILED: Message("failed"),
    }
)


class CaseEvent(StrEnum):
    """What can happen to a case."""

    RECORD_IMAGES = "record_images"  # the files are on disk
    REQUEST_TRANSFER = "request_transfer"  # from a PACS, for the first time or after a failure
    FINISH_TRANSFER = "finish_transfer"
    SAVE_DRAFT = "save_draft"  # of the clinical record
    CONFIRM_RECORD = "confirm_record"  # before the checks are done
    START_CHECK = "start_check"
    FINISH_CHECK = "finish_check"
    FINISH_CHECK_AND_RUN = "finish_check_and_run"  # the record was confirmed meanwhile
    START_COMPUTATION = "start_computation"
    FINISH_COMPUTATION = "finish_computation"
    MARK_READ = "mark_read"  # a reader says so
    SAVE_VERDICT = "save_verdict"  # a draft of it
    SAVE_READING = "save_reading"  # identity, estimate, confirmation of the lesions
    EDIT_LESIONS = "edit_lesions"  # measured and answered at once
    REFRESH = "refresh"  # what hangs on corrected lesions, behind their answer
    START_SIGNING = "start_signing"
    FINISH_SIGNING = "finish_signing"
    START_ATTEMPT = "start_attempt"  # a process takes the case up
    RECORD_PROGRESS = "record_progress"
    RECORD_REFUSAL = "record_refusal"
    RECORD_FAILURE = "record_failure"
    RECORD_MISMATCH = "record_mismatch"  # the clinical record contradicts the images
    REOPEN_IMAGES = "reopen_images"
    REOPEN_RECORD = "reopen_record"
    OPEN_VERSION = "open_version"
    DELETE = "delete"


class DeliveryEvent(StrEnum):
    """What can happen to the delivery of a signed version to a PACS."""

    QUEUE = "queue"
    RECORD_SUCCESS = "record_success"
    RECORD_FAILURE = "record_failure"


def _unchanged(*statuses: Status) -> dict[Status, Status]:
    """Transitions that leave the state as it is."""
    return {status: status for status in statuses}


_IDLE = tuple(status for status in Status if status not in BUSY)

TRANSITIONS: Final[Mapping[CaseEvent, Mapping[Status, Status]]] = MappingProxyType(
    {
        CaseEvent.RECORD_IMAGES: _unchanged(Status.RECEIVED),
        CaseEvent.REQUEST_TRANSFER: {Status.RECEIVED: Status.FETCHING, Status.FAILED: Status.FETCHING},
        CaseEvent.FINISH_TRANSFER: {Status.FETCHING: Status.CHECKING},
        CaseEvent.SAVE_DRAFT: _unchanged(
            Status.FETCHING, Status.RECEIVED, Status.CHECKING, Status.CHECKED, Status.FAILED, Status.REFUSED
        ),
        CaseEvent.CONFIRM_RECORD: _unchanged(Status.FETCHING, Status.RECEIVED, Status.CHECKING, Status.FAILED),
        CaseEvent.START_CHECK: {Status.RECEIVED: Status.CHECKING, Status.FAILED: Status.CHECKING},
        CaseEvent.FINISH_CHECK: {Status.CHECKING: Status.CHECKED},
        CaseEvent.FINISH_CHECK_AND_RUN: {Status.CHECKING: Status.RUNNING},
        CaseEvent.START_COMPUTATION: {Status.CHECKED: Status.RUNNING},
        CaseEvent.FINISH_COMPUTATION: {Status.RUNNING: Status.READY},
        CaseEvent.MARK_READ: {Status.READY: Status.READ, **_unchanged(Status.READ, Status.SIGNING, Status.SIGNED)},
        CaseEvent.SAVE_VERDICT: _unchanged(Status.READY, Status.READ),
        CaseEvent.SAVE_READING: _unchanged(Status.CHECKED, Status.RUNNING, Status.READY, Status.READ),
        CaseEvent.EDIT_LESIONS: dict.fromkeys((Status.RUNNING, Status.READY, Status.READ), Status.READY),
        CaseEvent.REFRESH: dict.fromkeys((Status.READY, Status.READ), Status.RUNNING),
        CaseEvent.START_SIGNING: dict.fromkeys((Status.READY, Status.READ), Status.SIGNING),
        CaseEvent.FINISH_SIGNING: {Status.SIGNING: Status.SIGNED},
        CaseEvent.START_ATTEMPT: _unchanged(*BUSY),
        CaseEvent.RECORD_PROGRESS: _unchanged(*BUSY),
        CaseEvent.RECORD_REFUSAL: {
            Status.CHECKING: Status.REFUSED,
            Status.RUNNING: Status.REFUSED,
            Status.SIGNING: Status.READ,
        },
        CaseEvent.RECORD_FAILURE: {
            Status.FETCHING: Status.FAILED,
            Status.CHECKING: Status.FAILED,
            Status.RUNNING: Status.FAILED,
            Status.SIGNING: Status.READ,
        },
        CaseEvent.RECORD_MISMATCH: {Status.RUNNING: Status.CHECKED, Status.SIGNING: Status.READ},
        CaseEvent.REOPEN_IMAGES: dict.fromkeys(_IDLE, Status.RECEIVED),
        CaseEvent.REOPEN_RECORD: dict.fromkeys(
            (Status.CHECKED, Status.READY, Status.READ, Status.SIGNED), Status.CHECKED
        ),
        CaseEvent.OPEN_VERSION: {Status.SIGNED: Status.CHECKED},
        CaseEvent.DELETE: _unchanged(*_IDLE),
    }
)

DELIVERY_TRANSITIONS: Final[Mapping[DeliveryEvent, Mapping[DeliveryState | None, DeliveryState]]] = MappingProxyType(
    {  # None: never sent
        DeliveryEvent.QUEUE: dict.fromkeys((None, DeliveryState.DONE, DeliveryState.REFUSED), DeliveryState.UNDER_WAY),
        DeliveryEvent.RECORD_SUCCESS: {DeliveryState.UNDER_WAY: DeliveryState.DONE},
        DeliveryEvent.RECORD_FAILURE: {DeliveryState.UNDER_WAY: DeliveryState.REFUSED},
    }
)


def next_status(status: Status, event: CaseEvent) -> Status:
    """The state of a case after an event.

    Args:
        status: the state before.
        event: what is to happen.

    Returns:
        The state that follows; for some events the same one.

    Raises:
        TransitionError: the event may not happen in this state.
    """
    allowed = TRANSITIONS[event]
    if status not in allowed:
        names = {f"status_{number}": STATUS_LABELS[one] for number, one in enumerate(Status) if one in allowed}
        raise TransitionError(
            found=Message("The case is “{status}”.", status=STATUS_LABELS[status]),
            needed=Message(
                "This step needs a case that is one of: {statuses}.",
                statuses=Message(", ".join(f"{{{name}}}" for name in names), **names),
            ),
            advice=CHANGED_MEANWHILE,
        )
    return allowed[status]


def next_delivery_state(state: DeliveryState | None, event: DeliveryEvent) -> DeliveryState:
    """The state of a delivery after an event.

    Args:
        state: the state before; None where the version was never sent.
        event: what is to happen.

    Returns:
        The state that follows.

    Raises:
        TransitionError: the event may not happen in this state.
    """
    allowed = DELIVERY_TRANSITIONS[event]
    if state not in allowed:
        under_way = state is DeliveryState.UNDER_WAY
        raise TransitionError(
            found=Message("The results are on their way to a PACS already.")
            if under_way
            else Message("No results are on their way to a PACS."),
            needed=Message("A delivery that has ended.") if under_way else Message("A delivery that is under way."),
            advice=Message("Reload the page to see how far it is."),
        )
    return allowed[state]
