"""The deliveries of signed versions to a PACS: the last attempt for each version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.cases.lifecycle import DeliveryEvent, next_delivery_state
from app.cases.tables import Delivery, DeliveryState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Engine

    from fedpet.core.messages import Message


class Deliveries:
    """The deliveries in the database of the cases.

    Methods that change one raise `TransitionError` where its state does not allow the step; nothing is changed then.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def queue(self, case_id: str, number: int, *, pacs: str, actor: str) -> None:
        """Queue the delivery of a version to a PACS, for the first time or again."""
        self._apply(DeliveryEvent.QUEUE, case_id, number, pacs=pacs, actor=actor, message=None)

    def record_success(self, case_id: str, number: int) -> None:
        """Record that the PACS has the results."""
        self._apply(DeliveryEvent.RECORD_SUCCESS, case_id, number, message=None)

    def record_failure(self, case_id: str, number: int, reason: Message) -> None:
        """Record that the PACS did not accept the results, and why."""
        self._apply(DeliveryEvent.RECORD_FAILURE, case_id, number, message=reason.to_json())

    def get(self, case_id: str, number: int) -> Delivery | None:
        """The last delivery of a version, or None where it was never sent."""
        with self._session() as session:
            return session.get(Delivery, (case_id, number))

    def find_under_way(self) -> Sequence[Delivery]:
        """The deliveries under way; when a server starts, those that the former one left behind."""
        with self._session() as session:
            return session.scalars(select(Delivery).where(Delivery.state == DeliveryState.UNDER_WAY)).all()

    def _apply(self, event: DeliveryEvent, case_id: str, number: int, **values: Any) -> None:
        """Let an event happen to a delivery; it is decided anew where another writer was faster."""
        while True:
            known = self.get(case_id, number)
            state = next_delivery_state(known.state if known else None, event)
            values |= {"state": state, "moment": datetime.now(UTC)}
            if self._insert(case_id, number, values) if known is None else self._change(known, values):
                return

    def _insert(self, case_id: str, number: int, values: Mapping[str, Any]) -> bool:
        try:
            with self._session() as session, session.begin():
                session.add(Delivery(case=case_id, number=number, **values))
        except IntegrityError:
            if self.get(case_id, number) is None:  # the case was erased
                raise
            return False
        return True

    def _change(self, known: Delivery, values: Mapping[str, Any]) -> bool:
        query = update(Delivery).where(
            Delivery.case == known.case, Delivery.number == known.number, Delivery.state == known.state
        )
        with self._session() as session, session.begin():
            return session.connection().execute(query.values(**values)).rowcount == 1

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)
