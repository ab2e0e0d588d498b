"""Collecting half: diagnosis keys and their releases, region by region.

A key that was accepted is a `DiagnosisKey`; that it must go out in a region is a `KeyRelease`. A release
without a batch is pending. Sealing gives it its batch, once: the primary key (key, region, is_revision)
makes a second publication of the same key in the same region impossible.
"""

from collections.abc import Collection

from sqlalchemy import ForeignKey, Index, LargeBinary, String, case, func, select, tuple_, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase
from registry.protocol.intervals import EMBARGO_INTERVALS
from registry.protocol.keys import ReportType, TemporaryExposureKey


class DiagnosisKey(CollectingBase):
    """A temporary exposure key that a confirmed person uploaded. Holds no time but the key's own."""

    __tablename__ = "diagnosis_key"
    __table_args__ = IN_KEY_ORDER

    key_data: Mapped[bytes] = mapped_column(LargeBinary(16), primary_key=True)
    rolling_start_interval_number: Mapped[int]
    rolling_period: Mapped[int]
    end_interval_number: Mapped[int] = mapped_column(index=True)
    """start + period; retirement goes by it."""
    transmission_risk_level: Mapped[int]
    report_type: Mapped[int]
    """`ReportType` of the primary release. Frozen once a release of the key has a batch."""
    days_since_onset_of_symptoms: Mapped[int | None]
    health_authority_id: Mapped[str] = mapped_column(ForeignKey("health_authority.id"))
    traveler: Mapped[bool]
    revised_before_release: Mapped[bool] = mapped_column(default=False)
    """The one permitted revision came while the key was pending, and replaced the report type above."""
    revised_report_type: Mapped[int | None]
    """The one permitted revision came after a release was sealed: goes out as a revised key."""
    revised_days_since_onset_of_symptoms: Mapped[int | None]


class KeyRelease(CollectingBase):
    """That a key goes out in a region; pending until `batch_id` is set by the sealing transaction."""

    __tablename__ = "key_release"

    key_data: Mapped[bytes] = mapped_column(
        LargeBinary(16), ForeignKey("diagnosis_key.key_data", ondelete="CASCADE"), primary_key=True
    )
    region: Mapped[str] = mapped_column(String(6), primary_key=True)
    is_revision: Mapped[bool] = mapped_column(primary_key=True)
    releasable_at: Mapped[int]
    """Interval number; never before the key's end + 12 (two hours)."""
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), index=True)

    __table_args__ = (
        Index("ix_key_release_pending", "region", "batch_id", "releasable_at"),
        IN_KEY_ORDER,
    )


def assign_pending_releases(
    session: Session, batch_id: int, region: str, *, at: int, newer_than: int
) -> None:
    """Give every release of the region that is pending and releasable at interval `at` to the batch.

    When all regions' batches have theirs, call `hold_back_divided_keys`.

    Looks at nothing but `batch_id IS NULL` and the keys' own times, never at when a row came: what commits
    later is pending still and falls into the next batch. So does a release that a revision holds locked at
    this moment: waiting for it could end in a deadlock. Keys that ended at or before the interval
    `newer_than` are left to retirement.
    """
    # The embargo is asked of the key itself too, so that a wrong `releasable_at` delays and never leaks.
    due = select(DiagnosisKey.key_data).where(
        DiagnosisKey.end_interval_number <= at - EMBARGO_INTERVALS,
        DiagnosisKey.end_interval_number > newer_than,
    )
    pending = (
        select(KeyRelease.key_data, KeyRelease.region, KeyRelease.is_revision)
        .where(
            KeyRelease.region == region,
            KeyRelease.batch_id.is_(None),
            KeyRelease.releasable_at <= at,
            KeyRelease.key_data.in_(due),
        )
        .with_for_update(skip_locked=True)
    )
    session.execute(
        update(KeyRelease)
        .where(tuple_(KeyRelease.key_data, KeyRelease.region, KeyRelease.is_revision).in_(pending))
        .values(batch_id=batch_id)
        .execution_options(synchronize_session=False)
    )


def hold_back_divided_keys(
    session: Session, batch_ids: Collection[int], regions: Collection[str], *, at: int
) -> None:
    """Take out of these batches the keys that would not leave in all of `regions` together: they wait.

    A release of theirs in one of the regions is releasable at interval `at` and pending still: it was locked
    or not committed yet when its region's turn was, or its region's window was closed before.
    """
    divided = select(KeyRelease.key_data).where(
        KeyRelease.region.in_(regions), KeyRelease.batch_id.is_(None), KeyRelease.releasable_at <= at
    )
    session.execute(
        update(KeyRelease)
        .where(KeyRelease.batch_id.in_(batch_ids), KeyRelease.key_data.in_(divided))
        .values(batch_id=None)
        .execution_options(synchronize_session=False)
    )


def newest_key_end(session: Session, batch_id: int) -> int | None:
    """The largest end interval number in the batch; None for a batch without keys."""
    return session.scalar(
        select(func.max(DiagnosisKey.end_interval_number))
        .join(KeyRelease)
        .where(KeyRelease.batch_id == batch_id)
    )


def keys_of_batch(
    session: Session, batch_id: int
) -> tuple[list[TemporaryExposureKey], list[TemporaryExposureKey]]:
    """Keys and revised keys of a sealed batch, in no order.

    A revised key goes out with its revised report type and onset, and the risk level it had.
    """
    keys: list[TemporaryExposureKey] = []
    revised: list[TemporaryExposureKey] = []
    rows = session.execute(
        select(
            KeyRelease.is_revision,
            DiagnosisKey.key_data,
            DiagnosisKey.rolling_start_interval_number,
            DiagnosisKey.rolling_period,
            DiagnosisKey.transmission_risk_level,
            case((KeyRelease.is_revision, DiagnosisKey.revised_report_type), else_=DiagnosisKey.report_type),
            case(
                (KeyRelease.is_revision, DiagnosisKey.revised_days_since_onset_of_symptoms),
                else_=DiagnosisKey.days_since_onset_of_symptoms,
            ),
        )
        .join(DiagnosisKey)
        .where(KeyRelease.batch_id == batch_id)
    )
    for is_revision, key_data, start, period, risk, report_type, onset in rows:
        key = TemporaryExposureKey(key_data, start, period, risk, ReportType(report_type), onset)
        (revised if is_revision else keys).append(key)
    return keys, revised
