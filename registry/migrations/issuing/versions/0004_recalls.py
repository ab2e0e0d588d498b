"""Sealed handles that lead to uploads, and the orders to recall them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. What was stated before has no handle, and cannot be recalled."""
    op.create_table(
        "recall_order",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("authorization_id", sa.String(length=36), nullable=True),
        sa.Column("official_id", sa.String(length=36), nullable=True),
        sa.Column("api_key_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("external_issuer_id", sa.String(length=255), nullable=True),
        sa.Column("stated_from", sa.Date(), nullable=True),
        sa.Column("stated_to", sa.Date(), nullable=True),
        sa.Column("reason", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("asked_by", sa.String(length=36), nullable=True),
        sa.Column("asked_on", sa.Date(), nullable=False),
        sa.Column("decided_by", sa.String(length=36), nullable=True),
        sa.Column("decided_on", sa.Date(), nullable=True),
        sa.Column("uploads", sa.Integer(), nullable=True),
        sa.Column("handles", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_recall_order_authority_id")
        ),
        sa.ForeignKeyConstraint(["official_id"], ["official.id"], name=op.f("fk_recall_order_official_id")),
        sa.ForeignKeyConstraint(["asked_by"], ["official.id"], name=op.f("fk_recall_order_asked_by")),
        sa.ForeignKeyConstraint(["decided_by"], ["official.id"], name=op.f("fk_recall_order_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recall_order")),
        sqlite_with_rowid=False,
    )
    for column in ("authority_id", "state"):
        op.create_index(op.f(f"ix_recall_order_{column}"), "recall_order", [column], unique=False)
    # Added in place: a table that SQLite copied for this would number its rows again.
    op.add_column("authorization", sa.Column("recall_sealed", sa.LargeBinary(length=64), nullable=True))
    op.add_column("verification_token", sa.Column("recall_handle", sa.LargeBinary(length=16), nullable=True))


def downgrade() -> None:
    """Go back. What was uploaded by then can no longer be recalled by an official."""
    op.drop_column("verification_token", "recall_handle")
    op.drop_column("authorization", "recall_sealed")
    op.drop_table("recall_order")
