"""Part of authorizing: codes for many people from one file, in steps, that can be interrupted anywhere.

The file stays with the official, who gives it again to go on. Its keyed hash finds the job; each row has one
outcome, written in the transaction that makes its code, under the job's lock: so no row gets two codes that
are good. A code lies sealed to the session that made it until the result is fetched. If that session is lost
before, nobody can ever read the code: then the next run ends it and makes another, and the quota is given
back what the lost one took. Must never keep what stood in a row.
"""

import hmac
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Select, delete, exists, or_, select
from sqlalchemy.orm import Session

from registry.errors import Refusal, RefusalCode
from registry.lifecycle.activity import actor_of, record_act
from registry.lifecycle.at_hand import AtHand, keep_at_hand, look_at
from registry.lifecycle.authorize import (
    IssuingPolicy,
    Statement,
    authorize,
    ended_at,
    record_of_code,
)
from registry.lifecycle.inserts import insert_into
from registry.lifecycle.quota import hold_quotas, refund_one
from registry.models import Authorization, BulkJob, BulkRow, CodeAtHand, VerificationCode
from registry.protocol.activity import ActKind
from registry.protocol.intervals import utc_date

ISSUED = "issued"
JOB_DAYS = 7
"""After which a job is forgotten; its codes have ended long before."""
_FILE_LABEL = b"exposure-registry/bulk-file\0"
_SEAL_LABEL = b"exposure-registry bulk row"


@dataclass(frozen=True, slots=True)
class Worker:
    """Who works on a job: `secret` is that of the session, as for codes at hand."""

    authority_id: str
    official_id: str
    secret: bytes = field(repr=False)

    @property
    def mark(self) -> bytes:
        """By which rows are known whose codes lie sealed to this session; leads to no secret."""
        return hmac.digest(self.secret, _SEAL_LABEL, "sha256")[:16]

    @property
    def actor(self) -> str:
        """As acts name them."""
        return actor_of(official_id=self.official_id, api_key_hash=None, authority_id=self.authority_id)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, for one session."""

    job: BulkJob
    issued: int
    """Rows with a code that was handed out or can be."""
    failed: int
    lost: int
    """Rows whose code nobody has seen nor can see any more: the same file again makes new ones."""
    to_fetch: int
    """Of the issued, those whose code lies at hand for this session."""
    unfetched: int
    """Of these, those that were not fetched yet."""

    @property
    def done(self) -> int:
        """Rows that need nothing more."""
        return self.issued + self.failed

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to issue."""
        return self.done == self.job.row_count


@dataclass(frozen=True, slots=True)
class ResultRow:
    """A line of the result. `at_hand` is none for what this session cannot see."""

    row: int
    outcome: str
    at_hand: AtHand | None
    expires_at: int | None
    authorization_id: str | None


def begin_job(
    session: Session,
    content: bytes,
    row_count: int,
    *,
    once: str,
    is_other: bool,
    worker: Worker,
    lookup_key: bytes,
    now: float,
) -> tuple[str, bool]:
    """The job's id for a file of these bytes, and whether it was begun before; in the caller's transaction.

    `is_other`: it is of other people than the same file before, and a job of its own. `once` (36 characters,
    unguessable) is the opened form's: the same one sent twice begins one job. A new job is on record.
    """
    file_hash = hmac.digest(
        lookup_key, _FILE_LABEL + worker.authority_id.encode() + b"\0" + content, "sha256"
    )
    same_file = select(BulkJob).filter_by(authority_id=worker.authority_id, file_hash=file_hash)
    newest = session.scalar(same_file.order_by(BulkJob.number.desc()).limit(1))
    by_this_form = session.get(BulkJob, once)
    if by_this_form is not None and by_this_form.file_hash == file_hash:
        return by_this_form.id, True
    if newest is not None and not is_other:
        return newest.id, True
    job_id = session.scalar(
        insert_into(session, BulkJob)
        .values(
            id=once if by_this_form is None else str(uuid.uuid4()),
            authority_id=worker.authority_id,
            begun_by=worker.official_id,
            file_hash=file_hash,
            number=1 if newest is None else newest.number + 1,
            row_count=row_count,
            begun_on=utc_date(now),
        )
        .on_conflict_do_nothing()
        .returning(BulkJob.id)
    )
    if job_id is None:
        # Somebody began it a moment ago.
        return session.scalars(same_file.order_by(BulkJob.number.desc()).limit(1)).one().id, True
    record_act(
        session,
        chain=worker.authority_id,
        kind=ActKind.BULK_BEGUN,
        actor=worker.actor,
        detail={"job": job_id, "rows": row_count},
        now=now,
    )
    return job_id, False


