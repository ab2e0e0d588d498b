"""The books of both halves against what was published: `registry audit reconcile`. Reads only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from itertools import pairwise

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from registry.cli.auditor_report import AuditReport
from registry.client.monitor.batches import LoggedBatch, may_have_expired, read_manifest
from registry.client.monitor.faults import Fault, FaultKind
from registry.client.monitor.leaf_rules import leaf_name
from registry.client.monitor.shard import Entry, Read
from registry.client.monitor.view import LogView
from registry.errors import Distrusted, Malformed
from registry.faces.audit.reckoning import Reckoning, reckon
from registry.lifecycle.activity import acts_of, check_all_chains, lost_anchors
from registry.models import ActivityAnchor, ActivityChain, Authorization, Batch, Receipt
from registry.protocol.activity import activity_commitment, decode_heads
from registry.protocol.intervals import utc_date
from registry.protocol.leaves import ActivityLeaf
from registry.protocol.manifest import Manifest
from registry.protocol.receipt import all_receipt_leaves, attestation_commitment, commitment, decode_receipt

ISSUING = "the issuing database"
COLLECTING = "the collecting database"
WAITING_SECONDS = 86_400
"""How long after its window a batch may wait for its leaf: for witnesses, or while a machine is mended."""
KEPT_DAYS = 365
"""Officials' acts, what they stated and the anchors of it are kept for so long."""


@dataclass(frozen=True, slots=True)
class Halves:
    """Sessions in which nothing is ever committed; None for a half that was not given."""

    issuing: Session | None
    collecting: Session | None


