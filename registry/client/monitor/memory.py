"""What a monitor remembers from visit to visit, in a folder of its own, and what only a memory can see.

The folder holds a mirror of the public files that must outlive the registry's (all bundles, checkpoints,
indexes, trust material) under their public paths, and `state.json`. Bundles are added under names that are
written once and the checkpoint after them, so that a crash leaves the old visit or the new one, never half.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from registry.client.monitor.batches import newest_unlisted
from registry.client.monitor.faults import Fault, FaultKind, fault_of
from registry.client.monitor.shard import Shard
from registry.client.monitor.view import LogView
from registry.client.proof import quorum_time
from registry.client.verify import check_index
from registry.errors import Distrusted, FetchFailed, Malformed
from registry.protocol.checkpoint import cosignatures, decode_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_PATH, Index, index_path
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at
from registry.protocol.leaves import IndexLeaf
from registry.protocol.note import VerifierKey, decode_note, decode_vkey
from registry.protocol.trust_note import open_trust_note

STATE_NAME = "state.json"
VERSION = 1
ENDS_KEPT_DAYS = 60
WITNESS_AHEAD_SECONDS = 300
"""A log takes no cosignature from farther ahead of its own clock (`transparency.witnesses`)."""


@dataclass
class Memory:
    """The numbers of `state.json`. Times are unix seconds."""

    visited_at: float = 0.0
    trust_vkey: str = ""
    """The root key that this monitor goes by."""
    trust_sequence: int = 0
    trust_digest: str = ""
    trust_issued_at: int = 0
    checkpoints: dict[str, str] = field(default_factory=dict)
    """By year: the newest checkpoint that was believed, a whole signed note."""
    cosigned: dict[str, int] = field(default_factory=dict)
    """By a witness's key, as name and id: the newest time that was seen of it."""
    sequences: dict[str, int] = field(default_factory=dict)
    """By region: the newest batch's number."""
    ends: dict[str, int] = field(default_factory=dict)
    """By digest of a file that was checked: the end interval of its newest key."""
    files_checked_at: float = 0.0
    told: list[list[str]] = field(default_factory=list)
    """Faults that hooks have been told of and that were still there at the last visit."""
    gaps_found: int = 0
    """How many gaps were ever seen."""


def load_memory(folder: Path) -> Memory:
    """The memory in `folder`; an empty one if there is none. Raises FetchFailed if it cannot be read."""
    try:
        members = json.loads((folder / STATE_NAME).read_bytes())
    except FileNotFoundError:
        return Memory()
    except (OSError, ValueError, RecursionError) as error:
        raise FetchFailed(f"{folder / STATE_NAME} cannot be read: move it away to begin anew") from error
    if not isinstance(members, dict) or members.pop("v", None) != VERSION:
        raise FetchFailed(f"{folder / STATE_NAME} is of another version: move it away to begin anew")
    memory = _sound(members)
    if memory is None:
        raise FetchFailed(f"{folder / STATE_NAME} is not a monitor's state: move it away to begin anew")
    return memory


def _sound(members: dict[str, Any]) -> Memory | None:
    """The memory that these members are; None if their names or types are not its."""
    for name, value in vars(Memory()).items():
        found = members.get(name, value)
        is_number = isinstance(value, int | float) and isinstance(found, int | float)
        if not is_number and type(found) is not type(value):
            return None
    try:
        memory = Memory(**members)
        bytes.fromhex(memory.trust_digest)
    except (TypeError, ValueError):
        return None
    return memory if all(year.isdecimal() for year in memory.checkpoints) else None


def save_memory(folder: Path, memory: Memory) -> None:
    """Replace `state.json` in one step."""
    write_file(folder / STATE_NAME, json.dumps({"v": VERSION, **asdict(memory)}, indent=1).encode())


