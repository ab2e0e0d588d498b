"""Other registries' logs, and monitors: the witness over HTTP (C2SP tlog-witness).

Holds no rule and no key of its own: it hands bodies to the witness that it is given, and turns what that
says into the protocol's status codes. What goes wrong with us leaves without detail.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response, abort, request

from registry.errors import ConfigurationError, Malformed, Unavailable
from registry.faces.problems import answer_with_problems, problem_response
from registry.protocol.witness_request import MAX_READ_BYTES, SIZE_TYPE, encode_size
from registry.witness.cosigner import Witness
from registry.witness.refusals import (
    ImpossibleSize,
    Inconsistent,
    NotCosigned,
    NotTheLogs,
    OtherSize,
    UnknownLog,
)

TEXT = "text/plain; charset=utf-8"
STATUS: dict[type[NotCosigned], int] = {
    ImpossibleSize: 400,
    NotTheLogs: 403,
    UnknownLog: 404,
    OtherSize: 409,
    Inconsistent: 422,
}

log = logging.getLogger("registry.faces.witness")


@dataclass(frozen=True)
class WitnessFace:
    """What the face is given.

    `witness` is asked for at each request, so that one that cannot be opened stops nothing but itself: it
    may raise ConfigurationError. `clock` gives unix seconds.
    """

    witness: Callable[[], Witness]
    clock: Callable[[], float]


def create_witness_app(face: WitnessFace) -> Flask:
    """The application under `/witness`, which is both the submission and the monitoring prefix."""
    app = Flask(__name__, static_folder=None)
    # A path is taken literally: one log has one address.
    app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = MAX_READ_BYTES
    answer_with_problems(app)

    @app.post("/witness/add-checkpoint")
    def add_checkpoint() -> Response:
        return _text(face.witness().add_checkpoint(request.get_data(cache=False), face.clock()), 200)

    @app.get("/witness/<digest>/checkpoint")
    def checkpoint(digest: str) -> Response:
        found = face.witness().last_cosigned(digest)
        if found is None:
            abort(404)
        response = _text(found, 200)
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    @app.get("/healthz")
    def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        face.witness().check()
        return {"status": "ready"}

    @app.errorhandler(NotCosigned)
    def refused(refusal: NotCosigned) -> Response:
        if isinstance(refusal, OtherSize):
            response = _text(encode_size(refusal.held), 409)
            response.headers["Content-Type"] = SIZE_TYPE
            return response
        return _text(f"{refusal}\n", STATUS[type(refusal)])

    @app.errorhandler(Malformed)
    def malformed(error: Malformed) -> Response:
        return _text(f"{error}\n", 400)

    @app.errorhandler(Unavailable)
    @app.errorhandler(ConfigurationError)
    def unavailable(error: Unavailable | ConfigurationError) -> Response:
        # For the operator: it says what to do, and quotes nothing that a caller sent.
        log.error("not cosigned: %s", error)
        return problem_response(503, "Service Unavailable")

    return app


def _text(content: str | bytes, status: int) -> Response:
    response = Response(content, status=status, content_type=TEXT)
    response.headers["Cache-Control"] = "no-store" if status != 200 else "no-cache, max-age=0"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
