"""Last step: forget what its time has come for, rows and files both, each half by itself.

Keys go first and wait for nothing else; files go region by region, and trouble in one does not hold up the
others. Anything may be cut off half way and run again: a file leaves the index before it is deleted, it is
deleted before its row is, and a row that points to another goes first. Nothing here decides by when a row
came, only by the times that the thing itself carries.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, delete, exists, or_, select, update
from sqlalchemy.orm import Session, aliased

from registry.lifecycle.bulk import retire_jobs
from registry.lifecycle.forecast import HISTORY_DAYS
from registry.lifecycle.publish.advancing import advance, resume
from registry.lifecycle.publish.apart import Failures
from registry.lifecycle.publish.appending import append_due
from registry.lifecycle.publish.key_days import drop_due_days, held_shelves, is_on
from registry.lifecycle.publish.policy import PUBLISH_LEASE, PublicationPolicy
from registry.lifecycle.publish.recovery import check_not_set_back
from registry.lifecycle.publish.removal import (
    delete_rows,
    remove_batches,
    remove_days,
    remove_old,
    remove_old_indexes,
    remove_superseded_tiles,
    remove_unnamed_manifests,
    remove_withdrawn,
)
from registry.lifecycle.publish.run import Run
from registry.lifecycle.self_report import forget_self_reports
from registry.models import (
    ActivityAnchor,
    ActivityEvent,
    Authorization,
    Batch,
    CodeAtHand,
    CollectedAnswer,
    CollectingChaff,
    DiagnosisKey,
    IssuedAnswer,
    IssuingChaff,
    IssuingCount,
    KeyRevision,
    PortalSession,
    PrintedCode,
    QuotaUse,
    RecalledUpload,
    RecallOrder,
    RegionIndex,
    ReleasedFigures,
    SignInLink,
    SmsErrorCount,
    SpentChallenge,
    SurgeRequest,
    UploadFigures,
    VerificationCode,
    VerificationToken,
    WithdrawalLetter,
    WrongCodeCount,
)
from registry.models.diagnosis_key import is_of_key
from registry.models.lease import leased
from registry.protocol.intervals import interval_at, utc_date
from registry.storage import Storage
from registry.transparency.log import TransparencyLog

CODE_SECONDS_AFTER_EXPIRY = 48 * 3600
WRONG_CODE_SECONDS = 48 * 3600
ACT_DAYS = 365
"""How long it stays on record what an official stated and did."""
RECALL_DAYS = 35
"""After a statement: a week for code, token and certificate, and the longest that any key may be kept."""


@dataclass(frozen=True, slots=True)
class RetiredIssuing:
    """How many of each are gone."""

    codes: int
    codes_at_hand: int
    tokens: int
    answers: int
    sign_in_links: int
    sessions: int
    challenges: int
    printed_codes: int
    authorizations: int
    chaff: int
    acts: int
    anchors: int
    counts: int
    recall_orders: int
    recall_handles: int
    letters: int
    quota_days: int
    surges: int
    bulk_jobs: int
    self_reports: int
    wrong_code_counts: int
    figures: int


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
    recall_marks: int = 0
    figures: int = 0


def retire_issuing(session: Session, now: float) -> RetiredIssuing:
    """Codes 48 h after they expired, and how many wrong ones an hour had as long after it; what lies at hand,
    tokens, answers, links and sessions at once; after a year what officials stated and did, orders to recall
    and requests for more codes among it, the anchors of it, the counts and figures; sealed handles and
    letters of withdrawal after `RECALL_DAYS`, what quotas go by after `HISTORY_DAYS`, jobs from files after
    their week; who reported themselves, once the day is over.

    The caller commits.
    """
    last_day = utc_date(now) - timedelta(days=ACT_DAYS)
    at_hand = delete_rows(session, delete(CodeAtHand).where(CodeAtHand.expires_at <= now))
    codes = delete_rows(
        session,
        delete(VerificationCode).where(VerificationCode.expires_at <= now - CODE_SECONDS_AFTER_EXPIRY),
    )
    letters = _retire_letters(session, utc_date(now) - timedelta(days=RECALL_DAYS))
    has_code = exists().where(VerificationCode.authorization_id == Authorization.id)
    return RetiredIssuing(
        codes=codes,
        codes_at_hand=at_hand,
        tokens=delete_rows(session, delete(VerificationToken).where(VerificationToken.expires_at <= now)),
        answers=delete_rows(session, delete(IssuedAnswer).where(IssuedAnswer.expires_at <= now)),
        sign_in_links=delete_rows(
            session, delete(SignInLink).where(or_(SignInLink.used, SignInLink.expires_at <= now))
        ),
        sessions=delete_rows(session, delete(PortalSession).where(PortalSession.expires_at <= now)),
        challenges=delete_rows(session, delete(SpentChallenge).where(SpentChallenge.expires_at <= now)),
        printed_codes=delete_rows(session, delete(PrintedCode).where(PrintedCode.expires_at <= now)),
        authorizations=delete_rows(
            session,
            delete(Authorization).where(Authorization.stated_on <= last_day, ~has_code),
        ),
        chaff=delete_rows(session, delete(IssuingChaff)),
        acts=_retire_acts(session, last_day),
        anchors=delete_rows(session, delete(ActivityAnchor).where(ActivityAnchor.day <= last_day)),
        counts=delete_rows(session, delete(IssuingCount).where(IssuingCount.day <= last_day)),
        recall_orders=delete_rows(session, delete(RecallOrder).where(RecallOrder.asked_on <= last_day)),
        letters=letters,
        wrong_code_counts=delete_rows(
            session, delete(WrongCodeCount).where(WrongCodeCount.hour <= now - WRONG_CODE_SECONDS)
        ),
        recall_handles=_forget_handles(session, utc_date(now) - timedelta(days=RECALL_DAYS)),
        quota_days=delete_rows(
            session, delete(QuotaUse).where(QuotaUse.day < utc_date(now) - timedelta(days=HISTORY_DAYS))
        ),
        bulk_jobs=retire_jobs(session, now),
        surges=delete_rows(session, delete(SurgeRequest).where(SurgeRequest.day <= last_day)),
        self_reports=forget_self_reports(session, now),
        figures=delete_rows(session, delete(ReleasedFigures).where(ReleasedFigures.day <= last_day))
        + delete_rows(session, delete(SmsErrorCount).where(SmsErrorCount.day <= last_day)),
    )


def _retire_letters(session: Session, last_day: date) -> int:
    """Letters of statements so old that no key of theirs can be left."""
    old = select(Authorization.id).where(Authorization.stated_on <= last_day)
    return delete_rows(session, delete(WithdrawalLetter).where(WithdrawalLetter.authorization_id.in_(old)))


def _forget_handles(session: Session, last_day: date) -> int:
    """Sealed handles of statements so old that no key of theirs can be left, which none needs any more."""
    statement = (
        update(Authorization)
        .where(Authorization.stated_on <= last_day, Authorization.recall_sealed.is_not(None))
        .values(recall_sealed=None)
        .execution_options(synchronize_session=False)
    )
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


def _retire_acts(session: Session, last_day: date) -> int:
    """Acts of each chain, from the oldest on up to the first that must stay: a chain has no gaps.

    The clock may have gone back between two acts. The chain's head is kept apart and stays.
    """
    before = aliased(ActivityEvent)
    stays = exists().where(
        before.chain == ActivityEvent.chain,
        before.number < ActivityEvent.number,
        before.day > last_day,
    )
    return delete_rows(session, delete(ActivityEvent).where(ActivityEvent.day <= last_day, ~stays))


def retire_collecting(
    new_session: Callable[[], Session],
    storage: Storage,
    *,
    policy: PublicationPolicy,
    log: TransparencyLog,
    now: float,
    holder: str,
) -> RetiredCollecting:
    """Files, keys, batches, receipts, superseded indexes and tiles, answers and chaff whose time has come.

    A file leaves the index when its newest key ended `retention_days` - 1 days ago and is deleted a day
    later; a key goes `retention_days` after its own end, published or not. Holds the publisher's lease, for
    both write to the log, under the name `holder`: no two that run at once may share one. Raises LeaseLost;
    and, after all else is done, PublishingFailed with the outcome and what held which region up.
    """
    with (
        new_session() as session,
        leased(session, PUBLISH_LEASE, holder, now, policy.lease_seconds) as fence,
    ):
        if fence is None:
            return RetiredCollecting(busy=True)
        run = Run(session, storage, log, PUBLISH_LEASE, fence, now, policy, None, ())
        # 1. What only the database knows, at once, and whatever state the public files are in.
        held = held_shelves(run)
        keys = drop_due_days(run, held)
        with run.fenced():
            keys += _retire_keys(session, policy, now, held)
            answers = delete_rows(
                session,
                delete(CollectedAnswer).where(CollectedAnswer.expires_at_interval <= interval_at(now)),
            )
            chaff = delete_rows(session, delete(CollectingChaff))
            figures = delete_rows(
                session,
                delete(UploadFigures).where(UploadFigures.day <= utc_date(now) - timedelta(days=ACT_DAYS)),
            )
            marks = delete_rows(
                session, delete(RecalledUpload).where(RecalledUpload.expires_at_interval <= interval_at(now))
            )
            regions = sorted(
                {*session.scalars(select(Batch.region)), *session.scalars(select(RegionIndex.region))}
            )
        # 2. What is public. Out of the indexes first, then away, region by region.
        failures = Failures(session)
        gone = Counter[str]()
        with failures.kept(*regions):
            _bring_up(run, regions, failures)
        for region in regions:
            with failures.kept(region):
                _retire_region(run, region, gone)
                # Not where the database could not be held against what is public: it may have been set back.
                if region not in failures:
                    remove_unnamed_manifests(run, region)
        # 3. The indexes once more, for the windows that went with their batches.
        with failures.kept(*regions):
            if gone["batches"]:
                _bring_up(run, regions, failures)
            shard = run.shard()
            if shard is not None:
                remove_superseded_tiles(run, shard.year, shard.published_size)
        return failures.tell(
            RetiredCollecting(
                files=gone["files"],
                indexes=gone["indexes"],
                keys=keys,
                batches=gone["batches"],
                answers=answers,
                chaff=chaff,
                recall_marks=marks,
                figures=figures,
            )
        )


def _bring_up(run: Run, regions: Sequence[str], failures: Failures) -> None:
    """Let the published indexes be what the rows say by now. Nothing where nothing was ever published, and
    nothing in a shard that is closed: the publisher turns the year.
    """
    check_not_set_back(run)
    resume(run, failures)
    shard = run.shard()
    if shard is not None and not shard.is_closed:
        append_due(run, regions, failures)
        advance(run, failures)


def _retire_region(run: Run, region: str, gone: Counter[str]) -> None:
    # 1. Files that nothing lists, then their rows.
    gone["files"] += remove_old(run, region) + remove_withdrawn(run, region) + remove_days(run, region)
    # 2. Batches that nothing is left of.
    with run.fenced() as session:
        batches = remove_batches(session, region, run.policy, run.now)
    gone["batches"] += batches
    # 3. What newer indexes have replaced.
    gone["indexes"] += remove_old_indexes(run, region)


def _retire_keys(session: Session, policy: PublicationPolicy, now: float, held: Collection[int]) -> int:
    """Keys one by one, and the revisions of all that are gone. Not those on `held` shelves, of which a file
    is still to be made.
    """
    last_end = policy.last_end_retired(now)
    gone = delete_rows(
        session, delete(DiagnosisKey).where(DiagnosisKey.end_interval_number <= last_end, ~is_on(held))
    )
    delete_rows(
        session,
        delete(KeyRevision).where(KeyRevision.end_interval_number <= last_end, ~exists().where(is_of_key())),
    )
    return gone
