"""One run of the publisher, as far as the log is concerned: what it may write with, and when it is."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from registry.models import LogShard
from registry.models.lease import fenced
from registry.models.log import newest_shard
from registry.storage import Storage
from registry.transparency.log import TransparencyLog


@dataclass(slots=True)
class LogRun:
    """Holds the lease `lease` under the fencing number `fence`. `now` is unix seconds."""

    session: Session
    storage: Storage
    log: TransparencyLog
    lease: str
    fence: int
    now: float
    has_asked_witnesses: bool = field(default=False, init=False)
    """Whether witnesses were asked in this run, so that one that is ahead of us would have been noticed."""
    unanswered: set[str] = field(default_factory=set, init=False)
    """Witnesses that were asked in this run and did not cosign: not asked again before the next."""

    def fenced(self) -> AbstractContextManager[Session]:
        """A transaction that only this run can commit, and only while nobody has taken its lease."""
        return fenced(self.session, self.lease, self.fence)

    def shard(self) -> LogShard | None:
        """The newest shard as it is now, as values: no transaction stays open."""
        shard = newest_shard(self.session)
        self.session.expunge_all()
        self.session.rollback()
        return shard
