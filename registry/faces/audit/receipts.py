"""The one page behind a sign-in: whether what was published was authorised, and whether acts are anchored.

Shows sums, commitments and hashes. What an auditor could join with both halves in hand is told in
docs/threat-model.md; nothing on this page joins them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from flask import Blueprint, g, render_template, request
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.client.monitor.batches import LoggedBatch
from registry.client.monitor.kept_receipts import read_kept_receipts
from registry.client.monitor.shard import Entry
from registry.errors import Distrusted, Malformed
from registry.faces.audit.paging import page_of
from registry.faces.audit.reckoning import batches_with_manifest, receipts_of, reckon
from registry.faces.audit.record import Record, now, this_record
from registry.faces.audit.sign_in import access_to_receipts, require_auditor
from registry.lifecycle.activity import acts_of, chain_heads, check_chain, known_heads, lost_anchors
from registry.models import ActivityAnchor
from registry.models import Receipt as ReceiptRow
from registry.protocol.activity import activity_commitment, decode_heads
from registry.protocol.leaves import ActivityLeaf
from registry.protocol.receipt import commitment, decode_receipt

pages = Blueprint("receipts", __name__, url_prefix="/audit/receipts")
pages.before_request(require_auditor)

PER_PAGE = 24


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of a pasted receipt: `verdict` is the answer, `is_good` whether it is published."""

    verdict: str
    is_good: bool = False
    commitment: bytes | None = None
    batch: LoggedBatch | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain of acts: how many are kept, its newest hash, and `problem`, if it is broken."""

    name: str
    kept: int
    head: bytes
    problem: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """A day's anchor: the leaf that holds it, and whether heads, salt and leaf agree.

    `is_lost`: the leaf commits to heads that went with a database; an operator's act says so.
    """

    day: date
    entry: Entry | None
    is_good: bool
    is_lost: bool


@pages.get("")
def receipts() -> ResponseReturnValue:
    """The sums, real against decoy, and the form for a receipt."""
    return _page([], "")


@pages.post("")
def check_receipt() -> ResponseReturnValue:
    """Look for the receipt that was pasted in."""
    pasted = request.form.get("receipt", "").strip()
    return _page(_all_checked(pasted, this_record()), pasted)


@pages.get("/acts")
def acts() -> ResponseReturnValue:
    """The chains of officials' acts, and the anchors in the log."""
    record = this_record()
    with access_to_receipts().issuing() as session:
        return render_template(
            "audit/acts.html", record=record, chains=_chains(session), anchors=_anchors(session, record)
        )


def _page(checked: list[Checked], pasted: str) -> str:
    access = access_to_receipts()
    with access.issuing() as issuing, access.collecting() as collecting:
        page = page_of(batches_with_manifest(collecting), request.args.get("page", "1"), PER_PAGE)
        record = this_record()
        return render_template(
            "audit/receipts.html",
            record=record,
            auditor=g.auditor,
            books=reckon(issuing, collecting, now()),
            page=page,
            batches=receipts_of(collecting, record.storage.read, page.items),
            checked=checked,
            pasted=pasted,
        )


def _all_checked(pasted: str, record: Record) -> list[Checked]:
    """Each receipt in what a phone printed, or the one that was pasted by itself."""
    try:
        commitments = [kept.commitment for kept in read_kept_receipts(pasted.encode("utf-8", "replace"))]
    except Malformed as no_list:
        try:
            content = pasted.encode("utf-8", "replace")
            decode_receipt(content)
        except Malformed:
            return [Checked(_("This is no receipt as phones keep it: %(why)s.", why=str(no_list)))]
        commitments = [commitment(content)]
    return [_checked(wanted, record) for wanted in commitments]


def _checked(wanted: bytes, record: Record) -> Checked:
    for batch in record.batches:
        manifest = record.manifest(batch)
        if manifest and wanted in manifest.receipts:
            verdict = _(
                "Published: leaf %(place)d of the %(count)d receipts of %(region)s batch %(number)d.",
                place=manifest.receipts.index(wanted),
                count=len(manifest.receipts),
                region=batch.leaf.region,
                number=batch.leaf.sequence,
            )
            return Checked(verdict, True, wanted, batch)
    with access_to_receipts().collecting() as session:
        if session.get(ReceiptRow, wanted) is not None:
            return Checked(_("Uploaded. Its window has not been published yet."), False, wanted)
    return Checked(_("In no batch that is still kept, and not among the uploads that wait."), False, wanted)


def _chains(session: Session) -> list[Chain]:
    found = []
    for name, head in chain_heads(session).items():
        kept = acts_of(session, name)
        problem = ""
        try:
            if kept and check_chain(kept) != head:
                problem = _("its newest act is not its head")
        except Distrusted as error:
            problem = str(error)
        found.append(Chain(name, len(kept), head, problem))
    return found


def _anchors(session: Session, record: Record) -> list[Anchor]:
    rows = session.scalars(select(ActivityAnchor).order_by(ActivityAnchor.day.desc())).all()
    known, lost = known_heads(session), lost_anchors(session)
    return [_anchor(row, record, known, is_lost=(row.log_year, row.leaf_number) in lost) for row in rows]


def _anchor(
    row: ActivityAnchor, record: Record, known: Mapping[str, Collection[bytes | None]], *, is_lost: bool
) -> Anchor:
    entry = None
    if row.log_year is not None and row.leaf_number is not None:
        entry = record.view.entry(row.log_year, row.leaf_number)
    leaf = entry.leaf if entry else None
    is_logged = isinstance(leaf, ActivityLeaf) and leaf.commitment == activity_commitment(row.salt, row.heads)
    is_kept = all(head in known.get(chain, ()) for chain, head in decode_heads(row.heads).items())
    return Anchor(row.day, entry, is_logged and is_kept, is_lost and not is_logged)
