"""The witnesses, what they are good for, and everything about the log that ever changed."""

from flask import Blueprint, render_template, request

from registry.client.monitor.health import limits
from registry.client.monitor.shard import Entry
from registry.faces.audit.paging import page_of
from registry.faces.audit.quorum import quorum_of
from registry.faces.audit.record import Record, now, this_record
from registry.faces.audit.wording import LEAF_TYPES, members_in_words
from registry.protocol.leaves import CloseLeaf, KeyLeaf, OpenLeaf, PolicyLeaf, WithdrawLeaf

pages = Blueprint("registers", __name__, url_prefix="/audit")

CHANGES = (WithdrawLeaf, KeyLeaf, PolicyLeaf, CloseLeaf, OpenLeaf)
PER_PAGE = 50


@pages.get("/witnesses")
def witnesses() -> str:
    """Who has cosigned what, and when."""
    record, moment = this_record(), now()
    return render_template(
        "audit/witnesses.html",
        record=record,
        view=record.view,
        health=record.view.health(moment),
        quorum=quorum_of(record.view.policy),
        limits=limits(record.view.trust),
        moment=moment,
    )


@pages.get("/changes")
def changes() -> str:
    """Withdrawals, keys, policies, the turn of years: newest first."""
    record = this_record()
    return render_template(
        "audit/changes.html",
        record=record,
        view=record.view,
        page=page_of(_changes(record), request.args.get("page", "1"), PER_PAGE),
        kinds=LEAF_TYPES,
        members=members_in_words,
    )


def _changes(record: Record) -> list[Entry]:
    return [entry for entry in record.view.entries() if isinstance(entry.leaf, CHANGES)][::-1]
