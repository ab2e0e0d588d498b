"""The keys of an authority: API keys, which are made, disabled and enabled here, and certificate keys to see.

A fresh API key stands on the one page that answers its making: not in an address, a cookie or a log.
"""

from flask import Blueprint, g, redirect, render_template, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy
from sqlalchemy import select
from wtforms import Field, HiddenField, StringField
from wtforms.validators import AnyOf, ValidationError

from registry.errors import NoSuchApiKey
from registry.faces.database import db
from registry.faces.portal.forms import PortalForm
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.lifecycle.api_keys import (
    LONGEST_NAME,
    ApiKeyKind,
    ApiKeyWanted,
    api_keys_of,
    make_api_key,
    switch_api_key,
)
from registry.models import CertificateKey, transaction
from registry.models.official import Permission
from registry.protocol.intervals import utc_date

KINDS = {
    ApiKeyKind.DEVICE.value: lazy("An app on phones (device)"),
    ApiKeyKind.ADMIN.value: lazy("A lab or a hospital’s system, which gets codes (admin)"),
    ApiKeyKind.STATS.value: lazy("A dashboard, which reads figures (stats)"),
}

pages = Blueprint("keys", __name__, url_prefix="/portal/keys")
pages.before_request(require(Permission.KEYS))


class ApiKeyForm(PortalForm):
    """Whom a key is for, and what it opens."""

    elements = {"kind": "kind-0", "name": "name"}  # noqa: RUF012  # a class variable of its base
    kind = StringField(
        lazy("Who calls with it?"), validators=[AnyOf(KINDS, lazy("Choose who calls with it."))]
    )
    name = StringField(lazy("Name of the app or system"))

    def validate_name(self, field: Field) -> None:
        """So that a key can be told from others when it must be disabled."""
        field.data = (field.data or "").strip()
        if not field.data:
            raise ValidationError(_("Say whom it is for: a key without a name cannot be told from others."))
        if len(field.data) > LONGEST_NAME or not field.data.isprintable():
            raise ValidationError(_("At most %(most)s characters, in one line.", most=LONGEST_NAME))


class SwitchForm(PortalForm):
    """Which key is meant, by its hash in hex."""

    key = HiddenField()


@pages.get("/")
def overview() -> ResponseReturnValue:
    """All keys, and the form for another."""
    return _overview(ApiKeyForm(formdata=None))


@pages.post("/")
def made() -> ResponseReturnValue:
    """Make a key and show it, or the form again with what to mend."""
    face, form = this_face(), ApiKeyForm()
    if not form.validate():
        return _overview(form), 400
    with transaction(db.session()) as session:
        # A crash after this commit leaves a key that nobody knows, to be disabled for tidiness alone.
        api_key = make_api_key(
            session,
            ApiKeyWanted(ApiKeyKind(form.kind.data), form.name.data),
            g.official.authority_id,
            lookup_key=face.lookup_key,
            by=g.official.official_id,
            now=face.clock(),
        )
    return render_template(
        "portal/key_made.html", api_key=api_key, name=form.name.data, kind=KINDS[form.kind.data]
    )


@pages.post("/disable")
def disable() -> ResponseReturnValue:
    """From the next call on it opens nothing."""
    return _switch(disabled=True)


@pages.post("/enable")
def enable() -> ResponseReturnValue:
    """It opens again what it did."""
    return _switch(disabled=False)


def _switch(*, disabled: bool) -> ResponseReturnValue:
    form = SwitchForm()
    try:
        with transaction(db.session()) as session:
            switch_api_key(
                session,
                bytes.fromhex(form.key.data or ""),
                g.official.authority_id,
                disabled=disabled,
                by=g.official.official_id,
                now=this_face().clock(),
            )
    except (NoSuchApiKey, ValueError):
        form = ApiKeyForm(formdata=None)
        form.name.errors = [_("There is no such key any more.")]
        return _overview(form), 404
    return redirect(url_for("keys.overview"), 303)


def _overview(form: ApiKeyForm) -> str:
    session, authority_id = db.session(), g.official.authority_id
    certificate_keys = session.scalars(
        select(CertificateKey)
        .where(CertificateKey.authority_id == authority_id)
        .order_by(CertificateKey.not_before.desc(), CertificateKey.key_id)
    )
    return render_template(
        "portal/keys.html",
        form=form,
        kinds=KINDS,
        api_keys=api_keys_of(session, authority_id),
        certificate_keys=[
            (key.key_id, utc_date(key.not_before).isoformat(), utc_date(key.not_after).isoformat())
            for key in certificate_keys
        ],
    )
