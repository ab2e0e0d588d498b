"""The language of the pages: what was chosen on them, else what the browser asks for, else English.

The choice is kept in a cookie that holds two letters, goes to the portal alone and tells nobody apart.
It never decides in which language a person is spoken to: that is stated on the form.
"""

from flask import Flask, Response, request
from flask_babel import Babel

LANGUAGES = {"zh": "中文", "en": "English"}
"""Code and own name of each language."""

_COOKIE = "portal_language"
_COOKIE_LIFE_SECONDS = 365 * 86_400


def page_language() -> str:
    """`zh` or `en`, for the request under way."""
    for chosen in (request.args.get("lang"), request.cookies.get(_COOKIE)):
        if chosen in LANGUAGES:
            return str(chosen)
    return request.accept_languages.best_match(LANGUAGES, default="en")


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
                path="/portal",
                httponly=True,
                secure=request.is_secure,
                samesite="Strict",
            )
        response.headers.add("Vary", "Accept-Language, Cookie")
        return response
