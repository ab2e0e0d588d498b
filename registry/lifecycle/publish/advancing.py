"""From sequenced leaves to what phones see: lay out, sign, have it witnessed, then move the pointers.

Each step can be repeated, and each run goes through all of them, so that whatever an earlier one left
undone is done. No pointer moves to a checkpoint that is not signed, nor, until the policy's time has run
out, to one that its witnesses have not cosigned.
"""

from dataclasses import dataclass

from sqlalchemy import func, select, update

from registry.lifecycle.publish.apart import Failures
from registry.lifecycle.publish.appending import append_due, close_shard
from registry.lifecycle.publish.listing import check_listed, point_to_index, store_index
from registry.lifecycle.publish.material import policy_file
from registry.lifecycle.publish.run import Run
from registry.models import LogShard, RegionIndex
from registry.models.log import newest_trust_file, sequenced_size
from registry.protocol.index import LOG_POLICY_PATH, TRUST_NOTE_PATH, TRUST_PATH, index_proof_path
from registry.protocol.intervals import utc_date
from registry.protocol.leaves import encode_region_proof, prove_region
from registry.protocol.proof import LogProof, encode_proof
from registry.transparency.heads import sign_sequenced
from registry.transparency.notes import path_to_last_leaf, short_checkpoint, write_changed, write_checkpoint
from registry.transparency.sequencing import entry_at
from registry.transparency.witnessing import (
    Witnessed,
    ask_before_signing,
    ask_if_due,
    has_failed_open,
    witnessed,
)


@dataclass(frozen=True, slots=True)
class Advanced:
    """How far the log has come. `is_published`: phones are pointed to the newest checkpoint.

    `is_witnessed`: it has its quorum. Published and not witnessed: the policy's time for it has run out.
    """

    is_published: bool = True
    is_witnessed: bool = True


def advance(run: Run, failures: Failures) -> Advanced:
    """Sign what is sequenced, have it witnessed, and point phones to it. What fails in one region is kept.

    Raises LogSetBack or LogForked, as witnesses and stored files say, and points nobody anywhere.
    """
    shard = run.shard()
    if shard is None:
        return Advanced()
    indexes = _indexes(run)
    if has_unsigned(run, shard):
        ask_before_signing(run, shard)
    for row in indexes:
        with failures.kept(row.region):
            store_index(run.storage, row)
    shard = sign_sequenced(run) or shard
    ask_if_due(run, shard)
    return _publish(run, shard, indexes, failures)


def resume(run: Run, failures: Failures) -> None:
    """Sign and publish what an earlier run sequenced, before anything is added to it."""
    shard = run.shard()
    if shard is not None and has_unsigned(run, shard):
        advance(run, failures)


def has_unsigned(run: Run, shard: LogShard) -> bool:
    """Whether leaves are sequenced beyond the signed head."""
    size = sequenced_size(run.session, shard.year)
    run.session.rollback()
    return size > shard.size


def turn_year(run: Run, failures: Failures) -> Advanced:
    """Close a shard whose year is over, and open the next. Not published: the final checkpoint must wait.

    Whatever kills it, the next run finds by the shard's last leaf how far it came.
    """
    while True:
        shard = run.shard()
        year = utc_date(run.now).year
        if shard is None or (not shard.is_closed and shard.year >= year):
            return Advanced()
        if not shard.is_closed:
            # Signed and shown first, so that the close leaf stands alone in its checkpoint.
            close_shard(run, year)
        closed = advance(run, failures)
        if not closed.is_published:
            return closed
        if not append_due(run, run.regions, failures):
            # The clock went back meanwhile: the new year opens when it has caught up.
            return closed
        advance(run, failures)


def _publish(run: Run, shard: LogShard, indexes: list[RegionIndex], failures: Failures) -> Advanced:
    if not shard.size:
        return Advanced()
    result = witnessed(run, shard)
    shards = run.session.scalar(select(func.count()).select_from(LogShard))
    run.session.rollback()
    # Before the very first checkpoint there is nothing that phones could go on with, and it brings no news.
    is_first = shards == 1 and shard.published_size == 0
    if not (result.is_met or has_failed_open(run, shard) or is_first):
        return Advanced(is_published=False, is_witnessed=False)
    _move_log_pointers(run, shard, result)
    if not shard.is_closed:
        _move_region_pointers(run, shard, result, indexes, failures)
    if shard.published_size != shard.size:
        with run.fenced() as session:
            session.execute(
                update(LogShard)
                .where(LogShard.year == shard.year, LogShard.published_size < shard.size)
                .values(published_size=shard.size)
                .execution_options(synchronize_session=False)
            )
    return Advanced(is_witnessed=result.is_met)


def _move_log_pointers(run: Run, shard: LogShard, result: Witnessed) -> None:
    with run.fenced() as session:
        write_checkpoint(run, shard, result)
        if shard.is_closed:
            return
        trust = newest_trust_file(session)
        if trust is not None and trust.content:
            # The note last. A phone that comes in between finds that the note is about another file than
            # the one there is: it keeps what it has and asks again, and a crash is mended by the next run.
            write_changed(run.storage, TRUST_PATH, trust.content)
            write_changed(run.storage, TRUST_NOTE_PATH, trust.note)
        write_changed(run.storage, LOG_POLICY_PATH, policy_file(run, shard.year))


def _move_region_pointers(
    run: Run, shard: LogShard, result: Witnessed, indexes: list[RegionIndex], failures: Failures
) -> None:
    """Each region's proof, which is all that phones follow; then index.json, then the list of old."""
    leaf = entry_at(run.session, shard.year, shard.size - 1)
    run.session.rollback()
    path = path_to_last_leaf(run, shard)
    checkpoint = short_checkpoint(run, shard, result)
    digests = {row.region: bytes.fromhex(row.sha256) for row in indexes}
    for row in indexes:
        if row.region in failures:
            continue
        with failures.kept(row.region):
            extra = encode_region_proof(prove_region(leaf, digests, row.region))
            proof = encode_proof(LogProof(shard.size - 1, path, checkpoint, extra))
            with run.fenced():
                write_changed(run.storage, index_proof_path(row.region), proof)
                index = point_to_index(run.storage, row)
            check_listed(run.storage, index)


def _indexes(run: Run) -> list[RegionIndex]:
    rows = list(run.session.scalars(select(RegionIndex).order_by(RegionIndex.region)))
    run.session.expunge_all()
    run.session.rollback()
    return rows
