"""The numbers of the last change of a case and of its record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; the cases that are there begin at 0. The list of cases is sorted and searched by index."""
    with op.batch_alter_table("cases") as cases:
        cases.add_column(sa.Column("revision", sa.Integer(), nullable=False, server_default="0"))
        cases.add_column(sa.Column("record_version", sa.Integer(), nullable=False, server_default="0"))
        for name in ("owner", "status", "pseudonym", "origin"):
            cases.create_index(f"ix_cases_{name}", [name])


def downgrade() -> None:
    """Remove the columns and indices."""
    with op.batch_alter_table("cases") as cases:
        for name in ("owner", "status", "pseudonym", "origin"):
            cases.drop_index(f"ix_cases_{name}")
        cases.drop_column("record_version")
        cases.drop_column("revision")
