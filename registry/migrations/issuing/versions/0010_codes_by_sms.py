"""Codes by SMS: texts, what each authority allows, and reports that people make by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
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
    op.add_column("verification_code", sa.Column("nonce_hash", sa.LargeBinary(length=32), nullable=True))
    op.add_column(
        "authority", sa.Column("self_reports_a_day", sa.Integer(), server_default="1000", nullable=False)
    )
    op.create_table(
        "self_report_day",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("key", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_self_report_day")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "self_report_number",
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("number_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("prefix_hash", sa.LargeBinary(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_self_report_number_authority_id")
        ),
        sa.PrimaryKeyConstraint("authority_id", "number_hash", name=op.f("pk_self_report_number")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        op.f("ix_self_report_number_prefix_hash"), "self_report_number", ["prefix_hash"], unique=False
    )
    for name in ("generate_sms_allowed", "sms_signed", "self_report"):
        op.add_column("authority", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    """Go back. The authorities' own texts are lost."""
    for name in ("self_report", "sms_signed", "generate_sms_allowed"):
        op.drop_column("authority", name)
    op.drop_index(op.f("ix_self_report_number_prefix_hash"), "self_report_number")
    op.drop_table("self_report_number")
    op.drop_table("self_report_day")
    op.drop_column("authority", "self_reports_a_day")
    op.drop_column("verification_code", "nonce_hash")
    op.drop_column("verification_code", "delivery")
    op.drop_table("sms_template")
