"""Everything that a registry's log says, in the shape in which pages and tools show it.

`read_log` takes a function that reads public files and gives a `LogView`: all shards that hang together,
their entries decoded, batches by region with what became of them, changes of keys and policy, and health.
What it returns has been signed by the log's keys and hashes to their roots; whether all rules hold is
`rules.check_view`'s to say. Must never take the trust material's word for who signs it: a caller who knows
the root key compares it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from registry.client.monitor.batches import LoggedBatch, issue_times, logged_batches
from registry.client.monitor.faults import Fault, FaultKind, NotThere, fault_of
from registry.client.monitor.health import Health, health_of
from registry.client.monitor.shard import (
    Entry,
    Progress,
    Read,
    Shard,
    current_year,
    must_read,
    read_shard,
    read_signed_checkpoint,
    silent,
    year_before,
)
from registry.errors import Distrusted, Malformed, RegistryError
from registry.protocol.checkpoint import Cosignature, cosignatures
from registry.protocol.index import (
    TRUST_NOTE_PATH,
    TRUST_PATH,
    Index,
    decode_index,
    index_path,
    shard_checkpoint_path,
)
from registry.protocol.leaves import ActivityLeaf, IndexLeaf, KeyLeaf, Leaf, PolicyLeaf, WithdrawLeaf
from registry.protocol.note import VerifierKey, decode_vkey
from registry.protocol.trust import TrustMaterial, decode_trust
from registry.protocol.trust_note import TrustNote, open_trust_note
from registry.protocol.witness_policy import WitnessPolicy, encode_policy


@dataclass(frozen=True)
class LogView:
    """What the public files say. `shards` are oldest first, the last one is the current one."""

    trust_content: bytes = field(repr=False)
    trust: TrustMaterial = field(repr=False)
    """With the reader's own log keys and policy in place of the registry's, if there are any."""
    stated_policy: str = field(repr=False)
    """The text of the witness policy as the registry states it."""
    note_content: bytes | None = field(repr=False)
    note: TrustNote | None
    policy: WitnessPolicy
    shards: tuple[Shard, ...]
    shard_faults: tuple[Fault, ...]
    """Why an older shard, which the log names, could not be read. Each shard is there for ever."""
    index_contents: Mapping[str, bytes] = field(repr=False)
    indexes: Mapping[str, Index] = field(repr=False)
    faults: tuple[Fault, ...] = ()
    """Why files that stand beside the log could not be used."""

    @property
    def has_all_shards(self) -> bool:
        """Whether every shard that the log names was read."""
        return not self.shard_faults

    @property
    def current(self) -> Shard:
        """The shard that grows."""
        return self.shards[-1]

    def entries(self) -> Iterator[Entry]:
        """Every entry of every shard, oldest first."""
        for shard in self.shards:
            yield from shard.entries

    def conflict_with(self, origin: str, size: int, root: bytes) -> FaultKind | None:
        """What a checkpoint, signed by the log's keys, would prove against this view; None if they fit.

        A size beyond what was read proves nothing either way.
        """
        shard = next((one for one in self.shards if one.checkpoint.origin == origin), None)
        if shard is None or size > shard.checkpoint.size or shard.root_at(size) == root:
            return None
        return FaultKind.SPLIT_VIEW if size == shard.checkpoint.size else FaultKind.INCONSISTENT

    def shard(self, year: int) -> Shard | None:
        """The shard of that year."""
        return next((shard for shard in self.shards if shard.year == year), None)

    def entry(self, year: int, number: int) -> Entry | None:
        """One entry; None if there is none."""
        shard = self.shard(year)
        return shard.entries[number] if shard and 0 <= number < len(shard.entries) else None

    @cached_property
    def batches(self) -> Mapping[str, tuple[LoggedBatch, ...]]:
        """By region, sorted by code: its batches, oldest first."""
        return logged_batches(self.shards, self.indexes, self.trust, self.issue_times)

    @cached_property
    def withdrawals(self) -> tuple[Entry, ...]:
        """Entries of batches that were taken back, oldest first."""
        return self._of(WithdrawLeaf)

    @cached_property
    def key_changes(self) -> tuple[Entry, ...]:
        """Entries of keys that were added or retired, oldest first."""
        return self._of(KeyLeaf)

    @cached_property
    def policies(self) -> tuple[Entry, ...]:
        """Entries of trust material, oldest first."""
        return self._of(PolicyLeaf)

    @cached_property
    def activity(self) -> tuple[Entry, ...]:
        """Entries that anchor the officials' acts, oldest first."""
        return self._of(ActivityLeaf)

    @cached_property
    def index_entries(self) -> tuple[Entry, ...]:
        """Entries of indexes, oldest first; the last is what phones follow."""
        return self._of(IndexLeaf)

    @cached_property
    def issue_times(self) -> Mapping[tuple[int, int], int]:
        """By (year, number): when the first index leaf at or after the entry was issued, unix seconds."""
        return issue_times(self.shards)

    @cached_property
    def cosigned(self) -> tuple[Cosignature, ...]:
        """Who cosigned the newest checkpoint. Raises BadSignature."""
        keys = [witness.key for witness in self.policy.witnesses]
        return tuple(cosignatures(self.current.note, self.current.checkpoint, keys))

    def health(self, now: float) -> Health:
        """The log's health at `now`, unix seconds. Raises BadSignature for a forged cosignature."""
        return health_of(self.current.checkpoint, self.cosigned, self.policy, self.trust, self.batches, now)

    def _of(self, kind: type[Leaf]) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries() if isinstance(entry.leaf, kind))


