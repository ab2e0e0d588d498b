"""One look at a registry by everything that can be checked, with or without a memory of the last one.

Reads, checks, reads again before believing a fault of a registry that is at work, and only then remembers.
What contradicts the memory is never taken over, so that the next visit finds it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.client.monitor.contents import Contents, check_contents
from registry.client.monitor.faults import Fault, FaultKind, fault_of
from registry.client.monitor.memory import Memory, check_memory, load_memory, remember, save_memory
from registry.client.monitor.mirror import write_mirror
from registry.client.monitor.rules import check_view
from registry.client.monitor.shard import Progress, silent
from registry.client.monitor.source import FolderSource, Source
from registry.client.monitor.view import LogView, read_log
from registry.client.monitor.witnesses import FetchCheckpoint, WitnessReport, ask_witnesses
from registry.errors import BadSignature, Distrusted, Malformed, RegistryError
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_PATH
from registry.protocol.trust_note import fingerprint, same_fingerprint
from registry.protocol.witness_policy import WitnessPolicy

LOOKS = 3
"""How often a registry at work is read before a fault is believed."""
PAUSE_SECONDS = 5.0
FILES_AGAIN_SECONDS = 86_400
"""Files at an address that were good once are fetched again after so long."""
MIRROR = "mirror"

CONTRADICTS = frozenset(
    {FaultKind.SPLIT_VIEW, FaultKind.INCONSISTENT, FaultKind.ROLLED_BACK, FaultKind.DAMAGED_LOG}
)
"""Faults after which nothing is taken over into the memory."""


@dataclass(frozen=True)
class Demands:
    """What an auditor brings along: a policy in place of the registry's, the root key's fingerprint."""

    policy: WitnessPolicy | None = None
    fingerprint: str | None = None


@dataclass
class Visit:
    """What was seen. `view` is None if the log could not be read at all; then the faults say why."""

    source: str
    at: float
    view: LogView | None = None
    contents: Contents = field(default_factory=Contents)
    witnesses: list[WitnessReport] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    since: float | None = None
    """When the visit before was, unix seconds; None without one."""
    new_leaves: int = 0


@dataclass(frozen=True)
class Looking:
    """The surroundings of a visit: how witnesses are asked, how one waits, who is told of progress."""

    fetch_checkpoint: FetchCheckpoint | None = None
    pause: Callable[[float], None] | None = None
    reading: Progress = silent
    checking: Progress = silent


def look(
    source: Source,
    demands: Demands,
    now: float,
    looking: Looking,
    *,
    memory: Memory | None = None,
    before: LogView | None = None,
) -> Visit:
    """Read and check everything. Faults of a live source count only if they are still there at the last look.

    `before` is the view of the visit that `memory` is of. Raises FetchFailed if there is no answer.
    """
    visit = _look_once(source, demands, now, looking, memory, before, read=before)
    looks = LOOKS if source.is_live and looking.pause is not None else 1
    for _ in range(looks - 1):
        if not visit.faults or looking.pause is None:
            break
        looking.pause(PAUSE_SECONDS)
        # What was read a moment ago is not read again; what it is compared with stays the last visit's.
        read = visit.view or before
        visit = _look_once(source, demands, now + PAUSE_SECONDS, looking, memory, before, read=read)
    return visit


def _look_once(
    source: Source,
    demands: Demands,
    now: float,
    looking: Looking,
    memory: Memory | None,
    before: LogView | None,
    *,
    read: LogView | None,
) -> Visit:
    visit = Visit(source.name, now)
    known: Mapping[str, int] = {}
    if memory is not None and memory.visited_at:
        visit.since = memory.visited_at
        # A folder's files cost nothing to read again.
        if source.is_live and now < memory.files_checked_at + FILES_AGAIN_SECONDS:
            known = memory.ends
    try:
        view = read_log(source.read, before=read, policy=demands.policy, progress=looking.reading)
    except (Malformed, Distrusted) as error:
        visit.faults.append(fault_of(error, LOG_CHECKPOINT_PATH))
        return visit
    visit.view = view
    visit.faults += check_pin(view, demands)
    visit.faults += check_view(view, now)
    if memory is not None:
        previous = dict(before.indexes) if before is not None else {}
        visit.faults += check_memory(memory, previous, view, now)
        visit.new_leaves = _size(view) - (_size(before) if before is not None else 0)
    try:
        visit.contents = check_contents(source.read, view, now, known=known, progress=looking.checking)
        visit.faults += visit.contents.faults
    except (Malformed, Distrusted) as error:
        visit.faults.append(fault_of(error, source.name))
    if looking.fetch_checkpoint is not None:
        visit.witnesses, found = ask_witnesses(looking.fetch_checkpoint, view)
        visit.faults += found
    visit.faults = sorted(dict.fromkeys(visit.faults), key=lambda fault: fault.kind.exit_code)
    return visit


def check_pin(view: LogView, demands: Demands) -> list[Fault]:
    """The trust root is the one whose fingerprint the auditor was given."""
    if demands.fingerprint is None:
        return []
    found = fingerprint(view.trust.trust_vkey)
    if same_fingerprint(found, demands.fingerprint):
        return []
    what = f"the root key's fingerprint is {found}, not {demands.fingerprint}"
    advice = "Somebody else may be answering in the registry's place: compare it by another channel."
    return [Fault(FaultKind.SIGNATURE, TRUST_PATH, what, advice)]


def _size(view: LogView) -> int:
    return sum(shard.checkpoint.size for shard in view.shards)


# ---------------------------------------------------------------- with a memory


def visit_again(
    source: Source,
    folder: Path,
    demands: Demands,
    now: float,
    looking: Looking,
    *,
    before: LogView | None = None,
) -> tuple[Visit, Memory]:
    """Look, compare with what `folder` remembers, and remember.

    `before` spares reading the mirror again when it is what the last call's visit saw. Raises FetchFailed.
    """
    memory = load_memory(folder)
    if before is None and memory.visited_at:
        before = read_mirror(folder / MIRROR, demands)
    visit = look(source, demands, now, looking, memory=memory, before=before)
    memory.gaps_found += sum(
        fault.kind is FaultKind.GAP and list(fault.identity) not in memory.told for fault in visit.faults
    )
    if visit.view is not None and not any(fault.kind in CONTRADICTS for fault in visit.faults):
        try:
            remember(memory, visit.view, now, ends=visit.contents.ends)
        except BadSignature:
            return visit, memory  # a forged cosignature: told already, and nothing of it is kept
        if now >= memory.files_checked_at + FILES_AGAIN_SECONDS:
            memory.files_checked_at = now
        write_mirror(folder / MIRROR, visit.view, before)
    return visit, memory


def finish(folder: Path, memory: Memory, visit: Visit) -> list[Fault]:
    """Save the memory, after the mirror; returns the faults that were not there at the last visit."""
    fresh = [fault for fault in visit.faults if list(fault.identity) not in memory.told]
    memory.told = [list(fault.identity) for fault in visit.faults]
    save_memory(folder, memory)
    return fresh


def read_mirror(folder: Path, demands: Demands) -> LogView | None:
    """The view that the mirror holds; None if a crash or somebody damaged it: then all is fetched again."""
    try:
        return read_log(FolderSource(folder).read, policy=demands.policy)
    except RegistryError:
        return None
