"""/v1/stats: an authority asks for its figures of uploads, with a token under its certificate key."""

from flask import Response, request
from marshmallow import Schema
from werkzeug.exceptions import Unauthorized, UnsupportedMediaType

from registry.errors import CertificateInvalid, RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import padded
from registry.faces.device.calls import answer_chaff, is_chaff, is_json, members_of, receive_body
from registry.faces.device.schemas import StatsRequest
from registry.faces.device.settings import CollectingFace
from registry.faces.device.statistics import DAYS, uploads_of
from registry.lifecycle.statistics import ALL, UPLOADS
from registry.lifecycle.upload_figures import authority_of_token, newest_days, upload_figures
from registry.models import CollectingChaff

_STATS: Schema = StatsRequest()


class UploadStatisticsViews:
    """The endpoint for authorities' own systems."""

    def __init__(self, face: CollectingFace) -> None:
        self._face = face

    def stats(self) -> Response:
        """POST /v1/stats. The days of which the number of uploads is shown, oldest first.

        A day that is hidden is not there, however long ago it is.
        """
        session, body = db.session(), receive_body(RefusalCode.BAD_REQUEST)
        if is_chaff():
            return answer_chaff(session, body, _STATS, CollectingChaff)
        if not is_json():
            raise UnsupportedMediaType("the Content-Type must be application/json")
        members_of(body, _STATS, RefusalCode.BAD_REQUEST)
        scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("the Authorization must be a Bearer token of the health authority")
        now = self._face.clock()
        try:
            authority_id = authority_of_token(session, token, now)
        except CertificateInvalid as error:
            raise Unauthorized(str(error)) from error
        by_day = upload_figures(session, authority_id, *newest_days(now, DAYS))
        days = [
            {"day": f"{day.isoformat()}T00:00:00Z", **uploads_of(tables)}
            for day, tables in by_day.items()
            if ALL in tables.get(UPLOADS, {})
        ]
        return padded({"days": days})
