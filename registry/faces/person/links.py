"""Where a link with a code ends that no app has taken: the code, to be typed in the app.

The code stands in the query, which is logged nowhere, and in the answer, which nobody keeps.
"""

from flask import Blueprint, render_template, request

from registry.protocol.codes import is_link_code, normalise

pages = Blueprint("links", __name__)


@pages.get("/v")
def landing() -> str:
    """The code, or that a part of it is missing."""
    code = normalise(request.args.get("c", ""))
    return render_template("person/landing.html", code=code if is_link_code(code) else None)
