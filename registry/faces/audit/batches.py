"""Every batch that the log names, page by page: its window, its leaf, what became of it, its files."""

from flask import Blueprint, abort, render_template, request

from registry.client.monitor.batches import LoggedBatch
from registry.faces.audit.paging import page_of
from registry.faces.audit.record import this_record
from registry.faces.audit.wording import STATES
from registry.protocol.index import EXPOSURES, index_proof_path

pages = Blueprint("batches", __name__, url_prefix="/audit")

PER_PAGE = 50


@pages.get("/batches")
def batches() -> str:
    """Newest first; `region` and `state` narrow it."""
    record = this_record()
    region, state = request.args.get("region", ""), request.args.get("state", "")
    regions = sorted(record.view.batches)
    if (region and region not in regions) or (state and state not in STATES):
        abort(404)

    def is_wanted(batch: LoggedBatch) -> bool:
        return region in ("", batch.leaf.region) and state in ("", record.state(batch))

    found = [batch for batch in record.batches if is_wanted(batch)] if region or state else record.batches
    return render_template(
        "audit/batches.html",
        record=record,
        page=page_of(found, request.args.get("page", "1"), PER_PAGE),
        asked={name: value for name, value in (("region", region), ("state", state)) if value},
        region=region,
        state=state,
        regions=regions,
        states=STATES,
        exposures=EXPOSURES,
        proof_path=index_proof_path,
    )
