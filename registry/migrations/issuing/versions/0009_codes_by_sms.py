"""Codes by SMS: texts, and what each authority allows."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.create_table(
        "sms_template",
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=40), nullable=False),
        sa.Column("language", sa.String(length=16), nullable=False),
        sa.Column("text", sa.String(length=800), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_sms_template_authority_id")
        ),
        sa.PrimaryKeyConstraint("authority_id", "label", "language", name=op.f("pk_sms_template")),
        sqlite_with_rowid=False,
    )
    op.add_column("verification_code", sa.Column("delivery", sa.String(length=8), nullable=True))
    for name in ("generate_sms_allowed", "sms_signed"):
        op.add_column("authority", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    """Go back. The authorities' own texts are lost."""
    for name in ("sms_signed", "generate_sms_allowed"):
        op.drop_column("authority", name)
    op.drop_column("verification_code", "delivery")
    op.drop_table("sms_template")
