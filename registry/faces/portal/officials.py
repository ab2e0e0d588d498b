"""The officials' pages: who there is, an invitation, what each may do, and files of many.

A link stands on the one page that answers its making, and nowhere again: not in an address, a cookie or a
log. Whoever needs another makes another.
"""

import base64
from collections.abc import Sequence

from flask import Blueprint, abort, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_babel import gettext as _
from flask_babel import lazy_gettext as lazy

from registry.errors import OfficialsRefused, OfficialsRule
from registry.faces.database import db
from registry.faces.portal.official_files import (
    LARGEST_FILE_BYTES,
    FaultyFile,
    read_leavers,
    read_newcomers,
    write_links,
)
from registry.faces.portal.official_forms import (
    PERMISSIONS,
    ROLES,
    FileForm,
    InvitationForm,
    PermissionsForm,
)
from registry.faces.portal.settings import this_face
from registry.faces.portal.sign_in import require
from registry.lifecycle.officials import (
    Caretaker,
    Invitation,
    Newcomer,
    change_permissions,
    invite,
    let_in_again,
    link_again,
    official_of,
    officials_of,
    remove_officials,
)
from registry.models import Official, transaction
from registry.models.official import Permission, Role

RULES = {
    OfficialsRule.UNKNOWN: lazy("There is no such person here, or they were removed."),
    OfficialsRule.NOT_PERMITTED: lazy("You may look after officials no longer."),
    OfficialsRule.BEYOND_OWN: lazy("They may do more than you: ask somebody who may do as much."),
    OfficialsRule.ONESELF: lazy("You cannot remove yourself."),
    OfficialsRule.LAST: lazy("Nobody else looks after officials: give it to somebody first."),
    OfficialsRule.KNOWN_ALREADY: lazy("This invitation was made before; its link was shown then."),
}

pages = Blueprint("officials", __name__, url_prefix="/portal/officials")
pages.before_request(require(Permission.OFFICIALS))


@pages.url_value_preprocessor
def _larger_files(_endpoint: str | None, _values: dict[str, object] | None) -> None:
    # Before the guard against forged forms, which reads the form.
    if request.path.startswith("/portal/officials/import/"):
        request.max_content_length = LARGEST_FILE_BYTES


@pages.get("/")
def overview() -> ResponseReturnValue:
    """Everybody of the authority."""
    return render_template(
        "portal/officials.html",
        people=officials_of(db.session(), g.official.authority_id),
        permission_names=PERMISSIONS,
        auditor=Role.AUDITOR.value,
    )


@pages.get("/invite")
def invitation() -> ResponseReturnValue:
    """The empty form."""
    return _invitation_page(InvitationForm(g.official.permissions))


@pages.post("/invite")
def invited() -> ResponseReturnValue:
    """Let somebody in and show their link, or the form again with what to mend."""
    form = InvitationForm(g.official.permissions)
    if not form.validate():
        return _invitation_page(form), 400
    newcomer = Newcomer(form.once.data, form.name.data, form.chosen(), Role(form.role.data))
    try:
        with transaction(db.session()) as session:
            # A crash after this commit leaves somebody whose link nobody saw: it is made again.
            (made,) = invite(session, [newcomer], _by())
    except OfficialsRefused as refused:
        if refused.rule is OfficialsRule.KNOWN_ALREADY:
            return redirect(url_for("officials.person", official_id=newcomer.id, again=1), 303)
        form.name.errors = [RULES[refused.rule]]
        return _invitation_page(form), 409
    return _link_page(made)


@pages.get("/<official_id>")
def person(official_id: str) -> ResponseReturnValue:
    """One person, and what can be done."""
    found = _person(official_id)
    form = PermissionsForm(
        g.official.permissions,
        formdata=None,
        data={"permissions": [each.value for each in found.permissions]},
    )
    note = RULES[OfficialsRule.KNOWN_ALREADY] if "again" in request.args else None
    return _person_page(found, form, note)


@pages.post("/<official_id>")
def changed(official_id: str) -> ResponseReturnValue:
    """What they may do from now on."""
    form = PermissionsForm(g.official.permissions)
    if not form.validate():
        return _person_page(_person(official_id), form), 400
    try:
        with transaction(db.session()) as session:
            change_permissions(session, official_id, form.chosen(), _by())
    except OfficialsRefused as refused:
        return _refused(official_id, refused)
    return redirect(url_for("officials.person", official_id=official_id), 303)


@pages.post("/<official_id>/link")
def link(official_id: str) -> ResponseReturnValue:
    """Another link; those from before open nothing."""
    try:
        with transaction(db.session()) as session:
            made = link_again(session, official_id, _by())
    except OfficialsRefused as refused:
        return _refused(official_id, refused)
    return _link_page(made)


