"""Officials' way in: by a one-time link or a passkey, for a shift, and out again; and what they may do.

What takes a fresh proof (`STEP_UP`) asks for it here, whenever a form of it is sent: pages can be looked at
without. The same page asks whoever left a session alone for too long. A form that was being sent is carried
by it as hidden fields, and sent again together with the proof.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from flask import abort, current_app, g, make_response, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from registry.errors import ProofRefused
from registry.faces.database import db
from registry.faces.pages.sign_in import Entrance
from registry.faces.portal.proof import FIELD, Purpose, brought, is_at_home, party
from registry.faces.portal.settings import this_face
from registry.lifecycle.passkeys import has_passkey, prove
from registry.models import transaction
from registry.models.official import STEP_UP, Permission, Role, Way, refresh_portal_session, session_key

ENTRANCE = Entrance(
    face="portal",
    role=Role.OFFICIAL,
    start="authorizations.statement",
    open_session=lambda: db.session(),
    clock=lambda: this_face().clock(),
    idle_seconds=lambda: this_face().idle_seconds,
)
pages = ENTRANCE.pages(__name__)


def require(*permissions: Permission) -> Callable[[], ResponseReturnValue | None]:
    """What goes before each request of a blueprint: puts who is signed in into `g.official`.

    Answers instead how to come in, or, for whoever has none of the permissions, that they may not do this;
    and asks for a fresh proof where a form is sent that takes one.
    """

    def check() -> ResponseReturnValue | None:
        answer = signed_in_or_told()
        if answer is not None:
            return answer
        held = g.official.permissions.intersection(permissions)
        if not held:
            abort(403)
        return proof_or_asked() if held <= STEP_UP else None

    return check


def demand(permission: Permission) -> None:
    """For a view of a blueprint that more may see: ends the request for whoever lacks the permission.

    Also for whoever must first prove, where it takes that, who they are.
    """
    if permission not in g.official.permissions:
        abort(403)
    answer = proof_or_asked() if permission in STEP_UP else None
    if answer is not None:
        abort(make_response(answer))


def signed_in_or_told(*, enrolling: bool = False) -> ResponseReturnValue | None:
    """Put who is signed in into `g.official`; a page that says what to do first, for anybody else.

    `enrolling` is for the pages to which a link alone leads, where it leads nowhere else.
    """
    g.official = ENTRANCE.signed_in()
    if g.official is None:
        return render_template("portal/signed_out.html", by_choice=False), 403
    if g.official.is_locked and not proven():
        return ask_page(locked=True)
    if not enrolling and this_face().profile == "production" and g.official.way is Way.LINK and not proven():
        # For a first passkey, or one in place of those that were lost: a link that was read by others on its
        # way must not do more.
        return redirect(url_for("passkeys.overview"), 303)
    return None


def proof_or_asked() -> ResponseReturnValue | None:
    """For a form that takes a fresh proof: the page that asks for it, unless it is there or came along.

    In a demonstration nobody is asked who has no passkey: the link was the proof.
    """
    if request.method in {"GET", "HEAD"} or g.official.is_fresh or proven():
        return None
    if has_passkey(db.session(), g.official.official_id) or by_openid():
        return ask_page(locked=False)
    if this_face().profile == "demo":
        return None
    return redirect(url_for("passkeys.overview", needed=1), 303)


def ask_page(*, locked: bool, failed: bool = False) -> ResponseReturnValue:
    """Asks for a proof, and carries what was being sent."""
    carried = [
        (name, value)
        for name, value in request.form.items(multi=True)
        if name not in {"csrf_token", FIELD, "back"}
    ]
    is_sent = request.method == "POST" and request.endpoint != "passkeys.confirm"
    has_files = is_sent and any(file.filename for file in request.files.values())
    return (
        render_template(
            "portal/confirm.html",
            locked=locked,
            failed=failed or bool(request.form.get(FIELD)),
            # A file is not carried: its page asks for it again.
            action=request.full_path.rstrip("?")
            if is_sent and not has_files
            else url_for("passkeys.confirm"),
            carried=carried if is_sent and not has_files else [],
            back="" if is_sent and not has_files else safe_path(_back(is_sent=is_sent)),
            has_files=has_files,
            has_passkey=has_passkey(db.session(), g.official.official_id),
            at_home=is_at_home(),
            home=this_face().relying_party,
            by_openid=by_openid() or (locked and g.official.way is Way.OIDC),
        ),
        403,
    )


def by_openid() -> bool:
    """Whether who is signed in can prove it at the organisation's provider, by more than a password."""
    provider = this_face().openid
    return g.official.way is Way.OIDC and provider is not None and provider.policy.demands


def safe_path(path: str) -> str:
    """A path of the portal's own; its start for anything else."""
    parts = urlsplit(path)
    is_ours = not parts.scheme and not parts.netloc and path.startswith("/portal/") and "\\" not in path
    return path if is_ours else url_for("authorizations.statement")


def _back(*, is_sent: bool) -> str:
    """Where to go on afterwards: the page that was asked for, or the one whose form was sent."""
    if request.endpoint == "passkeys.confirm":
        return request.form.get("back", "")
    if not is_sent:
        return request.full_path.rstrip("?")
    # Some forms are sent to an address that is no page: then the page above it holds the form.
    path, addresses = request.path, current_app.url_map.bind(request.host)
    while path != "/portal/" and not addresses.test(path, "GET"):
        path = path.rstrip("/").rpartition("/")[0] + "/"
    return path


def proven() -> bool:
    """Whether the answer of a passkey came along, of whoever this session belongs to: then it is fresh."""
    if request.method != "POST" or not request.form.get(FIELD):
        return False
    if "proven" in g:
        return bool(g.proven)
    g.proven = False
    try:
        answer = brought(Purpose.CONFIRM)
        now = this_face().clock()
        with transaction(db.session()) as session:
            # A crash after this commit leaves a session that is fresh, and a form to send again.
            official = prove(session, party(), answer, now)
            if official is not None and official.id == g.official.official_id:
                refresh_portal_session(session, session_key(ENTRANCE.token), Way.PASSKEY, now)
                g.proven = True
    except ProofRefused:
        return False
    return bool(g.proven)
