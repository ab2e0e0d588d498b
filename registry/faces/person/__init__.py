"""Pages for people who were tested: where a link with a code ends, and taking back by letter.

For whoever holds a code on paper or in a message. No account, no script, no cookie but the chosen language;
nothing is stored of a visit. Holds the issuing half, and can open no handle but by a letter's own code.
"""

from flask import Flask

from registry.faces.database import attach
from registry.faces.pages import make_pages_app
from registry.faces.pages.language import HTML_LANGUAGES, in_language, page_language, speak_languages
from registry.faces.person import links, withdrawals
from registry.faces.person.mistakes import show_mistakes_as_pages
from registry.faces.person.settings import PersonFace

__all__ = ["PersonFace", "create_person_app"]


def create_person_app(face: PersonFace) -> Flask:
    """The application behind /v and /withdraw; its style sheet lies under /person/static."""
    app = make_pages_app(__name__, "person")
    face.attach(app.extensions)
    attach(app, face.database_url)
    speak_languages(app, "person", ("zh", "en"), path="/")
    show_mistakes_as_pages(app)
    app.register_blueprint(links.pages)
    app.register_blueprint(withdrawals.pages)

    @app.context_processor
    def _on_every_page() -> dict[str, object]:
        return {
            "demo": face.profile == "demo",
            "html_languages": HTML_LANGUAGES,
            "html_language": HTML_LANGUAGES[page_language()],
            "in_language": in_language,
        }

    return app
