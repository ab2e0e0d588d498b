"""On PostgreSQL keys lie in a table a day, to be dropped as a whole; revisions say which day their key is of.

The rows are copied: an upgrade takes as long as that does, and uploads must not come meanwhile.
"""

from datetime import date, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Expand the schema."""
    is_postgresql = op.get_bind().dialect.name == "postgresql"
    _make_revisions_anew(is_postgresql)
    if is_postgresql:
        _divide_keys()
        op.execute(_KNOWN_KEYS)


def _make_revisions_anew(is_postgresql: bool) -> None:
    """With the key's end, and without the foreign key, which SQLite cannot take from a table."""
    op.drop_index(op.f("ix_key_revision_shelf_id"), "key_revision")
    if is_postgresql:
        op.drop_constraint(op.f("pk_key_revision"), "key_revision")
    op.rename_table("key_revision", "key_revision_before")
    op.create_table(
        "key_revision",
        sa.Column("key_data", sa.LargeBinary(length=16), nullable=False),
        sa.Column("shelf_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("end_interval_number", sa.Integer(), nullable=False),
        sa.Column("report_type", sa.Integer(), nullable=False),
        sa.Column("days_since_onset_of_symptoms", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("key_data", "shelf_id", name=op.f("pk_key_revision")),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO key_revision (key_data, shelf_id, end_interval_number, report_type,"
        " days_since_onset_of_symptoms)"
        " SELECT key_data, was.shelf_id, end_interval_number, was.report_type,"
        " was.days_since_onset_of_symptoms"
        " FROM key_revision_before AS was JOIN diagnosis_key USING (key_data)"
    )
    op.drop_table("key_revision_before")
    op.create_index(op.f("ix_key_revision_shelf_id"), "key_revision", ["shelf_id"], unique=False)


def _divide_keys() -> None:
    """The table anew, with a part for every day that has keys; the publisher makes the others."""
    for index in ("ix_diagnosis_key_end_interval_number", "ix_diagnosis_key_shelf"):
        op.drop_index(op.f(index), "diagnosis_key")
    op.drop_constraint(op.f("pk_diagnosis_key"), "diagnosis_key")
    op.drop_constraint(op.f("fk_diagnosis_key_health_authority_id"), "diagnosis_key")
    op.rename_table("diagnosis_key", "diagnosis_key_before")
    op.execute(
        "CREATE TABLE diagnosis_key (LIKE diagnosis_key_before INCLUDING DEFAULTS)"
        " PARTITION BY RANGE (end_interval_number)"
    )
    op.create_primary_key(op.f("pk_diagnosis_key"), "diagnosis_key", ["key_data", "end_interval_number"])
    op.create_foreign_key(
        op.f("fk_diagnosis_key_health_authority_id"),
        *("diagnosis_key", "health_authority", ["health_authority_id"], ["id"]),
    )
    op.create_index("ix_diagnosis_key_shelf", "diagnosis_key", ["shelf_id", "end_interval_number"])
    # A midnight belongs to the day that it ends.
    days = "SELECT DISTINCT (end_interval_number + 143) / 144 - 1 FROM diagnosis_key_before ORDER BY 1"
    for day in op.get_bind().scalars(sa.text(days)).all():
        name = f"diagnosis_key_{date(1970, 1, 1) + timedelta(days=day):%Y%m%d}"
        op.execute(
            f"CREATE TABLE {name} PARTITION OF diagnosis_key"
            f" FOR VALUES FROM ({144 * day + 1}) TO ({144 * (day + 1) + 1})"
        )
    op.execute("INSERT INTO diagnosis_key SELECT * FROM diagnosis_key_before")
    op.drop_table("diagnosis_key_before")


_KNOWN_KEYS = """
CREATE FUNCTION known_diagnosis_keys(asked bytea[]) RETURNS SETOF bytea LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- One order for all: they wait for each other, never in a circle.
    PERFORM pg_advisory_xact_lock(number) FROM (
        SELECT hashtextextended(encode(one, 'hex'), 0) AS number FROM unnest(asked) AS one ORDER BY 1
    ) AS numbers;
    RETURN QUERY SELECT key_data FROM diagnosis_key WHERE key_data = ANY (asked);
END
$$
"""


def downgrade() -> None:
    """There is no way back."""
    raise NotImplementedError("restore the backup that was taken before the upgrade")
