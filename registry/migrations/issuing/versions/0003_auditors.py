"""A role for everybody who signs in: officials at the portal, auditors at the receipts."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. Whoever is there stays an official."""
    op.add_column(
        "official", sa.Column("role", sa.String(length=16), nullable=False, server_default="official")
    )


def downgrade() -> None:
    """Go back. Auditors go: without a role they would be taken for officials."""
    of_auditors = "WHERE official_id IN (SELECT id FROM official WHERE role = 'auditor')"
    op.execute(f"DELETE FROM portal_session {of_auditors}")  # noqa: S608  # a constant
    op.execute(f"DELETE FROM sign_in_link {of_auditors}")  # noqa: S608  # a constant
    op.execute("DELETE FROM official WHERE role = 'auditor'")
    op.drop_column("official", "role")
