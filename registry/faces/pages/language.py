"""The language of the pages: what was chosen on them, else what the browser asks for, else English.

The choice is kept in a cookie that holds two letters, goes to the pages of one face alone and tells nobody
apart. It never decides in which language a person is spoken to: that is stated on the form.
"""

from collections.abc import Sequence
from urllib.parse import urlencode

from flask import Flask, Response, current_app, request
from flask_babel import Babel

LANGUAGES = {"zh": "中文", "en": "English"}
"""Code and own name of each language."""
HTML_LANGUAGES = {"en": "en", "zh": "zh-Hans"}
"""The code as pages and feeds name it."""

_COOKIE_LIFE_SECONDS = 365 * 86_400
_EXTENSION = "registry_languages"


def page_language() -> str:
    """`zh` or `en`, for the request under way."""
    cookie, codes = current_app.extensions[_EXTENSION]
    for chosen in (request.args.get("lang"), request.cookies.get(cookie)):
        if chosen in LANGUAGES:
            return str(chosen)
    return request.accept_languages.best_match(codes, default="en")


def in_language(code: str) -> str:
    """The query of this very page in another language, whatever else is asked of it."""
    others = [(name, value) for name, value in request.args.items() if name != "lang"]
    return "?" + urlencode([*others, ("lang", code)])


def speak_languages(app: Flask, face: str, codes: Sequence[str], *, path: str | None = None) -> None:
    """Translate the pages of `app` under /`face`, and remember what was chosen on them.

    `path` is where they lie, if not there. `codes` are all languages, the first of them for browsers that
    ask for several alike.
    """
    cookie = f"{face}_language"
    app.extensions[_EXTENSION] = (cookie, tuple(codes))
    Babel(app, locale_selector=page_language)

    @app.after_request
    def _remember(response: Response) -> Response:
        chosen = request.args.get("lang")
        if chosen in LANGUAGES:
            response.set_cookie(
                cookie,
                str(chosen),
                max_age=_COOKIE_LIFE_SECONDS,
                path=path or f"/{face}",
                httponly=True,
                secure=request.is_secure,
                samesite="Strict",
            )
        response.headers.add("Vary", "Accept-Language, Cookie")
        return response

    @app.context_processor
    def _on_every_page() -> dict[str, object]:
        return {"languages": {code: LANGUAGES[code] for code in codes}, "page_language": page_language()}
