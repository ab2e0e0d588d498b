"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    op.create_table(
        "batch",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.Identity(always=False),
            nullable=False,
        ),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("window_end", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("newest_key_end", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sa.UniqueConstraint("region", "sequence", name=op.f("uq_batch_region_sequence")),
        sa.UniqueConstraint("region", "window_end", name=op.f("uq_batch_region_window_end")),
    )
    op.create_table(
        "collected_answer",
        sa.Column("lookup_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at_interval", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("lookup_id", name=op.f("pk_collected_answer")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("collected_answer", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_collected_answer_expires_at_interval"), ["expires_at_interval"], unique=False
        )

    op.create_table(
        "collecting_chaff",
        sa.Column("noise", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("noise", name=op.f("pk_collecting_chaff")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "export_signing_key",
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("key_version", sa.String(length=16), nullable=False),
        sa.Column("public_key_pem", sa.String(length=1000), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "key_version", name=op.f("pk_export_signing_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "health_authority",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("certificate_issuer", sa.String(length=200), nullable=False),
        sa.Column("certificate_audience", sa.String(length=200), nullable=False),
        sa.Column("regions", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_health_authority")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "diagnosis_key",
        sa.Column("key_data", sa.LargeBinary(length=16), nullable=False),
        sa.Column("rolling_start_interval_number", sa.Integer(), nullable=False),
        sa.Column("rolling_period", sa.Integer(), nullable=False),
        sa.Column("end_interval_number", sa.Integer(), nullable=False),
        sa.Column("transmission_risk_level", sa.Integer(), nullable=False),
        sa.Column("report_type", sa.Integer(), nullable=False),
        sa.Column("days_since_onset_of_symptoms", sa.Integer(), nullable=True),
        sa.Column("health_authority_id", sa.String(length=64), nullable=False),
        sa.Column("traveler", sa.Boolean(), nullable=False),
        sa.Column("revised_before_release", sa.Boolean(), nullable=False),
        sa.Column("revised_report_type", sa.Integer(), nullable=True),
        sa.Column("revised_days_since_onset_of_symptoms", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["health_authority_id"],
            ["health_authority.id"],
            name=op.f("fk_diagnosis_key_health_authority_id"),
        ),
        sa.PrimaryKeyConstraint("key_data", name=op.f("pk_diagnosis_key")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("diagnosis_key", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_diagnosis_key_end_interval_number"), ["end_interval_number"], unique=False
        )

    op.create_table(
        "export_file",
        sa.Column("path", sa.String(length=200), nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("file_number", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_export_file_batch_id")),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_export_file")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("export_file", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_export_file_batch_id"), ["batch_id"], unique=False)

    op.create_table(
        "health_authority_key",
        sa.Column("health_authority_id", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("public_key_pem", sa.String(length=1000), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["health_authority_id"],
            ["health_authority.id"],
            name=op.f("fk_health_authority_key_health_authority_id"),
        ),
        sa.PrimaryKeyConstraint("health_authority_id", "key_id", name=op.f("pk_health_authority_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_release",
        sa.Column("key_data", sa.LargeBinary(length=16), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("is_revision", sa.Boolean(), nullable=False),
        sa.Column("releasable_at", sa.Integer(), nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_key_release_batch_id")),
        sa.ForeignKeyConstraint(
            ["key_data"], ["diagnosis_key.key_data"], name=op.f("fk_key_release_key_data"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_data", "region", "is_revision", name=op.f("pk_key_release")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("key_release", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_key_release_batch_id"), ["batch_id"], unique=False)
        batch_op.create_index("ix_key_release_pending", ["region", "batch_id", "releasable_at"], unique=False)


def downgrade() -> None:
    """Go back, losing what the new columns held."""
    with op.batch_alter_table("key_release", schema=None) as batch_op:
        batch_op.drop_index("ix_key_release_pending")
        batch_op.drop_index(batch_op.f("ix_key_release_batch_id"))

    op.drop_table("key_release")
    op.drop_table("health_authority_key")
    with op.batch_alter_table("export_file", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_export_file_batch_id"))

    op.drop_table("export_file")
    with op.batch_alter_table("diagnosis_key", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_diagnosis_key_end_interval_number"))

    op.drop_table("diagnosis_key")
    op.drop_table("lease")
    op.drop_table("health_authority")
    op.drop_table("export_signing_key")
    op.drop_table("collecting_chaff")
    with op.batch_alter_table("collected_answer", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_collected_answer_expires_at_interval"))

    op.drop_table("collected_answer")
    op.drop_table("batch")
