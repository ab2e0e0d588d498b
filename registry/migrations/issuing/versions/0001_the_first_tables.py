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
        "authority",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("certificate_issuer", sa.String(length=200), nullable=False),
        sa.Column("certificate_audience", sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authority")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "issued_answer",
        sa.Column("lookup_id", sa.LargeBinary(length=32), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("lookup_id", name=op.f("pk_issued_answer")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("issued_answer", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_issued_answer_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "issuing_chaff",
        sa.Column("noise", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("noise", name=op.f("pk_issuing_chaff")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "api_key",
        sa.Column("key_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("preview", sa.String(length=12), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["authority_id"], ["authority.id"], name=op.f("fk_api_key_authority_id")),
        sa.PrimaryKeyConstraint("key_hash", name=op.f("pk_api_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "certificate_key",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("public_key_pem", sa.String(length=1000), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_certificate_key_authority_id")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_certificate_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "official",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("disabled", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["authority_id"], ["authority.id"], name=op.f("fk_official_authority_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_official")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "verification_token",
        sa.Column("token_id_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("report_type", sa.String(length=16), nullable=False),
        sa.Column("test_date", sa.Date(), nullable=True),
        sa.Column("onset_date", sa.Date(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_verification_token_authority_id")
        ),
        sa.PrimaryKeyConstraint("token_id_hash", name=op.f("pk_verification_token")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("verification_token", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_verification_token_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "authorization",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("official_id", sa.String(length=36), nullable=True),
        sa.Column("api_key_hash", sa.LargeBinary(length=32), nullable=True),
        sa.Column("external_issuer_id", sa.String(length=255), nullable=True),
        sa.Column("report_type", sa.String(length=16), nullable=False),
        sa.Column("consent_version", sa.String(length=32), nullable=True),
        sa.Column("consent_language", sa.String(length=16), nullable=True),
        sa.Column("consent_channel", sa.String(length=16), nullable=True),
        sa.Column("stated_on", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_authorization_authority_id")
        ),
        sa.ForeignKeyConstraint(["official_id"], ["official.id"], name=op.f("fk_authorization_official_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_authorization")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "portal_session",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("official_id", sa.String(length=36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["official_id"], ["official.id"], name=op.f("fk_portal_session_official_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_portal_session")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("portal_session", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_portal_session_official_id"), ["official_id"], unique=False)

    op.create_table(
        "sign_in_link",
        sa.Column("token_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("official_id", sa.String(length=36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["official_id"], ["official.id"], name=op.f("fk_sign_in_link_official_id")),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_sign_in_link")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "verification_code",
        sa.Column("uuid", sa.String(length=36), nullable=False),
        sa.Column("authorization_id", sa.String(length=36), nullable=False),
        sa.Column("authority_id", sa.String(length=64), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("report_type", sa.String(length=16), nullable=False),
        sa.Column("test_date", sa.Date(), nullable=True),
        sa.Column("onset_date", sa.Date(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("claimed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["authority_id"], ["authority.id"], name=op.f("fk_verification_code_authority_id")
        ),
        sa.ForeignKeyConstraint(
            ["authorization_id"], ["authorization.id"], name=op.f("fk_verification_code_authorization_id")
        ),
        sa.PrimaryKeyConstraint("uuid", name=op.f("pk_verification_code")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_verification_code_code_hash")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("verification_code", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_verification_code_authorization_id"), ["authorization_id"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_verification_code_expires_at"), ["expires_at"], unique=False)


def downgrade() -> None:
    """Go back, losing what the new columns held."""
    with op.batch_alter_table("verification_code", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_verification_code_expires_at"))
        batch_op.drop_index(batch_op.f("ix_verification_code_authorization_id"))

    op.drop_table("verification_code")
    op.drop_table("sign_in_link")
    with op.batch_alter_table("portal_session", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_portal_session_official_id"))

    op.drop_table("portal_session")
    op.drop_table("authorization")
    with op.batch_alter_table("verification_token", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_verification_token_expires_at"))

    op.drop_table("verification_token")
    op.drop_table("official")
    op.drop_table("certificate_key")
    op.drop_table("api_key")
    op.drop_table("issuing_chaff")
    with op.batch_alter_table("issued_answer", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_issued_answer_expires_at"))

    op.drop_table("issued_answer")
    op.drop_table("authority")
