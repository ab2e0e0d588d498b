"""/v1/publish: a phone uploads its keys."""

from typing import Any

from flask import Response
from marshmallow import Schema
from sqlalchemy.orm import Session
from werkzeug.exceptions import UnsupportedMediaType

from registry.errors import RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import padded
from registry.faces.device.calls import answer_chaff, is_chaff, is_json, members_of, receive_body
from registry.faces.device.schemas import PublishRequest
from registry.faces.device.settings import CollectingFace
from registry.lifecycle.authorities import Believed
from registry.lifecycle.collect import (
    CollectedUpload,
    Upload,
    UploadedKey,
    collect_at_once,
    collect_upload,
)
from registry.models import CollectingChaff, transaction

_PUBLISH: Schema = PublishRequest()


class UploadViews:
    """The endpoint of uploads. No API key: the certificate is the permission."""

    def __init__(self, face: CollectingFace) -> None:
        self._face = face
        self._believed = Believed()

    def publish(self) -> Response:
        """POST /v1/publish."""
        session, body = db.session(), receive_body(RefusalCode.BAD_REQUEST)
        if is_chaff():
            return answer_chaff(session, body, _PUBLISH, CollectingChaff)
        if not is_json():
            raise UnsupportedMediaType("the Content-Type must be application/json")
        upload = _upload_of(members_of(body, _PUBLISH, RefusalCode.BAD_REQUEST))
        collected = self._collect(session, upload)
        # Durable from here on. A crash loses the reply only: the same upload gets the same answer.
        return padded(_members_of(collected))

    def _collect(self, session: Session, upload: Upload) -> CollectedUpload:
        policy, revision_keys, now = self._face.policy, self._face.revision_keys, self._face.clock()
        collected = collect_at_once(
            session, upload, believed=self._believed, policy=policy, revision_keys=revision_keys, now=now
        )
        if collected is not None:
            return collected
        with transaction(session):
            return collect_upload(session, upload, policy=policy, revision_keys=revision_keys, now=now)


def _upload_of(members: dict[str, Any]) -> Upload:
    return Upload(
        health_authority_id=members["health_authority_id"],
        keys=tuple(
            UploadedKey(
                key_text=key["key"],
                rolling_start_interval_number=key["rolling_start_number"],
                rolling_period=key["rolling_period"],
                transmission_risk=key["transmission_risk"],
            )
            for key in members["keys"]
        ),
        certificate=members["verification_payload"],
        hmac_key_text=members["hmac_key"],
        symptom_onset_interval=members["symptom_onset_interval"],
        traveler=members["traveler"],
        revision_token=members["revision_token"],
    )


def _members_of(collected: CollectedUpload) -> dict[str, object]:
    """As existing servers write it: what is empty or 0 is left out."""
    members: dict[str, object] = {
        "revisionToken": collected.revision_token,
        "insertedExposures": collected.inserted_exposures,
        "error": collected.error,
        "code": collected.code,
        "warnings": list(collected.warnings),
    }
    return {name: value for name, value in members.items() if value}
