"""The commit point: one root is signed for one size of a shard, ever, and the note over it is kept.

Everything before it can be thrown away and made again; everything after it only spreads what is decided.
"""

from sqlalchemy import case, update

from registry.errors import ConfigurationError, LogForked
from registry.models import LogShard
from registry.models.log import log_entries, sequenced_size
from registry.protocol.checkpoint import Checkpoint, sign_checkpoint
from registry.protocol.note import encode_note
from registry.transparency.layout import first_of_bundle, lay_out, stored_root
from registry.transparency.run import LogRun


def sign_sequenced(run: LogRun) -> LogShard | None:
    """Lay out and sign what the newest shard has sequenced beyond its signed head. The shard, up to date.

    A crash before the commit leaves files that the next run makes again to the byte; after it, a head whose
    note is stored, to be published by whoever comes next. Raises StorageConflict or LogForked, and signs
    nothing.
    """
    shard = run.shard()
    if shard is None:
        return None
    old_size, old_root, year = shard.size, shard.root, shard.year
    new_size = sequenced_size(run.session, year)
    if new_size < old_size:
        raise LogForked(
            f"{shard.origin}: {old_size} leaves are signed and only {new_size} are in the database"
        )
    if new_size == old_size:
        run.session.rollback()
        return shard
    entries = log_entries(run.session, year, first_of_bundle(old_size), new_size)
    run.session.rollback()  # no transaction stays open while files are written
    root = lay_out(
        run.storage, year, old_size=old_size, old_root=old_root, new_size=new_size, entries=entries
    )
    signers = run.log.signers(year)
    if {signer.name for signer in signers} != {shard.origin}:
        raise ConfigurationError(f"the log keys of {year} at hand are not called {shard.origin}")
    with run.fenced() as session:
        note = encode_note(sign_checkpoint(Checkpoint(shard.origin, new_size, root), signers, now=run.now))
        moved = session.execute(
            update(LogShard)
            .where(LogShard.year == year, LogShard.size == old_size, LogShard.root == old_root)
            .values(
                size=new_size,
                root=root,
                checkpoint=note,
                signed_at=int(run.now),
                # One that waits for its quorum is not made to wait longer by the next.
                waiting_since=case(
                    (LogShard.published_size == LogShard.size, int(run.now)), else_=LogShard.waiting_since
                ),
            )
            .returning(LogShard.year)
        ).all()
        if len(moved) != 1:
            raise LogForked(f"another head of {shard.origin} was signed meanwhile; nothing is signed over it")
    return run.shard()


def lay_out_again(run: LogRun, shard: LogShard, stored_size: int) -> None:
    """Store the signed leaves that storage lacks beyond `stored_size`; all of them if its tiles are gone.

    Raises LogForked if the leaves in the database do not lead to the root that was signed.
    """
    old_root = stored_root(run.storage, shard.year, stored_size)
    entries = log_entries(run.session, shard.year, first_of_bundle(stored_size), shard.size)
    run.session.rollback()
    root = lay_out(
        run.storage,
        shard.year,
        old_size=stored_size,
        old_root=old_root,
        new_size=shard.size,
        entries=entries,
    )
    if root != shard.root:
        raise LogForked(
            f"the leaves of {shard.origin} in the database do not lead to the root that was signed"
        )
