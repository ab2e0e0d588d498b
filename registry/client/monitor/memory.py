"""What a monitor remembers from visit to visit, in a folder of its own.

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

from registry.client.monitor.view import LogView
from registry.errors import FetchFailed
from registry.protocol.intervals import INTERVALS_PER_DAY, interval_at
from registry.protocol.note import VerifierKey

STATE_NAME = "state.json"
VERSION = 1
ENDS_KEPT_DAYS = 60


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
    vanished: dict[str, list[str]] = field(default_factory=dict)
    """By digest of a file that left its index too early: region, path and its window's number."""
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
    is_sound = all(year.isdecimal() for year in memory.checkpoints) and all(
        _is_place(place) for place in memory.vanished.values()
    )
    return memory if is_sound else None


def _is_place(value: Any) -> bool:
    is_place = isinstance(value, list) and len(value) == 3
    return is_place and all(isinstance(part, str) for part in value)


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


# ---------------------------------------------------------------- taking over


def witness_name(key: VerifierKey) -> str:
    """How the memory names a witness's key."""
    return f"{key.name}+{key.key_id.hex()}"


def remember(
    memory: Memory,
    view: LogView,
    now: float,
    *,
    ends: Mapping[str, int],
    vanished: Mapping[str, list[str]],
) -> None:
    """Take the view over, once it contradicts nothing. What is out of the index is kept for a while.

    `vanished` are the files that are missed now (`contradictions`); of those the memory never lets go itself.
    Raises BadSignature for a forged cosignature.
    """
    cosigned = view.cosigned
    memory.vanished = dict(vanished)
    memory.visited_at = now
    memory.trust_vkey = view.trust.trust_vkey
    if view.note is not None:
        memory.trust_sequence = view.note.sequence
        memory.trust_digest = view.note.digest.hex()
        memory.trust_issued_at = view.note.issued_at
    for shard in view.shards:
        memory.checkpoints[str(shard.year)] = shard.signed.decode()
    for one in cosigned:
        memory.cosigned[witness_name(one.key)] = max(one.time, memory.cosigned.get(witness_name(one.key), 0))
    for region, batches in view.batches.items():
        memory.sequences[region] = batches[-1].leaf.sequence
    memory.ends.update(ends)
    oldest = interval_at(now) - ENDS_KEPT_DAYS * INTERVALS_PER_DAY
    memory.ends = {digest: end for digest, end in memory.ends.items() if end > oldest}
