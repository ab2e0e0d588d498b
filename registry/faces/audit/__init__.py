"""Auditors, journalists, other authorities: what was published, in words, and where to fetch it.

Also the front page with the three doors. Reads public files only: an auditor sees what everyone sees.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask, redirect, render_template, request
from werkzeug.wrappers import Response

from registry.faces.hardening import secure_pages
from registry.faces.problems import answer_with_problems
from registry.protocol.index import EXPOSURES, TRUST_PATH, Index, decode_index, index_path
from registry.protocol.trust import TrustMaterial, decode_trust
from registry.storage import Storage


@dataclass(frozen=True)
class AuditFace:
    """What the auditors' face needs: the public files, and whether this is a demonstration."""

    storage: Storage
    profile: str


def create_audit_app(face: AuditFace) -> Flask:
    """The application behind /audit/ and the front page."""
    app = Flask(__name__, static_folder="static", static_url_path="/audit/static")
    secure_pages(app)
    answer_with_problems(app)
    app.jinja_env.filters["utc"] = _utc

    @app.context_processor
    def _common() -> dict[str, object]:
        language = request.accept_languages.best_match(["en", "zh"], "en")
        return {"demo": face.profile == "demo", "language": language, "zh": language == "zh"}

    @app.get("/")
    def doors() -> str:
        return render_template("doors.html")

    @app.get("/audit")
    def audit() -> Response:
        return redirect("/audit/")

    @app.get("/audit/")
    def batches() -> str:
        trust = _trust(face.storage)
        indexes = [_index(face.storage, region) for region in trust.regions]
        names = [file.path for index in indexes for window in index.windows for file in window.files]
        return render_template(
            "batches.html",
            indexes=indexes,
            newest=names[-1] if names else None,
            trust=trust,
            exposures=EXPOSURES,
            trust_path=TRUST_PATH,
        )

    return app


def _index(storage: Storage, region: str) -> Index:
    content = storage.read(index_path(region))
    if content is None:
        raise FileNotFoundError(index_path(region))
    return decode_index(content)


def _trust(storage: Storage) -> TrustMaterial:
    content = storage.read(TRUST_PATH)
    if content is None:
        raise FileNotFoundError(TRUST_PATH)
    return decode_trust(content)


def _utc(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
