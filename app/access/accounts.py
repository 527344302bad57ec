"""The users who have signed in: a name stays with the provider's account that used it first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.access.tables import Account

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine


class Accounts:
    """The accounts of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record_sign_in(self, name: str, *, subject: str, role: str) -> bool:
        """Record that a user signs in now.

        Args:
            name: of the user.
            subject: digest of what identifies the account at the provider.
            role: of the user, by the provider.

        Returns:
            False where the name belongs to another account of the provider; nothing is recorded then.
        """
        with Session(self._engine) as session, session.begin():
            account = session.get(Account, name) or Account(name=name, subject=subject)
            if account.subject != subject:
                return False
            account.role, account.seen = role, datetime.now(UTC)
            session.add(account)
        return True

    def all(self) -> Sequence[Account]:
        """Every user who has signed in, by name."""
        with Session(self._engine) as session:
            return session.scalars(select(Account).order_by(Account.name)).all()

    def release(self, name: str) -> bool:
        """Release a name for another account of the provider, as after an account was replaced there.

        Args:
            name: of the user.

        Returns:
            False where no user has this name.
        """
        with Session(self._engine) as session, session.begin():
            account = session.get(Account, name)
            if account is not None:
                session.delete(account)
        return account is not None
