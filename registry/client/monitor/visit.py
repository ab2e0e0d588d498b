"""One look at a registry by everything that can be checked, with or without a memory of the last one.

Reads, checks, reads again before believing a fault of a registry that is at work, and only then remembers.
What two signed notes prove is believed at first sight, whatever is shown a moment later. What contradicts the
memory is never taken over, so that the next visit finds it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from registry.client.monitor.contents import Contents, check_contents
from registry.client.monitor.contradictions import Compared, check_memory, compare_with_seen
from registry.client.monitor.faults import Fault, FaultKind, fault_of, is_final
from registry.client.monitor.memory import Memory, load_memory, remember, save_memory
from registry.client.monitor.mirror import write_mirror
from registry.client.monitor.rules import check_view
from registry.client.monitor.second_names import check_second_names
from registry.client.monitor.shard import Progress, Read, silent
from registry.client.monitor.source import FolderSource, Source
from registry.client.monitor.view import LogView, read_log
from registry.client.monitor.witnesses import FetchCheckpoint, WitnessReport, ask_witnesses
from registry.errors import BadSignature, Distrusted, Malformed, RegistryError
from registry.protocol.checkpoint import open_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_PATH
from registry.protocol.note import decode_vkey
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
    compared: Compared = field(default_factory=Compared)
    """What came of holding it against the memory."""


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
    """Read and check everything. Faults of a live source count only if they are still there at the last look,
    but for those that two signed notes prove: the checkpoints of all looks are held against each other.

    `before` is the view of the visit that `memory` is of. Raises FetchFailed if there is no answer.
    """
    looks = LOOKS if source.is_live and looking.pause is not None else 1
    seen: list[bytes] = []
    proven: list[Fault] = []
    newest: LogView | None = None

    def read(path: str) -> bytes | None:
        content = source.read(path)
        if path == LOG_CHECKPOINT_PATH and content is not None:
            seen.append(content)
        return content

    for number in range(looks):
        if number and looking.pause is not None:
            looking.pause(PAUSE_SECONDS)
        # What was read a moment ago is not read again; what it is compared with stays the last visit's.
        visit = _look_once(
            source.name,
            read,
            demands,
            now + bool(number) * PAUSE_SECONDS,
            looking,
            _known(source, memory, now),
            memory,
            before,
            newest or before,
        )
        newest = visit.view or newest
        proven += [fault for fault in visit.faults if is_final(fault)]
        if newest is not None:
            proven += _compare_looks(newest, seen, is_newest=visit.view is not None)
        if all(map(is_final, visit.faults)):
            break
    told = {(one.identity, frozenset(one.evidence)): one for one in [*proven, *visit.faults]}
    visit.faults = sorted(told.values(), key=lambda one: one.kind.exit_code)
    return visit


def _known(source: Source, memory: Memory | None, now: float) -> Mapping[str, int]:
    """Files that need not be fetched again. A folder's cost nothing to read."""
    if memory is not None and source.is_live and now < memory.files_checked_at + FILES_AGAIN_SECONDS:
        return memory.ends
    return {}


def _compare_looks(view: LogView, seen: list[bytes], *, is_newest: bool) -> list[Fault]:
    """Whether the signed checkpoints that were shown within this visit are of one log that grows.

    `view` is what was read last; unless it `is_newest`, a smaller one that came after it proves nothing.
    """
    keys = [decode_vkey(vkey) for vkey in view.trust.log_vkeys]
    faults = []
    for signed in dict.fromkeys(seen):
        try:
            origin = open_checkpoint(signed, keys)[1].origin
        except (Malformed, Distrusted):
            continue  # signed by nobody: the look that met it has told
        shard = next((one for one in view.shards if one.checkpoint.origin == origin), None)
        if shard is not None and shard.signed != signed:
            faults += compare_with_seen(shard, signed, view)
    return [fault for fault in faults if is_newest or fault.kind is not FaultKind.ROLLED_BACK]


def _look_once(
    name: str,
    read: Read,
    demands: Demands,
    now: float,
    looking: Looking,
    known: Mapping[str, int],
    memory: Memory | None,
    before: LogView | None,
    held: LogView | None,
) -> Visit:
    visit = Visit(name, now)
    if memory is not None and memory.visited_at:
        visit.since = memory.visited_at
    try:
        view = read_log(read, before=held, policy=demands.policy, progress=looking.reading)
    except (Malformed, Distrusted) as error:
        visit.faults.append(fault_of(error, LOG_CHECKPOINT_PATH))
        return visit
    visit.view = view
    visit.faults += check_pin(view, demands)
    visit.faults += check_view(view, now)
    visit.faults += check_second_names(read, view, before)
    if memory is not None:
        previous = dict(before.indexes) if before is not None else {}
        visit.compared = check_memory(memory, previous, view, now)
        visit.faults += visit.compared.faults
        visit.new_leaves = _size(view) - (_size(before) if before is not None else 0)
    visit.contents = check_contents(read, view, now, known=known, progress=looking.checking)
    visit.faults += visit.contents.faults
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
    contradicts = visit.compared.stops or any(fault.kind in CONTRADICTS for fault in visit.faults)
    if visit.view is not None and not contradicts:
        compared = visit.compared
        try:
            remember(memory, visit.view, now, ends=visit.contents.ends, vanished=compared.vanished)
        except BadSignature:
            return visit, memory  # a forged cosignature: told already, and nothing of it is kept
        if now >= memory.files_checked_at + FILES_AGAIN_SECONDS:
            memory.files_checked_at = now
        write_mirror(folder / MIRROR, visit.view, before, without=compared.regions)
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
        view = read_log(FolderSource(folder).read, policy=demands.policy)
    except RegistryError:
        return None
    return view if view.has_all_shards else None
