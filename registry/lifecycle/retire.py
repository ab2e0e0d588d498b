"""Last step: forget what its time has come for, rows and files both, each half by itself.

Keys go first and wait for nothing else; files go region by region, and trouble in one does not hold up the
others. Anything may be cut off half way and run again: a file leaves the index before it is deleted, it is
deleted before its row is, and a row that points to another goes first. Nothing here decides by when a row
came, only by the times that the thing itself carries.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, delete, exists, func, or_, select
from sqlalchemy.orm import Session

from registry.errors import Malformed
from registry.lifecycle.publish.apart import Failures
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
)
from registry.models.lease import fenced, leased
from registry.protocol.index import EXPOSURES, decode_index, index_digest_path, index_path
from registry.protocol.intervals import interval_at, seconds_at, utc_date
from registry.storage import Storage

CODE_SECONDS_AFTER_EXPIRY = 48 * 3600
ACT_DAYS = 365
"""How long it stays on record that an official stated something."""


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


@dataclass(frozen=True, slots=True)
class _Run:
    session: Session
    storage: Storage
    policy: PublicationPolicy
    fence: int
    now: float
    gone: Counter[str]
    """By the names of `RetiredCollecting`."""

    def fenced(self) -> AbstractContextManager[Session]:
        return fenced(self.session, PUBLISH_LEASE, self.fence)


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
    new_session: Callable[[], Session],
    storage: Storage,
    *,
    policy: PublicationPolicy,
    now: float,
    holder: str,
) -> RetiredCollecting:
    """Files, keys, batches, superseded indexes, answers and chaff whose time has come at `now`.

    A file leaves the index when its newest key ended `retention_days` - 1 days ago and is deleted a day
    later; a key goes `retention_days` after its own end, published or not. Holds the publisher's lease, for
    both write the index, under the name `holder`: no two that run at once may share one. Raises LeaseLost;
    and, after all else is done, PublishingFailed with the outcome and what held which region up.
    """
    with (
        new_session() as session,
        leased(session, PUBLISH_LEASE, holder, now, policy.lease_seconds) as fence,
    ):
        if fence is None:
            return RetiredCollecting(busy=True)
        run = _Run(session, storage, policy, fence, now, Counter())
        # 1. What only the database knows, at once, and whatever state the public files are in.
        with run.fenced():
            keys = _retire_keys(session, policy, now)
            answers = _delete(
                session,
                delete(CollectedAnswer).where(CollectedAnswer.expires_at_interval <= interval_at(now)),
            )
            chaff = _delete(session, delete(CollectingChaff))
            regions = session.scalars(select(Batch.region).distinct().order_by(Batch.region)).all()
        # 2. What is public, region by region.
        failures = Failures(session)
        for region in regions:
            with failures.kept(region):
                _retire_region(run, region)
        return failures.tell(
            RetiredCollecting(
                files=run.gone["files"],
                indexes=run.gone["indexes"],
                keys=keys,
                batches=run.gone["batches"],
                answers=answers,
                chaff=chaff,
            )
        )


def _retire_region(run: _Run, region: str) -> None:
    # 1. Out of the index. A crash after this leaves files that nobody is told of; the next run goes on.
    _write_index(run, region)
    # 2. Files, then their rows. A crash between leaves rows without files, to which the next run comes back.
    _retire_files(run, region)
    # 3. Batches that nothing is left of.
    with run.fenced() as session:
        batches = _retire_batches(session, region, run.policy, run.now)
    run.gone["batches"] += batches
    # 4. The index once more, for the windows that went with their batches, then what it has replaced.
    _write_index(run, region)
    _retire_indexes(run, region)


def _write_index(run: _Run, region: str) -> None:
    with run.fenced() as session:
        write_index(session, run.storage, region, policy=run.policy, now=run.now)


def _retire_files(run: _Run, region: str) -> None:
    old_batches = select(Batch.id).where(
        Batch.region == region,
        Batch.state == BatchState.PUBLISHED,
        Batch.newest_key_end <= run.policy.last_end_retired(run.now),
    )
    of_old_batches = ExportFile.batch_id.in_(old_batches)
    paths = run.session.scalars(select(ExportFile.path).where(of_old_batches)).all()
    run.session.rollback()  # no transaction stays open while files are deleted
    for path in paths:
        run.storage.delete(f"{EXPOSURES}/{path}")
    with run.fenced() as session:
        # No batch became old meanwhile: that goes by `now`, and whoever holds the lease seals no others.
        files = _delete(session, delete(ExportFile).where(of_old_batches))
    run.gone["files"] += files


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


def _retire_batches(session: Session, region: str, policy: PublicationPolicy, now: float) -> int:
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
    newest = select(func.max(Batch.sequence)).where(Batch.region == region)
    first_to_stay = session.scalar(
        select(func.min(Batch.sequence)).where(
            Batch.region == region, or_(must_stay, Batch.sequence == newest.scalar_subquery())
        )
    )
    return _delete(session, delete(Batch).where(Batch.region == region, Batch.sequence < first_to_stay))


def _retire_indexes(run: _Run, region: str) -> None:
    """Indexes kept under their digests, once they have expired. Never the one that index.json shows."""
    folder = index_digest_path(region, "0" * 64).rpartition("/")[0]
    names = run.storage.names(f"{folder}/")
    # Read after the names: an index that became current since is none of them.
    current = run.storage.read(index_path(region))
    kept = None if current is None else index_digest_path(region, sha256(current).hexdigest())
    for name in names:
        if name != kept and _has_expired(run.storage.read(name), run.now):
            run.storage.delete(name)
            run.gone["indexes"] += 1


def _has_expired(index: bytes | None, now: float) -> bool:
    """An index that cannot be read is of no use to anybody, so it counts as expired."""
    try:
        return index is not None and decode_index(index).expires_at <= now
    except Malformed:
        return True


def _delete(session: Session, statement: Delete) -> int:
    done = session.execute(statement.execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", done).rowcount
