"""Quotas: how many codes were issued on a day and may be, and requests for more."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema. Nothing is counted of the days before."""
    op.create_table(
        "quota_use",
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("issuer", sa.String(length=80), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("most", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["authority_id"], ["authority.id"], name=op.f("fk_quota_use_authority_id")),
        sa.PrimaryKeyConstraint("authority_id", "issuer", "day", name=op.f("pk_quota_use")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "issuing_quota",
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("authority_most", sa.Integer(), nullable=True),
        sa.Column("official_most", sa.Integer(), nullable=True),
        sa.Column("bulk_most", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_issuing_quota_authority_id")
        ),
        sa.PrimaryKeyConstraint("authority_id", name=op.f("pk_issuing_quota")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "surge_request",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("is_for_all", sa.Boolean(), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("asked_by", sa.String(length=36), nullable=False),
        sa.Column("decided_by", sa.String(length=36), nullable=True),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_surge_request_authority_id")
        ),
        sa.ForeignKeyConstraint(["asked_by"], ["official.id"], name=op.f("fk_surge_request_asked_by")),
        sa.ForeignKeyConstraint(["decided_by"], ["official.id"], name=op.f("fk_surge_request_decided_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_surge_request")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_surge_request_authority_id"), "surge_request", ["authority_id"], unique=False)
    op.create_index(op.f("ix_surge_request_day"), "surge_request", ["day"], unique=False)


def downgrade() -> None:
    """Go back. No quota holds any more."""
    op.drop_table("surge_request")
    op.drop_table("issuing_quota")
    op.drop_table("quota_use")
