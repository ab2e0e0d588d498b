"""The officials' face: sign in by a one-time link, state a result and an agreement, hand over a code; and
recall what was a mistake, two officials together.

Plain pages and forms that work without a script, in Chinese and English. This face must never keep a code but
sealed to who issued it, never put one into an address, a title or a log, and never ask for anything that
names the person.
"""

from flask import Flask, g

from registry.faces.database import attach
from registry.faces.pages import guard_forms, make_pages_app
from registry.faces.pages.language import speak_languages
from registry.faces.portal import (
    activations,
    authorizations,
    bulk,
    code_settings,
    codes,
    corrections,
    keys,
    officials,
    oidc,
    passkeys,
    printed,
    quota,
    recalls,
    recalls_of_many,
    sign_in,
    sms,
    sms_texts,
    statistics,
)
from registry.faces.portal.mistakes import show_mistakes_as_pages
from registry.faces.portal.proof import is_at_home
from registry.faces.portal.sections import show_sections
from registry.faces.portal.settings import PortalFace

__all__ = ["PortalFace", "create_portal_app"]


def create_portal_app(face: PortalFace) -> Flask:
    """The portal as a WSGI application. Serves /portal/…, whatever else lies under its address."""
    app = make_pages_app(__name__, "portal")
    face.attach(app.extensions)
    attach(app, face.database_url)
    bulk.take_files(app)
    guard_forms(app, face.session_secret)
    speak_languages(app, "portal", ("zh", "en"))
    show_mistakes_as_pages(app)
    show_sections(app)
    for part in (
        activations,
        authorizations,
        bulk,
        code_settings,
        codes,
        corrections,
        keys,
        officials,
        passkeys,
        printed,
        quota,
        recalls,
        recalls_of_many,
        sign_in,
        sms,
        sms_texts,
        statistics,
    ):
        app.register_blueprint(part.pages)
    if face.openid is not None:
        app.register_blueprint(oidc.pages)

    @app.context_processor
    def _on_every_page() -> dict[str, object]:
        home = None if face.relying_party is None or is_at_home() else face.relying_party.origin
        official = g.get("official")
        return {
            "demo": face.profile == "demo",
            "passkeys_elsewhere": home,
            # A page that is open for too long covers itself.
            "covers": face.idle_seconds > 0 and official is not None and not official.is_locked,
        }

    return app
