"""Step 4: releasable keys become a sealed batch, the batch a signed file, the file a line of the index.

In this order: seal (one transaction decides which keys go, for all regions: the commit point); then region by
region make the files, store each under a name that is never written twice, record them (one transaction),
rewrite the index. Every step can be repeated and every run takes up what an earlier one left undone, so that
a crash needs no other mending than the next run. Never publishes a key before its end + 2 h, and nothing
unsigned.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from registry.errors import ConfigurationError, NoLiveSigner
from registry.lifecycle.publish.apart import Failures
from registry.lifecycle.publish.files import PublicKeys, check_embargo, split_batch, store_file
from registry.lifecycle.publish.listing import (
    check_listed,
    check_not_set_back,
    ensure_first_files,
    write_index,
    write_trust,
)
from registry.lifecycle.publish.policy import PUBLISH_LEASE, PublicationPolicy
from registry.lifecycle.publish.sealing import is_clock_behind, seal_windows
from registry.models import Batch, BatchState, ExportFile, ExportSigningKey
from registry.models.batch import sealed_batches
from registry.models.diagnosis_key import keys_of_batch
from registry.models.lease import fenced, leased
from registry.protocol.certificate import load_public_key
from registry.protocol.index import EXPOSURES, export_name
from registry.protocol.trust import Profile
from registry.signing import Signer
from registry.storage import Storage

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
class PublishedBatch:
    """A batch whose files were stored and recorded; `key_count` is for the operator's eyes only."""

    region: str
    sequence: int
    window_start: int
    window_end: int
    files: tuple[str, ...]
    key_count: int


@dataclass(frozen=True, slots=True)
class PublishOutcome:
    """What one run did. `busy`: nothing, because another publisher is at work.

    `clock_behind`: some region's newest window has not even begun by the clock, so that nothing is sealed
    there until it has caught up. The operator should look at the clock.
    """

    busy: bool = False
    windows_sealed: int = 0
    batches: tuple[PublishedBatch, ...] = ()
    clock_behind: bool = False


@dataclass(frozen=True, slots=True)
class _Run:
    session: Session
    storage: Storage
    signers: tuple[Signer, ...]
    """Live ones, newest first."""
    registered: PublicKeys
    policy: PublicationPolicy
    fence: int
    now: float

    def fenced(self) -> AbstractContextManager[Session]:
        return fenced(self.session, PUBLISH_LEASE, self.fence)


def publish_due(
    new_session: Callable[[], Session],
    storage: Storage,
    signers: Sequence[Signer],
    *,
    regions: Collection[str],
    policy: PublicationPolicy,
    profile: Profile,
    now: float,
    holder: str,
) -> PublishOutcome:
    """Publish all that is due at `now` (unix seconds) in `regions`; mends what an earlier run left undone.

    `signers` are the private keys at hand; those whose `ExportSigningKey` is live sign. `holder` names this
    publisher: the same name takes its own lease back at once after a crash, another waits for its expiry.

    Raises NoLiveSigner or ConfigurationError and publishes nothing; LeaseLost if another publisher took over
    meanwhile; and, after all regions were served that could be, PublishingFailed with this run's outcome and
    what held each of the others up (StorageConflict: the index or other bytes do not fit the database).
    """
    with (
        new_session() as session,
        leased(session, PUBLISH_LEASE, holder, now, policy.lease_seconds) as fence,
    ):
        if fence is None:
            return PublishOutcome(busy=True)
        registered, live = _signing_keys(session, signers, now)
        run = _Run(session, storage, live, registered, policy, fence, now)
        # First of all, so that no phone ever meets a file before the key that it verifies with.
        with run.fenced():
            write_trust(session, storage, regions, policy=policy, profile=profile, now=now)
        return _publish_regions(run, sorted(set(regions)))


def _signing_keys(
    session: Session, signers: Sequence[Signer], now: float
) -> tuple[PublicKeys, tuple[Signer, ...]]:
    """(all registered public keys, the live signers, newest first)."""
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
    return registered, tuple(live[:MAX_SIGNERS])


def _publish_regions(run: _Run, regions: Sequence[str]) -> PublishOutcome:
    failures = Failures(run.session)
    for region in regions:
        with failures.kept(region):
            check_not_set_back(run.session, run.storage, region)
    fit = [region for region in regions if region not in failures]
    with run.fenced() as session:
        sealed = seal_windows(session, fit, policy=run.policy, now=run.now)
        clock_behind = is_clock_behind(session, regions, policy=run.policy, now=run.now)
    # A crash from here on leaves sealed batches, which the next run finishes as this one would have.
    batches: list[PublishedBatch] = []
    for region in fit:
        with failures.kept(region):
            # Oldest first, what an earlier run left among them: windows come out in their order.
            for batch in _sealed(run, region):
                # One by one: what went out is told even if the next one fails.
                batches.append(_finish(run, batch))
            # Also when nothing was due: an earlier run may have died before this line.
            with run.fenced() as session:
                index = write_index(session, run.storage, region, policy=run.policy, now=run.now)
            check_listed(run.storage, index)
    return failures.tell(PublishOutcome(False, sealed, tuple(batches), clock_behind))


def _sealed(run: _Run, region: str) -> list[Batch]:
    batches = sealed_batches(run.session, region)
    run.session.expunge_all()  # values from here on: finishing each of them ends a transaction
    return batches


def _finish(run: _Run, batch: Batch) -> PublishedBatch:
    """Make, store and record the files of one sealed batch.

    A crash before a file is stored leaves nothing of it; between storing and recording, files that no
    index names and that the next run finds, checks and adopts; after recording, an index that is a
    window behind.
    """
    keys, revised = keys_of_batch(run.session, batch.id)
    run.session.rollback()  # no transaction stays open while files are made
    check_embargo((*keys, *revised), batch.window_end)
    rows = []
    for number, export in enumerate(
        split_batch(batch, keys, revised, keys_per_file=run.policy.keys_per_file), start=1
    ):
        name = export_name(batch.region, batch.window_start, batch.window_end, number)
        content = store_file(
            run.storage,
            f"{EXPOSURES}/{name}",
            export,
            signers=run.signers,
            registered=run.registered,
            now=run.now,
        )
        digest = sha256(content).hexdigest()
        rows.append(
            ExportFile(path=name, batch_id=batch.id, file_number=number, sha256=digest, size=len(content))
        )
    with run.fenced() as session:
        session.add_all(rows)
        session.execute(update(Batch).where(Batch.id == batch.id).values(state=BatchState.PUBLISHED))
    return PublishedBatch(
        region=batch.region,
        sequence=batch.sequence,
        window_start=batch.window_start,
        window_end=batch.window_end,
        files=tuple(row.path for row in rows),
        key_count=len(keys) + len(revised),
    )
