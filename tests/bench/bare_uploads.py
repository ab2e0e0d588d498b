"""A bare WSGI handler that does an upload's work, as the limit of the face that serves uploads.

The same gunicorn with the same workers serves it, on the same PostgreSQL, under the same hold; it makes the
same checks by the same functions, runs the same statement and answers with as many bytes. What it lacks is
what a face has around that: Flask's routing, requests and answers, the schema that JSON is read by, chaff,
refusals, and a body that is cut off or too large.
"""

import json
import secrets
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from registry.app import collecting_face
from registry.config import read_settings
from registry.faces.database import engine_options
from registry.faces.device.answers import ANSWER_SIZE, MOST_PADDING_BYTES
from registry.faces.pace import EvenPace
from registry.lifecycle.authorities import Believed
from registry.lifecycle.collect import Upload, UploadedKey, collect_at_once
from registry.protocol.encoding import encode_base64

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HEAD_BYTES = 200
"""About what the face's status line and headers take of an answer."""


def application() -> "WSGIApplication":
    """What gunicorn serves."""
    face = collecting_face(read_settings(), time.time)
    engine = create_engine(face.database_url, **engine_options(face.database_url))
    believed = Believed()

    def upload(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        members = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        with Session(engine) as session:
            collected = collect_at_once(
                session,
                _upload_of(members),
                believed=believed,
                policy=face.policy,
                revision_keys=face.revision_keys,
                now=face.clock(),
            )
        if collected is None:
            start_response("500 Not Ordinary", [("Content-Length", "0")])
            return []
        padding = encode_base64(secrets.token_bytes(MOST_PADDING_BYTES - 512))
        answer = {
            "revisionToken": collected.revision_token,
            "insertedExposures": collected.inserted_exposures,
            "padding": padding,
        }
        content = json.dumps(answer).encode().ljust(ANSWER_SIZE - HEAD_BYTES)
        start_response(
            "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        )
        return [content]

    return EvenPace(
        upload,
        milliseconds=face.hold_milliseconds,
        exempt=("/healthz",),
        sleep=face.sleep,
        monotonic=face.monotonic,
    )


def _upload_of(members: dict[str, Any]) -> Upload:
    return Upload(
        health_authority_id=members["healthAuthorityID"],
        keys=tuple(
            UploadedKey(key["key"], key["rollingStartNumber"], key["rollingPeriod"], key["transmissionRisk"])
            for key in members["temporaryExposureKeys"]
        ),
        certificate=members["verificationPayload"],
        hmac_key_text=members["hmacKey"],
        symptom_onset_interval=None,
        traveler=members["traveler"],
        revision_token="",
    )
