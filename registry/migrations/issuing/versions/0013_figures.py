"""Counts of the days that are not over, and what is left of those that are."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

Kind = sa.types.TypeEngine[Any]

_BY_DAY_AND_AUTHORITY: tuple[tuple[str, Kind], ...] = (
    ("day", sa.Date()),
    ("authority_id", sa.String(length=64)),
)


def upgrade() -> None:
    """Expand the schema. Of days before there are statements to count, and no figures."""
    _create("claim_count", ("name", sa.String(length=16)), ("cell", sa.String(length=16)), n=sa.BigInteger())
    _create("released_figures", ("name", sa.String(length=16)), cells=sa.JSON())
    _create("sms_error_count", ("code", sa.String(length=32)), n=sa.BigInteger())
    op.create_index(
        "ix_authorization_authority_id_stated_on",
        "authorization",
        ["authority_id", "stated_on"],
        unique=False,
    )


def downgrade() -> None:
    """Go back, losing what the new tables held."""
    op.drop_index("ix_authorization_authority_id_stated_on", table_name="authorization")
    op.drop_table("sms_error_count")
    op.drop_table("released_figures")
    op.drop_table("claim_count")


def _create(table: str, *keys: tuple[str, Kind], **values: Kind) -> None:
    named: tuple[tuple[str, Kind], ...] = (*_BY_DAY_AND_AUTHORITY, *keys)
    op.create_table(
        table,
        *(sa.Column(name, kind, nullable=False) for name, kind in (*named, *values.items())),
        sa.ForeignKeyConstraint(["authority_id"], ["authority.id"], name=op.f(f"fk_{table}_authority_id")),
        sa.PrimaryKeyConstraint(*(name for name, _kind in named), name=op.f(f"pk_{table}")),
        sqlite_with_rowid=False,
    )
