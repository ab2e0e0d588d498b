"""Gives leaves their places. What got a place is never moved, changed or taken out, signed or not."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import LogForked
from registry.models import LogEntry, LogShard
from registry.models.log import sequenced_size
from registry.protocol.leaves import CloseLeaf, IndexLeaf, Leaf, decode_leaf, encode_leaf


class Appender:
    """Appends to one shard, in the caller's transaction."""

    def __init__(self, session: Session, shard: LogShard) -> None:
        self._session = session
        self.shard = shard
        self._first = self._next = sequenced_size(session, shard.year)

    @property
    def count(self) -> int:
        """How many leaves were appended."""
        return self._next - self._first

    def add(self, leaf: Leaf) -> int:
        """The place that the leaf got. Raises LogForked for a shard that is closed."""
        if self.shard.is_closed:
            raise LogForked(f"the shard {self.shard.origin} is closed")
        number = self._next
        self._session.add(LogEntry(year=self.shard.year, number=number, entry=encode_leaf(leaf)))
        self._next += 1
        if isinstance(leaf, IndexLeaf):
            self.shard.index_number = number
        if isinstance(leaf, CloseLeaf):
            self.shard.is_closed = True
        return number


def entry_at(session: Session, year: int, number: int) -> bytes:
    """One sequenced leaf's bytes."""
    return session.scalars(
        select(LogEntry.entry).where(LogEntry.year == year, LogEntry.number == number)
    ).one()


def newest_index_of_log(session: Session) -> IndexLeaf | None:
    """The newest index leaf of all shards, None for a log that has none yet."""
    shard = session.scalars(
        select(LogShard).where(LogShard.index_number.is_not(None)).order_by(LogShard.year.desc()).limit(1)
    ).one_or_none()
    return None if shard is None else newest_index_leaf(session, shard)


def newest_index_leaf(session: Session, shard: LogShard) -> IndexLeaf | None:
    """The newest index leaf of the shard, None for a shard that has none yet."""
    if shard.index_number is None:
        return None
    leaf = decode_leaf(entry_at(session, shard.year, shard.index_number))
    if not isinstance(leaf, IndexLeaf):
        raise LogForked(
            f"leaf {shard.index_number} of {shard.origin} is not the index leaf that it should be"
        )
    return leaf
