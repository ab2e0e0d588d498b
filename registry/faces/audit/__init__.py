"""Auditors, journalists, other authorities: what was published, that it is whole, and how to prove it.

Also the front page with the three doors. Pages that work without a script, in English and Chinese. All but
the receipts are drawn from public files only: an auditor sees what everyone sees, and needs no account.
"""

from flask import Flask
from flask_babel import lazy_gettext as lazy

from registry.faces.audit import batches, downloads, feeds, front, leaf, receipts, registers, sign_in
from registry.faces.audit.mistakes import show_mistakes_as_pages
from registry.faces.audit.record import remember_readings
from registry.faces.audit.settings import AuditFace, ReceiptsAccess
from registry.faces.audit.wording import STATES, kind_of, teach_words
from registry.faces.pages import make_pages_app
from registry.faces.pages.language import HTML_LANGUAGES, in_language, page_language, speak_languages

__all__ = ["AuditFace", "ReceiptsAccess", "create_audit_app"]

SECTIONS = (
    ("front.overview", lazy("Overview")),
    ("batches.batches", lazy("Batches")),
    ("registers.witnesses", lazy("Witnesses")),
    ("registers.changes", lazy("Changes")),
    ("downloads.downloads", lazy("Downloads")),
    ("receipts.receipts", lazy("Receipts")),
)


def create_audit_app(face: AuditFace) -> Flask:
    """The application behind /audit/ and the front page."""
    app = make_pages_app(__name__, "audit")
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    face.attach(app.extensions)
    remember_readings(app.extensions, face)
    speak_languages(app, "audit", ("en", "zh"))
    teach_words(app)
    show_mistakes_as_pages(app)
    for part in (front, batches, leaf, registers, feeds, downloads, receipts, sign_in):
        app.register_blueprint(part.pages)
    sign_in.guard_sign_in(app, face.receipts)

    @app.context_processor
    def _on_every_page() -> dict[str, object]:
        return {
            "demo": face.profile == "demo",
            "base_url": face.base_url,
            "html_languages": HTML_LANGUAGES,
            "html_language": HTML_LANGUAGES[page_language()],
            "in_language": in_language,
            "sections": SECTIONS,
            "states": STATES,
            "kind_of": kind_of,
        }

    return app
