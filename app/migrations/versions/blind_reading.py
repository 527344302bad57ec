"""The reading of a case: identity, estimate and confirmation before the answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column; the cases that are there were not read in this way."""
    with op.batch_alter_table("cases") as cases:
        cases.add_column(sa.Column("reading", sa.JSON(), nullable=False, server_default="{}"))


def downgrade() -> None:
    """Remove the column."""
    with op.batch_alter_table("cases") as cases:
        cases.drop_column("reading")
