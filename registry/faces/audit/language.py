"""The language of the pages: what was chosen on them, else what the browser asks for, else English.

The choice is kept in a cookie that holds two letters, goes to these pages alone and tells nobody apart.
"""

from urllib.parse import urlencode

from flask import Flask, Response, request
from flask_babel import Babel

LANGUAGES = {"en": "English", "zh": "中文"}
"""Code and own name of each language."""
HTML_LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""The code as pages and feeds name it."""

_COOKIE = "audit_language"
_COOKIE_LIFE_SECONDS = 365 * 86_400


def page_language() -> str:
    """`en` or `zh`, for the request under way."""
    for chosen in (request.args.get("lang"), request.cookies.get(_COOKIE)):
        if chosen in LANGUAGES:
            return str(chosen)
    return request.accept_languages.best_match(LANGUAGES, default="en")


def in_language(code: str) -> str:
    """The query of this very page in another language, whatever else is asked of it."""
    others = [(name, value) for name, value in request.args.items() if name != "lang"]
    return "?" + urlencode([*others, ("lang", code)])


def speak_languages(app: Flask) -> None:
    """Translate the pages of `app`, and remember what was chosen on them."""
    Babel(app, locale_selector=page_language)

    @app.after_request
    def _remember(response: Response) -> Response:
        chosen = request.args.get("lang")
        if chosen in LANGUAGES:
            response.set_cookie(
                _COOKIE,
                str(chosen),
                max_age=_COOKIE_LIFE_SECONDS,
                path="/audit",
                httponly=True,
                secure=request.is_secure,
                samesite="Strict",
            )
        response.headers.add("Vary", "Accept-Language, Cookie")
        return response
