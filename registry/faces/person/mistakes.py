"""What goes wrong, as pages in the reader's language."""

import logging

from flask import Flask, Response, make_response, render_template
from flask_babel import gettext as _

from registry.faces.pages.mistakes import show_mistakes

log = logging.getLogger("registry.faces.person")


def show_mistakes_as_pages(app: Flask) -> None:
    """Answer every wrong request and fault of `app` with a page."""
    show_mistakes(app, page, log)


def page(status: int) -> Response:
    """The page for an HTTP status: what happened, and what to do next."""
    if status == 404:
        title, advice = _("This page does not exist"), _("Compare the address with your letter or message.")
    elif status >= 500:
        title = _("Something went wrong on our side")
        advice = _("Nothing was changed. Try again in a minute.")
    else:
        title, advice = _("This could not be done"), _("Nothing was changed. Go back and try again.")
    return make_response(render_template("person/mistake.html", title=title, advice=advice), status)
