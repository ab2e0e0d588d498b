"""The face of phones, laboratories and hospital systems: two applications, one for each half.

They speak the contracts of the field's reference servers, so that existing apps work unchanged. Neither can
reach the other's database, and no answer to a phone differs from another in size or time.
"""

from functools import partial

from flask import Flask, Response, abort
from sqlalchemy import select

from registry.errors import RefusalCode
from registry.faces.database import db
from registry.faces.device.answers import plain
from registry.faces.device.application import UNPADDED, DeviceApplication
from registry.faces.device.issuers import IssuerViews
from registry.faces.device.lab_results import LabResultViews
from registry.faces.device.phones import PhoneViews
from registry.faces.device.self_reports import SelfReportViews
from registry.faces.device.settings import CollectingFace, IssuingFace
from registry.faces.device.statistics import StatisticsViews
from registry.faces.device.upload_statistics import UploadStatisticsViews
from registry.faces.device.uploads import UploadViews
from registry.faces.device.withdrawals import WithdrawalViews
from registry.faces.pace import EvenPace
from registry.models import Authority, CertificateKey
from registry.protocol.certificate import jwk_of

__all__ = ["CollectingFace", "IssuingFace", "create_collecting_app", "create_issuing_app"]

_API_CODES = {400: "", 401: "", 404: "", 405: "", 413: RefusalCode.UNPARSABLE_REQUEST.value, 429: ""}
_UPLOAD_CODES = {
    **dict.fromkeys((400, 404, 405, 413, 415), RefusalCode.BAD_REQUEST.value),
    401: "unauthorized",
}


def create_issuing_app(face: IssuingFace) -> Flask:
    """POST /api/verify, certificate, user-report, issue, batch-issue, checkcodestatus, expirecode, fhir; GET
    /api/stats/…, /jwks/{authority}; probes."""
    app = DeviceApplication("issuing", face.database_url, shape=_api_error, code_by_status=_API_CODES)
    phones, issuers, self_reports = PhoneViews(face), IssuerViews(face), SelfReportViews(face)
    for path, view in (
        ("/api/verify", phones.verify),
        ("/api/certificate", phones.certificate),
        ("/api/user-report", self_reports.user_report),
        ("/api/issue", issuers.issue),
        ("/api/batch-issue", issuers.batch_issue),
        ("/api/checkcodestatus", issuers.check_code_status),
        ("/api/expirecode", issuers.expire_code),
        ("/api/fhir", LabResultViews(face).fhir),
    ):
        app.add_url_rule(path, view.__name__, view, methods=["POST"])
    StatisticsViews(face).register(app)
    app.add_url_rule("/jwks/<authority_id>", "jwks", partial(_jwks, face), methods=["GET"])
    _keep_pace(app, face)
    return app


def create_collecting_app(face: CollectingFace) -> Flask:
    """POST /v1/publish, withdraw and stats, and probes."""
    app = DeviceApplication(
        "collecting", face.database_url, shape=_upload_error, code_by_status=_UPLOAD_CODES
    )
    app.add_url_rule("/v1/publish", "publish", UploadViews(face).publish, methods=["POST"])
    app.add_url_rule("/v1/withdraw", "withdraw", WithdrawalViews(face).withdraw, methods=["POST"])
    app.add_url_rule("/v1/stats", "stats", UploadStatisticsViews(face).stats, methods=["POST"])
    app.after_request(_name_version)
    _keep_pace(app, face)
    return app


def _api_error(message: str, code: str) -> dict[str, object]:
    return {"error": message, "errorCode": code, "error_code": code}


def _upload_error(message: str, code: str) -> dict[str, object]:
    return {"error": message, "code": code}


def _name_version(response: Response) -> Response:
    response.headers["x-api-version"] = "v1"
    return response


def _jwks(face: IssuingFace, authority_id: str) -> Response:
    """GET /jwks/{authority}: the certificate keys that are valid now (RFC 7517)."""
    now = face.clock()
    # NUL cannot be in a database's text, so it is no authority's name either.
    if "\0" in authority_id or db.session.get(Authority, authority_id) is None:
        abort(404, "no such authority")
    keys = db.session.scalars(
        select(CertificateKey)
        .where(
            CertificateKey.authority_id == authority_id,
            CertificateKey.not_before <= now,
            CertificateKey.not_after > now,
        )
        .order_by(CertificateKey.key_id)
    )
    response = plain({"keys": [jwk_of(key.public_key_pem, key.key_id) for key in keys]})
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


def _keep_pace(app: Flask, face: IssuingFace | CollectingFace) -> None:
    paced = EvenPace(
        app.wsgi_app,
        milliseconds=face.hold_milliseconds,
        exempt=UNPADDED,
        sleep=face.sleep,
        monotonic=face.monotonic,
    )
    app.wsgi_app = paced  # type: ignore[method-assign]  # Flask's own way to wrap an application
