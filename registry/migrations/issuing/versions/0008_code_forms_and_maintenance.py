"""Which form an authority's codes have, and whether it is under maintenance."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. All codes from before are of digits, and nobody is under maintenance."""
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
