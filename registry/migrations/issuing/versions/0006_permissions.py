"""What each official may do at the portal."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. Officials from before may do what they could: issue, ask for a recall, approve."""
    op.add_column(
        "official",
        sa.Column(
            "permission_text", sa.String(length=120), server_default="issue recall approve", nullable=False
        ),
    )


def downgrade() -> None:
    """Go back. Everybody may do everything again."""
    op.drop_column("official", "permission_text")
