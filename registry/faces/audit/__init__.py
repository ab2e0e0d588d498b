"""Auditors, journalists, other authorities: what was published, that it is whole, and how to prove it.

Also the front page with the three doors. Pages that work without a script, in English and Chinese. All but
the receipts are drawn from public files only: an auditor sees what everyone sees, and needs no account.
"""

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface
from flask_babel import lazy_gettext as lazy
from jinja2 import StrictUndefined

from registry.faces.audit import batches, downloads, feeds, front, leaf, receipts, registers, sign_in
from registry.faces.audit.language import (
    HTML_LANGUAGES,
    LANGUAGES,
    in_language,
    page_language,
    speak_languages,
)
from registry.faces.audit.mistakes import show_mistakes_as_pages
from registry.faces.audit.record import remember_readings
from registry.faces.audit.settings import AuditFace, ReceiptsAccess
from registry.faces.audit.wording import STATES, kind_of, teach_words
from registry.faces.hardening import secure_pages

__all__ = ["AuditFace", "ReceiptsAccess", "create_audit_app"]

SECTIONS = (
    ("front.overview", lazy("Overview")),
    ("batches.batches", lazy("Batches")),
    ("registers.witnesses", lazy("Witnesses")),
    ("registers.changes", lazy("Changes")),
    ("downloads.downloads", lazy("Downloads")),
    ("receipts.receipts", lazy("Receipts")),
)
_LARGEST_FORM_BYTES = 64_000


class _FormGuard(SecureCookieSessionInterface):
    """Flask's signed cookie, which carries nothing here but the token against forged forms."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Over https the cookie stays on https; the embedded demonstration has none."""
        return request.is_secure


def create_audit_app(face: AuditFace) -> Flask:
    """The application behind /audit/ and the front page."""
    app = Flask(__name__, static_url_path="/audit/static")
    app.config.update(
        MAX_CONTENT_LENGTH=_LARGEST_FORM_BYTES,
        SESSION_COOKIE_NAME="audit_form",
        SESSION_COOKIE_PATH="/audit",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
    )
    app.session_interface = _FormGuard()
    # The router's own redirects to tidier addresses repeat the Host that the caller named: there are none.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    face.attach(app.extensions)
    remember_readings(app.extensions, face)
    speak_languages(app)
    teach_words(app)
    secure_pages(app)
    show_mistakes_as_pages(app)
    for part in (front, batches, leaf, registers, feeds, downloads, receipts, sign_in):
        app.register_blueprint(part.pages)
    sign_in.guard_forms(app, face.receipts)

    @app.context_processor
    def _on_every_page() -> dict[str, object]:
        return {
            "demo": face.profile == "demo",
            "base_url": face.base_url,
            "languages": LANGUAGES,
            "html_languages": HTML_LANGUAGES,
            "page_language": page_language(),
            "html_language": HTML_LANGUAGES[page_language()],
            "in_language": in_language,
            "sections": SECTIONS,
            "states": STATES,
            "kind_of": kind_of,
        }

    return app
