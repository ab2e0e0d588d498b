"""Which form an authority's codes have, whether it is under maintenance, how many wrong codes were tried."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. All codes from before are of digits, and nobody is under maintenance."""
    op.create_table(
        "wrong_code_count",
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("looked_at", sa.BigInteger(), nullable=False),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_wrong_code_count_authority_id")
        ),
        sa.PrimaryKeyConstraint("authority_id", "hour", name=op.f("pk_wrong_code_count")),
        sqlite_with_rowid=False,
    )
    op.add_column(
        "authority", sa.Column("maintenance", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    for table in ("authority", "verification_code"):
        op.add_column(
            table, sa.Column("code_form", sa.String(length=8), server_default="digits", nullable=False)
        )


def downgrade() -> None:
    """Go back. Codes of other forms stay good as long as they would have."""
    for table in ("authority", "verification_code"):
        op.drop_column(table, "code_form")
    op.drop_column("authority", "maintenance")
    op.drop_table("wrong_code_count")
