"""The officials' face: sign in by a one-time link, state a result and an agreement, hand over a code; and
recall what was a mistake, two officials together.

Plain pages and forms that work without a script, in Chinese and English. This face must never keep a code,
never put one into an address, a title or a log, and never ask for anything that names the person.
"""

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface
from flask_wtf import CSRFProtect
from jinja2 import StrictUndefined

from registry.faces.database import attach
from registry.faces.hardening import secure_pages
from registry.faces.portal import authorizations, recalls, sign_in
from registry.faces.portal.language import LANGUAGES, page_language, speak_languages
from registry.faces.portal.mistakes import show_mistakes_as_pages
from registry.faces.portal.settings import PortalFace

__all__ = ["PortalFace", "create_portal_app"]

_LARGEST_FORM_BYTES = 64_000


class _FormGuard(SecureCookieSessionInterface):
    """Flask's signed cookie, which carries nothing here but the token against forged forms."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Over https the cookie stays on https; the embedded demonstration has none."""
        return request.is_secure


def create_portal_app(face: PortalFace) -> Flask:
    """The portal as a WSGI application. Serves /portal/…, whatever else lies under its address."""
    app = Flask(__name__, static_url_path="/portal/static")
    app.secret_key = face.session_secret
    app.config.update(
        MAX_CONTENT_LENGTH=_LARGEST_FORM_BYTES,
        SESSION_COOKIE_NAME="portal_form",
        SESSION_COOKIE_PATH="/portal",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        # A form may stay open for a shift: its token is bound to the cookie, not to the hour.
        WTF_CSRF_TIME_LIMIT=None,
        # The pages send no referrer, so none can be asked for; token and SameSite=Strict do this work.
        WTF_CSRF_SSL_STRICT=False,
    )
    app.session_interface = _FormGuard()
    # The router's own redirects to tidier addresses repeat the Host that the caller named: there are none.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    app.jinja_env.undefined = StrictUndefined
    face.attach(app.extensions)
    attach(app, face.database_url)
    CSRFProtect(app)
    speak_languages(app)
    secure_pages(app)
    show_mistakes_as_pages(app)
    app.register_blueprint(sign_in.pages)
    app.register_blueprint(authorizations.pages)
    app.register_blueprint(recalls.pages)

    @app.context_processor
    def _on_every_page() -> dict[str, object]:
        return {"demo": face.profile == "demo", "languages": LANGUAGES, "page_language": page_language()}

    return app
