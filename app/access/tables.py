"""The table of the users who have signed in."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base, UtcDateTime


class Account(Base):
    """A user who has signed in. `subject` is a digest of the provider's account that the name belongs to."""

    __tablename__ = "accounts"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    subject: Mapped[str] = mapped_column(String(64))
    role: Mapped[str] = mapped_column(String(16))  # at the last sign-in (`app.access.sessions.Role`)
    seen: Mapped[datetime] = mapped_column(UtcDateTime)  # the last sign-in
