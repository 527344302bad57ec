"""Run the migrations on the connection that `app.cases.store.Store.open` hands over."""

from __future__ import annotations

from alembic import context

from app.access import tables as _access  # noqa: F401  their tables enter Base.metadata
from app.audit import tables as _audit  # noqa: F401
from app.cases import tables as _cases  # noqa: F401
from app.database.base import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
