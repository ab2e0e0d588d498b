"""A batch keeps the digest of its manifest; the bytes lie in the public files alone."""

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_BATCH = sa.table(
    "batch",
    sa.column("id", sa.Integer),
    sa.column("log_number", sa.BigInteger),
    sa.column("manifest", sa.LargeBinary),
    sa.column("manifest_sha256", sa.LargeBinary),
)


def upgrade() -> None:
    """Expand the schema.

    A batch that was recorded and has no leaf yet keeps no digest: its manifest was recorded before it was
    stored, so it need not be in public. The next run of the publisher makes it again, of what the files are.
    Of a batch with a leaf it is there.
    """
    op.add_column("batch", sa.Column("manifest_sha256", sa.LargeBinary(length=32), nullable=True))
    is_kept = sa.and_(_BATCH.c.log_number.is_not(None), _BATCH.c.manifest.is_not(None))
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        digest = sa.func.sha256(_BATCH.c.manifest)
        connection.execute(sa.update(_BATCH).where(is_kept).values(manifest_sha256=digest))
    else:
        # One by one: a nation's has megabytes.
        for batch_id in connection.scalars(sa.select(_BATCH.c.id).where(is_kept)).all():
            is_it = _BATCH.c.id == batch_id
            content = connection.scalars(sa.select(_BATCH.c.manifest).where(is_it)).one()
            digest_of_it = sha256(content).digest()
            connection.execute(sa.update(_BATCH).where(is_it).values(manifest_sha256=digest_of_it))
    # As it is, not by making the table anew, which SQLite would take from under the rows that refer to it.
    op.drop_column("batch", "manifest")


def downgrade() -> None:
    """There is no way back."""
    raise NotImplementedError("restore the backup that was taken before the upgrade")
