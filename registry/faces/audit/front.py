"""The front page with its three doors, and the overview: is all well."""

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template
from flask.typing import ResponseReturnValue

from registry.client.monitor.health import limits
from registry.faces.audit.alarms import alarms_of
from registry.faces.audit.history import charts
from registry.faces.audit.quorum import quorum_of
from registry.faces.audit.record import Record, now, this_record
from registry.faces.audit.settings import this_face
from registry.protocol.export_file import open_zip
from registry.protocol.index import EXPOSURES, GAEN_ZIP, TRUST_PATH
from registry.protocol.leaves import IndexLeaf
from registry.protocol.trust import TrustMaterial
from registry.protocol.trust_note import fingerprint
from registry.storage import Storage

pages = Blueprint("front", __name__)

NEWEST = 10
"""How many batches the overview shows."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the commands that check a file with foreign tools need to know of it."""

    path: str
    signer: int
    """Place of the key of the file's first signature in the trust material."""


@pages.get("/")
def doors() -> str:
    """Officials, phones, auditors."""
    return render_template("audit/doors.html")


@pages.get("/audit")
def without_slash() -> ResponseReturnValue:
    """The address as people type it."""
    return redirect("/audit/")


@pages.get("/audit/")
def overview() -> str:
    """Health, the newest batches, charts, and how to check it all."""
    record, moment = this_record(), now()
    view = record.view
    newest_index = view.index_entries[-1].leaf if view.index_entries else None
    return render_template(
        "audit/overview.html",
        record=record,
        view=view,
        health=view.health(moment),
        quorum=quorum_of(view.policy),
        limits=limits(view.trust),
        alarms=alarms_of(record, moment),
        index_age=moment - newest_index.issued_at if isinstance(newest_index, IndexLeaf) else None,
        moment=moment,
        newest=record.batches[:NEWEST],
        charts=charts(record, moment),
        fingerprint=fingerprint(view.trust.trust_vkey),
        recipe=_recipe(record, this_face().storage),
        exposures=EXPOSURES,
        trust_path=TRUST_PATH,
    )


def _recipe(record: Record, storage: Storage) -> Recipe | None:
    """The newest file that existing phones are offered; None before there is one."""
    for batch in record.batches:
        for file in batch.files:
            if file.format != GAEN_ZIP:
                continue
            content = storage.read(f"{EXPOSURES}/{file.path}")
            if content is not None:
                return Recipe(file.path, _first_signer(content, record.view.trust))
    return None


def _first_signer(content: bytes, trust: TrustMaterial) -> int:
    """Which of the trusted keys made the first signature in the file: its place in the trust material."""
    _, signatures = open_zip(content)
    signer = (signatures[0][0].key_id, signatures[0][0].key_version)
    return [(key.key_id, key.key_version) for key in trust.export_signing_keys].index(signer)
