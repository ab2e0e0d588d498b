"""What `registry audit follow` writes for Prometheus: numbers of a log and its witnesses, none of people."""

from registry.client.monitor.faults import FaultKind
from registry.client.monitor.memory import Memory
from registry.client.monitor.view import LogView
from registry.client.monitor.visit import Visit
from registry.client.texts import printable
from registry.errors import BadSignature


def metrics_text(visit: Visit, memory: Memory) -> str:
    """Prometheus text. What is not known is left out."""
    lines = [
        "# HELP registry_audit_visit_time_seconds When the registry was looked at last, unix seconds.",
        "# TYPE registry_audit_visit_time_seconds gauge",
        f"registry_audit_visit_time_seconds {visit.at:.0f}",
        "# HELP registry_audit_faults Faults found at the last visit, by class.",
        "# TYPE registry_audit_faults gauge",
        *(
            f'registry_audit_faults{{kind="{kind.word}"}} {sum(one.kind is kind for one in visit.faults)}'
            for kind in FaultKind
        ),
        "# HELP registry_audit_seq_gap_total Gaps in sequences that were ever found.",
        "# TYPE registry_audit_seq_gap_total counter",
        f"registry_audit_seq_gap_total {memory.gaps_found}",
    ]
    if visit.view is not None:
        lines += _view_metrics(visit.view, visit)
    return "".join(f"{line}\n" for line in lines)


def _view_metrics(view: LogView, visit: Visit) -> list[str]:
    lines = [
        "# HELP registry_audit_tree_size Leaves of a shard.",
        "# TYPE registry_audit_tree_size gauge",
        *(
            f'registry_audit_tree_size{{year="{shard.year}"}} {shard.checkpoint.size}'
            for shard in view.shards
        ),
    ]
    try:
        age = view.health(visit.at).cosignature_age
    except BadSignature:
        age = None
    if age is not None:
        lines += [
            "# HELP registry_audit_cosignature_age_seconds Age of the newest quorum of cosignatures.",
            "# TYPE registry_audit_cosignature_age_seconds gauge",
            f"registry_audit_cosignature_age_seconds {age:.0f}",
        ]
    lags = [
        f'registry_audit_witness_lag{{witness="{_label(report.witness.name)}"}} {report.lag}'
        for report in visit.witnesses
        if report.lag is not None
    ]
    if lags:
        lines += [
            "# HELP registry_audit_witness_lag Leaves that a witness, at its own address, is behind.",
            "# TYPE registry_audit_witness_lag gauge",
            *lags,
        ]
    return lines


def _label(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
