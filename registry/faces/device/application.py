"""A Flask application for machines: every way to fail ends in the contract's error shape.

Requests leave no line in the log, for a line is an arrival time: chaff, success and refusal look the same
there. A fault of ours leaves one, with the endpoint and the kind of fault. What a request held never
reaches a log: neither its body, address, query nor user agent, nor a message that may quote one.
"""

import logging
from collections.abc import Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from types import TracebackType

from flask import Flask, Response, request
from sqlalchemy import select
from werkzeug.exceptions import HTTPException

from registry.errors import Refusal, RefusalCode
from registry.faces.database import attach, db
from registry.faces.device.answers import padded, plain, say_when, status_of

log = logging.getLogger("registry.faces.device")

ErrorShape = Callable[[str, str], Mapping[str, object]]
"""(message, code) → members of the error body."""

UNPADDED = ("/healthz", "/readyz", "/jwks/", "/api/stats/")
"""Paths that no phone's secret depends on: neither padded nor held."""


class DeviceApplication(Flask):
    """One half's application for phones and systems. `shape` writes its errors, `fault_code` names ours."""

    def __init__(self, name: str, database_url: str, *, shape: ErrorShape, code_by_status: Mapping[int, str]):
        super().__init__(name, static_folder=None)
        self.shape = shape
        self.code_by_status = code_by_status
        # Paths are taken literally, and no method is answered that the contract does not know.
        self.url_map.merge_slashes = False
        self.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
        attach(self, database_url)
        self.register_error_handler(Refusal, self._refused)
        self.register_error_handler(HTTPException, self._asked_wrongly)
        self.add_url_rule("/healthz", "healthz", _healthz, methods=["GET"])
        self.add_url_rule("/readyz", "readyz", _readyz, methods=["GET"])

    def log_exception(
        self,
        exc_info: tuple[type, BaseException, TracebackType] | tuple[None, None, None],
    ) -> None:
        """The endpoint and the exception's type, without its message: that may quote a request."""
        kind = exc_info[0].__qualname__ if exc_info[0] is not None else "unknown"
        log.error("unexpected fault endpoint=%s type=%s", _endpoint(), kind)

    def refusal(self, message: str, code: str, status: int) -> Response:
        """A padded error in this application's shape."""
        return padded(self.shape(message, code), status)

    def _refused(self, refusal: Refusal) -> Response:
        answer = self.refusal(str(refusal), refusal.code.value, status_of(refusal.code, request.endpoint))
        if refusal.retry_at is not None:
            say_when(answer, formatdate(refusal.retry_at, usegmt=True))
        return answer

    def _asked_wrongly(self, error: HTTPException) -> Response:
        """Errors of HTTP itself, our own `abort`s, and (as 500) every exception that nobody expected."""
        status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return self.refusal("internal error", RefusalCode.INTERNAL_ERROR.value, status=500)
        if status not in self.code_by_status:
            # Clients know a fixed list of statuses; whatever else HTTP has is a bad request to them.
            status = HTTPStatus.BAD_REQUEST
        response = self.refusal(error.description or error.name, self.code_by_status[status], status)
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
            elif name == "Retry-After":
                say_when(response, value)
        return response


def _healthz() -> Response:
    return plain({"status": "ok"})


def _readyz() -> Response:
    db.session.execute(select(1))
    return plain({"status": "ready"})


def _endpoint() -> str:
    # Never the path: whoever asks chooses that.
    return request.endpoint or "none"
