"""What goes wrong, as pages in the reader's language: what was asked wrongly by name, ours without detail."""

import logging

from flask import Flask, Response, make_response, render_template
from flask_babel import gettext as _

from registry.errors import Distrusted, Malformed, RegistryError
from registry.faces.pages.mistakes import show_mistakes

log = logging.getLogger("registry.faces.audit")


class NothingYet(RegistryError):
    """The registry has not published its log yet: there is nothing to look at."""


def show_mistakes_as_pages(app: Flask) -> None:
    """Answer every wrong request and fault of `app` with a page."""

    @app.errorhandler(NothingYet)
    def _nothing_yet(_error: NothingYet) -> Response:
        title = _("Nothing has been published yet")
        advice = _("The first checkpoint appears when the first window ends. Look again in a few minutes.")
        return make_response(render_template("audit/mistake.html", title=title, advice=advice), 503)

    @app.errorhandler(Distrusted)
    @app.errorhandler(Malformed)
    def _not_believed(error: RegistryError) -> Response:
        # Said in full: public files are all that it can quote, and an auditor must know.
        log.error("the log cannot be shown: %s", error)
        title = _("The log cannot be shown")
        advice = _("What the public files say does not hold together: %(why)s.", why=str(error))
        return make_response(render_template("audit/mistake.html", title=title, advice=advice), 503)

    show_mistakes(app, page, log)


def page(status: int) -> Response:
    """The page for an HTTP status: what happened, and what to do next."""
    if status == 404:
        title = _("This page does not exist")
        advice = _("Check the address, or go to the overview.")
    elif status >= 500:
        title = _("Something went wrong on our side")
        advice = _("The public files may still be read and checked with the command. Try again in a minute.")
    else:
        title = _("This could not be done")
        advice = _("The page may have been open for too long, or the browser refuses cookies. Try again.")
    return make_response(render_template("audit/mistake.html", title=title, advice=advice), status)
