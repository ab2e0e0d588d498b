"""What goes wrong, as pages in the reader's language: what was asked wrongly by name, ours without detail."""

import logging

from flask import Flask, Response, make_response, render_template
from flask_babel import gettext as _

from registry.errors import Refusal, RefusalCode
from registry.faces.pages.mistakes import show_mistakes

log = logging.getLogger("registry.faces.portal")


def show_mistakes_as_pages(app: Flask) -> None:
    """Answer every refusal, wrong request and fault of `app` with a page."""

    @app.errorhandler(Refusal)
    def _refused(refusal: Refusal) -> Response:
        if refusal.code is RefusalCode.UUID_ALREADY_EXISTS:
            return make_response(render_template("portal/already_handed_out.html"), 409)
        if refusal.code is RefusalCode.MAINTENANCE_MODE:
            return page(429)
        return page(404 if refusal.code is RefusalCode.CODE_NOT_FOUND else 400)

    show_mistakes(app, page, log)


def page(status: int) -> Response:
    """The page for an HTTP status: what happened, and what to do next."""
    if status == 404:
        title = _("This page does not exist")
        advice = _("Check the address, or go to the start of the portal.")
    elif status == 403:
        title = _("You may not do this")
        advice = _(
            "It takes a permission that you do not have. "
            "Ask whoever looks after the officials of your authority."
        )
    elif status == 413:
        title = _("This is too large")
        advice = _(
            "Nothing was stored. Go back, split the file into smaller ones and give one after another."
        )
    elif status == 429:
        title = _("No codes are handed out for now")
        advice = _(
            "Your health authority has stopped it for maintenance. Nothing was stored; codes that were handed"
            " out cannot be entered meanwhile, and stay good until they end. Ask whoever runs the registry "
            "when it goes on."
        )
    elif status >= 500:
        title = _("Something went wrong on our side")
        advice = _(
            "Nothing was stored. Try again in a minute; if it stays so, tell whoever runs the registry."
        )
    else:
        title = _("This could not be done")
        advice = _(
            "Nothing was stored. The page may have been open for too long, or the browser refuses cookies. "
            "Go back to the start and try again."
        )
    return make_response(render_template("portal/mistake.html", title=title, advice=advice), status)
