"""Collecting half: diagnosis keys and their revisions.

A key that was accepted is a `DiagnosisKey`, and lies on the shelf that it leaves with. Once that shelf has
left, the row never changes again; what is said of the key afterwards is a `KeyRevision`, on a shelf of its
own.
"""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    ForeignKey,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Select,
    and_,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, aliased, mapped_column

from registry.models.bases import IN_KEY_ORDER, NUMBER, CollectingBase
from registry.protocol.key_rows import KEY_ROW, NO_ONSET, KeyRows, key_rows_from_columns
from registry.protocol.keys import KEY_BYTES, ReportType

RECALL_TAG_BYTES = 16
_AT_ONCE = 65_536
"""How many keys are read at once."""


class DiagnosisKey(CollectingBase):
    """A temporary exposure key that a confirmed person uploaded. Holds no time but the key's own."""

    __tablename__ = "diagnosis_key"

    key_data: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    """Stored once, whatever the day: see `key_day` for how PostgreSQL is brought to see to that."""
    rolling_start_interval_number: Mapped[int]
    rolling_period: Mapped[int]
    end_interval_number: Mapped[int]
    """start + period; retirement goes by it."""
    transmission_risk_level: Mapped[int]
    report_type: Mapped[int]
    """`ReportType`. Frozen once the key's shelf has left."""
    days_since_onset_of_symptoms: Mapped[int | None]
    health_authority_id: Mapped[str] = mapped_column(ForeignKey("health_authority.id"))
    traveler: Mapped[bool]
    revised_before_release: Mapped[bool] = mapped_column(default=False)
    """A revision came while the key was pending, and replaced the report type above."""
    recall_tag: Mapped[bytes] = mapped_column(LargeBinary(RECALL_TAG_BYTES))
    """Random to whoever lacks the upload's recall handle, which the issuing half keeps sealed."""
    shelf_id: Mapped[int | None] = mapped_column(NUMBER)
    """No foreign key: whoever puts keys on a shelf holds its row, once and not for every key. None for a key
    that goes out nowhere: no region takes it, or it was taken back before its release.
    """

    __table_args__ = (
        # With the end in it, so that the newest key of a shelf is told without a look at the rows.
        Index("ix_diagnosis_key_shelf", "shelf_id", "end_interval_number"),
        # A table a day on PostgreSQL, whose unique indexes must hold the end as well (`key_day`); and what
        # lies in a day's table need not be found by its end.
        PrimaryKeyConstraint("key_data").ddl_if(dialect="sqlite"),
        Index("ix_diagnosis_key_end_interval_number", "end_interval_number").ddl_if(dialect="sqlite"),
        {**IN_KEY_ORDER, "postgresql_partition_by": "RANGE (end_interval_number)"},
    )


class KeyRevision(CollectingBase):
    """That a key whose shelf had left goes out again with another report type."""

    __tablename__ = "key_revision"

    key_data: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    """No foreign key: to drop a day of keys would mean a look at every revision. Whoever forgets keys forgets
    their revisions."""
    shelf_id: Mapped[int] = mapped_column(NUMBER, primary_key=True, autoincrement=False, index=True)
    end_interval_number: Mapped[int]
    """The key's: says in which day's table it lies."""
    report_type: Mapped[int]
    days_since_onset_of_symptoms: Mapped[int | None]

    __table_args__ = IN_KEY_ORDER


def is_of_key() -> ColumnElement[bool]:
    """That a `KeyRevision` is of a `DiagnosisKey`. With the end, for PostgreSQL to look in one day alone."""
    return and_(
        KeyRevision.key_data == DiagnosisKey.key_data,
        KeyRevision.end_interval_number == DiagnosisKey.end_interval_number,
    )


def newest_key_end(session: Session, shelf_ids: Collection[int], *, newer_than: int) -> int | None:
    """The largest end interval number on the shelves, None if no key there ended after `newer_than`."""
    ends = [
        session.scalar(
            select(func.max(DiagnosisKey.end_interval_number)).where(DiagnosisKey.shelf_id.in_(shelf_ids))
        ),
        session.scalar(
            select(func.max(KeyRevision.end_interval_number)).where(KeyRevision.shelf_id.in_(shelf_ids))
        ),
    ]
    newest = max((end for end in ends if end is not None), default=None)
    return None if newest is None or newest <= newer_than else newest


def keys_on(session: Session, shelf_ids: Collection[int], *, newer_than: int) -> Iterator[KeyRows]:
    """The keys that lie on the shelves and ended after the interval `newer_than`, in canonical order."""
    return _read(session, _keys_on(shelf_ids, newer_than))


