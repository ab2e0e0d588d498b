"""Which leaves are due, and the one transaction that sequences them with the indexes that go with them.

The last leaf is always the index leaf over all regions: one root fixes what every phone is told. What is
sequenced here stands for ever, so nothing gets in that is not stored and recorded already.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import ConfigurationError, LogForked
from registry.lifecycle.publish.apart import Failures
from registry.lifecycle.publish.listing import next_index
from registry.lifecycle.publish.material import (
    due_trust_file,
    log_keys,
    readable_material,
    says_what_was_said,
)
from registry.lifecycle.publish.policy import PHONES_TOLERATE_SECONDS
from registry.lifecycle.publish.run import Run
from registry.models import Batch, LogKey, LogShard, RegionIndex, TrustFile, Withdrawal
from registry.models.batch import newest_logged_batch, unlogged_batches
from registry.models.log import newest_shard
from registry.protocol.committed import (
    export_key_digest,
    export_key_name,
    note_key_digest,
    withdrawal_reference,
)
from registry.protocol.index import index_path
from registry.protocol.intervals import utc_date
from registry.protocol.leaves import (
    ActivityLeaf,
    BatchLeaf,
    CloseLeaf,
    IndexLeaf,
    KeyLeaf,
    KeyPurpose,
    Leaf,
    OpenLeaf,
    PolicyLeaf,
    WithdrawLeaf,
    decode_leaf,
    encode_leaf,
    regions_root,
)
from registry.protocol.merkle import leaf_hash
from registry.protocol.note import verifier_key
from registry.protocol.trust import TrustMaterial, shard_origin, shard_year
from registry.transparency.sequencing import Appender, entry_at, newest_index_leaf, newest_index_of_log


def check_material(run: Run) -> None:
    """Raises ConfigurationError if the trust material could not be published. Asked before anything is."""
    shard = newest_shard(run.session)
    readable_material(run.session, run, shard.year if shard else utc_date(run.now).year)
    run.session.rollback()


def append_due(run: Run, fresh: Collection[str], failures: Failures) -> bool:
    """Sequence all that is due, with the indexes of the `fresh` regions made anew. False: clock behind.

    A run without a profile issues no trust material. Other regions keep their last index, and their batches
    wait. A crash before the commit leaves nothing of it; after it, leaves that the next run signs before it
    appends others. While `issue_time` has none, nothing is appended at all.
    """
    issued_at = issue_time(run)
    if issued_at is None:
        return False
    earlier = _earlier_indexes(run, {*fresh, *run.regions}, failures)
    # The time that its index leaf will tell decides whose day it is: so monitors count.
    commitment = run.log.acts.due(issued_at) if run.log.acts and run.profile else None
    with run.fenced() as session:
        shard, leaves = _shard_to_append_to(session, run)
        appender = Appender(session, shard)
        places = [appender.add(leaf) for leaf in leaves]
        if run.profile:
            places += _append_material(session, run, appender)
        places += _append_withdrawals(session, appender)
        places += _append_batches(session, appender, sorted(fresh))
        anchored = _append_anchor(appender, commitment, utc_date(issued_at))
        _append_index(session, run, appender, fresh, earlier, issued_at, is_due=bool(places or anchored))
        anchor, anchor_number, year = shard.anchor, shard.anchor_number, shard.year
    if commitment is not None and run.log.acts and anchor_number is not None:
        # A crash before this line: the commitment comes again, is found in the shard and only marked.
        if commitment == anchor:
            run.log.acts.logged(issued_at, year, anchor_number)
        else:
            run.log.acts.passed_over(issued_at, year, anchor_number)
    return True


def issue_time(run: Run) -> int | None:
    """When an index leaf that is made now says that it was issued: never before the one that precedes it.

    So a clock that was corrected by a little writes no leaf that monitors would fault for ever. None if the
    clock is behind that leaf by more than phones tolerate: then one of the two times is badly wrong, and
    nothing may be appended until the clock has caught up.
    """
    newest = newest_index_of_log(run.session)
    run.session.rollback()
    before = newest.issued_at if newest is not None else 0
    if before > run.now + PHONES_TOLERATE_SECONDS:
        return None
    return max(int(run.now), before)


def close_shard(run: Run, year: int) -> None:
    """Sequence the close leaf that leads to the shard of `year`. All before it must be signed already."""
    with run.fenced() as session:
        shard = newest_shard(session)
        if shard is not None and not shard.is_closed:
            Appender(session, shard).add(CloseLeaf(shard_origin(run.log.origin, year)))


def _shard_to_append_to(session: Session, run: Run) -> tuple[LogShard, list[Leaf]]:
    """The open shard, made if there is none, and the leaves that it begins with."""
    shard = newest_shard(session)
    if shard is not None and not shard.is_closed:
        return shard, []
    leaves: list[Leaf] = []
    year = utc_date(run.now).year
    if shard is not None:
        close = decode_leaf(entry_at(session, shard.year, shard.size - 1))
        if not isinstance(close, CloseLeaf):
            raise LogForked(f"the shard {shard.origin} is closed, but its last leaf does not say so")
        year = shard_year(run.log.origin, close.next_origin)
        leaves = [OpenLeaf(shard.origin, shard.size, shard.root)]
    opened = LogShard(year=year, origin=shard_origin(run.log.origin, year))
    session.add(opened)
    session.flush()
    return opened, leaves


def _append_material(session: Session, run: Run, appender: Appender) -> list[int]:
    trust = readable_material(session, run, appender.shard.year)
    places = [appender.add(leaf) for leaf in _due_key_leaves(session, run, appender.shard, trust)]
    due = due_trust_file(session, run, trust)
    if due is not None:
        previous = None if due.sequence == 1 else _previous_digest(session, due.sequence)
        if run.log.acts and not says_what_was_said(session, trust):
            # The act first: no policy is shown that is not on record. The same number is recorded once.
            run.log.acts.policy_changed(run.now, due.sequence)
        places.append(appender.add(PolicyLeaf(due.sequence, due.digest, previous)))
        session.add(due)
    return places


def _previous_digest(session: Session, sequence: int) -> bytes:
    return session.get_one(TrustFile, sequence - 1).digest


def _due_key_leaves(session: Session, run: Run, shard: LogShard, trust: TrustMaterial) -> list[KeyLeaf]:
    """A leaf for each key that came into the trust material or signs no more, by what was logged before."""
    present: dict[tuple[KeyPurpose, str, bytes], None] = {}
    for key in log_keys(run, shard.year):
        present["log", key.name, note_key_digest(key)] = None
    root = verifier_key(run.log.trust_signer)
    present["trust", root.name, note_key_digest(root)] = None
    for export_key in trust.export_signing_keys:
        name = export_key_name(export_key.key_id, export_key.key_version)
        present["export", name, export_key_digest(export_key.public_key_pem)] = None
    logged = {
        (cast("KeyPurpose", row.purpose), row.name, row.sha256): row
        for row in session.scalars(select(LogKey))
    }
    leaves: list[KeyLeaf] = []
    for identity in present:
        row = logged.get(identity)
        if row is None or row.is_retired:
            leaves.append(KeyLeaf("added", *identity))
            session.merge(LogKey(purpose=identity[0], name=identity[1], sha256=identity[2], is_retired=False))
    for identity, row in sorted(logged.items()):
        if not row.is_retired and identity not in present:
            if identity[:2] == ("log", shard.origin):
                raise ConfigurationError(
                    f"the log keys of {shard.year} at hand are not those that {shard.origin} was begun with"
                )
            leaves.append(KeyLeaf("retired", *identity))
            row.is_retired = True
    return leaves


def _append_withdrawals(session: Session, appender: Appender) -> list[int]:
    places = []
    due = select(Withdrawal).where(Withdrawal.log_number.is_(None))
    for row in session.scalars(due.order_by(Withdrawal.region, Withdrawal.sequence)):
        reference = withdrawal_reference(row.salt, row.reference)
        row.log_number = appender.add(WithdrawLeaf(row.region, row.sequence, row.reason, reference))
        row.log_year = appender.shard.year
        places.append(row.log_number)
    return places


def _append_batches(session: Session, appender: Appender, regions: Sequence[str]) -> list[int]:
    # All is read before anything is written: one flush then serves all regions.
    due = {region: unlogged_batches(session, region) for region in regions}
    newest = {region: _newest_leaf_hash(session, region) for region, batches in due.items() if batches}
    places = []
    for region, batches in due.items():
        for batch in batches:
            leaf = _batch_leaf(batch, newest[region])
            batch.log_year, batch.log_number = appender.shard.year, appender.add(leaf)
            places.append(batch.log_number)
            newest[region] = leaf_hash(encode_leaf(leaf))
    return places


def _newest_leaf_hash(session: Session, region: str) -> bytes | None:
    """Of the leaf that the region's next batch goes on from; None for its first."""
    newest = newest_logged_batch(session, region)
    if newest is None or newest.log_year is None or newest.log_number is None:
        return None
    return leaf_hash(entry_at(session, newest.log_year, newest.log_number))


