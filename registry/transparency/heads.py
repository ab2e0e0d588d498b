"""The commit point: one root is signed for one size of a shard, ever, and the note over it is kept.

Everything before it can be thrown away and made again; everything after it only spreads what is decided.
The note lies among the public files before the commit that makes it the head, so that no database of before
can ever sign another root for its size unnoticed.
"""

from sqlalchemy import case, update
from sqlalchemy.orm import Session

from registry.errors import ConfigurationError, Distrusted, LogForked, Malformed
from registry.models import LogShard
from registry.models.log import log_entries, sequenced_size
from registry.protocol.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from registry.protocol.index import shard_signed_path
from registry.protocol.merkle import leaf_hashes_of, tree_root
from registry.protocol.note import encode_note, verifier_key
from registry.transparency.layout import first_of_bundle, lay_out, stored_root
from registry.transparency.run import LogRun


def sign_sequenced(run: LogRun) -> LogShard | None:
    """Lay out and sign what the newest shard has sequenced beyond its signed head. The shard, up to date.

    A crash before the note is stored leaves files that the next run makes again to the byte; between that and
    the commit, a note that the next run adopts (`adopt_signed`); after it, a head to be published by whoever
    comes next. Raises StorageConflict or LogForked, and signs nothing.
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
        run.storage,
        year,
        old_size=old_size,
        old_root=old_root,
        new_size=new_size,
        entries=entries,
        may_replace=lambda: _nothing_signed_beyond(run, shard),
    )
    signers = run.log.signers(year)
    if {signer.name for signer in signers} != {shard.origin}:
        raise ConfigurationError(f"the log keys of {year} at hand are not called {shard.origin}")
    checkpoint = Checkpoint(shard.origin, new_size, root)
    with run.fenced() as session:
        note = encode_note(sign_checkpoint(checkpoint, signers, now=run.now))
        _move_head(session, shard, checkpoint, note, run.now)
        # Nobody else can move the head until this transaction ends, and whatever becomes of it: from here
        # on it can be told that this root was signed.
        run.storage.replace(shard_signed_path(year), note)
    return run.shard()


def adopt_signed(run: LogRun, shard: LogShard, checkpoint: Checkpoint, note: bytes) -> bool:
    """Take a note of our own that lies in storage for the shard's head, if the sequenced leaves lead to it.

    So it is after a crash between the note and the commit. False, and nothing is changed, if the database
    has not those leaves.
    """
    if sequenced_size(run.session, shard.year) < checkpoint.size:
        run.session.rollback()
        return False
    entries = log_entries(run.session, shard.year, 0, checkpoint.size)
    run.session.rollback()
    if tree_root(leaf_hashes_of(entries)) != checkpoint.root:
        return False
    with run.fenced() as session:
        _move_head(session, shard, checkpoint, note, run.now)
    return True


def _move_head(session: Session, shard: LogShard, to: Checkpoint, note: bytes, now: float) -> None:
    """Compare and swap. Raises LogForked if the head is not the one that `shard` says."""
    moved = session.execute(
        update(LogShard)
        .where(LogShard.year == shard.year, LogShard.size == shard.size, LogShard.root == shard.root)
        .values(
            size=to.size,
            root=to.root,
            checkpoint=note,
            signed_at=int(now),
            # One that waits for its quorum is not made to wait longer by the next.
            waiting_since=case(
                (LogShard.published_size == LogShard.size, int(now)), else_=LogShard.waiting_since
            ),
        )
        .returning(LogShard.year)
    ).all()
    if len(moved) != 1:
        raise LogForked(f"another head of {shard.origin} was signed meanwhile; nothing is signed over it")


def _nothing_signed_beyond(run: LogRun, shard: LogShard) -> bool:
    """Whether the newest note that we signed in this shard is no newer than its head, as storage shows."""
    content = run.storage.read(shard_signed_path(shard.year))
    if content is None:
        return shard.size == 0
    try:
        keys = [verifier_key(signer) for signer in run.log.signers(shard.year)]
        _, checkpoint = open_checkpoint(content, keys)
    except (Malformed, Distrusted):
        return False
    return checkpoint.origin == shard.origin and checkpoint.size <= shard.size


def lay_out_again(run: LogRun, shard: LogShard, stored_size: int) -> None:
    """Store the signed leaves that storage lacks beyond `stored_size`; all of them if its tiles are gone.

    Raises LogForked if the leaves in the database do not lead to the root that was signed.
    """
    old_root = stored_root(run.storage, shard.year, stored_size)
    entries = log_entries(run.session, shard.year, first_of_bundle(stored_size), shard.size)
    run.session.rollback()
    lay_out(
        run.storage,
        shard.year,
        old_size=stored_size,
        old_root=old_root,
        new_size=shard.size,
        entries=entries,
        may_replace=lambda: True,  # what is stored here leads to what was signed, so what differs does not
        signed_root=shard.root,
    )
