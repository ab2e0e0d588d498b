"""What every face of pages is made of: its cookie, its form guard, its languages, its headers, its mistakes.

Such a face lies under one path, has one name, and needs no script. What it says to people is its own.
"""

from flask import Flask, request
from flask.sessions import SecureCookieSessionInterface
from flask_wtf import CSRFProtect
from jinja2 import StrictUndefined

from registry.faces.hardening import secure_pages

_LARGEST_FORM_BYTES = 64_000


class _FormGuard(SecureCookieSessionInterface):
    """Flask's signed cookie, which carries nothing here but the token against forged forms."""

    def get_cookie_secure(self, app: Flask) -> bool:
        """Over https the cookie stays on https; the embedded demonstration has none."""
        return request.is_secure


def make_pages_app(import_name: str, face: str) -> Flask:
    """An application for pages under /`face`, with their headers, static files and strict templates."""
    app = Flask(import_name, static_url_path=f"/{face}/static")
    app.config.update(
        MAX_CONTENT_LENGTH=_LARGEST_FORM_BYTES,
        SESSION_COOKIE_NAME=f"{face}_form",
        SESSION_COOKIE_PATH=f"/{face}",
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
    secure_pages(app)
    return app


def guard_forms(app: Flask, secret: bytes) -> None:
    """Refuse forged forms on `app`. `secret` signs the cookie that their tokens are bound to."""
    app.secret_key = secret
    CSRFProtect(app)
