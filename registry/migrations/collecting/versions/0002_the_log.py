"""The log, its witnesses, receipts; batches get what stands in their manifests."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand the schema."""
    _expand_batch()
    op.create_table(
        "log_shard",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("origin", sa.String(length=255), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(length=32), nullable=False),
        sa.Column("checkpoint", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", sa.BigInteger(), nullable=False),
        sa.Column("published_size", sa.BigInteger(), nullable=False),
        sa.Column("waiting_since", sa.BigInteger(), nullable=False),
        sa.Column("index_number", sa.BigInteger(), nullable=True),
        sa.Column("is_closed", sa.Boolean(), nullable=False),
        sa.Column("anchor", sa.LargeBinary(length=32), nullable=True),
        sa.Column("anchor_number", sa.BigInteger(), nullable=True),
        sa.Column("anchor_day", sa.Date(), nullable=True),
        sa.PrimaryKeyConstraint("year", name=op.f("pk_log_shard")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "log_entry",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("year", "number", name=op.f("pk_log_entry")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "log_key",
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("is_retired", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("purpose", "name", "sha256", name=op.f("pk_log_key")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "region_index",
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("region", name=op.f("pk_region_index")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "trust_file",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_trust_file")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "witness_state",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.BigInteger(), nullable=False),
        sa.Column("asked_size", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("cosigned_at", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("halted", sa.Boolean(), nullable=False),
        sa.Column("ahead", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_witness_state")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "withdrawal",
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("salt", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("log_year", sa.Integer(), nullable=True),
        sa.Column("log_number", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("region", "sequence", name=op.f("pk_withdrawal")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "receipt",
        sa.Column("commitment", sa.LargeBinary(length=32), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("batch_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_receipt_batch_id")),
        sa.PrimaryKeyConstraint("commitment", name=op.f("pk_receipt")),
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("receipt", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_receipt_batch_id"), ["batch_id"], unique=False)


def _expand_batch() -> None:
    """New columns. Each batch of before gets a salt and a seed of its own; its manifest is made by the next
    run of the publisher, which logs it like any other.

    Column by column: to make the table anew, as SQLite would otherwise need, takes it from under the rows
    that refer to it.
    """
    for column in (
        sa.Column("salt", sa.LargeBinary(length=32), nullable=False, server_default=""),
        sa.Column("seed", sa.LargeBinary(length=32), nullable=False, server_default=""),
        sa.Column("manifest", sa.LargeBinary(), nullable=True),
        sa.Column("is_withdrawn", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("log_year", sa.Integer(), nullable=True),
        sa.Column("log_number", sa.BigInteger(), nullable=True),
    ):
        op.add_column("batch", column)
    batch = sa.table("batch", sa.column("id"), sa.column("salt"), sa.column("seed"))
    connection = op.get_bind()
    for (batch_id,) in connection.execute(sa.select(batch.c.id)).all():
        connection.execute(
            sa.update(batch)
            .where(batch.c.id == batch_id)
            .values(salt=secrets.token_bytes(32), seed=secrets.token_bytes(32))
        )


def downgrade() -> None:
    """Go back, losing what the new columns held."""
    with op.batch_alter_table("receipt", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_receipt_batch_id"))
    for table in (
        "receipt", "withdrawal", "witness_state", "trust_file", "region_index", "log_key", "log_entry",
        "log_shard",
    ):  # fmt: skip
        op.drop_table(table)
    for column in ("log_number", "log_year", "is_withdrawn", "manifest", "seed", "salt"):
        op.drop_column("batch", column)