class Books:
    """The checks, into one report."""

    def __init__(self, report: AuditReport, view: LogView, read: Read, now: float) -> None:
        self._report = report
        self._view = view
        self._read = read
        self._now = now
        self._is_complete = True

    def check(self, halves: Halves) -> bool:
        """Whether everything could be checked."""
        if halves.issuing is None and halves.collecting is None:
            self._report.unproven.append(
                "Neither database was given: name them with --issuing and --collecting, or use --settings "
                "on the registry's own machine. Without access, `registry audit receipt` checks a receipt "
                "that a phone kept."
            )
            return False
        if halves.collecting is not None:
            self._receipts(halves.collecting)
        else:
            self._missing(COLLECTING, "--collecting", "receipts and decoys")
        if halves.issuing is not None:
            self._chains(halves.issuing)
            self._anchors(halves.issuing)
        else:
            self._missing(ISSUING, "--issuing", "counts of codes, attestations and officials' acts")
        if halves.issuing is None or halves.collecting is None:
            return False
        self._counts(reckon(halves.issuing, halves.collecting, self._now))
        self._attestations(halves.issuing, halves.collecting)
        return self._is_complete

    def _missing(self, name: str, option: str, what: str) -> None:
        self._report.unproven.append(f"Not checked: {what}, for {name} was not given ({option}).")

    def _fault(self, kind: FaultKind, where: str, what: str, advice: str = "") -> None:
        self._report.faults.append(Fault(kind, where, what, advice))

    # -------------------------------------------------------- counts

    def _counts(self, books: Reckoning) -> None:
        row = {
            "issued": books.issued,
            "redeemed": books.redeemed,
            "certified": books.certified,
            "uploaded": books.uploaded,
            "published": books.published,
        }
        self._report.members["counts"] = row
        names = list(row)
        broken = [(more, fewer) for more, fewer in pairwise(names) if row[more] < row[fewer]]
        for more, fewer in broken:
            self._fault(
                FaultKind.COUNTS,
                "both databases",
                f"{row[fewer]} {fewer}, and only {row[more]} {more}",
                "Unless certificates of another issuer are accepted, somebody else's uploads were let in.",
            )
        if not broken:
            text = ", ".join(f"{count} {name}" for name, count in row.items())
            self._report.sentences.append(f"Over the days that receipts are kept: {text}.")

    # -------------------------------------------------------- receipts

    def _receipts(self, session: Session) -> None:
        """Every kept receipt hashes to its commitment; every served manifest holds exactly its batch's."""
        stored: dict[int | None, list[bytes]] = {}
        rows = session.execute(select(Receipt.commitment, Receipt.content, Receipt.batch_id))
        for digest, content, batch_id in rows:
            stored.setdefault(batch_id, []).append(digest)
            try:
                decode_receipt(content)
            except Malformed as error:
                self._fault(FaultKind.RECEIPTS, "a receipt in the collecting database", str(error))
            if commitment(content) != digest:
                what = "does not hash to the commitment under which it is kept"
                self._fault(FaultKind.RECEIPTS, "a receipt in the collecting database", what)
        real = decoys = compared = 0
        batches = {(row.region, row.sequence): row for row in session.scalars(select(Batch))}
        for logged in (batch for of in self._view.batches.values() for batch in of):
            row = batches.get((logged.leaf.region, logged.leaf.sequence))
            own = stored.get(row.id, []) if row is not None else []
            manifest = self._manifest(logged, own)
            if manifest is None:
                continue
            if row is None:
                what = "is published, and the database knows nothing of it"
                self._fault(FaultKind.RECEIPTS, logged.manifest_path, what)
                continue
            compared += 1
            real, decoys = real + len(own), decoys + len(manifest.receipts) - len(own)
            if row.seed:
                self._compare(logged, manifest, row, own)
            else:
                self._is_complete = False
                self._report.unproven.append(
                    f"{logged.manifest_path}: its seed, and perhaps some of its receipts, went with a "
                    "database that was lost. Which of its leaves are decoys cannot be told any more."
                )
        self._unlogged(batches.values(), stored)
        self._pending(session, batches.values())
        self._report.members["receipts"] = {
            "batches": compared,
            "real": real,
            "decoys": decoys,
            "pending": len(stored.get(None, [])),
        }
        self._report.sentences.append(
            f"{real} receipts and {decoys} decoys in {compared} manifests were compared with the database "
            "and with the seeds that the manifests commit to."
        )

    def _manifest(self, batch: LoggedBatch, own: list[bytes]) -> Manifest | None:
        """The batch's manifest. That it is gone is in order once its receipts are, or if it was withdrawn."""
        try:
            manifest = read_manifest(self._read, batch)
        except (Malformed, Distrusted) as error:
            self._fault(FaultKind.MANIFEST, batch.manifest_path, str(error))
            return None
        if manifest is None and batch.withdrawn_by is None:
            if batch.state == "live" or not may_have_expired(batch.leaf, self._view.trust, self._now):
                what = "is not there, though the batch has not expired and was not withdrawn"
                self._fault(FaultKind.MANIFEST, batch.manifest_path, what)
            elif own:
                self._is_complete = False
                name = f"batch {batch.leaf.sequence} of {batch.leaf.region}"
                self._report.unproven.append(
                    f"Not checked: {len(own)} receipts of {name}, whose manifest is not served, though the "
                    "database keeps them as if it were."
                )
        return manifest

    def _unlogged(self, batches: Iterable[Batch], stored: Mapping[int | None, list[bytes]]) -> None:
        """Receipts of a batch that no leaf names, though its window is long over, were never published."""
        regions = self._view.batches.values()
        logged = {(batch.leaf.region, batch.leaf.sequence) for of in regions for batch in of}
        for row in batches:
            count, waits = len(stored.get(row.id, [])), row.window_end + WAITING_SECONDS > self._now
            if count and not waits and (row.region, row.sequence) not in logged:
                where = f"batch {row.sequence} of {row.region}"
                what = f"{count} receipts of a window that ended at {row.window_end}, and no leaf is about it"
                self._fault(FaultKind.RECEIPTS, where, what, "Ask why the batch was never published.")

    def _pending(self, session: Session, batches: Iterable[Batch]) -> None:
        """A region's next window takes all receipts that wait. None may wait while no window is closed."""
        newest: dict[str, int] = {}
        for row in batches:
            newest[row.region] = max(row.window_end, newest.get(row.region, 0))
        first = min(self._view.issue_times.values(), default=0)
        patience = self._view.trust.publication.get("window_seconds", 0) + WAITING_SECONDS
        pending = select(Receipt.region, func.count()).where(Receipt.batch_id.is_(None))
        for region, count in session.execute(pending.group_by(Receipt.region)):
            since = newest.get(region, first)
            if since + patience < self._now:
                where = f"pending receipts of {region}"
                what = f"{count} wait for a batch, and the last one was closed at {since}"
                self._fault(FaultKind.RECEIPTS, where, what, "Ask what holds it up.")

    def _compare(self, batch: LoggedBatch, manifest: Manifest, row: Batch, own: list[bytes]) -> None:
        where = batch.manifest_path
        if sha256(row.seed).digest() != manifest.seed_sha256:
            what = "the seed in the database is not the one that the manifest commits to"
            self._fault(FaultKind.RECEIPTS, where, what)
        elif all_receipt_leaves(own, row.seed, decoy_users=sum(row.decoys.values())) != manifest.receipts:
            lost = len(set(own) - set(manifest.receipts))
            what = (
                f"does not hold exactly the database's {len(own)} receipts and the decoys of its seed: "
                f"{lost} of the receipts are not in it"
            )
            self._fault(FaultKind.RECEIPTS, where, what, "Somebody put receipts in or left some out.")

    def _attestations(self, issuing: Session, collecting: Session) -> None:
        """Each attestation that a receipt names is one that an official, or an API key, made on record."""
        made = {
            attestation_commitment(row.attestation_salt, row.attestation())
            for row in issuing.scalars(select(Authorization))
            if row.attestation_salt is not None
        }
        known = unknown = without = 0
        for content in collecting.scalars(select(Receipt.content)):
            try:
                attestation = decode_receipt(content).attestation
            except Malformed:
                continue  # told above
            if attestation is None:
                without += 1
            elif attestation in made:
                known += 1
            else:
                unknown += 1
        self._report.members["attestations"] = {"known": known, "unknown": unknown, "without": without}
        if unknown:
            self._fault(
                FaultKind.COUNTS,
                "both databases",
                f"{unknown} receipts name an attestation that nobody made on record",
                "Ask who could sign certificates at that time.",
            )
        self._report.sentences.append(
            f"{known} receipts name an attestation that is on record; {without} are of issuers who make none."
        )

    # -------------------------------------------------------- officials' acts

    def _chains(self, session: Session) -> None:
        try:
            check_all_chains(session)
        except (Malformed, Distrusted) as error:
            self._fault(
                FaultKind.ACTIVITY, "the activity chains", str(error), "An act was changed or taken out."
            )
            return
        acts = {chain: len(acts_of(session, chain)) for chain in session.scalars(select(ActivityChain.chain))}
        self._report.members["acts"] = sum(acts.values())
        self._report.sentences.append(
            f"{sum(acts.values())} acts of {len(acts)} chains are unbroken from the oldest kept to the head."
        )

    def _anchors(self, session: Session) -> None:
        """Each anchor has its leaf, each leaf its anchor, and the heads are links of the chains."""
        rows = list(session.scalars(select(ActivityAnchor).order_by(ActivityAnchor.day)))
        known = {activity_commitment(row.salt, row.heads): row for row in rows}
        leaves: dict[bytes, Entry] = {}
        for entry in self._view.activity:
            if isinstance(entry.leaf, ActivityLeaf):
                leaves[entry.leaf.commitment] = entry
        oldest = utc_date(self._now) - timedelta(days=KEPT_DAYS - 1)
        lost = lost_anchors(session)
        for digest, entry in leaves.items():
            if digest not in known and (entry.year, entry.number) in lost:
                act = lost[entry.year, entry.number]
                self._is_complete = False
                self._report.unproven.append(
                    f"{leaf_name(entry)} anchors acts that the database has lost: by act {act.number} of the "
                    f"operator's chain a backup was restored before {act.hour}. Acts of in between are "
                    "gone, and what was anchored cannot be checked: ask the operator what they were."
                )
                continue
            issued = self._view.issue_times.get((entry.year, entry.number))
            if digest not in known and issued is not None and utc_date(issued) > oldest:
                what = "anchors acts, and the database has no such heads"
                self._fault(FaultKind.ACTIVITY, leaf_name(entry), what, "Acts were changed after that day.")
        for digest, row in known.items():
            if (row.log_year, row.leaf_number) in lost:
                continue  # told above
            if digest not in leaves and row.leaf_number is not None and row.day < utc_date(self._now):
                what = f"the anchor of {row.day} is not in the log"
                self._fault(FaultKind.ACTIVITY, "the activity anchors", what)
            self._heads(session, row)
        self._report.sentences.append(f"{len(leaves)} anchors stand in the log, {len(rows)} in the database.")

    def _heads(self, session: Session, row: ActivityAnchor) -> None:
        """The heads that were anchored are links of today's chains, as far as those reach back."""
        for chain, head in decode_heads(row.heads).items():
            acts = acts_of(session, chain)
            if not acts or acts[0].number > 1:
                continue  # retired from the front: whether the head was among the retired cannot be told
            if head not in {act.hash for act in acts}:
                what = f"the head of {chain} that was anchored on {row.day} is no act of that chain any more"
                self._fault(FaultKind.ACTIVITY, "the activity chains", what, "The chain was rewritten.")