def take_over_job(session: Session, job_id: str, worker: Worker) -> None:
    """Let this session be the one that works on the job from now on, in the caller's transaction.

    Any other that is at it stops at its next step: two would end each other's codes by turns.
    """
    job = locked_job(session, job_id, worker.authority_id)
    if job is not None:
        job.worked_by = worker.mark


def issue_rows(
    session: Session,
    job_id: str,
    statements: Mapping[int, Statement],
    *,
    worker: Worker,
    lookup_key: bytes,
    policy: IssuingPolicy,
    most: int,
    now: float,
) -> bool:
    """Issue for up to `most` of these rows that need it, in the caller's transaction; whether to go on.

    False: no row is left, another session took the job over, or no code of the day's quota is left. A refusal
    for another reason is that row's outcome. Keep `most` small: nobody else issues until the commit.
    """
    job = locked_job(session, job_id, worker.authority_id)
    if job is None or job.worked_by != worker.mark:
        return False
    lost = set(session.scalars(_lost(job_id, worker.mark, now)))
    known = set(session.scalars(select(BulkRow.row).filter_by(job_id=job_id)))
    wanted = [row for row in sorted(statements) if row not in known or row in lost]
    held = _hold(session, job_id, [row for row in wanted[:most] if row in lost], worker, now)
    for number in wanted[:most]:
        is_known = number in known
        row = session.get_one(BulkRow, (job_id, number)) if is_known else BulkRow(job_id=job_id, row=number)
        lost_code = held.get(number)
        try:
            with session.begin_nested():
                if lost_code is not None:
                    # Before the new one is taken, so that a full quota does not keep it away.
                    refund_one(session, lost_code[1])
                _issue(
                    session,
                    row,
                    statements[number],
                    worker=worker,
                    lookup_key=lookup_key,
                    policy=policy,
                    now=now,
                )
                if lost_code is not None and lost_code[0].expires_at > now:
                    _end(session, [lost_code[0]], worker, now)
        except Refusal as refusal:
            if refusal.code in {RefusalCode.QUOTA_EXCEEDED, RefusalCode.MAINTENANCE_MODE}:
                # No fault of the row's: the same file goes on once there are codes again.
                return False
            if lost_code is not None:
                # What was undone with the row: nobody has that code, and none comes in its place.
                refund_one(session, lost_code[1])
                if lost_code[0].expires_at > now:
                    _end(session, [lost_code[0]], worker, now)
            row.outcome, row.code_uuid, row.sealed_for, row.handed_out = refusal.code.value, None, None, False
            session.add(row)
            session.flush()
    return len(wanted) > most


def locked_job(session: Session, job_id: str, authority_id: str) -> BulkJob | None:
    """The job, which nobody else works on until the caller's transaction ends."""
    return session.scalar(select(BulkJob).filter_by(id=job_id, authority_id=authority_id).with_for_update())


def progress_of(session: Session, job_id: str, *, worker: Worker, now: float) -> Progress | None:
    """How far the authority's job is; none for one that is not there."""
    job = session.scalar(select(BulkJob).filter_by(id=job_id, authority_id=worker.authority_id))
    if job is None:
        return None
    rows = session.execute(select(BulkRow.outcome, BulkRow.handed_out).filter_by(job_id=job_id)).all()
    lost = len(session.scalars(_lost(job_id, worker.mark, now)).all())
    here = session.execute(
        select(BulkRow.handed_out).where(
            BulkRow.job_id == job_id, BulkRow.sealed_for == worker.mark, _is_at_hand(now)
        )
    ).all()
    issued = sum(row.outcome == ISSUED for row in rows)
    return Progress(
        job=job,
        issued=issued - lost,
        failed=len(rows) - issued,
        lost=lost,
        to_fetch=len(here),
        unfetched=sum(not row.handed_out for row in here),
    )


def jobs_of(session: Session, authority_id: str) -> Sequence[BulkJob]:
    """All jobs of the authority that are not forgotten yet, the newest days' first."""
    return session.scalars(
        select(BulkJob).filter_by(authority_id=authority_id).order_by(BulkJob.begun_on.desc(), BulkJob.id)
    ).all()


