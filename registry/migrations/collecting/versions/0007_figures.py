"""Uploads counted by the day, and what is left of the days that are over."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. Uploads that wait at this moment are not counted."""
    _create(
        "upload_count",
        ["day", "health_authority_id", "name", "cell"],
        sa.Column("cell", sa.String(length=16), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
    )
    _create(
        "upload_figures",
        ["day", "health_authority_id", "name"],
        sa.Column("cells", sa.JSON(), nullable=False),
    )
    # Added in place: a table that SQLite copied for this would number its rows again.
    op.add_column("shelf_upload", sa.Column("health_authority_id", sa.String(length=64), nullable=True))
    op.add_column("shelf_upload", sa.Column("onset_days", sa.Integer(), nullable=True))
    op.add_column("shelf_upload", sa.Column("oldest_days", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Go back, losing what the new tables and columns held."""
    op.drop_column("shelf_upload", "oldest_days")
    op.drop_column("shelf_upload", "onset_days")
    op.drop_column("shelf_upload", "health_authority_id")
    op.drop_table("upload_figures")
    op.drop_table("upload_count")


def _create(table: str, keys: list[str], *own: sa.Column[Any]) -> None:
    op.create_table(
        table,
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("health_authority_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=16), nullable=False),
        *own,
        sa.ForeignKeyConstraint(
            ["health_authority_id"], ["health_authority.id"], name=op.f(f"fk_{table}_health_authority_id")
        ),
        sa.PrimaryKeyConstraint(*keys, name=op.f(f"pk_{table}")),
        sqlite_with_rowid=False,
    )
