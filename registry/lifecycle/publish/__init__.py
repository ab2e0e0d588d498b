"""Step 4: releasable keys become a sealed batch, the batch files, a leaf of the log, a line of the index.

In this order: seal (one transaction decides which keys go, for all regions); make files and manifests,
several regions side by side, stored under names that are never written twice; sequence leaves and indexes in
one transaction; lay them out as tiles, read back what lies there, sign (the commit point); have it witnessed;
only then move what phones follow. Every step can be repeated and every run takes up what an earlier one left
undone, so that a crash needs no other mending than the next run. Never publishes a key before its end + 2 h,
nothing unsigned, and nothing that the log does not hold.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import ConfigurationError, NoLiveSigner
from registry.lifecycle.publish.advancing import Advanced, advance, resume, turn_year
from registry.lifecycle.publish.apart import Failures
from registry.lifecycle.publish.appending import append_due, check_material, issue_time
from registry.lifecycle.publish.batches import PublishedBatch, finish_sealed
from registry.lifecycle.publish.days import finish_days
from registry.lifecycle.publish.key_days import make_due_days
from registry.lifecycle.publish.manifests import store_missing_manifests
from registry.lifecycle.publish.policy import PUBLISH_LEASE, PublicationPolicy
from registry.lifecycle.publish.recovery import check_not_set_back
from registry.lifecycle.publish.removal import (
    regions_with_withdrawn_files,
    remove_days,
    remove_withdrawn,
)
from registry.lifecycle.publish.run import ExportKeys, Run
from registry.lifecycle.publish.sealing import (
    close_shelves,
    is_clock_behind,
    is_window_due,
    seal_windows,
)
from registry.lifecycle.publish.side_by_side import Work, carry_out
from registry.models import ExportSigningKey
from registry.models.lease import leased
from registry.protocol.certificate import load_public_key
from registry.protocol.index import (
    LOG_CHECKPOINT_PATH,
    TRUST_NOTE_PATH,
    index_proof_path,
    legacy_index_path,
)
from registry.protocol.trust import Profile
from registry.signing import Signer
from registry.storage import Storage
from registry.transparency.log import TransparencyLog
from registry.transparency.witnessing import ask_before_signing

__all__ = [
    "PUBLISH_LEASE",
    "PublicationPolicy",
    "PublishOutcome",
    "PublishedBatch",
    "ensure_first_files",
    "publish_due",
]

MAX_SIGNERS = 10
"""A file names no more signers than existing key servers write."""


@dataclass(frozen=True, slots=True)
class PublishOutcome:
    """What one run did. `busy`: nothing, because another publisher is at work.

    `clock_behind`: some region's newest window has not even begun by the clock, so that nothing is sealed
    there until it has caught up; or the log's newest index was issued hours ahead of it, so that nothing is
    sealed or logged at all. The operator should look at the clock.
    `unwitnessed`: the newest checkpoint lacks its quorum, so that phones are not pointed to it yet.
    `failed_open`: it lacks its quorum and phones are pointed to it all the same, for its time has run out.
    """

    busy: bool = False
    windows_sealed: int = 0
    batches: tuple[PublishedBatch, ...] = ()
    clock_behind: bool = False
    unwitnessed: bool = False
    failed_open: bool = False


def publish_due(
    new_session: Callable[[], Session],
    storage: Storage,
    signers: Sequence[Signer],
    *,
    regions: Collection[str],
    policy: PublicationPolicy,
    profile: Profile,
    log: TransparencyLog,
    now: float,
    holder: str,
) -> PublishOutcome:
    """Publish all that is due at `now` (unix seconds) in `regions`; mends what an earlier run left undone.

    `signers` are the private keys at hand; those whose `ExportSigningKey` is live sign. `log` is the log that
    it all goes into. `holder` names this publisher: the same name takes its own lease back at once after a
    crash, another waits for its expiry.

    Raises NoLiveSigner or ConfigurationError and publishes nothing; LogSetBack or LogForked and signs
    nothing; LeaseLost if another publisher took over meanwhile; and, after all regions were served that could
    be, PublishingFailed with this run's outcome and what held each of the others up (StorageConflict: the
    stored bytes do not fit the database).
    """
    with _run(
        new_session, storage, regions=regions, policy=policy, profile=profile, log=log, now=now, holder=holder
    ) as run:
        if run is None:
            return PublishOutcome(busy=True)
        # Before anything that may fail: uploads find their days whatever holds publishing up.
        make_due_days(run.session, now)
        keys = _signing_keys(run.session, signers, now)
        check_material(run)
        check_not_set_back(run)
        failures = Failures(run.session)
        resume(run, failures)
        turned = turn_year(run, failures)
        if not turned.is_published:
            # The old year's final checkpoint waits for its quorum; nothing goes into the new year before.
            return failures.tell(PublishOutcome(unwitnessed=True))
        return _publish_regions(run, keys, failures)


def ensure_first_files(
    new_session: Callable[[], Session],
    storage: Storage,
    *,
    regions: Collection[str],
    policy: PublicationPolicy,
    profile: Profile,
    log: TransparencyLog,
    now: float,
    holder: str,
) -> None:
    """Let indexes, proofs, trust material and the log's first checkpoint exist before anything is served.

    Does nothing where they do: whatever a publisher has written stays. The days that keys may fall into are
    there as well afterwards. Raises as `publish_due` does.
    """
    with new_session() as session:
        make_due_days(session, now)
    wanted = [LOG_CHECKPOINT_PATH, TRUST_NOTE_PATH]
    wanted += [path(region) for region in regions for path in (index_proof_path, legacy_index_path)]
    if all(storage.read(path) is not None for path in wanted):
        return
    with _run(
        new_session, storage, regions=regions, policy=policy, profile=profile, log=log, now=now, holder=holder
    ) as run:
        if run is None:
            return
        check_material(run)
        check_not_set_back(run)
        failures = Failures(run.session)
        resume(run, failures)
        if turn_year(run, failures).is_published:
            append_due(run, run.regions, failures)
            advance(run, failures)
        failures.tell(None)


@contextmanager
def _run(
    new_session: Callable[[], Session],
    storage: Storage,
    *,
    regions: Collection[str],
    policy: PublicationPolicy,
    profile: Profile,
    log: TransparencyLog,
    now: float,
    holder: str,
) -> Iterator[Run | None]:
    """A run that holds the lease; None while another's runs."""
    with (
        new_session() as session,
        leased(session, PUBLISH_LEASE, holder, now, policy.lease_seconds) as fence,
    ):
        if fence is None:
            yield None
        else:
            yield Run(session, storage, log, PUBLISH_LEASE, fence, now, policy, profile, sorted(set(regions)))


