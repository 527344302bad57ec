"""What readers send to a PACS: the last attempt for each signed version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.tables import Delivery, Sending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from fedpet.messages import Message


class Outbox:
    """The deliveries in the database of the cases."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def queue(self, case_id: str, number: int, *, pacs: str, actor: str) -> bool:
        """Send the objects of a version to a PACS; False while they are on their way already."""
        new = Delivery(case=case_id, number=number, pacs=pacs, actor=actor, moment=datetime.now(UTC))
        new.state, new.message = Sending.UNDER_WAY, None
        with self._session() as session, session.begin():
            known = session.get(Delivery, (case_id, number), with_for_update=True)
            if known is not None and known.state is Sending.UNDER_WAY:
                return False
            session.merge(new)
        return True

    def end(self, case_id: str, number: int, state: Sending, message: Message | None = None) -> None:
        """Keep how it ended, and why."""
        ended = {"state": state, "message": message and message.to_json(), "moment": datetime.now(UTC)}
        query = update(Delivery).where(Delivery.case == case_id, Delivery.number == number).values(**ended)
        with self._session() as session, session.begin():
            session.execute(query)

    def get(self, case_id: str, number: int) -> Delivery | None:
        """The last sending of a version, or None where nobody sent it."""
        with self._session() as session:
            return session.get(Delivery, (case_id, number))

    def interrupted(self) -> Sequence[Delivery]:
        """What was on its way when the server stopped: called once when it starts."""
        with self._session() as session:
            return session.scalars(select(Delivery).where(Delivery.state == Sending.UNDER_WAY)).all()

    def _session(self) -> Session:
        return Session(self._engine, expire_on_commit=False)
