"""Quotas: how many codes were issued on a day and may be, and requests for more; and jobs from files."""

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
    op.create_table(
        "bulk_job",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("begun_by", sa.String(length=36), nullable=False),
        sa.Column("file_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("row_count", sa.Integer(), nullable=False),
        sa.Column("begun_on", sa.Date(), nullable=False),
        sa.Column("worked_by", sa.LargeBinary(length=16), nullable=True),
        sa.ForeignKeyConstraint(["authority_id"], ["authority.id"], name=op.f("fk_bulk_job_authority_id")),
        sa.ForeignKeyConstraint(["begun_by"], ["official.id"], name=op.f("fk_bulk_job_begun_by")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_job")),
        sa.UniqueConstraint(
            "authority_id", "file_hash", "number", name=op.f("uq_bulk_job_authority_id_file_hash_number")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bulk_row",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("row", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("code_uuid", sa.String(length=36), nullable=True),
        sa.Column("sealed_for", sa.LargeBinary(length=16), nullable=True),
        sa.Column("handed_out", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["bulk_job.id"], name=op.f("fk_bulk_row_job_id")),
        sa.PrimaryKeyConstraint("job_id", "row", name=op.f("pk_bulk_row")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_bulk_row_code_uuid"), "bulk_row", ["code_uuid"], unique=False)


def downgrade() -> None:
    """Go back. No quota holds any more, and files that were begun cannot be gone on with."""
    op.drop_table("bulk_row")
    op.drop_table("bulk_job")
    op.drop_table("surge_request")
    op.drop_table("issuing_quota")
    op.drop_table("quota_use")
