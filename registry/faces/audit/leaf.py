"""One leaf: its bytes, what they say, and each hash on the way from it to the root that the log signed.

The proof's file and the commands let anyone do the same sums with tools that are not ours.
"""

from flask import Blueprint, Response, abort, render_template, url_for
from flask_babel import gettext as _

from registry.client.monitor.shard import Entry, Shard, prove_entry
from registry.faces.audit.commands import foreign_commands, own_commands
from registry.faces.audit.hash_steps import hash_steps
from registry.faces.audit.record import Record, this_record
from registry.faces.audit.settings import this_face
from registry.faces.audit.wording import LEAF_TYPES, hex_dump, members_in_words
from registry.protocol.index import shard_tile_path
from registry.protocol.merkle import check_inclusion
from registry.protocol.note import KeyKind, decode_vkey
from registry.protocol.proof import LogProof, encode_proof
from registry.protocol.tiles import WIDTH, Tile, tiles_at

pages = Blueprint("leaf", __name__, url_prefix="/audit")

_LENGTH_BYTES = 2
"""Before each entry of a bundle stands its length."""


@pages.get("/leaf/<int(fixed_digits=4):year>/<int:number>")
def leaf(year: int, number: int) -> str:
    """The leaf in words, bytes and hashes."""
    record = this_record()
    shard, entry = _found(record, year, number)
    proof = _proof(shard, entry)
    batch = record.by_leaf.get((year, number))
    steps = hash_steps(index=number, size=shard.checkpoint.size, leaf=entry.hash, path=proof.path)
    return render_template(
        "audit/leaf.html",
        record=record,
        shard=shard,
        entry=entry,
        kind=LEAF_TYPES[type(entry.leaf)] if entry.leaf else None,
        members=members_in_words(entry.leaf) if entry.leaf else (),
        issued_at=record.view.issue_times.get((year, number)),
        batch=batch,
        dump=hex_dump(entry.content),
        steps=steps,
        bundle=_bundle_path(shard, entry),
        offset=_offset(shard, number),
        ours=own_commands(this_face().base_url, batch.files if batch else ()),
        foreign=_foreign(record, shard, number),
        leaves=_leaves,
    )


@pages.get("/leaf/<int(fixed_digits=4):year>/<int:number>.tlog-proof")
def proof_file(year: int, number: int) -> Response:
    """The proof as a C2SP tlog-proof, with the leaf's bytes as its `extra`."""
    record = this_record()
    proof = _proof(*_found(record, year, number))
    answer = Response(encode_proof(proof), content_type="text/plain; charset=utf-8")
    answer.headers["Content-Disposition"] = f'attachment; filename="leaf-{year}-{number}.tlog-proof"'
    return answer


def _found(record: Record, year: int, number: int) -> tuple[Shard, Entry]:
    shard, entry = record.view.shard(year), record.view.entry(year, number)
    if shard is None or entry is None:
        abort(404)
    return shard, entry


def _proof(shard: Shard, entry: Entry) -> LogProof:
    """Proven before it is shown: no page may lead anybody to a wrong root. Raises as `check_inclusion`."""
    proof = prove_entry(this_face().storage.read, shard, entry.number)
    check_inclusion(
        index=entry.number,
        size=shard.checkpoint.size,
        leaf=entry.hash,
        path=proof.path,
        root=shard.checkpoint.root,
    )
    return proof


def _bundle_path(shard: Shard, entry: Entry) -> str:
    full, width = tiles_at(None, shard.checkpoint.size)
    place = entry.number // WIDTH
    return shard_tile_path(shard.year, Tile(None, place, WIDTH if place < full else width))


def _offset(shard: Shard, number: int) -> int:
    """Where in its bundle the entry's own bytes begin."""
    before = shard.entries[number // WIDTH * WIDTH : number]
    return sum(_LENGTH_BYTES + len(one.content) for one in before) + _LENGTH_BYTES


def _leaves(begin: int, end: int) -> str:
    if end - begin == 1:
        return str(_("leaf %(number)s", number=begin))
    return str(_("leaves %(first)s to %(last)s", first=begin, last=end - 1))


def _foreign(record: Record, shard: Shard, number: int) -> str | None:
    """The commands with foreign tools; None if no Ed25519 key of the shard is known."""
    keys = map(decode_vkey, record.view.trust.log_vkeys)
    ours = (key for key in keys if key.name == shard.checkpoint.origin and key.kind == KeyKind.ED25519)
    key = next(ours, None)
    address = this_face().base_url + url_for("leaf.proof_file", year=shard.year, number=number)
    return foreign_commands(address, key) if key else None
