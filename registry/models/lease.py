"""Collecting half: who may do a job now, told by an expiry and a number that only grows.

The expiry lets another take over from a process that died, and does nothing else. The number, the fence,
stops a process that only slept: every transaction of a job begins with `fenced`, which refuses a fence that
is no longer the newest and keeps the lease's row locked until the commit, so that nobody takes over in
between.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

from sqlalchemy import BigInteger, String, select, text, update
from sqlalchemy.orm import Mapped, Session, mapped_column

from registry.errors import LeaseLost
from registry.models.bases import IN_KEY_ORDER, CollectingBase
from registry.models.sessions import transaction

_LONGEST_HOLDER = 64

# One statement on both databases: of two processes that run it at once, the second waits for the first's
# row and then finds it taken. A holder may take its own lease again, so that it goes on at once after a
# crash; the fence grows all the same, and whatever it left running in its old life is shut out.
_TAKE = text("""
    INSERT INTO lease (name, holder, fence, expires_at) VALUES (:name, :holder, 1, :expires_at)
    ON CONFLICT (name) DO UPDATE
    SET holder = excluded.holder, fence = lease.fence + 1, expires_at = excluded.expires_at
    WHERE lease.expires_at <= :now OR lease.holder = excluded.holder
    RETURNING fence
""")


class Lease(CollectingBase):
    """Who may do a job now. `fence` grows with every holder; a write with an old fence is refused."""

    __tablename__ = "lease"
    __table_args__ = IN_KEY_ORDER

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    holder: Mapped[str] = mapped_column(String(_LONGEST_HOLDER))
    fence: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    """Unix seconds."""


def take_lease(session: Session, name: str, holder: str, now: float, ttl: float) -> int | None:
    """The new fence, or None while another holder's lease runs. The caller commits before it relies on it.

    `holder` may be of any length: two long names that begin alike are still two.
    """
    if len(holder) > _LONGEST_HOLDER:
        holder = sha256(holder.encode("utf-8", "surrogatepass")).hexdigest()
    taken = session.execute(
        _TAKE, {"name": name, "holder": holder, "now": int(now), "expires_at": int(now + ttl)}
    ).scalar_one_or_none()
    return None if taken is None else int(taken)


def hold_lease(session: Session, name: str, fence: int) -> None:
    """Raises LeaseLost unless `fence` is still the newest, that is, unless another has taken the lease.

    Whether its time has run out is not asked: a late holder that nobody has succeeded does no harm. The row
    stays locked until this transaction ends (SQLite's write lock does it there), so what the transaction
    writes is written by the holder or not at all.
    """
    newest = session.scalar(select(Lease.fence).where(Lease.name == name).with_for_update())
    if newest != fence:
        raise LeaseLost(
            f"the lease {name!r} has passed to another process; it goes on from what is committed"
        )


def release_lease(session: Session, name: str, fence: int) -> None:
    """Let the next holder in at once. Does nothing if the lease has passed on already."""
    # Not at `now`: a clock that is set back afterwards would make the next holder wait for that moment.
    session.execute(update(Lease).where(Lease.name == name, Lease.fence == fence).values(expires_at=0))


@contextmanager
def leased(session: Session, name: str, holder: str, now: float, ttl: float) -> Iterator[int | None]:
    """The fence for the block, or None if another holder's lease runs; released when the block ends.

    A crash in the block leaves a lease that runs out by itself, or that the same `holder` takes back at once.
    """
    with transaction(session):
        fence = take_lease(session, name, holder, now, ttl)
    if fence is None:
        yield None
        return
    try:
        yield fence
    finally:
        with transaction(session):
            release_lease(session, name, fence)


@contextmanager
def fenced(session: Session, name: str, fence: int) -> Iterator[Session]:
    """A `transaction` that only the newest holder of the lease can commit."""
    with transaction(session):
        hold_lease(session, name, fence)
        yield session
