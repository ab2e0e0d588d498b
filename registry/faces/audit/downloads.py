"""What auditors, witnesses and other logs' readers take with them: policy, keys, trust material, log list."""

from flask import Blueprint, Response, render_template

from registry.faces.audit.record import Record, this_record
from registry.faces.audit.settings import this_face
from registry.protocol.index import LOG_CHECKPOINT_PATH, LOG_POLICY_PATH, TRUST_NOTE_PATH, TRUST_PATH
from registry.protocol.note import KeyKind, decode_vkey
from registry.protocol.trust_note import fingerprint

pages = Blueprint("downloads", __name__, url_prefix="/audit")

DAY_SECONDS = 86_400
HEARTBEAT_SECONDS = 600
"""How often an idle log asks its witnesses again."""


@pages.get("/downloads")
def downloads() -> str:
    """The files, and the fingerprint to compare."""
    record = this_record()
    return render_template(
        "audit/downloads.html",
        record=record,
        view=record.view,
        fingerprint=fingerprint(record.view.trust.trust_vkey),
        keys=[decode_vkey(vkey) for vkey in record.view.trust.log_vkeys],
        paths={
            "checkpoint": LOG_CHECKPOINT_PATH,
            "policy": LOG_POLICY_PATH,
            "trust": TRUST_PATH,
            "note": TRUST_NOTE_PATH,
        },
        kinds={KeyKind.ED25519: "Ed25519", KeyKind.ML_DSA_44: "ML-DSA-44"},
        log_list=_log_list(record),
    )


@pages.get("/vkeys.txt")
def vkeys() -> Response:
    """The log's verifier keys, a line each."""
    return _text("".join(f"{vkey}\n" for vkey in this_record().view.trust.log_vkeys))


@pages.get("/log-list.txt")
def log_list() -> Response:
    """This log as a list of witnesses' logs has it (logs/v0)."""
    return _text(_log_list(this_record()))


def _text(content: str) -> Response:
    return Response(content, content_type="text/plain; charset=utf-8")


def _log_list(record: Record) -> str:
    """An entry for each year's Ed25519 key: origin, requests a day, and where to reach people."""
    trust = record.view.trust
    # Each publication asks before it signs and after; idle, the same checkpoint is sent again and again.
    windows = DAY_SECONDS // trust.publication.get("window_seconds", HEARTBEAT_SECONDS)
    asked_a_day = 2 * windows + DAY_SECONDS // HEARTBEAT_SECONDS
    lines = ["logs/v0"]
    for key in map(decode_vkey, trust.log_vkeys):
        if key.kind == KeyKind.ED25519:
            lines += ["", f"vkey {key.vkey}", f"origin {key.name}", f"qpd {asked_a_day}",
                      f"contact {this_face().base_url}/audit/"]  # fmt: skip
    return "".join(f"{line}\n" for line in lines)
