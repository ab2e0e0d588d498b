"""Recalls: an official asks, another decides. What is asked for is a statement, never a person.

A list of the official's own statements and of the authority's orders, a form to ask, a page for each order.
Handles are opened here, on approval, by the key that only this process holds. Must never show what was
uploaded, or whether anything was: this half does not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from flask import Blueprint, abort, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import NothingToRecall, NotToBeDecided
from registry.faces.database import db
from registry.faces.portal.forms import (
    CHANNELS,
    NAMES_OF_TYPES,
    REASONS,
    ApprovalForm,
    NumberForm,
    RecallForm,
)
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import demand, require
from registry.lifecycle.recall_orders import (
    RecallSelector,
    approve_recall,
    ask_recall,
    may_decide,
    own_statements,
    recall_order,
    recall_orders,
    refuse_recall,
    statement_of,
    statements_meant,
)
from registry.models import ApiKey, Official, RecallOrder, transaction
from registry.models.official import Permission
from registry.models.recall import RecallReason, RecallState
from registry.protocol.intervals import utc_date

LISTED_DAYS = 7
"""Of one's own statements; older ones are found by their number."""
LISTED_ORDERS = 100
LISTED_STATEMENTS = 200
"""Whoever states more in a week does it from files, and takes a whole file back on its own page."""
STATES = {
    RecallState.ASKED: lazy("waits for another official"),
    RecallState.APPROVED: lazy("approved, done before the next publishing"),
    RecallState.REFUSED: lazy("refused"),
    RecallState.DONE: lazy("done"),
}

pages = Blueprint("recalls", __name__, url_prefix="/portal/recalls")
pages.before_request(require(Permission.RECALL, Permission.APPROVE))


@dataclass(frozen=True, slots=True)
class ShownOrder:
    """An order in words."""

    order: RecallOrder
    what: str
    reason: str
    state: str
    asked_by: str
    decided_by: str | None
    statements: int
    """How many statements it means at present."""
    is_mine: bool
    may_decide: bool


@pages.get("/")
def overview() -> ResponseReturnValue:
    """Orders of the authority, and one's own statements of the last days."""
    return _overview(NumberForm())


@pages.post("/find")
def find() -> ResponseReturnValue:
    """From a statement's number to the form for it."""
    form = NumberForm()
    if form.validate():
        if statement_of(db.session(), form.number.data, g.official.authority_id) is not None:
            return redirect(url_for("recalls.ask", statement=form.number.data), 303)
        form.number.errors = [_("There is no statement with this number: compare it with your record.")]
    return _overview(form), 400


@pages.get("/ask/<statement>")
def ask(statement: str) -> ResponseReturnValue:
    """The form for one statement."""
    demand(Permission.RECALL)
    return _ask_page(statement, RecallForm())


@pages.post("/ask/<statement>")
def asked(statement: str) -> ResponseReturnValue:
    """Put the order on record, or the form again with what to mend."""
    demand(Permission.RECALL)
    face, form, session = this_face(), RecallForm(), db.session()
    if not form.validate():
        return _ask_page(statement, form), 400
    try:
        with transaction(session):
            # A crash after this commit leaves an order that waits for its decision like any other.
            order_id = ask_recall(
                session,
                RecallSelector(authorization_id=statement),
                RecallReason(form.reason.data),
                authority_id=g.official.authority_id,
                asked_by=g.official.official_id,
                now=face.clock(),
            )
    except NothingToRecall:
        form.reason.errors = [_("A recall of this statement is under way already.")]
        return _ask_page(statement, form), 409
    return redirect(url_for("recalls.order", order_id=order_id), 303)


@pages.get("/<order_id>")
def order(order_id: str) -> ResponseReturnValue:
    """One order: what it means, how far it is, and for whoever may, the decision."""
    return _order_page(order_id, ApprovalForm())


