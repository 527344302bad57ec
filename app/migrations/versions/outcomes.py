"""What became of patients, as an administrator enters it for the monitoring."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "outcomes",
        sa.Column("case", sa.String(36), sa.ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("free_12m", sa.Boolean(), nullable=False),
        sa.Column("on", sa.String(10), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("entered", sa.DateTime(), nullable=False),
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("outcomes")