# ----------------------------------------------------------------- reading


def read_log(
    read: Read,
    *,
    before: LogView | None = None,
    policy: WitnessPolicy | None = None,
    progress: Progress = silent,
) -> LogView:
    """The log as `read` serves it now.

    `before` is what an earlier call returned: what it holds is not read again. `policy` is the reader's own:
    its witnesses, its quorum and, for the shards that it names, its keys count in place of the registry's.

    Raises NotThere, Malformed, UntrustedKey, BadSignature or WrongTree if the current shard cannot be read or
    is not what its checkpoint signs, and what `read` raises. Why an older shard could not be read stands in
    `shard_faults`, what is wrong with files beside the log in `faults`. Reads the checkpoint first and the
    indexes last, so that an index may be newer than the log that was read, or, in the seconds in which a
    publisher works, older.
    """
    trust_content = must_read(read, TRUST_PATH)
    stated = decode_trust(trust_content)
    trust = with_policy(stated, policy) if policy is not None else stated
    keys = tuple(decode_vkey(vkey) for vkey in trust.log_vkeys)
    faults: list[Fault] = []
    shards, shard_faults = _read_shards(read, trust, keys, before, progress)
    note_content, note = _read_note(read, trust, faults)
    contents, indexes = _read_indexes(read, trust, faults)
    return LogView(
        trust_content=trust_content,
        trust=trust,
        stated_policy=stated.witness_policy,
        note_content=note_content,
        note=note,
        policy=trust.policy(),
        shards=shards,
        shard_faults=shard_faults,
        index_contents=contents,
        indexes=indexes,
        faults=tuple(faults),
    )


def with_policy(trust: TrustMaterial, policy: WitnessPolicy) -> TrustMaterial:
    """The trust material with a reader's own policy in place of the registry's.

    Keys of shards that the policy does not name stay: the last of those is committed to by the first leaf of
    the next, which the policy's keys sign.
    """
    named = {log.key.name for log in policy.logs}
    others = [vkey for vkey in trust.log_vkeys if decode_vkey(vkey).name not in named]
    return replace(
        trust,
        log_vkeys=(*others, *(log.key.vkey for log in policy.logs)),
        witness_policy=encode_policy(policy).decode(),
    )


def _read_shards(
    read: Read,
    trust: TrustMaterial,
    keys: tuple[VerifierKey, ...],
    before: LogView | None,
    progress: Progress,
) -> tuple[tuple[Shard, ...], tuple[Fault, ...]]:
    """(all shards that can be reached from the current one, oldest first; why there are no older ones)."""
    year: int | None = current_year(read, trust.log_origin)
    shards: list[Shard] = []
    while year is not None:
        where = shard_checkpoint_path(year)
        try:
            signed = read_signed_checkpoint(read, year, is_current=not shards)
            earlier = before.shard(year) if before else None
            if earlier is not None and earlier.signed == signed:
                shards.insert(0, earlier)
            else:
                shards.insert(0, read_shard(read, year, signed, keys, before=earlier, progress=progress))
            where = f"log/{year} leaf 0"
            year = year_before(shards[0], trust.log_origin)
        except (Malformed, Distrusted) as error:
            if not shards:
                raise
            return tuple(shards), (_missing_shard(error, where),)
    return tuple(shards), ()


def _missing_shard(error: RegistryError, where: str) -> Fault:
    if isinstance(error, NotThere):
        what = f"the log goes on from this shard, and it is not to be read: {error}"
        advice = "Each shard is kept for ever. Look for it in a mirror, a bundle, or at its witnesses."
        return Fault(FaultKind.DAMAGED_LOG, where, what, advice)
    return fault_of(error, where)


def _read_note(
    read: Read, trust: TrustMaterial, faults: list[Fault]
) -> tuple[bytes | None, TrustNote | None]:
    try:
        content = read(TRUST_NOTE_PATH)
    except Malformed as error:  # of a length that no note has
        faults.append(fault_of(error, TRUST_NOTE_PATH))
        return None, None
    if content is None:
        what = "there is no note beside the trust material"
        faults.append(Fault(FaultKind.TRUST, TRUST_NOTE_PATH, what))
        return None, None
    try:
        return content, open_trust_note(content, decode_vkey(trust.trust_vkey))
    except (Malformed, Distrusted) as error:
        faults.append(fault_of(error, TRUST_NOTE_PATH))
        return content, None


def _read_indexes(
    read: Read, trust: TrustMaterial, faults: list[Fault]
) -> tuple[dict[str, bytes], dict[str, Index]]:
    contents: dict[str, bytes] = {}
    indexes: dict[str, Index] = {}
    for region in sorted(trust.regions):
        path = index_path(region)
        try:
            content = read(path)
        except Malformed as error:
            faults.append(fault_of(error, path))
            continue
        if content is None:
            what = "there is no index of a region that the trust material names"
            faults.append(Fault(FaultKind.INDEX, path, what))
            continue
        contents[region] = content
        try:
            index = decode_index(content)
        except Malformed as error:
            faults.append(fault_of(error, path))
            continue
        if index.region != region:
            faults.append(Fault(FaultKind.INDEX, path, f"is the index of {index.region}"))
        else:
            indexes[region] = index
    return contents, indexes