def _signing_keys(session: Session, signers: Sequence[Signer], now: float) -> ExportKeys:
    rows = {
        (row.key_id, row.key_version): row
        for row in session.scalars(select(ExportSigningKey).order_by(ExportSigningKey.not_before.desc()))
    }
    registered = {name: load_public_key(row.public_key_pem) for name, row in rows.items()}
    at_hand = {(signer.key_id, signer.key_version): signer for signer in signers}
    live = [
        at_hand[name]
        for name, row in rows.items()
        if name in at_hand and row.not_before <= now < row.not_after
    ]
    for signer in live:
        if load_public_key(signer.public_key_pem) != registered[signer.key_id, signer.key_version]:
            raise ConfigurationError(
                f"the signing key at hand is not the one registered as {signer.key_id} {signer.key_version}"
            )
    if not live:
        raise NoLiveSigner(
            f"none of the {len(at_hand)} export signing keys at hand is registered and live now, so nothing "
            f"is published: put a live key in place ({len(rows)} are registered)"
        )
    session.rollback()
    return ExportKeys(registered, tuple(live[:MAX_SIGNERS]))


def _publish_regions(run: Run, keys: ExportKeys, failures: Failures) -> PublishOutcome:
    if issue_time(run) is None:
        # What is sequenced already goes its way; no key is taken for a batch that could not be logged.
        advanced = advance(run, failures)
        return failures.tell(_outcome(0, [], advanced, clock_behind=True))
    shard = run.shard()
    due = is_window_due(run.session, run.regions, policy=run.policy, now=run.now)
    if due and shard is not None:
        # Before any key is taken for a batch: one that a lost database had published must not go twice.
        run.session.rollback()
        ask_before_signing(run, shard)
    if due:
        # Otherwise uploads would have to begin new shelves at every look of the publisher's.
        with run.fenced() as session:
            close_shelves(session, policy=run.policy, now=run.now)
    with run.fenced() as session:
        sealed = seal_windows(session, run.regions, policy=run.policy, now=run.now)
        clock_behind = is_clock_behind(session, run.regions, policy=run.policy, now=run.now)
    # A crash from here on leaves sealed batches, which the next run finishes as this one would have.
    batches: list[PublishedBatch] = []
    carry_out(((region, _finish(run, keys, region, batches)) for region in run.regions), failures)
    append_due(run, [region for region in run.regions if region not in failures], failures)
    advanced = advance(run, failures)
    for region in regions_with_withdrawn_files(run.session):
        with failures.kept(region):
            remove_withdrawn(run, region)
            remove_days(run, region)
    return failures.tell(_outcome(sealed, batches, advanced, clock_behind=clock_behind))


def _finish(run: Run, keys: ExportKeys, region: str, batches: list[PublishedBatch]) -> Work:
    yield from finish_sealed(run, keys, region, batches)
    store_missing_manifests(run, keys, region)
    yield from finish_days(run, keys, region)


def _outcome(
    sealed: int, batches: Sequence[PublishedBatch], advanced: Advanced, *, clock_behind: bool
) -> PublishOutcome:
    return PublishOutcome(
        windows_sealed=sealed,
        batches=tuple(batches),
        clock_behind=clock_behind,
        unwitnessed=not advanced.is_published,
        failed_open=advanced.is_published and not advanced.is_witnessed,
    )
