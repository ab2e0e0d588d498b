"""Codes in links; codes that issuers may look at again for a quarter of an hour, and when a claim is told."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. Of codes that were claimed before, their issuers are told at once."""
    op.create_table(
        "code_at_hand",
        sa.Column("code_uuid", sa.String(length=36), nullable=False),
        sa.Column("sealed", sa.LargeBinary(length=92), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["code_uuid"], ["verification_code.uuid"], name=op.f("fk_code_at_hand_code_uuid")
        ),
        sa.PrimaryKeyConstraint("code_uuid", name=op.f("pk_code_at_hand")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_code_at_hand_expires_at"), "code_at_hand", ["expires_at"], unique=False)
    op.create_table(
        "claims_told",
        sa.Column("name", sa.String(length=8), nullable=False),
        sa.Column("quarter", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_claims_told")),
        sqlite_with_rowid=False,
    )
    # Added in place: a table that SQLite copied for this would number its rows again.
    op.add_column(
        "verification_code", sa.Column("claim_told", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.execute("UPDATE verification_code SET claim_told = claimed")
    op.add_column("verification_code", sa.Column("link_hash", sa.LargeBinary(length=32), nullable=True))
    op.create_index(op.f("ix_verification_code_link_hash"), "verification_code", ["link_hash"], unique=True)


def downgrade() -> None:
    """Go back. Codes that lie at hand cannot be looked at again."""
    op.drop_index(op.f("ix_verification_code_link_hash"), "verification_code")
    op.drop_column("verification_code", "link_hash")
    op.drop_column("verification_code", "claim_told")
    op.drop_table("claims_told")
    op.drop_table("code_at_hand")
