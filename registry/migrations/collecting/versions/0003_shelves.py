"""Keys lie on shelves, which leave as a whole; revisions are rows of their own; feeds, day files, formats."""

import secrets
from collections import defaultdict
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Expand the schema, and put every key on the shelf of the regions that it goes, or went, out in."""
    _make_tables()
    _expand()
    _move_keys()
    op.drop_table("key_release")
    # Column by column: to make the table anew would delete, on SQLite, the revisions that refer to it.
    op.drop_column("diagnosis_key", "revised_days_since_onset_of_symptoms")
    op.drop_column("diagnosis_key", "revised_report_type")


def _make_tables() -> None:
    op.create_table(
        "shelf",
        sa.Column("id", _NUMBER, sa.Identity(always=False), nullable=False),
        sa.Column("region_set", sa.String(length=1000), nullable=False),
        sa.Column("releasable_at", sa.Integer(), nullable=False),
        sa.Column("is_revision", sa.Boolean(), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("revisions", sa.Integer(), nullable=False),
        sa.Column("window_end", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shelf")),
    )
    op.create_index(
        "ix_shelf_open",
        "shelf",
        ["region_set", "releasable_at", "is_revision"],
        unique=True,
        sqlite_where=sa.text("is_open"),
        postgresql_where=sa.text("is_open"),
    )
    op.create_table(
        "batch_shelf",
        sa.Column("batch_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("shelf_id", _NUMBER, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batch.id"], name=op.f("fk_batch_shelf_batch_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["shelf_id"], ["shelf.id"], name=op.f("fk_batch_shelf_shelf_id")),
        sa.PrimaryKeyConstraint("batch_id", "shelf_id", name=op.f("pk_batch_shelf")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_batch_shelf_shelf_id"), "batch_shelf", ["shelf_id"], unique=False)
    op.create_table(
        "shelf_upload",
        sa.Column("shelf_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("mark", sa.LargeBinary(length=16), nullable=False),
        sa.ForeignKeyConstraint(
            ["shelf_id"], ["shelf.id"], name=op.f("fk_shelf_upload_shelf_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("shelf_id", "mark", name=op.f("pk_shelf_upload")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_revision",
        sa.Column("key_data", sa.LargeBinary(length=16), nullable=False),
        sa.Column("shelf_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("report_type", sa.Integer(), nullable=False),
        sa.Column("days_since_onset_of_symptoms", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["key_data"],
            ["diagnosis_key.key_data"],
            name=op.f("fk_key_revision_key_data"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("key_data", "shelf_id", name=op.f("pk_key_revision")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_key_revision_shelf_id"), "key_revision", ["shelf_id"], unique=False)
    op.create_table(
        "region_feed",
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("include", sa.JSON(), nullable=False),
        sa.Column("exclude", sa.JSON(), nullable=False),
        sa.Column("include_travelers", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("region", name=op.f("pk_region_feed")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "day_file",
        sa.Column("path", sa.String(length=200), nullable=False),
        sa.Column("region", sa.String(length=6), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("last_sequence", sa.Integer(), nullable=False),
        sa.Column("window_start", sa.BigInteger(), nullable=False),
        sa.Column("window_end", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("newest_key_end", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_day_file")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_day_file_region"), "day_file", ["region"], unique=False)


def _expand() -> None:
    for name in ("decoys", "decoys_since"):
        op.add_column("batch", sa.Column(name, sa.JSON(), nullable=False, server_default="{}"))
    op.add_column(
        "export_file", sa.Column("format", sa.String(length=16), nullable=False, server_default="gaen-zip")
    )
    op.add_column("diagnosis_key", sa.Column("shelf_id", _NUMBER, nullable=True))
    op.add_column(
        "diagnosis_key",
        sa.Column("recall_tag", sa.LargeBinary(length=16), nullable=False, server_default=""),
    )
    op.create_index("ix_diagnosis_key_shelf", "diagnosis_key", ["shelf_id", "end_interval_number"])
    op.add_column("receipt", sa.Column("shelf_id", _NUMBER, nullable=True))
    op.create_index(op.f("ix_receipt_shelf_id"), "receipt", ["shelf_id"])


_KEY = sa.table(
    "diagnosis_key",
    *(sa.column(name) for name in ("key_data", "end_interval_number", "recall_tag", "shelf_id")),
    *(sa.column(name) for name in ("revised_report_type", "revised_days_since_onset_of_symptoms")),
)
_RELEASE = sa.table(
    "key_release",
    *(sa.column(name) for name in ("key_data", "region", "is_revision", "releasable_at", "batch_id")),
)
_BATCH = sa.table("batch", sa.column("id"), sa.column("window_end"))
_SHELF = sa.table(
    "shelf",
    sa.column("id", sa.Integer),
    *(sa.column(name) for name in ("region_set", "releasable_at", "revisions", "window_end")),
    *(sa.column(name, sa.Boolean) for name in ("is_revision", "is_open")),
)
_BATCH_SHELF = sa.table("batch_shelf", sa.column("batch_id"), sa.column("shelf_id"))
_RECEIPT = sa.table("receipt", sa.column("region"), sa.column("batch_id"), sa.column("shelf_id"))
_REVISION = sa.table(
    "key_revision",
    *(sa.column(name) for name in ("key_data", "shelf_id", "report_type", "days_since_onset_of_symptoms")),
)


def _move_keys() -> None:
    """Releases become shelves: those of one key are its regions, and what had a batch has left with it."""
    connection = op.get_bind()
    ends = {row.id: row.window_end for row in connection.execute(sa.select(_BATCH.c.id, _BATCH.c.window_end))}
    by_key: dict[tuple[bytes, bool], list[Any]] = defaultdict(list)
    for row in connection.execute(sa.select(_RELEASE)):
        by_key[bytes(row.key_data), bool(row.is_revision)].append(row)
    shelves: dict[tuple[str, int, bool, int | None], int] = {}
    was_revised = sa.select(_KEY).where(_KEY.c.revised_report_type.is_not(None))
    revised = {bytes(row.key_data): row for row in connection.execute(was_revised)}
    for (key_data, is_revision), releases in sorted(by_key.items()):
        left = [row for row in releases if row.batch_id is not None]
        rows = left or releases
        window_end = max(ends[row.batch_id] for row in left) if left else None
        region_set = ",".join(sorted({row.region for row in rows}))
        releasable_at = 0 if left else max(row.releasable_at for row in rows)
        kind = (region_set, releasable_at, is_revision, window_end)
        if kind not in shelves:
            shelves[kind] = _add_shelf(connection, *kind)
        for row in left:
            link = {"batch_id": row.batch_id, "shelf_id": shelves[kind]}
            known = sa.select(_BATCH_SHELF).where(
                _BATCH_SHELF.c.batch_id == row.batch_id, _BATCH_SHELF.c.shelf_id == shelves[kind]
            )
            if connection.execute(known).first() is None:
                connection.execute(sa.insert(_BATCH_SHELF).values(link))
        _move_key(connection, key_data, shelves[kind], revised.get(key_data) if is_revision else None)
    for (key_data,) in connection.execute(sa.select(_KEY.c.key_data)).all():
        tag = secrets.token_bytes(16)
        connection.execute(sa.update(_KEY).where(_KEY.c.key_data == key_data).values(recall_tag=tag))
    _move_receipts(connection)


def _move_key(connection: sa.Connection, key_data: bytes, shelf_id: int, revised: Any) -> None:
    if revised is None:
        connection.execute(sa.update(_KEY).where(_KEY.c.key_data == key_data).values(shelf_id=shelf_id))
        return
    connection.execute(
        sa.insert(_REVISION).values(
            key_data=key_data,
            shelf_id=shelf_id,
            report_type=revised.revised_report_type,
            days_since_onset_of_symptoms=revised.revised_days_since_onset_of_symptoms,
        )
    )


def _add_shelf(
    connection: sa.Connection, region_set: str, releasable_at: int, is_revision: bool, window_end: int | None
) -> int:
    """The new shelf's id. Closed: it may stand beside an open one of its kind."""
    added = connection.execute(
        sa.insert(_SHELF)
        .values(
            region_set=region_set,
            releasable_at=releasable_at,
            is_revision=is_revision,
            is_open=False,
            revisions=int(is_revision),
            window_end=window_end,
        )
        .returning(_SHELF.c.id)
    )
    return int(added.scalar_one())


def _move_receipts(connection: sa.Connection) -> None:
    """Receipts that wait leave with a shelf of their region alone, that nothing else lies on."""
    waiting = sa.select(_RECEIPT.c.region).where(_RECEIPT.c.batch_id.is_(None)).distinct()
    for (region,) in connection.execute(waiting).all():
        shelf_id = _add_shelf(connection, region, 0, False, None)
        connection.execute(
            sa.update(_RECEIPT)
            .where(_RECEIPT.c.batch_id.is_(None), _RECEIPT.c.region == region)
            .values(shelf_id=shelf_id)
        )


def downgrade() -> None:
    """There is no way back: which release of a key was pending where is not kept."""
    raise NotImplementedError("restore the backup that was taken before the upgrade")
