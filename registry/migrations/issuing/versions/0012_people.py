"""API keys have names; passkeys, people of a provider, codes on paper; how sessions were proven."""

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
    op.add_column(
        "portal_session", sa.Column("way", sa.String(length=8), server_default="link", nullable=False)
    )
    op.add_column(
        "portal_session", sa.Column("fresh_until", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column(
        "portal_session", sa.Column("idle_until", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.create_table(
        "passkey",
        sa.Column("credential_id", sa.LargeBinary(length=1023), nullable=False),
        sa.Column("official_id", sa.String(length=36), nullable=False),
        sa.Column("public_key", sa.LargeBinary(length=2000), nullable=False),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.String(length=60), nullable=False),
        sa.Column("made_on", sa.Date(), nullable=False),
        sa.ForeignKeyConstraint(["official_id"], ["official.id"], name=op.f("fk_passkey_official_id")),
        sa.PrimaryKeyConstraint("credential_id", name=op.f("pk_passkey")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_passkey_official_id"), "passkey", ["official_id"], unique=False)
    op.create_table(
        "openid_identity",
        sa.Column("issuer", sa.String(length=200), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("official_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["official_id"], ["official.id"], name=op.f("fk_openid_identity_official_id")
        ),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_openid_identity")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_openid_identity_official_id"), "openid_identity", ["official_id"], unique=False)
    op.create_table(
        "printed_code",
        sa.Column("code_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("official_id", sa.String(length=36), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["official_id"], ["official.id"], name=op.f("fk_printed_code_official_id")),
        sa.PrimaryKeyConstraint("code_hash", name=op.f("pk_printed_code")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_printed_code_official_id"), "printed_code", ["official_id"], unique=False)
    op.create_table(
        "spent_challenge",
        sa.Column("challenge_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("challenge_hash", name=op.f("pk_spent_challenge")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Go back. Whom keys are for is forgotten, and passkeys are."""
    op.drop_table("spent_challenge")
    op.drop_table("printed_code")
    op.drop_table("openid_identity")
    op.drop_table("passkey")
    op.drop_column("portal_session", "idle_until")
    op.drop_column("portal_session", "fresh_until")
    op.drop_column("portal_session", "way")
    op.drop_column("api_key", "made_on")
    op.drop_column("api_key", "name")