@pages.post("/<order_id>/approve")
def approve(order_id: str) -> ResponseReturnValue:
    """Open the handles and hand them over."""
    demand(Permission.APPROVE)
    face, form, session = this_face(), ApprovalForm(), db.session()
    if not form.validate():
        return _order_page(order_id, form), 400
    try:
        with transaction(session):
            # A crash after this commit loses the page only: the publisher finds what it is to do.
            approve_recall(
                session,
                order_id,
                authority_id=g.official.authority_id,
                official_id=g.official.official_id,
                key=face.recall_key,
                now=face.clock(),
            )
    except NotToBeDecided:
        return _order_page(order_id, ApprovalForm(formdata=None)), 409
    return redirect(url_for("recalls.order", order_id=order_id), 303)


@pages.post("/<order_id>/refuse")
def refuse(order_id: str) -> ResponseReturnValue:
    """Nothing is recalled."""
    demand(Permission.APPROVE)
    face, session = this_face(), db.session()
    try:
        with transaction(session):
            refuse_recall(
                session,
                order_id,
                authority_id=g.official.authority_id,
                official_id=g.official.official_id,
                now=face.clock(),
            )
    except NotToBeDecided:
        return _order_page(order_id, ApprovalForm(formdata=None)), 409
    return redirect(url_for("recalls.order", order_id=order_id), 303)


def _overview(form: NumberForm) -> str:
    face, session = this_face(), db.session()
    orders = recall_orders(session, g.official.authority_id, most=LISTED_ORDERS)
    names = _names(session)
    since = utc_date(face.clock()) - timedelta(days=LISTED_DAYS)
    return render_template(
        "portal/recalls.html",
        form=form,
        orders=[_shown(session, each, names) for each in orders],
        statements=own_statements(session, g.official.official_id, since, most=LISTED_STATEMENTS),
        report_types=NAMES_OF_TYPES,
        channels=CHANNELS,
        listed_days=LISTED_DAYS,
        may_ask=Permission.RECALL in g.official.permissions,
        may_correct=g.official.permissions >= {Permission.RECALL, Permission.ISSUE},
    )


def _ask_page(statement: str, form: RecallForm) -> str:
    found = statement_of(db.session(), statement, g.official.authority_id)
    if found is None:
        abort(404)
    return render_template(
        "portal/recall_ask.html", form=form, statement=found, reasons=REASONS, report_types=NAMES_OF_TYPES
    )


def _order_page(order_id: str, form: ApprovalForm) -> str:
    session = db.session()
    found = recall_order(session, order_id, g.official.authority_id)
    if found is None:
        abort(404)
    return render_template("portal/recall.html", shown=_shown(session, found, _names(session)), form=form)


def _names(session: Session) -> Mapping[str, str]:
    """Officials' names, by id: of one authority, so never many."""
    wanted = select(Official.id, Official.name).where(Official.authority_id == g.official.authority_id)
    return {row.id: row.name for row in session.execute(wanted)}


def _shown(session: Session, order: RecallOrder, names: Mapping[str, str]) -> ShownOrder:
    return ShownOrder(
        order=order,
        what=_what(session, order, names),
        reason=str(REASONS[order.reason]),
        state=str(STATES[RecallState(order.state)]),
        asked_by=names.get(order.asked_by, order.asked_by)
        if order.asked_by
        else _("an operator, by command"),
        decided_by=names.get(order.decided_by, order.decided_by) if order.decided_by else None,
        statements=statements_meant(session, order),
        is_mine=order.asked_by == g.official.official_id,
        may_decide=Permission.APPROVE in g.official.permissions and may_decide(order, g.official.official_id),
    )


def _what(session: Session, order: RecallOrder, names: Mapping[str, str]) -> str:
    if order.authorization_id is not None:
        return str(_("the statement %(number)s", number=order.authorization_id))
    if order.official_id is not None:
        whose = names.get(order.official_id, order.official_id)
    elif order.api_key_hash is not None:
        key = session.get(ApiKey, order.api_key_hash)
        shown = order.api_key_hash.hex()[:12] if key is None else key.preview
        whose = _("the API key %(preview)s…", preview=shown)
    else:
        whose = _("the outside issuer %(name)s", name=order.external_issuer_id)
    return str(
        _(
            "everything that %(whose)s stated from %(first)s to %(last)s, both days included (UTC)",
            whose=whose,
            first=order.stated_from,
            last=order.stated_to,
        )
    )
