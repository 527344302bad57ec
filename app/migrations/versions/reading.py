"""Owner, origin, options, checks and version of a case; the signed versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns and make the table; the cases that are there get the values of an upload."""
    with op.batch_alter_table("cases") as cases:
        cases.add_column(sa.Column("owner", sa.String(128), nullable=False, server_default=""))
        cases.add_column(sa.Column("origin", sa.String(64), nullable=False, server_default="upload"))
        cases.add_column(sa.Column("confirmed", sa.Boolean(), nullable=False, server_default=sa.false()))
        cases.add_column(sa.Column("options", sa.JSON(), nullable=False, server_default="{}"))
        cases.add_column(sa.Column("inspection", sa.JSON()))
        cases.add_column(sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
        cases.add_column(sa.Column("verdict", sa.JSON()))
        cases.add_column(sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
    op.create_table(
        "versions",
        sa.Column("case", sa.String(36), sa.ForeignKey("cases.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True),
        sa.Column("signed", sa.DateTime(), nullable=False),
        sa.Column("reader", sa.String(128), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("report_uid", sa.String(64), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
    )


def downgrade() -> None:
    """Remove what was added."""
    op.drop_table("versions")
    with op.batch_alter_table("cases") as cases:
        for name in ("owner", "origin", "confirmed", "options", "inspection", "version", "verdict", "attempts"):
            cases.drop_column(name)
