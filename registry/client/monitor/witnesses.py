"""Witnesses asked at their own addresses: what each cosigned last, held against what the registry shows.

A registry cannot show one history to the witnesses and another to us for as long as we ask them ourselves.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from registry.client.monitor.faults import Fault, FaultKind, fault_of
from registry.client.monitor.view import LogView
from registry.errors import Distrusted, FetchFailed, Malformed
from registry.protocol.checkpoint import cosignatures, decode_checkpoint, open_checkpoint
from registry.protocol.note import decode_note, decode_vkey
from registry.protocol.witness_policy import PolicyWitness

MAX_CHECKPOINT_BYTES = 64 * 1024

FetchCheckpoint = Callable[[str], bytes | None]
"""An address to the bytes there; None if nothing is. Raises FetchFailed."""


@dataclass(frozen=True, slots=True)
class WitnessReport:
    """What a witness shows at its own address. `lag`: leaves that it is behind the registry, None if unknown.

    `error` says why nothing could be learnt from it: that is no fault of the registry's.
    """

    witness: PolicyWitness
    size: int | None = None
    cosigned_at: int | None = None
    lag: int | None = None
    error: str = ""


def monitoring_url(prefix: str, origin: str) -> str:
    """Where a witness shows the last checkpoint of `origin` that it cosigned (C2SP tlog-witness)."""
    return f"{prefix.rstrip('/')}/{sha256(origin.encode()).hexdigest()}/checkpoint"


def ask_witnesses(
    fetch: FetchCheckpoint, view: LogView, witnesses: Sequence[PolicyWitness] | None = None
) -> tuple[list[WitnessReport], list[Fault]]:
    """Ask each witness of the policy that has an address, and compare. One without an answer is reported."""
    reports, faults = [], []
    for witness in view.policy.witnesses if witnesses is None else witnesses:
        if witness.url is None:
            continue
        url = monitoring_url(witness.url, view.current.checkpoint.origin)
        try:
            content = fetch(url)
        except (FetchFailed, Malformed, Distrusted) as error:
            reports.append(WitnessReport(witness, error=str(error)))
            continue
        if content is None:
            reports.append(WitnessReport(witness, error="has cosigned nothing of this log yet"))
            continue
        report, found = compare_witness(content, view, witness)
        reports.append(report)
        faults += found
    return reports, faults


def compare_witness(
    content: bytes, view: LogView, witness: PolicyWitness
) -> tuple[WitnessReport, list[Fault]]:
    """What the checkpoint says that `witness` shows, against the registry's."""
    where = f"witness {witness.name}"
    try:
        note, checkpoint = decode_note(content), decode_checkpoint(decode_note(content).text)
        times = [one.time for one in cosignatures(note, checkpoint, [witness.key])]
        log_keys = [decode_vkey(vkey) for vkey in view.trust.log_vkeys]
        open_checkpoint(content, log_keys)
    except (Malformed, Distrusted) as error:
        return WitnessReport(witness, error=str(error)), [fault_of(error, where)]
    current = view.current.checkpoint
    lag = current.size - checkpoint.size if checkpoint.origin == current.origin else None
    report = WitnessReport(witness, checkpoint.size, max(times, default=None), lag)
    conflict = view.conflict_with(checkpoint.origin, checkpoint.size, checkpoint.root)
    if conflict is not None:
        what = f"has cosigned another history at size {checkpoint.size} than the registry shows"
        advice = "Keep both notes: they are signed by the same log and prove the split to anybody."
        return report, [Fault(conflict, where, what, advice, (content, view.current.signed))]
    if lag is not None and lag < 0:
        what = f"has cosigned {checkpoint.size} leaves, and the registry shows only {current.size}"
        return report, [Fault(FaultKind.FROZEN, where, what, "The newest leaves are held back from you.")]
    return report, []
