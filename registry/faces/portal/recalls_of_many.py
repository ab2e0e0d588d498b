"""To ask for a recall of everything that somebody stated between two days: an official, a key, an issuer.

It asks and no more, as for one statement: another official decides, on the order's page.
"""

from dataclasses import dataclass, replace

from flask import Blueprint, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from sqlalchemy import select
from sqlalchemy.orm import Session

from registry.errors import NothingToRecall
from registry.faces.database import db
from registry.faces.portal.forms import REASONS, RecallOfManyForm
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.lifecycle.recall_orders import RecallSelector, ask_recall, outside_issuers
from registry.models import ApiKey, Official, transaction
from registry.models.official import Permission, Role
from registry.models.recall import RecallReason
from registry.protocol.intervals import utc_date

pages = Blueprint("recalls_of_many", __name__, url_prefix="/portal/recalls/all")
pages.before_request(require(Permission.RECALL))


@dataclass(frozen=True, slots=True)
class Whose:
    """Somebody who stated something: in words, and as a recall selects it, its days still to come."""

    name: str
    selector: RecallSelector


@pages.get("/")
def ask() -> ResponseReturnValue:
    """The empty form."""
    return _page(*_form())


@pages.post("/")
def asked() -> ResponseReturnValue:
    """Put the order on record and lead to it, or show the form again with what to mend."""
    session, now = db.session(), this_face().clock()
    form, groups = _form()
    if not form.validate():
        return _page(form, groups), 400
    chosen = {key: whose for group in groups.values() for key, whose in group.items()}[str(form.whose.data)]
    try:
        with transaction(session):
            # A crash after this commit leaves an order that waits for its decision like any other.
            order_id = ask_recall(
                session,
                replace(chosen.selector, stated_from=form.first.data, stated_to=form.last.data),
                RecallReason(form.reason.data),
                authority_id=g.official.authority_id,
                asked_by=g.official.official_id,
                now=now,
            )
    except NothingToRecall:
        form.whose.errors = [_("There is no statement of theirs of these days.")]
        return _page(form, groups), 409
    return redirect(url_for("recalls.order", order_id=order_id), 303)


def _form() -> tuple[RecallOfManyForm, dict[str, dict[str, Whose]]]:
    groups = _who_states(db.session(), g.official.authority_id)
    keys = [key for group in groups.values() for key in group]
    return RecallOfManyForm(keys, utc_date(this_face().clock())), groups


def _who_states(session: Session, authority_id: str) -> dict[str, dict[str, Whose]]:
    """By heading, whoever may be chosen; disabled officials and keys too, who may be the very reason."""
    officials = session.execute(
        select(Official.id, Official.name)
        .where(Official.authority_id == authority_id, Official.role == Role.OFFICIAL.value)
        .order_by(Official.name, Official.id)
    )
    keys = session.execute(
        select(ApiKey.key_hash, ApiKey.name, ApiKey.preview)
        # Device keys too: people's own reports came through them.
        .where(ApiKey.authority_id == authority_id, ApiKey.kind != "stats")
        .order_by(ApiKey.name, ApiKey.preview, ApiKey.key_hash)
    )
    groups = {
        _("Officials"): {
            f"official:{row.id}": Whose(row.name, RecallSelector(official_id=row.id)) for row in officials
        },
        _("API keys"): {
            f"api-key:{row.key_hash.hex()}": Whose(
                f"{row.name} {row.preview}…".strip(), RecallSelector(api_key_hash=row.key_hash)
            )
            for row in keys
        },
        _("Outside issuers"): {
            f"issuer:{name}": Whose(name, RecallSelector(external_issuer_id=name))
            for name in outside_issuers(session, authority_id)
        },
    }
    return {heading: group for heading, group in groups.items() if group}


def _page(form: RecallOfManyForm, groups: dict[str, dict[str, Whose]]) -> str:
    return render_template("portal/recall_many.html", form=form, groups=groups, reasons=REASONS)
