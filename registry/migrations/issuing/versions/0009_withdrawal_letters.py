"""Letters by which people take back what they shared."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.create_table(
        "withdrawal_letter",
        sa.Column("authorization_id", sa.String(length=36), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["authorization_id"],
            ["authorization.id"],
            name=op.f("fk_withdrawal_letter_authorization_id"),
        ),
        sa.PrimaryKeyConstraint("authorization_id", name=op.f("pk_withdrawal_letter")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_withdrawal_letter_code_hash")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Go back. Letters that are out do nothing any more."""
    op.drop_table("withdrawal_letter")
