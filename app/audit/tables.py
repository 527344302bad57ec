"""The table of the audit trail."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database.base import Base


class AuditEntry(Base):
    """An entry of the trail. `digest` is over every other column, in the order of `to_json`."""

    __tablename__ = "audit"

    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    moment: Mapped[str] = mapped_column(String(32))  # UTC, ISO 8601 with microseconds
    actor: Mapped[str] = mapped_column(String(128))
    action: Mapped[str] = mapped_column(String(64), index=True)
    case: Mapped[str] = mapped_column(String(36), index=True)
    model: Mapped[str] = mapped_column(String(64))  # digest of the bundle, "" where none was used
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    previous: Mapped[str] = mapped_column(String(64), unique=True)  # two entries cannot follow the same one
    digest: Mapped[str] = mapped_column(String(64))

    def to_json(self) -> dict[str, Any]:
        """The entry as exported, one JSON object."""
        names = ("number", "moment", "actor", "action", "case", "model", "detail", "previous", "digest")
        return {name: getattr(self, name) for name in names}
