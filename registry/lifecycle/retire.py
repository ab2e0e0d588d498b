"""Last step: forget what its time has come for, rows and files both, each half by itself.

Anything may be cut off half way and run again: a file leaves the index before it is deleted, it is deleted
before its row is, and a row that points to another goes first. Nothing here decides by when a row came,
only by the times that the thing itself carries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from registry.errors import Malformed
from registry.lifecycle.publish.listing import write_index
from registry.lifecycle.publish.policy import PUBLISH_LEASE, PublicationPolicy
from registry.models import (
    Authorization,
    Batch,
    BatchState,
    CollectedAnswer,
    CollectingChaff,
    DiagnosisKey,
    ExportFile,
    IssuedAnswer,
    IssuingChaff,
    KeyRelease,
    PortalSession,
    SignInLink,
    VerificationCode,
    VerificationToken,
    transaction,
)
from registry.models.lease import fenced, release_lease, take_lease
from registry.protocol.index import EXPOSURES, decode_index, index_digest_path, index_path
from registry.protocol.intervals import interval_at, seconds_at, utc_date
from registry.storage import Storage

CODE_SECONDS_AFTER_EXPIRY = 48 * 3600
ACT_DAYS = 365
"""How long it stays on record that an official stated something."""

_HOLDER = "retire"


@dataclass(frozen=True, slots=True)
class RetiredIssuing:
    """How many of each are gone."""

    codes: int
    tokens: int
    answers: int
    sign_in_links: int
    sessions: int
    authorizations: int
    chaff: int


@dataclass(frozen=True, slots=True)
class RetiredCollecting:
    """How many of each are gone. `busy`: nothing, because a publisher is at work; run it again later."""

    busy: bool = False
    files: int = 0
    indexes: int = 0
    keys: int = 0
    batches: int = 0
    answers: int = 0
    chaff: int = 0


def retire_issuing(session: Session, now: float) -> RetiredIssuing:
    """Codes 48 h after they expired, tokens, answers, links and sessions at once, acts after a year.

    The caller commits.
    """
    codes = _delete(
        session,
        delete(VerificationCode).where(VerificationCode.expires_at <= now - CODE_SECONDS_AFTER_EXPIRY),
    )
    has_code = exists().where(VerificationCode.authorization_id == Authorization.id)
    return RetiredIssuing(
        codes=codes,
        tokens=_delete(session, delete(VerificationToken).where(VerificationToken.expires_at <= now)),
        answers=_delete(session, delete(IssuedAnswer).where(IssuedAnswer.expires_at <= now)),
        sign_in_links=_delete(
            session, delete(SignInLink).where(or_(SignInLink.used, SignInLink.expires_at <= now))
        ),
        sessions=_delete(session, delete(PortalSession).where(PortalSession.expires_at <= now)),
        authorizations=_delete(
            session,
            delete(Authorization).where(
                Authorization.stated_on <= utc_date(now) - timedelta(days=ACT_DAYS), ~has_code
            ),
        ),
        chaff=_delete(session, delete(IssuingChaff)),
    )


def retire_collecting(
    new_session: Callable[[], Session], storage: Storage, *, policy: PublicationPolicy, now: float
) -> RetiredCollecting:
    """Files, keys, batches, superseded indexes, answers and chaff whose time has come at `now`.

    A file leaves the index when its newest key ended `retention_days` - 1 days ago and is deleted a day
    later; a key goes `retention_days` after its own end, published or not. Holds the publisher's lease, for
    both write the index. Raises LeaseLost or StorageConflict, as `publish_due`.
    """
    with new_session() as session:
        with transaction(session):
            fence = take_lease(session, PUBLISH_LEASE, _HOLDER, now, policy.lease_seconds)
        if fence is None:
            return RetiredCollecting(busy=True)
        try:
            return _retire_collecting(session, storage, policy, fence, now)
        finally:
            with transaction(session):
                release_lease(session, PUBLISH_LEASE, fence, now)


def _retire_collecting(
    session: Session, storage: Storage, policy: PublicationPolicy, fence: int, now: float
) -> RetiredCollecting:
    # 1. Out of the index. A crash after this leaves files that nobody is told of; the next run goes on.
    regions = _write_indexes(session, storage, policy, fence, now)
    # 2. Files, then their rows. A crash between leaves rows without files, to which the next run comes back.
    files = _retire_files(session, storage, policy, fence, now)
    # 3. Everything that only the database knows, at once.
    with fenced(session, PUBLISH_LEASE, fence, now):
        keys = _retire_keys(session, policy, now)
        batches = _retire_batches(session, policy, now)
        answers = _delete(
            session, delete(CollectedAnswer).where(CollectedAnswer.expires_at_interval <= interval_at(now))
        )
        chaff = _delete(session, delete(CollectingChaff))
    # 4. The index once more, for the windows that went with their batches, then what it has replaced.
    _write_indexes(session, storage, policy, fence, now)
    indexes = sum(_retire_indexes(storage, region, now) for region in regions)
    return RetiredCollecting(
        files=files, indexes=indexes, keys=keys, batches=batches, answers=answers, chaff=chaff
    )


def _write_indexes(
    session: Session, storage: Storage, policy: PublicationPolicy, fence: int, now: float
) -> list[str]:
    with fenced(session, PUBLISH_LEASE, fence, now):
        regions = list(session.scalars(select(Batch.region).distinct().order_by(Batch.region)))
        for region in regions:
            write_index(session, storage, region, policy=policy, now=now)
    return regions


def _retire_files(
    session: Session, storage: Storage, policy: PublicationPolicy, fence: int, now: float
) -> int:
    old_batches = select(Batch.id).where(
        Batch.state == BatchState.PUBLISHED, Batch.newest_key_end <= policy.last_end_retired(now)
    )
    of_old_batches = ExportFile.batch_id.in_(old_batches)
    paths = list(session.scalars(select(ExportFile.path).where(of_old_batches)))
    session.rollback()  # no transaction stays open while files are deleted
    for path in paths:
        storage.delete(f"{EXPOSURES}/{path}")
    with fenced(session, PUBLISH_LEASE, fence, now):
        # No batch became old meanwhile: that goes by `now`, and whoever holds the lease seals no others.
        return _delete(session, delete(ExportFile).where(of_old_batches))


def _retire_keys(session: Session, policy: PublicationPolicy, now: float) -> int:
    """Keys and, by the foreign key's cascade, their releases. Not those of a sealed batch, whose file is
    still to be made of them.
    """
    in_sealed = select(KeyRelease.key_data).join(Batch).where(Batch.state == BatchState.SEALED)
    return _delete(
        session,
        delete(DiagnosisKey).where(
            DiagnosisKey.end_interval_number <= policy.last_end_retired(now),
            DiagnosisKey.key_data.not_in(in_sealed),
        ),
    )


def _retire_batches(session: Session, policy: PublicationPolicy, now: float) -> int:
    """Old batches without files and keys, from the oldest on up to the first that must stay.

    A region's newest batch always stays, for windows and sequence go on from it, and so does all that
    follows one that stays: the index has no gaps.
    """
    too_young = Batch.window_end > seconds_at(policy.last_end_retired(now))
    must_stay = or_(
        too_young,
        Batch.state == BatchState.SEALED,
        exists().where(ExportFile.batch_id == Batch.id),
        exists().where(KeyRelease.batch_id == Batch.id),
    )
    retired = 0
    for region, newest in session.execute(
        select(Batch.region, func.max(Batch.sequence)).group_by(Batch.region)
    ).all():
        first_to_stay = session.scalar(
            select(func.min(Batch.sequence)).where(Batch.region == region, must_stay)
        )
        end = newest if first_to_stay is None else min(first_to_stay, newest)
        retired += _delete(session, delete(Batch).where(Batch.region == region, Batch.sequence < end))
    return retired


def _retire_indexes(storage: Storage, region: str, now: float) -> int:
    """Indexes kept under their digests, once they have expired. Never the one that index.json shows."""
    folder = index_digest_path(region, "0" * 64).rpartition("/")[0]
    names = storage.names(f"{folder}/")
    # Read after the names: an index that became current since is none of them.
    current = storage.read(index_path(region))
    kept = None if current is None else index_digest_path(region, sha256(current).hexdigest())
    expired = [name for name in names if name != kept and _has_expired(storage.read(name), now)]
    for name in expired:
        storage.delete(name)
    return len(expired)


def _has_expired(index: bytes | None, now: float) -> bool:
    """An index that cannot be read is of no use to anybody, so it counts as expired."""
    try:
        return index is not None and decode_index(index).expires_at <= now
    except Malformed:
        return True


def _delete(session: Session, statement: Delete) -> int:
    done = session.execute(statement.execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", done).rowcount