def write_file(path: Path, content: bytes) -> None:
    """Durable and in one step: temporary file, fsync, rename, fsync of the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".tmp-{path.name}")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------ what only a memory can see


def check_memory(memory: Memory, previous: Mapping[str, Index], view: LogView, now: float) -> list[Fault]:
    """What in `view` contradicts what was seen before; `previous` are the indexes of the last visit."""
    if not memory.visited_at:
        return []
    faults = [*_check_history(memory, view), *_check_cosigned(memory, view), *_check_trust(memory, view)]
    faults += _check_issue_times(memory, view)
    for region, index in view.indexes.items():
        before = previous.get(region)
        try:
            if before is not None:
                check_index(index, region=region, previous=before, now=now)
        except Distrusted as error:
            faults.append(fault_of(error, index_path(region)))
        if before is not None:
            faults += _check_vanished(memory, before, index, view)
    return faults


def _check_vanished(memory: Memory, before: Index, index: Index, view: LogView) -> list[Fault]:
    """What was listed and is not any more was withdrawn by a leaf, or its newest key has grown old enough."""
    listed = {file.sha256 for window in index.windows for file in window.files}
    withdrawn = {
        batch.leaf.sequence for batch in view.batches.get(index.region, ()) if batch.withdrawn_by is not None
    }
    where = index_path(index.region)
    return [
        Fault(
            FaultKind.INDEX,
            where,
            f"lists {file.path} no more, which has not expired and was not withdrawn",
            "Ask the operator for the reason; phones that were off since then never saw it.",
        )
        for window in before.windows
        for file in window.files
        if file.sha256 not in listed
        and window.sequence not in withdrawn
        and memory.ends.get(file.sha256, 0) > newest_unlisted(view.trust, index)
    ]


def _check_history(memory: Memory, view: LogView) -> list[Fault]:
    faults = []
    newest = max((int(year) for year in memory.checkpoints), default=0)
    if view.current.year < newest:
        what = f"is of the year {view.current.year}, and that of {newest} was seen before"
        faults.append(Fault(FaultKind.ROLLED_BACK, LOG_CHECKPOINT_PATH, what))
    for shard in view.shards:
        seen = memory.checkpoints.get(str(shard.year))
        if seen is not None:
            faults += compare_with_seen(shard, seen.encode(), view)
    return faults


def compare_with_seen(shard: Shard, seen: bytes, view: LogView) -> list[Fault]:
    """Whether the shard goes on from the checkpoint `seen`, which was believed before."""
    where = f"log/{shard.year}/checkpoint"
    try:
        before = decode_checkpoint(decode_note(seen).text)
    except Malformed as error:
        return [Fault(FaultKind.MALFORMED, f"remembered {where}", str(error))]
    evidence = (seen, shard.signed)
    if shard.checkpoint.size < before.size:
        what = f"has {shard.checkpoint.size} leaves, and had {before.size} before"
        advice = "Keep both notes. Unless the newer one is shown again, history was cut off."
        return [Fault(FaultKind.ROLLED_BACK, where, what, advice, evidence)]
    conflict = view.conflict_with(before.origin, before.size, before.root)
    if conflict is FaultKind.SPLIT_VIEW:
        what = f"has another root at size {before.size} than it had before"
        advice = "Keep both notes: together they prove to anybody that two histories were signed."
        return [Fault(conflict, where, what, advice, evidence)]
    if conflict is not None:
        what = f"does not contain the {before.size} leaves that were there before"
        advice = "Keep both notes and this state folder: together they prove that history was rewritten."
        return [Fault(conflict, where, what, advice, evidence)]
    return []


def _check_issue_times(memory: Memory, view: LogView) -> list[Fault]:
    """What came after a tree that a quorum had cosigned by some time cannot have been issued before that."""
    faults = []
    witnesses = [witness.key for witness in view.policy.witnesses]
    for shard in view.shards:
        signed = memory.checkpoints.get(str(shard.year), "").encode()
        try:
            note = decode_note(signed)
            before = decode_checkpoint(note.text)
            cosigned_at = quorum_time(view.policy, cosignatures(note, before, witnesses)) or 0
        except (Malformed, Distrusted):
            continue  # nothing was seen of this year, or `compare_with_seen` tells what was damaged
        faults += [
            Fault(
                FaultKind.TIMES,
                f"log/{shard.year} leaf {entry.number}",
                f"claims to have been issued at {entry.leaf.issued_at}, and a tree without it was cosigned "
                f"by a quorum at {cosigned_at}",
                "It was back-dated, or the registry's clock or the witnesses' are wrong. Keep both notes.",
                (signed, shard.signed),
            )
            for entry in shard.entries[before.size :]
            if isinstance(entry.leaf, IndexLeaf)
            and entry.leaf.issued_at < cosigned_at - WITNESS_AHEAD_SECONDS
        ]
    return faults


def _check_cosigned(memory: Memory, view: LogView) -> list[Fault]:
    try:
        cosigned = view.cosigned
    except Distrusted:
        return []  # a forged line is a fault of its own, which the rules find
    return [
        Fault(
            FaultKind.TIMES,
            LOG_CHECKPOINT_PATH,
            f"{one.key.name} cosigned at {one.time}, and at {memory.cosigned[_name(one.key)]} before that",
            "Either an older checkpoint is shown again, or the witness's clock went back.",
        )
        for one in cosigned
        if one.time < memory.cosigned.get(_name(one.key), 0)
    ]


def _name(key: VerifierKey) -> str:
    return f"{key.name}+{key.key_id.hex()}"


def _check_trust(memory: Memory, view: LogView) -> list[Fault]:
    faults = []
    if view.trust.trust_vkey != memory.trust_vkey and not _signed_in(memory, view):
        what = "names another root key than the one that this monitor goes by"
        advice = "Ask the registry's people for the fingerprint; begin with a new state only if it is theirs."
        faults.append(Fault(FaultKind.SIGNATURE, TRUST_PATH, what, advice))
    note = view.note
    if note is None:
        return faults
    if (note.sequence, note.issued_at) < (memory.trust_sequence, memory.trust_issued_at):
        what = f"is number {note.sequence}, and number {memory.trust_sequence} was seen before"
        faults.append(Fault(FaultKind.ROLLED_BACK, TRUST_PATH, what))
    elif note.sequence == memory.trust_sequence and note.digest.hex() != memory.trust_digest:
        what = f"two different materials were signed as number {note.sequence}"
        faults.append(Fault(FaultKind.SPLIT_VIEW, TRUST_PATH, what, "Keep both notes."))
    elif note.sequence == memory.trust_sequence + 1 and note.previous != bytes.fromhex(memory.trust_digest):
        what = f"number {note.sequence} does not name the material that was seen as its predecessor"
        faults.append(Fault(FaultKind.TRUST, TRUST_PATH, what))
    return faults


def _signed_in(memory: Memory, view: LogView) -> bool:
    """Whether the root that was known signed the note too: so a new root is brought in."""
    try:
        open_trust_note(view.note_content or b"", decode_vkey(memory.trust_vkey))
    except (Malformed, Distrusted):
        return False
    return True


def remember(memory: Memory, view: LogView, now: float, *, ends: Mapping[str, int]) -> None:
    """Take the view over, once it contradicts nothing. What is out of the index is kept for a while."""
    memory.visited_at = now
    memory.trust_vkey = view.trust.trust_vkey
    if view.note is not None:
        memory.trust_sequence = view.note.sequence
        memory.trust_digest = view.note.digest.hex()
        memory.trust_issued_at = view.note.issued_at
    for shard in view.shards:
        memory.checkpoints[str(shard.year)] = shard.signed.decode()
    for one in view.cosigned:
        memory.cosigned[_name(one.key)] = max(one.time, memory.cosigned.get(_name(one.key), 0))
    for region, batches in view.batches.items():
        memory.sequences[region] = batches[-1].leaf.sequence
    memory.ends.update(ends)
    oldest = interval_at(now) - ENDS_KEPT_DAYS * INTERVALS_PER_DAY
    memory.ends = {digest: end for digest, end in memory.ends.items() if end > oldest}