def fetch_result(session: Session, job_id: str, *, worker: Worker, now: float) -> list[ResultRow]:
    """The job's rows with the codes that lie at hand for this session, which count as handed out from now on.

    In the caller's transaction. As long as they lie at hand they can be fetched again.
    """
    job = locked_job(session, job_id, worker.authority_id)
    if job is None:
        return []
    found = session.execute(
        select(BulkRow, VerificationCode.expires_at, VerificationCode.authorization_id)
        .outerjoin(VerificationCode, VerificationCode.uuid == BulkRow.code_uuid)
        .where(BulkRow.job_id == job_id)
        .order_by(BulkRow.row)
    ).all()
    results = []
    for row, expires_at, authorization_id in found:
        at_hand = None
        if row.code_uuid is not None and row.sealed_for == worker.mark:
            at_hand = look_at(session, row.code_uuid, worker.secret, now)
            row.handed_out = row.handed_out or at_hand is not None
        results.append(ResultRow(row.row, row.outcome, at_hand, expires_at, authorization_id))
    session.flush()
    return results


def take_back_job(session: Session, job_id: str, *, worker: Worker, now: float) -> int:
    """End every code of the job that is not over and forget the job, so that the file can be given anew.

    How many ended. In the caller's transaction, each on record. What a phone has used stays used, and is for
    a recall.
    """
    job = locked_job(session, job_id, worker.authority_id)
    if job is None:
        return 0
    codes = session.scalars(
        select(VerificationCode)
        .join(BulkRow, BulkRow.code_uuid == VerificationCode.uuid)
        .where(BulkRow.job_id == job_id, VerificationCode.expires_at > now)
        .order_by(VerificationCode.uuid)
        .with_for_update(of=VerificationCode)
    ).all()
    session.execute(delete(BulkRow).where(BulkRow.job_id == job_id))
    session.delete(job)
    _end(session, codes, worker, now)
    return len(codes)


def retire_jobs(session: Session, now: float) -> int:
    """Forget jobs after `JOB_DAYS`; how many."""
    over = [
        job.id for job in session.scalars(select(BulkJob)) if (utc_date(now) - job.begun_on).days > JOB_DAYS
    ]
    for job_id in over:
        session.execute(delete(BulkRow).where(BulkRow.job_id == job_id))
        session.execute(delete(BulkJob).where(BulkJob.id == job_id))
    return len(over)


def _issue(
    session: Session,
    row: BulkRow,
    statement: Statement,
    *,
    worker: Worker,
    lookup_key: bytes,
    policy: IssuingPolicy,
    now: float,
) -> None:
    issued = authorize(
        session,
        statement,
        authority_id=worker.authority_id,
        lookup_key=lookup_key,
        policy=policy,
        now=now,
    )
    keep_at_hand(session, issued, worker.secret, now)
    row.outcome, row.code_uuid, row.sealed_for = ISSUED, issued.uuid, worker.mark
    row.handed_out = False
    session.add(row)
    session.flush()


def _is_at_hand(now: float) -> ColumnElement[bool]:
    return exists().where(CodeAtHand.code_uuid == BulkRow.code_uuid, CodeAtHand.expires_at > now)


def _lost(job_id: str, mark: bytes, now: float) -> Select[int]:
    """Rows whose code was never handed out, and lies at hand for this session no more."""
    return select(BulkRow.row).where(
        BulkRow.job_id == job_id,
        BulkRow.outcome == ISSUED,
        BulkRow.handed_out.is_(False),
        or_(BulkRow.sealed_for != mark, ~_is_at_hand(now)),
    )


def _hold(
    session: Session, job_id: str, rows: Sequence[int], worker: Worker, now: float
) -> dict[int, tuple[VerificationCode, Authorization]]:
    """The codes of these rows that are not forgotten, and their statements, by row: all that is changed of
    them locked before anything else is, in one order, so that no two transactions wait for each other."""
    found = session.execute(
        select(BulkRow.row, VerificationCode, Authorization)
        .join(VerificationCode, VerificationCode.uuid == BulkRow.code_uuid)
        .join(Authorization, Authorization.id == VerificationCode.authorization_id)
        .where(BulkRow.job_id == job_id, BulkRow.row.in_(rows))
        .order_by(VerificationCode.uuid)
        .with_for_update(of=VerificationCode)
    ).all()
    hold_quotas(session, worker.authority_id, worker.official_id, [row[2] for row in found], now)
    return {row: (code, authorization) for row, code, authorization in found}


def _end(session: Session, codes: Iterable[VerificationCode], worker: Worker, now: float) -> None:
    """End codes, and forget what lies at hand of them; each is an act."""
    for code in codes:
        session.execute(delete(CodeAtHand).where(CodeAtHand.code_uuid == code.uuid))
        code.expires_at = min(code.expires_at, ended_at(now))
        session.flush()
        record_of_code(
            session, ActKind.CODE_EXPIRED, worker.authority_id, worker.actor, code.authorization_id, now
        )
