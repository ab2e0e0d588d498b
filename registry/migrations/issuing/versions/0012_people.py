"""API keys say whom they are for, and on which day they were made."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. Keys from before have no name, and nobody knows their day."""
    op.add_column("api_key", sa.Column("name", sa.String(length=100), server_default="", nullable=False))
    op.add_column("api_key", sa.Column("made_on", sa.Date(), nullable=True))


def downgrade() -> None:
    """Go back. Whom keys are for is forgotten."""
    op.drop_column("api_key", "made_on")
    op.drop_column("api_key", "name")