def _batch_leaf(batch: Batch, previous: bytes | None) -> BatchLeaf:
    if batch.manifest_sha256 is None:
        raise LogForked(f"window {batch.sequence} of {batch.region} has no manifest that a leaf could name")
    return BatchLeaf(
        region=batch.region,
        sequence=batch.sequence,
        window_start=batch.window_start,
        window_end=batch.window_end,
        manifest=batch.manifest_sha256,
        previous=previous,
    )


def _append_anchor(appender: Appender, commitment: bytes | None, day: date) -> bool:
    """Whether a leaf was appended; not when the shard has this commitment already, or another of this day.

    Another is there if the acts' database was set back since: a day has one anchor, whatever becomes of it.
    """
    shard = appender.shard
    if commitment is None or commitment == shard.anchor or day == shard.anchor_day:
        return False
    shard.anchor, shard.anchor_number = commitment, appender.add(ActivityLeaf(commitment))
    shard.anchor_day = day
    return True


def _earlier_indexes(run: Run, regions: Collection[str], failures: Failures) -> dict[str, bytes]:
    """What a release without a log published in regions that no index leaf has covered yet."""
    covered = set(run.session.scalars(select(RegionIndex.region)))
    run.session.rollback()
    found: dict[str, bytes] = {}
    for region in sorted(set(regions) - covered):
        with failures.kept(region):
            content = run.storage.read(index_path(region))
            if content is not None:
                found[region] = content
    return found


def _append_index(
    session: Session,
    run: Run,
    appender: Appender,
    fresh: Collection[str],
    earlier: Mapping[str, bytes],
    issued_at: int,
    *,
    is_due: bool,
) -> None:
    """The index leaf, if there is anything new above it or in the indexes themselves."""
    rows = {row.region: row for row in session.scalars(select(RegionIndex))}
    made: dict[str, RegionIndex] = {}
    for region in sorted({*fresh, *run.regions}):
        row = rows.get(region)
        if region in fresh or row is None:
            index = next_index(session, run, region, row, earlier=earlier.get(region))
            if index is not None:
                made[region] = index
    rows |= {region: session.merge(row) for region, row in made.items()}
    digests = {region: bytes.fromhex(row.sha256) for region, row in rows.items()}
    if not digests:
        return
    before = newest_index_leaf(session, appender.shard)
    root = regions_root(digests)
    if is_due or before is None or before.root != root:
        appender.add(IndexLeaf(issued_at, len(digests), root, appender.shard.index_number))
