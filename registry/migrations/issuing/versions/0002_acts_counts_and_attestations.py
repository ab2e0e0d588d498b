"""Acts in hash chains, their anchors, counts, and what a receipt says of an attestation."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. What is there stays as it is: the new columns are empty in old rows."""
    op.create_table(
        "activity_chain",
        sa.Column("chain", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_activity_chain")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "activity_event",
        sa.Column("chain", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "number", name=op.f("pk_activity_event")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "activity_anchor",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=32), nullable=False),
        sa.Column("heads", sa.LargeBinary(), nullable=False),
        sa.Column("log_year", sa.Integer(), nullable=True),
        sa.Column("leaf_number", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_activity_anchor")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "issuing_count",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "kind", name=op.f("pk_issuing_count")),
        sqlite_with_rowid=False,
    )
    # Added in place: a table that SQLite copied for this would number its rows again.
    op.add_column("authorization", sa.Column("attestation_salt", sa.LargeBinary(length=32), nullable=True))
    op.add_column("verification_token", sa.Column("attestation", sa.LargeBinary(length=32), nullable=True))


def downgrade() -> None:
    """Go back, losing what the new tables and columns held."""
    op.drop_column("verification_token", "attestation")
    op.drop_column("authorization", "attestation_salt")
    op.drop_table("issuing_count")
    op.drop_table("activity_anchor")
    op.drop_table("activity_event")
    op.drop_table("activity_chain")
