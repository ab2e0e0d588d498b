"""Auditors, journalists, other authorities: what was published, in words, and where to fetch it.

Also the front page with the three doors. Reads public files only: an auditor sees what everyone sees.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from flask import Flask, redirect, render_template, request
from werkzeug.wrappers import Response

from registry.faces.hardening import secure_pages
from registry.faces.problems import answer_with_problems
from registry.protocol.export_file import read_zip
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
        indexes = [index for region in trust.regions if (index := _index(face.storage, region))]
        files = [
            (window.end, file.path) for index in indexes for window in index.windows for file in window.files
        ]
        newest = max(files, default=(0, None))[1]
        return render_template(
            "batches.html",
            indexes=indexes,
            newest=newest,
            signer=_first_signer(face.storage, trust, newest) if newest else None,
            trust=trust,
            exposures=EXPOSURES,
            trust_path=TRUST_PATH,
        )

    return app


def _index(storage: Storage, region: str) -> Index | None:
    """None for a region that was added a moment ago and has no index yet."""
    content = storage.read(index_path(region))
    return decode_index(content) if content is not None else None


def _first_signer(storage: Storage, trust: TrustMaterial, name: str) -> int:
    """Which of the trusted keys made the first signature in the file: its place in the trust material."""
    content = storage.read(f"{EXPOSURES}/{name}")
    if content is None:
        raise FileNotFoundError(name)
    _, _, signatures = read_zip(content)
    signer = (signatures[0][0].key_id, signatures[0][0].key_version)
    return [(key.key_id, key.key_version) for key in trust.export_signing_keys].index(signer)


def _trust(storage: Storage) -> TrustMaterial:
    content = storage.read(TRUST_PATH)
    if content is None:
        raise FileNotFoundError(TRUST_PATH)
    return decode_trust(content)


def _utc(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
