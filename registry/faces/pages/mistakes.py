"""What goes wrong on pages leaves as a page, never as a trace; what is ours is logged without anything said.

What is logged is the kind of a fault and where in the program it arose: never a message, which may quote a
name, nor an address, which may hold a sign-in link.
"""

import logging
import traceback
from collections.abc import Callable

from flask import Flask, Response
from werkzeug.exceptions import HTTPException


def show_mistakes(app: Flask, page: Callable[[int], Response], log: logging.Logger) -> None:
    """Answer every wrong request and every fault of `app` by `page`, which is given the HTTP status."""

    @app.errorhandler(HTTPException)
    def _asked_wrongly(error: HTTPException) -> Response:
        response = page(error.code or 500)
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def _our_fault(error: Exception) -> Response:
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-6:]))
        log.error("unexpected fault %s at %s", type(error).__qualname__, where)
        return page(500)
