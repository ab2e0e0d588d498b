"""Pages for people who were tested: where a link with a code ends, taking back by letter, reporting oneself.

For whoever holds a code on paper or in a message, or asks for one from the app. No account, no script, no
cookie but the chosen language; nothing is stored of a visit. Holds the issuing half, and can open no handle
but by a letter's own code.
"""

from flask import Flask

from registry.faces.database import attach
from registry.faces.pace import EvenPace
from registry.faces.pages import make_pages_app
from registry.faces.pages.language import HTML_LANGUAGES, in_language, page_language, speak_languages
from registry.faces.person import links, reports, withdrawals
from registry.faces.person.mistakes import show_mistakes_as_pages
from registry.faces.person.settings import PersonFace

__all__ = ["PersonFace", "create_person_app"]

_UNHELD = ("/v", "/withdraw", "/person/")
"""Pages whose answer's time is nobody's secret."""


def create_person_app(face: PersonFace) -> Flask:
    """The application behind /v, /withdraw and /report; its style sheet lies under /person/static."""
    app = make_pages_app(__name__, "person")
    face.attach(app.extensions)
    attach(app, face.database_url)
    speak_languages(app, "person", ("zh", "en"), path="/")
    show_mistakes_as_pages(app)
    app.register_blueprint(links.pages)
    app.register_blueprint(withdrawals.pages)
    app.register_blueprint(reports.pages)

    @app.context_processor
    def _on_every_page() -> dict[str, object]:
        return {
            "demo": face.profile == "demo",
            "html_languages": HTML_LANGUAGES,
            "html_language": HTML_LANGUAGES[page_language()],
            "in_language": in_language,
        }

    paced = EvenPace(
        app.wsgi_app,
        milliseconds=face.hold_milliseconds,
        exempt=_UNHELD,
        sleep=face.sleep,
        monotonic=face.monotonic,
    )
    app.wsgi_app = paced  # type: ignore[method-assign]  # Flask's own way to wrap an application
    return app
