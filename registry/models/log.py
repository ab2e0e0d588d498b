"""Collecting half: the log's leaves, heads and witnesses, and what of it phones are pointed to.

A leaf that was sequenced is never changed, moved or taken out. `LogShard.size` and `root` are the newest
signed head: the row is the lock that lets one root be signed for one size, and no other.
"""

from datetime import date

from sqlalchemy import BigInteger, Date, LargeBinary, String, Text, func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.models.bases import IN_KEY_ORDER, CollectingBase
from registry.protocol.merkle import EMPTY_ROOT


class LogShard(CollectingBase):
    """One calendar year's log, under its own keys."""

    __tablename__ = "log_shard"
    __table_args__ = IN_KEY_ORDER

    year: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    origin: Mapped[str] = mapped_column(String(255))
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    """Leaves under the newest signed checkpoint; more may be sequenced."""
    root: Mapped[bytes] = mapped_column(LargeBinary(32), default=EMPTY_ROOT)
    checkpoint: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    """The note over size and root with the log's own signatures; empty before the first."""
    signed_at: Mapped[int] = mapped_column(BigInteger, default=0)
    """Unix seconds."""
    published_size: Mapped[int] = mapped_column(BigInteger, default=0)
    """Leaves under the checkpoint that public pointers were last moved to."""
    waiting_since: Mapped[int] = mapped_column(BigInteger, default=0)
    """When the first checkpoint was signed that pointers have not been moved beyond, unix seconds."""
    index_number: Mapped[int | None] = mapped_column(BigInteger)
    """The newest index leaf that is sequenced."""
    is_closed: Mapped[bool] = mapped_column(default=False)
    """Its close leaf is sequenced: nothing follows."""
    anchor: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    """Commitment of the newest activity leaf, so that a day's is logged once."""
    anchor_number: Mapped[int | None] = mapped_column(BigInteger)
    anchor_day: Mapped[date | None] = mapped_column(Date)
    """The UTC day that it is of: a day is anchored once, whatever the acts' database says later."""


class LogEntry(CollectingBase):
    """One leaf, sequenced for good."""

    __tablename__ = "log_entry"
    __table_args__ = IN_KEY_ORDER

    year: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    entry: Mapped[bytes] = mapped_column(LargeBinary)


class LogKey(CollectingBase):
    """A signing key that the log has a key leaf about."""

    __tablename__ = "log_key"
    __table_args__ = IN_KEY_ORDER

    purpose: Mapped[str] = mapped_column(String(16), primary_key=True)
    """export, log or trust."""
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    is_retired: Mapped[bool] = mapped_column(default=False)


class RegionIndex(CollectingBase):
    """A region's index as the newest index leaf covers it."""

    __tablename__ = "region_index"
    __table_args__ = IN_KEY_ORDER

    region: Mapped[str] = mapped_column(String(6), primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    sha256: Mapped[str] = mapped_column(String(64))


class TrustFile(CollectingBase):
    """Trust material number `sequence` and the note beside it, as they were logged."""

    __tablename__ = "trust_file"
    __table_args__ = IN_KEY_ORDER

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    """Empty if only the leaf about it could be brought back."""
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    note: Mapped[bytes] = mapped_column(LargeBinary)
    issued_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)


class WitnessState(CollectingBase):
    """What a witness of the policy did last."""

    __tablename__ = "witness_state"
    __table_args__ = IN_KEY_ORDER

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    year: Mapped[int]
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    """The size of that year's shard that it cosigned last."""
    lines: Mapped[str] = mapped_column(Text, default="")
    """Its signature lines under that checkpoint."""
    asked_at: Mapped[int] = mapped_column(BigInteger, default=0)
    """Unix seconds; it was asked about `asked_size`."""
    asked_size: Mapped[int] = mapped_column(BigInteger, default=0)
    failures: Mapped[int] = mapped_column(default=0)
    """How often in a row it was asked and did not cosign: the more, the longer it is left alone."""
    cosigned_at: Mapped[int] = mapped_column(BigInteger, default=0)
    error: Mapped[str | None] = mapped_column(Text)
    """Why it did not cosign when it was asked last."""
    halted: Mapped[bool] = mapped_column(default=False)
    """It refused what we signed. Only a cosignature of its, or its leaving the policy, takes this back."""
    ahead: Mapped[int | None] = mapped_column(BigInteger)
    """The size beyond ours that it said it had cosigned; taken back as `halted` is."""


class Withdrawal(CollectingBase):
    """A batch that was taken away before its time. The log commits to `reference` by its salt."""

    __tablename__ = "withdrawal"
    __table_args__ = IN_KEY_ORDER

    region: Mapped[str] = mapped_column(String(6), primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    reason: Mapped[str] = mapped_column(String(32))
    salt: Mapped[bytes] = mapped_column(LargeBinary(32))
    reference: Mapped[str] = mapped_column(Text)
    log_year: Mapped[int | None]
    log_number: Mapped[int | None] = mapped_column(BigInteger)


def newest_shard(session: Session) -> LogShard | None:
    """The shard that the log goes on in, or went on in last."""
    return session.scalars(select(LogShard).order_by(LogShard.year.desc()).limit(1)).one_or_none()


def sequenced_size(session: Session, year: int) -> int:
    """How many leaves of the shard are sequenced, signed or not."""
    newest = session.scalar(select(func.max(LogEntry.number)).where(LogEntry.year == year))
    return 0 if newest is None else newest + 1


def log_entries(session: Session, year: int, first: int, end: int) -> list[bytes]:
    """The leaves [first, end) of the shard."""
    return list(
        session.scalars(
            select(LogEntry.entry)
            .where(LogEntry.year == year, LogEntry.number >= first, LogEntry.number < end)
            .order_by(LogEntry.number)
        )
    )


def newest_trust_file(session: Session) -> TrustFile | None:
    """The trust material that was logged last."""
    return session.scalars(select(TrustFile).order_by(TrustFile.sequence.desc()).limit(1)).one_or_none()
