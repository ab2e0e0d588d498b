"""The composition root of the publishing process: the only one that holds export, log and trust keys.

Opens both databases, for retirement forgets in both, the log anchors the officials' acts, and what two
officials recall is taken from one half to the other. Nothing here is ever imported by what faces the
Internet.
"""

import functools
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session, sessionmaker

from registry.config import Settings
from registry.errors import ConfigurationError, Malformed
from registry.folder import check_folder, read_log_origin
from registry.lifecycle.activity import (
    due_anchor,
    mark_anchor_logged,
    mark_anchor_lost,
    record_operators_act,
    record_policy_change,
)
from registry.lifecycle.at_hand import tell_claims
from registry.lifecycle.publish import PublicationPolicy, PublishOutcome, ensure_first_files, publish_due
from registry.lifecycle.publish.withdraw import withdraw_batch
from registry.lifecycle.recall import HANDLES_AT_ONCE, recall_uploads
from registry.lifecycle.recall_orders import approved_recalls, recall_done
from registry.lifecycle.retire import RetiredCollecting, RetiredIssuing, retire_collecting, retire_issuing
from registry.lifecycle.statistics import days_without_uploads, keep_figures, release_claims
from registry.lifecycle.upload_figures import release_uploads, upload_figures
from registry.models import Authority, HealthAuthority, LogShard, forget_journal, open_database, transaction
from registry.models.feed import feeds
from registry.models.shelf import region_sets, regions_of_set
from registry.protocol.activity import ActKind
from registry.protocol.committed import WithdrawReason
from registry.protocol.index import shard_checkpoint_path, shard_signed_path
from registry.protocol.intervals import Clock, utc_date
from registry.protocol.population import PopulationModel
from registry.protocol.witness_policy import WitnessPolicy, decode_policy
from registry.public_files import public_storage
from registry.signing import KeyRing, NoteSigner
from registry.signing.key_place import open_key_ring
from registry.storage import Storage
from registry.transparency.log import TransparencyLog
from registry.transparency.witness_http import send_to_witness
from registry.transparency.witnessing import LogState, log_state

PUBLISHER_LOCK_SECONDS = 20

log = logging.getLogger(__name__)


def publication_policy(settings: Settings) -> PublicationPolicy:
    """When keys leave, and how long they stay."""
    return PublicationPolicy(
        window_seconds=settings.window_seconds,
        slot_seconds=settings.slot_seconds,
        floor=settings.floor,
        retention_days=settings.retention_days,
        population=PopulationModel(),
    )


