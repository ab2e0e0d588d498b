"""Marks of uploads that were recalled, in case they are still under way."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.create_table(
        "recalled_upload",
        sa.Column("mark", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at_interval", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_recalled_upload")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_recalled_upload_expires_at_interval"),
        "recalled_upload",
        ["expires_at_interval"],
        unique=False,
    )


def downgrade() -> None:
    """Go back, losing the marks."""
    op.drop_table("recalled_upload")
