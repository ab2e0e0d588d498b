"""Collecting half: diagnosis keys and their revisions.

A key that was accepted is a `DiagnosisKey`, and lies on the shelf that it leaves with. Once that shelf has
left, the row never changes again; what is said of the key afterwards is a `KeyRevision`, on a shelf of its
own.
"""

from collections.abc import Collection, Iterator

from sqlalchemy import ForeignKey, Index, LargeBinary, Select, func, select
from sqlalchemy.orm import InstrumentedAttribute, Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, NUMBER, CollectingBase
from registry.protocol.keys import ReportType, TemporaryExposureKey

RECALL_TAG_BYTES = 16


class DiagnosisKey(CollectingBase):
    """A temporary exposure key that a confirmed person uploaded. Holds no time but the key's own."""

    __tablename__ = "diagnosis_key"

    key_data: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    rolling_start_interval_number: Mapped[int]
    rolling_period: Mapped[int]
    end_interval_number: Mapped[int] = mapped_column(index=True)
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
        IN_KEY_ORDER,
    )


class KeyRevision(CollectingBase):
    """That a key whose shelf had left goes out again with another report type."""

    __tablename__ = "key_revision"

    key_data: Mapped[bytes] = mapped_column(
        LargeBinary(16), ForeignKey("diagnosis_key.key_data", ondelete="CASCADE"), primary_key=True
    )
    shelf_id: Mapped[int] = mapped_column(NUMBER, primary_key=True, autoincrement=False, index=True)
    report_type: Mapped[int]
    days_since_onset_of_symptoms: Mapped[int | None]

    __table_args__ = IN_KEY_ORDER


def newest_key_end(session: Session, shelf_ids: Collection[int], *, newer_than: int) -> int | None:
    """The largest end interval number on the shelves, None if no key there ended after `newer_than`."""
    ends = [
        session.scalar(
            select(func.max(DiagnosisKey.end_interval_number)).where(DiagnosisKey.shelf_id.in_(shelf_ids))
        ),
        session.scalar(
            select(func.max(DiagnosisKey.end_interval_number))
            .join(KeyRevision, KeyRevision.key_data == DiagnosisKey.key_data)
            .where(KeyRevision.shelf_id.in_(shelf_ids))
        ),
    ]
    newest = max((end for end in ends if end is not None), default=None)
    return None if newest is None or newest <= newer_than else newest


def keys_on(
    session: Session, shelf_ids: Collection[int], *, newer_than: int
) -> Iterator[TemporaryExposureKey]:
    """The keys that lie on the shelves and ended after the interval `newer_than`, in canonical order."""
    columns = (DiagnosisKey.report_type, DiagnosisKey.days_since_onset_of_symptoms)
    statement = select(*_KEY, *columns).where(
        DiagnosisKey.shelf_id.in_(shelf_ids), DiagnosisKey.end_interval_number > newer_than
    )
    return _read(session, statement, columns)


def revised_keys_on(
    session: Session, shelf_ids: Collection[int], *, newer_than: int
) -> Iterator[TemporaryExposureKey]:
    """The revised keys on the shelves, in canonical order: with the revision's report type and onset, and the
    risk level that they had.
    """
    columns = (KeyRevision.report_type, KeyRevision.days_since_onset_of_symptoms)
    statement = (
        select(*_KEY, *columns)
        .join(KeyRevision, KeyRevision.key_data == DiagnosisKey.key_data)
        .where(KeyRevision.shelf_id.in_(shelf_ids), DiagnosisKey.end_interval_number > newer_than)
    )
    return _read(session, statement, columns)


_KEY = (
    DiagnosisKey.key_data,
    DiagnosisKey.rolling_start_interval_number,
    DiagnosisKey.rolling_period,
    DiagnosisKey.transmission_risk_level,
)


def _read(
    session: Session,
    statement: Select[bytes, int, int, int, int, int | None],
    metadata: tuple[InstrumentedAttribute[int], InstrumentedAttribute[int | None]],
) -> Iterator[TemporaryExposureKey]:
    report_type, onset = metadata
    ordered = statement.order_by(
        DiagnosisKey.rolling_start_interval_number,
        DiagnosisKey.rolling_period,
        report_type,
        onset.asc().nulls_first(),
        DiagnosisKey.key_data,
    )
    for key_data, start, period, risk, kind, days in session.execute(ordered):
        yield TemporaryExposureKey(key_data, start, period, risk, ReportType(kind), days)
