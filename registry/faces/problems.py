"""Errors of the faces that people and machines read without a contract of their own: RFC 9457 problems.

The device face has the field's error shape, the portal has pages; both stand with them.
"""

import logging

from flask import Flask, Response, json
from werkzeug.exceptions import HTTPException

log = logging.getLogger("registry.faces")


def problem_response(status: int, title: str) -> Response:
    """`application/problem+json` (RFC 9457) with `status` and `title`, and nothing else."""
    body = json.dumps({"type": "about:blank", "title": title, "status": status})
    response = Response(body, status=status, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    return response


def answer_with_problems(app: Flask) -> None:
    """Let every fault of `app` leave as a problem: what was asked wrongly by name, ours without detail."""

    @app.errorhandler(HTTPException)
    def _asked_wrongly(error: HTTPException) -> Response:
        response = problem_response(error.code or 500, error.name)
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    def _our_fault(error: Exception) -> Response:
        # The type alone: a message may quote what somebody sent.
        log.error("unexpected fault in %s: %s", app.name, type(error).__qualname__)
        return problem_response(500, "Internal Server Error")
