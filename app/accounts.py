"""Who signed in, as kept in the database: a name stays with the provider's account that used it first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import Account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine


class Accounts:
    """The accounts of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def seen(self, name: str, *, subject: str, role: str) -> bool:
        """Keep that a user signed in now; False where the name belongs to another account of the provider.

        Args:
            name: of the user.
            subject: digest of what identifies the account at the provider.
            role: what the provider says that they may do.
        """
        with Session(self._engine) as session, session.begin():
            account = session.get(Account, name) or Account(name=name, subject=subject)
            if account.subject != subject:
                return False
            account.role, account.seen = role, datetime.now(UTC)
            session.add(account)
        return True

    def listed(self) -> Sequence[Account]:
        """Everyone who signed in, by name."""
        with Session(self._engine) as session:
            return session.scalars(select(Account).order_by(Account.name)).all()

    def release(self, name: str) -> bool:
        """Let another account of the provider bear a name, as when it was made anew; False where it is unknown."""
        with Session(self._engine) as session, session.begin():
            account = session.get(Account, name)
            if account is not None:
                session.delete(account)
        return account is not None