@pages.post("/<official_id>/remove")
def remove(official_id: str) -> ResponseReturnValue:
    """Out, on their next request."""
    try:
        with transaction(db.session()) as session:
            remove_officials(session, [official_id], _by())
    except OfficialsRefused as refused:
        return _refused(official_id, refused)
    return redirect(url_for("officials.person", official_id=official_id), 303)


@pages.post("/<official_id>/let-in")
def let_in(official_id: str) -> ResponseReturnValue:
    """In again, by a fresh link."""
    try:
        with transaction(db.session()) as session:
            made = let_in_again(session, official_id, _by())
    except OfficialsRefused as refused:
        return _refused(official_id, refused)
    return _link_page(made)


@pages.get("/import/")
def files() -> ResponseReturnValue:
    """The forms for files of many."""
    return _files_page()


@pages.post("/import/invite")
def invite_many() -> ResponseReturnValue:
    """Everybody in the file, and their links once; nobody, if a row is wrong."""
    form = FileForm()
    if not form.validate():
        return _files_page("invite", form), 400
    try:
        newcomers = read_newcomers(form.file.data.read(), g.official.permissions)
        with transaction(db.session()) as session:
            # A crash after this commit leaves people whose links nobody saw: they are made again, one by one.
            made = invite(session, newcomers, _by())
    except FaultyFile as faulty:
        return _files_page("invite", form, faulty), 400
    except OfficialsRefused as refused:
        form.file.errors = [RULES[refused.rule]]
        return _files_page("invite", form), 409
    links = [(each.name, _address(each)) for each in made]
    table = base64.b64encode(write_links(links).encode("utf-8-sig")).decode("ascii")
    return render_template("portal/officials_invited.html", links=links, table=table)


@pages.post("/import/remove")
def remove_many() -> ResponseReturnValue:
    """Everybody in the file out; nobody, if a row is wrong."""
    form = FileForm()
    if not form.validate():
        return _files_page("remove", form), 400
    people = officials_of(db.session(), g.official.authority_id)
    try:
        leavers = read_leavers(form.file.data.read(), people, g.official.official_id)
        with transaction(db.session()) as session:
            removed = remove_officials(session, leavers, _by())
    except FaultyFile as faulty:
        return _files_page("remove", form, faulty), 400
    except OfficialsRefused as refused:
        form.file.errors = [RULES[refused.rule]]
        return _files_page("remove", form), 409
    return render_template("portal/officials_removed.html", removed=removed, listed=len(leavers))


def _by() -> Caretaker:
    return Caretaker(g.official.official_id, g.official.authority_id, this_face().clock())


def _address(made: Invitation) -> str:
    face = "audit" if made.role is Role.AUDITOR else "portal"
    return f"{this_face().address}/{face}/sign-in/{made.token}"


def _person(official_id: str) -> Official:
    found = official_of(db.session(), official_id, g.official.authority_id)
    if found is None:
        abort(404)
    return found


def _refused(official_id: str, refused: OfficialsRefused) -> ResponseReturnValue:
    found = _person(official_id)
    form = PermissionsForm(
        g.official.permissions,
        formdata=None,
        data={"permissions": [each.value for each in found.permissions]},
    )
    return _person_page(found, form, RULES[refused.rule]), 409


def _person_page(found: Official, form: PermissionsForm, note: object = None) -> str:
    own = g.official.permissions
    is_auditor = found.role == Role.AUDITOR.value
    return render_template(
        "portal/official.html",
        person=found,
        form=form,
        note=note,
        is_auditor=is_auditor,
        is_oneself=found.id == g.official.official_id,
        held=[PERMISSIONS[each] for each in Permission if each in found.permissions],
        beyond=[PERMISSIONS[each] for each in Permission if each in found.permissions - own],
        may_print=not is_auditor and Permission.ISSUE in own & found.permissions,
        may_link=is_auditor or found.permissions <= own,
    )


def _invitation_page(form: InvitationForm) -> str:
    return render_template("portal/official_invite.html", form=form, roles=ROLES)


def _link_page(made: Invitation) -> ResponseReturnValue:
    return make_response(
        render_template(
            "portal/official_link.html", made=made, address=_address(made), again=made.official_id
        )
    )


def _files_page(act: str = "", form: FileForm | None = None, faulty: FaultyFile | None = None) -> str:
    """`act` is which of the two forms the faults belong to."""
    faults: Sequence[object] = faulty.faults if faulty is not None else ()
    if form is not None and faulty is not None:
        form.file.errors = [_("Nothing was done: %(count)s lines must be mended.", count=len(faults))]
    return render_template(
        "portal/officials_files.html",
        act=act,
        form=form or FileForm(formdata=None),
        faults=faults,
        may_give=[each.value for each in Permission if each in g.official.permissions],
    )