@dataclass(frozen=True)
class Publisher:
    """The process that seals, signs, stores and forgets. The only holder of the export signing keys."""

    settings: Settings
    clock: Clock
    issuing_engine: Engine
    collecting_engine: Engine
    storage: Storage
    holder: str
    """Names this process in the lease."""

    @property
    def new_session(self) -> Callable[[], Session]:
        """Opens a session on the collecting half."""
        return sessionmaker(self.collecting_engine)

    key_ring: KeyRing
    """Opened once a process: export, log and trust keys."""
    log: TransparencyLog

    def make_due_log_keys(self) -> None:
        """Make the log keys of this year's shard and the next one's, if they were never made.

        Raises ConfigurationError for a shard that has begun and whose keys are gone: it goes on under its own
        keys or not at all.
        """
        now = self.clock()
        with self.new_session() as session:
            begun = set(session.scalars(select(LogShard.year)))
        current = {utc_date(now).year, max(begun, default=utc_date(now).year)}
        for year in sorted(current | {year + 1 for year in current}):
            if self.key_ring.has_log_keys(year):
                continue
            paths = (shard_checkpoint_path(year), shard_signed_path(year))
            if year in begun or any(self.storage.read(path) is not None for path in paths):
                raise ConfigurationError(
                    f"the log keys of {year} are gone, and the shard of {year} was begun with them: bring "
                    "them back from their backup. Others are not made, and nothing is signed under their name"
                )
            # The act first: no key is made that is not on record.
            with Session(self.issuing_engine) as session, transaction(session):
                record_operators_act(session, ActKind.LOG_KEYS_MADE, {"year": year}, now)
            self.key_ring.create_log_keys(year)

    def ensure_first_files(self) -> None:
        """Indexes, trust material and the log's first checkpoint exist before anything is served."""
        self.make_due_log_keys()
        ensure_first_files(
            self.new_session,
            self.storage,
            regions=self.regions(),
            policy=publication_policy(self.settings),
            profile=self.settings.profile,
            log=self.log,
            now=self.clock(),
            holder=self.holder,
        )

    def publish(self) -> PublishOutcome:
        """Carry out approved recalls, then publish what is due.

        Raises NoLiveSigner, StorageConflict and the like; running again mends. Nothing leaves before the
        recalls are in the rows.
        """
        orders = self._carry_out_recalls()
        try:
            return self._publish()
        finally:
            self._finish_recalls(orders)

    def tell_claims(self) -> None:
        """Let officials be told which of their codes were used by now: once in each quarter of an hour, in no
        phone's call. A crash leaves it to the next time."""
        with Session(self.issuing_engine) as session, transaction(session):
            tell_claims(session, self.clock())

    def release_figures(self) -> None:
        """Make figures of the days that are over, once, and destroy their counts; and let the issuing half
        have those of uploads, which say of nobody whether they uploaded. A crash leaves the counts, or
        figures that stay as they are."""
        now = self.clock()
        with Session(self.issuing_engine) as session, transaction(session):
            release_claims(session, now)
            missing = {
                authority_id: days_without_uploads(session, authority_id, now)
                for authority_id in session.scalars(select(Authority.id))
            }
        with self.new_session() as session, transaction(session):
            release_uploads(session, now)
            found = {
                authority_id: upload_figures(session, authority_id, days[0], days[-1])
                for authority_id, days in missing.items()
                if days
            }
        with Session(self.issuing_engine) as session, transaction(session):
            for authority_id, by_day in found.items():
                for day, tables in by_day.items():
                    for name, cells in tables.items():
                        keep_figures(session, authority_id, day, name, cells)

    def _carry_out_recalls(self) -> list[tuple[str, list[bytes]]]:
        """Take back what approved orders lead to; (id, handles) of each. A crash leaves them approved."""
        with Session(self.issuing_engine) as session:
            orders = approved_recalls(session)
        for _, handles in orders:
            self._recall(handles)
        return orders

    def _finish_recalls(self, orders: Sequence[tuple[str, list[bytes]]]) -> None:
        """Once more for what was under way when it was first done, and then the handles are destroyed."""
        for order_id, handles in orders:
            self._recall(handles)
            with Session(self.issuing_engine) as session, transaction(session):
                recall_done(session, order_id, self.clock())
        if orders:
            # SQLite's journal still holds the handles until it is written over.
            forget_journal(self.issuing_engine)

    def _recall(self, handles: Sequence[bytes]) -> None:
        # Each part is whole by itself, and done twice is done once: memory and locks stay bounded.
        for place in range(0, len(handles), HANDLES_AT_ONCE):
            with self.new_session() as session, transaction(session):
                recall_uploads(session, handles[place : place + HANDLES_AT_ONCE], self.clock())

    def _publish(self) -> PublishOutcome:
        self.make_due_log_keys()
        return publish_due(
            self.new_session,
            self.storage,
            # Looked up anew for every run, so that a rotation needs no restart.
            self.key_ring.export_signers(),
            regions=self.regions(),
            policy=publication_policy(self.settings),
            profile=self.settings.profile,
            log=self.log,
            now=self.clock(),
            holder=self.holder,
        )

    def withdraw(self, region: str, sequence: int, reason: WithdrawReason, reference: str) -> None:
        """Put on record that a batch is withdrawn, and mark it; the next publishing takes it away.

        Raises NothingToWithdraw.
        """
        # The act first: nothing is taken away that is not on record.
        with Session(self.issuing_engine) as session, transaction(session):
            detail: dict[str, str | int] = {"region": region, "sequence": sequence, "reason": reason}
            record_operators_act(session, ActKind.BATCH_WITHDRAWN, detail, self.clock())
        withdraw_batch(self.new_session, region=region, sequence=sequence, reason=reason, reference=reference)

    def log_state(self) -> LogState:
        """Where the log stands, for the metrics."""
        with self.new_session() as session:
            return log_state(session, self.log.policy)

    def retire(self) -> tuple[RetiredIssuing, RetiredCollecting]:
        """Forget what the retention period has ended, in both halves. What was forgotten, by kind."""
        now = self.clock()
        with Session(self.issuing_engine) as session, transaction(session):
            issuing_gone = retire_issuing(session, now)
        try:
            collecting_gone = retire_collecting(
                self.new_session,
                self.storage,
                policy=publication_policy(self.settings),
                log=self.log,
                now=now,
                holder=f"{self.holder}:retire",
            )
        finally:
            # SQLite's journal still holds what was deleted until it is written over.
            forget_journal(self.issuing_engine)
            forget_journal(self.collecting_engine)
        return issuing_gone, collecting_gone

    def regions(self) -> tuple[str, ...]:
        """Every region that keys may go out in, and every one that some wait to go out in."""
        with Session(self.collecting_engine) as session:
            own = session.scalars(select(HealthAuthority.regions)).all()
            stated = [feed.region for feed in feeds(session)]
            waiting = [regions_of_set(region_set) for region_set in region_sets(session)]
        return tuple(sorted({self.settings.region, *stated}.union(*own, *waiting)))


