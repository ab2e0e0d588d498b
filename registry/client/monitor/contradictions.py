"""What in a registry's present state contradicts what a monitor saw of it before. Pure: changes no memory.

Each finding says whether the memory would forget it: if so nothing is taken over, and the next visit finds
it again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from registry.client.failures import Outdated
from registry.client.monitor.batches import newest_unlisted
from registry.client.monitor.faults import Fault, FaultKind, fault_of
from registry.client.monitor.leaf_rules import compare_with_opening
from registry.client.monitor.memory import Memory, witness_name
from registry.client.monitor.shard import Shard, opening_of
from registry.client.monitor.view import LogView
from registry.client.proof import quorum_time
from registry.client.verify import check_index
from registry.errors import Distrusted, Malformed
from registry.protocol.checkpoint import cosignatures, decode_checkpoint
from registry.protocol.index import LOG_CHECKPOINT_PATH, TRUST_PATH, Index, index_path
from registry.protocol.leaves import IndexLeaf
from registry.protocol.note import decode_note, decode_vkey
from registry.protocol.trust import shard_year
from registry.protocol.trust_note import open_trust_note

WITNESS_AHEAD_SECONDS = 300
"""A log takes no cosignature from farther ahead of its own clock (`transparency.witnesses`)."""


@dataclass
class Compared:
    """What came of it. `faults` are told; what is in none of the other two is taken over all the same.

    `stops`: nothing at all may be taken over. `regions`: those whose remembered index must stay. `vanished`
    are files that were listed and should be still (`Memory.vanished`).
    """

    faults: list[Fault] = field(default_factory=list)
    stops: bool = False
    regions: set[str] = field(default_factory=set)
    vanished: dict[str, list[str]] = field(default_factory=dict)


def check_memory(memory: Memory, previous: Mapping[str, Index], view: LogView, now: float) -> Compared:
    """What in `view` contradicts what was seen before; `previous` are the indexes of the last visit."""
    found = Compared()
    if not memory.visited_at:
        return found
    lasting = [*_check_history(memory, view), *_check_trust(memory, view), *_check_issue_times(memory, view)]
    found.stops = bool(lasting)
    # Of a witness the memory keeps the newest time whatever comes, so an older one is found again.
    found.faults += [*lasting, *_check_cosigned(memory, view)]
    for region, index in view.indexes.items():
        before = previous.get(region)
        if before is None:
            continue
        try:
            check_index(index, region=region, previous=before, now=now)
        except Outdated:
            # The rules tell of it; whether it goes on from the one before is not known.
            found.regions.add(region)
        except Distrusted as error:
            found.faults.append(fault_of(error, index_path(region)))
            found.regions.add(region)
    found.vanished = _vanished(memory, previous, view, now)
    found.faults += [
        Fault(
            FaultKind.INDEX,
            index_path(region),
            f"lists {path} no more, which has not expired and was not withdrawn",
            "Ask the operator for the reason; phones that were off since then never saw it.",
        )
        for region, path, _ in found.vanished.values()
    ]
    return found


def _vanished(
    memory: Memory, previous: Mapping[str, Index], view: LogView, now: float
) -> dict[str, list[str]]:
    """What was listed and is not any more, was withdrawn by no leaf, and is too young to have expired.

    Files that were missed at an earlier visit are missed until they are back or their time is over: whoever
    took them away cannot wait for the monitor to forget.
    """
    missed = dict(memory.vanished)
    for region, index in previous.items():
        # Of an index that cannot be read now, the remembered one stays, and is asked about the next time.
        if region in view.indexes or region not in view.trust.regions:
            missed |= {
                file.sha256: [region, file.path, str(window.sequence)]
                for window in index.windows
                for file in window.files
            }
    listed = {
        file.sha256 for index in view.indexes.values() for window in index.windows for file in window.files
    }
    withdrawn = {
        (batch.leaf.region, str(batch.leaf.sequence))
        for batches in view.batches.values()
        for batch in batches
        if batch.withdrawn_by is not None
    }
    return {
        digest: [region, path, sequence]
        for digest, (region, path, sequence) in missed.items()
        if digest not in listed
        and (region, sequence) not in withdrawn
        and memory.ends.get(digest, 0) > newest_unlisted(view.trust, _issued_at(view, region, now))
    }


def _issued_at(view: LogView, region: str, now: float) -> float:
    index = view.indexes.get(region)
    return now if index is None else index.issued_at


def _check_history(memory: Memory, view: LogView) -> list[Fault]:
    faults = []
    newest = max((int(year) for year in memory.checkpoints), default=0)
    if view.current.year < newest:
        what = f"is of the year {view.current.year}, and that of {newest} was seen before"
        faults.append(Fault(FaultKind.ROLLED_BACK, LOG_CHECKPOINT_PATH, what))
    for year, seen in sorted(memory.checkpoints.items()):
        shard = view.shard(int(year))
        if shard is not None:
            faults += compare_with_seen(shard, seen.encode(), view)
        elif int(year) < view.current.year:
            faults.append(_missing_year(int(year), seen.encode(), view))
    return faults


def _missing_year(year: int, seen: bytes, view: LogView) -> Fault:
    """A year that was seen before, and that the log as it is shown now does not lead to."""
    where, first = f"log/{year}", view.shards[0]
    opening = opening_of(first)
    try:
        before = decode_checkpoint(decode_note(seen).text)
    except Malformed as error:
        return Fault(FaultKind.MALFORMED, f"remembered {where}/checkpoint", str(error))
    if opening is not None and opening.origin == before.origin and before.size >= opening.size:
        fault = compare_with_opening(opening, before, year=first.year, notes=(seen, first.signed))
        if fault is not None:
            return fault
    if opening is None or _names_earlier(view, opening.origin, year):
        what = f"had {before.size} leaves, and the log that is shown now does not go on from them"
        advice = "Keep both notes and this state folder: together they prove that history was left out."
        return Fault(FaultKind.INCONSISTENT, where, what, advice, (seen, first.signed))
    what = f"had {before.size} leaves when it was seen last, and is not to be read any more"
    return Fault(FaultKind.DAMAGED_LOG, where, what, "Each shard is kept for ever. This mirror holds a copy.")


def _names_earlier(view: LogView, origin: str, year: int) -> bool:
    try:
        return shard_year(view.trust.log_origin, origin) < year
    except Malformed:
        return False


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
    before = {one: memory.cosigned.get(witness_name(one.key), 0) for one in cosigned}
    return [
        Fault(
            FaultKind.TIMES,
            LOG_CHECKPOINT_PATH,
            f"{one.key.name} cosigned at {one.time}, and at {time} before that",
            "Either an older checkpoint is shown again, or the witness's clock went back.",
        )
        for one, time in before.items()
        if one.time < time
    ]


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
