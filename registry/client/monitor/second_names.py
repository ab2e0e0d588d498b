"""The current shard under its second names: what foreign tools and past years' readers are given of it.

`log/checkpoint` is the pointer that phones and our tools follow, `log/<year>/checkpoint` the same shard's own
file; `log/tile/...` repeats the shard's tiles where C2SP tools look for them. Whoever serves another history
under one of the names shows it to those who read that name alone.
"""

from registry.client.monitor.faults import Fault, FaultKind, fault_of
from registry.client.monitor.mirror import shard_files
from registry.client.monitor.shard import Read, Shard, must_read, read_shard
from registry.client.monitor.view import LogView
from registry.errors import Distrusted, Malformed
from registry.protocol.checkpoint import open_checkpoint
from registry.protocol.index import LOG, shard_checkpoint_path
from registry.protocol.leaves import CloseLeaf
from registry.protocol.note import VerifierKey, decode_vkey

KEEP_BOTH = "Keep both notes: together they prove to anybody that two histories were signed."


def check_second_names(read: Read, view: LogView, before: LogView | None) -> list[Fault]:
    """Whether the shard that grows is the same under all its names; of the tiles, those new since `before`.

    A copy without `log/tile/` is no fault: what is there must be right. Raises FetchFailed.
    """
    earlier = before.shard(view.current.year) if before is not None else None
    old_size = min(earlier.checkpoint.size if earlier is not None else 0, view.current.checkpoint.size)
    return [*check_own_checkpoint(read, view), *check_alias(read, view.current, old_size)]


def check_own_checkpoint(read: Read, view: LogView) -> list[Fault]:
    """`log/<year>/checkpoint` of the current shard against `log/checkpoint`."""
    shard, where = view.current, shard_checkpoint_path(view.current.year)
    keys = [decode_vkey(vkey) for vkey in view.trust.log_vkeys]
    try:
        signed = must_read(read, where)
        own = open_checkpoint(signed, keys)[1]
    except (Malformed, Distrusted) as error:
        return [fault_of(error, where)]
    evidence = (signed, shard.signed)
    if own.origin != shard.checkpoint.origin:
        return [Fault(FaultKind.SIGNATURE, where, f"is the checkpoint of {own.origin}")]
    conflict = view.conflict_with(own.origin, own.size, own.root)
    if conflict is not None:
        what = f"is of another history, at size {own.size}, than log/checkpoint"
        return [Fault(conflict, where, what, KEEP_BOTH, evidence)]
    if own.size > shard.checkpoint.size:
        return _check_ahead(read, shard, signed, keys, where)
    if own.size < shard.checkpoint.size:
        what = f"has {own.size} leaves, and log/checkpoint {shard.checkpoint.size}"
        return [Fault(FaultKind.ROLLED_BACK, where, what, "Read again in a minute.")]
    return []


def _check_ahead(read: Read, shard: Shard, signed: bytes, keys: list[VerifierKey], where: str) -> list[Fault]:
    """The shard's own file is written first, and at the year's turn it alone has the leaf that closes it."""
    try:
        ahead = read_shard(read, shard.year, signed, keys, before=shard)
    except (Malformed, Distrusted) as error:
        return [fault_of(error, where)]
    size = shard.checkpoint.size
    if ahead.root_at(size) != shard.checkpoint.root:
        what = f"does not contain the {size} leaves of log/checkpoint"
        return [Fault(FaultKind.INCONSISTENT, where, what, KEEP_BOTH, (shard.signed, signed))]
    if [type(entry.leaf) for entry in ahead.entries[size:]] == [CloseLeaf]:
        return []
    what = f"has {ahead.checkpoint.size} leaves, and log/checkpoint, which phones follow, only {size}"
    return [Fault(FaultKind.ROLLED_BACK, where, what, "Read again in a minute.")]


def check_alias(read: Read, shard: Shard, old_size: int) -> list[Fault]:
    """Each tile and bundle under `log/tile/`, as far as it is there, of those that `old_size` had not."""
    if old_size == shard.checkpoint.size:
        return []
    faults = []
    for path, content in shard_files(shard, old_size):
        alias = path.replace(f"{LOG}/{shard.year:04d}/", f"{LOG}/", 1)
        try:
            served = read(alias)
        except Malformed as error:
            faults.append(fault_of(error, alias))
            continue
        if served is not None and served != content:
            what = f"is not what {path} holds, which leads to the signed root"
            faults.append(Fault(FaultKind.DAMAGED_LOG, alias, what, "Read again in a minute."))
    return faults