def revised_keys_on(session: Session, shelf_ids: Collection[int], *, newer_than: int) -> Iterator[KeyRows]:
    """The revised keys on the shelves, in canonical order: with the revision's report type and onset, and the
    risk level that they had.
    """
    recalled = aliased(KeyRevision)
    columns = _columns(KeyRevision.report_type, KeyRevision.days_since_onset_of_symptoms)
    statement = (
        select(*columns)
        .join(KeyRevision, is_of_key())
        .where(
            KeyRevision.shelf_id.in_(shelf_ids),
            DiagnosisKey.end_interval_number > newer_than,
            # Of a key that was revised and then recalled within these shelves, the last word alone.
            or_(
                KeyRevision.report_type == ReportType.REVOKED,
                ~exists().where(
                    recalled.key_data == KeyRevision.key_data,
                    recalled.shelf_id.in_(shelf_ids),
                    recalled.report_type == ReportType.REVOKED,
                ),
            ),
        )
    )
    return _read(session, statement)


def _keys_on(shelf_ids: Collection[int], newer_than: int) -> Select[Any]:
    columns = _columns(DiagnosisKey.report_type, DiagnosisKey.days_since_onset_of_symptoms)
    return select(*columns).where(
        DiagnosisKey.shelf_id.in_(shelf_ids), DiagnosisKey.end_interval_number > newer_than
    )


def _columns(
    report_type: InstrumentedAttribute[int], onset: InstrumentedAttribute[int | None]
) -> tuple[ColumnElement[Any], ...]:
    """As a `KEY_ROW` has them, but in the order in which they are compared."""
    return (
        DiagnosisKey.rolling_start_interval_number.label("start"),
        DiagnosisKey.rolling_period.label("period"),
        report_type.label("kind"),
        func.coalesce(onset, NO_ONSET).label("onset"),
        DiagnosisKey.key_data.label("key_data"),
        DiagnosisKey.transmission_risk_level.label("risk"),
    )


def _read(session: Session, statement: Select[Any]) -> Iterator[KeyRows]:
    ordered = statement.order_by("start", "period", "kind", "onset", "key_data")
    if session.get_bind().dialect.name == "postgresql":
        return _copied(session, ordered)
    return _fetched(session, ordered)


def _fetched(session: Session, statement: Select[Any]) -> Iterator[KeyRows]:
    for part in session.execute(statement).partitions(_AT_ONCE):
        starts, periods, kinds, onsets, keys, risks = zip(*part, strict=True)
        given = [None if onset == NO_ONSET else onset for onset in onsets]
        yield key_rows_from_columns(keys, starts, periods, risks, kinds, given)


_COPIED = np.dtype(
    [
        ("fields", ">i2"),
        *(
            (name, kind)
            for field in ("start", "period", "kind", "onset")
            for name, kind in ((f"{field}_length", ">i4"), (field, ">i4"))
        ),
        ("key_data_length", ">i4"),
        ("key_data", np.uint8, (KEY_BYTES,)),
        ("risk_length", ">i4"),
        ("risk", ">i4"),
    ]
)
"""A row of PostgreSQL's binary COPY (its documentation, COPY, "Binary Format"): no column can be null, so all
rows are of one length."""
_COPY_HEAD = 19
_COPY_TAIL = 2


def _copied(session: Session, statement: Select[Any]) -> Iterator[KeyRows]:
    """By COPY: many times faster than rows as objects, and it holds no more than a few thousand at once."""
    dialect = session.get_bind().dialect
    text = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    connection = session.connection().connection.driver_connection
    if connection is None:
        raise RuntimeError("the session has no connection")
    held = bytearray()
    skip = _COPY_HEAD
    with connection.cursor() as cursor, cursor.copy(f"COPY ({text}) TO STDOUT (FORMAT BINARY)") as copy:
        for block in copy:
            held += block[skip:] if skip else block
            skip = max(0, skip - len(block))
            if len(held) >= _AT_ONCE * _COPIED.itemsize:
                whole = len(held) // _COPIED.itemsize * _COPIED.itemsize
                # The two bytes at the end of it all are no row, however much has come.
                yield _rows_of(bytes(held[:whole]))
                del held[:whole]
    if len(held) % _COPIED.itemsize != _COPY_TAIL:
        raise RuntimeError("PostgreSQL sent rows of another length")
    if len(held) > _COPY_TAIL:
        yield _rows_of(bytes(held[:-_COPY_TAIL]))


def _rows_of(content: bytes) -> KeyRows:
    copied = np.frombuffer(content, _COPIED)
    if not bool((copied["fields"] == 6).all() and (copied["key_data_length"] == KEY_BYTES).all()):
        raise RuntimeError("PostgreSQL sent rows of another form")
    rows = np.empty(len(copied), KEY_ROW)
    rows["key_data"] = copied["key_data"]
    for name, column in (
        ("rolling_start_interval_number", "start"),
        ("rolling_period", "period"),
        ("report_type", "kind"),
        ("days_since_onset_of_symptoms", "onset"),
        ("transmission_risk_level", "risk"),
    ):
        rows[name] = copied[column]
    return rows
