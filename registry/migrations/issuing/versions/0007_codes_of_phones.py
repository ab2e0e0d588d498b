"""Codes that a phone has made and an official activated."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. All codes from before were made here."""
    op.add_column(
        "verification_code", sa.Column("phone_made", sa.Boolean(), server_default=sa.false(), nullable=False)
    )


def downgrade() -> None:
    """Go back. A phone's code can be kept good for as long as any other."""
    op.drop_column("verification_code", "phone_made")