def publisher(settings: Settings, clock: Clock = time.time, holder: str | None = None) -> Publisher:
    """The publishing process's own root.

    `holder` is its name in the lease. One that comes back under the name of one that died goes on at once;
    any other waits for the lease to run out.
    """
    check_folder(settings)
    key_ring = open_key_ring(settings.keys_dir, settings.token)
    issuing_engine = open_database(settings.issuing_database_url, lock_seconds=PUBLISHER_LOCK_SECONDS)
    return Publisher(
        settings=settings,
        clock=clock,
        issuing_engine=issuing_engine,
        collecting_engine=open_database(
            settings.collecting_database_url, lock_seconds=PUBLISHER_LOCK_SECONDS
        ),
        storage=public_storage(settings),
        holder=holder or f"{socket.gethostname()}:{os.getpid()}",
        key_ring=key_ring,
        log=transparency_log(settings, key_ring, issuing_engine),
    )


def transparency_log(settings: Settings, key_ring: KeyRing, issuing_engine: Engine) -> TransparencyLog:
    """The registry's log under the keys of `key_ring`, with the operator's witnesses."""
    origin = read_log_origin(settings)

    @functools.cache
    def signers(year: int) -> list[NoteSigner]:
        # Never made here: whoever asks may be about to sign under the name of keys that were lost.
        return key_ring.log_signers(year, origin)

    return TransparencyLog(
        origin=origin,
        signers=signers,
        trust_signer=key_ring.trust_signer(origin),
        policy=_witness_policy(settings),
        send=send_to_witness,
        fail_open_seconds=settings.witness_fail_open_seconds,
        acts=RecordOfActs(issuing_engine),
    )


def _witness_policy(settings: Settings) -> WitnessPolicy:
    if settings.witness_policy_file is None:
        return WitnessPolicy()
    try:
        return decode_policy(settings.witness_policy_file.read_bytes())
    except Malformed as error:
        raise ConfigurationError(f"REGISTRY_WITNESS_POLICY_FILE: {error}") from error


@dataclass(frozen=True)
class RecordOfActs:
    """Officials' and operators' acts, from the issuing half."""

    engine: Engine

    def due(self, now: float) -> bytes | None:
        """Today's commitment until it is known to be logged."""
        with Session(self.engine) as session, transaction(session):
            return due_anchor(session, now)

    def logged(self, now: float, year: int, number: int) -> None:
        """Today's commitment is this leaf."""
        with Session(self.engine) as session, transaction(session):
            mark_anchor_logged(session, utc_date(now), year, number)

    def passed_over(self, now: float, year: int, number: int) -> None:
        """This leaf is today's, and of heads that are not here any more."""
        log.warning(
            "the log's anchor of today, leaf %d of %d, is of acts that the database has lost: a backup was "
            "restored. None more is made today",
            number,
            year,
        )
        with Session(self.engine) as session, transaction(session):
            mark_anchor_lost(session, now, year, number)

    def policy_changed(self, now: float, sequence: int) -> None:
        """Once a number."""
        with Session(self.engine) as session, transaction(session):
            record_policy_change(session, now, sequence)
